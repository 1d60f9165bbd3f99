"""A bounded mix of faults, drawn from a seed, for a rehearsal."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Literal

from htx_async.simulator.endpoints import Call

if TYPE_CHECKING:
    from htx_async.simulator.exchange import SimulatedExchange
    from htx_async.simulator.faults import Which
    from htx_async.simulator.orders import Order

Course = Literal["v1", "v5", "moving"]

_LATE = 0.8

_Arm = Callable[["SimulatedExchange", "Which"], None]

# What one cancel request meets.
_OF_REQUESTS: dict[str, _Arm] = {
    "answer lost, work done": lambda exchange, which: exchange.lose_after_work(**which),
    "connection lost, nothing done": lambda exchange, which: exchange.lose_before_work(**which),
    f"answer {_LATE:g} s late": lambda exchange, which: exchange.late(_LATE, **which),
    "refused for the rate": lambda exchange, which: exchange.refuse(1032, "Too many.", **which),
    "502 page, nothing done": lambda exchange, which: exchange.bad_gateway(**which),
    "answer cut short, work done": lambda exchange, which: exchange.truncate(**which),
}

# What the cancel of one order meets.
_OF_ORDERS = {"1 order refused once": 1048, "1 order triggered meanwhile": 1063}

KINDS = (*_OF_REQUESTS, *_OF_ORDERS)
"""Each is drawn once, or fewer where there are fewer contracts with orders."""


def arm(exchange: "SimulatedExchange", seed: int, course: Course) -> tuple[str, ...]:
    """Arm each of `KINDS` once, for one contract each, and say which met which: the same for the
    same seed, contracts and orders.

    `course`: the generation that the cancels will go to; V5's name many contracts at once, so
    there what a request meets is bound to none. While the account moves every other one is for V5.
    """
    # No secret hangs on it.
    draw = Random(seed)  # noqa: S311 - see above
    orders = exchange.open_orders()
    contracts = list(dict.fromkeys(order.contract_code for order in orders))
    draw.shuffle(contracts)
    kinds = draw.sample(KINDS, len(KINDS))
    told = []
    for number, (kind, contract) in enumerate(zip(kinds, contracts, strict=False)):
        if kind in _OF_ORDERS:
            of_contract = [order for order in orders if order.contract_code == contract]
            told.append(_on_order(exchange, kind, draw, of_contract))
            continue
        is_for_v5 = course == "v5" or (course == "moving" and number % 2 == 1)
        which: Which = {"call": Call.V5_CANCEL} if is_for_v5 else {"contract_code": contract}
        _OF_REQUESTS[kind](exchange, which)
        told.append(f"{kind}: {'a cancel on V5' if is_for_v5 else contract}")
    return tuple(told)


def _on_order(
    exchange: "SimulatedExchange", kind: str, draw: Random, orders: "Sequence[Order]"
) -> str:
    order = draw.choice(orders)
    exchange.reject_order(order.order_id, _OF_ORDERS[kind])
    return f"{kind}: {order.contract_code}, {order.margin_mode} margin"
