"""`htx-async cancel-all`: its arguments, and what has to be right before anything is sent."""

import getpass
import sys
from functools import partial

import typer

from htx_async.base_urls import BASE_URLS
from htx_async.checks import as_seconds
from htx_async.cli import options
from htx_async.cli.contracts import STDIN, contracts
from htx_async.cli.intent import Intent
from htx_async.cli.mass import Choices, Record, cancel
from htx_async.cli.running import run
from htx_async.cli.streams import is_terminal
from htx_async.errors import InvalidRequest


def cancel_all(
    contract: options.ContractArguments = None,
    contracts_from: options.ContractsFromOption = None,
    direction: options.DirectionOption = None,
    offset: options.OffsetOption = None,
    until_clear: options.UntilClearOption = False,
    deadline: options.DeadlineOption = None,
    dry_run: options.DryRunOption = False,
    yes: options.YesOption = False,
    as_json: options.JsonOption = False,
    audit: options.AuditOption = None,
    actor: options.ActorOption = None,
    reason: options.ReasonOption = None,
    base_url: options.BaseUrlOption = None,
) -> None:
    """Cancel the trailing orders of one contract or many.

    Those in isolated margin that match both filters, and no orders of any other kind. Shows the
    plan and asks first, unless told --yes; gives an account of every contract at the end.

    Keys come from HTX_ACCESS_KEY and HTX_SECRET_KEY, or from the files that HTX_ACCESS_KEY_FILE
    and HTX_SECRET_KEY_FILE name; never from arguments, which other users of a machine can see.

    Ctrl-C and SIGTERM: nothing more is sent, calls on the wire have a second for their answer,
    and the account is given as ever.

    \b
    Examples:
      one contract, after a look at the plan
        htx-async cancel-all BTC-USDT --direction sell --offset close
      the plan alone, which sends nothing
        htx-async cancel-all BTC-USDT ETH-USDT --dry-run
      many from a pipe, the account for a program
        cat contracts.txt | htx-async cancel-all --contracts-from - --yes --json
      trading is halted: again until nothing is left, within a minute
        htx-async cancel-all --contracts-from contracts.txt --until-clear --deadline 60
      on the record
        htx-async cancel-all BTC-USDT --audit cancels.jsonl --reason "venue incident"
    """
    choices = Choices(dry_run=dry_run, yes=yes, as_json=as_json)

    def intent() -> Intent:
        if not (dry_run or yes):
            _check_can_ask(contracts_from)
        if audit is None and not (actor is reason is None):
            raise InvalidRequest("--actor and --reason are for the record: name it by --audit")
        within = None if deadline is None else as_seconds("deadline", deadline)
        named = contracts(contract or (), contracts_from)
        urls = tuple(base_url or BASE_URLS)
        return Intent(named, direction, offset, until_clear, within, urls)

    record = None if audit is None else Record(audit, actor or _user(), reason)
    raise typer.Exit(run(partial(cancel, intent, choices, record)))


def _check_can_ask(contracts_from: str | None) -> None:
    if contracts_from == STDIN:
        raise InvalidRequest(
            "nothing was sent: --contracts-from - takes stdin, so that nobody can be asked. Look "
            "with --dry-run, then add --yes"
        )
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise InvalidRequest(
            "nothing was sent: without a terminal nobody can be asked. Look with --dry-run, then "
            "add --yes"
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "unknown"
