"""What the attempts of a call prove together. Pure."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from htx_async.codes import (
    CANCELLING,
    EXECUTED,
    NO_ORDERS,
    SETTLED_ORDER_CODES,
    Code,
    CodeClass,
)
from htx_async.errors import (
    AccountMigrated,
    AuthenticationFailed,
    CancelError,
    CancelRefused,
    EndpointRetired,
    NotSent,
    OutcomeUnknown,
    PartialCancel,
    RateLimited,
    Unavailable,
)
from htx_async.models import CancelAllTrailing
from htx_async.report import Attempt, CancelReport, OrderError
from htx_async.terms import MarginMode, Outcome, Verdict


class Reply(NamedTuple):
    """What one attempt came to: a verdict and, where there was a reply, what it says.

    `data`: what a read was made for.
    """

    verdict: Verdict
    code: Code | None = None
    message: str = ""
    successes: tuple[str, ...] = ()
    errors: tuple[OrderError, ...] = ()
    ts: int | None = None
    data: Any = None


def outcome_of(attempts: Sequence[Attempt], accepted: Reply | None) -> Outcome:
    """The outcome over all attempts; `accepted` is the reply of the accepted one, if any."""
    if accepted is not None:
        codes = {error.err_code for error in accepted.errors}
        if codes - SETTLED_ORDER_CODES:
            return Outcome.PARTIAL
        if accepted.successes or CANCELLING in codes:
            return Outcome.CANCELLED
    verdicts = [attempt.verdict for attempt in attempts]
    if accepted is not None or (attempts and _is_empty(attempts[-1])):
        lost = Verdict.UNKNOWN in verdicts
        return Outcome.CLEAR_AFTER_RETRY if lost else Outcome.NOTHING_TO_CANCEL
    if Verdict.UNKNOWN in verdicts:
        return Outcome.UNKNOWN
    return Outcome.REFUSED if Verdict.REFUSED in verdicts else Outcome.NOT_SENT


def _is_empty(attempt: Attempt) -> bool:
    refused = attempt.verdict is Verdict.REFUSED and attempt.code == NO_ORDERS
    # An HTTP 429 is no answer to the command, whatever its body says.
    return refused and attempt.code_class is CodeClass.NOTHING_TO_CANCEL


def report_of(
    intent: CancelAllTrailing,
    attempts: Sequence[Attempt],
    replies: Sequence[Reply],
    *,
    elapsed: float,
    ended_by: str = "",
    warnings: tuple[str, ...] = (),
) -> CancelReport:
    """The report of a call; `ended_by` says what ended it when the exchange did not."""
    # An accepted attempt ends a call, so it is the last.
    accepted = replies[-1] if replies and replies[-1].verdict is Verdict.ACCEPTED else None
    outcome = outcome_of(attempts, accepted)
    times = [reply.ts for reply in replies if reply.ts is not None]
    # What is left at its default is not given: each value more is one more to validate.
    known: dict[str, Any] = {} if accepted is None else _taken(accepted)
    if Verdict.UNKNOWN in [attempt.verdict for attempt in attempts]:
        known["ids_complete"] = False
    if ended_by and not outcome.is_clear:
        known["ended_by"] = ended_by
    if warnings:
        known["warnings"] = warnings
    if intent.margin_mode is not MarginMode.ISOLATED:
        known["margin_mode"] = intent.margin_mode
        known |= {"pair": intent.pair, "contract_type": intent.contract_type}
    return CancelReport.trusted(
        contract_code=intent.contract_code or "",
        direction=intent.direction,
        offset=intent.offset,
        outcome=outcome,
        attempts=tuple(attempts),
        ts=times[-1] if times else None,
        elapsed=elapsed,
        **known,
    )


def _taken(accepted: Reply) -> dict[str, Any]:
    """What an accepted reply says of single orders."""
    known: dict[str, Any] = {"successes": accepted.successes}
    if accepted.errors:
        known["errors"] = accepted.errors
        triggered = [e.order_id for e in accepted.errors if e.err_code == EXECUTED]
        known["triggered"] = tuple(triggered)
    return known


def numbered(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """The attempts as one row."""
    return tuple(a.model_copy(update={"number": n}) for n, a in enumerate(attempts, 1))


def merged(rounds: Sequence[CancelReport], *, elapsed: float, ended_by: str = "") -> CancelReport:
    """One report for a contract that was cancelled again and again until nothing was left.

    Clear only when the last round found nothing; an unknown last round leaves it unknown; else,
    once anything was accepted, `PARTIAL`. Ids are the union of all rounds.
    """
    last = rounds[-1]
    attempts = [attempt for report in rounds for attempt in report.attempts]
    successes = dict.fromkeys(i for report in rounds for i in report.successes)
    errors = {error.order_id: error for report in rounds for error in report.errors}
    triggered = dict.fromkeys(i for report in rounds for i in report.triggered)
    # Listed after one round and no longer after the last: gone, but nobody said how.
    listed = {i for report in rounds for i in report.still_open}
    is_accounted = listed <= {*successes, *triggered, *last.still_open}
    outcome = _merged_outcome(rounds)
    # What the last round lists, and was not refused for, it has taken.
    overtaken = {*last.still_open} - {error.order_id for error in last.errors}
    kept = [e for e in errors.values() if e.order_id not in {*successes, *overtaken}]
    if outcome.is_clear:
        # Refused once, and gone by the exchange's own word since.
        kept = [error for error in kept if error.err_code in SETTLED_ORDER_CODES]
    return last.model_copy(
        update={
            "outcome": outcome,
            "successes": tuple(successes),
            "errors": tuple(kept),
            "triggered": tuple(triggered),
            "ids_complete": is_accounted and all(report.ids_complete for report in rounds),
            "attempts": numbered(attempts),
            "reads": numbered([read for report in rounds for read in report.reads]),
            "ts": next((r.ts for r in reversed(rounds) if r.ts is not None), None),
            "elapsed": elapsed,
            "ended_by": "" if outcome.is_clear else last.ended_by or ended_by,
            "warnings": tuple(dict.fromkeys(w for report in rounds for w in report.warnings)),
        }
    )


def _merged_outcome(rounds: Sequence[CancelReport]) -> Outcome:
    last = rounds[-1]
    accepted = any(report.outcome in _ACCEPTED or report.errors for report in rounds)
    took = any(r.successes or _taken_and_listed(r) for r in rounds) or any(
        r.outcome is Outcome.CANCELLED for r in rounds
    )
    if last.confirmed or (last.outcome in _NOTHING_LEFT and not last.errors):
        return Outcome.CANCELLED if took else last.outcome
    return Outcome.PARTIAL if accepted and last.outcome is not Outcome.UNKNOWN else last.outcome


def _taken_and_listed(report: CancelReport) -> set[str]:
    # Where nothing left, a list only shows what others have taken since.
    if not any(attempt.sent for attempt in report.attempts):
        return set()
    return {*report.still_open} - {error.order_id for error in report.errors}


_ACCEPTED = (Outcome.CANCELLED, Outcome.PARTIAL)
_NOTHING_LEFT = (Outcome.NOTHING_TO_CANCEL, Outcome.CLEAR_AFTER_RETRY)


def failure_of(report: CancelReport) -> CancelError | None:
    """The exception for a report that is not clear, None for one that is."""
    if report.is_clear:
        return None
    if report.outcome is Outcome.PARTIAL:
        return PartialCancel(report.message, report)
    if report.outcome is Outcome.UNKNOWN:
        return OutcomeUnknown(report.message, report)
    if report.refusal is None:
        return NotSent(report.message, report)
    code_class = report.refusal.code_class
    if code_class is CodeClass.RATE_LIMITED:
        return RateLimited(report.message, report, report.refusal.paused)
    return _REFUSALS.get(code_class, CancelRefused)(report.message, report)


_REFUSALS: dict[CodeClass, type[CancelRefused]] = {
    CodeClass.AUTH: AuthenticationFailed,
    CodeClass.RETRYABLE: Unavailable,
    CodeClass.MIGRATED: AccountMigrated,
    CodeClass.RETIRED: EndpointRetired,
}
