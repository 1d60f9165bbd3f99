"""What the calls of one session share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from aiolimiter import AsyncLimiter

from htx_async.accounts import release
from htx_async.base_urls import BaseUrls
from htx_async.exchange_time import ExchangeTime
from htx_async.gate import closing
from htx_async.generation import Generation
from htx_async.limits import (
    AccountLimiter,
    Foresees,
    HearsRefusals,
    RateLimiter,
    SharesTokens,
    TellsTurns,
    Tightens,
)
from htx_async.listeners import as_listener
from htx_async.retry import RetryPolicy
from htx_async.signing import Signer
from htx_async.transport import Transport
from htx_async.wall_clock import WallClock

if TYPE_CHECKING:
    from htx_async.events import Listener, Teller
    from htx_async.second_opinion import SecondOpinion


class Lane(NamedTuple):
    """A limiter, and what it can do beyond the protocol."""

    limiter: RateLimiter
    tells_turns: bool
    tighten: Callable[[str, float, float], tuple[int, float] | None] | None
    refused: Callable[[str, float], float]
    """Closes an endpoint after a refusal that asks for so many seconds; for how long it did."""

    foresee: Callable[..., float] | None
    """See `Foresees.foresee`."""

    @classmethod
    def of(cls, limiter: RateLimiter) -> Lane:
        """What `limiter` can do."""
        tighten = limiter.tighten if isinstance(limiter, Tightens) else None

        def pause(endpoint: str, seconds: float) -> float:
            limiter.pause(endpoint, closing(seconds))
            return closing(seconds)

        refused = limiter.refused if isinstance(limiter, HearsRefusals) else pause
        foresee = limiter.foresee if isinstance(limiter, Foresees) else None
        return cls(limiter, isinstance(limiter, TellsTurns), tighten, refused, foresee)


class Means(NamedTuple):
    """What every call of a session works with."""

    signer: Signer
    trades: Lane
    reads: Lane
    public: AsyncLimiter
    transport: Transport
    base_urls: BaseUrls
    retry: RetryPolicy
    retry_reads: RetryPolicy
    attempt_timeout: float
    clock: WallClock
    time: ExchangeTime
    live: LiveCalls
    generation: Generation
    second_opinion: SecondOpinion
    tell: Teller | None
    stop_hearing: Callable[[], object]

    def release(self, session: object) -> None:
        """Be no holder of the limiter any more, which outlives the session."""
        self.stop_hearing()
        if isinstance(self.trades.limiter, AccountLimiter):
            release(self.trades.limiter, session)

    async def let_go(self, session: object) -> None:
        """The same, and leave nothing on its way to the tokens that others share."""
        self.release(session)
        for lane in (self.trades, self.reads):
            if isinstance(lane.limiter, SharesTokens):
                await lane.limiter.drain()


OnEvent: TypeAlias = "Listener | Sequence[Listener] | None"


def listeners(on_event: OnEvent) -> tuple[Listener, ...]:
    """Those who hear of a session's events; `InvalidRequest` for what cannot be one."""
    if on_event is None:
        return ()
    given = tuple(on_event) if isinstance(on_event, Sequence) else (on_event,)
    for listener in given:
        as_listener("on_event", listener, "one event (one such, or a sequence of them)")
    return given


def teller(listeners: Sequence[Listener]) -> Teller | None:
    """What tells the listeners of a session's events; None when there is nobody to tell."""
    if not listeners:
        return None
    # Only sessions with a listener pay for loading the events.
    from htx_async.events import Teller  # noqa: PLC0415 - see above

    return Teller(listeners)


def hear_modes(limiter: RateLimiter, tell: Teller | None) -> Callable[[], object]:
    """Tell of each change of a fleet's limiter, until the result is called."""
    if tell is not None and isinstance(limiter, SharesTokens):
        return limiter.hear(tell.limiter_mode_changed)
    return lambda: None


class Live(Protocol):
    """A call under way."""

    def hold_back(self, reason: str) -> None:
        """Send nothing from now on; end when what is on the wire has been answered."""

    def stop(self, reason: str) -> None:
        """End the call now."""


class LiveCalls:
    """The calls of one session that are under way."""

    def __init__(self) -> None:
        self._calls: set[Live] = set()
        self._ended: asyncio.Future[None] | None = None

    def add(self, call: Live) -> None:
        """`call` has begun."""
        self._calls.add(call)

    def discard(self, call: Live) -> None:
        """`call` is over."""
        self._calls.discard(call)
        if not self._calls and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    @contextmanager
    def during(self, call: Live) -> Iterator[None]:
        """`call` is under way for the block."""
        self.add(call)
        try:
            yield
        finally:
            self.discard(call)

    def hold_back(self, reason: str) -> None:
        """Let no call send any more; each ends when what is on the wire has been answered."""
        for call in tuple(self._calls):
            call.hold_back(reason)

    def stop(self, reason: str) -> None:
        """End every call now."""
        for call in tuple(self._calls):
            call.stop(reason)

    async def over(self) -> None:
        """Wait until every call has made its report."""
        await asyncio.shield(self._end())

    def _end(self) -> asyncio.Future[None]:
        """Done when no call is under way."""
        if self._ended is None or (self._calls and self._ended.done()):
            self._ended = asyncio.get_running_loop().create_future()
        if not self._calls and not self._ended.done():
            self._ended.set_result(None)
        return self._ended
