"""What the attempts of a call prove together, and how that is told. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from htx_async.codes import (
    CANCELLING,
    EXECUTED,
    NO_ORDERS,
    SETTLED_ORDER_CODES,
    Code,
    CodeClass,
    classify,
    meaning,
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
from htx_async.terms import Offset, Outcome, Verdict

_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Reply:
    """What one attempt came to: a verdict and, where there was a reply, what it says."""

    verdict: Verdict
    code: Code | None = None
    message: str = ""
    successes: tuple[str, ...] = ()
    errors: tuple[OrderError, ...] = ()
    ts: int | None = None


def outcome_of(attempts: Sequence[Attempt], accepted: Reply | None) -> Outcome:
    """The outcome over all attempts; `accepted` is the reply of the accepted one, if any."""
    verdicts = [attempt.verdict for attempt in attempts]
    empty = bool(attempts) and _is_empty(attempts[-1])
    if accepted is not None:
        codes = {error.err_code for error in accepted.errors}
        if codes - SETTLED_ORDER_CODES:
            return Outcome.PARTIAL
        if accepted.successes or CANCELLING in codes:
            return Outcome.CANCELLED
        empty = True
    if empty:
        lost = Verdict.UNKNOWN in verdicts
        return Outcome.CLEAR_AFTER_RETRY if lost else Outcome.NOTHING_TO_CANCEL
    if Verdict.UNKNOWN in verdicts:
        return Outcome.UNKNOWN
    return Outcome.REFUSED if Verdict.REFUSED in verdicts else Outcome.NOT_SENT


def _is_empty(attempt: Attempt) -> bool:
    return attempt.verdict is Verdict.REFUSED and attempt.code == NO_ORDERS


def report_of(
    intent: CancelAllTrailing,
    attempts: Sequence[Attempt],
    replies: Sequence[Reply],
    *,
    elapsed: float,
    ended_by: str = "",
) -> CancelReport:
    """The report of a call; `ended_by` says what ended it when the exchange did not."""
    accepted = next((reply for reply in replies if reply.verdict is Verdict.ACCEPTED), None)
    outcome = outcome_of(attempts, accepted)
    errors = () if accepted is None else accepted.errors
    report = CancelReport(
        contract_code=intent.contract_code,
        direction=intent.direction,
        offset=intent.offset,
        outcome=outcome,
        message="",
        successes=() if accepted is None else accepted.successes,
        errors=errors,
        triggered=tuple(error.order_id for error in errors if error.err_code == EXECUTED),
        ids_complete=all(attempt.verdict is not Verdict.UNKNOWN for attempt in attempts),
        attempts=tuple(attempts),
        ts=next((reply.ts for reply in reversed(replies) if reply.ts is not None), None),
        elapsed=elapsed,
    )
    text = f"{intent}: {_TELL[outcome](report, ended_by)}"
    return report.model_copy(update={"message": text})


def failure_of(report: CancelReport, retry_after: float = 0.0) -> CancelError | None:
    """The exception for a report that is not clear, None for one that is."""
    if report.is_clear:
        return None
    if report.outcome is Outcome.PARTIAL:
        return PartialCancel(report.message, report)
    if report.outcome is Outcome.UNKNOWN:
        return OutcomeUnknown(report.message, report)
    if report.refusal is None:
        return NotSent(report.message, report)
    code_class = class_of(report.refusal)
    if code_class is CodeClass.RATE_LIMITED:
        return RateLimited(report.message, report, retry_after)
    return _REFUSALS.get(code_class, CancelRefused)(report.message, report)


def class_of(attempt: Attempt) -> CodeClass:
    """How the exchange's code of a refused attempt has to be taken."""
    return classify(attempt.code, attempt.http_status)


_REFUSALS: dict[CodeClass, type[CancelRefused]] = {
    CodeClass.AUTH: AuthenticationFailed,
    CodeClass.RETRYABLE: Unavailable,
    CodeClass.MIGRATED: AccountMigrated,
    CodeClass.RETIRED: EndpointRetired,
}

_ADVICE: dict[CodeClass, str] = {
    CodeClass.AUTH: (
        "Check the key pair, its Trade permission, its address binding, its age and this "
        "machine's clock; trying again does not help."
    ),
    CodeClass.RATE_LIMITED: (
        "Something else uses this account's limit: another process, another key, or the web. "
        "Call again later, and let all callers of one account share one session."
    ),
    CodeClass.RETRYABLE: (
        "The exchange takes no cancels for the moment (settlement, delivery or maintenance). "
        "Call again with a longer deadline."
    ),
    CodeClass.MIGRATED: (
        "The account has moved to another API generation: look at its open orders there. On such "
        "an account even 'nothing to cancel' would prove nothing."
    ),
    CodeClass.RETIRED: (
        "The exchange no longer serves this API: cancel on its website and look for a newer route."
    ),
}
_ADVICE_ELSE = "Correct what the code names; trying again unchanged does not help."
_LOST = " An earlier answer was lost, and ids with it."


