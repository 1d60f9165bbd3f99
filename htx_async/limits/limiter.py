"""Who may send when: the endpoint's own limit and the account's broad budget."""

import asyncio
import math
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal, Protocol, runtime_checkable

from aiolimiter import AsyncLimiter

from htx_async.aio.tasks import Promise
from htx_async.enums import LimiterMode
from htx_async.errors import InvalidRequest
from htx_async.exchange.endpoints import BUDGETS, Permission, limit_of
from htx_async.exchange.headers import LONGEST_PAUSE
from htx_async.limits.account_budget import AccountBudget
from htx_async.limits.token_bucket import TokenBucket

_REST = 75.0
"""Seconds after which nothing of a use is left: the longest hold, the longest pause, and a bit."""

_PUBLIC_PART = 20
"""Of the budget of public calls a session uses one part in so many."""


class Lease(Protocol):
    """One token in use."""

    def not_sent(self) -> None:
        """Certain that no byte left: the token goes back at once, unused."""


class RateLimiter(Protocol):  # pragma: no mutate block
    """Decides when a request may leave. `endpoint` is the request's path; times are loop times."""

    def take(self, endpoint: str, *, urgent: bool = False) -> AbstractAsyncContextManager[Lease]:
        """Wait for a token and hold it for the block, from before signing until the answer.

        Leaving the block with an exception says that no answer came.
        """

    def pause(self, endpoint: str, seconds: float) -> None:
        """Let nothing through to `endpoint` for `seconds`; a longer pause stays in force."""

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float | None:
        """The earliest loop time at which a caller that queues now could have its turn, if every
        answer came at once; None when that is not known."""


@runtime_checkable
class CountsWaiters(Protocol):
    """A limiter that can tell how long its queue is."""

    def waiting(self, endpoint: str) -> int:
        """How many callers wait for `endpoint`."""


@runtime_checkable
class Foresees(Protocol):  # pragma: no mutate block
    """A limiter that can tell how long many callers will take."""

    def foresee(
        self, endpoint: str, count: int, *, urgent: bool = False, round_trip: float = 0.0
    ) -> float:
        """`RateLimiter.earliest` for the last of `count` callers that queue now, with answers that
        take `round_trip` seconds."""


@runtime_checkable
class TellsTurns(Protocol):
    """A limiter whose `take` has `on_turn`, as `TokenBucket.take` has."""

    tells_turns: Literal[True]


@runtime_checkable
class Tightens(Protocol):
    """A limiter that can be slowed down to what the exchange says of itself."""

    def tighten(self, endpoint: str, requests: float, seconds: float) -> tuple[int, float] | None:
        """See `TokenBucket.tighten`."""


@runtime_checkable
class DoubtsSlower(Protocol):
    """A limiter that can tell by how many replies it was slowed down."""

    def slower_named(self, endpoint: str) -> int:
        """See `TokenBucket.slower_named`."""


@runtime_checkable
class HearsRefusals(Protocol):
    """A limiter that lets one request ask after a refusal, while the others wait."""

    def refused(self, endpoint: str, seconds: float) -> float:
        """See `TokenBucket.refused`."""


@runtime_checkable
class HasReads(Protocol):
    """A limiter with another one for the account's reads."""

    @property
    def reads(self) -> RateLimiter:
        """Asked for `endpoints.READS`; without one, a session has a budget of reads of its own."""


@runtime_checkable
class KeepsPromises(Protocol):
    """A limiter that can be closed, and first carries out what was promised by its tokens."""

    promises: set[Promise]


@runtime_checkable
class SharesTokens(Protocol):
    """A limiter whose tokens other processes use too."""

    lease: float
    """Seconds after which the token of a holder that vanished comes back."""

    per: float
    """Seconds of the limit's window."""

    def hear(self, listener: Callable[[str, LimiterMode, str], object]) -> Callable[[], None]:
        """Call `listener(endpoint, mode, reason)` at each change of mode, until the result is
        called."""

    async def drain(self) -> None:
        """Wait, for a short while, until the others can see every token that is back."""


