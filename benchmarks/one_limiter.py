"""One limiter against every network and every way of counting, in virtual time: N calls at once.

A call that is refused is tried again after the exchange's own reset: by this SDK itself, and for
the others as a user would. Prints its figures as JSON; `benchmarks.exchange_view` starts one such
process for each limiter. Run: `python -m benchmarks.one_limiter NAME`.
"""

import asyncio
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

from benchmarks.exchanges import COUNTS, LIMIT, Exchange, busiest_fixed, busiest_sliding
from benchmarks.figures import installed
from benchmarks.limiters_of_others import IN_MEMORY
from benchmarks.networks import NEAR, NETWORKS, Network, Route
from benchmarks.virtual import UNIX, run, session
from htx_async import TokenBucket

Call = Callable[[], Awaitable[object]]

OURS = "htx_async"
OURS_WITH_FLOOR = "htx_async, floor of 70 ms"
FLOOR = 0.07

RUNS = {20: 5, 100: 3, 500: 1}
"""Calls at once, and how many runs of them with chance of their own."""

_MORE_OF_OURS = 5
"""Times as many runs: a promise of never is looked at more closely."""

_LONG = 500
"""Calls at once from which on others meet the strictest count only: some of them poll, and take
long to."""

_MOST_TIMES = 20.0
_TO_END = 86_400.0


def follow_the_loop() -> None:
    """Let this process' clocks show the running loop's time, before anybody imports them by name.

    Limiters of others ask `time` and sleep on the loop, so both must agree.
    """

    def seconds() -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return 0.0

    time.monotonic = seconds
    time.time = lambda: UNIX + seconds()


@asynccontextmanager
async def _through_session(
    exchange: Exchange, network: Network, chance: random.Random, **settings: Any
) -> AsyncIterator[Call]:
    codes = (f"C{number}-USDT" for number in itertools.count())
    async with session(exchange, network, chance, **settings) as htx:
        yield lambda: htx.cancel_all_trailing(next(codes), deadline=_TO_END)


@asynccontextmanager
async def _through_limiter(
    name: str, exchange: Exchange, network: Network, chance: random.Random
) -> AsyncIterator[Call]:
    wait, route = IN_MEMORY[name](), Route(network, chance)

    async def call() -> None:
        await wait()
        while (verdict := await route.carry(exchange.arrive)).refused:
            await asyncio.sleep(verdict.wait)
            await wait()

    yield call


def _calls(
    name: str, exchange: Exchange, network: Network, chance: random.Random
) -> AbstractAsyncContextManager[Call]:
    if name == OURS:
        return _through_session(exchange, network, chance)
    if name == OURS_WITH_FLOOR:
        limiter = TokenBucket(round_trip_floor=FLOOR)
        return _through_session(exchange, network, chance, limiter=limiter)
    return _through_limiter(name, exchange, network, chance)


class Run(NamedTuple):
    """What came of one: seconds until the last call was answered, and what the exchange saw."""

    seconds: float
    refusals: int
    arrivals: list[float]


async def measure(name: str, network: Network, count: str, calls: int, seed: int) -> Run:
    """`calls` at once, at any moment of the client's second and of the exchange's."""
    loop, chance = asyncio.get_running_loop(), random.Random(seed)
    offset = chance.random()
    exchange = Exchange(COUNTS[count](), lambda: loop.time() + offset)
    await asyncio.sleep(chance.random())
    async with _calls(name, exchange, network, chance) as call:
        start = loop.time()
        async with asyncio.timeout(_MOST_TIMES * optimum(calls, network)):
            await asyncio.gather(*(call() for _ in range(calls)))
        return Run(loop.time() - start, exchange.refusals, exchange.arrivals)


def optimum(calls: int, network: Network) -> float:
    """Seconds for a client that knows all: five in each second, the last of them answered."""
    return (calls - 1) // LIMIT + network.round_trip


def case(name: str, network: Network, count: str, calls: int) -> dict[str, Any]:
    """The figures of all runs of one kind."""
    seeds = range(RUNS[calls] * (_MORE_OF_OURS if name.startswith(OURS) else 1))
    runs = [run(measure(name, network, count, calls, seed)) for seed in seeds]
    times = [one.seconds / optimum(calls, network) for one in runs]
    fixed = [busiest_fixed(one.arrivals) for one in runs]
    refusals = [one.refusals for one in runs]
    return {
        "limiter": name,
        "network": network.name,
        "count": count,
        "calls": calls,
        "runs": len(runs),
        "seconds": statistics.median(one.seconds for one in runs),
        "times": statistics.median(times),
        "times_worst": max(times),
        "busiest_sliding": max(busiest_sliding(one.arrivals) for one in runs),
        "busiest_fixed": max(worst for _, worst in fixed),
        "busiest_fixed_kindest": max(kindest for kindest, _ in fixed),
        "refusals": statistics.median(refusals),
        "refusals_worst": max(refusals),
    }


def cases(name: str) -> list[dict[str, Any]]:
    """Every network that the limiter's settings are true for, every count, every number."""
    networks = [one for one in NETWORKS if name != OURS_WITH_FLOOR or one is not NEAR]
    strictest = next(iter(COUNTS))
    return [
        case(name, network, count, calls)
        for network, count, calls in itertools.product(networks, COUNTS, RUNS)
        if calls < _LONG or count == strictest or name.startswith(OURS)
    ]


def main() -> int:
    """Print the figures of the limiter that is named."""
    follow_the_loop()
    name = sys.argv[1]
    versions = installed(name.partition(" ")[0].removesuffix(","))
    print(json.dumps({"cases": cases(name), "versions": versions}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
