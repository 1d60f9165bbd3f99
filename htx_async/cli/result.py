"""What came of a mass cancel, in one margin mode or in both."""

from collections.abc import Mapping
from functools import cached_property

from htx_async.cancel.judge import NOT_CONFIRMED
from htx_async.cli.exit_codes import NOT_SENT, exit_code
from htx_async.enums import MarginMode, Outcome
from htx_async.errors import HtxError
from htx_async.mass_report import MassCancelReport
from htx_async.report import CancelReport

Found = MassCancelReport | HtxError
"""An account, or why nothing was sent."""


def was_only_looked_at(report: CancelReport) -> bool:
    """Whether nothing was sent for the contract, since it had no matching order open."""
    return report.outcome is Outcome.NOTHING_TO_CANCEL and not report.attempts


def is_unconfirmed(report: CancelReport) -> bool:
    """Whether it is clear, and a confirmation that was asked for is missing; it says so. What was
    only looked at is clear by a whole list."""
    is_open = report.is_clear and report.confirmed is None and not was_only_looked_at(report)
    return is_open and any(NOT_CONFIRMED in warning for warning in report.warnings)


class Result:
    """The accounts by margin mode. `confirm`: whether the exchange's lists were asked for."""

    def __init__(self, found: Mapping[MarginMode, Found], *, confirm: bool) -> None:
        self._found = found
        self.confirm = confirm

    @cached_property
    def accounts(self) -> dict[MarginMode, MassCancelReport | None]:
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

    @cached_property
    def whole(self) -> MassCancelReport:
        """All accounts as one; there has to be one."""
        accounts = [one for one in self.accounts.values() if one is not None]
        return MassCancelReport(
            reports=tuple(report for one in accounts for report in one.reports),
            elapsed=max(one.elapsed for one in accounts),
            callback_errors=tuple(error for one in accounts for error in one.callback_errors),
        )

    @cached_property
    def unconfirmed(self) -> tuple[CancelReport, ...]:
        """Clear by the exchange's word only, where more was asked for."""
        return tuple(r for r in self.whole.reports if self.confirm and is_unconfirmed(r))

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

    def as_json(self) -> bytes:
        """The account as one document; of both margin modes, one by the name of each in it."""
        documents = {
            margin.value: "null" if one is None else one.model_dump_json()
            for margin, one in self.accounts.items()
        }
        (first, *others) = documents.values()
        whole = ",".join(f'"{margin}":{text}' for margin, text in documents.items())
        return (f"{{{whole}}}" if others else first).encode()

    def exit_code(self, *, interrupted: bool) -> int:
        """See `exit_codes`; a margin mode for which nothing was sent counts as such."""
        unconfirmed = bool(self.unconfirmed)
        code = exit_code(self.whole.outcome, interrupted=interrupted, unconfirmed=unconfirmed)
        return code or (NOT_SENT if self.not_begun else 0)
