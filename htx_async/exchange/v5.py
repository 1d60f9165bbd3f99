"""The V5 generation, which has no cancel-all for trailing orders: list them, cancel by ids. Pure.

HTX publishes no page on V5's algo orders. Paths and fields are those on which HTX's Java SDK
(HuobiRDCenter/huobi_java_contract), ccxt 4.5.90 and gocryptotrader's pull request 2281 agree, and
rows that ccxt recorded live; where these differ, the more careful reading was taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from htx_async.enums import Verdict
from htx_async.exchange import envelope, v5_pages
from htx_async.exchange.endpoints import V5_CANCEL, V5_HISTORY, V5_OPEN_ORDERS, Endpoint
from htx_async.exchange.envelope import SUCCESS, Scrub, check_rows, printable
from htx_async.exchange.models import Page
from htx_async.exchange.operation import Operation, Reader, Reply
from htx_async.exchange.v5_pages import BACK
from htx_async.filters import OrderFilter
from htx_async.orders import TrailingOrder, milliseconds
from htx_async.report import OrderError

Pages = v5_pages.Pages
"""The way through its lists."""


class CancelForm(NamedTuple):
    """How a cancel is put. `is_array`: a list of orders, else a single one."""

    path: str
    is_array: bool


CANCEL_FORMS = (
    CancelForm(V5_CANCEL.path(), True),
    CancelForm(V5_CANCEL.path(), False),
    *(CancelForm(path, False) for path in V5_CANCEL.also),
)
"""ccxt's and gocryptotrader's; HTX.Net's; that of HTX's Java SDK."""

MOST_IDS = V5_CANCEL.most_ids
"""Order ids in one cancel."""

_LIMIT = 100
WINDOW = 48 * 3_600_000
"""Milliseconds that one request for the history reaches back."""

_REACH = 90 * 86_400_000
_OFF = 600_000

_LONGEST_ID = 64
_MOST_DIGITS = 15
_TYPE = ("type", "trailing_stop")
_TRAILING = ("trailing_stop", "trailing")
"""Ours, and that of HTX.Net."""

_ENDED = ("states", "effective,canceled,failed")

_OFFSETS = {
    ("buy", "long"): "open",
    ("sell", "short"): "open",
    ("sell", "long"): "close",
    ("buy", "short"): "close",
}
"""By side and position side, in hedge mode (HTX V5 docs, "Place order"); one-way has "both"."""

_STATUSES = {"active": 2, "effective": 4, "failed": 5, "canceled": 6}


def open_orders(wanted: OrderFilter, following: str = "") -> Operation:
    """One page of the open trailing orders of a contract, of both margin modes."""
    return _list(V5_OPEN_ORDERS, wanted, following)


def history(
    wanted: OrderFilter, following: str = "", window: tuple[int, int] | None = None
) -> Operation:
    """One page of those that have ended, between two times in Unix milliseconds, at most `WINDOW`
    apart; without them in the last 48 hours."""
    return _list(V5_HISTORY, wanted, following, _ENDED, *_between(window))


def _between(window: tuple[int, int] | None) -> tuple[tuple[str, str], ...]:
    if window is None:
        return ()
    return (("start_time", str(window[0])), ("end_time", str(window[1])))


def windows(now: float, since: float) -> Iterator[tuple[int, int] | None]:
    """What to ask for one after the other, newest first, to see what the history holds from `since`
    on, at most the last 90 days (HTX's Java SDK); Unix milliseconds. None: the last 48 hours.

    They overlap by some minutes, by which our clock may be off.
    """
    oldest = int(max(since, now - _REACH + _OFF))
    yield None
    until = int(now) - WINDOW + _OFF
    while until > oldest:
        yield max(oldest, until - WINDOW), until
        until -= WINDOW


def opens(contract_code: str | None, about: str) -> Operation:
    """The first page of the open orders of a contract, or, with None, of every contract."""
    return _page(V5_OPEN_ORDERS, _named(contract_code), "", about)


def ended(contract_code: str | None, until: int | None, about: str) -> Operation:
    """The first page of those that have ended in the 48 hours before `until` (Unix milliseconds;
    None: now), the most that one request may ask for (HTX's Java SDK); None: of every contract."""
    window = _between(None if until is None else (until - WINDOW, until))
    return _page(V5_HISTORY, (*_named(contract_code), _ENDED, *window), "", about)


def cancel(
    wanted: OrderFilter, order_ids: Sequence[str], form: CancelForm = CANCEL_FORMS[0]
) -> Operation:
    """Cancel these, at most `MOST_IDS`, of the contract that `wanted` names; one where the form has
    no array."""
    items = tuple((wanted.contract_code or "", each) for each in order_ids)
    endpoint = V5_CANCEL._replace(paths=(form.path,))
    operation = Operation.to(endpoint, read, wanted.instrument, body=_items(items, form.is_array))
    return operation._replace(order_ids=tuple(order_ids), items=items, may_repeat=True)


def joined(one: Operation, other: Operation) -> Operation | None:
    """Both lists of orders in one request, whatever their contracts: each item names its own. That
    V5 takes items of several contracts is an assumption; nobody has shown it. A reply names orders
    by their ids alone, so that one id under two contracts goes in two requests."""
    items = tuple(dict.fromkeys((*one.items, *other.items)))
    if one.request.path != other.request.path or len(items) > MOST_IDS:
        return None
    if len({order_id for _, order_id in items}) < len(items):
        return None
    request = one.request._replace(body=_items(items, True))
    return one._replace(request=request, items=items, order_ids=tuple(i for _, i in items))


def _items(items: Sequence[tuple[str, str]], is_array: bool) -> bytes:
    rows = [{"contract_code": code, "algo_id": order_id} for code, order_id in items]
    told = rows if is_array else rows[0]
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()


def _list(
    endpoint: Endpoint, wanted: OrderFilter, following: str, *more: tuple[str, str]
) -> Operation:
    named = _named(wanted.contract_code)
    return _page(endpoint, (*named, *more), following, wanted.instrument)


def _named(contract_code: str | None) -> tuple[tuple[str, str], ...]:
    return () if contract_code is None else (("contract_code", contract_code),)


def _page(
    endpoint: Endpoint, given: Sequence[tuple[str, str]], following: str, about: str
) -> Operation:
    direct = "prev" if following.startswith(BACK) else "next"
    row = following.removeprefix(BACK)
    cursor = (("from", row), ("direct", direct)) if following else ()
    params = (_TYPE, *given, *cursor, ("limit", str(_LIMIT)))
    return Operation.to(endpoint, read_orders, about, params=params)._replace(may_repeat=True)


def _rows(body: dict[str, Any]) -> list[Any] | None:
    """The rows of a success, None if it is none; its own code is a number or text. No rows may come
    as null, and a single one alone (HTX.Net)."""
    if str(body.get("code")) != str(SUCCESS) or body.get("status") is not None:
        return None
    rows = body.get("data", "nothing")
    if rows is None:
        return []
    if isinstance(rows, dict) and "algo_id" in rows:
        return [rows]
    if not isinstance(rows, list):
        raise ValueError("a success without its list")
    return rows


def _orders(body: dict[str, Any], scrub: Scrub) -> Reply | None:
    rows = _rows(body)
    if rows is None:
        return None
    orders, unread = [], 0
    for row in rows:
        if _is_other(row):
            # Without a number nobody knows how the list goes on after it.
            unread += not _cursor(row)
            continue
        try:
            orders.append(_order(row))
        except ValueError:
            unread += 1
    if unread == len(rows) > 0:
        raise ValueError("no row of it could be read")
    check_rows(orders, scrub)
    cursors = [_cursor(row) for row in rows]
    numbers = tuple(map(int, cursors)) if all(cursors) else ()
    page = Page(tuple(orders), rows=numbers, unread=unread)
    return Reply(Verdict.ACCEPTED, ts=milliseconds(body.get("ts")), data=page)


def _type(row: Any) -> object:
    """What kind of order a row is; HTX.Net has it under another name."""
    return (row.get("type") or row.get("algo_type")) if isinstance(row, dict) else None


def _is_other(row: Any) -> bool:
    """Whether a row is surely no trailing order, as where `type` is not heeded."""
    kind = _type(row)
    return isinstance(kind, str) and kind not in _TRAILING


def _cursor(row: Any) -> str:
    """The row's own number, not the order's: lists go on after it. "" when it has none."""
    cursor = str(row.get("id")) if isinstance(row, dict) else ""
    is_number = cursor.isascii() and cursor.isdigit() and len(cursor) <= _LONGEST_ID
    return cursor if is_number else ""


def _order(row: Any) -> TrailingOrder:
    if _type(row) not in _TRAILING:
        raise ValueError("not said to be a trailing order")
    side, position = row.get("side"), row.get("position_side")
    reduce_only = row.get("reduce_only")
    renamed = {
        "order_id_str": row.get("algo_id"),
        "direction": side,
        # What is no pair of hedge mode is as unsure as a one-way order.
        "offset": _OFFSETS.get((str(side), str(position)), "both"),
        "status": _STATUSES.get(str(row.get("state"))),
        "created_at": row.get("created_time"),
        "update_time": row.get("updated_time"),
        "reduce_only": int(reduce_only) if isinstance(reduce_only, bool) else reduce_only,
    }
    return TrailingOrder.model_validate({**row, **renamed})


def _cancelled(body: dict[str, Any], scrub: Scrub) -> Reply | None:
    rows = _rows(body)
    if rows is None:
        return None
    successes: list[str] = []
    errors: list[OrderError] = []
    for row in rows:
        order_id = _id(row)
        if order_id is None:
            continue
        if _is_taken(row):
            successes.append(order_id)
        elif (error := _error(order_id, row, scrub)) is not None:
            errors.append(error)
    return Reply(
        Verdict.ACCEPTED,
        successes=tuple(successes),
        errors=tuple(errors),
        ts=milliseconds(body.get("ts")),
    )


def _id(row: Any) -> str | None:
    given = row.get("algo_id") if isinstance(row, dict) else None
    text = str(given) if type(given) is int else given
    is_id = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= _LONGEST_ID
    return text if is_id else None


def _is_taken(row: Mapping[str, Any]) -> bool:
    """By the code that ccxt shows, the flag that HTX's Java SDK has in its place, or both."""
    said = [str(row["code"]) == str(SUCCESS)] if "code" in row else []
    said += [row["success"] is True] if "success" in row else []
    return bool(said) and all(said) and row.get("error_code") is None


def _error(order_id: str, row: Mapping[str, Any], scrub: Scrub) -> OrderError | None:
    """Why an order was refused; None when its item does not say that clearly."""
    code = row.get("code", row.get("error_code"))
    text = str(code) if type(code) is int or isinstance(code, str) else ""
    is_code = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    if not is_code or int(text) == SUCCESS or row.get("success") is True:
        return None
    words = row.get("message", row.get("msg", row.get("error_msg")))
    message = printable(scrub(words)) if isinstance(words, str) else ""
    return OrderError(order_id=order_id, err_code=int(text), err_msg=message)


read: Reader = partial(envelope.read, accept=_cancelled)
"""What the answer to a cancel proves. An order counts as taken only by its own item's code; one
without an item, or with an odd one, is neither in `successes` nor in `errors`."""

read_orders: Reader = partial(envelope.read, accept=_orders)
"""What the answer to a list of orders says; `data` is a `Page`."""
