"""A session's events on their way to its listeners."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from htx_async.aio.listeners import LEAVING, Audience, is_ending
from htx_async.aio.tasks import own_task
from htx_async.events import Event, Listener, WritesAhead

_FAILED = "the record of this call could not be kept"
_LATE = "the record of this call was not safe yet when its first cancel left"


class Emitter:
    """Hands events to the listeners of a session; there is none where nobody listens."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._audience = Audience("on_event", listeners)
        objects: Sequence[object] = listeners
        self._ahead = [each for each in objects if isinstance(each, WritesAhead)]

    def emit(self, event: Event) -> None:
        """Call every listener with `event`; see `htx_async.aio.listeners` for what one may do."""
        self._audience.tell(type(event).__name__, event)

    async def written(self, call: int, until: float) -> tuple[str, ...]:
        """Wait for the records of a call's start, at most until loop time `until`; what failed."""
        if not self._ahead:
            return ()
        records = [own_task(_kept(listener, call)) for listener in self._ahead]
        left = max(0.0, until - asyncio.get_running_loop().time())
        try:
            safe, late = await asyncio.wait(records, timeout=left)
        finally:
            for record in records:
                record.cancel()
        return (*filter(None, map(_said, safe)), *(_LATE for _ in late))


def _said(record: asyncio.Task[str]) -> str:
    # A listener may have cancelled the task that it runs in: its own affair.
    return f"{_FAILED}: it was cancelled" if record.cancelled() else record.result()


async def _kept(listener: WritesAhead, call: int) -> str:
    """Why the record of `call` is not kept; "" when it is."""
    try:
        told: object = await listener.written(call)
    except LEAVING:
        raise
    except BaseException as error:
        # Another's code, whatever it raises: what ends this task alone goes on.
        if is_ending():
            raise
        return f"{_FAILED}: {type(error).__name__}"
    return told if isinstance(told, str) else f"{_FAILED}: it says {type(told).__name__}"
