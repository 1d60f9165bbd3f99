"""One cancel-all from beginning to end: the call and, where asked for, its confirmation."""

from htx_async.call import NUMBERS, Call
from htx_async.confirmation import Confirmation
from htx_async.means import Means
from htx_async.models import CancelAllTrailing
from htx_async.outcome import report_of
from htx_async.reading import Reading, moments
from htx_async.report import CancelReport
from htx_async.routes import v1


class CancelAll:
    """Carries `intent` to a report.

    `within`, `allowance`, `urgent`: see `Call`; the deadline counts for the confirmation too.
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
        self._is_to_confirm = confirm
        self._number = next(NUMBERS)
        self._call = Call(
            means, v1.cancel_all(intent), within, allowance, urgent=urgent, number=self._number
        )
        self._confirmation: Confirmation | None = None
        self._is_held_back = False

    async def run(self) -> CancelReport:
        """The report, however the call ends."""
        call, tell = self._call, self._means.tell
        if tell:
            tell.call_started(call.began, self._number, self._intent, self._urgent)
        self._means.live.add(self)
        try:
            await call.run()
            if self._is_to_confirm and not self._is_held_back:
                await self._confirm()
        finally:
            self._means.live.discard(self)
            # A caller that is cancelled gets no report; a listener does.
            report = self.report()
            if tell:
                tell.call_ended(call.began + report.elapsed, self._number, report)
        return report

    def report(self) -> CancelReport:
        """The account so far, true at any moment."""
        if self._confirmation is None:
            return self._told()
        elapsed = self._call.record().elapsed
        return self._confirmation.told().model_copy(update={"elapsed": elapsed})

    def hold_back(self, reason: str) -> None:
        """Send nothing from now on: end now, or with the answer that is still to come."""
        self._is_held_back = True
        if self._confirmation is None:
            self._call.hold_back(reason)
        else:
            self._confirmation.stop(reason)

    def stop(self, reason: str) -> None:
        """End now; what was sent and not answered is reported as unknown."""
        self._is_held_back = True
        if self._confirmation is None:
            self._call.stop(reason)
        else:
            self._confirmation.stop(reason)

    def _told(self) -> CancelReport:
        record = self._call.record()
        return report_of(
            self._intent,
            record.attempts,
            record.replies,
            elapsed=record.elapsed,
            ended_by=record.ended_by,
            warnings=record.warnings,
        )

    async def _confirm(self) -> None:
        call = self._call
        number, urgent = self._number, self._urgent
        reading = Reading(self._means, call.deadline, urgent=urgent, number=number)
        self._confirmation = Confirmation(
            reading,
            self._intent,
            self._told(),
            began=call.began,
            deadline=call.deadline,
            sent=moments(call.record()),
        )
        await self._confirmation.run()
