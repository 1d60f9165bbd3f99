"""The account of a cancel-all that was carried out by lists and ids. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from htx_async.batches import Batch
from htx_async.codes import CANCELLING, EXECUTED
from htx_async.models import CancelAllTrailing
from htx_async.orders import CANCELLED, TRIGGERED, TrailingOrder
from htx_async.outcome import numbered, report_of
from htx_async.report import Attempt, CancelReport, OrderError
from htx_async.terms import Outcome, Verdict


class Carried(NamedTuple):
    """What was found and done. `found`: the orders of the first list, None when it could not be
    read; `left`: those of them on the last; `is_current`: no cancel was sent since. `taken`: ids
    whose cancel the exchange took; `ended`: the history, None when it was not read."""

    found: Mapping[str, TrailingOrder] | None
    left: Mapping[str, TrailingOrder]
    ended: Mapping[str, TrailingOrder] | None
    is_current: bool
    taken: Sequence[str]
    refused: Mapping[str, OrderError]
    settled: Mapping[str, OrderError]
    batches: Sequence[Batch]
    reads: tuple[Attempt, ...]
    problem: str
    ended_by: str


def report_of_v5(wanted: CancelAllTrailing, carried: Carried) -> CancelReport:
    """One report, true to the last list; without one, to the exchange's answers to the cancels."""
    attempts = [attempt for batch in carried.batches for attempt in batch.attempts]
    blank = report_of(wanted, (), (), elapsed=0.0, ended_by=carried.ended_by).model_copy(
        update={
            "attempts": numbered(attempts),
            "reads": carried.reads,
            "warnings": tuple(dict.fromkeys(w for b in carried.batches for w in b.warnings)),
        }
    )
    if carried.found is None:
        return _unlisted(blank, carried)
    ended = carried.ended or {}
    gone = [i for i in carried.found if i not in carried.left] if carried.is_current else []
    taken = gone if carried.is_current else carried.taken
    triggered = tuple(i for i in taken if _has_triggered(i, carried, ended))
    successes = tuple(i for i in taken if i not in triggered and _is_ours(i, carried, ended))
    still_open = tuple(carried.left) if carried.is_current else ()
    outcome = _outcome(carried, successes, still_open)
    lost = _lost(carried.batches) - {*successes, *triggered, *still_open, *ended}
    if lost and outcome is Outcome.NOTHING_TO_CANCEL:
        outcome = Outcome.CLEAR_AFTER_RETRY
    return blank.model_copy(
        update={
            "outcome": outcome,
            "successes": successes,
            "triggered": triggered,
            "errors": (
                *(e for i, e in carried.refused.items() if i not in gone),
                *(e for i, e in carried.settled.items() if i not in successes),
            ),
            "still_open": still_open,
            "confirmed": not still_open if carried.is_current else None,
            "ids_complete": not lost and outcome is not Outcome.UNKNOWN,
            "ended_by": "" if outcome.is_clear else blank.ended_by,
        }
    )


def _unlisted(blank: CancelReport, carried: Carried) -> CancelReport:
    """No list, so no cancel: every order is as it was."""
    last = carried.reads[-1] if carried.reads else None
    if last is not None and last.verdict is Verdict.REFUSED:
        return blank.model_copy(update={"outcome": Outcome.REFUSED, "attempts": numbered([last])})
    if not carried.problem:
        return blank
    told = f"the list of open orders could not be read: {carried.problem}".rstrip(".")
    return blank.model_copy(update={"ended_by": told})


def _is_ours(order_id: str, carried: Carried, ended: Mapping[str, TrailingOrder]) -> bool:
    """Whether it was cancelled, by the history or else by the answer to its cancel."""
    row = ended.get(order_id)
    if row is not None:
        return row.status == CANCELLED
    error = carried.settled.get(order_id)
    return order_id in carried.taken and (error is None or error.err_code == CANCELLING)


def _has_triggered(order_id: str, carried: Carried, ended: Mapping[str, TrailingOrder]) -> bool:
    row, error = ended.get(order_id), carried.settled.get(order_id)
    if row is not None:
        return row.status in TRIGGERED
    return error is not None and error.err_code == EXECUTED


def _lost(batches: Sequence[Batch]) -> set[str]:
    """Orders of which an answer was lost that may have said that they were taken."""
    lost = (b for b in batches if any(r.verdict is Verdict.UNKNOWN for r in b.replies))
    return {order_id for batch in lost for order_id in batch.order_ids}


