"""What a session asks of a limiter: three things that each has to do, and defaults for the rest."""

from __future__ import annotations

import asyncio
import inspect
import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from aiolimiter import AsyncLimiter

from htx_async.aio.tasks import Promise
from htx_async.enums import LimiterMode
from htx_async.errors import InvalidRequest
from htx_async.exchange.endpoints import TRAILING, limit_of
from htx_async.exchange.headers import LONGEST_PAUSE
from htx_async.limits.gate import closing
from htx_async.limits.waiting_line import OnTurn


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


class BaseLimiter(ABC):  # pragma: no mutate block
    """A `RateLimiter` that can do more; whatever one of its kind leaves out has a default here."""

    per: float = TRAILING.per
    """Seconds of the limit's window."""

    waits_for_answers: bool = True
    """Whether a token comes back after an answer only; else slow ones hold up nobody."""

    lease: float = math.inf
    """Seconds after which the token of a holder that vanished comes back to other processes."""

    @property
    def promises(self) -> set[Promise] | None:
        """What it carries out before it closes, where it can be closed while a session is open."""
        return None

    def for_account(self, account: str) -> None:
        """A session counts for `account` (an `account_key`). Default: that changes nothing.

        Raises `InvalidRequest` where another one counts for something else.
        """
        return

    @abstractmethod
    def take(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """See `RateLimiter.take`. `on_turn` hears the earliest loop time at which the turn of this
        waiter could come, whenever a pause or a slower limit has moved it."""

    @abstractmethod
    def pause(self, endpoint: str, seconds: float) -> None:
        """See `RateLimiter.pause`."""

    @abstractmethod
    def earliest(self, endpoint: str, *, urgent: bool = False) -> float | None:
        """See `RateLimiter.earliest`."""

    def stand(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """`take`, in line from now on rather than once it is entered, so that whoever reckons with
        the line counts it; whoever calls this enters it all the same. Default: `take`."""
        return self.take(endpoint, urgent=urgent, on_turn=on_turn)

    @property
    def reads(self) -> BaseLimiter | None:
        """The one for the account's reads, asked for `endpoints.READS`; None: a session has a
        budget of reads of its own."""
        return None

    def foresee(
        self, endpoint: str, count: int, *, urgent: bool = False, round_trip: float = 0.0
    ) -> float:
        """`earliest` for the last of `count` callers that queue now, with answers that take
        `round_trip` seconds. Default: by what is documented for `endpoint`."""
        now = asyncio.get_running_loop().time()
        first = self.earliest(endpoint, urgent=urgent)
        begin = now if first is None else max(now, first)
        if count == 1:
            return begin
        size, per = limit_of(endpoint)
        return begin + (count - 1) * (per + round_trip) / size

    def waiting(self, endpoint: str) -> int | None:
        """How many callers wait for `endpoint`. Default: not known."""
        return None

    def refused(self, endpoint: str, seconds: float) -> float:
        """A request to `endpoint` was refused for its rate, and the reply asks to wait `seconds`;
        for how long it is closed. Default: `pause`, for one second at least and 10 s at most."""
        closed = closing(seconds)
        self.pause(endpoint, closed)
        return closed

    def tighten(self, endpoint: str, requests: float, seconds: float) -> tuple[int, float] | None:
        """A reply says that `endpoint` takes `requests` per `seconds`; size and period (seconds)
        of the limit in force when this changes it. Default: nothing does."""
        return None

    def slower_named(self, endpoint: str) -> int:
        """How many replies have named the slower limit that `endpoint` has now; 0: it has none."""
        return 0

    def hear(self, listener: Callable[[str, LimiterMode, str], object]) -> Callable[[], None]:
        """Call `listener(endpoint, mode, reason)` at each change of mode, until the result is
        called. Default: there is one mode."""
        return lambda: None

    async def drain(self) -> None:
        """Wait, for a short while, until others can see every token that is back."""
        return

    def may_hold(self, held: float, attempt: float) -> bool:
        """Whether a token that was held for so many seconds, and not used, may serve an attempt of
        up to `attempt` more: other processes count on a shared one when its lease is over."""
        return held + attempt + self.per <= self.lease


class _Wrapped(BaseLimiter):
    """A caller's own `RateLimiter`, which can do no more than it has to."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    def take(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        return self._limiter.take(endpoint, urgent=urgent)

    def pause(self, endpoint: str, seconds: float) -> None:
        self._limiter.pause(endpoint, seconds)

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float | None:
        return self._limiter.earliest(endpoint, urgent=urgent)


_PARTS = 64
"""Of a token: an `AsyncLimiter` tells only whether so much is free."""


class _Adapted(BaseLimiter):
    """A user's own `AsyncLimiter` as a `RateLimiter`: no priority, no token given back."""

    waits_for_answers = False

    def __init__(self, limiter: AsyncLimiter) -> None:
        self._limiter = limiter
        self._paused: dict[str, float] = {}
        self._waiting = 0

    @asynccontextmanager
    async def take(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> AsyncIterator[Lease]:
        """See `RateLimiter.take`; `urgent` changes nothing."""
        self._waiting += 1
        try:
            await self._limiter.acquire()
        finally:
            self._waiting -= 1
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
        """Not known, except while a pause holds."""
        until = self._paused.get(endpoint, -math.inf)
        return until if until > asyncio.get_running_loop().time() else None

    def foresee(
        self, endpoint: str, count: int, *, urgent: bool = False, round_trip: float = 0.0
    ) -> float:
        """By its own rate, and by what the exchange takes where that is slower: there each period
        ends with a refusal, which takes an answer more; whatever leaves until that is heard is
        refused as well, and takes another token."""
        limiter, (size, per) = self._limiter, limit_of(endpoint)
        now = asyncio.get_running_loop().time()
        begin = self.earliest(endpoint) or now
        parts = range(1, int(limiter.max_rate * _PARTS) + 1)
        free = bisect_left(parts, True, key=lambda n: not limiter.has_capacity(n / _PARTS)) / _PARTS
        rate, periods = limiter.max_rate / limiter.time_period, (count - 1) // size
        is_refused = periods and round_trip and limiter.max_rate + rate * per > size + 1
        lost = (periods + 1) * (1 + math.ceil(rate * round_trip)) if is_refused else 0
        own = max(0, count + self._waiting + lost - free) / rate
        # Its own rate goes on while a pause of the exchange's is sat out.
        return max(now + own, begin + periods * (per + 2 * round_trip))


_MORE = (
    "drain",
    "foresee",
    "hear",
    "lease",
    "may_hold",
    "promises",
    "reads",
    "refused",
    "tighten",
    "stand",
)
"""What a session asks of a `BaseLimiter` only."""


class _KeptLease:
    def not_sent(self) -> None:
        """An `AsyncLimiter` takes nothing back."""


_KEPT = _KeptLease()


def as_limiter(limiter: RateLimiter | AsyncLimiter) -> BaseLimiter:
    """`limiter` itself where it can do all of it, else wrapped; `InvalidRequest` for what is no
    limiter."""
    if isinstance(limiter, BaseLimiter):
        _check_takes_turns(limiter)
        return limiter
    if isinstance(limiter, AsyncLimiter):
        return _Adapted(limiter)
    methods = [getattr(limiter, name, None) for name in ("take", "pause", "earliest")]
    if all(map(callable, methods)) and not isinstance(limiter, type):
        _check_does_no_more(limiter)
        return _Wrapped(limiter)
    raise InvalidRequest(
        "limiter must be a RateLimiter (take, pause, earliest) or an aiolimiter.AsyncLimiter, "
        f"not {type(limiter).__name__}"
    )


def _check_takes_turns(limiter: BaseLimiter) -> None:
    try:
        inspect.signature(limiter.take).bind("", urgent=False, on_turn=None)
    except TypeError as error:
        raise InvalidRequest(
            f"limiter: {type(limiter).__name__}.take cannot be called as BaseLimiter.take is, with "
            f"endpoint, urgent= and on_turn= ({error})"
        ) from None


def _check_does_no_more(limiter: RateLimiter) -> None:
    more = [name for name in _MORE if hasattr(limiter, name)]
    if more:
        raise InvalidRequest(
            f"limiter: {type(limiter).__name__} has {', '.join(more)}, which would not be used: "
            "derive it from htx_async.BaseLimiter, or leave them out"
        )


def check_lease(limiter: BaseLimiter | None, attempt_timeout: float) -> None:
    """`InvalidRequest` when a token could come back before its request has failed."""
    if limiter is not None and not limiter.may_hold(0.0, attempt_timeout):
        raise InvalidRequest(
            f"the limiter's lease of {limiter.lease:g} s is shorter than attempt_timeout plus its "
            f"period, {attempt_timeout + limiter.per:g} s: another process could use a token "
            "whose request still runs; give it a longer lease"
        )
