"""Ledgers made by hand: what was answered, in short, and in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from htx_async.calls.in_flight import Heard
from htx_async.cancel.judge import report, states
from htx_async.cancel.ledger import Ended, Intent, Ledger, Listed, Unread, Warned
from htx_async.cancel.states import States
from htx_async.codes import Code
from htx_async.enums import ApiGeneration, Verdict
from htx_async.exchange.operation import Kind, Reply
from htx_async.filters import OrderFilter
from htx_async.orders import TrailingOrder
from htx_async.report import Attempt, CancelReport, OrderError

V1, V5 = ApiGeneration.V1, ApiGeneration.V5
START = 1_700_000_000_000
"""Unix milliseconds at the exchange when the call begins."""

BTC = "BTC-USDT"
ALL = OrderFilter.checked(BTC, None, None)


def row(order_id: str, status: int = 2, after: int | None = 100, **fields: Any) -> TrailingOrder:
    """A listed order; one that has ended did so `after` ms from when the call began."""
    ended_at = None if status == 2 or after is None else START + after
    told = {
        "order_id_str": order_id,
        "contract_code": BTC,
        "direction": "buy",
        "offset": "open",
        "status": status,
        "update_time": ended_at,
        "canceled_at": ended_at if status == 6 else None,
    }
    return TrailingOrder.model_validate({**told, **fields})


@dataclass(frozen=True)
class Made:
    """One attempt in short: its verdict, and what the reply said."""

    verdict: Verdict
    code: Code | None = None
    status: int | None = 200
    message: str = ""
    successes: tuple[str, ...] = ()
    errors: tuple[OrderError, ...] = ()
    ts: int | None = None
    data: Page | None = None
    is_exact: bool = True


@dataclass(frozen=True)
class Page:
    """What the reader of a list hands on."""

    orders: tuple[TrailingOrder, ...]


def ok(*codes: Code | None, ids: int = 0, ts: int | None = None) -> Made:
    """Accepted, with `ids` orders taken and one order refused for each of `codes`."""
    taken = [str(1000 + number) for number in range(ids)]
    refused = [order_error(str(9000 + place), code) for place, code in enumerate(codes)]
    return took(*taken, errors=refused, ts=ts)


def took(*successes: str, errors: Sequence[OrderError] = (), ts: int | None = None) -> Made:
    """Accepted, with these orders."""
    return Made(Verdict.ACCEPTED, successes=successes, errors=tuple(errors), ts=ts)


def no(code: Code | None, status: int = 200, message: str = "", ts: int | None = None) -> Made:
    return Made(Verdict.REFUSED, code, status, message, ts=ts)


def order_error(order_id: str, code: Code | None) -> OrderError:
    return OrderError(order_id=order_id, err_code=code, err_msg="words")


LOST = Made(Verdict.UNKNOWN, status=None, message="no complete answer within 3 s")
UNSENT = Made(Verdict.NOT_SENT, status=None, message="the connection could not be made")


class Account:
    """A call that means `intent`; each request takes 0.1 s, and 0.1 s pass between two. On v1
    alone, unless said otherwise."""

    def __init__(
        self, intent: Intent, known: ApiGeneration | None = V1, *, is_pinned: bool = True
    ) -> None:
        self.intent = intent
        self.now = 0.0
        self.ledger = Ledger(self.now, known, is_pinned=is_pinned)
        self._contracts = (intent.filter.instrument,)
        self._attempts = 0

    def said(
        self,
        *made: Made,
        order_ids: tuple[str, ...] = (),
        by: ApiGeneration = V1,
        kind: Kind = Kind.CANCEL,
    ) -> None:
        """The exchange answered cancels, of `order_ids` or of all, or requests for a list."""
        for each in made:
            self._attempts += 1
            attempt = Attempt(
                number=self._attempts,
                base_url=f"https://host{self._attempts}.example",
                started=datetime(2026, 3, 1, 12, tzinfo=UTC),
                waited=0.0,
                wire=0.1,
                http_status=each.status,
                verdict=each.verdict,
                code=each.code,
                message=each.message,
                sent=each.verdict is not Verdict.NOT_SENT,
            )
            reply = Reply(
                each.verdict,
                each.code,
                each.message,
                each.successes,
                each.errors,
                each.ts,
                each.data,
                each.is_exact,
            )
            request = next(self.ledger.requests)
            heard = (attempt, reply, self.now, self.now + 0.1)
            about = (request, kind, by, self._contracts, order_ids)
            self.ledger.file(Heard(*about, *heard))
            self.now += 0.2

    def listed(
        self,
        kind: Kind,
        rows: Sequence[TrailingOrder],
        *,
        by: ApiGeneration = V1,
        after: float = 2.0,
        is_whole: bool = True,
    ) -> None:
        """A list showed `rows`, asked for `after` seconds: late enough to show all."""
        self.now += after
        about = (kind, by, self._contracts, is_whole)
        self.ledger.list_rows(Listed(*about, self.now, self.now + 0.1), rows)
        self.now += 0.2

    def unread(self, problem: str, *, by: ApiGeneration = V1, kind: Kind = Kind.OPEN) -> None:
        self.ledger.file(Unread(kind, by, self._contracts, problem, self.now))

    def warned(self, *warnings: str) -> None:
        for warning in warnings:
            self.ledger.file(Warned(self._contracts, warning))

    def ended(self, reason: str) -> None:
        self.ledger.file(Ended(self._contracts, reason))

    def states(self) -> States:
        return states(self.intent, self.ledger)

    def report(self) -> CancelReport:
        return report(self.states(), 1.5)
