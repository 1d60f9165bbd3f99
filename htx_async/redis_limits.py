"""One account, many processes: the same tokens on Redis (or Valkey). Extra `[redis]`.

The exchange counts by account, not by process. A token is taken on Redis before a request is
signed and comes back one period after its answer, as in `TokenBucket`, so no second at the
exchange holds more than `size` requests of all processes together. The step that grants is one
script on Redis' own clock, `redis_limits.lua`; clocks of the processes are not compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from htx_async.aio.listeners import Audience, as_listener
from htx_async.aio.loop_binding import LoopBinding
from htx_async.aio.tasks import Promise, kept
from htx_async.arguments import as_count, as_seconds
from htx_async.enums import LimiterMode
from htx_async.errors import HtxError, InvalidRequest, SessionClosed
from htx_async.exchange.endpoints import BUDGETS, READS, TRAILING, Limit, Permission, limit_of
from htx_async.limits.account_budget import ordinary
from htx_async.limits.limiter import BaseLimiter
from htx_async.limits.redis_link import (
    WITHIN,
    RedisLink,
    RunsScripts,
    Unreachable,
    check_client,
    connect,
)
from htx_async.limits.redis_queue import OnMode, RedisQueue, Token
from htx_async.limits.redis_store import RedisStore, Rule, try_out
from htx_async.limits.redis_told import Share
from htx_async.limits.registry import account_key
from htx_async.limits.waiting_line import OnTurn

_PROBE = 0.25
"""Seconds within which every process that does without Redis has looked for it again."""

_LOOK = 0.2
"""Seconds between two such looks."""

_MARGIN = 0.002
"""Seconds added to every hold: loop timers were seen to fire up to 1.25 ms early (uvloop)."""

_SLACK = 0.5
"""Seconds added to every lease, for what happens between a grant and the request's first byte."""

_TO_ENTER = 1.0
"""Seconds that entering the bucket waits for a connection: enough for the handshake on a slow way,
so that the first caller finds it made."""


