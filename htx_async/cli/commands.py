"""The commands: what can be said to each, and its help.

They load what does the work when their options are read: help, a complaint about options and a
completion wait for neither aiohttp nor pydantic.
"""

from typing import Annotated

import typer

from htx_async.calls.base_urls import BASE_URLS
from htx_async.cli import options
from htx_async.cli.again import Again
from htx_async.cli.given import Care, Choices, Course, Named, Orders, Reach, Record


def cancel_all(
    context: typer.Context,
    contract: options.ContractArguments = None,
    contracts_from: options.ContractsFromOption = None,
    every: options.AllOption = False,
    look: options.LookOption = None,
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
    proxy: options.ProxyOption = None,
    redis: options.RedisOption = None,
    host_limit: options.HostLimitOption = None,
    share_of: options.ShareOfOption = None,
    account: options.AccountOption = None,
    generation: options.GenerationOption = options.Generation.AUTO,
) -> None:
    """Cancel the trailing orders of one contract, of many, or of all.

    Those of one margin mode or both that match both filters, and no orders of any other kind.
    Shows the plan, and asks unless told --yes; reports on every contract at the end. With --all
    open orders are read first, and only contracts that have some are cancelled; of many named
    ones those that have some go first (--look). The last line says what was not looked at: of
    cross margin one list tells, of isolated margin it would be one for each contract.
    With --margin both, --json is one document that has each report under its margin mode.

    Keys come from HTX_ACCESS_KEY and HTX_SECRET_KEY, or from the files that HTX_ACCESS_KEY_FILE
    and HTX_SECRET_KEY_FILE name; never from arguments, which other users of a machine can see.

    Ctrl-C and SIGTERM: nothing more is sent, calls on the wire have a second for their answer,
    and the report is given as ever. After five refusals of the key in a row, too, the rest is not
    sent. What is not clear stands in a line "again: htx-async cancel-all ...", ready to be used.

    \b
    Examples:
      one contract, after a look at the plan
        htx-async cancel-all BTC-USDT --direction sell --offset close
      the plan alone, which sends nothing
        htx-async cancel-all BTC-USDT ETH-USDT --dry-run
      and know that the orders are gone, not only that the cancel was taken
        htx-async cancel-all BTC-USDT --confirm
      everything, in isolated and in cross margin
        htx-async cancel-all --all --margin both --confirm
      many from a pipe, the report for a program
        cat contracts | htx-async cancel-all --contracts-from - --yes --json
      trading is halted: again until nothing is left, within a minute
        htx-async cancel-all BTC-USDT --until-clear --deadline 60
      on the record
        htx-async cancel-all BTC-USDT --audit f.jsonl --reason "incident 7"
      beside three other processes of the account
        htx-async cancel-all --all --redis redis://10.0.0.5/0 --share-of 4
    """
    from htx_async.cli.cancel_all import begin

    code = begin(
        Named(contract or (), contracts_from or (), every),
        Orders(margin.modes, direction, offset),
        Course(until_clear, confirm, look, deadline),
        Choices(dry_run, yes, as_json, Again.of(context)),
        Record(audit, actor, reason),
        Reach(base_url or BASE_URLS, redis, share_of, account, generation, host_limit, proxy),
    )
    raise typer.Exit(code)


