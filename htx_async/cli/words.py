"""The account of a mass cancel in plain words: what needs a person first, what is known of each
order after it."""

from collections import Counter
from collections.abc import Iterator, Sequence

from htx_async.cli.result import Result, was_only_looked_at
from htx_async.codes import SETTLED_ORDER_CODES
from htx_async.enums import LimiterMode, MarginMode, Outcome
from htx_async.report import CancelReport

_MOST_IDS = 50

_UNCONFIRMED = "Not confirmed, look at the exchange now"
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


def visible(text: str) -> str:
    """`text` with everything escaped that a terminal might act upon."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def words(outcome: Outcome) -> str:
    """An outcome as it is spoken."""
    return outcome.value.replace("_", " ")


def named(report: CancelReport) -> str:
    """The contract, with its margin mode unless that is the usual one."""
    is_usual = report.margin_mode is MarginMode.ISOLATED
    return report.instrument if is_usual else f"{report.instrument} ({report.margin_mode})"


def count(number: int, noun: str) -> str:
    """A number of things, such as "1 order" or "2 orders"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def summary(result: Result) -> str:
    """One line: all is clear, or which contracts need a person."""
    report, need = result.whole, result.need_a_person
    total = count(len(report.reports), "contract")
    after = f"after {report.elapsed:.1f} s"
    if result.is_clear:
        ids = count(len(report.successes), "order")
        complete = all(one.ids_complete for one in report.reports)
        lost = "" if complete else "; answers were lost, and ids with them"
        seen = _seen(result)
        if all(one.outcome is Outcome.NOTHING_TO_CANCEL for one in report.reports):
            return f"All clear {after}: nothing to cancel on {total}. {seen}".rstrip()
        told = f"the exchange took every cancel for {total} ({ids} by id{lost}). {seen}"
        return f"All clear {after}: {told}".rstrip()
    verb = "needs" if len(need) == 1 else "need"
    groups = " ".join(_groups(result))
    return f"NOT CLEAR {after}: {len(need)} of {total} {verb} a person. {groups}".rstrip()


def _seen(result: Result) -> str:
    """What the exchange's lists have shown, and no more."""
    if not result.confirm:
        return ""
    looked_at = len(result.only_looked_at)
    confirmed = len(result.whole.reports) - looked_at
    if not looked_at:
        return "Confirmed: its lists show none of them open."
    were = "was" if looked_at == 1 else "were"
    first = f"confirmed for {count(confirmed, 'contract')}, and " if confirmed else ""
    only = f"{count(looked_at, 'contract')} {were} only looked at"
    return f"Its lists show none of them open: {first}{only}."


def _groups(result: Result) -> Iterator[str]:
    for outcome, what in _NEEDS.items():
        reports = [one for one in result.whole.reports if one.outcome is outcome]
        if reports:
            yield _group(what, reports)
        if outcome is Outcome.UNKNOWN and result.unconfirmed:
            yield _group(_UNCONFIRMED, result.unconfirmed)
    for margin, account in result.accounts.items():
        if account is None:
            yield f"Nothing was sent in {margin} margin."


def _group(what: str, reports: Sequence[CancelReport]) -> str:
    return f"{what}: {', '.join(map(named, reports))}."


def messages(result: Result) -> Iterator[str]:
    """In full what each contract that is not clear has to say, and others that left something
    open; then what went wrong beside the calls."""
    report = result.whole
    told = [one for one in report.reports if _has_to_be_told(one) or one in result.unconfirmed]
    yield from (visible(one.message) for one in told)
    if any(one.offset is not None and _found_nothing(one) for one in report.reports):
        yield _OFFSET
    others = [one for one in report.reports if one not in told]
    for warning, number in Counter(w for one in others for w in one.warnings).items():
        yield f"Besides, for {count(number, 'contract')}: {visible(warning)}."
    for error in report.callback_errors:
        yield f"Besides, {visible(error)}."
    if alone := _went_alone(report.reports):
        yield (
            f"Besides, {count(alone, 'request')} went without Redis or the host's file, on the "
            "share of the limit that is this process's own."
        )


def _has_to_be_told(report: CancelReport) -> bool:
    return not report.is_clear or bool(report.triggered) or not report.ids_complete


def _found_nothing(report: CancelReport) -> bool:
    nothing = report.outcome in (Outcome.NOTHING_TO_CANCEL, Outcome.CLEAR_AFTER_RETRY)
    return nothing and not was_only_looked_at(report)


def _went_alone(reports: Sequence[CancelReport]) -> int:
    attempts = (attempt for one in reports for attempt in (*one.attempts, *one.reads))
    return sum(attempt.limiter_mode is LimiterMode.OWN_SHARE for attempt in attempts)


def orders(result: Result) -> Iterator[str]:
    """Orders that are still open or were refused one by one, then the ids of those cancelled
    unless too many."""
    report = result.whole
    for one in report.reports:
        yield from map(visible, _left(one))
    number = len(report.successes)
    if number > _MOST_IDS:
        yield f"{number} orders were cancelled; --json has their ids."
        return
    for one in report.reports:
        if one.successes:
            yield visible(f"cancelled {named(one)} {' '.join(one.successes)}")


def _left(report: CancelReport) -> Iterator[str]:
    refused = {error.order_id: error for error in report.errors}
    for order_id in dict.fromkeys((*report.still_open, *refused)):
        error = refused.get(order_id)
        reason = "" if error is None else f" ({error.err_code}: {error.err_msg})"
        word = "refused"
        if order_id in report.still_open:
            word = "still open"
        elif error is not None and error.err_code in SETTLED_ORDER_CODES:
            word = "settled"
        yield f"{word} {named(report)} {order_id}{reason}"
