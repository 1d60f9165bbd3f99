"""A guard and its command keep the exchange's limit together, whether they share tokens or not."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.guarded import GUARDED, URL, guarding

pytestmark = [pytest.mark.slow, pytest.mark.long]

MANY = tuple(f"C{number}-USDT" for number in range(6))

AT_FULL_SPEED = """
import asyncio, os, signal, sys
from htx_async import HtxSession, TokenBucket
from htx_async.notify import Watcher

async def main(url, how, *codes):
    own = {} if how == "shares" else {"limiter": TokenBucket()}
    async with HtxSession.from_env(base_urls=url, **own) as htx:
        async def again():
            while True:
                await htx.cancel_all_trailing("X-USDT")
                done.append(1)
        async def guarded():
            async with htx.cancel_on_exit(codes):
                await told.wait()
        done, told = [], asyncio.Event()
        tasks = [asyncio.create_task(again()) for _ in range(6)]
        if how == "hangs":
            # It beats once, goes on, does on SIGTERM what it has promised, and does not end.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
            Watcher.of_this_process().tell("WATCHDOG=1")
            await asyncio.gather(*tasks, guarded())
        while len(done) < 12:
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), 9)

asyncio.run(main(*sys.argv[1:]))
"""


async def told(folder: Path, how: str) -> dict[str, Any]:
    """What a guard says at the end of a command that cancels as fast as it may, and how many
    cancels came in the busiest second."""
    program = folder / "strategy.py"
    program.write_text(AT_FULL_SPEED)
    command = (sys.executable, str(program), URL, how, *GUARDED)
    options = ("--json", *MANY, "--grace", "1.5", "--heartbeat", "1")
    async with guarding(folder, *command, options=options, settings={"limit": 6}) as guard:
        for code in MANY:
            guard.exchange.place(code, "sell", "close")
        result = await guard.ended()
        assert result.code == 137, result
        assert guard.exchange.open_orders() == ()
        refused = [one for one in guard.exchange.arrivals if one.err_code == 1032]
        assert refused == []
        said: dict[str, Any] = json.loads(result.err.splitlines()[-1])
        return said | {"busiest": guard.exchange.busiest()}


async def test_never_more_than_six_in_a_second(tmp_path: Path) -> None:
    """A command that keeps the limit by itself and dies at full speed, or beats no more, goes on
    sending, cancels what it has promised on SIGTERM and does not end: the guard takes the sixth
    request until then. One that shares the host's tokens is seen to, and five are all of both."""
    dies, hangs, shares = await asyncio.gather(
        *(told(tmp_path, how) for how in ("dies", "hangs", "shares"))
    )
    assert (dies["shares_limit"], hangs["shares_limit"], shares["shares_limit"]) == (
        False,
        False,
        True,
    )
    assert hangs["command"]["was_silent"]
    assert dies["busiest"] <= 6
    assert hangs["busiest"] <= 6
    assert shares["busiest"] <= 5
