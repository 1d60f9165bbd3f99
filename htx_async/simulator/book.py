"""The orders, open and ended, and what happens to them when, without I/O."""

import math
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import fields, replace
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, NamedTuple

from htx_async.simulator.endpoints import MarginMode
from htx_async.simulator.messages import Refusal
from htx_async.simulator.orders import (
    CANCELLED,
    DIRECTIONS,
    FAILED,
    NO_RELATION,
    OFFSETS,
    READY,
    TRIGGERED,
    Moment,
    Order,
)
from htx_async.simulator.settings import InvalidSetting

# Per-order answers (HTX API docs, "Error Code").
NOT_FOUND = Refusal(1061, "The order does not exist.")
CANCELLING = Refusal(1062, "Cancelling. Please be patient.")
EXECUTED = Refusal(1063, "The order has been executed.")
REPEATED = Refusal(1071, "Repeated cancellation. Your order has been canceled.")

_TEXTS = {1017: "Order doesn't exist."} | dict([NOT_FOUND, CANCELLING, EXECUTED, REPEATED])

# Instants are sums of floats: what is due a rounding error from now is due.
_GRAIN = 1e-9

_ANEW: dict[str, Any] = {"ended_at": None, "client_order_id": None}


class _Effect(NamedTuple):
    """What becomes of an order at `at`, provided that it is still open then; of one that is gone,
    READY: another one like it is placed.
    """

    at: float
    ticket: int
    order_id: str
    status: int
    ms: int
    fail_code: int | None = None


