"""Work off the callers' path, which goes on whoever cancels its task."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

_MOMENT = 0.01
"""Seconds until work whose task was cancelled from outside begins anew: a loop that ends for good
does not live that long, and one whose tasks are cancelled over and over is not kept busy."""


class Background:
    """`work`, at most once at a time, in a task of its own.

    The end of `asyncio.run`, and many a hand-made shutdown, cancels every task of the loop. Those
    who still wait for this one's work have to get it, so `work` is called once more then; it must
    be such that it may be cut off anywhere and called again.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._is_stopped = False
        self._is_over = asyncio.Event()
        self._is_over.set()

    def begin(self) -> None:
        """Do the work from the loop's next turn on, unless it is under way; never after `stop`."""
        if self._is_over.is_set() and not self._is_stopped:
            self._is_over.clear()
            self._start()

    async def over(self) -> None:
        """Wait until the work is done, however often it had to begin anew."""
        await self._is_over.wait()

    async def stop(self) -> None:
        """Leave nothing under way, and begin nothing any more."""
        self._is_stopped = True
        if self._again is not None:
            self._again.cancel()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        self._is_over.set()

    def _start(self) -> None:
        self._again = None
        # Not by the loop's own factory: an eager task would run before it is known that it does.
        self._task = asyncio.Task(self._run(), loop=self._loop)
        self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        try:
            await self._work()
        except asyncio.CancelledError:
            raise
        except BaseException:
            # Who waits for the end of the work is let go, whatever it failed with.
            self._is_over.set()
            raise
        # In the same step in which the work saw that nothing is left: who comes later begins anew.
        self._is_over.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        # Here, for a task that is cancelled before its first step runs no code of its own.
        if task.cancelled():
            if not self._is_stopped:
                self._again = self._loop.call_later(_MOMENT, self._start)
        elif (error := task.exception()) is not None:
            # At once: nobody else will ask this task what became of it.
            told = {"message": "work in the background failed", "exception": error, "task": task}
            self._loop.call_exception_handler(told)
