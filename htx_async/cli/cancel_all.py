"""`htx-async cancel-all`: what has to be right before anything is sent."""

import getpass
import sys
from functools import partial

from htx_async.arguments import as_seconds
from htx_async.cli.access import Access, access
from htx_async.cli.contracts import STDIN, chosen
from htx_async.cli.given import Choices, Course, Named, Orders, Reach, Record
from htx_async.cli.intent import Intent
from htx_async.cli.mass import cancel
from htx_async.cli.running import run
from htx_async.cli.streams import is_terminal
from htx_async.errors import InvalidRequest


def begin(
    named: Named, orders: Orders, course: Course, choices: Choices, record: Record, reach: Reach
) -> int:
    """The exit code, once everything is done and told."""
    is_to_ask = not (choices.dry_run or choices.yes)

    def asked() -> tuple[Intent, Access]:
        if is_to_ask and STDIN in named.sources:
            raise InvalidRequest(f"{_NOBODY}: --contracts-from - takes stdin. {_WAY_OUT}")
        check_record(record)
        intent = _intent(named, orders, course)
        reached = access(reach)
        if is_to_ask and not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise InvalidRequest(f"{_NOBODY}: there is no terminal. {_WAY_OUT}")
        return intent, reached

    return run(partial(cancel, asked, choices, with_actor(record)))


def check_record(record: Record) -> None:
    """`InvalidRequest` for a record that cannot be kept."""
    if record.file is None and not (record.actor is record.reason is None):
        raise InvalidRequest("--actor and --reason are for the record: name it by --audit")
    if record.file == STDIN:
        raise InvalidRequest("--audit - is no file: a record is kept on disk; name a file")


def _intent(named: Named, orders: Orders, course: Course) -> Intent:
    confirm, deadline = course.confirm, course.deadline
    return Intent(
        contracts=chosen(named),
        margins=orders.margins,
        direction=orders.direction,
        offset=orders.offset,
        until_clear=course.until_clear,
        confirm=course.until_clear if confirm is None else confirm,
        look=course.look,
        deadline=None if deadline is None else as_seconds("deadline", deadline),
    )


_NOBODY = "nothing was sent, since nobody can be asked"
_WAY_OUT = "Look with --dry-run, then add --yes"


def with_actor(record: Record) -> Record:
    """By this user, unless another one is named."""
    return record if record.file is None else record._replace(actor=record.actor or _user())


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "unknown"
