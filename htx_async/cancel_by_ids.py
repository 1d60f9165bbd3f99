"""Cancels of single orders, ten to a request."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from htx_async.batches import Batch, report_of_batches
from htx_async.call import NUMBERS, Call
from htx_async.checks import listed, shown
from htx_async.codes import NOT_FOUND
from htx_async.errors import InvalidRequest
from htx_async.generation import shows_a_moved_account
from htx_async.job import Job
from htx_async.limits import foresee
from htx_async.means import Means
from htx_async.models import CancelAllTrailing
from htx_async.reading import Reading
from htx_async.report import CancelReport
from htx_async.routes import v1, v5
from htx_async.tasks import together
from htx_async.terms import ApiGeneration
from htx_async.v5_report import joined, unproven

_LONGEST_ID = 64
_NOT_ASKED = "V5 was not asked"
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
    wrong = [
        f"order_ids[{place}], {shown(each)}: {_NO_ID}"
        for place, each in enumerate(ids)
        if not _is_id(each)
    ]
    if wrong:
        raise InvalidRequest(listed(wrong))
    return tuple(dict.fromkeys(ids))


_NO_ID = "an order id must be a string of digits; a number may be rounded"


def _is_id(value: object) -> bool:
    is_digits = isinstance(value, str) and value.isascii() and value.isdigit()
    return is_digits and len(str(value)) <= _LONGEST_ID


class CancelByIds:
    """Carries the cancel of `order_ids`, all of the contract that `wanted` names.

    What v1 says of orders that it does not know is checked against V5's list, and what only a
    moved account is told takes the call to V5, as for a cancel-all.
    """

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
        self._order_ids = order_ids
        self._urgent = urgent
        self._number = next(NUMBERS)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        is_v5 = means.generation.current is ApiGeneration.V5
        jobs = self._jobs(v5.cancel if is_v5 else v1.cancel)
        if within is None:
            # The last of them has to queue behind all the others.
            path, limiter = jobs[0][1].request.path, means.trades.limiter
            turn = foresee(limiter, path, len(jobs), urgent=urgent, round_trip=_ROUND_TRIP)
            within = max(0.0, turn - self._began) + allowance
        self._calls = self._begun(jobs, within, allowance)
        self._deadline = self._calls[0][1].deadline
        self._is_v1 = not is_v5
        self._again: list[tuple[tuple[str, ...], Call]] = []
        self._check: Reading | None = None
        self._doubt = _NOT_ASKED
        self._is_stopped = False

    async def run(self) -> CancelReport:
        """The report, when every batch has ended."""
        if tell := self._means.tell:
            tell.call_started(self._began, self._number, self._wanted, self._urgent)
        self._means.live.add(self)
        try:
            await _all(self._calls)
            if why := await self._shown():
                self._means.generation.switch(why, tell)
                left = max(0.0, self._deadline - self._loop.time())
                taken = set(self._told(self._calls).successes)
                self._order_ids = [i for i in self._order_ids if i not in taken]
                self._again = self._begun(self._jobs(v5.cancel), left, 0.0)
                await _all(self._again)
        finally:
            self._means.live.discard(self)
            report = self.report()
            if tell:
                tell.call_ended(self._loop.time(), self._number, report)
        return report

    def report(self) -> CancelReport:
        """The account so far."""
        first = self._told(self._calls)
        checks = () if self._check is None else self._check.attempts
        if self._again:
            second = self._told(self._again)
            return joined(first, second, checks, self._loop.time() - self._began)
        if self._doubt and self._is_to_doubt(first):
            first = unproven(first, self._doubt)
        return first.model_copy(update={"reads": checks}) if checks else first

    def hold_back(self, reason: str) -> None:
        """Send nothing from now on."""
        self._is_stopped = True
        for part in self._parts():
            part.hold_back(reason)

    def stop(self, reason: str) -> None:
        """End every batch now."""
        self._is_stopped = True
        for part in self._parts():
            part.stop(reason)

    def _parts(self) -> list[Call | Reading]:
        calls: list[Call | Reading] = [call for _, call in (*self._calls, *self._again)]
        return calls if self._check is None else [*calls, self._check]

    async def _shown(self) -> str:
        """Why the account must be on V5; "" when it is not, or not known to be."""
        report = self._told(self._calls)
        if self._is_stopped or not (self._is_v1 and self._means.generation.is_auto):
            return ""
        if why := shows_a_moved_account(report):
            is_named = self._wanted.contract_code is not None
            return why if is_named and not report.successes else ""
        if not self._is_to_doubt(report):
            return ""
        urgent, number = self._urgent, self._number
        check = Reading(self._means, self._deadline, urgent=urgent, number=number, route=v5)
        self._check = check
        opinion = await self._means.second_opinion.ask(
            self._wanted, check, self._deadline, self._unknown()
        )
        is_named = self._wanted.contract_code is not None
        self._doubt = opinion.doubt or (opinion.shows if not is_named or self._is_stopped else "")
        return opinion.shows if is_named and not self._is_stopped else ""

    def _is_to_doubt(self, report: CancelReport) -> bool:
        """Whether v1 only says of some request that it does not know its orders."""
        is_auto = self._is_v1 and self._means.generation.is_auto
        return is_auto and report.is_clear and bool(self._unknown())

    def _unknown(self) -> set[str]:
        """Orders of requests of which v1 knows none: the account may have moved between two."""
        batches = [Batch(ids, *call.record()[:2]) for ids, call in self._calls]
        silent = [b for b in batches if b.answer is not None and not b.answer.successes]
        unknown = [b for b in silent if all(e.err_code in NOT_FOUND for e in b.errors)]
        return {error.order_id for batch in unknown for error in batch.errors}

    def _jobs(
        self, job: Callable[[CancelAllTrailing, Sequence[str]], Job]
    ) -> list[tuple[tuple[str, ...], Job]]:
        ids, most = self._order_ids, v1.MOST_IDS
        parts = [ids[i : i + most] for i in range(0, len(ids), most)]
        return [(tuple(part), job(self._wanted, part)) for part in parts]

    def _begun(
        self, jobs: Sequence[tuple[tuple[str, ...], Job]], within: float, allowance: float
    ) -> list[tuple[tuple[str, ...], Call]]:
        means, urgent, number = self._means, self._urgent, self._number
        return [
            (ids, Call(means, job, within, allowance, urgent=urgent, number=number))
            for ids, job in jobs
        ]

    def _told(self, calls: Sequence[tuple[tuple[str, ...], Call]]) -> CancelReport:
        batches = []
        for ids, call in calls:
            record = call.record()
            ends = (record.ended_by, record.warnings)
            batches.append(Batch(ids, record.attempts, record.replies, *ends))
        elapsed = self._loop.time() - self._began
        return report_of_batches(self._wanted, batches, elapsed=elapsed)


async def _all(calls: Sequence[tuple[tuple[str, ...], Call]]) -> None:
    await together(call.run() for _, call in calls)
