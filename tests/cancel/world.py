"""A small exchange that answers at once and truthfully, and files what a call would hear of it.

It has one contract and one account, which may move from v1 to V5 with orders open. Everything that
may go wrong is drawn: answers that are lost before or after the work, lists that show an order late
or end early, v1 answering a moved account in each way that was reported, or "nothing" once over
orders that its list has shown; one reply whose time is that of a clock which is behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from htx_async.calls.in_flight import Heard
from htx_async.cancel.ledger import Intent, Ledger, Listed, Unread
from htx_async.enums import ApiGeneration, Verdict
from htx_async.exchange.operation import Kind, Reply
from htx_async.filters import OrderFilter
from htx_async.orders import CANCELLED, TrailingOrder
from htx_async.report import Attempt, OrderError

BTC = "BTC-USDT"
V1, V5 = ApiGeneration.V1, ApiGeneration.V5
START = 1_700_000_000_000
LATE = 1.4
"""Seconds after which an order is listed at the latest."""


@dataclass
class Order:
    order_id: str
    side: str
    placed: float
    listed: float
    taken: bool = False
    ended: float | None = None
    status: int = 2

    def row(self) -> TrailingOrder:
        ended = None if self.ended is None else START + int(self.ended * 1000)
        told = {
            "order_id_str": self.order_id,
            "contract_code": BTC,
            "direction": self.side,
            "offset": "close",
            "status": self.status,
            "margin_mode": "isolated",
            "created_at": START + int(self.placed * 1000),
            "update_time": ended,
            "canceled_at": ended if self.status == CANCELLED else None,
        }
        return TrailingOrder.model_validate(told)


@dataclass
class World:
    """`draw` makes every choice. `variant`: what v1 says to an account that has moved."""

    draw: Callable[[Sequence[Any]], Any]
    variant: str
    moved: bool
    wanted: OrderFilter
    now: float = 100.0
    orders: list[Order] = field(default_factory=list)
    ids: count[int] = field(default_factory=lambda: count(1))
    ledger: Ledger = field(init=False)
    taken_before: set[str] = field(default_factory=set)
    behind: int = 200
    """Milliseconds by which the time of one reply is behind; 0 once it was."""
    is_wrong: bool = False
    """Whether v1 has said "nothing" over orders that its list has shown."""

    def begin(self, known: ApiGeneration | None, *, is_pinned: bool = False) -> None:
        self.ledger = Ledger(self.now, known, is_pinned=is_pinned)

    def place(self, side: str) -> None:
        listed = self.now + self.draw((0.0, 0.5, LATE))
        self.orders.append(Order(str(next(self.ids)), side, self.now, listed))

    def open(self) -> list[Order]:
        return [order for order in self.orders if order.ended is None]

    def means(self, order: Order) -> bool:
        return self.wanted.direction in (None, order.side)

    def intent_means(self, order_id: str) -> bool:
        return intent_of(self).means(self.ledger.rows[order_id])

    def end(self, order: Order, status: int) -> None:
        order.ended, order.status = self.now, status

    # What a call does

    def cancel_all(self) -> None:
        """v1's cancel-all."""
        fate = self.draw(("ok", "ok", "ok", "lost", "lost after", "not sent"))
        asked = self._pass()
        reply = Reply(Verdict.NOT_SENT if fate == "not sent" else Verdict.UNKNOWN)
        if fate in ("ok", "lost after"):
            said = self._v1_cancels()
            reply = said if fate == "ok" else reply
        self._file(Kind.CANCEL, V1, (), reply, asked)

    def cancel(self, ids: Sequence[str]) -> None:
        """V5's cancel of single orders."""
        fate = self.draw(("ok", "ok", "ok", "lost", "lost after", "not sent"))
        asked = self._pass()
        reply = Reply(Verdict.NOT_SENT if fate == "not sent" else Verdict.UNKNOWN)
        if fate in ("ok", "lost after"):
            said = self._v5_cancels(ids)
            reply = said if fate == "ok" else reply
        self._file(Kind.CANCEL, V5, tuple(ids), reply, asked)

    def read(self, generation: ApiGeneration, kind: Kind) -> None:
        """A list of open orders, or of those that have ended."""
        fate = self.draw(("ok", "ok", "ok", "lost", "first page"))
        asked = self._pass()
        refusal = self._refusal(generation)
        if refusal is not None or fate == "lost":
            self._file(kind, generation, (), refusal or Reply(Verdict.UNKNOWN), asked)
            unread = Unread(kind, generation, (BTC,), "it could not", self.now)
            self.ledger.file(unread)
            return
        rows = [order.row() for order in self._listed(generation, kind, asked)]
        is_whole = fate == "ok"
        shown = rows if is_whole else rows[:1]
        told = Reply(Verdict.ACCEPTED, ts=START + int((asked + self.now) * 500) - self._behind())
        self._file(kind, generation, (), told, asked)
        fact = Listed(kind, generation, (BTC,), is_whole, asked, self.now)
        self.ledger.list_rows(fact, shown)

    # How the exchange answers

    def _behind(self) -> int:
        behind: int = self.draw((0, 0, 0, self.behind))
        self.behind = 0 if behind else self.behind
        return behind

    def _listed(self, generation: ApiGeneration, kind: Kind, asked: float) -> list[Order]:
        is_here = generation is (V5 if self.moved else V1)
        if not is_here and self.variant != "answering":
            return []
        if kind is Kind.ENDED:
            return [order for order in self.orders if order.ended is not None]
        return [order for order in self.open() if order.listed <= asked]

    def _refusal(self, generation: ApiGeneration) -> Reply | None:
        if generation is V5:
            if self.moved or self.variant == "404 and []":
                return None
            return Reply(Verdict.REFUSED, 6001)
        if self.moved and self.variant in ("1066", "6002", "10000"):
            return Reply(Verdict.REFUSED, int(self.variant))
        if self.variant == "404 and []" and self.draw((True, False)):
            return Reply(Verdict.REFUSED, 404)
        return None

    def _v1_cancels(self) -> Reply:
        refusal = self._refusal(V1)
        if refusal is not None:
            return refusal
        hit = [o for o in self.open() if self.means(o) and not o.taken]
        if self.moved and self.variant != "answering":
            hit = []
        shown = [order for order in hit if order.order_id in self.ledger.rows]
        if shown and not self.is_wrong and self.draw((False, False, True)):
            self.is_wrong, hit = True, []
        if not hit:
            says = self.draw(("1051", "empty"))
            return Reply(Verdict.REFUSED, 1051) if says == "1051" else Reply(Verdict.ACCEPTED)
        refused = hit[:1] if self.draw((True, False, False)) else []
        successes = tuple(self._take(order) for order in hit if order not in refused)
        errors = tuple(OrderError(order_id=o.order_id, err_code=1004, err_msg="") for o in refused)
        return Reply(Verdict.ACCEPTED, successes=successes, errors=errors)

    def _v5_cancels(self, ids: Sequence[str]) -> Reply:
        refusal = self._refusal(V5)
        if refusal is not None:
            return refusal
        successes, errors = [], []
        for order in self.orders:
            if order.order_id not in ids:
                continue
            is_here = self.moved or self.variant == "answering"
            code = 1062 if order.taken and order.ended is None and is_here else 1061
            if order.ended is None and not order.taken and is_here:
                code = self.draw((0, 0, 1004))
            if code == 0:
                successes.append(self._take(order))
            else:
                errors.append(OrderError(order_id=order.order_id, err_code=code, err_msg=""))
        return Reply(Verdict.ACCEPTED, successes=tuple(successes), errors=tuple(errors))

    def _take(self, order: Order) -> str:
        order.taken = True
        if self.draw((True, True, False)):
            self.end(order, CANCELLED)
        return order.order_id

    def _pass(self) -> float:
        asked = self.now
        self.now += self.draw((0.1, 0.4, 1.0))
        return asked

    def _file(
        self,
        kind: Kind,
        generation: ApiGeneration,
        order_ids: tuple[str, ...],
        reply: Reply,
        asked: float,
    ) -> None:
        attempt = Attempt(
            number=1,
            base_url="https://a.example",
            started=datetime(2026, 1, 1, tzinfo=UTC),
            waited=0.0,
            wire=0.1,
            http_status=404 if reply.code == 404 else 200,
            verdict=reply.verdict,
            code=reply.code,
            message="",
            sent=reply.verdict is not Verdict.NOT_SENT,
        )
        request = next(self.ledger.requests)
        self.ledger.file(
            Heard(request, kind, generation, (BTC,), order_ids, attempt, reply, asked, self.now)
        )


def intent_of(world: World, **more: Any) -> Intent:
    return Intent(world.wanted, **more)
