"""A report in words: what happened, what is known about the orders, what to do next. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from htx_async.codes import (
    CANCELLING,
    NO_SUCH_CONTRACT,
    OF_FORM,
    SETTLED_ORDER_CODES,
    CodeClass,
    meaning,
)
from htx_async.enums import TRAILING_ORDERS, MarginMode, Offset, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from htx_async.attempt import Attempt, OrderError
    from htx_async.enums import Direction

IN_FRONT = "something in front of the exchange answered"
"""What is said of a client error whose body is not the exchange's."""

BARE_429 = "HTTP 429"
"""What is said of a refusal for the rate without a word of the exchange's."""

INTERRUPTED = "the call was interrupted"
"""What ends a call that its user has interrupted."""

CUT_OFF = "cut off before there was a connection"
"""What is said of an attempt that the end of its call has ended before anything was sent."""

_MOST_SHOWN = 5


class Told(Protocol):
    """What of a `CancelReport` its words are made of."""

    family: str
    outcome: Outcome
    margin_mode: MarginMode
    direction: Direction | None
    offset: Offset | None
    successes: tuple[str, ...]
    errors: tuple[OrderError, ...]
    triggered: tuple[str, ...]
    still_open: tuple[str, ...]
    ids_complete: bool
    attempts: tuple[Attempt, ...]
    ended_by: str
    warnings: tuple[str, ...]
    confirmed: bool | None

    @property
    def instrument(self) -> str: ...

    @property
    def refusal(self) -> Attempt | None: ...


def tell(report: Told) -> str:
    """The whole report in a few sentences."""
    return f"{report.instrument}{_which(report)}: {_told(report)}"


def tell_together(reports: Iterable[Told]) -> list[str]:
    """Those of several contracts; what many have to say in the same words stands once."""
    groups: dict[str, dict[str, list[str]]] = {}
    for report in reports:
        alike = groups.setdefault(_told(report), {})
        alike.setdefault(_which(report), []).append(report.instrument)
    return [f"{_all_of(alike)}: {told}" for told, alike in groups.items()]


def _all_of(alike: Mapping[str, Sequence[str]]) -> str:
    """Contracts by which of their orders are meant."""
    return "; ".join(f"{', '.join(named)}{which}" for which, named in alike.items())


def _which(report: Told) -> str:
    """Which orders of the contract."""
    filters = [value for value in (report.direction, report.offset) if value is not None]
    which = f" ({' '.join(filters)})" if filters else ""
    kind = "" if _is_trailing(report) else f" {report.family} orders"
    return f"{kind}{which} in {report.margin_mode} margin"


def _told(report: Told) -> str:
    seen = " Confirmed: none of them is open any more." if report.confirmed else ""
    warnings = "".join(f" Besides, {ended(warning)}" for warning in report.warnings)
    return f"{_TELL[report.outcome](report)}{seen}{warnings}"


def unread(attempts: Sequence[Attempt], ended_by: str) -> str:
    """Why a list could not be read, and what to do."""
    last = attempts[-1] if attempts else None
    if last is None:
        why, advice = ended(ended_by or "nothing was sent"), _call_again(ended_by)
    elif last.verdict is Verdict.REFUSED:
        advice = _CALL_LATER if last.code_class is CodeClass.RETRYABLE else _advice(last)
        why = f"{ended(refusal_of(last))}{_sentence(ended_by)}"
    else:
        told = f"no answer to believe; the last, from {last.base_url}: {ended(last.message)}"
        besides = "" if last.message in ended_by else _sentence(ended_by)
        why, advice = f"{told}{besides}", "Call again."
    return f"{why} No order was touched: reading changes nothing. {advice}"


_CALL_LATER = "It is settlement, delivery or maintenance: call again with a longer deadline."


_ADVICE: dict[CodeClass | None, str] = {
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
        "The account is on another generation of the exchange's API than those that this call "
        'could ask. If one was given, give none, or "auto"; else cancel its open orders on the '
        "exchange's website."
    ),
    CodeClass.RETIRED: (
        "The exchange no longer serves this path of its API, for the moment or for good: call "
        "again; if it stays so, cancel on its website."
    ),
}
WAY_OUT = (
    'for an account that has moved, open the session with generation="v5" (on the command line: '
    "--generation v5)"
)
_ADVICE_IN_FRONT = (
    "It is a firewall, a content network or a proxy, and limits this address rather than the "
    "account: send less from it, and call again later or from another one."
)
_ADVICE_TOGETHER = (
    "The request was for the orders of several calls, which may be what it does not take: they go "
    "apart from now on, so call again."
)
_ADVICE_ELSE = "Correct what the code names; trying again unchanged does not help."
_DATED = re.compile(r".+-.+-\d{6}")
_LOST = " An earlier answer was lost, and ids with it."


