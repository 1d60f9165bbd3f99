"""What the calls of one session share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from aiolimiter import AsyncLimiter

from htx_async.aio.listeners import as_listener
from htx_async.calls.base_urls import BaseUrls
from htx_async.calls.default_deadline import DefaultDeadline
from htx_async.calls.emitter import Emitter
from htx_async.calls.exchange_time import ExchangeTime
from htx_async.calls.generation import Generation
from htx_async.calls.retry import RetryPolicy
from htx_async.calls.wall_clock import WallClock
from htx_async.enums import ApiGeneration, LimiterMode
from htx_async.events import LimiterModeChanged
from htx_async.exchange.endpoints import V5_CANCEL
from htx_async.exchange.signing import Signer
from htx_async.limits.gate import closing
from htx_async.limits.limiter import (
    AccountLimiter,
    DoubtsSlower,
    Foresees,
    HearsRefusals,
    RateLimiter,
    SharesTokens,
    TellsTurns,
    Tightens,
)
from htx_async.limits.registry import release
from htx_async.transport.http import Transport

if TYPE_CHECKING:
    from htx_async.calls.scope import Scope
    from htx_async.cancel.v5_check import V5Check
    from htx_async.events import Listener


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

    def slower_named(self, path: str) -> int:
        """How many replies have named the slower limit that `path` has now; 0: it has none."""
        limiter = self.limiter
        return limiter.slower_named(path) if isinstance(limiter, DoubtsSlower) else 0

    def may_hold(self, held: float, attempt: float) -> bool:
        """Whether a token that was held for so many seconds, and not used, may serve an attempt of
        up to `attempt` more: other processes count on a shared one when its lease is over."""
        limiter = self.limiter
        if not isinstance(limiter, SharesTokens):
            return True
        return held + attempt + limiter.per <= limiter.lease

    def foreseen(self, path: str, *, urgent: bool) -> float | None:
        """When the turn of a call that queues now may come; None when that is not known."""
        if self.foresee is not None:
            return self.foresee(path, 1, urgent=urgent)
        return self.limiter.earliest(path, urgent=urgent)


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
    live: Scope
    generation: Generation
    v5_check: V5Check
    emitter: Emitter | None
    stop_hearing: Callable[[], object]

    def on_path(self, path: str) -> str:
        """Whose line cancels stand in, where v1's is `path`."""
        return V5_CANCEL.path() if self.generation.current is ApiGeneration.V5 else path

    def default_deadline(
        self, path: str, calls: int, looks: int, urgent: bool, allowance: float
    ) -> DefaultDeadline:
        """Of `calls` cancels that queue for `path` now, or once `looks` lists are read."""
        is_v5 = self.generation.current is ApiGeneration.V5
        return DefaultDeadline.of(
            self.trades.limiter,
            self.reads.limiter,
            self.on_path(path),
            calls,
            looks,
            urgent=urgent,
            allowance=allowance,
            longest=self.attempt_timeout,
            may_be_on_v5=is_v5 or self.generation.is_auto,
        )

    def release(self, session: object) -> None:
        """Be no holder of the limiter any more, which outlives the session, and keep nothing that
        was signed."""
        self.stop_hearing()
        self.signer.forget()
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


def hear_modes(limiter: RateLimiter, emitter: Emitter | None) -> Callable[[], object]:
    """Tell of each change of a fleet's limiter, until the result is called."""
    if emitter is None or not isinstance(limiter, SharesTokens):
        return lambda: None

    def changed(endpoint: str, mode: LimiterMode, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        emitter.emit(LimiterModeChanged(now, endpoint, mode, reason))

    return limiter.hear(changed)
