"""`htx-async doctor`: what stands between this machine and the exchange."""

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from htx_async.base_urls import BASE_URLS
from htx_async.cli.exit_codes import NOT_SENT, USAGE
from htx_async.cli.options import BaseUrlOption
from htx_async.cli.running import run
from htx_async.cli.streams import Aside, printed, visible

if TYPE_CHECKING:
    from htx_async.doctor import Finding


def doctor(
    base_url: BaseUrlOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
) -> None:
    """Look at keys, names, TLS and clocks before they are needed.

    Touches no order and signs nothing. Exits 0 when all is well, 2 when the keys cannot be read,
    and 6 when a cancel might not be sent.

    \b
    Examples:
      htx-async doctor
      htx-async doctor --base-url https://api.hbdm.com --json
    """
    raise typer.Exit(run(partial(_examine, tuple(base_url or BASE_URLS), as_json)))


def _examine(
    base_urls: tuple[str, ...], as_json: bool, runner: asyncio.Runner, aside: Aside
) -> int:
    # Only who asks for it waits for it to be loaded.
    from htx_async.doctor import examine  # noqa: PLC0415 - see above

    findings = runner.run(examine(base_urls))
    problem = printed(partial(_as_json if as_json else _told, findings))
    wrong = [finding.subject for finding in findings if not finding.ok]
    if problem:
        aside.say(f"Not well: {', '.join(wrong) or 'nothing'}. stdout: {problem}.")
    if "keys" in wrong:
        return USAGE
    return NOT_SENT if wrong else 0


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
