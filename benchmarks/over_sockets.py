"""The exchange's view in real time: the SDK over real sockets, through a relay that delays, to the
simulated exchange. It shows that the same cases in virtual time tell the truth."""

import asyncio
import random
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

from aiolimiter import AsyncLimiter

from benchmarks.exchanges import LIMIT
from benchmarks.networks import COLD, JITTERED, NEAR, PLAIN, Network, relay
from benchmarks.one_limiter import FLOOR, OURS, OURS_WITH_FLOOR, optimum
from htx_async import HtxSession, RateLimiter, TokenBucket
from htx_async.simulator import SimulatedExchange

_ROUNDS = 3
_APART = 0.13
"""Seconds between two beginnings, so that runs side by side do not wake in the same instant."""

_TO_END = 60.0
_TOO_MANY = 1032

LIMITERS: dict[str, Callable[[], RateLimiter | AsyncLimiter | None]] = {
    OURS: lambda: None,
    OURS_WITH_FLOOR: lambda: TokenBucket(round_trip_floor=FLOOR),
    "aiolimiter (5, 1)": lambda: AsyncLimiter(5, 1),
    "aiolimiter (1, 0.2)": lambda: AsyncLimiter(1, 0.2),
}


class Case(NamedTuple):
    """Calls of one limiter at once through one network."""

    limiter: str
    network: Network
    calls: int


SHORT = tuple(
    Case(limiter, network, 20)
    for network in (PLAIN, JITTERED, COLD)
    for limiter in (OURS, "aiolimiter (5, 1)", "aiolimiter (1, 0.2)")
)
LONG = (Case(OURS, NEAR, 100), Case(OURS, PLAIN, 100), Case(OURS_WITH_FLOOR, PLAIN, 100))


class Seen(NamedTuple):
    """Seconds until the last answer; the exchange's busiest second, and whom it refused."""

    seconds: float
    busiest: int
    refusals: int


async def measure(case: Case, seed: int) -> Seen:
    """One run, as one mass cancel; the exchange counts in a sliding window.

    It refuses nobody when the limiter is another's: this SDK would pause for it after a refusal,
    and what it lets through by itself is the question.
    """
    async with (
        SimulatedExchange(limit=LIMIT if case.limiter.startswith(OURS) else 1000) as exchange,
        relay(exchange.url, case.network, random.Random(seed)) as url,
        HtxSession(exchange.credentials, base_urls=url, limiter=LIMITERS[case.limiter]()) as htx,
    ):
        codes = [f"C{number}-USDT" for number in range(case.calls)]
        for code in codes:
            # A contract without any would be looked at twice.
            exchange.place(code, "sell", "close")
        report = await htx.mass_cancel_trailing(codes, deadline=_TO_END)
        assert report.is_clear
        refused = sum(one.err_code == _TOO_MANY for one in exchange.arrivals)
        return Seen(report.elapsed, exchange.busiest(1.0), refused)


async def _later(case: Case, seed: int, delay: float) -> Seen:
    await asyncio.sleep(delay)
    return await measure(case, seed)


async def _rounds(cases: tuple[Case, ...], count: int, delay: float) -> list[list[Seen]]:
    """Of each case, `count` rounds one after the other, all cases side by side."""
    rounds = []
    for seed in range(count):
        runs = (_later(case, seed, delay + at * _APART) for at, case in enumerate(cases))
        rounds.append(await asyncio.gather(*runs))
    return [list(runs) for runs in zip(*rounds, strict=True)]


async def compare() -> list[dict[str, Any]]:
    """The figures of all cases."""
    short, long = await asyncio.gather(_rounds(SHORT, _ROUNDS, 0.0), _rounds(LONG, 1, _APART / 2))
    cases = (*SHORT, *LONG)
    return [_figures(case, runs) for case, runs in zip(cases, short + long, strict=True)]


def _figures(case: Case, runs: list[Seen]) -> dict[str, Any]:
    seconds = statistics.median(run.seconds for run in runs)
    return {
        "limiter": case.limiter,
        "network": case.network.name,
        "calls": case.calls,
        "seconds": seconds,
        "times": seconds / optimum(case.calls, case.network),
        "busiest_sliding": max(run.busiest for run in runs),
        "refusals_worst": max(run.refusals for run in runs),
    }
