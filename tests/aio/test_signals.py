"""Signals whose handlers raise, in the middle of what must not end by it."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from htx_async.aio.signals import between_steps
from htx_async.aio.tasks import own_task

CTRL_C, TERM = signal.SIGINT, signal.SIGTERM


@contextmanager
def handled(number: int, handler: object) -> Iterator[None]:
    """With that handler for signal `number`."""
    before = signal.signal(number, handler)  # type: ignore[arg-type]  # some are no functions
    try:
        yield
    finally:
        signal.signal(number, before)


def leave(number: int, frame: FrameType | None) -> None:
    """As many a handler of SIGTERM does."""
    raise SystemExit(number)


async def begun(work: Callable[[], Awaitable[object]]) -> asyncio.Task[object]:
    async def carried() -> object:
        with between_steps():
            return await work()

    return own_task(carried())


async def struck_in_a_step() -> str:
    signal.raise_signal(TERM)
    await asyncio.sleep(0)
    return "done"


async def struck_in_a_callback() -> str:
    loop = asyncio.get_running_loop()
    woken = loop.create_future()

    def wake() -> None:
        signal.raise_signal(TERM)
        woken.set_result("done")

    loop.call_soon(wake)
    result: str = await woken
    return result


async def struck_in_a_task_that_it_begins() -> str:
    """As aiohttp does for each request."""
    return await asyncio.create_task(struck_in_a_step())


@pytest.mark.parametrize(
    "work", [struck_in_a_step, struck_in_a_callback, struck_in_a_task_that_it_begins]
)
def test_what_a_handler_raises_leaves_the_loop_and_ends_no_task_of_ours(
    work: Callable[[], Awaitable[object]],
) -> None:
    """The program ends as it would have; what the next run of the loop waits for is whole."""
    with handled(TERM, leave), asyncio.Runner() as runner:
        task = runner.run(begun(work))
        with pytest.raises(SystemExit):
            runner.run(asyncio.sleep(60))
        runner.run(asyncio.wait_for(asyncio.wait([task]), 5))
        assert task.result() == "done"
        assert signal.getsignal(TERM) is leave


def test_a_second_one_in_the_same_step_does_not_wait() -> None:
    """Whoever insists is heard, though the step may never end."""
    heard: list[FrameType | None] = []

    async def work() -> int:
        signal.raise_signal(TERM)
        signal.raise_signal(TERM)
        return len(heard)

    async def main() -> object:
        return await (await begun(work))

    with handled(TERM, lambda number, frame: heard.append(frame)):
        assert asyncio.run(main()) == 1
    assert len(heard) == 2


def test_a_task_of_others_is_struck_as_ever() -> None:
    """A strategy that keeps the loop busy can be interrupted."""

    async def main() -> list[str]:
        waiting = await begun(lambda: asyncio.sleep(0.01))
        await asyncio.sleep(0)
        told = []
        try:
            signal.raise_signal(TERM)
        except SystemExit:
            told.append("struck")
        await waiting
        return told

    with handled(TERM, leave):
        assert asyncio.run(main()) == ["struck"]


def test_several_at_once_put_the_handlers_back_at_the_end() -> None:
    """Whichever ends first; and a handler that came meanwhile stays."""

    async def main() -> None:
        first, second = asyncio.Event(), asyncio.Event()
        tasks = [await begun(event.wait) for event in (first, second)]
        await asyncio.sleep(0)
        assert signal.getsignal(TERM) is not leave
        first.set()
        await tasks[0]
        assert signal.getsignal(TERM) is not leave
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        second.set()
        await tasks[1]

    with handled(TERM, leave), handled(signal.SIGHUP, leave):
        asyncio.run(main())
        assert signal.getsignal(TERM) is leave
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_another_thread_changes_no_handler() -> None:
    """Handlers run in the main thread, and only there can they be set."""

    def elsewhere() -> None:
        with between_steps():
            seen.append(signal.getsignal(TERM))

    seen: list[object] = []
    with handled(TERM, leave):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert seen == [leave]


def test_a_run_that_ctrl_c_has_ended_leaves_the_next_one_its_own_handler() -> None:
    """`asyncio.run` sets its handler, which cancels, only where Python's own stands."""

    async def interrupted() -> None:
        async def work() -> None:
            signal.raise_signal(CTRL_C)
            await asyncio.sleep(0.02)
            signal.raise_signal(CTRL_C)
            await asyncio.sleep(0.02)

        ended.append(await begun(work))
        while True:
            try:
                await asyncio.wait([ended[0]])
                return
            except asyncio.CancelledError:
                continue

    async def cancelled() -> str:
        task = asyncio.current_task()
        assert task is not None
        try:
            signal.raise_signal(CTRL_C)
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            task.uncancel()
            return "cancelled"
        except KeyboardInterrupt:
            return "torn up"
        return "not heard"

    ended: list[asyncio.Task[object]] = []
    with handled(CTRL_C, signal.default_int_handler):
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(interrupted())
        assert ended[0].done()
        assert ended[0].exception() is None
        assert asyncio.run(cancelled()) == "cancelled"
        assert signal.getsignal(CTRL_C) is signal.default_int_handler
