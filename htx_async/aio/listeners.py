"""Functions of a caller's own that are told what happens: what can be one, and telling it.

Whatever a listener does, it changes nothing for those who tell it: what it raises is logged by
name. Only `KeyboardInterrupt` and `SystemExit` go through, for they end the program.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from htx_async.errors import InvalidRequest

_LOG = logging.getLogger("htx_async")

LEAVING = (KeyboardInterrupt, SystemExit)
"""What is no failure of a listener but the end of the program."""


def warn(words: str, *values: object) -> None:
    """Log it on "htx_async". An application's handlers and filters may raise what they like, and
    are nobody's here."""
    try:
        _LOG.warning(words, *values)
    except LEAVING:
        raise
    except BaseException:  # noqa: S110 - it was what tells of failures that failed
        pass


L = TypeVar("L", bound=Callable[..., object])


def as_listener(name: str, value: object, takes: str, *, awaited: bool = False) -> None:
    """`InvalidRequest` for what cannot be called, and for what would do nothing when called: an
    async function, unless what it returns is `awaited`, and a generator."""
    if not callable(value):
        kind = type(value).__name__
        raise InvalidRequest(f"{name} must be a function that takes {takes}, not {kind}")
    inside: object = value
    while isinstance(inside, partial):
        inside = inside.func
    functions = (inside, type(inside).__call__)
    lazy = _GENERATORS if awaited else (*_GENERATORS, inspect.iscoroutinefunction)
    if any(is_lazy(function) for is_lazy in lazy for function in functions):
        raise InvalidRequest(
            f"{name} must be a plain function that takes {takes}: what this one returns would "
            "never be awaited or iterated; let a plain one begin a task"
        )


_GENERATORS = (inspect.isasyncgenfunction, inspect.isgeneratorfunction)


def told(error: BaseException) -> str:
    """What a listener raised, in a line."""
    try:
        words = str(error)
    except LEAVING:
        raise
    except BaseException:
        # A foreign `__str__` may fail, too; what it was about is told all the same.
        words = "(it has no words)"
    return f"{type(error).__name__}: {words}"


def is_ending() -> bool:
    """Whether the task that runs here is being cancelled, or its loop is gone: what is raised then
    is no listener's."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return True
    return task is not None and bool(task.cancelling())


class Audience(Generic[L]):
    """Listeners, called in the order in which they came; `name` is what the log calls them."""

    def __init__(self, name: str, listeners: Iterable[L] = ()) -> None:
        self._name = name
        self._members = [_Member(listener) for listener in listeners]

    def add(self, listener: L) -> Callable[[], None]:
        """Tell `listener`, too, until the function that this returns is called."""
        member = _Member(listener)
        self._members.append(member)

        def leave() -> None:
            with suppress(ValueError):
                self._members.remove(member)

        return leave

    def tell(self, occasion: str, *what: object) -> None:
        """Call each listener; `occasion` is for the log."""
        for member in tuple(self._members):
            try:
                result = member.listener(*what)
            except LEAVING:
                raise
            except BaseException as error:
                # A cancelled future's result, a test's failure: whose task runs here is not told.
                warn("%s raised %s at %s", self._name, type(error).__name__, occasion)
            else:
                if result is not None and inspect.isawaitable(result):
                    self._drop(member, result)

    def _drop(self, member: "_Member[L]", result: Awaitable[Any]) -> None:
        # A task or a future goes on by itself; what else must be awaited never will be.
        if asyncio.isfuture(result):
            return
        with suppress(Exception):
            result.close()  # type: ignore[attr-defined]  # coroutines have it, others need not
        if not member.was_warned:
            member.was_warned = True
            warn(
                "%s returned %s, which is never awaited: make it a plain function that begins a "
                "task",
                self._name,
                type(result).__name__,
            )


class _Member(Generic[L]):
    __slots__ = ("listener", "was_warned")

    def __init__(self, listener: L) -> None:
        self.listener = listener
        self.was_warned = False
