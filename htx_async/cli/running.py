"""A command's event loop and its end; neither waits for a thread that hangs."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from htx_async.cli.aside import Aside
from htx_async.cli.exit_codes import INTERNAL, INTERRUPTED, USAGE
from htx_async.cli.interrupts import heed, ignore_from_now_on, raise_from_now_on, unless_left
from htx_async.cli.streams import internal, printed
from htx_async.errors import HtxError

_T = TypeVar("_T")

_TO_END = 0.1
"""Seconds that the threads of name look-ups get; one that hangs cannot be ended."""


def run(
    work: Callable[[asyncio.Runner, Aside], int], *, untouched: str = "nothing was sent"
) -> int:
    """The exit code of `work`, told in one line if it did not come to make its request.

    `work` gets a runner, for as many coroutines as it likes, and stderr. `untouched`: what is
    certain if it does not end by itself. A name look-up that hangs keeps the process neither at
    the loop's end nor at its own: then this does not return.
    """
    unless_left()
    aside, pool = Aside(), ThreadPoolExecutor(thread_name_prefix="htx-async look-up")
    try:
        raise_from_now_on()
        code = _worked(work, pool, aside, untouched)
        ignore_from_now_on()
    except KeyboardInterrupt:
        aside.say(f"Interrupted; {untouched}.")
        code = INTERRUPTED
    _end(code, pool, aside)
    return code


def _worked(
    work: Callable[[asyncio.Runner, Aside], int],
    pool: ThreadPoolExecutor,
    aside: Aside,
    untouched: str,
) -> int:
    try:
        with asyncio.Runner() as runner, _look_ups(runner.get_loop(), pool):
            return work(runner, aside)
    except HtxError as error:
        aside.say(str(error))
        return USAGE
    except Exception as error:
        aside.say(f"{internal(error)}; {untouched}.")
        return INTERNAL


def print_report(make: Callable[[], str | bytes]) -> str:
    """Print what a command came to, as `printed` does; from then on signals are ignored."""
    problem = printed(make)
    ignore_from_now_on()
    return problem


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
    before = heed(lambda number, frame: loop.call_soon_threadsafe(react))
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


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

    They set `first`; a Ctrl-C after that sets `second`. Neither raises anything.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        self._loop = loop
        heed(self._set)

    @property
    def came(self) -> bool:
        """Whether one came before the work was done."""
        return self.first.is_set()

    def _set(self, number: int, frame: object) -> None:
        if not self.first.is_set():
            self._loop.call_soon_threadsafe(self.first.set)
        elif number == signal.SIGINT:
            self._loop.call_soon_threadsafe(self.second.set)


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
