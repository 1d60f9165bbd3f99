"""Open trailing orders and what a cancel-all does to them, without I/O."""

import re
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

from htx_async.simulator.messages import Refusal

_DIRECTIONS = ("buy", "sell")
_OFFSETS = ("open", "close")
_FIELDS = ("contract_code", "direction", "offset")

# Isolated margin trades swaps only; names need not be ASCII.
_WELL_FORMED = re.compile(r"[^\s-]+-[^\s-]+")

# Per-order errors after which the order is no longer open: not found, executed, already cancelled
# or being cancelled (HTX API docs, "Error Code").
_GONE = frozenset({1017, 1061, 1062, 1063, 1071})
_PER_ORDER_TEXTS = {
    1017: "Order doesn't exist.",
    1061: "The order does not exist.",
    1062: "Cancelling. Please be patient.",
    1063: "The order has been executed.",
    1071: "Repeated cancellation. Your order has been canceled.",
}

# The text for an empty or malformed body misleads on the real exchange too (ccxt issue #14348).
BAD_BODY = Refusal(1030, "Abnormal service. Please try again later.")
NO_CONTRACT_CODE = Refusal(1066, "contract_code cannot be empty.")
WRONG_DIRECTION = Refusal(1035, "Incorrect field of form direction.")
WRONG_OFFSET = Refusal(1036, "Incorrect field of open long form.")
UNKNOWN_CONTRACT = Refusal(1014, "This contract doesn't exist.")
NOTHING_TO_CANCEL = Refusal(1051, "No orders to cancel.")


@dataclass(frozen=True, slots=True)
class Order:
    order_id: str
    contract_code: str
    direction: str
    offset: str


class Book:
    """Contract codes are compared regardless of case, as sibling calls document it (HTX API docs,
    "Cancel All Orders (isolated)").
    """

    def __init__(self, contracts: Iterable[str] | None) -> None:
        self._any_contract = contracts is None
        self._known = {code.upper() for code in contracts or ()}
        self._unknown: set[str] = set()
        self._orders: dict[str, Order] = {}
        self._errors: defaultdict[str, deque[Refusal]] = defaultdict(deque)
        # 19 digits, more than a double holds: a client that reads ids as numbers is found out.
        self._ids = (str(number) for number in count(1_442_564_726_236_282_883, 4_194_305))

    def place(self, contract_code: str, direction: str, offset: str, n: int) -> tuple[str, ...]:
        if direction not in _DIRECTIONS or offset not in (*_OFFSETS, "both"):
            raise ValueError("direction is buy or sell; offset is open, close or both")
        self._known.add(contract_code.upper())
        self._unknown.discard(contract_code.upper())
        ids = tuple(islice(self._ids, n))
        self._orders |= {one: Order(one, contract_code, direction, offset) for one in ids}
        return ids

    def open_orders(self, contract_code: str | None) -> tuple[Order, ...]:
        orders = tuple(self._orders.values())
        if contract_code is None:
            return orders
        wanted = contract_code.upper()
        return tuple(order for order in orders if order.contract_code.upper() == wanted)

    def unknown_contract(self, contract_code: str) -> None:
        self._unknown.add(contract_code.upper())

    def reject(self, order_id: str, err_code: int, err_msg: str | None, times: int) -> None:
        if order_id not in self._orders:
            raise ValueError("no such open order")
        text = _PER_ORDER_TEXTS.get(err_code, "Simulated failure.") if err_msg is None else err_msg
        self._errors[order_id].extend([Refusal(err_code, text)] * times)

    def cancel_all(self, form: Any) -> dict[str, object] | Refusal:
        """The `data` of the reply to a cancel-all with this body, or why there is none.

        Which of several faults the exchange names first is assumed.
        """
        refusal = self._fault_of(form)
        if refusal is not None:
            return refusal
        filters = [(name, form[name]) for name in ("direction", "offset") if name in form]
        hit = [
            order
            for order in self.open_orders(form["contract_code"])
            if all(getattr(order, name) == value for name, value in filters)
        ]
        return self._cancel(hit) if hit else NOTHING_TO_CANCEL

    def _fault_of(self, form: Any) -> Refusal | None:
        if not isinstance(form, dict):
            return BAD_BODY
        for name in form:
            if name not in _FIELDS:
                return _illegal(name)
        if "direction" in form and form["direction"] not in _DIRECTIONS:
            return WRONG_DIRECTION
        if "offset" in form and form["offset"] not in _OFFSETS:
            return WRONG_OFFSET
        return self._fault_of_contract(form.get("contract_code"))

    def _fault_of_contract(self, contract_code: Any) -> Refusal | None:
        if contract_code is None or contract_code == "":
            return NO_CONTRACT_CODE
        if not isinstance(contract_code, str):
            return _illegal("contract_code")
        return None if self._knows(contract_code) else UNKNOWN_CONTRACT

    def _knows(self, contract_code: str) -> bool:
        code = contract_code.upper()
        if code in self._unknown:
            return False
        return code in self._known or (self._any_contract and bool(_WELL_FORMED.fullmatch(code)))

    def _cancel(self, orders: Iterable[Order]) -> dict[str, object]:
        errors: list[dict[str, object]] = []
        successes: list[str] = []
        for order in orders:
            pending = self._errors[order.order_id]
            if not pending:
                successes.append(order.order_id)
                del self._orders[order.order_id]
                continue
            code, text = pending.popleft()
            errors.append({"order_id": order.order_id, "err_code": code, "err_msg": text})
            if code in _GONE:
                del self._orders[order.order_id]
        return {"errors": errors, "successes": ",".join(successes)}


def _illegal(name: str) -> Refusal:
    return Refusal(1067, f"Illegal parameter {name}.")
