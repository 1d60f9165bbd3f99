"""After a cancel: reads the exchange's lists until none of the orders is left, or time is up.

The exchange's "ok" means that the command was taken, not that the orders are gone (HTX API docs,
"FAQ Order and Trade" Q9 and Q11); its own example shows 1.1 s between the two.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from itertools import chain, repeat

from htx_async.confirmed import Seen, confirmed
from htx_async.models import CancelAllTrailing
from htx_async.orders import TrailingOrder
from htx_async.reading import Moment, Reading
from htx_async.report import CancelReport
from htx_async.terms import Outcome
from htx_async.timers import is_time_left_after

_WAITS = (0.1, 0.25, 0.5)
_LAST_WAIT = 1.0
"""Seconds between looks."""

_TO_SETTLE = 2.5
"""Seconds after the last request, from which an order that it did not reach will not go by
itself: more than twice what the exchange's own example took."""

NOT_TRIED = (Outcome.REFUSED, Outcome.NOT_SENT)


class Confirmation:
    """Looks at what `wanted` was meant to cancel; `report` is the account of the cancel itself.

    `began`: loop time of the call; orders placed after it do not count against it. `sent`: moments
    of its replies. `last`: loop time of its last request.
    """

    def __init__(
        self,
        reading: Reading,
        wanted: CancelAllTrailing,
        report: CancelReport,
        *,
        began: float,
        deadline: float,
        sent: Sequence[Moment],
    ) -> None:
        self._reading = reading
        self._wanted = wanted
        self._report = report
        self._began = began
        self._deadline = deadline
        self._sent = sent
        self._named = {*report.successes, *(error.order_id for error in report.errors)}
        self._loop = asyncio.get_running_loop()
        self._settled_at = self._loop.time() + _TO_SETTLE
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._left: tuple[TrailingOrder, ...] | None = None
        self._ended: dict[str, TrailingOrder] | None = None

    async def run(self) -> None:
        """Look until all is clear, nothing more can be expected, or the deadline comes."""
        if self._report.outcome in NOT_TRIED:
            return
        await self._look_at_open()
        if self._left is not None:
            await self._look_at_ended({row.order_id for row in self._left})

    def told(self) -> CancelReport:
        """The account as far as it is known now."""
        reads = {"reads": self._reading.attempts}
        if self._report.outcome in NOT_TRIED:
            return self._report
        if self._left is None:
            reason = self._reading.problem or "it was not read yet"
            warning = f"this is not confirmed by the list of open orders ({reason})"
            warnings = {"warnings": (*self._report.warnings, warning)}
            return self._report.model_copy(update={**reads, **warnings})
        seen = Seen(self._left, self._ended, self._earliest())
        report = confirmed(self._report, self._wanted, seen).model_copy(update=reads)
        shown = self._ended or {}
        unseen = sum(order_id not in shown for order_id in report.successes)
        if not unseen and (self._ended is not None or report.ids_complete):
            return report
        reason = self._reading.problem or f"{unseen} of them are not in it yet"
        warning = f"the history does not tell which of the orders had triggered ({reason})"
        return report.model_copy(update={"warnings": (*report.warnings, warning)})

    def stop(self, reason: str) -> None:
        """Look no more."""
        if not self._stopped.done():
            self._stopped.set_result(None)
        self._reading.stop(reason)

    async def _look_at_open(self) -> None:
        waits = chain(_WAITS, repeat(_LAST_WAIT))
        if self._report.outcome is Outcome.CANCELLED and not await self._pause(next(waits)):
            return
        while (rows := await self._reading.open(self._wanted)) is not None:
            self._left = tuple(
                row for row in rows if row.matches(self._wanted) and not self._is_newer(row)
            )
            if not self._may_go(self._left) or not await self._pause(next(waits)):
                return

    def _may_go(self, left: Sequence[TrailingOrder]) -> bool:
        """Whether some order is left that this cancel may still take off."""
        if self._loop.time() < self._settled_at:
            return bool(left)
        taken = set(self._report.successes)
        return any(row.order_id in taken for row in left)

    async def _look_at_ended(self, still_open: set[str]) -> None:
        waits = chain(_WAITS, repeat(_LAST_WAIT))
        expected = set(self._report.successes) - still_open
        while True:
            rows = await self._reading.history(self._wanted, self._earliest(), expected)
            if rows is None:
                return
            self._ended = {row.order_id: row for row in rows}
            is_late = self._loop.time() > self._settled_at
            if expected <= self._ended.keys() or is_late or not await self._pause(next(waits)):
                return

    def _pause(self, seconds: float) -> Awaitable[bool]:
        """Whether there is time for another look after so many seconds."""
        return is_time_left_after(seconds, self._deadline, self._stopped)

    def _is_newer(self, row: TrailingOrder) -> bool:
        """Whether it was certainly placed after the call began, and is none that the call took or
        was refused for.

        A reply's time was told after its request was sent, so what it is less the seconds from the
        beginning to that sending comes no earlier than the beginning.
        """
        if row.order_id in self._named:
            return False
        # Times are told in whole milliseconds, cut off.
        times = (m.ts + 1 - 1000 * (m.sent - self._began) for m in self._moments())
        latest = min(times, default=None)
        return row.created_at is not None and latest is not None and row.created_at > latest

    def _earliest(self) -> float:
        """A time at the exchange at which the call had certainly not begun."""
        times = (m.ts - 1 - 1000 * (m.received - self._began) for m in self._moments())
        return max(times, default=0.0)

    def _moments(self) -> list[Moment]:
        return [*self._sent, *self._reading.moments]
