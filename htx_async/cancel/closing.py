"""The end of a session: its promises kept, everything else ended, nothing left behind."""

import asyncio
from collections.abc import Sequence
from functools import partial

from htx_async.aio.tasks import outlast, own_task
from htx_async.calls.resources import Resources
from htx_async.calls.scope import Scope
from htx_async.cancel.guard import UnderWay

CLOSED = "the session was closed"


class Closing:
    """Ends what a session has under way in both margin modes, once, whoever is cancelled
    meanwhile."""

    def __init__(self, session: object, under_way: Sequence[UnderWay], live: Scope) -> None:
        self._session = session
        self._under_way = under_way
        self._live = live
        self._work: asyncio.Task[None] | None = None

    async def close(self, resources: Resources, grace: float, reason: str) -> None:
        """Return when all is over; calls on the wire have `grace` seconds for their answers, unless
        it is called again with less, or cancelled. A cancellation is delivered afterwards.
        `reason`: what the reports say."""
        # All of it before the first await: who is interrupted there has left nothing to be sent.
        self._end(resources, grace, reason)
        if self._work is None:
            self._work = own_task(self._finish(resources))
        end_now = partial(self._live.stop, reason)
        late = asyncio.get_running_loop().call_later(grace, end_now)
        try:
            cancelled = await outlast(self._work, end_now)
        finally:
            late.cancel()
        try:
            if cancelled is not None:
                raise cancelled
        finally:
            # Its traceback holds this frame.
            cancelled = None
        self._work.result()

    def _end(self, resources: Resources, grace: float, reason: str) -> None:
        for under_way in self._under_way:
            under_way.close(reason)
        resources.time.stop()
        if grace > 0:
            self._live.hold_back(reason)
        else:
            self._live.stop(reason)

    async def _finish(self, resources: Resources) -> None:
        try:
            await resources.time.aclose()
            await self._live.idle()
            for under_way in self._under_way:
                await under_way.promises_kept()
        finally:
            try:
                await resources.let_go(self._session)
            finally:
                await resources.transport.aclose()