def guard(
    ctx: typer.Context,
    contract: options.ContractArguments = None,
    contracts_from: options.ContractsFromFileOption = None,
    every: options.AllOption = False,
    look: options.LookOption = None,
    margin: options.MarginOption = options.Margin.ISOLATED,
    direction: options.DirectionOption = None,
    offset: options.OffsetOption = None,
    heartbeat: options.HeartbeatOption = None,
    grace: options.GraceOption = 10.0,
    on: options.OnOption = options.On.EXIT,
    confirm: options.ConfirmRoundsOption = None,
    deadline: options.RoundDeadlineOption = None,
    as_json: options.JsonLineOption = False,
    audit: options.AuditOption = None,
    actor: options.ActorOption = None,
    reason: options.ReasonOption = None,
    base_url: options.BaseUrlOption = None,
    proxy: options.ProxyOption = None,
    redis: options.RedisOption = None,
    host_limit: options.HostLimitOption = None,
    share_of: options.ShareOfOption = None,
    account: options.AccountOption = None,
    generation: options.GenerationOption = options.Generation.AUTO,
) -> None:
    """Run COMMAND; however it ends, cancel the trailing orders of contracts.

    A wrapper, as timeout is: COMMAND keeps stdin, stdout and stderr, and gets the signals that
    come. When it has ended, was killed, or hangs, what is named is cancelled at once, and again
    once nothing of it can be on its way. The report is on stderr. Keys as for cancel-all.

    \b
    Examples:
      a strategy that may die at any moment
        htx-async guard BTC-USDT ETH-USDT -- python strategy.py
      and may hang: it beats from its loop (async with htx_async.heartbeat())
        htx-async guard --all --heartbeat 5 -- python strategy.py
      a script that leaves its orders on purpose when it ends well
        htx-async guard BTC-USDT --on failure -- ./place-orders.sh
    """
    from htx_async.cli.guard import asked_for, begin

    code = begin(
        lambda: asked_for(
            ctx.args,
            Named(contract or (), contracts_from or (), every),
            Orders(margin.modes, direction, offset),
            Course(False, confirm, look, deadline),
            Care(heartbeat, grace, on is options.On.FAILURE),
            Reach(base_url or BASE_URLS, redis, share_of, account, generation, host_limit, proxy),
        ),
        Record(audit, actor, reason),
        as_json=as_json,
    )
    raise typer.Exit(code)


def open_orders(
    contract: options.ContractArguments = None,
    every: options.AllOption = False,
    margin: options.BothMarginsOption = options.Margin.BOTH,
    direction: options.DirectionOption = None,
    offset: options.OffsetOption = None,
    deadline: options.DeadlineOption = None,
    as_json: options.JsonListOption = False,
    base_url: options.BaseUrlOption = None,
    proxy: options.ProxyOption = None,
    redis: options.RedisOption = None,
    host_limit: options.HostLimitOption = None,
    share_of: options.ShareOfOption = None,
    account: options.AccountOption = None,
    generation: options.GenerationOption = options.Generation.AUTO,
) -> None:
    """List the open trailing orders of one contract, of many, or of all.

    Without any contract all that the exchange lists: reading changes nothing. Orders of one-way
    accounts have the offset both, and are shown whatever --offset says. Keys as for cancel-all.

    \b
    Examples:
      htx-async open
      htx-async open BTC-USDT ETH-USDT --direction sell
      htx-async open --all --margin both --json
    """
    from htx_async.cli.open_orders import begin

    code = begin(
        Named(contract or (), (), every or not contract),
        Orders(margin.modes, direction, offset),
        deadline,
        Reach(base_url or BASE_URLS, redis, share_of, account, generation, host_limit, proxy),
        as_json=as_json,
    )
    raise typer.Exit(code)


def doctor(
    base_url: options.BaseUrlOption = None,
    proxy: options.ProxyOption = None,
    redis: options.RedisOption = None,
    host_limit: options.HostLimitOption = None,
    share_of: options.ShareOfOption = None,
    account: options.AccountOption = None,
    generation: options.GenerationOption = options.Generation.AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
) -> None:
    """Look at keys, names, TLS, clocks and the shared limit before they are needed.

    Touches no order. Lists of open orders, one in each margin mode, tell whether the exchange takes
    the keys and which generation of the API the account is on. Exits 0 when all is well, 2 when the
    keys cannot be read or the findings not be printed, and 6 when a cancel might not be sent, or
    not as fast as it could be.

    \b
    Examples:
      htx-async doctor
      htx-async doctor --base-url https://api.hbdm.com --json
      htx-async doctor --redis redis://10.0.0.5:6379/0
    """
    from htx_async.cli.doctor import begin

    code = begin(
        Reach(base_url or BASE_URLS, redis, share_of, account, generation, host_limit, proxy),
        as_json=as_json,
    )
    raise typer.Exit(code)


def demo() -> None:
    """Cancel 200 orders on a simulated exchange.

    40 contracts at once, and an exchange that misbehaves. Takes no keys and reaches no network
    beyond this machine. Exits 0 when every report agrees with the exchange's book and the limit
    was kept, 2 when that could not be printed, else 1.

    \b
    Example: htx-async demo
    """
    from htx_async.cli.rehearsal import play_demo

    raise typer.Exit(play_demo())
