"""What the calls of one session share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from htx_async.base_urls import BaseUrls
from htx_async.exchange_time import ExchangeTime
from htx_async.limits import RateLimiter
from htx_async.retry import RetryPolicy
from htx_async.signing import Signer
from htx_async.transport import Transport
from htx_async.wall_clock import WallClock

if TYPE_CHECKING:
    from htx_async.events import Event, Teller


class Means(NamedTuple):
    """What every call of a session works with."""

    signer: Signer
    limiter: RateLimiter
    transport: Transport
    base_urls: BaseUrls
    retry: RetryPolicy
    attempt_timeout: float
    clock: WallClock
    time: ExchangeTime
    live: LiveCalls
    tighten: Callable[[str, float, float], tuple[int, float] | None] | None
    tells_turns: bool
    tell: Teller | None


def teller(on_event: Callable[[Event], object] | None) -> Teller | None:
    """What tells `on_event` of a session's events; None when there is nobody to tell."""
    if on_event is None:
        return None
    # Only sessions with a listener pay for loading the events.
    from htx_async.events import Teller  # noqa: PLC0415 - see above

    return Teller(on_event)


class Live(Protocol):
    """A call under way."""

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

    async def stop(self, reason: str) -> None:
        """End every call, and wait until each has made its report."""
        for call in tuple(self._calls):
            call.stop(reason)
        if self._calls:
            self._ended = self._ended or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._ended)
