"""Signals that come in the middle of a step of our own tasks.

Python calls a signal's handler between any two instructions of the main thread. What it raises
(`KeyboardInterrupt` at a second Ctrl-C under `asyncio.run`, the `SystemExit` of many a handler of
SIGTERM) ends the very task that runs there, or the callback that would have woken one.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]

_ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")
    if hasattr(signal, name)
)
"""By which a person or a supervisor ends a program."""


_IS_WORK: ContextVar[bool] = ContextVar("is_work", default=False)
"""Tasks and callbacks have it from whoever begins them."""


class _BetweenSteps:
    """Calls a handler where what it raises leaves the event loop, and ends no task of our own."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self._is_waiting = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        loop = _loop_to_wait_for()
        # Whoever sends it again before the step is over does not want to wait for it.
        if loop is None or self._is_waiting:
            self.handler(number, frame)
            return
        self._is_waiting = True
        loop.call_soon_threadsafe(self._deliver, number)

    def _deliver(self, number: int) -> None:
        self._is_waiting = False
        self.handler(number, None)


def _loop_to_wait_for() -> asyncio.AbstractEventLoop | None:
    """The loop that runs here, if what it runs is no task of others, or one that the work itself
    has begun, as aiohttp's are."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    task = asyncio.current_task(loop)
    is_ours = task is None or _IS_WORK.get() or task not in asyncio.all_tasks(loop)
    return loop if is_ours else None


_IN_PLACE: dict[int, _BetweenSteps] = {}
_WORK: list[object] = []
"""What is under way at this moment, in the main thread."""


@contextmanager
def between_steps() -> Iterator[None]:
    """Meanwhile a signal that ends the program is handled between the steps of our own tasks: it
    ends what it would have ended, and none of these. In the main thread, where handlers run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    work = object()
    if not _WORK:
        _put_in_place()
    _WORK.append(work)
    before = _IS_WORK.set(True)
    try:
        yield
    finally:
        # An abandoned coroutine is collected in any context.
        with suppress(ValueError):
            _IS_WORK.reset(before)
        _WORK.remove(work)
        if not _WORK:
            _put_back()


def _put_in_place() -> None:
    for number in _ENDING:
        handler = signal.getsignal(number)
        # What is no function of Python's raises nothing.
        if callable(handler):
            _IN_PLACE[number] = _BetweenSteps(handler)
            signal.signal(number, _IN_PLACE[number])


def _put_back() -> None:
    while _IN_PLACE:
        number, ours = _IN_PLACE.popitem()
        handler = ours.handler
        is_over = _is_of_a_run_that_is_over(handler)
        # As above: in any thread, where nothing can be set.
        with suppress(ValueError):
            if signal.getsignal(number) is ours:
                signal.signal(number, signal.default_int_handler if is_over else handler)


def _is_of_a_run_that_is_over(handler: Handler) -> bool:
    """`asyncio.run` takes back its handler as it ends, unless it finds another in its place; one
    that is left would keep the next run from having its own."""
    runner = getattr(getattr(handler, "func", None), "__self__", None)
    if not isinstance(runner, asyncio.Runner):
        return False
    main = getattr(handler, "keywords", {}).get("main_task")
    return (main is not None and main.done()) or getattr(runner, "_interrupt_count", 0) > 1
