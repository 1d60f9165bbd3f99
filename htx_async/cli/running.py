"""A command's event loop, its signals and its end; neither waits for a thread that hangs."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from htx_async.cli.exit_codes import INTERNAL, INTERRUPTED, USAGE
from htx_async.cli.streams import Aside, internal
from htx_async.errors import HtxError

_T = TypeVar("_T")

_TO_END = 0.1
"""Seconds that the threads of name look-ups get; one that hangs cannot be ended."""

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_STOPS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def run(
    work: Callable[[asyncio.Runner, Aside], int], *, untouched: str = "nothing was sent"
) -> int:
    """The exit code of `work`, told in one line if it did not come to make its request.

    `work` gets a runner, for as many coroutines as it likes, and stderr. `untouched`: what is
    certain if it does not end by itself. A name look-up that hangs keeps the process neither at
    the loop's end nor at its own: then this does not return.
    """
    aside, pool = Aside(), ThreadPoolExecutor(thread_name_prefix="htx-async look-up")
    with _handled(signal.default_int_handler):
        try:
            with asyncio.Runner() as runner, _look_ups(runner.get_loop(), pool):
                code = work(runner, aside)
        except HtxError as error:
            aside.say(str(error))
            code = USAGE
        except KeyboardInterrupt:
            aside.say(f"Interrupted; {untouched}.")
            code = INTERRUPTED
        except Exception as error:
            aside.say(f"{internal(error)}; {untouched}.")
            code = INTERNAL
    # What follows takes a moment only, and the exit code must get out.
    with _handled(signal.SIG_IGN):
        _end(code, pool, aside)
    return code


@contextmanager
def _look_ups(loop: asyncio.AbstractEventLoop, pool: ThreadPoolExecutor) -> Iterator[None]:
    """`loop` looks names up in `pool`, and does not wait for it at its end."""
    loop.set_default_executor(pool)
    try:
        yield
    finally:
        loop.set_default_executor(ThreadPoolExecutor(1))


@contextmanager
def signals(react: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal call `react` on the running loop, in this block."""
    loop = asyncio.get_running_loop()
    with _handled(lambda number, frame: loop.call_soon_threadsafe(react)):
        yield


def unless_stopped(runner: asyncio.Runner, work: Coroutine[Any, Any, _T]) -> _T:
    """What `work` returns; Ctrl-C, SIGTERM and a closed terminal cancel it, let it end, and then
    raise `KeyboardInterrupt`, which in the middle of a callback would leave things half done."""

    async def stoppable() -> _T:
        task = asyncio.ensure_future(work)
        with signals(task.cancel):
            return await task

    try:
        return runner.run(stoppable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


class Stops:
    """What Ctrl-C, SIGTERM and a closed terminal do from the first request on, inside `run`.

    They set `first`; a Ctrl-C after that sets `second`. Neither raises anything, until asked to.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        self._loop = loop
        self._react: Callable[[int], None] = self._set
        for number in _heeded():
            signal.signal(number, lambda number, frame: self._react(number))

    @property
    def came(self) -> bool:
        """Whether one came before the work was done."""
        return self.first.is_set()

    def raise_from_now_on(self) -> None:
        """Let the next one raise `KeyboardInterrupt`, for what is being done may not end."""
        self._react = self._raise

    def ignore_from_now_on(self) -> None:
        """Let the end, which takes a moment only, be the end."""
        self._react = lambda number: None

    def _set(self, number: int) -> None:
        if not self.first.is_set():
            self._loop.call_soon_threadsafe(self.first.set)
        elif number == signal.SIGINT:
            self._loop.call_soon_threadsafe(self.second.set)

    def _raise(self, number: int) -> None:
        raise KeyboardInterrupt


def _heeded() -> list[signal.Signals]:
    """What is ignored stays so: under nohup, or behind a shell's "&"."""
    return [one for one in _STOPS if signal.getsignal(one) is not signal.SIG_IGN]


@contextmanager
def _handled(handler: Callable[..., object] | signal.Handlers) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal are handled so, in this block."""
    before = {number: signal.signal(number, handler) for number in _heeded()}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _end(code: int, pool: ThreadPoolExecutor, aside: Aside) -> None:
    """Return if no thread would hold up the interpreter's end; else end the process here."""
    waiting = threading.Thread(target=pool.shutdown, daemon=True)
    waiting.start()
    waiting.join(_TO_END)
    written = aside.close()
    if waiting.is_alive() or not written:
        with suppress(OSError, ValueError):
            if sys.stdout is not None:
                sys.stdout.flush()
        if written and sys.stderr is not None:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
        os._exit(code)
