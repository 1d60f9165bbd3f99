"""The v1 generation: what to send for an intent, and how to read the reply. Pure.

Paths and fields: HTX API docs, "[Isolated] Cancel All Trailing Orders", "Cancel a Trailing Order",
"Current unfilled trailing order acquisition", "Get History Trailing Orders" and their cross twins;
shapes of errors: "Error Code", "Maintenance with service suspended", and recorded replies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from htx_async.enums import MarginMode, Verdict
from htx_async.exchange import envelope
from htx_async.exchange.endpoints import (
    CANCEL,
    CANCEL_ALL,
    CONTRACTS,
    HISTORY,
    OPEN_ORDERS,
    TIMESTAMP,
    Endpoint,
)
from htx_async.exchange.envelope import SUCCESS, Scrub, check_own, check_rows, parse, printable
from htx_async.exchange.messages import Answer, Request
from htx_async.exchange.models import CancelAllData, ListedContract, NumberedPage, Page
from htx_async.exchange.operation import Operation, Reader, Reply
from htx_async.filters import OrderFilter
from htx_async.orders import milliseconds
from htx_async.report import OrderError

MOST_IDS = CANCEL.most_ids
"""Order ids in one cancel."""

PAGE_SIZE = 50
_ALL_ENDED = "0"
_MOST_DAYS = 90

TIME = Request(TIMESTAMP.method, TIMESTAMP.path())


@lru_cache(maxsize=1024)
def cancel_all(wanted: OrderFilter, endpoint: Endpoint = CANCEL_ALL) -> Operation:
    """Cancel every order that `wanted` means, of the family that `endpoint` is for."""
    # Strategies cancel the same contracts over and over.
    return _operation(endpoint, wanted, wanted.body, read)._replace(joins=_same)


def _same(one: Operation, other: Operation) -> Operation | None:
    """Two that wait for the same are one: what the later one means was placed before it leaves."""
    return one if one.request == other.request else None


def cancel(wanted: OrderFilter, order_ids: Sequence[str]) -> Operation:
    """Cancel these, at most `MOST_IDS`, of the contract that `wanted` names."""
    fields = {**_instrument(wanted), "order_id": ",".join(order_ids)}
    if wanted.contract_type is not None:
        fields["contract_type"] = wanted.contract_type
    operation = _operation(CANCEL, wanted, _body(fields), read)
    return operation._replace(order_ids=tuple(order_ids), may_repeat=True)


def open_orders(wanted: OrderFilter, page: str = "") -> Operation:
    """One page of the open orders of the contract that `wanted` names; the filters are ours."""
    number = int(page or 1)
    fields = {**_instrument(wanted), "page_index": number, "page_size": PAGE_SIZE}
    return _list(OPEN_ORDERS, wanted, fields, number)


def history(wanted: OrderFilter, page: str = "") -> Operation:
    """One page of the orders of that contract that have ended, the latest first."""
    number = int(page or 1)
    fields = {
        **_instrument(wanted),
        "status": _ALL_ENDED,
        "trade_type": 0,
        "create_date": _MOST_DAYS,
        "page_index": number,
        "page_size": PAGE_SIZE,
        "sort_by": "update_time",
    }
    return _list(HISTORY, wanted, fields, number)


class Pages:
    """The way through one list of v1, which says how many pages it has."""

    are_steady = False
    """An order that leaves moves the others up, past the end of a page already read."""

    problem = ""
    ascends = False

    def after(self, page: Page) -> str:
        """What to ask for after `page`; "" at the end."""
        return page.following


def _list(endpoint: Endpoint, wanted: OrderFilter, fields: object, number: int) -> Operation:
    reader = partial(read_orders, number=number)
    return _operation(endpoint, wanted, _body(fields), reader)._replace(may_repeat=True)


def contracts(margin_mode: MarginMode) -> Request:
    """The public list; dated futures, which exist in cross margin only, have to be asked for."""
    kinds = (("business_type", "all"),) if margin_mode is MarginMode.CROSS else ()
    return Request(CONTRACTS.method, CONTRACTS.path(), params=kinds)


def _body(fields: object) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _operation(endpoint: Endpoint, wanted: OrderFilter, body: bytes, read: Reader) -> Operation:
    return Operation.to(
        endpoint, read, wanted.instrument, body=body, margin_mode=wanted.margin_mode
    )


def _instrument(wanted: OrderFilter) -> dict[str, Any]:
    named = {"contract_code": wanted.contract_code, "pair": wanted.pair}
    return {name: value for name, value in named.items() if value is not None}


def read_orders(answer: Answer, scrub: Scrub, number: int = 1) -> Reply:
    """What `answer` to page `number` of a list of orders says; `data` is a `Page`."""
    return envelope.read(answer, scrub, partial(_orders, number=number))


def read_contracts(answer: Answer) -> tuple[ListedContract, ...]:
    """The contracts of the public list; ValueError when `answer` does not tell them."""
    try:
        body = parse(answer.body)
    except RecursionError:
        body = {}
    rows = body.get("data")
    if answer.status != SUCCESS or body.get("status") != "ok" or not isinstance(rows, list):
        raise ValueError("no list of contracts")
    return tuple(map(ListedContract.model_validate, rows))


def read_time(answer: Answer) -> int | None:
    """The exchange's time in Unix milliseconds; None when `answer` does not tell it."""
    try:
        body = parse(answer.body)
    except (ValueError, RecursionError):
        return None
    told = answer.status == 200 and body.get("status") == "ok"
    return milliseconds(body.get("ts")) if told else None


def _orders(body: dict[str, Any], scrub: Scrub, number: int) -> Reply | None:
    if body.get("status") != "ok":
        return None
    page = NumberedPage.model_validate(body.get("data"))
    check_rows(page.orders, scrub)
    is_last = number >= page.total_page or not page.orders
    data = Page(page.orders, "" if is_last else str(number + 1), page.total_size)
    return Reply(Verdict.ACCEPTED, ts=milliseconds(body.get("ts")), data=data)


def _cancelled(body: dict[str, Any], scrub: Scrub) -> Reply | None:
    if body.get("status") != "ok":
        return None
    data = CancelAllData.model_validate(body.get("data"))
    check_own(data.successes, scrub)
    errors = []
    for each in data.errors or ():
        check_own((each.order_id, str(each.err_code)), scrub)
        words = printable(scrub(each.err_msg))
        errors.append(OrderError(order_id=each.order_id, err_code=each.err_code, err_msg=words))
    ids = body["data"]["successes"]
    return Reply(
        Verdict.ACCEPTED,
        successes=data.successes,
        errors=tuple(errors),
        ts=milliseconds(body.get("ts")),
        is_exact=not isinstance(ids, list) or all(isinstance(each, str) for each in ids),
    )


read: Reader = partial(envelope.read, accept=_cancelled)
"""What the answer to a cancel proves; any bytes give a verdict, never an exception."""