def _tell_cancelled(report: Told) -> str:
    under_way = sum(error.err_code == CANCELLING for error in report.errors)
    text = f"the exchange took the cancel of {_orders(len(report.successes))}."
    if under_way:
        text += f" {_orders(under_way)} more were being cancelled already."
    return text + _tell_triggered(report) + ("" if report.ids_complete else _LOST)


def _tell_nothing(report: Told) -> str:
    return f"nothing to cancel.{_tell_triggered(report)}{_offset_caveat(report)}"


def _tell_clear_after_retry(report: Told) -> str:
    return (
        "an answer was lost; asked again, the exchange had nothing left to cancel. Which orders "
        f"went is not known.{_tell_triggered(report)}{_offset_caveat(report)}"
    )


def _tell_partial(report: Told) -> str:
    if report.still_open:
        return _tell_still_open(report)
    failed = [e for e in report.errors if e.err_code not in SETTLED_ORDER_CODES]
    shown = ", ".join(_named(e) for e in failed[:_MOST_SHOWN])
    if not failed:
        return (
            f"the exchange took the cancel of {_orders(len(report.successes))}, and has not yet "
            f"said that nothing is left.{_sentence(report.ended_by)} Look there and call again."
            f"{_tell_triggered(report)}{'' if report.ids_complete else _LOST}"
        )
    more = f" and {len(failed) - _MOST_SHOWN} more" if len(failed) > _MOST_SHOWN else ""
    return (
        f"the exchange took the cancel of {_orders(len(report.successes))} and refused "
        f"{len(failed)}, which may still be open: {shown}{more}. Look on the exchange and call "
        f"again.{_tell_triggered(report)}{'' if report.ids_complete else _LOST}"
    )


def _tell_still_open(report: Told) -> str:
    left = report.still_open
    more = f" and {len(left) - _MOST_SHOWN} more" if len(left) > _MOST_SHOWN else ""
    refused = {error.order_id: error for error in report.errors}
    shown = ", ".join(_still_open(one, refused.get(one)) for one in left[:_MOST_SHOWN])
    return (
        f"{_orders(len(left))} still open by the exchange's list: {shown}{more}. "
        f"{_orders(len(report.successes))} cancelled.{_sentence(report.ended_by)} Look on the "
        f"exchange and call again.{_tell_triggered(report)}"
        f"{'' if report.ids_complete else _LOST}"
    )


def _still_open(order_id: str, error: OrderError | None) -> str:
    return order_id if error is None else _named(error)


def _named(error: OrderError) -> str:
    return f"{error.order_id} ({error.err_code}: {error.err_msg.rstrip('.')})"


def _tell_unknown(report: Told) -> str:
    lost = [a for a in report.attempts if a.verdict is Verdict.UNKNOWN]
    last = f"; the last, to {lost[-1].base_url}: {ended(lost[-1].message)}" if lost else "."
    refused = bool(lost) and report.attempts[-1].verdict is Verdict.REFUSED
    refusal = refusal_of(report.attempts[-1]) if refused else ""
    sent = f" {_attempts(len(lost))} sent without an answer to believe{last}" if lost else ""
    return (
        f"outcome unknown.{sent}"
        f"{_sentence(refusal)}{_sentence(report.ended_by)} Orders may be cancelled or still open: "
        "look at the exchange now, then call again (a repeat also takes "
        f"{report.family} orders placed since)."
    )


def _tell_refused(report: Told) -> str:
    refusal = report.refusal
    if refusal is None:
        return "refused."
    told = refusal_of(refusal)
    # Where its list was refused in the same words, these need not be told twice.
    besides = "" if told in report.ended_by else _sentence(report.ended_by)
    advice = _advice(refusal, is_trailing=_is_trailing(report))
    if refusal.code in NO_SUCH_CONTRACT:
        advice = of_dated(report.instrument, report.margin_mode) or advice
    return f"{ended(told)}{besides} This call cancelled nothing. {advice}"