class RedisTokenBucket(BaseLimiter):
    """A `RateLimiter` whose tokens all processes of an account share through one Redis.

    `redis`: a `redis.asyncio` client of the caller's, used and never closed. `account`: a name
    that all of them give; only a hash of it is stored. `share_of`: how many processes share the
    account; while one of them cannot reach Redis it goes on with `size / share_of` tokens, or, if
    that is below one, with one token that comes back later. `lease`: seconds after which the token
    of a holder that vanished comes back; a session refuses one shorter than its `attempt_timeout`
    plus `per`. `size`, `per`: requests in any `per` seconds, for each endpoint by itself, as for
    `TokenBucket`; the account's total of trade calls is taken in the same step.

    No caller waits longer than 0.25 s for Redis to answer, and as long again where a connection
    has to be made first; round trips of up to 100 ms do. When it does not answer, the endpoint is
    closed for one period, then the process uses its own share, and looks for Redis every 0.2 s and
    before each request. A Redis that comes back empty counts every token as just used and opens
    0.25 s plus one period later; so does one that is used for the first time. One urgent call
    passes such a change-over at once. What is certain then, and what is not, stands in
    `docs/fleet.md`.

    Belongs to one event loop at a time. An async context manager, which connects on entering and
    waits for that for 1 s at most, Redis or not; `aclose()` settles what is out. Raises
    `InvalidRequest` for settings that cannot work.
    """

    def __init__(
        self,
        redis: RunsScripts,
        account: str,
        *,
        share_of: int,
        lease: float = 5.0,
        size: int | None = None,
        per: float = TRAILING.per,
    ) -> None:
        if not (isinstance(account, str) and account):
            raise InvalidRequest("account must be a name that all processes of the account give")
        check_client(redis)
        self._share = Share(size, per, as_count("share_of", share_of))
        self.size, self.per, self.share_of = self._share.size, self._share.per, share_of
        self.lease = as_seconds("lease", lease)
        self._redis = redis
        self._is_own = False
        self._is_closed = False
        self.promises: set[Promise] = set()
        self._link: RedisLink | None = None
        self._account = account
        self._reads: RedisTokenBucket | None = None
        self._get_link = self._own_link
        self._key = account_key(account)[:32]
        self._binding = LoopBinding()
        self._queues: dict[str, RedisQueue] = {}
        self._listeners: Audience[OnMode] = Audience("a listener")

    @classmethod
    def from_url(cls, url: str, account: str, **settings: Any) -> Self:
        """A bucket with a client of its own, closed by `aclose()`; `settings` as above.

        `url`: `redis://`, `rediss://` or `unix://`, as redis-py reads it.
        """
        bucket = cls(connect(url), account, **settings)
        bucket._is_own = True
        return bucket

    async def __aenter__(self) -> Self:
        self._bind()
        with suppress(Unreachable):
            await self._get_link().connect(_TO_ENTER)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Carry out every guard that was entered with it, settle what is out, which takes 0.25 s at
        most, and close a client of its own.

        Raises `InvalidRequest` where another event loop, or the process that forked this one, uses
        it.
        """
        is_late = self._bind()
        # Those of a closed loop ended with it.
        promises = () if is_late else tuple(self.promises)
        deliver = await kept(promises, "its limiter was closed")
        self._is_closed = True
        for queue in self._queues.values():
            await queue.aclose()
        await self.drain()
        for queue in self._queues.values():
            await queue.debts.stop()
        if self._reads is not None:
            await self._reads.aclose()
        if self._link is not None:
            await self._link.aclose()
        if self._is_own:
            # Connections of a closed loop ended with it, and cannot be told so.
            with suppress(*[RuntimeError] if is_late else ()):
                await self._redis.aclose()
        deliver()

    async def drain(self) -> None:
        """Wait until Redis knows of every token that is back, or 0.25 s have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WITHIN):
                for queue in self._queues.values():
                    await queue.debts.told()

    def take(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> TakeShared:
        """See `TokenBucket.take`; only the head of the line asks Redis."""
        return TakeShared(self._queue(endpoint), urgent, on_turn)

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
        """See `TokenBucket.foresee`; as if all processes were as busy as this one."""
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

    @property
    def reads(self) -> RedisTokenBucket:
        """The same for the account's reads, shared like the rest."""
        if self._reads is None:
            size, per = limit_of(READS)
            reads = self._reads = RedisTokenBucket(
                self._redis,
                f"{self._account} reads",
                share_of=self.share_of,
                lease=self.lease + per - self.per,
                size=size,
                per=per,
            )
            reads._listeners = self._listeners
            reads._get_link = self._get_link
        return self._reads

    def mode(self, endpoint: str) -> LimiterMode:
        """Whose tokens `endpoint` uses at present."""
        return self._queue(endpoint).mode

    def hear(self, listener: OnMode) -> Callable[[], None]:
        """Call `listener(endpoint, mode, reason)` at each change of mode, until the function that
        this returns is called. `InvalidRequest` for an async one, which nobody would await."""
        as_listener("listener", listener, "endpoint, mode and reason")
        return self._listeners.add(listener)

    async def reach(self) -> str:
        """What Redis answers, in words; raises `HtxError` when no token can be had there.

        Takes one and gives it back, under a name of its own: none of the account's.
        """
        try:
            seconds = await try_out(self._redis)
        except Unreachable as failure:
            reason = failure.reason
        else:
            return f"Redis answers in {seconds * 1000:.1f} ms; a token was taken and given back"
        raise HtxError(reason)

    def _bind(self) -> bool:
        """Belong to the running loop; whether another one was left behind."""
        if self._binding.enter() is None:
            return False
        # What a closed loop left behind: its tokens come back at the end of their lease.
        self._queues.clear()
        self._link = None
        return True

    def _own_link(self) -> RedisLink:
        self._bind()
        self._link = self._link or RedisLink(self._redis, is_own=self._is_own)
        return self._link

    def _queue(self, endpoint: str) -> RedisQueue:
        if self._is_closed:
            raise SessionClosed("this limiter is closed, so nothing was sent; open a new one")
        self._bind()
        queue = self._queues.get(endpoint)
        if queue is None:
            account = BUDGETS[Permission.TRADE]
            rule = _rule(self._share.whole(endpoint))
            store = RedisStore(
                self._get_link(),
                self._key,
                endpoint,
                rules=(rule, _rule(account)),
                ordinary=ordinary(account).size,
                lease=self.lease + _SLACK,
                probe=_PROBE,
            )
            queue = RedisQueue(
                endpoint,
                store,
                rule,
                self._share,
                margin=_MARGIN,
                probe=_LOOK,
                tell=self._tell,
            )
            self._queues[endpoint] = queue
        return queue

    def _tell(self, endpoint: str, mode: LimiterMode, reason: str) -> None:
        self._listeners.tell("a change of mode", endpoint, mode, reason)


class TakeShared:
    """Waits for one shared token and holds it for a block."""

    __slots__ = ("_on_turn", "_queue", "_token", "_urgent", "mode")

    def __init__(self, queue: RedisQueue, urgent: bool, on_turn: OnTurn | None) -> None:
        self._queue = queue
        self._urgent = urgent
        self._on_turn = on_turn
        self._token: Token | None = None
        self.mode = LimiterMode.SHARED
        """Whose token it is."""

    async def __aenter__(self) -> Self:
        waiter = self._queue.join(self._urgent, self._on_turn)
        try:
            await waiter
        except BaseException:
            # However it ends: a place that nobody waits in would keep the others waiting.
            self._queue.abandon(waiter)
            raise
        self._token = self._queue.collect()
        self.mode = self._token.mode
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


def _rule(limit: Limit) -> Rule:
    return Rule(limit.size, limit.per + _MARGIN)
