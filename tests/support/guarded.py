"""`htx-async guard` as a process, around commands that end in all ways, and the book of an exchange
of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from htx_async.simulator import SimulatedExchange
from tests.support.command import ACCESS, PATIENCE, SECRET, Ended, started
from tests.support.host_files import key_of, opened

GUARDED, OTHER = ("A-USDT", "B-USDT"), "X-USDT"
URL = "URL"
"""Stands for the exchange's in a command."""

CANCEL_ALL = "swap_track_cancelall"

_ON_RECORD = 0.05

PYTHON = (sys.executable, "-S", "-E", "-c")
"""A command of the standard library alone, which starts soon."""


class Guard:
    """One under way."""

    def __init__(self, process: asyncio.subprocess.Process, exchange: SimulatedExchange) -> None:
        self.process, self.exchange = process, exchange

    async def says(self, text: str) -> str:
        """Wait for a line of the command's stdout that has `text`."""
        try:
            return await _read_until(text, self.process.stdout)
        except AssertionError as error:
            error.add_note(str(await self.ended()))
            raise

    async def tells(self, text: str) -> str:
        """Wait for a line on stderr that has `text`."""
        return await _read_until(text, self.process.stderr)

    async def cancels(self, count: int = 1) -> None:
        """Wait until so many cancel-alls have come."""
        async with asyncio.timeout(PATIENCE):
            while len(cancels(self.exchange)) < count:  # noqa: ASYNC110 - they come from outside
                await asyncio.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        """To the guard alone."""
        # Not by the process object: that takes note of an end which asyncio then misses.
        os.kill(self.process.pid, number)

    def one_is_late(self, seconds: float = 0.3) -> None:
        """An order of the command's is there only so long after the first cancel."""
        loop, exchange, is_over = asyncio.get_running_loop(), self.exchange, False

        def latency() -> float:
            # Asked for before the arrival is on record; the next one may come a second later.
            loop.call_later(_ON_RECORD, look)
            return 0.0

        def look() -> None:
            nonlocal is_over
            if not is_over and cancels(exchange):
                is_over = True
                loop.call_later(seconds - _ON_RECORD, exchange.place, GUARDED[0], "sell", "close")

        exchange.latency = latency

    async def ended(self) -> Ended:
        """How it ended; it shows no key."""
        out, err = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        for text in (out or b"", err or b""):
            assert ACCESS.encode() not in text
            assert SECRET.encode() not in text
        return Ended(self.process.returncode, (out or b"").decode(), (err or b"").decode())


async def _read_until(text: str, stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    async with asyncio.timeout(PATIENCE):
        while text not in (line := (await stream.readline()).decode()):
            assert line, f"it ended without {text!r}"
    return line


def cancels(exchange: SimulatedExchange) -> list[float]:
    """When cancel-alls have come."""
    return [one.at for one in exchange.arrivals if one.path.endswith(CANCEL_ALL)]


def is_clear(exchange: SimulatedExchange) -> bool:
    """Whether the guarded contracts' orders are gone, and no others."""
    return [order.contract_code for order in exchange.open_orders()] == [OTHER]


@asynccontextmanager
async def with_orders(folder: Path, **settings: Any) -> AsyncIterator[SimulatedExchange]:
    """An exchange with an order on each contract, and a host's file that was used before."""
    async with SimulatedExchange(access_key=ACCESS, secret_key=SECRET, **settings) as exchange:
        for code in (*GUARDED, OTHER):
            exchange.place(code, "sell", "close")
        if not (folder / key_of(ACCESS)).exists():
            opened(folder / key_of(ACCESS), ACCESS)
        yield exchange


@asynccontextmanager
async def guarding(
    folder: Path, *command: str, options: tuple[str, ...] = (), **more: Any
) -> AsyncIterator[Guard]:
    """A guard around `command`, on pipes unless `streams` says otherwise, at an exchange of its
    own. `settings`: of that one; `program`: what Python runs; the rest are variables."""
    settings: dict[str, Any] = more.pop("settings", {})
    program: tuple[str, ...] = more.pop("program", ("-m", "htx_async"))
    own = folder / os.urandom(4).hex()
    own.mkdir()
    async with with_orders(own, **settings) as exchange:
        variables = {"HTX_HOST_LIMIT": str(own), **more}
        # The exchange's URL is not known before.
        told = [exchange.url if word == URL else word for word in command]
        given = ("guard", *GUARDED, "--base-url", exchange.url, *options, "--", *told)
        process = await started(*program, *given, **variables)
        try:
            yield Guard(process, exchange)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


class Case(NamedTuple):
    """A command, options of its guard, and how that has to end."""

    command: tuple[str, ...]
    code: int
    options: tuple[str, ...] = ()
    streams: tuple[tuple[str, int], ...] = ()


async def ends(
    folder: Path, case: Case, program: tuple[str, ...] = ("-m", "htx_async")
) -> tuple[Ended, SimulatedExchange]:
    """How a guard ends that nobody disturbs, where one order more was on its way."""
    more = {"streams": dict(case.streams), "program": program}
    async with guarding(folder, *case.command, options=case.options, **more) as guard:
        guard.one_is_late()
        return await guard.ended(), guard.exchange
