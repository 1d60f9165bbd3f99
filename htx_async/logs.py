"""A session's events in the words of `logging`: `on_event=htx_async.logs.to_logging()`.

=========  =========================================================================================
level      what
=========  =========================================================================================
`ERROR`    a call ended and is not clear: its whole report in words
`WARNING`  an attempt was lost, refused, or did not leave this host; an endpoint is paused for a
           second or more; the exchange named a slower limit; a process of a fleet is on its own
           share; the account has moved; a clear call, beside which something went wrong
`INFO`     a call cancelled something; the documented limit, or the fleet's tokens, are back
`DEBUG`    all else: calls that begin, tokens, attempts that were taken, nothing to cancel, V5's
           word that the account is not there
=========  =========================================================================================

What has no session's event, such as a guard that needs long or whose block has not ended, and
listeners that fail, is logged on "htx_async" in any case. Nothing secret is in any line, and each
is one line. Handlers run on the event loop: one that writes to a network or a slow disk belongs
behind a `logging.handlers.QueueHandler`.
"""

import logging

from htx_async.codes import NOT_ON_V5, CodeClass
from htx_async.enums import LimiterMode, Outcome, Verdict
from htx_async.errors import InvalidRequest
from htx_async.events import (
    AttemptEnded,
    CallEnded,
    CallStarted,
    EndpointPaused,
    Event,
    GenerationChanged,
    LimitChanged,
    LimiterModeChanged,
    Listener,
    LookEnded,
    TokenGranted,
)
from htx_async.exchange.endpoints import limit_of
from htx_async.report import CancelReport

_LONG_PAUSE = 1.0
"""Seconds. Shorter ones come with every burst: the exchange says when its window has room again."""


def to_logging(logger: logging.Logger | str = "htx_async") -> Listener:
    """A listener that logs each event on `logger`, or on the one of this name.

    Records have the event itself as `htx_event`. Raises `InvalidRequest` for what is no logger.
    """
    log = logging.getLogger(logger) if isinstance(logger, str) else logger
    if not isinstance(log, logging.Logger):
        raise InvalidRequest(f"logger must be a logger or its name, not {type(logger).__name__}")

    def listener(event: Event) -> None:
        level = _level(event)
        if log.isEnabledFor(level):
            log.log(level, "%s", _one_line(_words(event)), extra={"htx_event": event})

    return listener


def _level(event: Event) -> int:
    match event:
        case CallStarted() | TokenGranted() | LookEnded():
            return logging.DEBUG
        case AttemptEnded(attempt=attempt):
            # V5 is asked beside v1 wherever an account may have moved. A call that this word ends
            # is told as an error, a session that it turns as a warning.
            is_usual = (
                attempt.code in NOT_ON_V5 or attempt.code_class is CodeClass.NOTHING_TO_CANCEL
            )
            taken = attempt.verdict is Verdict.ACCEPTED
            return logging.DEBUG if taken or is_usual else logging.WARNING
        case CallEnded(report=report):
            return _level_of(report)
        case EndpointPaused(seconds=seconds):
            return logging.DEBUG if seconds < _LONG_PAUSE else logging.WARNING
        case LimitChanged():
            return logging.WARNING if _is_slower(event) else logging.INFO
        case LimiterModeChanged(mode=mode):
            return logging.WARNING if mode is LimiterMode.OWN_SHARE else logging.INFO
        case GenerationChanged():
            return logging.WARNING


def _level_of(report: CancelReport) -> int:
    if not report.is_clear:
        return logging.ERROR
    if report.warnings:
        return logging.WARNING
    return logging.DEBUG if report.outcome is Outcome.NOTHING_TO_CANCEL else logging.INFO


def _words(event: Event) -> str:
    match event:
        case CallStarted():
            which = "".join(f" {one}" for one in (event.direction, event.offset) if one)
            return f"call {event.call}: {event.contract_code}{which}{', urgent' * event.urgent}"
        case TokenGranted():
            waited = f"a token after {event.waited:.2f} s, for {event.base_url}"
            return f"call {event.call}: {event.contract_code}: {waited}"
        case AttemptEnded():
            return _attempt(event)
        case CallEnded():
            return f"call {event.call}: {event.report.message}"
        case EndpointPaused():
            return f"{event.endpoint}: nothing is sent for {event.seconds:.1f} s, as a reply asks"
        case LimitChanged():
            limit = f"{event.requests} requests in any {event.seconds:g} s"
            return f"{event.endpoint}: the limit is {limit} from now on"
        case LimiterModeChanged():
            own = event.mode is LimiterMode.OWN_SHARE
            whose = "on this process's own share of the limit" if own else "on shared tokens again"
            return f"{event.endpoint}: {whose}: {event.reason}"
        case LookEnded():
            found = f"{event.orders} orders on {event.contracts} contracts"
            return f"call {event.call}: its look found {found} in {event.margin_mode} margin"
        case GenerationChanged():
            return f"the account is on {event.generation}: {event.reason}"


_VERDICTS = {
    Verdict.ACCEPTED: "was taken",
    Verdict.REFUSED: "was refused",
    Verdict.NOT_SENT: "did not leave this host",
    Verdict.UNKNOWN: "was lost, and may have been carried out",
}


def _attempt(event: AttemptEnded) -> str:
    attempt = event.attempt
    told = [] if attempt.code is None else [f"code {attempt.code}"]
    told += [attempt.message] if attempt.message else []
    return (
        f"call {event.call}: attempt {attempt.number} for {event.contract_code} "
        f"{_VERDICTS[attempt.verdict]}: {attempt.base_url}, {attempt.wire:.2f} s"
        f"{''.join(f', {one}' for one in told)}"
    )


def _is_slower(event: LimitChanged) -> bool:
    documented = limit_of(event.endpoint)
    return event.requests / event.seconds < documented.size / documented.per


def _one_line(text: str) -> str:
    # Contracts are named as the exchange's list names them.
    return "".join(one if one.isprintable() else "?" for one in text)
