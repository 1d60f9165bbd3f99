"""Callers of a limiter, and how many of them any second has seen."""

import asyncio
from collections.abc import Iterable

from htx_async import RateLimiter

HOLD = 1.002


def busiest(moments: Iterable[float], window: float = 1.0) -> int:
    """Most moments in any half-open window, counted by brute force."""
    ordered = list(moments)
    return max(sum(a <= b < a + window for b in ordered) for a in ordered)


def now() -> float:
    return asyncio.get_running_loop().time()


async def queue_up(count: int) -> None:
    """Let `count` tasks that were just made reach their wait."""
    for _ in range(3):
        await asyncio.sleep(0)


PATH = "/linear-swap-api/v1/swap_track_cancelall"


async def use(limiter: RateLimiter, endpoint: str = PATH, *, urgent: bool = False) -> float:
    async with limiter.take(endpoint, urgent=urgent):
        return now()


class Holder:
    """Stands for a session that is open."""
