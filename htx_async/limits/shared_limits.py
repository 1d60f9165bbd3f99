"""What limiters have in common whose tokens several processes share, wherever the tokens lie.

A token is taken from a store before a request is signed and comes back one period after its answer,
as in `TokenBucket`, so no second at the exchange holds more than `size` requests of all processes
together. Only the head of a process's line asks. While the store cannot be reached the process goes
on with a share of its own.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from htx_async.aio.listeners import Audience, as_listener
from htx_async.aio.tasks import Promise, kept
from htx_async.arguments import as_seconds
from htx_async.enums import LimiterMode
from htx_async.errors import SessionClosed
from htx_async.exchange.endpoints import Limit
from htx_async.limits.limiter import BaseLimiter
from htx_async.limits.shared_queue import OnMode, SharedQueue, Token
from htx_async.limits.shared_store import MARGIN, WITHIN, Rule, SharedStore
from htx_async.limits.shared_told import Share
from htx_async.limits.waiting_line import OnTurn

PROBE = 0.25
"""Seconds within which every process that does without its store has looked for it again."""

SLACK = 0.5
"""Seconds added to every lease, for what happens between a grant and the request's first byte."""


class Here:
    """What one event loop has of a bucket."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.queues: dict[str, SharedQueue] = {}
        self.listeners: Audience[OnMode] = Audience("a listener")
        self.promises: set[Promise] = set()
        self.is_closed = False

    def tell(self, endpoint: str, mode: LimiterMode, reason: str) -> None:
        """The mode of `endpoint` has changed."""
        self.listeners.tell("a change of mode", endpoint, mode, reason)


class SharedTokenBucket(BaseLimiter):
    """A `RateLimiter` whose tokens other processes use too; `_here` and `_store` say where they
    lie."""

    size: int
    per: float
    lease: float
    share_of: int

    @abstractmethod
    def _here(self) -> Here:
        """What the running event loop has of it; `InvalidRequest` where it may have nothing."""

    @abstractmethod
    def _store(self, endpoint: str, rule: Rule) -> SharedStore:
        """Where the tokens of `endpoint` lie."""

    @abstractmethod
    async def reach(self) -> str:
        """Where the tokens lie and that they can be had, in words; `HtxError` when they cannot.

        Takes none of the account's.
        """

    async def __aenter__(self) -> Self:
        self._here()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Carry out every guard that was entered with it, and settle what is out, which takes
        0.25 s at most."""
        await self._close(self._here())

    async def _close(self, here: Here, last: Callable[[], Awaitable[None]] | None = None) -> None:
        deliver = await kept(tuple(here.promises), "its limiter was closed")
        here.is_closed = True
        for queue in here.queues.values():
            await queue.aclose()
        await drained(here)
        for queue in here.queues.values():
            await queue.debts.stop()
        if last is not None:
            await last()
        deliver()

    async def drain(self) -> None:
        """Wait until the others can see every token that is back, or 0.25 s have passed."""
        await drained(self._here())

    def take(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> TakeShared:
        """See `TokenBucket.take`; only the head of the line asks the store."""
        return TakeShared(self._queue(endpoint), urgent, on_turn)

    def stand(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> TakeShared:
        """See `BaseLimiter.stand`."""
        return self.take(endpoint, urgent=urgent, on_turn=on_turn).stand()

    def pause(self, endpoint: str, seconds: float) -> None:
        """See `RateLimiter.pause`; the other processes hear of it when they next ask."""
        queue = self._queue(endpoint)
        queue.told.pause(as_seconds("pause", seconds, least=0))
        queue.moved()

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float:
        """See `RateLimiter.earliest`; as if no other process took any."""
        return self._queue(endpoint).earliest(urgent)

    def foresee(
        self, endpoint: str, count: int, *, urgent: bool = False, round_trip: float = 0.0
    ) -> float:
        """See `TokenBucket.foresee`; as if all that share it were as busy as this process."""
        return self._queue(endpoint).foresee(count, urgent, round_trip)

    def waiting(self, endpoint: str) -> int:
        """How many callers of this process wait for `endpoint`."""
        return len(self._queue(endpoint).line)

    def tighten(self, endpoint: str, requests: float, seconds: float) -> tuple[int, float] | None:
        """See `TokenBucket.tighten`; holds for all processes."""
        rate = as_seconds("requests", requests) / as_seconds("seconds", seconds)
        queue = self._queue(endpoint)
        named, told = queue.told.slower_named, queue.told.tighten(rate, requests)
        if queue.told.is_changed:
            queue.moved()
        elif queue.told.slower_named > named:
            queue.announce()
        return told

    def slower_named(self, endpoint: str) -> int:
        """See `TokenBucket.slower_named`; of what this process was told."""
        return self._queue(endpoint).told.slower_named

    def refused(self, endpoint: str, seconds: float) -> float:
        """See `TokenBucket.refused`; of all processes one asks, and the others hear of it."""
        queue = self._queue(endpoint)
        closed = queue.told.refused(as_seconds("seconds", seconds, least=0))
        queue.moved()
        return closed

    def mode(self, endpoint: str) -> LimiterMode:
        """Whose tokens `endpoint` uses at present."""
        return self._queue(endpoint).mode

    def hear(self, listener: OnMode) -> Callable[[], None]:
        """Call `listener(endpoint, mode, reason)` at each change of mode, until the function that
        this returns is called. `InvalidRequest` for an async one, which nobody would await."""
        as_listener("listener", listener, "endpoint, mode and reason")
        return self._audience().add(listener)

    def _audience(self) -> Audience[OnMode]:
        return self._here().listeners

    def _queue(self, endpoint: str) -> SharedQueue:
        here = self._here()
        if here.is_closed:
            raise SessionClosed("this limiter is closed, so nothing was sent; open a new one")
        queue = here.queues.get(endpoint)
        if queue is None:
            rule = as_rule(here.share.whole(endpoint))
            store = self._store(endpoint, rule)
            queue = SharedQueue(endpoint, store, rule, here.share, here.tell)
            here.queues[endpoint] = queue
        return queue


async def drained(here: Here) -> None:
    """Wait until stores know of every token that is back, or 0.25 s have passed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(WITHIN):
            for queue in here.queues.values():
                await queue.debts.told()


class TakeShared:
    """Waits for one shared token and holds it for a block."""

    __slots__ = ("_on_turn", "_queue", "_token", "_urgent", "_waiter", "mode", "warning")

    def __init__(self, queue: SharedQueue, urgent: bool, on_turn: OnTurn | None) -> None:
        self._queue = queue
        self._urgent = urgent
        self._on_turn = on_turn
        self._waiter: asyncio.Future[None] | None = None
        self._token: Token | None = None
        self.mode: LimiterMode = LimiterMode.SHARED
        """Whose token it is."""
        self.warning: str = ""
        """Why it is no shared one, in words for a report."""

    def stand(self) -> Self:
        """See `BaseLimiter.stand`."""
        self._waiter = self._queue.join(self._urgent, self._on_turn)
        return self

    async def __aenter__(self) -> Self:
        waiter = self._waiter or self._queue.join(self._urgent, self._on_turn)
        try:
            await waiter
        except BaseException:
            # However it ends: a place that nobody waits in would keep the others waiting.
            self._queue.abandon(waiter)
            raise
        self._token = self._queue.collect()
        self.mode = self._token.mode
        if self.mode is LimiterMode.OWN_SHARE:
            self.warning = f"{_ALONE} ({self._queue.reason})"
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        token, self._token = self._token, None
        if token is not None:
            if token.own is not None:
                await token.own.__aexit__(exc_type, exc, traceback)
            self._queue.settle(token, answered=exc_type is None)

    def not_sent(self) -> None:
        """See `Lease.not_sent`."""
        token, self._token = self._token, None
        if token is not None:
            self._queue.release(token)


_ALONE = (
    "the limit could not be shared with other processes, so that this one used its own share of it"
)


def as_rule(limit: Limit) -> Rule:
    """What a store keeps of `limit`: a token held a moment longer."""
    return Rule(limit.size, limit.per + MARGIN)