def _tell_cancelled(report: CancelReport, ended_by: str) -> str:
    under_way = sum(error.err_code == CANCELLING for error in report.errors)
    text = f"the exchange took the cancel of {_orders(len(report.successes))}."
    if under_way:
        text += f" {_orders(under_way)} more were being cancelled already."
    return text + _tell_triggered(report) + ("" if report.ids_complete else _LOST)


def _tell_nothing(report: CancelReport, ended_by: str) -> str:
    return f"nothing to cancel.{_tell_triggered(report)}{_offset_caveat(report)}"


def _tell_clear_after_retry(report: CancelReport, ended_by: str) -> str:
    return (
        "an answer was lost; asked again, the exchange had nothing left to cancel. Which orders "
        f"went is not known.{_tell_triggered(report)}{_offset_caveat(report)}"
    )


def _tell_partial(report: CancelReport, ended_by: str) -> str:
    failed = [e for e in report.errors if e.err_code not in SETTLED_ORDER_CODES]
    shown = ", ".join(f"{e.order_id} ({e.err_code}: {e.err_msg})" for e in failed[:_MOST_SHOWN])
    more = f" and {len(failed) - _MOST_SHOWN} more" if len(failed) > _MOST_SHOWN else ""
    return (
        f"the exchange took the cancel of {_orders(len(report.successes))} and refused "
        f"{len(failed)}, which may still be open: {shown}{more}. Look at them on the exchange and "
        f"call again.{_tell_triggered(report)}{'' if report.ids_complete else _LOST}"
    )


def _tell_unknown(report: CancelReport, ended_by: str) -> str:
    lost = [a for a in report.attempts if a.verdict is Verdict.UNKNOWN]
    last = lost[-1]
    return (
        f"outcome unknown. {_attempts(len(lost))} sent without an answer that can be believed; the "
        f"last, to {last.base_url}: {_ended(last.message)}{_sentence(ended_by)} Orders may be "
        "cancelled or still open: look at the exchange now, then call again (a repeat also takes "
        "trailing orders placed since)."
    )


def _tell_refused(report: CancelReport, ended_by: str) -> str:
    refusal = report.refusal
    if refusal is None:
        return "refused."
    code = f"HTTP {refusal.http_status}" if refusal.code is None else f"code {refusal.code}"
    note = f" ({meaning(refusal.code)})" if meaning(refusal.code) else ""
    words = f', saying "{refusal.message}"' if refusal.message else ""
    return (
        f"refused by {refusal.base_url} with {code}{note}{words}.{_sentence(ended_by)} This call "
        f"cancelled nothing. {_ADVICE.get(class_of(refusal), _ADVICE_ELSE)}"
    )


def _tell_not_sent(report: CancelReport, ended_by: str) -> str:
    last = report.attempts[-1] if report.attempts else None
    failure = "" if last is None else f" Last failure, at {last.base_url}: {_ended(last.message)}"
    return (
        f"nothing was sent, so every order is as it was.{_sentence(ended_by)}{failure} "
        "Call again, with a longer deadline if the queue was the reason."
    )


_TELL = {
    Outcome.CANCELLED: _tell_cancelled,
    Outcome.NOTHING_TO_CANCEL: _tell_nothing,
    Outcome.CLEAR_AFTER_RETRY: _tell_clear_after_retry,
    Outcome.PARTIAL: _tell_partial,
    Outcome.UNKNOWN: _tell_unknown,
    Outcome.REFUSED: _tell_refused,
    Outcome.NOT_SENT: _tell_not_sent,
}


def _tell_triggered(report: CancelReport) -> str:
    if not report.triggered:
        return ""
    return (
        f" {_orders(len(report.triggered))} had triggered: a limit order or a fill may live on "
        f"({', '.join(report.triggered[:_MOST_SHOWN])})."
    )


def _offset_caveat(report: CancelReport) -> str:
    if report.offset is None:
        return ""
    others = " or ".join(offset.value for offset in Offset)
    return (
        " A one-way account may hold trailing orders that this does not see: theirs are stored "
        f"with the offset both, not {others}. Leave the offset out to reach them."
    )


def _sentence(text: str) -> str:
    return f" {text[0].upper()}{text[1:]}." if text else ""


def _ended(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _orders(count: int) -> str:
    return f"{count} order" if count == 1 else f"{count} orders"


def _attempts(count: int) -> str:
    return f"{count} request was" if count == 1 else f"{count} requests were"
