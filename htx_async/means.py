"""What the calls of one session share."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from htx_async.base_urls import BaseUrls
from htx_async.events import Event
from htx_async.exchange_time import ExchangeTime
from htx_async.limits import RateLimiter
from htx_async.retry import RetryPolicy
from htx_async.signing import Signer
from htx_async.transport import Transport
from htx_async.wall_clock import WallClock


@dataclass(frozen=True, slots=True, repr=False)
class Means:
    """What every call of a session works with."""

    signer: Signer
    limiter: RateLimiter
    transport: Transport
    base_urls: BaseUrls
    retry: RetryPolicy
    attempt_timeout: float
    clock: WallClock
    time: ExchangeTime
    live: "LiveCalls"
    tighten: Callable[[str, float, float], tuple[int, float] | None] | None
    tells_turns: bool
    emit: Callable[[Event], None] | None


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
