"""Whole calls over connections that fail, and what is known of them afterwards."""

import asyncio
from typing import Any

import pytest

from htx_async import (
    CancelError,
    CancelRefused,
    CancelReport,
    HtxSession,
    NotSent,
    Outcome,
    OutcomeUnknown,
    PartialCancel,
    RetryPolicy,
    TokenBucket,
    Verdict,
)
from tests.support.bad_connections import session
from tests.support.fault_server import OK, FaultServer

BTC = "BTC-USDT"
DEADLINE = 5.0
LATE = 0.05
TIRELESS = RetryPolicy(attempts=1_000, random=lambda: 1.0)
OK_BODY = OK.partition(b"\r\n\r\n")[2]
ERRORS: dict[Outcome, type[CancelError]] = {
    Outcome.PARTIAL: PartialCancel,
    Outcome.UNKNOWN: OutcomeUnknown,
    Outcome.REFUSED: CancelRefused,
    Outcome.NOT_SENT: NotSent,
}
SCHEMES = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])


async def ended(
    htx: HtxSession, contract_code: str = BTC, deadline: float = DEADLINE
) -> tuple[CancelReport, CancelError | None]:
    """The end of one call: in time, by the right exception, and with no foreign one on it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    error: CancelError | None = None
    try:
        report: Any = await htx.cancel_all_trailing(contract_code, deadline=deadline)
    except CancelError as raised:
        error, report = raised, raised.report
    took = loop.time() - began
    assert took <= deadline + LATE
    assert took - LATE <= report.elapsed <= took
    if error is None:
        assert report.is_clear
    else:
        assert isinstance(error, ERRORS[report.outcome])
        assert error.__cause__ is None
        assert error.__context__ is None
    return report, error


async def told(htx: HtxSession) -> CancelReport:
    """The report of one call, see `ended`."""
    return (await ended(htx))[0]


def tireless(url: str, **settings: Any) -> HtxSession:
    """A session on v1 that repeats whatever may be repeated, within the limit."""
    given = {"limiter": TokenBucket(), "retry": TIRELESS, "generation": "v1", **settings}
    return session(url, **given)


async def look_up_hangs() -> None:
    await asyncio.Event().wait()


async def check_unknown(htx: HtxSession, server: FaultServer) -> CancelReport:
    """Asked again and again, each attempt sent once, and nothing known."""
    report = await told(htx)
    assert report.outcome is Outcome.UNKNOWN
    assert len(report.attempts) > 1
    assert {attempt.verdict for attempt in report.attempts} == {Verdict.UNKNOWN}
    assert all(attempt.sent for attempt in report.attempts)
    assert len(server.requests) <= len(report.attempts)
    assert len(server.connections) <= len(report.attempts)
    assert (report.successes, report.ids_complete) == ((), False)
    return report
