"""What a plain cancel costs of the client's own work, counted in calls of its own functions.

Seconds of CPU beside what users write by hand: `benchmarks.per_call`. A count is the same on every
machine and under any load.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import htx_async
from htx_async import Outcome
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import run, virtual_session

PACKAGE = Path(htx_async.__file__).parent
MOST = 242
"""For one cancel that is taken at once, on an account of either generation."""

MOST_TO_JUDGE = 79
"""Those of them that find out what the answer proves, and tell it."""


def counting(calls: Counter[str]) -> Callable[[FrameType, str, object], None]:
    """A profiler that adds each call of a function of the package, by its folder."""

    def count(frame: FrameType, event: str, argument: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE) and "simulator" not in path.parts:
            calls[path.relative_to(PACKAGE).parts[0]] += 1

    return count


def test_a_plain_cancel_costs_few_calls() -> None:
    """Three orders taken at once: from the argument to the report, and what the judge has of it."""

    async def main() -> Counter[str]:
        exchange = SimulatedExchange(clock=asyncio.get_running_loop().time)
        found = []
        async with virtual_session(exchange, generation="auto") as htx:
            for _ in range(5):
                calls: Counter[str] = Counter()
                for _ in range(3):
                    exchange.place("BTC-USDT", "buy", "close")
                sys.setprofile(counting(calls))
                try:
                    report = await htx.cancel_all_trailing("BTC-USDT", "buy", "close")
                finally:
                    sys.setprofile(None)
                assert report.outcome is Outcome.CANCELLED
                assert len(report.successes) == 3
                found.append(calls)
        # What is made once for a session, or kept for a while, is there for one of them.
        return min(found, key=Counter.total)

    calls = run(main())
    assert calls["cancel"] <= MOST_TO_JUDGE, calls
    assert calls.total() <= MOST, calls
