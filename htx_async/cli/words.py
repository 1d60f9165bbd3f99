"""The report of a mass cancel in plain words; what needs a person comes last."""

from collections import Counter
from collections.abc import Iterator, Sequence

from htx_async.cli.key_refusals import REFUSED
from htx_async.cli.result import Result, is_unconfirmed, warnings_of, was_only_looked_at
from htx_async.codes import SETTLED_ORDER_CODES
from htx_async.enums import BY_URGENCY, LimiterMode, MarginMode, Outcome
from htx_async.mass_report import MassCancelReport
from htx_async.report import CancelReport
from htx_async.report_text import ended, tell_together

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


V1_ALONE = (
    "v1 alone was asked, as it was given (--generation or HTX_GENERATION), and has shown no order: "
    "it says the same of an account that has moved to V5. Leave it out if that may be so."
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
    """The contract, with its margin mode."""
    return f"{report.instrument} ({report.margin_mode})"


def count(number: int, noun: str) -> str:
    """A number of things, such as "1 order" or "2 orders"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def of_contracts(reports: Sequence[CancelReport]) -> str:
    """How many contracts these are of: one in both margin modes is one."""
    return count(len({report.instrument for report in reports}), "contract")


def summary(result: Result) -> str:
    """One line: all is clear, or which contracts need a person; what was not looked at, too."""
    report, need = result.whole, result.need_a_person
    total = of_contracts(report.reports)
    after = f"after {report.elapsed:.1f} s in {_modes(result)}"
    beside = " ".join(_beside(result))
    if result.is_clear:
        seen = _seen(result)
        if all(one.outcome is Outcome.NOTHING_TO_CANCEL for one in report.reports):
            told = f"nothing to cancel on {total}."
        else:
            told = f"the exchange took every cancel for {total} ({_by_id(report)})."
        return " ".join(filter(None, (f"All clear {after}: {told}", seen, beside)))
    number = len({one.instrument for one in need})
    verb = "needs" if number == 1 else "need"
    told = f"NOT CLEAR {after}: {number} of {total} {verb} a person."
    return " ".join(filter(None, (told, beside, *_groups(result))))


def _modes(result: Result) -> str:
    modes = (mode for mode, one in result.by_margin.items() if one is not None)
    return f"{' and '.join(modes)} margin"


def _by_id(report: MassCancelReport) -> str:
    known = count(len(report.successes), "order")
    is_complete = all(one.ids_complete for one in report.reports)
    more = " and an unknown number more; answers were lost, and ids with them"
    return f"{known} by id{'' if is_complete else more}"


def _beside(result: Result) -> Iterator[str]:
    for mode, number in result.beside.items():
        told = f"{mode.capitalize()} margin"
        if number is None:
            yield f"{told} was not looked at."
        else:
            yield f"{told}: {f'{number} open, left as they are' if number else 'none open'}."


def _seen(result: Result) -> str:
    """What the exchange's lists have shown, and no more."""
    if not result.confirm:
        return ""
    looked_at = result.only_looked_at
    unsent = set(map(id, looked_at))
    confirmed = [one for one in result.whole.reports if id(one) not in unsent]
    show = f"the lists of {_modes(result)} show none of them open"
    if not looked_at:
        return f"Confirmed: {show}."
    were = "was" if len(looked_at) == 1 else "were"
    first = f"confirmed for {_by_mode(confirmed, result)}, and " if confirmed else ""
    return f"T{show[1:]}: {first}{_by_mode(looked_at, result)} {were} only looked at."


def _by_mode(reports: Sequence[CancelReport], result: Result) -> str:
    """How many contracts, with the margin mode where there are two."""
    if len(result.by_margin) == 1:
        return of_contracts(reports)
    counts = Counter(one.margin_mode for one in reports)
    told = (f"{count(counts[mode], 'contract')} in {mode} margin" for mode in counts)
    return " and ".join(told)


def _groups(result: Result) -> Iterator[str]:
    for outcome, what in _NEEDS.items():
        reports = [one for one in result.whole.reports if one.outcome is outcome]
        if reports:
            yield _group(what, reports, result)
        if outcome is Outcome.UNKNOWN and result.unconfirmed:
            yield _group(_UNCONFIRMED, result.unconfirmed, result)
    for margin, one in result.by_margin.items():
        if one is None:
            yield f"Nothing was sent in {margin} margin."


def _group(what: str, reports: Sequence[CancelReport], result: Result) -> str:
    of: dict[MarginMode, list[str]] = {}
    for report in reports:
        of.setdefault(report.margin_mode, []).append(report.instrument)
    # Where there was one margin mode, the line has named it before.
    is_one = len(result.by_margin) == 1
    told = (f"{', '.join(c)}{'' if is_one else f' in {mode} margin'}" for mode, c in of.items())
    return f"{what}: {'; '.join(told)}."


def besides(result: Result) -> Iterator[str]:
    """What is to be known of contracts that need nobody, and what went wrong beside the calls."""
    report = result.whole
    others = [one for one in report.reports if not _has_to_be_told(one, result)]
    for warning in dict.fromkeys(w for one in others for w in warnings_of(one)):
        warned = [one for one in others if warning in warnings_of(one)]
        yield f"Besides, for {of_contracts(warned)}: {ended(visible(warning))}"
    if any(one.offset is not None and _found_nothing(one) for one in report.reports):
        yield _OFFSET
    if result.may_have_moved:
        yield V1_ALONE
    for error in report.callback_errors:
        yield f"Besides, {ended(visible(error))}"
    if alone := _went_alone(report.reports):
        yield (
            f"Besides, {count(alone, 'request')} went without Redis or the host's file, on the "
            "share of the limit that is this process's own."
        )


def messages(result: Result) -> Iterator[str]:
    """In full what each contract that is not clear has to say, and others that left something
    open, the most urgent last; what many say in the same words stands once."""
    told = [one for one in result.whole.reports if _has_to_be_told(one, result)]
    unsure = {id(one) for one in result.unconfirmed}
    told.sort(key=lambda one: (id(one) in unsure, -BY_URGENCY.index(one.outcome)))
    yield from map(visible, tell_together(map(_bare, told)))


def _bare(report: CancelReport) -> CancelReport:
    """Without the reason that ended the rest, where the exchange has refused the key in its own
    words: both are one cause, which stands once."""
    is_same = report.outcome is Outcome.REFUSED and report.ended_by == REFUSED
    return report.model_copy(update={"ended_by": ""}) if is_same else report


def _has_to_be_told(report: CancelReport, result: Result) -> bool:
    is_open = not report.is_clear or bool(report.triggered) or not report.ids_complete
    return is_open or (result.confirm and is_unconfirmed(report))


def _found_nothing(report: CancelReport) -> bool:
    nothing = report.outcome in (Outcome.NOTHING_TO_CANCEL, Outcome.CLEAR_AFTER_RETRY)
    return nothing and not was_only_looked_at(report)


def _went_alone(reports: Sequence[CancelReport]) -> int:
    attempts = (attempt for one in reports for attempt in (*one.attempts, *one.reads))
    return sum(attempt.limiter_mode is LimiterMode.OWN_SHARE for attempt in attempts)


def cancelled(result: Result) -> Iterator[str]:
    """The ids of the orders that the exchange cancelled, however many."""
    for one in result.whole.reports:
        if one.successes:
            yield visible(f"cancelled {named(one)} {' '.join(one.successes)}")


def left_open(result: Result) -> Iterator[str]:
    """Orders that are still open or were refused one by one."""
    for one in result.whole.reports:
        yield from map(visible, _left(one))


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
