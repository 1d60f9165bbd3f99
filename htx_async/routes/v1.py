"""The v1 generation: what to send for an intent, and how to read the reply. Pure.

Paths and fields: HTX API docs, "[Isolated] Cancel All Trailing Orders", "Cancel a Trailing Order",
"Current unfilled trailing order acquisition", "Get History Trailing Orders" and their cross twins;
shapes of errors: "Error Code", "Maintenance with service suspended", and recorded replies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn

from htx_async.codes import MAINTENANCE, PATH_UNKNOWN, CodeClass, classify
from htx_async.job import Job, Reader
from htx_async.models import CancelAllData, CancelAllTrailing, ErrorReply, milliseconds
from htx_async.orders import ListedContract, OrdersPage
from htx_async.outcome import Reply
from htx_async.report import OrderError
from htx_async.terms import MarginMode, Verdict
from htx_async.wire import Answer, Request


class Endpoint(NamedTuple):
    """A private call and its twin; each sees the orders of one margin mode only."""

    isolated: str
    cross: str

    def path(self, margin_mode: MarginMode) -> str:
        """The one for `margin_mode`."""
        return self.cross if margin_mode is MarginMode.CROSS else self.isolated


_V1 = "/linear-swap-api/v1/"
CANCEL_ALL = Endpoint(f"{_V1}swap_track_cancelall", f"{_V1}swap_cross_track_cancelall")
CANCEL = Endpoint(f"{_V1}swap_track_cancel", f"{_V1}swap_cross_track_cancel")
"""Five requests a second each, permission Trade."""

OPEN_ORDERS = Endpoint(f"{_V1}swap_track_openorders", f"{_V1}swap_cross_track_openorders")
HISTORY = Endpoint(f"{_V1}swap_track_hisorders", f"{_V1}swap_cross_track_hisorders")
"""Among the account's 72 reads per 3 s, permission Read (for isolated open orders, one page of the
docs says Trade)."""

CANCEL_ALL_TRAILING = CANCEL_ALL.isolated

MOST_IDS = 10
"""Order ids in one cancel."""

_PAGE_SIZE = 50
_ALL_ENDED = "0"
_MOST_DAYS = 90

CONTRACTS = f"{_V1}swap_contract_info"
"""Public (HTX API docs, "Query Swap Info")."""

TIME = Request("GET", "/api/v1/timestamp")
"""Public (HTX API docs, "Get current system timestamp")."""

_SUCCESS = 200
_LONGEST_MESSAGE = 300
_UNREADABLE = "the reply is not complete JSON of a known shape"


def cancel_all(intent: CancelAllTrailing) -> Job:
    """Cancel every order that `intent` means."""
    request = Request("POST", CANCEL_ALL.path(intent.margin_mode), intent.body)
    return Job(request, read, intent.instrument)


def cancel(wanted: CancelAllTrailing, order_ids: Sequence[str]) -> Job:
    """Cancel these, at most `MOST_IDS`, of the contract that `wanted` names."""
    fields = {**_instrument(wanted), "order_id": ",".join(order_ids)}
    if wanted.contract_type is not None:
        fields["contract_type"] = wanted.contract_type
    job = _job(CANCEL, wanted, fields, read)
    return job._replace(may_repeat=True)


def open_orders(wanted: CancelAllTrailing, page: int) -> Job:
    """One page of the open orders of the contract that `wanted` names; the filters are ours."""
    fields = {**_instrument(wanted), "page_index": page, "page_size": _PAGE_SIZE}
    return _job(OPEN_ORDERS, wanted, fields, read_orders)._replace(may_repeat=True, is_read=True)


def history(wanted: CancelAllTrailing, page: int) -> Job:
    """One page of the orders of that contract that have ended, the latest first."""
    fields = {
        **_instrument(wanted),
        "status": _ALL_ENDED,
        "trade_type": 0,
        "create_date": _MOST_DAYS,
        "page_index": page,
        "page_size": _PAGE_SIZE,
        "sort_by": "update_time",
    }
    return _job(HISTORY, wanted, fields, read_orders)._replace(may_repeat=True, is_read=True)


def contracts(margin_mode: MarginMode) -> Request:
    """The public list; dated futures, which exist in cross margin only, have to be asked for."""
    kinds = (("business_type", "all"),) if margin_mode is MarginMode.CROSS else ()
    return Request("GET", CONTRACTS, params=kinds)


def _job(endpoint: Endpoint, wanted: CancelAllTrailing, fields: object, read: Reader) -> Job:
    body = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    request = Request("POST", endpoint.path(wanted.margin_mode), body)
    return Job(request, read, wanted.instrument)


def _instrument(wanted: CancelAllTrailing) -> dict[str, Any]:
    named = {"contract_code": wanted.contract_code, "pair": wanted.pair}
    return {name: value for name, value in named.items() if value is not None}


def read(answer: Answer, scrub: Callable[[str], str]) -> Reply:
    """What `answer` to a cancel proves; any bytes give a verdict, never an exception.

    `scrub` takes out of foreign text what must not be repeated.
    """
    return _read(answer, scrub, _cancelled)


def read_orders(answer: Answer, scrub: Callable[[str], str]) -> Reply:
    """What `answer` to a list of orders says; `data` is an `OrdersPage`."""
    return _read(answer, scrub, _orders)


def read_contracts(answer: Answer) -> tuple[ListedContract, ...]:
    """The contracts of the public list; ValueError when `answer` does not tell them."""
    try:
        body = parse(answer.body)
    except RecursionError:
        body = {}
    rows = body.get("data")
    if answer.status != _SUCCESS or body.get("status") != "ok" or not isinstance(rows, list):
        raise ValueError("no list of contracts")
    return tuple(map(ListedContract.model_validate, rows))


def _read(answer: Answer, scrub: Callable[[str], str], accept: _Accept) -> Reply:
    if answer.status == 429:
        return _rate_limited(answer, scrub)
    if not (200 <= answer.status < 300 or 400 <= answer.status < 500):
        return Reply(Verdict.UNKNOWN, message=f"HTTP {answer.status}")
    try:
        body = parse(answer.body)
        if body.get("status") == "ok":
            if answer.status != _SUCCESS:
                raise ValueError("an ok counts only with HTTP 200")
            return accept(body, scrub)
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


_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=Decimal
)


_Accept = Callable[[dict[str, Any], Callable[[str], str]], Reply]


def _orders(body: dict[str, Any], scrub: Callable[[str], str]) -> Reply:
    page = OrdersPage.model_validate(body.get("data"))
    text = page.model_dump_json()
    if scrub(text) != text:
        raise ValueError("an echo of the request among the orders")
    return Reply(Verdict.ACCEPTED, ts=milliseconds(body.get("ts")), data=page)


def _cancelled(body: dict[str, Any], scrub: Callable[[str], str]) -> Reply:
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
