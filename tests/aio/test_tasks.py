"""Promises that closing keeps; and the fixture that makes a test's event loops begin their tasks in
either way."""

import asyncio

import pytest

from htx_async.aio.tasks import kept, own_task
from tests.support.virtual import run

pytestmark = pytest.mark.usefixtures("tasks")


async def began_at_once() -> bool:
    """Whether a task runs before the one that made it goes on."""
    order = []

    async def child() -> None:
        order.append("child")

    task = asyncio.create_task(child())
    order.append("parent")
    await task
    return order[0] == "child"


async def test_a_loop_of_pytest_begins_tasks_as_told(tasks: str) -> None:
    """The loop that runs an async test is made after the fixture."""
    assert await began_at_once() is (tasks == "eager")


@pytest.mark.parametrize("runs", [run, asyncio.run])
def test_a_loop_of_the_test_begins_tasks_as_told(tasks: str, runs: object) -> None:
    """In virtual time and in real time."""
    assert callable(runs)
    assert runs(began_at_once()) is (tasks == "eager")


class Promised:
    """Work that takes two seconds."""

    def __init__(self) -> None:
        self.why: list[str] = []
        self.is_over = False

    def begin(self, closing: str = "") -> asyncio.Task[None]:
        self.why.append(closing)
        return own_task(self._work())

    async def _work(self) -> None:
        await asyncio.sleep(2.0)
        self.is_over = True


@pytest.mark.parametrize("cancelled", [0, 1, 3])
def test_promises_are_kept_whoever_is_cancelled_meanwhile(cancelled: int) -> None:
    """All are begun and waited for; the first cancellation is delivered when it is asked for."""

    async def main() -> None:
        promises = [Promised(), Promised()]

        async def close() -> str:
            deliver = await kept(promises, "it was closed")
            assert all(promise.is_over for promise in promises)
            deliver()
            return "closed"

        closing = asyncio.create_task(close())
        for number in range(cancelled):
            await asyncio.sleep(0.1)
            closing.cancel(str(number))
        await asyncio.wait([closing])
        assert [promise.why for promise in promises] == [["it was closed"]] * 2
        if cancelled:
            with pytest.raises(asyncio.CancelledError, match="0"):
                closing.result()
        else:
            assert closing.result() == "closed"

    run(main())


def test_no_promise_is_nothing_to_wait_for() -> None:
    """Closing goes on."""

    async def main() -> None:
        (await kept((), "it was closed"))()

    run(main())
