"""`htx-async doctor`: what stands between this machine and the exchange."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import cache, partial
from typing import TYPE_CHECKING, cast

from htx_async.cli.access import ANY, Fleet, Host, fleet_of, tell_of_urls
from htx_async.cli.aside import Aside
from htx_async.cli.exit_codes import NOT_SENT, USAGE
from htx_async.cli.given import Reach
from htx_async.cli.running import print_report, run, unless_stopped
from htx_async.cli.streams import json_of
from htx_async.cli.words import visible
from htx_async.cli.wrapping import width_of, wrapped
from htx_async.errors import InvalidRequest
from htx_async.exchange.proxy import as_proxy
from htx_async.exchange.signing import Credentials

if TYPE_CHECKING:
    from htx_async.doctor import Finding
    from htx_async.enums import GenerationLike


def begin(reach: Reach, *, as_json: bool) -> int:
    """The exit code, once the findings are told."""
    return run(partial(_examine, reach, as_json), untouched="no order was touched")


def _examine(reach: Reach, as_json: bool, runner: asyncio.Runner, aside: Aside) -> int:
    tell_of_urls(reach.base_urls, aside.say)
    findings = unless_stopped(runner, _found(reach, fleet_of(reach), aside))
    problem = print_report(partial(_as_json if as_json else _told, findings))
    wrong = [finding.subject for finding in findings if not finding.ok]
    if problem:
        aside.say(f"Not well: {', '.join(wrong) or 'nothing'}. stdout: {problem}.")
    if "keys" in wrong:
        return USAGE
    if wrong:
        return NOT_SENT
    return USAGE if problem else 0


async def _found(reach: Reach, fleet: Fleet | Host | None, aside: Aside) -> "Sequence[Finding]":
    # Only who asks for it waits for it to be loaded.
    from htx_async.doctor import examine  # noqa: PLC0415 - see above

    # A file of keys may be a pipe, which can be read once.
    keys = cache(Credentials.from_env)
    async with AsyncExitStack() as stack:
        limiter = None
        if fleet is not None:
            account = fleet.account or _access_key(keys)
            limiter = await stack.enter_async_context(fleet.bucket(account, aside.say))
        return await examine(
            reach.base_urls,
            read_credentials=keys,
            limiter=limiter,
            # What is none of them is refused there, in its own words.
            generation=cast("GenerationLike", reach.generation),
            proxy=as_proxy(reach.proxy),
        )


def _access_key(keys: Callable[[], Credentials]) -> str:
    try:
        return keys().access_key
    except InvalidRequest:
        # That they cannot be read is a finding of its own.
        return ANY


def _as_json(findings: "Sequence[Finding]") -> bytes:
    whole = [finding._asdict() for finding in findings]
    return json_of(whole)


def _told(findings: "Sequence[Finding]") -> str:
    width, lines = width_of(sys.stdout), []
    for finding in findings:
        word = "ok  " if finding.ok else "FAIL"
        subject, told = visible(finding.subject), visible(finding.told)
        lines.append(f"{wrapped(f'{word} {subject}: {told}', width, _INDENT)}\n")
        if finding.advice:
            advice = f"{_INDENT}-> {visible(finding.advice)}"
            lines.append(f"{wrapped(advice, width, f'{_INDENT}   ')}\n")
    return "".join(lines)


_INDENT = " " * 5
