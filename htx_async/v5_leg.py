"""A cancel-all on the V5 generation, which has no such call: list, cancel by ids, list again."""

import asyncio
from collections.abc import Awaitable, Sequence
from itertools import chain, repeat

from htx_async.batches import Batch
from htx_async.call import Call
from htx_async.codes import EXECUTED, SETTLED_ORDER_CODES
from htx_async.means import Means
from htx_async.models import CancelAllTrailing
from htx_async.orders import TrailingOrder
from htx_async.reading import Reading
from htx_async.report import CancelReport, OrderError
from htx_async.routes import v5
from htx_async.tasks import together
from htx_async.timers import is_time_left_after
from htx_async.v5_report import Carried, report_of_v5

_WAITS = (0.025, 0.1, 0.25, 0.5)
_LAST_WAIT = 1.0
"""Seconds between looks: V5's lists lag behind, and v1's example took 1.1 s."""

_AGAIN = 2.5
"""Seconds after which an order whose cancel was taken, and that is still listed, is tried again."""

_NO_CODE = "V5 knows a contract by its contract_code only"


class V5Leg:
    """Carries `intent` until none of the orders that it found is listed any more, or `deadline`
    (loop time). One-way orders are not cancelled under an offset filter, but reported."""

    def __init__(
        self, means: Means, intent: CancelAllTrailing, deadline: float, *, urgent: bool, number: int
    ) -> None:
        self._means = means
        self._intent = intent
        self._deadline = deadline
        self._urgent = urgent
        self._number = number
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        self._reading = Reading(means, deadline, urgent=urgent, number=number, route=v5)
        self._calls: list[tuple[tuple[str, ...], Call]] = []
        self._found: dict[str, TrailingOrder] | None = None
        self._left: dict[str, TrailingOrder] = {}
        self._ended: dict[str, TrailingOrder] | None = None
        self._is_current = False
        self._settled_at = self.began
        self._taken: dict[str, float] = {}
        self._refused: dict[str, OrderError] = {}
        self._settled: dict[str, OrderError] = {}
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._ended_by = ""

    async def run(self) -> None:
        """List and cancel, again and again."""
        if self._intent.contract_code is None:
            self._ended_by = _NO_CODE
            return
        waits = chain(_WAITS, repeat(_LAST_WAIT))
        while await self._look():
            due = [order_id for order_id in self._sure() if self._is_due(order_id)]
            if due:
                self._is_current = False
                await self._cancel(due)
            if not self._may_go() or not await self._pause(next(waits)):
                break
        if self._found and self._is_current and not self._stopped.done():
            await self._look_at_ended()

    def report(self) -> CancelReport:
        """The account so far, true at any moment."""
        batches = []
        for ids, call in self._calls:
            record = call.record()
            ends = (record.ended_by, record.warnings)
            batches.append(Batch(ids, record.attempts, record.replies, *ends))
        carried = Carried(
            found=self._found,
            left=self._left,
            ended=self._ended,
            is_current=self._is_current,
            taken=tuple(self._taken),
            refused=self._refused,
            settled=self._settled,
            batches=batches,
            reads=self._reading.attempts,
            problem=self._reading.problem,
            ended_by=self._ended_by,
        )
        elapsed = self._loop.time() - self.began
        return report_of_v5(self._intent, carried).model_copy(update={"elapsed": elapsed})

    def hold_back(self, reason: str) -> None:
        """Send nothing from now on: end now, or with the answers that are still to come."""
        self._end(reason)
        for _, call in self._calls:
            call.hold_back(reason)

    def stop(self, reason: str) -> None:
        """End now; what was sent and not answered is reported as unknown."""
        self._end(reason)
        for _, call in self._calls:
            call.stop(reason)

    def _end(self, reason: str) -> None:
        self._ended_by = reason
        if not self._stopped.done():
            self._stopped.set_result(None)
        self._reading.stop(reason)

    async def _look(self) -> bool:
        """Whether some order is listed that this call is to cancel."""
        rows = await self._reading.open(self._intent)
        if rows is None:
            return False
        matching = {row.order_id: row for row in rows if row.matches(self._intent)}
        if self._found is None:
            self._found = matching
        # Orders placed since do not count.
        self._left = {i: row for i, row in matching.items() if i in self._found}
        self._is_current = True
        return bool(self._sure())

    def _sure(self) -> list[str]:
        unsure = self._intent.offset is not None
        return [i for i, row in self._left.items() if not (unsure and row.is_one_way)]

    def _is_due(self, order_id: str) -> bool:
        taken = self._taken.get(order_id)
        if order_id in self._refused:
            return False
        return taken is None or self._loop.time() - taken > _AGAIN

    def _may_go(self) -> bool:
        return any(order_id not in self._refused for order_id in self._sure())

    async def _cancel(self, order_ids: Sequence[str]) -> None:
        parts = [order_ids[i : i + v5.MOST_IDS] for i in range(0, len(order_ids), v5.MOST_IDS)]
        left = max(0.0, self._deadline - self._loop.time())
        begun = [(tuple(ids), self._call(ids, left)) for ids in parts]
        self._calls += begun
        self._settled_at = self._loop.time() + _AGAIN
        await together(call.run() for _, call in begun)
        for ids, call in begun:
            self._note(Batch(ids, *call.record()[:2]))

    def _call(self, order_ids: Sequence[str], within: float) -> Call:
        job = v5.cancel(self._intent, order_ids)
        urgent, number = self._urgent, self._number
        return Call(self._means, job, within, 0.0, urgent=urgent, number=number)

    def _note(self, batch: Batch) -> None:
        now, answer = self._loop.time(), batch.answer
        # An id that was not sent would be a stranger's.
        for order_id in answer.successes if answer is not None else ():
            if order_id in batch.order_ids:
                self._taken[order_id] = now
                self._settled.pop(order_id, None)
        for error in batch.errors:
            if error.order_id not in batch.order_ids:
                continue
            if error.err_code in SETTLED_ORDER_CODES:
                was_taken = error.order_id in self._taken and error.order_id not in self._settled
                self._taken.setdefault(error.order_id, now)
                # "Not there" after a cancel that was taken is what that cancel did.
                if not was_taken or error.err_code == EXECUTED:
                    self._settled[error.order_id] = error
            elif error.err_code is not None:
                self._refused[error.order_id] = error

    async def _look_at_ended(self) -> None:
        assert self._found is not None  # noqa: S101 - asked only after a list was read
        gone = self._found.keys() - self._left.keys()
        waits = chain(_WAITS, repeat(_LAST_WAIT))
        while gone:
            rows = await self._reading.history(self._intent, 0.0, gone)
            if rows is None:
                return
            self._ended = {row.order_id: row for row in rows}
            is_late = self._loop.time() > self._settled_at
            if gone <= self._ended.keys() or is_late or not await self._pause(next(waits)):
                return

    def _pause(self, seconds: float) -> Awaitable[bool]:
        """Whether there is time for another look after so many seconds."""
        return is_time_left_after(seconds, self._deadline, self._stopped)
