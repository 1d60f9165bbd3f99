"""Tasks that end with their work, and waits that outlast a cancellation.

The end of `asyncio.run`, and many a hand-made shutdown, cancels every task of the loop that
`asyncio.all_tasks()` lists. A task that does one part of somebody's work ends with that work and by
nobody else's hand: it is not listed.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TypeVar

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


async def together(works: Iterable[Coroutine[Any, Any, object]]) -> None:
    """Run all to their end: the first of them at once, as a part of the caller, and the others in
    tasks. What one of them raises is raised; what the first raises, and a cancellation, ends the
    others before."""
    first, *others = works
    tasks = [own_task(work) for work in others]
    try:
        await first
        if tasks:
            await asyncio.wait(tasks)
    finally:
        if left := [task for task in tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left)
    for task in tasks:
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


class Interrupted(Exception):
    """What was waited for was cancelled, and not the task that waits."""


@contextmanager
def own_cancellations() -> Iterator[None]:
    """Let through what cancels this very task; another cancellation becomes `Interrupted`.

    A library's own tasks, such as a look-up of a name, are cancelled with all others of the loop.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
        return
    except asyncio.CancelledError:
        if task is None or task.cancelling() > before:
            raise
    raise Interrupted


def _shield() -> AbstractContextManager[object]:
    """anyio's, where anyio is loaded: its scopes repeat a cancellation in every turn of the loop,
    which would be a busy loop as long as somebody waits all the same."""
    scope = getattr(sys.modules.get("anyio"), "CancelScope", None)
    return nullcontext() if scope is None else scope(shield=True)
