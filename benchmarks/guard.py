"""A command dies, or its event loop blocks: how long until its guard's first cancel arrives.

Real processes, and a simulated exchange over loopback. The command tells the machine's monotonic
time just before it kills itself, or blocks; the exchange that of each arrival. Run:
`python -m benchmarks.guard`.
"""

import asyncio
import os
import sys
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.figures import installed, save
from benchmarks.targets import at_most, told
from htx_async.simulator import SimulatedExchange

_RUNS, _CONTRACTS, _MORE = 10, 3, 8
_HEARTBEAT = 1.0
_AFTER_DEATH, _AFTER_HANG = 0.1, _HEARTBEAT + 0.2
_CANCEL = "swap_track_cancelall"
_ACCESS, _SECRET = "access-key-of-the-benchmark", "secret-key-of-the-benchmark"

_DIES = """
import os, time
time.sleep(0.5)
print(time.monotonic(), flush=True)
os.kill(os.getpid(), 9)
"""

_HANGS = """
import asyncio, random, time
from htx_async.notify import heartbeat

async def main():
    async with heartbeat():
        await asyncio.sleep(random.uniform(1.0, 1.5))
        print(time.monotonic(), flush=True)
        time.sleep(60.0)

asyncio.run(main())
"""


async def first_cancel(program: str, *options: str, contracts: int = _CONTRACTS) -> float:
    """Seconds from the moment that the command tells to the first cancel at the exchange."""
    codes = [f"C{number}-USDT" for number in range(contracts)]
    with TemporaryDirectory() as folder:
        async with SimulatedExchange(
            access_key=_ACCESS, secret_key=_SECRET, contracts=codes
        ) as exchange:
            for code in codes:
                exchange.place(code, "sell", "close")
            guard = ("guard", *codes, *options, "--base-url", exchange.url, "--grace", "0.5")
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "htx_async", *guard, "--", sys.executable, "-c", program),
                env={**os.environ, **_variables(folder)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
            assert process.returncode in (137, 143), err.decode()
            assert exchange.open_orders() == ()
            arrived = [one.at for one in exchange.arrivals if one.path.endswith(_CANCEL)]
    return arrived[0] - float(out)


def _variables(folder: str) -> dict[str, str]:
    keys = {"HTX_ACCESS_KEY": _ACCESS, "HTX_SECRET_KEY": _SECRET}
    return keys | {"HTX_HOST_LIMIT": folder, "HTX_GENERATION": "auto"}


def _row(name: str, found: list[float], most: float) -> list[str]:
    return [name, *(f"{1000 * one:.0f}" for one in (median(found), max(found), most))]


def result(died: list[float], more: list[float], hung: list[float]) -> dict[str, Any]:
    """The table."""
    hangs = f"beats stop (--heartbeat {_HEARTBEAT:g})"
    return {
        "columns": ["the command", "median, ms", "longest, ms", "at most, ms"],
        "rows": [
            _row("is killed", died, _AFTER_DEATH),
            _row(f"is killed, {_MORE} contracts", more, _AFTER_DEATH),
            _row(hangs, hung, _AFTER_HANG),
        ],
        "note": (
            f"From the death, or from when its event loop blocks, to the arrival of the first "
            f"cancel at a simulated exchange on loopback; {_CONTRACTS} contracts where no other "
            f"number stands, {_RUNS} runs."
        ),
        "inline": {"died": f"{1000 * max(died):.0f}", "hung": f"{max(hung):.1f}"},
    }


async def _measured() -> tuple[list[float], list[float], list[float]]:
    died = [await first_cancel(_DIES) for _ in range(_RUNS)]
    more = [await first_cancel(_DIES, contracts=_MORE) for _ in range(_RUNS)]
    beats = ("--heartbeat", f"{_HEARTBEAT:g}")
    return died, more, [await first_cancel(_HANGS, *beats) for _ in range(_RUNS)]


def main() -> int:
    """Print the figures and keep them; 0 when the targets are kept."""
    died, more, hung = asyncio.run(_measured())
    most = 1000 * _AFTER_DEATH
    kept = [
        at_most("after a death, longest", 1000 * max(died), most, " ms"),
        at_most(f"the same with {_MORE} contracts", 1000 * max(more), most, " ms"),
        at_most("after a hang, longest", 1000 * max(hung), 1000 * _AFTER_HANG, " ms", ".4g"),
    ]
    told("after a death, median", f"{1000 * median(died):.0f} ms")
    told(f"the same with {_MORE} contracts, median", f"{1000 * median(more):.0f} ms")
    told("after a hang, median", f"{1000 * median(hung):.0f} ms")
    save("guard", result(died, more, hung), versions=installed("htx_async"))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
