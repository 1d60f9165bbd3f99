"""What one call costs beside a bare aiohttp POST of a pre-signed URL; limiter off.

One run, the two interleaved in rounds, the server in a process of its own. CPU is this process's
own time; ratios are formed within a round, and the median over all rounds is what counts.
Run: `python -m benchmarks.per_call`.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

import aiohttp
from yarl import URL

from benchmarks.server import serving
from htx_async import Credentials, HtxSession

_ROUNDS = 40
_CALLS = 100
_MOST_TIMES = 1.45

_PATH = "/linear-swap-api/v1/swap_track_cancelall"
_BODY = b'{"contract_code":"BTC-USDT","direction":"buy","offset":"close"}'
_QUERY = (
    "AccessKeyId=e2xxxxxx-99xxxxxx-84xxxxxx-7xxxx&SignatureMethod=HmacSHA256&SignatureVersion=2"
    "&Timestamp=2017-05-11T15%3A19%3A30&Signature=4F65x5A2bLyMWVQj3Aqp%2BB4w%2BivaA7n5Oi2SuYtCJ9o%3D"
)


class _Held:
    def not_sent(self) -> None:
        pass


class Unlimited:
    """A limiter that lets everything through, so that nothing but the call is measured."""

    def take(self, endpoint: str, *, urgent: bool = False) -> Any:
        return nullcontext(_Held())

    def pause(self, endpoint: str, seconds: float) -> None:
        pass

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float | None:
        return None


async def cost(call: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """CPU and wall seconds of one call, the mean of a round."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(_CALLS):
        await call()
    return (time.process_time() - cpu) / _CALLS, (time.perf_counter() - wall) / _CALLS


async def compare(base_url: str) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Costs round by round: of the bare POST, and of this SDK."""
    url = URL(f"{base_url}{_PATH}?{_QUERY}", encoded=True)
    headers = {"Content-Type": "application/json"}
    credentials = Credentials(
        "e2xxxxxx-99xxxxxx-84xxxxxx-7xxxx", "b0xxxxxx-c6xxxxxx-94xxxxxx-dxxxx"
    )
    async with (
        aiohttp.ClientSession() as http,
        HtxSession(credentials, base_urls=base_url, limiter=Unlimited()) as htx,
    ):

        async def bare() -> None:
            async with http.post(url, data=_BODY, headers=headers) as response:
                await response.read()

        async def ours() -> None:
            await htx.cancel_all_trailing("BTC-USDT", "buy", "close")

        await cost(bare)
        await cost(ours)
        rounds = [(await cost(bare), await cost(ours)) for _ in range(_ROUNDS)]
    return [floor for floor, _ in rounds], [ours for _, ours in rounds]


def main() -> int:
    """Print the figures; 0 when the CPU ratio is within its bound."""
    with serving() as base_url:
        floor, ours = asyncio.run(compare(base_url))
    within = True
    for index, name in enumerate(("CPU", "wall")):
        ratios = sorted(b[index] / a[index] for a, b in zip(floor, ours, strict=True))
        ratio = statistics.median(ratios)
        low, high = ratios[_ROUNDS // 10], ratios[-_ROUNDS // 10]
        bare = statistics.median(pair[index] for pair in floor) * 1e6
        mine = statistics.median(pair[index] for pair in ours) * 1e6
        print(
            f"{name} per call: bare POST {bare:.0f} us, htx_async {mine:.0f} us, "
            f"{ratio:.2f} times ({low:.2f} to {high:.2f})"
        )
        within = within and (name != "CPU" or ratio <= _MOST_TIMES)
    print(f"bound for CPU: {_MOST_TIMES} times")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
