"""20 calls at once with the limiter on: how long, and what the exchange sees in its busiest second.

Each limiter over each network, interleaved in one run, against a simulated exchange that counts
and refuses nobody; the worst of all rounds is what counts. Run: `python -m benchmarks.limit`.
"""

import asyncio
import random
import statistics
import sys
from collections.abc import Callable

import aiohttp
from aiolimiter import AsyncLimiter

from benchmarks.network import Network, relay
from htx_async import HtxSession, RateLimiter, TokenBucket
from htx_async.simulator import SimulatedExchange

_CALLS = 20
_ROUNDS = 3
_BOUNDS = {"plain": 3.3, "jittered": 3.6, "cold": 3.6}

_JITTER = random.Random(2026)


def _fifty_milliseconds() -> float:
    return _JITTER.uniform(0, 0.05)


NETWORKS = (
    Network("plain"),
    Network("jittered", up=_fifty_milliseconds, down=_fifty_milliseconds),
    Network("cold", connect=0.08),
)

LIMITERS: dict[str, Callable[[], RateLimiter | AsyncLimiter]] = {
    "htx_async": TokenBucket,
    "AsyncLimiter(5, 1)": lambda: AsyncLimiter(5, 1),
    "AsyncLimiter(1, 0.2)": lambda: AsyncLimiter(1, 0.2),
}


async def measure(network: Network, limiter: RateLimiter | AsyncLimiter) -> tuple[float, int]:
    """Seconds for all calls, and the exchange's busiest second."""
    loop = asyncio.get_running_loop()
    connector = aiohttp.TCPConnector(limit=0, force_close=network.name == "cold")
    async with (
        SimulatedExchange(limit=1000) as exchange,
        relay(exchange.url, network) as url,
        aiohttp.ClientSession(connector=connector) as http,
        HtxSession(exchange.credentials, base_urls=url, http=http, limiter=limiter) as htx,
    ):
        start = loop.time()
        await asyncio.gather(
            *(htx.cancel_all_trailing(f"C{n}-USDT", deadline=60.0) for n in range(_CALLS))
        )
        return loop.time() - start, exchange.busiest(1.0)


async def compare() -> dict[tuple[str, str], list[tuple[float, int]]]:
    """All figures, by network and limiter; the limiters take turns in every round."""
    figures: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for _ in range(_ROUNDS):
        for network in NETWORKS:
            for name, make in LIMITERS.items():
                figures.setdefault((network.name, name), []).append(await measure(network, make()))
    return figures


def main() -> int:
    """Print the figures; 0 when ours keep the limit within their time."""
    kept = True
    figures = asyncio.run(compare())
    print(f"{'network':10s} {'limiter':22s} {'seconds (median, worst)':>24s} busiest second")
    for (network, name), rounds in figures.items():
        seconds = [elapsed for elapsed, _ in rounds]
        busiest = max(most for _, most in rounds)
        median, worst = statistics.median(seconds), max(seconds)
        print(f"{network:10s} {name:22s} {median:17.2f} {worst:6.2f} {busiest:14d}")
        if name == "htx_async":
            kept = kept and busiest <= 5 and median <= _BOUNDS[network]
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
