"""Foreign coroutines behind a wall: nothing of theirs hangs on an exception that passes through.

Their frames hold the signed URL, and error reporters send the locals of every frame, cause and
context that hangs on an exception. So a cancellation that interrupts them comes out as it went in,
and what they raise themselves comes out bare.
"""

import asyncio
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar, cast

T = TypeVar("T")

_Callers: TypeAlias = tuple[BaseException | None, ...]
"""What the caller was handling, or had linked, before any of it came in here."""


class Withdrawn(Exception):
    """Something that was waited for was cancelled by others; the task that waited was not."""


@types.coroutine
def isolated(
    work: Coroutine[Any, Any, T], interrupt: Callable[[], object]
) -> Generator[Any, Any, T]:
    """Run `work`, with `interrupt` called before any exception from outside reaches it.

    An interruption (a cancellation of the task, GeneratorExit, whatever is no `Exception`) goes on
    whatever `work` made of it: the same object, with what hung on it before. Not so if `work`
    itself asked for that cancellation and took it back, as a time-out does, or raises what ends a
    program. `work`'s own exceptions come out without frames, and one that is no `Exception` without
    notes, cause and context, too; in place of a `CancelledError` that nobody meant for this task
    comes `Withdrawn`.
    """
    task = asyncio.current_task()
    before = _asked_to_end(task, delivered=True)
    handled = sys.exception()
    thrown: list[_Thrown] = []
    ended: BaseException | None = None
    callers: _Callers = ()
    result: Any = None
    try:
        try:
            result = yield from _driven(work, interrupt, thrown)
        except BaseException as error:
            ended = error
        if ended is None and not thrown:
            return cast("T", result)
        is_cancelled = _asked_to_end(task) > before
        if ended is not None:
            callers = (handled, *(one for last in thrown[-1:] for one in last[2:4]))
            ended = _bare(ended, is_cancelled, callers)
        if thrown and thrown[-1].goes_on(ended, is_cancelled):
            raise thrown[-1].restored()
        if ended is not None:
            raise ended
        return cast("T", result)
    finally:
        # Exceptions lead to this frame through their tracebacks, and so does a task that ended with
        # one.
        task = handled = ended = result = None
        callers = ()
        thrown.clear()


def _driven(
    work: Coroutine[Any, Any, T], interrupt: Callable[[], object], thrown: "list[_Thrown]"
) -> Generator[Any, Any, T]:
    """`work`, step by step; interruptions that came from outside are added to `thrown`."""
    try:
        waiting = work.send(None)
        while True:
            try:
                result = yield waiting
            except GeneratorExit as error:
                thrown.append(_Thrown.of(error))
                interrupt()
                work.close()
                raise
            except BaseException as error:
                if not isinstance(error, Exception):
                    thrown.append(_Thrown.of(error))
                interrupt()
                waiting = work.throw(error)
            else:
                waiting = work.send(result)
    except StopIteration as end:
        return cast("T", end.value)


def _asked_to_end(task: asyncio.Task[Any] | None, *, delivered: bool = False) -> int:
    """How many requests to cancel `task` stand; `delivered`: only those that it has met."""
    if task is None:
        return 0
    # asyncio tells nobody whether a request is still on its way to the task.
    return task.cancelling() - bool(delivered and getattr(task, "_must_cancel", False))


class _Thrown(NamedTuple):
    """An exception from outside, and what hung on it when it came."""

    error: BaseException
    traceback: types.TracebackType | None
    cause: BaseException | None
    context: BaseException | None
    is_context_hidden: bool
    notes: list[str] | None

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """`error` as it is now, but for the frame that has caught it."""
        notes = getattr(error, "__notes__", None)
        return cls(
            error,
            error.__traceback__ and error.__traceback__.tb_next,
            error.__cause__,
            error.__context__,
            error.__suppress_context__,
            None if notes is None else list(notes),
        )

    def goes_on(self, ended: BaseException | None, is_cancelled: bool) -> bool:
        """Whether it is still meant, and goes before what the work ended with."""
        if isinstance(self.error, asyncio.CancelledError) and not is_cancelled:
            return False
        mere = (Exception, asyncio.CancelledError, GeneratorExit)
        return ended is None or ended is self.error or isinstance(ended, mere)

    def restored(self) -> BaseException:
        """The same exception as it came."""
        error = _without_notes(self.error.with_traceback(self.traceback))
        error.__cause__, error.__context__ = self.cause, self.context
        error.__suppress_context__ = self.is_context_hidden
        for note in self.notes or ():
            error.add_note(note)
        return error


def _bare(error: BaseException, is_cancelled: bool, callers: _Callers) -> BaseException:
    """What goes on in place of an exception of foreign code; `callers` are left as they are."""
    if isinstance(error, asyncio.CancelledError) and not is_cancelled:
        return Withdrawn("cancelled by others")
    _drop_frames(error, callers)
    if isinstance(error, Exception):
        return error
    if isinstance(error, BaseExceptionGroup):
        # Of several only those that end more than a call: the texts of others may hold the URL.
        _, rest = error.split(Exception)
        if rest is None:
            return RuntimeError("several errors")
        error = rest
        for member in rest.exceptions:
            _bare(member, True, callers)
    error = _without_notes(error)
    error.__cause__ = error.__context__ = None
    error.__suppress_context__ = False
    return error


def _drop_frames(error: BaseException, callers: _Callers) -> None:
    """From all that hangs on it: connections keep some of these, and frames know their callers."""
    left: list[BaseException | None] = [error]
    seen = {id(one) for one in callers}
    while left:
        one = left.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.__traceback__ = None
            left += [one.__cause__, one.__context__]
            left += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def _without_notes(error: BaseException) -> BaseException:
    if hasattr(error, "__notes__"):
        del error.__notes__
    return error
