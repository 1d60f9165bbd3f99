"""One cancel-all from beginning to end, on whichever generation of the API the account is."""

import asyncio

from htx_async.call import NUMBERS
from htx_async.generation import proves_nothing, shows_a_moved_account
from htx_async.means import Means
from htx_async.models import CancelAllTrailing
from htx_async.outcome import numbered
from htx_async.reading import Reading
from htx_async.report import CancelReport
from htx_async.routes import v5
from htx_async.terms import ApiGeneration
from htx_async.v1_leg import V1Leg
from htx_async.v5_leg import V5Leg
from htx_async.v5_report import doubted, joined


class CancelAll:
    """Carries `intent` to a report.

    `within`, `allowance`, `urgent`: see `Call`; the deadline counts for everything. `confirm`:
    look afterwards whether the orders are gone, which V5 always does.
    """

    def __init__(
        self,
        means: Means,
        intent: CancelAllTrailing,
        within: float | None,
        allowance: float,
        *,
        urgent: bool = False,
        confirm: bool = False,
    ) -> None:
        self._means = means
        self._intent = intent
        self._urgent = urgent
        self._number = next(NUMBERS)
        self._loop = asyncio.get_running_loop()
        self._first: V1Leg | None = None
        self._told: CancelReport | None = None
        self._second: V5Leg | None = None
        self._check: Reading | None = None
        self._has_agreed = False
        self._doubt = "V5 was not asked"
        self._is_stopped = False
        if means.generation.current is ApiGeneration.V1:
            first = V1Leg(means, intent, within, allowance, urgent, confirm, self._number)
            self._first, self._began, self._deadline = first, first.began, first.deadline
        else:
            self._began = self._loop.time()
            self._deadline = self._began + (allowance if within is None else within)

    async def run(self) -> CancelReport:
        """The report, however the call ends."""
        tell = self._means.tell
        if tell:
            tell.call_started(self._began, self._number, self._intent, self._urgent)
        self._means.live.add(self)
        try:
            if self._first is None:
                await self._on_v5()
            else:
                await self._first.run()
                self._told = self._first.report()
                if self._is_to_doubt(self._told):
                    await self._go_on(self._told)
        finally:
            self._means.live.discard(self)
            # A caller that is cancelled gets no report; a listener does.
            report = self.report()
            if tell:
                tell.call_ended(self._loop.time(), self._number, report)
        return report

    def report(self) -> CancelReport:
        """The account so far, true at any moment."""
        first = self._told
        if first is None and self._first is not None:
            first = self._first.report()
        checks = () if self._check is None else self._check.attempts
        if self._second is not None:
            elapsed = self._loop.time() - self._began
            alone = None if self._first is None else self._first.told_alone()
            looked = checks if first is None else (*first.reads, *checks)
            if alone is not None and first is not None:
                alone = alone.model_copy(update={"triggered": first.triggered})
            return joined(alone, self._second.report(), looked, elapsed)
        assert first is not None  # noqa: S101 - there is a first leg, or a second
        is_open_question = self._is_to_doubt(first) and not self._has_agreed
        if is_open_question and first.is_clear and proves_nothing(first):
            alone = first if self._first is None else self._first.told_alone()
            first = doubted(first, alone, self._doubt)
        if self._check is not None:
            elapsed = self._loop.time() - self._began
            reads = numbered([*first.reads, *checks])
            first = first.model_copy(update={"reads": reads, "elapsed": elapsed})
        return first

    def hold_back(self, reason: str) -> None:
        """Send nothing from now on: end now, or with the answers that are still to come."""
        self._is_stopped = True
        for part in self._parts():
            part.hold_back(reason)

    def stop(self, reason: str) -> None:
        """End now; what was sent and not answered is reported as unknown."""
        self._is_stopped = True
        for part in self._parts():
            part.stop(reason)

    def _parts(self) -> list[V1Leg | V5Leg | Reading]:
        parts = (self._first, self._check, self._second)
        return [part for part in parts if part is not None]

    def _is_to_doubt(self, report: CancelReport) -> bool:
        """Whether v1's word needs a second look at all: ids alone are the word of an exchange that
        still carries out what v1 is told."""
        return self._means.generation.is_auto and bool(report.reads or not report.successes)

    async def _go_on(self, report: CancelReport) -> None:
        """On V5, if v1's answer shows that the account is there, or V5's own list does."""
        if self._is_stopped:
            return
        why = shows_a_moved_account(report)
        if not why and proves_nothing(report):
            urgent, number = self._urgent, self._number
            self._check = Reading(
                self._means, self._deadline, urgent=urgent, number=number, route=v5
            )
            opinion = await self._means.second_opinion.ask(
                self._intent, self._check, self._deadline
            )
            why, self._doubt = opinion.shows, opinion.doubt or self._doubt
            self._has_agreed = not why and not opinion.doubt
        if why:
            self._means.generation.switch(why, self._means.tell)
            if not self._is_stopped:
                await self._on_v5()

    async def _on_v5(self) -> None:
        urgent, number = self._urgent, self._number
        self._second = V5Leg(
            self._means, self._intent, self._deadline, urgent=urgent, number=number
        )
        await self._second.run()
