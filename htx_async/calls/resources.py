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
from htx_async.calls.generation import Generation, V5Traits
from htx_async.calls.retry import RetryPolicy
from htx_async.calls.turns import Turns
from htx_async.calls.wall_clock import WallClock
from htx_async.enums import ApiGeneration, LimiterMode
from htx_async.events import LimiterModeChanged
from htx_async.exchange.endpoints import V5_CANCEL
from htx_async.exchange.signing import Signer
from htx_async.limits.account_limiter import AccountLimiter
from htx_async.limits.limiter import BaseLimiter
from htx_async.limits.registry import release
from htx_async.transport.http import Transport

if TYPE_CHECKING:
    from htx_async.calls.scope import Scope
    from htx_async.events import Listener


class Resources(NamedTuple):
    """What every call of a session works with. `hurries`: reads go to another base URL when their
    answer is late."""

    signer: Signer
    trades: BaseLimiter
    reads: BaseLimiter
    turns: Turns
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
    v5: V5Traits
    emitter: Emitter | None
    stop_hearing: Callable[[], object]
    hurries: bool = False

    def on_path(self, path: str) -> str:
        """Whose line cancels stand in, where v1's is `path`."""
        return V5_CANCEL.path() if self.generation.current is ApiGeneration.V5 else path

    def default_deadline(
        self, path: str, calls: int, looks: int, urgent: bool, allowance: float
    ) -> DefaultDeadline:
        """Of `calls` cancels that queue for `path` now, or once `looks` lists are read."""
        is_v5 = self.generation.current is ApiGeneration.V5
        return DefaultDeadline.of(
            self.trades,
            self.reads,
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
        if isinstance(self.trades, AccountLimiter):
            release(self.trades, session)

    async def let_go(self, session: object) -> None:
        """The same, and leave nothing on its way to the tokens that others share."""
        await self.turns.idle()
        self.release(session)
        await self.trades.drain()
        await self.reads.drain()


OnEvent: TypeAlias = "Listener | Sequence[Listener] | None"


def listeners(on_event: OnEvent) -> tuple[Listener, ...]:
    """Those who hear of a session's events; `InvalidRequest` for what cannot be one."""
    if on_event is None:
        return ()
    given = tuple(on_event) if isinstance(on_event, Sequence) else (on_event,)
    for listener in given:
        as_listener("on_event", listener, "one event (one such, or a sequence of them)")
    return given


def hear_modes(limiter: BaseLimiter, emitter: Emitter | None) -> Callable[[], object]:
    """Tell of each change of a fleet's limiter, until the result is called."""
    if emitter is None:
        return lambda: None

    def changed(endpoint: str, mode: LimiterMode, reason: str) -> None:
        now = asyncio.get_running_loop().time()
        emitter.emit(LimiterModeChanged(now, endpoint, mode, reason))

    return limiter.hear(changed)
