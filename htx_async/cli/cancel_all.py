"""`htx-async cancel-all`: its arguments, and what has to be right before anything is sent."""

import getpass
import sys
from functools import partial

import typer

from htx_async.arguments import as_seconds
from htx_async.cli import options
from htx_async.cli.access import Access, access
from htx_async.cli.contracts import STDIN, chosen
from htx_async.cli.intent import Intent
from htx_async.cli.mass import Choices, Record, cancel
from htx_async.cli.running import run
from htx_async.cli.streams import is_terminal
from htx_async.errors import InvalidRequest


def cancel_all(
    contract: options.ContractArguments = None,
    contracts_from: options.ContractsFromOption = None,
    every: options.AllOption = False,
    blind: options.BlindOption = False,
    margin: options.MarginOption = options.Margin.ISOLATED,
    direction: options.DirectionOption = None,
    offset: options.OffsetOption = None,
    until_clear: options.UntilClearOption = False,
    confirm: options.ConfirmOption = None,
    deadline: options.DeadlineOption = None,
    dry_run: options.DryRunOption = False,
    yes: options.YesOption = False,
    as_json: options.JsonOption = False,
    audit: options.AuditOption = None,
    actor: options.ActorOption = None,
    reason: options.ReasonOption = None,
    base_url: options.BaseUrlOption = None,
    redis: options.RedisOption = None,
    share_of: options.ShareOfOption = None,
    account: options.AccountOption = None,
    generation: options.GenerationOption = "auto",
) -> None:
    """Cancel the trailing orders of one contract, of many, or of all.

    Those of one margin mode or both that match both filters, and no orders of any other kind.
    Shows the plan and asks first, unless told --yes; gives an account of every contract at the
    end. With --all open orders are read first, and only contracts that have some are cancelled.
    With --margin both, --json is one document that has each account under its margin mode.

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
      and know that the orders are gone, not only that the exchange took the cancel
        htx-async cancel-all BTC-USDT --confirm
      everything, in isolated and in cross margin
        htx-async cancel-all --all --margin both --confirm
      many from a pipe, the account for a program
        cat contracts.txt | htx-async cancel-all --contracts-from - --yes --json
      trading is halted: again until nothing is left, within a minute
        htx-async cancel-all --contracts-from contracts.txt --until-clear --deadline 60
      on the record
        htx-async cancel-all BTC-USDT --audit cancels.jsonl --reason "venue incident"
      beside three other processes of the account
        htx-async cancel-all --all --redis redis://10.0.0.5:6379/0 --share-of 4
    """
    choices = Choices(dry_run=dry_run, yes=yes, as_json=as_json)
    sources = contracts_from or ()

    def asked() -> tuple[Intent, Access]:
        is_to_ask = not (dry_run or yes)
        if is_to_ask and STDIN in sources:
            raise InvalidRequest(f"{_NOBODY}: --contracts-from - takes stdin. {_WAY_OUT}")
        if audit is None and not (actor is reason is None):
            raise InvalidRequest("--actor and --reason are for the record: name it by --audit")
        if audit == STDIN:
            raise InvalidRequest("--audit - is no file: a record is kept on disk; name a file")
        if blind and not every:
            raise InvalidRequest("--blind is for --all: named contracts are cancelled so anyway")
        intent = Intent(
            contracts=chosen(contract or (), sources, every=every),
            margins=margin.modes,
            direction=direction,
            offset=offset,
            until_clear=until_clear,
            confirm=until_clear if confirm is None else confirm,
            blind=blind,
            deadline=None if deadline is None else as_seconds("deadline", deadline),
        )
        reached = access(base_url, redis, share_of, account, generation)
        if is_to_ask and not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise InvalidRequest(f"{_NOBODY}: there is no terminal. {_WAY_OUT}")
        return intent, reached

    record = None if audit is None else Record(audit, actor or _user(), reason)
    raise typer.Exit(run(partial(cancel, asked, choices, record)))


_NOBODY = "nothing was sent, since nobody can be asked"
_WAY_OUT = "Look with --dry-run, then add --yes"


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return "unknown"
