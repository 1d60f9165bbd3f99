"""Work in the background: at most once at a time, and whoever cancels its task."""

import asyncio

import pytest

from htx_async.aio.background import Background
from tests.support.virtual import run

pytestmark = pytest.mark.usefixtures("tasks")


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


class Chores:
    """Work that goes through a list, a second for each."""

    def __init__(self, *chores: str) -> None:
        self.left = list(chores)
        self.done: list[str] = []
        self.begun = 0
        self.background = Background(self._work)

    async def _work(self) -> None:
        self.begun += 1
        while self.left:
            await asyncio.sleep(1.0)
            self.done.append(self.left.pop(0))


def test_work_is_under_way_once_and_goes_on_when_there_is_more() -> None:
    """Beginning twice changes nothing; what comes up at the very end is done all the same."""

    async def main() -> None:
        chores = Chores("a", "b")
        for _ in range(3):
            chores.background.begin()
        assert chores.begun == 0
        await chores.background.over()
        assert (chores.done, chores.begun) == (["a", "b"], 1)
        for name in "cde":
            chores.left.append(name)
            chores.background.begin()
            await chores.background.over()
        assert (chores.done, chores.begun) == ([*"abcde"], 4)

    run(main())


def test_work_that_needs_not_wait_can_be_begun_over_and_over() -> None:
    """A task that has ended before its maker goes on blocks nothing."""

    async def main() -> None:
        times: list[float] = []

        async def work() -> None:
            times.append(asyncio.get_running_loop().time())

        background = Background(work)
        for count in range(1, 5):
            background.begin()
            await background.over()
            assert len(times) == count

    run(main())


@pytest.mark.parametrize("turns", range(4))
def test_a_task_cancelled_from_outside_is_made_anew(turns: int) -> None:
    """At any of its steps, before the first one too, and more than once."""

    async def main() -> None:
        chores = Chores("a", "b")
        chores.background.begin()
        for _ in range(3):
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in others():
                task.cancel()
            await asyncio.sleep(0.2)
        await chores.background.over()
        assert chores.done == ["a", "b"]

    run(main())


@pytest.mark.parametrize("moment", ["before", "while", "cancelled"])
def test_stopping_leaves_nothing_under_way(moment: str) -> None:
    """Nor does anything begin any more, and nobody waits for it."""

    async def main() -> None:
        chores = Chores("a", "b")
        if moment != "before":
            chores.background.begin()
            await asyncio.sleep(0.5)
        if moment == "cancelled":
            for task in others():
                task.cancel()
            await asyncio.sleep(0)
        await chores.background.stop()
        chores.background.begin()
        await chores.background.over()
        await asyncio.sleep(5.0)
        assert chores.done == []

    run(main())


def test_work_that_raises_is_over_and_can_begin_again() -> None:
    """Its error is nobody's to catch, so that the loop tells it; it does not wedge what waits."""
    told: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, about: told.append(about))

        async def work() -> None:
            raise ZeroDivisionError

        background = Background(work)
        for _ in range(2):
            background.begin()
            await background.over()
            await asyncio.sleep(0)

    run(main())
    assert len(told) == 2
