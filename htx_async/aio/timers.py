"""Waits that end in time: a limit that does not take the loop's own stall for a time-out."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

_LATE = 0.02
"""Seconds: a timer that fires later than this shows that something blocked the loop."""

_GRACE = 0.02
"""Seconds given to answers that arrived during the stall; they are read in the turns after it."""

_MOST_REARMS = 10
_BEAT = 0.1
_STALLED = 0.2


class TimeLimit:
    """Raises `TimeoutError` where its block waits at `when` (loop time), or at `expire()`.

    Unlike `asyncio.timeout_at`, a limit that fires late waits once more for `_GRACE` seconds:
    the loop was blocked, and what came in meanwhile has not been read yet. `on_expiry` runs
    before the block is interrupted. A cancellation from elsewhere always comes through.
    """

    __slots__ = (
        "_cancelling",
        "_expired",
        "_handle",
        "_loop",
        "_on_expiry",
        "_rearms",
        "_task",
        "when",
    )

    when: float
    """The loop time at which the block ends; it may be put off meanwhile."""

    def __init__(self, when: float, on_expiry: Callable[[], object] | None = None) -> None:
        self.when = when
        self._on_expiry = on_expiry
        self._rearms = 0
        self._expired = False
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._handle: asyncio.Handle | None = None

    def expire(self) -> None:
        """End the block at its next step; without effect when it is over or was never begun."""
        if self._handle is not None:
            self._handle.cancel()
            # Not at once: a task that expires its own limit may leave the block without waiting.
            self._handle = self._loop.call_soon(self._interrupt)

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a time limit needs a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._handle = self._loop.call_at(self.when, self._fire)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task, self._task = self._task, None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._expired and task is not None:
            # As in asyncio.timeout: our own request is withdrawn, and if another one is left, the
            # cancellation goes on.
            others = task.uncancel() > self._cancelling
            if not others and exc_type is asyncio.CancelledError:
                raise TimeoutError

    def _fire(self) -> None:
        now = self._loop.time()
        if now >= self.when:
            if now - self.when <= _LATE or self._rearms >= _MOST_REARMS:
                self._interrupt()
                return
            self._rearms += 1
            self.when = now + _GRACE
        self._handle = self._loop.call_at(self.when, self._fire)

    def _interrupt(self) -> None:
        self._handle = None
        if self._task is not None:
            self._expired = True
            if self._on_expiry is not None:
                self._on_expiry()
            self._task.cancel()


class StallMeter:
    """Counts the seconds for which something blocked the loop, while anybody wants to know.

    What is late then may be late through no fault of the other side. All of one loop share one.
    """

    __slots__ = ("_due", "_handle", "_seconds", "_users")

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None
        self._seconds = 0.0
        self._users = 0

    def begin(self) -> float:
        """One more wants to know, until its `end()`; what to ask `is_excuse` with."""
        self._users += 1
        if self._handle is None:
            self._beat_again()
        else:
            # What was late before it began excuses nothing.
            self._count()
        return self._seconds

    def is_excuse(self, begun: float) -> bool:
        """Whether it was a good part of a second since `begin()`."""
        self._count()
        return self._seconds - begun > _STALLED

    def end(self) -> None:
        """One less wants to know."""
        # The beat that is due goes on: the next one to begin most often needs it.
        self._users -= 1

    def close(self) -> None:
        """Leave no timer behind; who still wants to know hears of no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _beat_again(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + _BEAT
        self._handle = loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        self._count()
        self._handle = None
        if self._users:
            self._beat_again()

    def _count(self) -> None:
        late = asyncio.get_running_loop().time() - self._due
        if late > _LATE and self._handle is not None:
            self._seconds += late
            self._due += late
