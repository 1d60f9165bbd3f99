"""An event loop over real sockets that does not wait, and whose clock a busy machine cannot move.

Whatever is on its way over loopback comes first; when nothing comes, the clock jumps to the next
timer. Besides, it counts the CPU time of this thread: work that holds the loop up is felt as in
real time, and what the machine gives to others meanwhile is not. So a time that is read here is
the program's own, ten seconds cost none, and a deadline can be judged to the millisecond.
"""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.support.virtual import _InstantSelector

T = TypeVar("T")

_LANDING = 0.002
"""Real seconds that a packet on loopback has to arrive; it is there at once, as a rule."""

_LONGEST = 1_000.0


class _SocketsFirst(_InstantSelector):
    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            return super().select()
        events = selectors.DefaultSelector.select(self, min(timeout, _LANDING))
        if not events:
            self.now += max(0.0, timeout)
        return events


class InstantLoop(asyncio.SelectorEventLoop):
    """See above; `time()` starts at 0."""

    def __init__(self) -> None:
        self._jumping = _SocketsFirst()
        self._began = time.thread_time()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now + time.thread_time() - self._began

    def stall(self, seconds: float) -> None:
        """Let `seconds` pass while nothing else can run, as if something blocked the loop."""
        self._jumping.now += seconds


def stall(seconds: float) -> None:
    """See `InstantLoop.stall`, of the running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, InstantLoop)
    loop.stall(seconds)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a loop of its own; tasks that it leaves behind are an error."""

    async def alone() -> T:
        async with asyncio.timeout(_LONGEST):
            result = await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        return result

    with asyncio.Runner(loop_factory=InstantLoop) as runner:
        return runner.run(alone())