class Book:
    """All orders of one account. Effects that lie ahead take place in `settle`, in the order of
    their instants; of two at the very same one, that which was arranged first.
    """

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._by_code: defaultdict[str, dict[str, Order]] = defaultdict(dict)
        self._ended: dict[str, Order] = {}
        self._ahead: list[_Effect] = []
        self._going: set[str] = set()
        self._errors: dict[str, deque[Refusal]] = {}
        # 19 digits, more than a double holds: a client that reads ids as numbers is found out.
        self._ids = (str(number) for number in count(1_442_564_726_236_282_883, 4_194_305))
        # The rows between are other accounts'.
        self._rows = count(1_163_773, 7)
        self._tickets = count()
        self._refill, self._refilled_at = 0.0, -math.inf

    def refill(self, rate: float) -> None:
        """See `SimulatedExchange.refill`."""
        self._refill, self._refilled_at = rate, -math.inf
        if not rate:
            self._ahead = [effect for effect in self._ahead if effect.status != READY]
            heapify(self._ahead)

    def place(self, order: Order, n: int) -> tuple[str, ...]:
        """Open `n` orders like this one, each with an id of its own; InvalidSetting for what the
        exchange would not hold.
        """
        if order.direction not in DIRECTIONS or order.offset not in (*OFFSETS, "both"):
            raise InvalidSetting("direction is buy or sell; offset is open, close or both")
        if order.client_order_id is not None and (n > 1 or self.named(order.client_order_id)):
            raise InvalidSetting("a client_order_id names one order")
        ids = tuple(next(self._ids) for _ in range(n))
        alike = {each.name: getattr(order, each.name) for each in fields(order)}
        placed = {
            one: Order(**{**alike, "order_id": one, "query_id": next(self._rows)}) for one in ids
        }
        self._orders |= placed
        self._by_code[order.contract_code.upper()] |= placed
        return ids

    def of(self, contract_code: str | None) -> tuple[Order, ...]:
        """The open orders of one contract, named in capitals; None: all of them."""
        found = self._orders if contract_code is None else self._by_code.get(contract_code, {})
        return tuple(found.values())

    def open(
        self, contract_code: str | None = None, margin_mode: MarginMode | None = None
    ) -> tuple[Order, ...]:
        """Oldest first; orders being cancelled are among them."""
        return _chosen(self._orders, contract_code, margin_mode)

    def ended(
        self, contract_code: str | None = None, margin_mode: MarginMode | None = None
    ) -> tuple[Order, ...]:
        """In the order in which they ended."""
        return _chosen(self._ended, contract_code, margin_mode)

    def find(self, order_id: str) -> Order | None:
        """The order of this id, open or ended."""
        return self._orders.get(order_id) or self._ended.get(order_id)

    def named(self, client_order_id: str) -> Order | None:
        """The order of this `client_order_id`, open or ended."""
        orders = (*self._orders.values(), *self._ended.values())
        return next((one for one in orders if one.client_order_id == client_order_id), None)

    def is_going(self, order_id: str) -> bool:
        """Whether a cancel was accepted that has not taken effect yet."""
        return order_id in self._going

    def reject(self, order_id: str, err_code: int, err_msg: str | None, times: int) -> None:
        """See `SimulatedExchange.reject_order`; InvalidSetting if the order is not open."""
        self._check_open(order_id)
        text = _TEXTS.get(err_code, "Simulated failure.") if err_msg is None else err_msg
        self._errors.setdefault(order_id, deque()).extend([Refusal(err_code, text)] * times)

    def trigger(self, order_id: str, when: Moment, after: float, fail_code: int | None) -> None:
        """In `after` seconds the order triggers, or fails to with `fail_code`, if it is open then.

        InvalidSetting if it is not open now, and for a time in the past.
        """
        self._check_open(order_id)
        if after < 0:
            raise InvalidSetting("an order triggers in `after` seconds, and not in the past")
        status = TRIGGERED if fail_code is None else FAILED
        self._arrange(order_id, status, when, after, fail_code)

    def cancel(self, order_id: str, when: Moment, delay: Callable[[], float]) -> Refusal | None:
        """Why the exchange does not take a cancel of this order; None if it does.

        One that it takes comes into effect `delay()` seconds after `when`. Assumed: an order that
        failed as it triggered counts as executed.
        """
        if order_id not in self._orders:
            ended = self._ended.get(order_id)
            if ended is None:
                return NOT_FOUND
            return REPEATED if ended.status == CANCELLED else EXECUTED
        if order_id in self._going:
            return CANCELLING
        pending = self._errors.get(order_id)
        refusal = pending.popleft() if pending else None
        if refusal is None or refusal.code == CANCELLING.code:
            self._going.add(order_id)
            self._arrange(order_id, CANCELLED, when, delay())
        elif refusal.code in (EXECUTED.code, REPEATED.code):
            status = TRIGGERED if refusal.code == EXECUTED.code else CANCELLED
            self._arrange(order_id, status, when, 0.0)
        elif refusal.code in (1017, NOT_FOUND.code):
            self._forget(order_id)
        return refusal

    def settle(self, at: float) -> None:
        """Let everything take effect that is due by `at`, in seconds on the exchange's clock."""
        while self._ahead and self._ahead[0].at <= at + _GRAIN:
            self._end(heappop(self._ahead))

    def _arrange(
        self, order_id: str, status: int, when: Moment, delay: float, fail_code: int | None = None
    ) -> None:
        then = when.later(max(0.0, delay))
        effect = _Effect(then.at, next(self._tickets), order_id, status, then.ms, fail_code)
        if delay > 0:
            heappush(self._ahead, effect)
        else:
            self._end(effect)

    def _end(self, effect: _Effect) -> None:
        if effect.status == READY:
            again = self._ended[effect.order_id]
            self.place(replace(again, status=READY, created_at=effect.ms, **_ANEW), 1)
            return
        order = self._forget(effect.order_id)
        if order is None:
            return
        self._going.discard(effect.order_id)
        relation = next(self._ids) if effect.status == TRIGGERED else NO_RELATION
        self._ended[effect.order_id] = replace(
            order,
            status=effect.status,
            ended_at=effect.ms,
            relation_order_id=relation,
            fail_code=effect.fail_code,
        )
        if self._refill and effect.status == CANCELLED:
            self._bring_back(effect)

    def _bring_back(self, gone: _Effect) -> None:
        """In its turn, one turn after the one before it."""
        self._refilled_at = max(gone.at, self._refilled_at) + 1 / self._refill
        ms = gone.ms + round((self._refilled_at - gone.at) * 1000)
        heappush(
            self._ahead,
            _Effect(self._refilled_at, next(self._tickets), gone.order_id, READY, ms),
        )

    def _forget(self, order_id: str) -> Order | None:
        order = self._orders.pop(order_id, None)
        if order is not None:
            del self._by_code[order.contract_code.upper()][order_id]
        return order

    def _check_open(self, order_id: str) -> None:
        if order_id not in self._orders:
            raise InvalidSetting("no such open order")


def _chosen(
    orders: dict[str, Order], contract_code: str | None, margin_mode: MarginMode | None
) -> tuple[Order, ...]:
    chosen = tuple(orders.values())
    if margin_mode is not None:
        chosen = tuple(order for order in chosen if order.margin_mode == margin_mode)
    if contract_code is None:
        return chosen
    wanted = contract_code.upper()
    return tuple(order for order in chosen if order.contract_code.upper() == wanted)
