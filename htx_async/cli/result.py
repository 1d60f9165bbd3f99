"""What came of a mass cancel, in one margin mode or in both."""

from collections.abc import Mapping
from functools import cached_property

from htx_async.cancel.judge import NOT_CONFIRMED, TOO_EARLY
from htx_async.cli.again import Again, Left, command_line
from htx_async.cli.exit_codes import NOT_SENT, exit_code
from htx_async.cli.streams import json_of
from htx_async.enums import MarginMode, Outcome
from htx_async.errors import HtxError
from htx_async.mass_report import MassCancelReport
from htx_async.report import CancelReport

Found = MassCancelReport | HtxError
"""A report, or why nothing was sent."""


def is_unconfirmed(report: CancelReport) -> bool:
    """Whether it is clear, and a confirmation that was asked for is missing; it says so. Where
    nothing was sent, a whole list that had nothing to cancel is enough."""
    is_open = report.is_clear and report.confirmed is None
    return is_open and any(NOT_CONFIRMED in warning for warning in warnings_of(report))


def was_only_looked_at(report: CancelReport) -> bool:
    """Whether nothing was sent for the contract, since it had no matching order open."""
    return report.outcome is Outcome.NOTHING_TO_CANCEL and not report.attempts


def warnings_of(report: CancelReport) -> tuple[str, ...]:
    """What an operator has to know beside the orders."""
    is_looked_at = was_only_looked_at(report)
    return tuple(one for one in report.warnings if not (is_looked_at and one == TOO_EARLY))


def _was_too_late(report: CancelReport) -> bool:
    """Whether the deadline ended it, or came before a list that confirms could be asked for, or
    before all were gone of which none was refused."""
    if report.outcome is Outcome.PARTIAL and not report.errors:
        return True
    return _DEADLINE in report.ended_by or any(
        one == TOO_EARLY or _DEADLINE in one for one in report.warnings
    )


_DEADLINE = "the deadline"


class Result:
    """The reports by margin mode. `confirm`: whether the exchange's lists were asked for.
    `again`: how to say the command once more, if it can be; with the deadline `longer`, in seconds,
    where its own is what ended it. `beside`: how many orders are open in
    a margin mode in which none was to be cancelled; None where nobody looked. `is_v1_given`:
    whether V5 was not to be asked."""

    def __init__(
        self,
        found: Mapping[MarginMode, Found],
        *,
        confirm: bool,
        again: Again | None = None,
        longer: float | None = None,
        beside: Mapping[MarginMode, int | None] | None = None,
        is_v1_given: bool = False,
    ) -> None:
        self._found = found
        self.confirm = confirm
        self._again = again
        self._longer = longer
        self._is_v1_given = is_v1_given
        others = (mode for mode in MarginMode if mode not in found)
        self.beside = {mode: (beside or {}).get(mode) for mode in others}

    @cached_property
    def by_margin(self) -> dict[MarginMode, MassCancelReport | None]:
        """None where nothing was sent."""
        return {
            margin: one if isinstance(one, MassCancelReport) else None
            for margin, one in self._found.items()
        }

    @cached_property
    def not_begun(self) -> tuple[HtxError, ...]:
        """Why nothing was sent in a margin mode."""
        return tuple(one for one in self._found.values() if isinstance(one, HtxError))

    @property
    def is_clear(self) -> bool:
        """Whether nothing is left for a person to do."""
        return not self.need_a_person and not self.not_begun

    @property
    def may_have_moved(self) -> bool:
        """Whether v1 alone was asked, and has shown no order: that is what it says of an account
        that has moved to V5, too."""
        return self._is_v1_given and self.is_clear and not self.whole.successes

    @cached_property
    def whole(self) -> MassCancelReport:
        """All reports as one; there has to be one."""
        found = [one for one in self.by_margin.values() if one is not None]
        return MassCancelReport(
            reports=tuple(report for one in found for report in one.reports),
            elapsed=max(one.elapsed for one in found),
            callback_errors=tuple(error for one in found for error in one.callback_errors),
        )

    @cached_property
    def unconfirmed(self) -> tuple[CancelReport, ...]:
        """Clear by the exchange's word only, where more was asked for."""
        return tuple(filter(self._is_unconfirmed, self.whole.reports))

    def _is_unconfirmed(self, report: CancelReport) -> bool:
        return self.confirm and is_unconfirmed(report)

    @cached_property
    def only_looked_at(self) -> tuple[CancelReport, ...]:
        """Clear by a list that showed nothing to cancel, and may lack an order listed late; they
        need no person."""
        unseen = (r for r in self.whole.reports if r.is_clear and r.confirmed is None)
        return tuple(r for r in unseen if self.confirm and not is_unconfirmed(r))

    @cached_property
    def need_a_person(self) -> tuple[CancelReport, ...]:
        """Contracts whose orders may be open."""
        not_clear = (report for report in self.whole.reports if not report.is_clear)
        return (*self.unconfirmed, *not_clear)

    @property
    def _left(self) -> Left:
        def left(found: MassCancelReport) -> tuple[str, ...]:
            open_ones = (r for r in found.reports if not r.is_clear or self._is_unconfirmed(r))
            return tuple(report.contract_code for report in open_ones)

        return {mode: None if one is None else left(one) for mode, one in self.by_margin.items()}

    @property
    def again(self) -> str:
        """The commands that do once more what is not clear; "" where all is."""
        return "" if self._once_more is None else self._once_more.told(self._left)

    @cached_property
    def _once_more(self) -> Again | None:
        again, longer = self._again, self._longer
        if again is None or longer is None or not any(map(_was_too_late, self.need_a_person)):
            return again
        return again.longer(longer)

    def as_json(self) -> bytes:
        """The report as one document; of both margin modes, one by the name of each in it."""
        documents = {
            margin.value: None if one is None else one.model_dump(mode="json")
            for margin, one in self.by_margin.items()
        }
        (first, *others) = documents.values()
        whole = documents if others else first or {}
        beside = {f"{mode}_open": number for mode, number in self.beside.items()}
        told = {**whole, **beside}
        if self._once_more is not None:
            told["again"] = [command_line(one) for one in self._once_more.commands(self._left)]
        return json_of(told)

    def exit_code(self, *, interrupted: bool) -> int:
        """See `exit_codes`; a margin mode for which nothing was sent counts as such."""
        unconfirmed = bool(self.unconfirmed)
        code = exit_code(self.whole.outcome, interrupted=interrupted, unconfirmed=unconfirmed)
        return code or (NOT_SENT if self.not_begun else 0)
