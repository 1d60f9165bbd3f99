"""The account of a cancel by order ids, which goes out in batches. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from htx_async.codes import CANCELLING, EXECUTED, SETTLED_ORDER_CODES
from htx_async.models import CancelAllTrailing
from htx_async.outcome import Reply
from htx_async.report import Attempt, CancelReport, OrderError
from htx_async.terms import Outcome, Verdict

_NOT_SENT = "the request for this order was not sent"


class Batch(NamedTuple):
    """Ids of one request, and what became of it."""

    order_ids: tuple[str, ...]
    attempts: Sequence[Attempt]
    replies: Sequence[Reply]
    ended_by: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def answer(self) -> Reply | None:
        """The last reply; None when nothing was sent."""
        return self.replies[-1] if self.replies else None

    @property
    def is_unknown(self) -> bool:
        """Whether what became of some of its orders is not known."""
        answer = self.answer
        if answer is not None and answer.verdict is Verdict.ACCEPTED:
            told = {*answer.successes, *(error.order_id for error in answer.errors)}
            return not told.issuperset(self.order_ids)
        return any(reply.verdict is Verdict.UNKNOWN for reply in self.replies)

    @property
    def lost_ids(self) -> bool:
        """Whether an earlier answer was lost that may have had the ids which are gone by now."""
        gone = any(error.err_code in SETTLED_ORDER_CODES for error in self.errors)
        return gone and any(reply.verdict is Verdict.UNKNOWN for reply in self.replies)

    @property
    def errors(self) -> tuple[OrderError, ...]:
        """Orders that certainly were not cancelled by it, and why."""
        answer = self.answer
        if answer is not None and answer.verdict is Verdict.ACCEPTED:
            return answer.errors
        if self.is_unknown:
            return ()
        if answer is None or answer.verdict is Verdict.NOT_SENT:
            return tuple(
                OrderError(order_id=i, err_code=None, err_msg=_NOT_SENT) for i in self.order_ids
            )
        return tuple(
            OrderError(order_id=i, err_code=answer.code, err_msg=answer.message)
            for i in self.order_ids
        )


def report_of_batches(
    wanted: CancelAllTrailing, batches: Sequence[Batch], *, elapsed: float
) -> CancelReport:
    """One report for all: unknown if any order's end is unknown, partial if some were refused."""
    successes = tuple(i for b in batches if b.answer is not None for i in b.answer.successes)
    errors = tuple(error for batch in batches for error in batch.errors)
    attempts = [attempt for batch in batches for attempt in batch.attempts]
    outcome = _outcome(batches, bool(successes), errors)
    times = [reply.ts for batch in batches for reply in batch.replies if reply.ts is not None]
    ended_by = next((batch.ended_by for batch in batches if batch.ended_by), "")
    return CancelReport(
        contract_code=wanted.contract_code or "",
        pair=wanted.pair,
        contract_type=wanted.contract_type,
        margin_mode=wanted.margin_mode,
        direction=None,
        offset=None,
        outcome=outcome,
        successes=successes,
        errors=errors,
        triggered=tuple(error.order_id for error in errors if error.err_code == EXECUTED),
        ids_complete=not any(batch.is_unknown or batch.lost_ids for batch in batches),
        attempts=tuple(a.model_copy(update={"number": n}) for n, a in enumerate(attempts, 1)),
        ts=times[-1] if times else None,
        elapsed=elapsed,
        ended_by="" if outcome.is_clear else ended_by,
        warnings=tuple(dict.fromkeys(w for batch in batches for w in batch.warnings)),
    )


def _outcome(batches: Sequence[Batch], any_success: bool, errors: Sequence[OrderError]) -> Outcome:
    if any(batch.is_unknown for batch in batches):
        return Outcome.UNKNOWN
    if all(error.err_code in SETTLED_ORDER_CODES for error in errors):
        if any_success or any(error.err_code == CANCELLING for error in errors):
            return Outcome.CANCELLED
        lost = any(batch.lost_ids for batch in batches)
        return Outcome.CLEAR_AFTER_RETRY if lost else Outcome.NOTHING_TO_CANCEL
    verdicts = {b.answer.verdict if b.answer else Verdict.NOT_SENT for b in batches}
    if verdicts == {Verdict.NOT_SENT}:
        return Outcome.NOT_SENT
    return Outcome.REFUSED if verdicts == {Verdict.REFUSED} else Outcome.PARTIAL
