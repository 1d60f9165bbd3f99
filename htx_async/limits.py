"""Who may send when: the endpoint's five a second and the account's broad budget.

The only door to aiolimiter.
"""

import asyncio
import math
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Literal, Protocol, runtime_checkable

from aiolimiter import AsyncLimiter

from htx_async.errors import InvalidRequest
from htx_async.headers import LONGEST_PAUSE
from htx_async.line import OnTurn
from htx_async.terms import LimiterMode
from htx_async.token_bucket import TakeToken, TokenBucket

_DOCUMENTED_RATE = 5.0

_REST = 75.0
"""Seconds after which nothing of a use is left: the longest hold, the longest pause, and a bit."""

READS = "reads"
"""The name under which all reads of an account wait: they share one budget."""


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
        """Keep to `requests` per `seconds` if that is slower; the new limit, or None."""


@runtime_checkable
class HasReads(Protocol):
    """A limiter with another one for the account's reads."""

    @property
    def reads(self) -> RateLimiter:
        """Asked for `READS`; without one, a session has its own 72 reads in any 3 s."""


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


class AccountLimiter:
    """Both limits of one account: five a second per endpoint, and 72 trade calls in any 3 s.

    The second is the account's total (HTX API docs, "API Rate Limit Illustration"); whether a
    trailing cancel counts there too is not documented, so it is assumed to. `AsyncLimiter(36, 3)`
    keeps it with a margin: 36 at once and 36 more in 3 s make 72 at most. It has no priority, so
    ordinary calls pass a smaller one before it, and a sixth is left to urgent ones.
    """

    tells_turns: Literal[True] = True

    def __init__(self) -> None:
        self._endpoints = TokenBucket()
        self.reads = reads_limiter()
        """For the account's reads."""
        self.holders: weakref.WeakSet[object] = weakref.WeakSet()
        """The sessions that are open."""
        self._left: tuple[weakref.ref[asyncio.AbstractEventLoop], float] | None = None
        self._trade = AsyncLimiter(36, 3.0)
        self._ordinary = AsyncLimiter(30, 3.0)

    def is_gone(self) -> bool:
        """Whether nobody has held it for so long that a new one would do as well; counts from the
        first time that it is asked."""
        loop = asyncio.get_running_loop()
        if self.holders:
            self._left = None
        elif self._left is None or self._left[0]() is not loop:
            self._left = (weakref.ref(loop), loop.time())
        return self._left is not None and loop.time() - self._left[1] > _REST

    def bind(self, *, take_over: bool = False) -> None:
        """Belong to the running loop; tokens, reads and what is left of the budget come along from
        a closed one, and with `take_over` from an open one: only when nobody holds it there."""
        shift = self._endpoints.carry_over(take_over=take_over)
        if shift is not None:
            self.reads.carry_over(take_over=take_over)
            self._trade = _carried_over(self._trade, shift)
            self._ordinary = _carried_over(self._ordinary, shift)
            # Whoever held it on a closed loop can use it no more.
            self.holders.clear()

    def take(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> "_TakeBoth":
        """See `TokenBucket.take`."""
        self.bind()
        budgets = (self._trade,) if urgent else (self._ordinary, self._trade)
        return _TakeBoth(self._endpoints.take(endpoint, urgent=urgent, on_turn=on_turn), budgets)

    def pause(self, endpoint: str, seconds: float) -> None:
        """See `RateLimiter.pause`."""
        self._endpoints.pause(endpoint, seconds)

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float:
        """See `RateLimiter.earliest`; the endpoint's limit is the narrower one."""
        return self._endpoints.earliest(endpoint, urgent=urgent)

    def foresee(
        self, endpoint: str, count: int, *, urgent: bool = False, round_trip: float = 0.0
    ) -> float:
        """See `TokenBucket.foresee`."""
        return self._endpoints.foresee(endpoint, count, urgent=urgent, round_trip=round_trip)

    def waiting(self, endpoint: str) -> int:
        """How many callers wait for `endpoint`."""
        return self._endpoints.waiting(endpoint)

    def tighten(self, endpoint: str, requests: float, seconds: float) -> tuple[int, float] | None:
        """See `TokenBucket.tighten`."""
        return self._endpoints.tighten(endpoint, requests, seconds)


def reads_limiter() -> TokenBucket:
    """72 reads of an account in any 3 s (HTX API docs, "API Rate Limit Illustration")."""
    return TokenBucket(72, 3.0)


def public_budget() -> AsyncLimiter:
    """For a session's public calls: far below the 240 per 3 s and address that are documented."""
    return AsyncLimiter(12, 3.0)


def _carried_over(budget: AsyncLimiter, shift: float) -> AsyncLimiter:
    """What is left of `budget` on the running loop, whose clock shows `shift` seconds more."""
    heir = AsyncLimiter(budget.max_rate, budget.time_period)
    heir._level = budget._level
    heir._last_check = min(budget._last_check + shift, asyncio.get_running_loop().time())
    return heir


class _TakeBoth:
    """An endpoint's token, and a place in each of the account's budgets, which take none back."""

    __slots__ = ("_budgets", "_token")

    def __init__(self, token: TakeToken, budgets: tuple[AsyncLimiter, ...]) -> None:
        self._token = token
        self._budgets = budgets

    async def __aenter__(self) -> TakeToken:
        while True:
            await self._token.__aenter__()
            short = [budget for budget in self._budgets if not budget.has_capacity()]
            try:
                if not short:
                    for budget in self._budgets:
                        await budget.acquire()
                    return self._token
            except BaseException:
                self._token.not_sent()
                raise
            # Not to sit on the endpoint's token meanwhile: an urgent caller may want it.
            self._token.not_sent()
            await short[0].acquire()
            self._budgets = tuple(budget for budget in self._budgets if budget is not short[0])

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._token.__aexit__(exc_type, exc, traceback)


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

    By the documented five a second where the limiter cannot tell.
    """
    if isinstance(limiter, Foresees):
        return limiter.foresee(endpoint, count, urgent=urgent, round_trip=round_trip)
    one = (1 + round_trip) / _DOCUMENTED_RATE
    return asyncio.get_running_loop().time() + (count - 1) * one


def check_lease(limiter: RateLimiter | None, attempt_timeout: float) -> None:
    """`InvalidRequest` when a token could come back before its request has failed."""
    if isinstance(limiter, SharesTokens) and limiter.lease < attempt_timeout + limiter.per:
        raise InvalidRequest(
            f"the limiter's lease of {limiter.lease:g} s is shorter than attempt_timeout plus its "
            f"period, {attempt_timeout + limiter.per:g} s: another process could use a token "
            "whose request still runs; give it a longer lease"
        )
