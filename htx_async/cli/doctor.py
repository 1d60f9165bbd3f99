"""`htx-async doctor`: what stands between this machine and the exchange."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from htx_async.calls.base_urls import BASE_URLS
from htx_async.cli import options
from htx_async.cli.access import ANY, Fleet, fleet_of
from htx_async.cli.exit_codes import NOT_SENT, USAGE
from htx_async.cli.running import print_account, run, unless_stopped
from htx_async.cli.streams import Aside
from htx_async.cli.words import visible

if TYPE_CHECKING:
    from htx_async.doctor import Finding


def doctor(
    base_url: options.BaseUrlOption = None,
    redis: options.RedisOption = None,
    share_of: options.ShareOfOption = None,
    account: options.AccountOption = None,
    generation: options.GenerationOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
) -> None:
    """Look at keys, names, TLS, clocks and the shared limit before they are needed.

    Touches no order; one list of open orders tells which generation of the API the account is on.
    Exits 0 when all is well, 2 when the keys cannot be read or the findings not be printed, and 6
    when a cancel might not be sent, or not as fast as it could be.

    \b
    Examples:
      htx-async doctor
      htx-async doctor --base-url https://api.hbdm.com --json
      htx-async doctor --redis redis://10.0.0.5:6379/0
    """
    urls, fleet = tuple(base_url or BASE_URLS), partial(fleet_of, redis, share_of, account)
    work = partial(_examine, urls, fleet, generation, as_json)
    raise typer.Exit(run(work, untouched="no order was touched"))


def _examine(
    base_urls: tuple[str, ...],
    fleet: Callable[[], Fleet | None],
    generation: str,
    as_json: bool,
    runner: asyncio.Runner,
    aside: Aside,
) -> int:
    findings = unless_stopped(runner, _found(base_urls, fleet(), generation, aside))
    problem = print_account(partial(_as_json if as_json else _told, findings))
    wrong = [finding.subject for finding in findings if not finding.ok]
    if problem:
        aside.say(f"Not well: {', '.join(wrong) or 'nothing'}. stdout: {problem}.")
    if "keys" in wrong:
        return USAGE
    if wrong:
        return NOT_SENT
    return USAGE if problem else 0


async def _found(
    base_urls: tuple[str, ...], fleet: Fleet | None, generation: str, aside: Aside
) -> "Sequence[Finding]":
    # Only who asks for it waits for it to be loaded.
    from htx_async.doctor import examine  # noqa: PLC0415 - see above

    async with AsyncExitStack() as stack:
        limiter = None
        if fleet is not None:
            account = fleet.account or ANY
            limiter = await stack.enter_async_context(fleet.bucket(account, aside.say))
        return await examine(base_urls, limiter=limiter, generation=generation)


def _as_json(findings: "Sequence[Finding]") -> bytes:
    whole = [finding._asdict() for finding in findings]
    return json.dumps(whole, ensure_ascii=False).encode()


def _told(findings: "Sequence[Finding]") -> str:
    lines = []
    for finding in findings:
        word = "ok  " if finding.ok else "FAIL"
        lines.append(f"{word} {visible(finding.subject)}: {visible(finding.told)}\n")
        if finding.advice:
            lines.append(f"     -> {visible(finding.advice)}\n")
    return "".join(lines)
