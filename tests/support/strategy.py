"""A strategy in a process of its own, which trades at the parent's exchange and gets signals."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from htx_async.simulator import SimulatedExchange

CODES = ("A-USDT", "B-USDT", "C-USDT")
PATIENCE = 60.0

_KEYS = {"HTX_ACCESS_KEY": "access-key", "HTX_SECRET_KEY": "secret-key"}

# Keys of the machine that runs the tests.
_HIDDEN = re.compile(r"HTX_.*")

# Who was started in the background, or by nohup, has inherited that Ctrl-C is ignored.
_HEARS_CTRL_C = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
"""


class Child:
    """A strategy under way."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def is_trading(self) -> None:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
        assert line == b"trading\n"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def interrupt(self) -> None:
        """Ctrl-C while it waits for the network: no line of Python is cut in two."""
        async with asyncio.timeout(PATIENCE):
            while not _is_waiting(self._process.pid):  # noqa: ASYNC110 - nothing else tells it
                await asyncio.sleep(0)
        self.signal(signal.SIGINT)

    async def ended(self) -> tuple[int | None, str, str]:
        """Exit code, the rest of stdout, and stderr."""
        out, err = await asyncio.wait_for(self._process.communicate(), PATIENCE)
        return self._process.returncode, out.decode(), err.decode()


def _is_waiting(pid: int) -> bool:
    # The state after the name, which may hold anything: S is asleep in a system call (man proc).
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] != "R"


@asynccontextmanager
async def child(
    program: str, exchange: SimulatedExchange, warnings: str = "error", more: str | None = None
) -> AsyncIterator[Child]:
    """A process that runs `program`, which prints "trading" once it trades; dead at the end of the
    block in any case. `sys.argv`: the exchange's URL, the contracts, and `more` unless None."""
    known = {name: value for name, value in os.environ.items() if not _HIDDEN.fullmatch(name)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", warnings, "-c", _HEARS_CTRL_C + program),
        *(exchange.url, *CODES, *([] if more is None else [more])),
        env=known | _KEYS,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        strategy = Child(process)
        await strategy.is_trading()
        yield strategy
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@asynccontextmanager
async def with_two_orders_each() -> AsyncIterator[SimulatedExchange]:
    """An exchange whose keys the children know, with two orders for each contract."""
    async with SimulatedExchange(access_key="access-key", secret_key="secret-key") as opened:
        for code in CODES:
            opened.place(code, "sell", "close", 2)
        yield opened


def silent_after(exchange: SimulatedExchange, count: int) -> asyncio.Event:
    """From now on the exchange answers nobody; the event is set by the `count`-th arrival."""
    reached = asyncio.Event()

    def latency() -> float:
        # Asked for before the arrival is on record.
        if len(exchange.arrivals) + 1 >= count:
            reached.set()
        return PATIENCE

    exchange.latency = latency
    return reached
