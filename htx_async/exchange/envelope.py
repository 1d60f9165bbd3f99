"""What every reply is put through, whatever the generation of the API. Pure.

Shapes of errors: HTX API docs, "Error Code", "Maintenance with service suspended", and recorded
replies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NoReturn

from htx_async.codes import MAINTENANCE, PATH_UNKNOWN, TOO_MANY, CodeClass, classify
from htx_async.enums import Verdict
from htx_async.exchange.messages import Answer
from htx_async.exchange.models import ErrorReply
from htx_async.exchange.operation import Reply
from htx_async.orders import TrailingOrder
from htx_async.report_text import BARE_429, IN_FRONT

SUCCESS = 200
_CODES = frozenset({"err_code", "err-code", "code"})
_NO_ERROR = {"0", str(SUCCESS)}
_LONGEST_MESSAGE = 300
_UNREADABLE = "the reply is not complete JSON of a known shape"

Scrub = Callable[[str], str]
"""Takes out of foreign text what must not be repeated."""

Accept = Callable[[dict[str, Any], Scrub], Reply | None]
"""What a body says if it is a success, None if it is none; ValueError if it is an odd one."""


def read(answer: Answer, scrub: Scrub, accept: Accept) -> Reply:
    """What `answer` proves; any bytes give a verdict, never an exception."""
    if answer.status == TOO_MANY:
        return _rate_limited(answer, scrub)
    if not (200 <= answer.status < 300 or 400 <= answer.status < 500):
        return _unbelieved(Verdict.UNKNOWN, f"HTTP {answer.status}", answer, scrub)
    try:
        body = parse(answer.body)
        check_consistent(body)
        reply = accept(body, scrub)
        if reply is None:
            return _refused(answer, body, scrub)
        if answer.status != SUCCESS:
            raise ValueError("a success counts only with HTTP 200")
        return reply
    except (ValueError, RecursionError):
        told = f"HTTP {answer.status}, and {_what_it_is(answer)}"
        return _unbelieved(Verdict.UNKNOWN, told, answer, scrub)


def _unbelieved(verdict: Verdict, message: str, answer: Answer, scrub: Scrub) -> Reply:
    # Taken out of the whole of it before it is cut, or the half of a secret would stay.
    excerpt = printable(scrub(answer.body.decode("utf-8", "replace")))
    return Reply(verdict, message=message, excerpt=excerpt)


def _what_it_is(answer: Answer) -> str:
    is_foreign = 400 <= answer.status < 500 and _is_foreign(answer.body)
    return f"{IN_FRONT}, not the exchange" if is_foreign else _UNREADABLE


def _is_foreign(body: bytes) -> bool:
    """Whether it is a page, or an object without a word that each error of the exchange has: those
    are a firewall's, or a content network's. Not one that is cut off, for who would know."""
    if not body.lstrip().startswith(b"{"):
        return True
    try:
        document = parse(body)
    except (ValueError, RecursionError):
        return False
    # Those of others give the HTTP status as a number.
    return not isinstance(document.get("status"), str) and _CODES.isdisjoint(document)


def parse(body: bytes) -> dict[str, Any]:
    """A JSON object, strictly: UTF-8, no byte order mark, no NaN, no key twice; else ValueError."""
    value = _STRICT.decode(body.decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def check_consistent(body: Mapping[str, Any]) -> None:
    """ValueError for a body that says two things: "ok" beside the code of an error, or two
    different codes."""
    if _CODES.isdisjoint(body):
        return
    codes = {str(body[key]) for key in _CODES if body.get(key) not in (None, "")}
    is_ok = body.get("status") == "ok"
    if len(codes) > 1 or (is_ok and not codes <= _NO_ERROR):
        raise ValueError("it contradicts itself")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ValueError("a number beyond every bound") from None


_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_decimal
)


def check_own(texts: Iterable[str], scrub: Scrub) -> None:
    """Ids and codes are passed on as they are: they must not be an echo of the request."""
    for text in texts:
        if not text.isdecimal() and scrub(text) != text:
            raise ValueError("an echo in the place of an id or a code")


def check_rows(rows: Sequence[TrailingOrder], scrub: Scrub) -> None:
    """The same for whole orders."""
    for row in rows:
        text = row.model_dump_json()
        if scrub(text) != text:
            raise ValueError("an echo of the request among the orders")


def _refused(answer: Answer, body: dict[str, Any], scrub: Scrub) -> Reply:
    error = _error(answer, body)
    check_own([str(error.code)], scrub)
    message = printable(scrub(error.message))
    # A code of doubt says that the command may have been carried out all the same.
    doubtful = classify(error.code) is CodeClass.AMBIGUOUS
    verdict = Verdict.UNKNOWN if doubtful else Verdict.REFUSED
    return Reply(verdict, code=error.code, message=message, ts=error.ts)


def _error(answer: Answer, body: dict[str, Any]) -> ErrorReply:
    """The code and the words of an error in any of its shapes; ValueError for another."""
    status, ts = body.get("status"), body.get("ts")
    if status == "maintain":
        return ErrorReply(code=MAINTENANCE, ts=ts)
    if status == "error" and "err_code" in body:
        code, message = body["err_code"], body.get("err_msg")
    elif status == "error" and "err-code" in body:
        code, message = body["err-code"], body.get("err-msg")
    elif status in (None, "error") and "code" in body:
        code, message = body["code"], body.get("message", body.get("msg"))
    elif answer.status == PATH_UNKNOWN and str(status) == str(PATH_UNKNOWN) and "error" in body:
        code, message = PATH_UNKNOWN, body["error"]
    else:
        raise ValueError("no known shape of error")
    error = ErrorReply.model_validate({"code": code, "message": message, "ts": ts})
    if error.code == SUCCESS or (status is None and error.code == 0):
        raise ValueError("a success in the shape of an error")
    # A mix of two shapes: believed where it costs a pause, not where it would end a call.
    is_mixed = status == "error" and not {"err_code", "err-code"} & body.keys()
    if is_mixed and classify(error.code) is not CodeClass.RATE_LIMITED:
        raise ValueError("no known shape of error")
    return error


def _rate_limited(answer: Answer, scrub: Scrub) -> Reply:
    try:
        error = _error(answer, parse(answer.body))
    except (ValueError, RecursionError):
        return _unbelieved(Verdict.REFUSED, BARE_429, answer, scrub)
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
