"""One process shares five requests a second through a Redis that is 20, 50 and 100 ms away.

Ten callers wait for eight seconds, and a request takes 50 ms; the relay in between takes half of
the round trip each way. Each distance has a server of its own, all side by side. Run:
`python -m benchmarks.distance`.
"""

import asyncio
import sys
import time
from typing import Any, NamedTuple

from benchmarks.exchanges import LIMIT, busiest_sliding
from benchmarks.figures import installed, save
from benchmarks.targets import at_most, told

_ROUND_TRIPS = (0.02, 0.05, 0.1)
_CALLERS = 10
_SECONDS = 8.0
_LATENCY = 0.05
_PATH = "/linear-swap-api/v1/swap_track_cancelall"
_ACCOUNT = "benchmark"

_LEAST_RATE = 3.5


class Found(NamedTuple):
    """What was granted at one distance, and over how many connections."""

    round_trip: float
    rate: float
    busiest: int
    connections: int

    @property
    def name(self) -> str:
        """The distance in milliseconds."""
        return f"{self.round_trip * 1000:.0f}"


async def measure(round_trip: float) -> Found:
    """Callers that take tokens one after the other, for a while."""
    from htx_async.redis_limits import RedisTokenBucket  # noqa: PLC0415 - where it is installed
    from tests.support.redis_server import Proxy, Stored, running  # noqa: PLC0415 - as above

    sent: list[float] = []

    async def call(bucket: RedisTokenBucket) -> None:
        while True:
            async with bucket.take(_PATH):
                sent.append(time.monotonic())
                await asyncio.sleep(_LATENCY)

    with running() as server:
        # As if used before: what a first use costs is no part of the comparison.
        Stored(server, _ACCOUNT).open()
        async with Proxy(server) as proxy:
            proxy.up = proxy.down = round_trip / 2
            async with RedisTokenBucket.from_url(proxy.url, _ACCOUNT, share_of=1) as bucket:
                callers = [asyncio.create_task(call(bucket)) for _ in range(_CALLERS)]
                ended, _ = await asyncio.wait(callers, timeout=_SECONDS)
                for caller in ended:
                    caller.result()
                for caller in callers:
                    caller.cancel()
                await asyncio.wait(callers)
            connections = proxy.accepted
    # The first five cost no time, so that they do not count.
    later = sent[LIMIT - 1 :]
    rate = (len(later) - 1) / (later[-1] - later[0])
    return Found(round_trip, rate, busiest_sliding(sent), connections)


async def _all() -> list[Found]:
    return await asyncio.gather(*map(measure, _ROUND_TRIPS))


def judged(one: Found) -> bool:
    """Print one distance's figures; whether they keep their targets."""
    is_kept = one.rate >= _LEAST_RATE
    kept = (
        told(f"{one.name} ms: granted", f"{one.rate:.2f}/s", f">= {_LEAST_RATE}/s", kept=is_kept),
        at_most("  busiest second", one.busiest, LIMIT),
        at_most("  connections", one.connections, 1),
    )
    return all(kept)


def result(found: list[Found]) -> dict[str, Any]:
    """The table of docs/benchmarks.md, and the figures of docs/fleet.md."""
    return {
        "columns": ["Redis' round trip, ms", "granted a second", "busiest second", "connections"],
        "rows": [
            [one.name, f"{one.rate:.1f}", str(one.busiest), str(one.connections)] for one in found
        ],
        "note": (
            f"One process with {_CALLERS} callers for {_SECONDS:g} s, requests of "
            f"{_LATENCY * 1000:g} ms, five a second allowed."
        ),
        "inline": {f"at_{one.name}": f"{one.rate:.1f}" for one in found},
    }


def main() -> int:
    """Print the figures and keep them; 0 when they keep their targets."""
    found = asyncio.run(_all())
    kept = [judged(one) for one in found]
    save("distance", result(found), versions=installed("htx-async", "redis"))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
