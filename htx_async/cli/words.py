"""The account of a mass cancel in plain words: what needs a person first, what is known of each
order after it."""

from collections import Counter
from collections.abc import Iterator

from htx_async.cli.streams import visible
from htx_async.codes import SETTLED_ORDER_CODES
from htx_async.mass_report import MassCancelReport
from htx_async.report import CancelReport
from htx_async.terms import BY_URGENCY, Outcome

_MOST_IDS = 50

_NEEDS = {
    Outcome.UNKNOWN: "Unknown, look at the exchange now",
    Outcome.PARTIAL: "Partial, orders may still be open",
    Outcome.REFUSED: "Refused, nothing was cancelled",
    Outcome.NOT_SENT: "Not sent, every order is as it was",
}

_OFFSET = (
    "With --offset, the trailing orders of a one-way account may be out of reach: theirs have the "
    "offset both. Leave the offset out for such an account."
)


def words(outcome: Outcome) -> str:
    """An outcome as it is spoken."""
    return outcome.value.replace("_", " ")


def count(number: int, noun: str) -> str:
    """A number of things, such as "1 order" or "2 orders"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def summary(report: MassCancelReport) -> str:
    """One line: all is clear, or which contracts need a person."""
    total = count(len(report.reports), "contract")
    ids = count(len(report.successes), "order")
    complete = all(one.ids_complete for one in report.reports)
    lost = "" if complete else "; answers were lost, and ids with them"
    after = f"after {report.elapsed:.1f} s"
    if report.is_clear:
        return f"All clear {after}: the exchange took every cancel for {total} ({ids} by id{lost})."
    need = "needs" if len(report.not_clear) == 1 else "need"
    groups = " ".join(_groups(report))
    return f"NOT CLEAR {after}: {len(report.not_clear)} of {total} {need} a person. {groups}"


def _groups(report: MassCancelReport) -> Iterator[str]:
    for outcome in BY_URGENCY:
        codes = [one.contract_code for one in report.reports if one.outcome is outcome]
        if codes and outcome in _NEEDS:
            yield f"{_NEEDS[outcome]}: {', '.join(codes)}."


def messages(report: MassCancelReport) -> Iterator[str]:
    """In full what each contract that is not clear has to say, and others that left something
    open; then what went wrong beside the calls."""
    told = [one for one in report.reports if _has_to_be_told(one)]
    yield from (visible(one.message) for one in told)
    if any(one.offset is not None and _found_nothing(one) for one in report.reports):
        yield _OFFSET
    others = [one for one in report.reports if one not in told]
    for warning, number in Counter(w for one in others for w in one.warnings).items():
        yield f"Besides, for {count(number, 'contract')}: {visible(warning)}."
    for error in report.callback_errors:
        yield f"Besides, {visible(error)}."


def _has_to_be_told(report: CancelReport) -> bool:
    return not report.is_clear or bool(report.triggered) or not report.ids_complete


def _found_nothing(report: CancelReport) -> bool:
    return report.outcome in (Outcome.NOTHING_TO_CANCEL, Outcome.CLEAR_AFTER_RETRY)


def orders(report: MassCancelReport) -> Iterator[str]:
    """Orders that were refused one by one, then the ids of those cancelled unless too many."""
    for one in report.reports:
        for error in one.errors:
            word = "settled" if error.err_code in SETTLED_ORDER_CODES else "refused"
            reason = f"{error.err_code}: {error.err_msg}"
            yield visible(f"{word} {one.contract_code} {error.order_id} ({reason})")
    number = len(report.successes)
    if number > _MOST_IDS:
        yield f"{number} orders were cancelled; --json has their ids."
        return
    for one in report.reports:
        if one.successes:
            yield visible(f"cancelled {one.contract_code} {' '.join(one.successes)}")
