"""A time limit that does not take the loop's own stall for a time-out."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

_LATE = 0.02
"""Seconds: a timer that fires later than this shows that something blocked the loop."""

_GRACE = 0.02
"""Seconds given to answers that arrived during the stall; they are read in the turns after it."""

_MOST_REARMS = 10


class TimeLimit:
    """Raises `TimeoutError` where its block waits at `when` (loop time), or at `expire()`.

    Unlike `asyncio.timeout_at`, a limit that fires late waits once more for `_GRACE` seconds:
    the loop was blocked, and what came in meanwhile has not been read yet. `on_expiry` runs
    before the block is interrupted.
    """

    __slots__ = ("_handle", "_on_expiry", "_rearms", "_scope", "_when")

    def __init__(self, when: float, on_expiry: Callable[[], object] | None = None) -> None:
        self._when = when
        self._on_expiry = on_expiry
        self._rearms = 0
        self._scope = asyncio.timeout(None)
        self._handle: asyncio.TimerHandle | None = None

    @property
    def when(self) -> float:
        """The loop time at which the block ends."""
        return self._when

    def expire(self) -> None:
        """End the block now; without effect when it is over."""
        if self._handle is not None:
            self._handle.cancel()
            self._interrupt()

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        self._arm(self._when)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        await self._scope.__aexit__(exc_type, exc, traceback)

    def _arm(self, when: float) -> None:
        self._when = when
        self._handle = asyncio.get_running_loop().call_at(when, self._fire)

    def _fire(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._when > _LATE and self._rearms < _MOST_REARMS:
            self._rearms += 1
            self._arm(now + _GRACE)
        else:
            self._interrupt()

    def _interrupt(self) -> None:
        if self._on_expiry is not None:
            self._on_expiry()
        self._handle = None
        self._scope.reschedule(asyncio.get_running_loop().time())
