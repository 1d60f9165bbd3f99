"""One account, many processes: the same tokens on Redis (or Valkey). Extra `[redis]`.

The exchange counts by account, not by process. A token is taken on Redis before a request is
signed and comes back one period after its answer, as in `TokenBucket`, so no second at the
exchange holds more than `size` requests of all processes together. The step that grants is one
script on Redis' own clock, `redis_limits.lua`; clocks of the processes are not compared.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, Self

from htx_async.aio.listeners import Audience
from htx_async.aio.loop_binding import LoopBinding
from htx_async.aio.tasks import Promise
from htx_async.arguments import as_count, as_seconds
from htx_async.errors import HtxError, InvalidRequest
from htx_async.exchange.endpoints import BUDGETS, READS, TRAILING, Permission, limit_of
from htx_async.limits.account_budget import ordinary
from htx_async.limits.redis_link import RedisLink, RunsScripts, check_client, connect
from htx_async.limits.redis_store import RedisStore, try_out
from htx_async.limits.registry import account_key
from htx_async.limits.shared_limits import PROBE, SLACK, Here, SharedTokenBucket, as_rule, drained
from htx_async.limits.shared_queue import OnMode
from htx_async.limits.shared_store import Rule, Unreachable
from htx_async.limits.shared_told import Share

_TO_ENTER = 1.0
"""Seconds that entering the bucket waits for a connection: enough for the handshake on a slow way,
so that the first caller finds it made."""


class RedisTokenBucket(SharedTokenBucket):
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
        share = Share(size, per, as_count("share_of", share_of))
        self.size: int = share.size
        self.per: float = share.per
        self.share_of: int = share_of
        self.lease: float = as_seconds("lease", lease)
        self._redis = redis
        self._is_own = False
        self._one = Here(share)
        self._link: RedisLink | None = None
        self._account = account
        self._reads: RedisTokenBucket | None = None
        self._get_link = self._own_link
        self._key = account_key(account)[:32]
        self._binding = LoopBinding()

    @classmethod
    def from_url(cls, url: str, account: str, **settings: Any) -> Self:
        """A bucket with a client of its own, closed by `aclose()`; `settings` as above.

        `url`: `redis://`, `rediss://` or `unix://`, as redis-py reads it.
        """
        try:
            client = connect(url)
        finally:
            # It may hold a password, and this frame stands in whatever is raised here.
            del url
        bucket = cls(client, account, **settings)
        bucket._is_own = True
        return bucket

    @property
    def promises(self) -> set[Promise]:
        """See `BaseLimiter`."""
        return self._one.promises

    async def __aenter__(self) -> Self:
        self._bind()
        with suppress(Unreachable):
            await self._get_link().connect(_TO_ENTER)
        return self

    async def aclose(self) -> None:
        """Carry out every guard that was entered with it, settle what is out, which takes 0.25 s at
        most, and close a client of its own.

        Raises `InvalidRequest` where another event loop, or the process that forked this one, uses
        it.
        """
        is_late = self._bind()
        if is_late:
            # Those of a closed loop ended with it.
            self._one.promises.clear()
        await self._close(self._one, partial(self._disconnect, is_late=is_late))

    async def _disconnect(self, *, is_late: bool) -> None:
        if self._reads is not None:
            await self._reads.aclose()
        if self._link is not None:
            await self._link.aclose()
        if self._is_own:
            # Connections of a closed loop ended with it, and cannot be told so.
            with suppress(*[RuntimeError] if is_late else ()):
                await self._redis.aclose()

    async def drain(self) -> None:
        """Wait until Redis knows of every token that is back, or 0.25 s have passed."""
        await drained(self._one)

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
            reads._one.listeners = self._one.listeners
            reads._get_link = self._get_link
        return self._reads

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

    def _audience(self) -> Audience[OnMode]:
        # It may be listened to before any loop runs.
        return self._one.listeners

    def _here(self) -> Here:
        if not self._one.is_closed:
            self._bind()
        return self._one

    def _bind(self) -> bool:
        """Belong to the running loop; whether another one was left behind."""
        if self._binding.enter() is None:
            return False
        # What a closed loop left behind: its tokens come back at the end of their lease.
        self._one.queues.clear()
        self._link = None
        return True

    def _own_link(self) -> RedisLink:
        self._bind()
        self._link = self._link or RedisLink(self._redis, is_own=self._is_own)
        return self._link

    def _store(self, endpoint: str, rule: Rule) -> RedisStore:
        account = BUDGETS[Permission.TRADE]
        return RedisStore(
            self._get_link(),
            self._key,
            endpoint,
            rules=(rule, as_rule(account)),
            ordinary=ordinary(account).size,
            lease=self.lease + SLACK,
            probe=PROBE,
            share_of=self.share_of,
        )
