"""One mass cancel, from the plan to the report."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import typer

from htx_async.cli.access import Access, tell_of_urls
from htx_async.cli.aside import Aside, Display
from htx_async.cli.carrying import Watchers, carried
from htx_async.cli.exit_codes import INTERNAL, INTERRUPTED, NOT_SENT, USAGE
from htx_async.cli.given import Choices, Record
from htx_async.cli.intent import Intent, known
from htx_async.cli.interrupts import ignore_from_now_on, raise_from_now_on, read_line
from htx_async.cli.plan import Plan, Schedule, planned
from htx_async.cli.result import Result
from htx_async.cli.running import Stops, print_report, unless_stopped
from htx_async.cli.streams import give_up, internal, is_smart, is_terminal
from htx_async.cli.words import summary
from htx_async.errors import ReadFailed
from htx_async.report import CancelReport

if TYPE_CHECKING:
    from htx_async.audit import AuditLog

_TO_WRITE = 1.0


def cancel(
    asked: Callable[[], tuple[Intent, Access]],
    choices: Choices,
    record: Record,
    runner: asyncio.Runner,
    aside: Aside,
) -> int:
    """Plan, ask, cancel and give the report; the exit code."""
    intent, access = asked()
    tell_of_urls(access.base_urls, aside.say)
    with recorded(record, aside, dry_run=choices.dry_run) as log:
        try:
            plan = unless_stopped(runner, _planned(intent, access, choices, aside))
        except ReadFailed as failure:
            aside.say(str(failure))
            return NOT_SENT
        if choices.dry_run:
            return _shown(plan, choices, aside)
        if choices.yes:
            aside.draw(lambda: f"{plan.told(aside=True)}\n")
        if not choices.yes and not _agreed(plan.told(aside=True)):
            aside.say("Without a yes nothing was sent.")
            return USAGE
        return _carried_out(plan, access, log, choices, runner, aside)


async def _planned(intent: Intent, access: Access, choices: Choices, aside: Aside) -> Plan:
    # Closed before the question: connections would not outlive a long wait for its answer.
    async with access.session(aside.say) as htx:
        limit = "" if choices.yes and not choices.dry_run else await access.reach(aside.say)
        return await planned(intent, htx, access, limit)


@contextmanager
def recorded(record: Record, aside: Aside, *, dry_run: bool) -> Iterator["AuditLog | None"]:
    """The record, for a block, and what is missing in it told; a dry run leaves no trace."""
    if record.file is None or dry_run:
        yield None
        return
    # Only those who keep a record wait for it to be loaded.
    from htx_async.audit import AuditLog  # noqa: PLC0415 - see above

    log = AuditLog(record.file, actor=record.actor, reason=record.reason)
    try:
        yield log
    finally:
        log.close(timeout=_TO_WRITE)
        if log.problem:
            aside.say(f"The record of this cancel is not complete: {log.problem}")


def _shown(plan: Plan, choices: Choices, aside: Aside) -> int:
    def whole() -> str | bytes:
        if choices.as_json:
            return plan.as_json()
        return f"{plan.told(aside=False)}\n{done}\n"

    read = ", but to read the public list of contracts" if plan.intent.is_all else ""
    done = f"Dry run: nothing was sent{read}."
    problem = print_report(whole)
    if problem:
        aside.say(f"{done} The plan could not be printed: {problem}.")
    return USAGE if problem else 0


def _agreed(plan: str) -> bool:
    answer = ""
    try:
        typer.echo(f"{plan}\nCancel these orders? [y/N] ", err=True, nl=False)
        answer = read_line()
    except UnicodeDecodeError:
        pass
    finally:
        if not answer.endswith("\n"):
            typer.echo(err=True)
    return answer.strip().lower() in ("y", "yes")


def _carried_out(
    plan: Plan,
    access: Access,
    log: "AuditLog | None",
    choices: Choices,
    runner: asyncio.Runner,
    aside: Aside,
) -> int:
    quiet = choices.as_json
    watchers = Watchers(log, watched(plan.schedule, aside, quiet=quiet), aside)
    stops = Stops(runner.get_loop())
    try:
        found, beside = runner.run(carried(plan, access, stops, watchers))
        result = Result(
            found,
            confirm=plan.intent.confirm,
            again=choices.again,
            longer=plan.longer_deadline,
            beside=beside,
            is_v1_given=plan.generation == "v1",
        )
        was_begun = any(result.by_margin.values())
        if stops.came and not was_begun:
            aside.say("Nothing was sent.")
            return INTERRUPTED
        for problem in dict.fromkeys(map(str, result.not_begun)):
            aside.say(problem)
        return _reported(result, choices, stops, aside) if was_begun else NOT_SENT
    except Exception as error:
        aside.settle()
        aside.say(f"{internal(error)}. Look at the exchange now.")
        for note in known(error):
            aside.say(note)
        return INTERNAL
    finally:
        ignore_from_now_on()


def _reported(result: Result, choices: Choices, stops: Stops, aside: Aside) -> int:
    """Give the report on stdout; where that fails, one line on stderr. The exit code."""
    interrupted = stops.came
    try:
        # Whoever does not read stdout would hold it up for ever.
        raise_from_now_on()
        aside.settle()
        problem = print_report(partial(_report, result, choices, interrupted=interrupted))
    except KeyboardInterrupt:
        give_up(sys.stdout)
        interrupted, problem = True, "interrupted"
    if problem:
        # A full disk or a closed pipe must not stand for what happened to the orders.
        aside.say(f"{summary(result)} The report could not be printed: {problem}.")
    return result.exit_code(interrupted=interrupted)


def watched(
    schedule: Schedule, aside: Aside, *, quiet: bool
) -> Callable[[CancelReport], object] | None:
    """Begin to show how it goes; what has to hear of each contract that ends, if anybody does.

    `quiet`: stdout gets a document, and stderr no line for each contract.
    """
    # Of a display that cannot redraw itself, each state would remain.
    if not is_smart(sys.stderr):
        return None if quiet else aside.ended
    leaves_nothing = quiet or is_terminal(sys.stdout)

    def bar() -> Display:
        # In the thread that draws: the requests do not wait for rich to be loaded.
        from htx_async.cli.progress import Bar  # noqa: PLC0415 - see above

        return Bar(schedule, leaves_nothing=leaves_nothing)

    aside.show(bar)
    return aside.ended


def _report(result: Result, choices: Choices, *, interrupted: bool) -> str | bytes:
    if choices.as_json:
        return result.as_json()
    # Only when there is something to draw.
    from htx_async.cli.report_page import page  # noqa: PLC0415 - see above

    return page(result, interrupted=interrupted)
