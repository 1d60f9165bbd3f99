"""Every exception of this package.

HtxError
├── InvalidRequest (also a ValueError)   your arguments, or the wrong event loop or process;
│                                        nothing was queued
├── SessionClosed                        the session was closed before the call
├── ReadFailed                           a list could not be read; .attempts has each request
├── MassCancelFailed (an ExceptionGroup) one CancelError for each contract that is not clear
└── CancelError                          a call that did not end clear; .report tells it all
    ├── PartialCancel                    some orders were refused one by one
    ├── NotSent                          no byte left for the exchange
    ├── OutcomeUnknown                   sent, and no answer that can be believed
    └── CancelRefused                    the exchange said no; .code and .message are its words
        ├── AuthenticationFailed         key, signature, permission or clock
        ├── RateLimited                  still over the limit at the deadline; .retry_after
        ├── Unavailable                  settlement, delivery or maintenance until the deadline
        ├── AccountMigrated              4002 to 4005, 6001, 6002, 6023, 1510, if V5 is no way out
        └── EndpointRetired              10000, or HTTP 404 for the path, and not on V5 either

Texts say what happened, what is known about the orders and what to do next. They hold no URL
query, signature or key; every class survives pickling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from htx_async.codes import CodeClass
from htx_async.enums import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from htx_async.report import Attempt, CancelReport

__all__ = [
    "AccountMigrated",
    "AuthenticationFailed",
    "CancelError",
    "CancelRefused",
    "EndpointRetired",
    "HtxError",
    "InvalidRequest",
    "MassCancelFailed",
    "NotSent",
    "OutcomeUnknown",
    "PartialCancel",
    "RateLimited",
    "ReadFailed",
    "SessionClosed",
    "Unavailable",
]


class HtxError(Exception):
    """The root: catches everything that this package raises on purpose."""


class InvalidRequest(HtxError, ValueError):
    """An argument or a setting is wrong; nothing was queued and nothing was sent."""


class SessionClosed(HtxError):
    """The session was closed before the call; nothing was sent."""


class ReadFailed(HtxError):
    """A list of orders or contracts could not be read, so nothing is known from it.

    `attempts` has every request; no order was touched by them.
    """

    def __init__(self, text: str, attempts: Sequence[Attempt] = ()) -> None:
        super().__init__(text, tuple(attempts))
        self.attempts: tuple[Attempt, ...] = tuple(attempts)

    def __str__(self) -> str:
        return str(self.args[0])


class CancelError(HtxError):
    """A cancel that did not end clear. `report` has every attempt."""

    def __init__(self, text: str, report: CancelReport) -> None:
        super().__init__(text, report)
        self.report = report

    def __str__(self) -> str:
        return str(self.args[0])


class PartialCancel(CancelError):
    """The exchange took the command but refused single orders; see `report.errors`."""


class NotSent(CancelError):
    """No request left this host: every order is as it was."""


class OutcomeUnknown(CancelError):
    """A request was sent and no believable answer came: the orders may be gone or open."""


class CancelRefused(CancelError):
    """The exchange refused the command; no order was touched by it."""

    @property
    def code(self) -> int | str | None:
        """The exchange's own code; None for an HTTP 429 without one."""
        refusal = self.report.refusal
        return None if refusal is None else refusal.code

    @property
    def message(self) -> str:
        """The exchange's own words: escaped, cut short, and never interpreted."""
        refusal = self.report.refusal
        return "" if refusal is None else refusal.message


class AuthenticationFailed(CancelRefused):
    """Key, signature, permission, address binding or clock; trying again does not help."""


class RateLimited(CancelRefused):
    """The exchange counted too many requests until the deadline, or asked to wait beyond it."""

    def __init__(self, text: str, report: CancelReport, retry_after: float = 0.0) -> None:
        super().__init__(text, report)
        self.args: tuple[Any, ...] = (text, report, retry_after)
        self.retry_after = retry_after
        """Seconds, from the last refusal, that it asked to wait; 1 where it named no time."""


class Unavailable(CancelRefused):
    """Settlement, delivery or maintenance lasted until the deadline."""


class AccountMigrated(CancelRefused):
    """The account is on another generation of the API than those that this call could ask."""


class EndpointRetired(CancelRefused):
    """What was asked for is not served (10000, or HTTP 404 for its path), and V5 says that the
    account is not there, unless the generation was pinned and V5 not asked."""


class MassCancelFailed(ExceptionGroup[CancelError], HtxError):
    """A mass cancel that did not end clear: the single errors, each with its report.

    `except* OutcomeUnknown` and the like pick out what they name.
    """

    def derive(  # type: ignore[override]  # parts of this group hold what it holds
        self, excs: Sequence[CancelError]
    ) -> MassCancelFailed:
        """A part of the group, for `except*` and `split`."""
        return MassCancelFailed(self.message, excs)


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
