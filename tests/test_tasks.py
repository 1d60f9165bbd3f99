"""The fixture that makes a test's event loops begin their tasks in either way."""

import asyncio

import pytest

from tests.virtual import run

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
