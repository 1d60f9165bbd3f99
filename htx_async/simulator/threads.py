"""Threads: calls from any of them, one at a time, and an event loop in one of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from types import FunctionType
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
C = TypeVar("C", bound=type)


class _Locked(Protocol):
    _lock: threading.RLock


def one_at_a_time(kind: C) -> C:
    """Let each public method and property of the class hold the object's `_lock`."""
    for name, value in list(vars(kind).items()):
        if name.startswith("_"):
            continue
        if isinstance(value, FunctionType):
            setattr(kind, name, _holding(value))
        elif isinstance(value, property):
            read, write = value.fget and _holding(value.fget), value.fset and _holding(value.fset)
            setattr(kind, name, property(read, write))
    return kind


def _holding(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def holding(self: _Locked, *args: Any, **settings: Any) -> Any:
        with self._lock:
            return method(self, *args, **settings)

    return holding


class LoopThread:
    """An event loop that runs in a thread of its own until `close`."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives, done there; not from that thread itself."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """End the loop and its thread."""
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
