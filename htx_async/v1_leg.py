"""A cancel-all on the v1 generation: one call and, where asked for, its confirmation."""

from collections.abc import Coroutine
from typing import Any

from htx_async.call import Call
from htx_async.confirmation import NOT_TRIED, Confirmation
from htx_async.means import Means
from htx_async.models import CancelAllTrailing
from htx_async.outcome import report_of
from htx_async.reading import Reading, moments
from htx_async.report import CancelReport
from htx_async.routes import v1

_LEFT_OUT = "this is not confirmed by the list of open orders (the call was ended before)"


class V1Leg:
    """Carries `intent` to a report.

    `within`, `allowance`, `urgent`, `number`: see `Call`; the deadline counts for the confirmation
    too.
    """

    def __init__(
        self,
        means: Means,
        intent: CancelAllTrailing,
        within: float | None,
        allowance: float,
        urgent: bool,
        confirm: bool,
        number: int,
    ) -> None:
        self._means = means
        self._intent = intent
        self._urgent = urgent
        self._is_to_confirm = confirm
        self._number = number
        self._call = Call(
            means, v1.cancel_all(intent), within, allowance, urgent=urgent, number=number
        )
        self.began = self._call.began
        self.deadline = self._call.deadline
        self._confirmation: Confirmation | None = None
        self.is_stopped = False

    def run(self) -> Coroutine[Any, Any, None]:
        """Call, and look whether the orders are gone."""
        return self._call_and_confirm() if self._is_to_confirm else self._call.run()

    async def _call_and_confirm(self) -> None:
        await self._call.run()
        if not self.is_stopped:
            await self._confirm()

    def report(self) -> CancelReport:
        """The account so far, true at any moment."""
        if self._confirmation is None:
            report = self.told_alone()
            is_left_out = self._is_to_confirm and self.is_stopped
            if not is_left_out or report.outcome in NOT_TRIED:
                return report
            return report.model_copy(update={"warnings": (*report.warnings, _LEFT_OUT)})
        elapsed = self._call.record().elapsed
        return self._confirmation.told().model_copy(update={"elapsed": elapsed})

    def hold_back(self, reason: str) -> None:
        """Send nothing from now on: end now, or with the answer that is still to come."""
        self.is_stopped = True
        if self._confirmation is None:
            self._call.hold_back(reason)
        else:
            self._confirmation.stop(reason)

    def stop(self, reason: str) -> None:
        """End now; what was sent and not answered is reported as unknown."""
        self.is_stopped = True
        if self._confirmation is None:
            self._call.stop(reason)
        else:
            self._confirmation.stop(reason)

    def told_alone(self) -> CancelReport:
        """The account without the confirmation."""
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
        urgent, number = self._urgent, self._number
        self._confirmation = Confirmation(
            Reading(self._means, call.deadline, urgent=urgent, number=number),
            self._intent,
            self.told_alone(),
            began=call.began,
            deadline=call.deadline,
            sent=moments(call.record()),
        )
        await self._confirmation.run()
