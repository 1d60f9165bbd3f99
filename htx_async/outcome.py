"""The exception that belongs to a report. Pure."""

from htx_async.codes import CodeClass
from htx_async.enums import Outcome
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
from htx_async.report import CancelReport


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


_REFUSALS: dict[CodeClass | None, type[CancelRefused]] = {
    CodeClass.AUTH: AuthenticationFailed,
    CodeClass.RETRYABLE: Unavailable,
    CodeClass.MIGRATED: AccountMigrated,
    CodeClass.RETIRED: EndpointRetired,
}


def cleared(report: CancelReport) -> CancelReport:
    """`report`, or the exception that belongs to it."""
    failure = failure_of(report)
    if failure is None:
        return report
    try:
        raise failure
    finally:
        # The exception's traceback holds this frame: do not hold the exception in turn.
        del failure
