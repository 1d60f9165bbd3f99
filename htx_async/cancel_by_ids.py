"""Cancels of single orders, ten to a request."""

import asyncio
from collections.abc import Iterable, Sequence

from htx_async.batches import Batch, report_of_batches
from htx_async.call import NUMBERS, Call
from htx_async.errors import InvalidRequest
from htx_async.limits import foresee
from htx_async.means import Means
from htx_async.models import CancelAllTrailing
from htx_async.report import CancelReport
from htx_async.routes import v1, v5
from htx_async.terms import ApiGeneration

_LONGEST_ID = 64
_ROUND_TRIP = 0.5
"""Seconds for each five requests, where no deadline is given."""


def checked_ids(order_ids: Iterable[str]) -> tuple[str, ...]:
    """Order ids as the exchange gives them, duplicates once; else `InvalidRequest`."""
    if isinstance(order_ids, str) or not isinstance(order_ids, Iterable):
        kind = type(order_ids).__name__
        raise InvalidRequest(f"order_ids must be a sequence of order ids, not {kind}")
    ids = tuple(order_ids)
    if not ids:
        raise InvalidRequest("order_ids is empty; an empty list never means all orders")
    for each in ids:
        is_id = isinstance(each, str) and each.isascii() and each.isdigit()
        if not (is_id and len(each) <= _LONGEST_ID):
            raise InvalidRequest("an order id must be a string of digits; a number may be rounded")
    return tuple(dict.fromkeys(ids))


class CancelByIds:
    """Carries the cancel of `order_ids`, all of the contract that `wanted` names."""

    def __init__(
        self,
        means: Means,
        wanted: CancelAllTrailing,
        order_ids: Sequence[str],
        within: float | None,
        allowance: float,
        *,
        urgent: bool = False,
    ) -> None:
        self._means = means
        self._wanted = wanted
        self._urgent = urgent
        self._number = next(NUMBERS)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        route = v5 if means.generation.current is ApiGeneration.V5 else v1
        parts = [order_ids[i : i + v1.MOST_IDS] for i in range(0, len(order_ids), v1.MOST_IDS)]
        jobs = [(tuple(ids), route.cancel(wanted, ids)) for ids in parts]
        if within is None:
            # The last of them has to queue behind all the others.
            path, limiter = jobs[0][1].request.path, means.trades.limiter
            turn = foresee(limiter, path, len(jobs), urgent=urgent, round_trip=_ROUND_TRIP)
            within = max(0.0, turn - self._began) + allowance
        self._calls = [
            (ids, Call(means, job, within, allowance, urgent=urgent, number=self._number))
            for ids, job in jobs
        ]

    async def run(self) -> CancelReport:
        """The report, when every batch has ended."""
        if tell := self._means.tell:
            tell.call_started(self._began, self._number, self._wanted, self._urgent)
        self._means.live.add(self)
        try:
            async with asyncio.TaskGroup() as group:
                for _, call in self._calls:
                    group.create_task(call.run())
        finally:
            self._means.live.discard(self)
            report = self.report()
            if tell:
                tell.call_ended(self._loop.time(), self._number, report)
        return report

    def report(self) -> CancelReport:
        """The account so far."""
        batches = []
        for ids, call in self._calls:
            record = call.record()
            batches.append(
                Batch(ids, record.attempts, record.replies, record.ended_by, record.warnings)
            )
        elapsed = self._loop.time() - self._began
        return report_of_batches(self._wanted, batches, elapsed=elapsed)

    def hold_back(self, reason: str) -> None:
        """Send nothing from now on."""
        for _, call in self._calls:
            call.hold_back(reason)

    def stop(self, reason: str) -> None:
        """End every batch now."""
        for _, call in self._calls:
            call.stop(reason)