def of_dated(instrument: str, margin_mode: MarginMode) -> str:
    """What to do about a contract that does not exist in this margin mode; "" where that is no
    matter of the mode (HTX API docs, "Introduction")."""
    if margin_mode is MarginMode.CROSS or _DATED.fullmatch(instrument) is None:
        return ""
    return "A dated future exists in cross margin only: htx.cross, or --margin cross."


def _is_trailing(report: Told) -> bool:
    return report.family == TRAILING_ORDERS


def _is_in_front(attempt: Attempt) -> bool:
    return attempt.code is None and attempt.message == BARE_429


def _advice(attempt: Attempt, *, is_trailing: bool = True) -> str:
    if _is_in_front(attempt):
        return _ADVICE_IN_FRONT
    if attempt.code_class is CodeClass.RETIRED and is_trailing:
        return f"{_ADVICE[CodeClass.RETIRED]} F{WAY_OUT[1:]}."
    if attempt.shared_by and attempt.code in OF_FORM:
        return _ADVICE_TOGETHER
    return _ADVICE.get(attempt.code_class, _ADVICE_ELSE)


def refusal_of(attempt: Attempt) -> str:
    """Who refused, with which code and words; without a full stop."""
    if _is_in_front(attempt):
        return f"refused by {attempt.base_url} with {BARE_429}: {IN_FRONT}"
    code = f"HTTP {attempt.http_status}" if attempt.code is None else f"code {attempt.code}"
    note = f" ({meaning(attempt.code)})" if meaning(attempt.code) else ""
    words = f', saying "{attempt.message}"' if attempt.message else ""
    return f"refused by {attempt.base_url} with {code}{note}{words}"


def _tell_not_sent(report: Told) -> str:
    # What was cut off has not failed, and what ended the call is told before.
    failures = (one for one in reversed(report.attempts) if one.message != CUT_OFF)
    failed = next((one for one in failures if one.message not in report.ended_by), None)
    failure = f" Last failure, at {failed.base_url}: {ended(failed.message)}" if failed else ""
    is_before = report.ended_by == INTERRUPTED and failed is None
    why = f"{report.ended_by} before its turn" if is_before else report.ended_by
    return (
        f"nothing was sent, so every order is as it was.{_sentence(why)}{failure} "
        f"{_call_again(report.ended_by)}"
    )


def _call_again(ended_by: str) -> str:
    """What to do about a request that was not made."""
    is_late = not ended_by or any(word in ended_by for word in ("deadline", "its turn", "asks to"))
    return "Call again, with a longer deadline if the queue was the reason." if is_late else _AGAIN


_AGAIN = "Call again."


_TELL = {
    Outcome.CANCELLED: _tell_cancelled,
    Outcome.NOTHING_TO_CANCEL: _tell_nothing,
    Outcome.CLEAR_AFTER_RETRY: _tell_clear_after_retry,
    Outcome.PARTIAL: _tell_partial,
    Outcome.UNKNOWN: _tell_unknown,
    Outcome.REFUSED: _tell_refused,
    Outcome.NOT_SENT: _tell_not_sent,
}


def _tell_triggered(report: Told) -> str:
    if not report.triggered:
        return ""
    return (
        f" {_orders(len(report.triggered))} had triggered: a limit order or a fill may live on "
        f"({', '.join(report.triggered[:_MOST_SHOWN])})."
    )


def _offset_caveat(report: Told) -> str:
    if report.offset is None:
        return ""
    if not _is_trailing(report):
        return (
            f" Whether an offset filter reaches the {report.family} orders of a one-way account is "
            "not known: leave the offset out for such accounts."
        )
    others = " or ".join(offset.value for offset in Offset)
    return (
        " A one-way account may hold trailing orders that this does not see: theirs are stored "
        f"with the offset both, not {others}. Leave the offset out to reach them."
    )


def _sentence(text: str) -> str:
    return f" {text[0].upper()}{ended(text[1:])}" if text else ""


def ended(text: str) -> str:
    """`text` with a full stop, unless what it quotes has brought one."""
    return text if text.endswith((".", "!", "?", '."', '!"', '?"')) else f"{text}."


def _orders(count: int) -> str:
    return f"{count} order" if count == 1 else f"{count} orders"


def _attempts(count: int) -> str:
    return f"{count} request was" if count == 1 else f"{count} requests were"
