"""Tasks that end with their work, and waits that outlast a cancellation.

The end of `asyncio.run`, and many a hand-made shutdown, cancels every task of the loop that
`asyncio.all_tasks()` lists. A task that does one part of somebody's work ends with that work and by
nobody else's hand: it is not listed.
"""

import asyncio
import sys
from collections.abc import Callable, Collection, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

T = TypeVar("T")


def own_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that only those can cancel who hold it: `asyncio.all_tasks()` does not list it.

    Whoever makes it waits for it, or ends it. It begins in the loop's next turn, whatever task
    factory the loop has.
    """
    task = asyncio.Task(work, loop=asyncio.get_running_loop())
    # Documented for those who make tasks of their own (asyncio docs, "Extending"). A task that
    # ignored `cancel` instead would break every timeout inside it: they all work by cancelling.
    asyncio.tasks._unregister_task(task)
    return task


class Group:
    """Tasks of our own that a block begins, and waits for as it ends; cancelled, or left with an
    exception, it ends them all first. What the first of them raised comes out."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[object]] = []

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Run `work` beside the block."""
        self._tasks.append(own_task(work))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None and self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            late = [task for task in self._tasks if not task.done()]
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if exc_type is None:
            for task in self._tasks:
                task.result()


async def outlast(
    ended: asyncio.Future[Any], interrupted: Callable[[], object] | None = None
) -> asyncio.CancelledError | None:
    """Wait until `ended` is done, whoever cancels the caller how often meanwhile.

    The first cancellation is returned, for the caller to raise; `interrupted` is called when it
    comes. `ended` itself is not touched, and its result is the caller's to look at.
    """
    if ended.done():
        return None
    try:
        await asyncio.wait([ended])
        return None
    except asyncio.CancelledError as error:
        first = error
    try:
        if interrupted is not None:
            interrupted()
        with _shield():
            while not ended.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([ended])
        return first
    finally:
        # Its traceback holds this frame: no cycle.
        del first


def _shield() -> AbstractContextManager[object]:
    """anyio's, where anyio is loaded: its scopes repeat a cancellation in every turn of the loop,
    which would be a busy loop as long as somebody waits all the same."""
    scope = getattr(sys.modules.get("anyio"), "CancelScope", None)
    return nullcontext() if scope is None else scope(shield=True)


class Promise(Protocol):
    """Work that whoever closes what it needs begins, and waits for."""

    def begin(self, closing: str = "") -> asyncio.Task[None]:
        """Begin it, if that was not done; `closing`: why before its time."""


async def kept(promises: Collection[Promise], closing: str) -> Callable[[], None]:
    """Begin them all, and wait until all are over, whoever cancels the caller meanwhile. The result
    raises that cancellation, for when the caller has closed."""
    tasks = [promise.begin(closing) for promise in promises]
    cancelled = [await outlast(own_task(_all_over(tasks)))]

    def deliver() -> None:
        first = cancelled.pop()
        try:
            if first is not None:
                raise first
        finally:
            # Its traceback holds this frame.
            del first

    return deliver


async def _all_over(tasks: Collection[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)
