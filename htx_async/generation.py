"""Which generation of the exchange's API an account's calls go to, and how that was found out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from htx_async.codes import FIELD_MISSING, NO_ORDERS, CodeClass
from htx_async.errors import InvalidRequest
from htx_async.report import Attempt, CancelReport
from htx_async.terms import ApiGeneration, Outcome, Verdict

if TYPE_CHECKING:
    from htx_async.events import Teller

AUTO = "auto"
_CHOICES = (AUTO, *ApiGeneration)
_MOVED = (CodeClass.MIGRATED, CodeClass.RETIRED)


class Generation:
    """Shared by a session's calls. `wanted`: "v1", "v5", or "auto", which starts on v1 and goes
    over to V5 for good when a reply shows that the account has moved."""

    def __init__(self, wanted: str) -> None:
        if wanted not in _CHOICES:
            raise InvalidRequest(f"generation must be one of {', '.join(_CHOICES)}")
        self.is_auto = wanted == AUTO
        self.current = ApiGeneration.V1 if self.is_auto else ApiGeneration(wanted)
        self.how = "assumed, until a reply says otherwise" if self.is_auto else "given"
        """How it was found out."""

    def note(self, how: str) -> None:
        """What was found out about an account that stays where it is."""
        if self.is_auto and self.current is ApiGeneration.V1:
            self.how = how

    def switch(self, why: str, tell: Teller | None) -> None:
        """The account is on V5, as `why` shows."""
        if self.current is ApiGeneration.V5:
            return
        self.current, self.how = ApiGeneration.V5, why
        if tell:
            tell.generation_changed(asyncio.get_running_loop().time(), self.current, why)


def shows_a_moved_account(report: CancelReport) -> str:
    """What in v1's answers only a moved account or a retired API gives; "" when nothing does."""
    last = _last(report)
    if last is None or last.verdict is not Verdict.REFUSED or last.code_class not in _MOVED:
        return ""
    return f"v1 answered {'HTTP 404' if last.code is None else last.code}"


def proves_nothing(report: CancelReport) -> bool:
    """Whether v1's answer is one that a moved account gives too: nothing to cancel, an empty list,
    or a field missing from a request that lacks none. Ids are the word of an exchange that still
    carries out what v1 is told."""
    last = _last(report)
    if last is None:
        return False
    refused = last.verdict is Verdict.REFUSED
    if refused and last.code == FIELD_MISSING:
        return True
    if refused and last.code == NO_ORDERS and not report.successes:
        return True
    if report.confirmed:
        return True
    empty = (Outcome.NOTHING_TO_CANCEL, Outcome.CLEAR_AFTER_RETRY)
    return report.outcome in empty and not report.errors


def _last(report: CancelReport) -> Attempt | None:
    """The last answer: of the list that was to confirm the cancel, where there is one."""
    answers = report.reads or report.attempts
    return answers[-1] if answers else None
