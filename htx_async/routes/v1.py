"""The v1 generation: what to send for an intent, and how to read the reply. Pure.

Paths and fields: HTX API docs, "[Isolated] Cancel All Trailing Orders"; shapes of errors: "Error
Code", "Maintenance with service suspended", and recorded replies.
"""

import json
from collections.abc import Callable
from typing import Any, NoReturn

from htx_async.codes import MAINTENANCE, PATH_UNKNOWN, CodeClass, classify
from htx_async.models import CancelAllData, CancelAllTrailing, ErrorReply, milliseconds
from htx_async.outcome import Reply
from htx_async.report import OrderError
from htx_async.terms import Verdict
from htx_async.wire import Answer, Request

CANCEL_ALL_TRAILING = "/linear-swap-api/v1/swap_track_cancelall"
"""Isolated margin; five requests a second, permission Trade."""

TIME = Request("GET", "/api/v1/timestamp")
"""Public (HTX API docs, "Get current system timestamp")."""

_SUCCESS = 200
_LONGEST_MESSAGE = 300
_UNREADABLE = "the reply is not complete JSON of a known shape"


def request_for(intent: CancelAllTrailing) -> Request:
    """The request that carries out `intent`."""
    return Request("POST", CANCEL_ALL_TRAILING, intent.body)


def read(answer: Answer, scrub: Callable[[str], str]) -> Reply:
    """What `answer` proves; any bytes give a verdict, never an exception.

    `scrub` takes out of foreign text what must not be repeated.
    """
    if answer.status == 429:
        return _rate_limited(answer, scrub)
    if not (200 <= answer.status < 300 or 400 <= answer.status < 500):
        return Reply(Verdict.UNKNOWN, message=f"HTTP {answer.status}")
    try:
        body = parse(answer.body)
        if body.get("status") == "ok":
            return _accepted(answer, body, scrub)
        return _refused(answer, body, scrub)
    except (ValueError, RecursionError):
        return Reply(Verdict.UNKNOWN, message=f"HTTP {answer.status}, and {_UNREADABLE}")


def read_time(answer: Answer) -> int | None:
    """The exchange's time in Unix milliseconds; None when `answer` does not tell it."""
    try:
        body = parse(answer.body)
    except (ValueError, RecursionError):
        return None
    told = answer.status == 200 and body.get("status") == "ok"
    return milliseconds(body.get("ts")) if told else None


def parse(body: bytes) -> dict[str, Any]:
    """A JSON object, strictly: UTF-8, no byte order mark, no NaN, no key twice; else ValueError."""
    value = _STRICT.decode(body.decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _accepted(answer: Answer, body: dict[str, Any], scrub: Callable[[str], str]) -> Reply:
    if answer.status != 200:
        raise ValueError("an ok counts only with HTTP 200")
    data = CancelAllData.model_validate(body.get("data"))
    for text in data.successes:
        _check_own(text, scrub)
    for error in data.errors:
        _check_own(error.order_id, scrub)
        _check_own(str(error.err_code), scrub)
    errors = tuple(
        OrderError(
            order_id=error.order_id,
            err_code=error.err_code,
            err_msg=printable(scrub(error.err_msg)),
        )
        for error in data.errors
    )
    ts = milliseconds(body.get("ts"))
    return Reply(Verdict.ACCEPTED, successes=data.successes, errors=errors, ts=ts)


def _check_own(text: str, scrub: Callable[[str], str]) -> None:
    """Ids and codes are passed on as they are: they must not be an echo of the request."""
    if not text.isdecimal() and scrub(text) != text:
        raise ValueError("an echo in the place of an id or a code")


def _refused(answer: Answer, body: dict[str, Any], scrub: Callable[[str], str]) -> Reply:
    error = _error(answer, body)
    _check_own(str(error.code), scrub)
    message = printable(scrub(error.message))
    # A code of doubt says that the command may have been carried out all the same.
    doubtful = classify(error.code) is CodeClass.AMBIGUOUS
    verdict = Verdict.UNKNOWN if doubtful else Verdict.REFUSED
    return Reply(verdict, code=error.code, message=message, ts=error.ts)


def _error(answer: Answer, body: dict[str, Any]) -> ErrorReply:
    """The code and the words of an error in any of its five shapes; ValueError for a sixth."""
    status, ts = body.get("status"), body.get("ts")
    if status == "maintain":
        return ErrorReply(code=MAINTENANCE, ts=ts)
    if status == "error" and "err_code" in body:
        code, message = body["err_code"], body.get("err_msg")
    elif status == "error" and "err-code" in body:
        code, message = body["err-code"], body.get("err-msg")
    elif status is None and "code" in body:
        code, message = body["code"], body.get("message", body.get("msg"))
    elif answer.status == PATH_UNKNOWN and str(status) == str(PATH_UNKNOWN) and "error" in body:
        code, message = PATH_UNKNOWN, body["error"]
    else:
        raise ValueError("no known shape of error")
    error = ErrorReply.model_validate({"code": code, "message": message, "ts": ts})
    if error.code == _SUCCESS or (status is None and error.code == 0):
        raise ValueError("a success in the shape of an error")
    return error


def _rate_limited(answer: Answer, scrub: Callable[[str], str]) -> Reply:
    try:
        error = _error(answer, parse(answer.body))
    except (ValueError, RecursionError):
        return Reply(Verdict.REFUSED, message="HTTP 429")
    message = printable(scrub(error.message))
    # Any other code would name a reason that is not the one for this refusal.
    code = error.code if classify(error.code) is CodeClass.RATE_LIMITED else None
    return Reply(Verdict.REFUSED, code=code, message=message, ts=error.ts)


def printable(text: str) -> str:
    """Foreign text for logs and terminals: control characters escaped, cut to a few lines."""
    # Cut before the work is done and once more after it, for escapes are longer.
    shown = (c if c.isprintable() else _escaped(c) for c in text[: _LONGEST_MESSAGE + 1])
    clean = "".join(shown)
    return clean if len(clean) <= _LONGEST_MESSAGE else f"{clean[:_LONGEST_MESSAGE]}..."


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
