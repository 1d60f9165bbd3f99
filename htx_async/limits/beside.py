"""A limiter for whoever sends beside a process that keeps the limit by itself: as long as that one
may send, little is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from htx_async.aio.tasks import Promise
from htx_async.enums import LimiterMode
from htx_async.exchange.endpoints import READS, limit_of
from htx_async.limits.limiter import BaseLimiter, Lease
from htx_async.limits.spared import Spared
from htx_async.limits.token_bucket import TokenBucket
from htx_async.limits.waiting_line import OnTurn

ON_THEIR_WAY = 0.25
"""Seconds by which requests of a process that has just died may arrive later than others; as long
as those count that a new file of the host has not seen."""

_AGAIN = 20.0
"""Seconds after which a bucket is told once more of a slower limit, which it believes for 60."""


class Beside(Spared):
    """Takes from `limiter` what a process leaves that takes all five of its own: of each endpoint
    that cancels one request a second, so that both together send six at most; of reads half. Once
    it is opened, all that `limiter` gives. Belongs to one event loop."""

    def __init__(self, limiter: BaseLimiter) -> None:
        super().__init__(limiter, TokenBucket())
        self.per, self.lease = limiter.per, limiter.lease
        self.is_open = False
        self._endpoints: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        reads = limiter.reads
        self._reads = None if reads is None else Beside(reads) if reads is not limiter else self

    def open(self) -> None:
        """Nobody sends beside it any more, or by the same tokens."""
        if self._reads is not None and self._reads is not self:
            self._reads.open()
        self.is_open = True
        if self._timer is not None:
            self._timer.cancel()
        for endpoint in self._endpoints:
            self._few.tighten(endpoint, *limit_of(endpoint))

    @property
    def reads(self) -> BaseLimiter | None:
        """See `BaseLimiter.reads`."""
        return self._reads

    @property
    def promises(self) -> set[Promise] | None:
        """See `BaseLimiter.promises`."""
        return self._limiter.promises

    def for_account(self, account: str) -> None:
        """See `BaseLimiter.for_account`."""
        self._limiter.for_account(account)

    @asynccontextmanager
    async def take(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> AsyncIterator[Lease]:
        """See `BaseLimiter.take`."""
        self._narrow(endpoint)
        async with super().take(endpoint, urgent=urgent, on_turn=on_turn) as lease:
            yield lease

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float | None:
        """See `RateLimiter.earliest`."""
        self._narrow(endpoint)
        return super().earliest(endpoint, urgent=urgent)

    def foresee(
        self, endpoint: str, count: int, *, urgent: bool = False, round_trip: float = 0.0
    ) -> float:
        """See `BaseLimiter.foresee`."""
        self._narrow(endpoint)
        return super().foresee(endpoint, count, urgent=urgent, round_trip=round_trip)

    def hear(self, listener: Callable[[str, LimiterMode, str], object]) -> Callable[[], None]:
        """See `BaseLimiter.hear`."""
        return self._limiter.hear(listener)

    async def drain(self) -> None:
        """See `BaseLimiter.drain`."""
        await self._limiter.drain()

    def _narrow(self, endpoint: str) -> None:
        if not self.is_open and endpoint not in self._endpoints:
            self._endpoints.add(endpoint)
            self._tell(endpoint)
            if self._timer is None:
                self._tell_again()

    def _tell(self, endpoint: str) -> None:
        size, per = limit_of(endpoint)
        self._few.tighten(endpoint, size // 2 if endpoint == READS else 1, per)

    def _tell_again(self) -> None:
        for endpoint in self._endpoints:
            self._tell(endpoint)
        self._timer = asyncio.get_running_loop().call_later(_AGAIN, self._tell_again)