class AccountLimiter(TokenBucket):
    """Both limits of one account: each endpoint's own, and the total of its trade calls.

    `AccountBudget` keeps the second with a margin. Ordinary calls pass a smaller one before it, and
    a sixth is left to urgent ones. What is foreseen counts both.
    """

    def __init__(self) -> None:
        super().__init__()
        self._budget = AccountBudget()
        self.reads = reads_limiter()
        """For the account's reads."""
        self.holders: weakref.WeakSet[object] = weakref.WeakSet()
        """The sessions that are open."""
        self._left: tuple[weakref.ref[asyncio.AbstractEventLoop], float] | None = None

    def bind(self, *, take_over: bool = False) -> bool:
        """See `TokenBucket.bind`; reads and what is left of the budget come along."""
        has_moved = super().bind(take_over=take_over)
        if has_moved:
            self.reads.bind(take_over=take_over)
            # Whoever held it on a closed loop can use it no more.
            self.holders.clear()
        return has_moved

    def is_gone(self) -> bool:
        """Whether nobody has held it for so long that a new one would do as well; counts from the
        first time that it is asked."""
        loop = asyncio.get_running_loop()
        if self.holders:
            self._left = None
        elif self._left is None or self._left[0]() is not loop:
            self._left = (weakref.ref(loop), loop.time())
        return self._left is not None and loop.time() - self._left[1] > _REST


def reads_limiter() -> TokenBucket:
    """The total of an account's reads."""
    return TokenBucket(*BUDGETS[Permission.READ])


def public_budget() -> AsyncLimiter:
    """For a session's public calls: far below what is documented for one address."""
    size, per = BUDGETS[Permission.NONE]
    return AsyncLimiter(max(1, size // _PUBLIC_PART), per)


class _Adapted:
    """A user's own `AsyncLimiter` as a `RateLimiter`: no priority, no token given back."""

    def __init__(self, limiter: AsyncLimiter) -> None:
        self._limiter = limiter
        self._paused: dict[str, float] = {}

    @asynccontextmanager
    async def take(self, endpoint: str, *, urgent: bool = False) -> AsyncIterator[Lease]:
        """See `RateLimiter.take`; `urgent` changes nothing."""
        await self._limiter.acquire()
        await self._sit_out(endpoint)
        yield _KEPT

    def pause(self, endpoint: str, seconds: float) -> None:
        """See `RateLimiter.pause`."""
        until = asyncio.get_running_loop().time() + seconds
        self._paused[endpoint] = max(until, self._paused.get(endpoint, until))

    async def _sit_out(self, endpoint: str) -> None:
        loop = asyncio.get_running_loop()
        # A loop, since a pause may be made longer while it lasts; it has an end all the same.
        while (left := self._paused.get(endpoint, -math.inf) - loop.time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left, LONGEST_PAUSE))

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float | None:
        """Not known, except that a pause holds."""
        return self._paused.get(endpoint)


class _KeptLease:
    def not_sent(self) -> None:
        """An `AsyncLimiter` takes nothing back."""


_KEPT = _KeptLease()


def as_rate_limiter(limiter: RateLimiter | AsyncLimiter) -> RateLimiter:
    """`limiter` itself, or an adapter for an `AsyncLimiter`; `InvalidRequest` for anything else."""
    if isinstance(limiter, AsyncLimiter):
        return _Adapted(limiter)
    methods = [getattr(limiter, name, None) for name in ("take", "pause", "earliest")]
    if all(map(callable, methods)) and not isinstance(limiter, type):
        return limiter
    raise InvalidRequest(
        "limiter must be a RateLimiter (take, pause, earliest) or an aiolimiter.AsyncLimiter, "
        f"not {type(limiter).__name__}"
    )


def foresee(
    limiter: RateLimiter, endpoint: str, count: int, *, urgent: bool, round_trip: float = 0.0
) -> float:
    """The earliest loop time at which the last of `count` callers that queue now could go, with
    answers that take `round_trip` seconds.

    By what is documented for `endpoint` where the limiter cannot tell.
    """
    if isinstance(limiter, Foresees):
        return limiter.foresee(endpoint, count, urgent=urgent, round_trip=round_trip)
    size, per = limit_of(endpoint)
    one = (per + round_trip) / size
    return asyncio.get_running_loop().time() + (count - 1) * one


def check_lease(limiter: RateLimiter | None, attempt_timeout: float) -> None:
    """`InvalidRequest` when a token could come back before its request has failed."""
    if isinstance(limiter, SharesTokens) and limiter.lease < attempt_timeout + limiter.per:
        raise InvalidRequest(
            f"the limiter's lease of {limiter.lease:g} s is shorter than attempt_timeout plus its "
            f"period, {attempt_timeout + limiter.per:g} s: another process could use a token "
            "whose request still runs; give it a longer lease"
        )
