"""What a mass cancel gives back: the plan before, the report after."""

from collections import Counter
from collections.abc import Iterable
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, computed_field

from htx_async.attempt import Words
from htx_async.enums import BY_URGENCY, Look, MarginMode, Outcome
from htx_async.errors import MassCancelFailed, failure_of
from htx_async.report import CancelReport, OrderError
from htx_async.report_text import ended, tell_together

_OTHERS = (
    "trailing orders that have triggered",
    "limit orders",
    "trigger orders",
    "take-profit and stop-loss orders",
    "positions",
)
"""Each of these has a call of its own at the exchange, or none."""


def untouched(margin_mode: MarginMode) -> tuple[str, ...]:
    """What a cancel of the trailing orders of `margin_mode` leaves as it is."""
    other = next(mode for mode in MarginMode if mode is not margin_mode)
    return (f"trailing orders in {other} margin", *_OTHERS)


class MassCancelPlan(BaseModel):
    """What a mass cancel would do, told before anything is sent.

    `contract_codes`: duplicates once, as they would be sent. `calls`: cancels if nothing has to
    be repeated, at most. `reads`: lists of orders, at most: those that are looked at before, and
    those of V5, where the account may be there. `least_seconds`: until all is told where the first
    answers end the matter, as a rule those of an account that has nothing open; `seconds`: of one
    that has orders of every contract, and is asked for on both generations where it may be on
    either. Each is behind what is queued already and with answers that take as long as they last
    did (for the most, half a second at least). Two may be done sooner than the least: an account
    that turns out to have moved while the call runs, since V5 takes ten orders in one request, and
    one whose lists show orders, which go before what other mass cancels of the session know nothing
    of. `look`: see `mass_cancel_trailing`. `untouched`:
    what stays as it is.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, defer_build=True)

    contract_codes: tuple[str, ...]
    calls: int
    seconds: float
    least_seconds: float = 0.0
    reads: int = 0
    look: Look = Look.NONE
    margin_mode: MarginMode = MarginMode.ISOLATED
    untouched: tuple[str, ...] = untouched(MarginMode.ISOLATED)


class MassCancelReport(BaseModel):
    """The report of a mass cancel: one `CancelReport` for each contract, none left out.

    `reports`: in the order in which the contracts were given. `elapsed`: seconds.
    `callback_errors`: what went wrong in `on_report`, which changes nothing else. As text: how many
    are clear, in which margin mode, and what those that are not have to say, which stands once
    where many say the same; what most needs a person comes last.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, defer_build=True)

    reports: tuple[CancelReport, ...]
    elapsed: float
    callback_errors: tuple[Words, ...] = ()

    @computed_field  # type: ignore[prop-decorator]  # mypy cannot decorate a property (its #14461)
    @property
    def outcomes(self) -> dict[Outcome, int]:
        """How many contracts had each outcome; outcomes that none had are left out."""
        return dict(Counter(report.outcome for report in self.reports))

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def outcome(self) -> Outcome:
        """The outcome that most needs a person: unknown, partial, refused, not sent, else clear."""
        return min((report.outcome for report in self.reports), key=BY_URGENCY.index)

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def requests(self) -> int:
        """How many requests it took, reads among them; one that served several contracts is one."""
        attempts = (one for each in self.reports for one in (*each.attempts, *each.reads))
        return len({attempt.request for attempt in attempts})

    @property
    def successes(self) -> tuple[str, ...]:
        """Ids of every order whose cancel the exchange took."""
        return tuple(order_id for report in self.reports for order_id in report.successes)

    @property
    def errors(self) -> tuple[OrderError, ...]:
        """Every order that the exchange refused by itself."""
        return tuple(error for report in self.reports for error in report.errors)

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def not_clear(self) -> tuple[str, ...]:
        """Contracts that need a person: their orders may be open."""
        return tuple(r.contract_code for r in self.reports if not r.is_clear)

    @computed_field  # type: ignore[prop-decorator]  # as above
    @property
    def is_clear(self) -> bool:
        """True when the exchange took every cancel for every contract; see `CancelReport`."""
        return not self.not_clear

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong beside the orders, each once; see `CancelReport.warnings`."""
        return tuple(dict.fromkeys(w for report in self.reports for w in report.warnings))

    def warned(self, warning: str) -> Self:
        """The same, with `warning` in the report of each contract."""
        reports = [
            report.model_copy(update={"warnings": (*report.warnings, warning)})
            for report in self.reports
        ]
        return self.model_copy(update={"reports": tuple(reports)})

    def raise_for_outcome(self) -> None:
        """Raise `MassCancelFailed` with one error for each contract that is not clear."""
        failures = [failure for report in self.reports if (failure := failure_of(report))]
        if failures:
            raise MassCancelFailed(self._told(), failures)

    def _told(self) -> str:
        """How many are not clear, and what of each margin mode."""
        modes = []
        for mode in MarginMode:
            counts = Counter(one.outcome for one in self.reports if one.margin_mode is mode)
            told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
            modes += [f"{mode} margin: {told}"] if told else []
        left, all_of_them = len(self.not_clear), _count(len(self.reports), "contract")
        are = "is" if left == 1 else "are"
        return f"{left} of {all_of_them} {are} not clear ({'; '.join(modes)})"

    def _clear(self) -> str:
        counts = Counter(report.margin_mode for report in self.reports).items()
        modes = (f"{_count(number, 'contract')} in {mode} margin" for mode, number in counts)
        return f"{' and '.join(modes)} clear, {count_of_orders(self.reports)} cancelled"

    def __str__(self) -> str:
        by_need = sorted(self.reports, key=lambda one: -BY_URGENCY.index(one.outcome))
        need = [report for report in by_need if not report.is_clear]
        told = [self._told() if need else self._clear()]
        told += dict.fromkeys(w for one in self.reports if one.is_clear for w in one.warnings)
        first = "; besides, ".join(told)
        return " ".join([ended(first), *tell_together(need)]) if need else first


def count_of_orders(reports: Iterable[CancelReport]) -> str:
    """How many orders the exchange cancelled, as far as their ids are known."""
    all_of_them = tuple(reports)
    known = sum(len(report.successes) for report in all_of_them)
    if all(report.ids_complete for report in all_of_them):
        return _count(known, "order")
    return f"{f'{known} and ' if known else ''}an unknown number of orders"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