def _outcome(carried: Carried, successes: Sequence[str], still_open: Sequence[str]) -> Outcome:
    if not carried.found:
        return Outcome.NOTHING_TO_CANCEL
    verdicts = {b.answer.verdict if b.answer else Verdict.NOT_SENT for b in carried.batches}
    if carried.is_current and not still_open:
        return Outcome.CANCELLED if successes else Outcome.NOTHING_TO_CANCEL
    if verdicts <= {Verdict.NOT_SENT} and not still_open:
        return Outcome.NOT_SENT
    if verdicts == {Verdict.REFUSED}:
        return Outcome.REFUSED
    if still_open:
        return Outcome.PARTIAL
    known = {*carried.taken, *carried.refused}
    if any(b.is_unknown for b in carried.batches) or not known.issuperset(carried.found):
        return Outcome.UNKNOWN
    return Outcome.PARTIAL if carried.refused else Outcome.CANCELLED


def joined(
    first: CancelReport | None,
    second: CancelReport,
    looked: Sequence[Attempt],
    elapsed: float,
) -> CancelReport:
    """The account of a call that began on v1 as `first` says, and went on on V5; `looked`: the
    reads in between."""
    before = () if first is None else first.attempts
    update: dict[str, object] = {
        "attempts": numbered([*before, *second.attempts]),
        "reads": numbered([*looked, *second.reads]),
        "elapsed": elapsed,
    }
    if first is not None:
        open_or_not_ours = {*second.still_open, *second.triggered, *first.triggered}
        taken = [i for i in first.successes if i not in open_or_not_ours]
        update |= {
            "successes": tuple(dict.fromkeys([*taken, *second.successes])),
            "triggered": tuple(dict.fromkeys([*first.triggered, *second.triggered])),
            "ids_complete": first.ids_complete and second.ids_complete,
            "warnings": tuple(dict.fromkeys([*first.warnings, *second.warnings])),
            "outcome": _joined_outcome(first, second.outcome, any_taken=bool(taken)),
            "ts": second.ts or first.ts,
        }
    return second.model_copy(update=update)


def _joined_outcome(first: CancelReport, second: Outcome, *, any_taken: bool) -> Outcome:
    """V5's outcome, as far as nothing that v1 was sent speaks against it."""
    is_lost = any(attempt.verdict is Verdict.UNKNOWN for attempt in first.attempts)
    if second is Outcome.NOTHING_TO_CANCEL:
        if any_taken:
            return Outcome.CANCELLED
        return Outcome.CLEAR_AFTER_RETRY if is_lost else second
    if second in (Outcome.NOT_SENT, Outcome.REFUSED) and (is_lost or any_taken):
        return Outcome.UNKNOWN
    if second is Outcome.NOT_SENT:
        return Outcome.UNKNOWN if first.is_clear else first.outcome
    return second


def doubted(report: CancelReport, alone: CancelReport, doubt: str) -> CancelReport:
    """v1's word that nothing is left, which V5 has not borne out; `alone`: the account without the
    lists that said so."""
    if alone.successes:
        warning = f"{_PROVES_NOTHING}, so this is not confirmed; {doubt}"
        warnings = (*report.warnings, warning)
        kept: dict[str, object] = {
            "outcome": report.outcome if alone.is_clear else alone.outcome,
            # An account that has moved has no history there: what it tells is this account's.
            "successes": tuple(i for i in alone.successes if i not in report.triggered),
            "triggered": report.triggered,
            "reads": report.reads,
            "elapsed": report.elapsed,
            "warnings": warnings,
        }
        return alone.model_copy(update=kept)
    told = f"{_PROVES_NOTHING}; {doubt}"
    update = {
        "outcome": Outcome.UNKNOWN,
        "confirmed": None,
        "ended_by": told,
        "successes": (),
        "ids_complete": alone.ids_complete,
    }
    return report.model_copy(update=update)


def unproven(report: CancelReport, doubt: str) -> CancelReport:
    """v1's word that it does not know some orders, which V5 has not borne out."""
    told = f"{_PROVES_NOTHING}; {doubt}"
    return report.model_copy(update={"outcome": Outcome.UNKNOWN, "ended_by": told})


_PROVES_NOTHING = (
    "v1 says that nothing is left, which it also says to accounts that have moved to V5"
)
