"""A limiter that leaves some of another one's tokens for others: for looks, which are many and may
wait, and see `beside`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from htx_async.exchange.endpoints import BUDGETS, Permission
from htx_async.limits.limiter import BaseLimiter, Lease
from htx_async.limits.token_bucket import TokenBucket
from htx_async.limits.waiting_line import OnTurn

LEFT_FREE = 8
"""Of the 72 reads in 3 s, for second opinions and confirmations, which go before looks."""

_BESIDE: WeakKeyDictionary[BaseLimiter, TokenBucket] = WeakKeyDictionary()


class Spared(BaseLimiter):
    """Takes from `limiter` what a smaller one, `few`, lets pass."""

    def __init__(self, limiter: BaseLimiter, few: TokenBucket) -> None:
        self._limiter = limiter
        self._few = few

    @asynccontextmanager
    async def take(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> AsyncIterator[Lease]:
        """See `BaseLimiter.take`."""
        async with (
            self._few.take(endpoint, urgent=urgent) as first,
            self._limiter.take(endpoint, urgent=urgent, on_turn=on_turn) as second,
        ):
            yield _Both(first, second)

    def pause(self, endpoint: str, seconds: float) -> None:
        """See `RateLimiter.pause`."""
        self._limiter.pause(endpoint, seconds)

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float | None:
        """See `RateLimiter.earliest`."""
        own = self._few.earliest(endpoint, urgent=urgent)
        other = self._limiter.earliest(endpoint, urgent=urgent)
        return own if other is None else max(own, other)

    def foresee(
        self, endpoint: str, count: int, *, urgent: bool = False, round_trip: float = 0.0
    ) -> float:
        """See `BaseLimiter.foresee`."""
        return max(
            one.foresee(endpoint, count, urgent=urgent, round_trip=round_trip)
            for one in (self._few, self._limiter)
        )

    def refused(self, endpoint: str, seconds: float) -> float:
        """See `BaseLimiter.refused`."""
        return self._limiter.refused(endpoint, seconds)

    def tighten(self, endpoint: str, requests: float, seconds: float) -> tuple[int, float] | None:
        """See `BaseLimiter.tighten`."""
        return self._limiter.tighten(endpoint, requests, seconds)

    def slower_named(self, endpoint: str) -> int:
        """See `BaseLimiter.slower_named`."""
        return self._limiter.slower_named(endpoint)

    def waiting(self, endpoint: str) -> int | None:
        """See `BaseLimiter.waiting`."""
        others = self._limiter.waiting(endpoint)
        return None if others is None else others + self._few.waiting(endpoint)

    def may_hold(self, held: float, attempt: float) -> bool:
        """See `BaseLimiter.may_hold`."""
        return self._limiter.may_hold(held, attempt)


class SparedReads(Spared):
    """Takes from `reads` what a smaller budget lets pass, which all looks at `reads` share."""

    def __init__(self, reads: BaseLimiter) -> None:
        few = _BESIDE.get(reads)
        if few is None:
            size, per = BUDGETS[Permission.READ]
            few = _BESIDE[reads] = TokenBucket(size - LEFT_FREE, per)
        super().__init__(reads, few)


class _Both:
    """The token that counts, and the one of the few."""

    def __init__(self, few: Lease, token: Lease) -> None:
        self._leases = (token, few)
        self.mode = getattr(token, "mode", None)
        self.warning = getattr(token, "warning", "")

    def not_sent(self) -> None:
        """See `Lease.not_sent`."""
        for lease in self._leases:
            lease.not_sent()
