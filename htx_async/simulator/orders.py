"""A trailing order as the exchange holds it, and as its replies show it, without I/O."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from htx_async.simulator.contracts import SWAP, pair_of
from htx_async.simulator.endpoints import MarginMode

# HTX API docs, "[Isolated] Get History Trailing Orders".
READY, TRIGGERED, FAILED, CANCELLED = 2, 4, 5, 6
ENDED = (TRIGGERED, FAILED, CANCELLED)

DIRECTIONS = ("buy", "sell")
OFFSETS = ("open", "close")

# HTX API docs, "[Isolated] Current unfilled trailing order acquisition"; 0 means all.
TRADE_TYPES = {
    ("buy", "open"): 1,
    ("sell", "open"): 2,
    ("buy", "close"): 3,
    ("sell", "close"): 4,
    ("buy", "both"): 17,
    ("sell", "both"): 18,
}

NO_RELATION = "-1"

TRAILING = "trailing_stop"
"""V5's word for what kind of order a trailing one is."""


class Moment(NamedTuple):
    """`at`: seconds on the exchange's clock, for what happens when. `now`: Unix seconds, for what
    is told of it.
    """

    at: float
    now: float

    @property
    def ms(self) -> int:
        """Unix milliseconds."""
        return int(self.now * 1000)

    def later(self, seconds: float) -> "Moment":
        """On both clocks."""
        return Moment(self.at + seconds, self.now + seconds)


@dataclass(frozen=True, slots=True)
class Order:
    """One trailing order. Two are equal if they are the same order, whatever became of it.

    `direction`: buy or sell. `offset`: open, close, or both for a one-way order. `volume`: in
    contracts. `callback_rate`: a share of the price, 0.05 for 5 %. `active_price`: in USDT.
    `reduce_only`: 0 or 1. `contract_type`: swap, or how a dated future is known. `status`: 2 waits,
    and an order being cancelled still does; 4 triggered, 5 failed as it triggered, 6 cancelled.
    `created_at` and `ended_at`: Unix ms. `relation_order_id`: the limit order that it became, "-1"
    until then. `fail_code`: why it failed. `client_order_id`: known to V5 only. `query_id`: the
    number of its row in V5's lists. `v5_type`: of which kind V5 says it is; v1's trailing calls
    know trailing ones only.
    """

    order_id: str
    contract_code: str
    direction: str
    offset: str
    margin_mode: MarginMode = "isolated"
    status: int = field(default=READY, compare=False)
    created_at: int = field(default=0, compare=False)
    ended_at: int | None = field(default=None, compare=False)
    contract_type: str = field(default=SWAP, compare=False)
    volume: Decimal = field(default=Decimal(1), compare=False)
    callback_rate: Decimal = field(default=Decimal("0.05"), compare=False)
    active_price: Decimal = field(default=Decimal(50_000), compare=False)
    reduce_only: int = field(default=0, compare=False)
    relation_order_id: str = field(default=NO_RELATION, compare=False)
    fail_code: int | None = field(default=None, compare=False)
    client_order_id: str | None = field(default=None, compare=False)
    query_id: int = field(default=0, compare=False)
    v5_type: str = field(default=TRAILING, compare=False)

    @property
    def pair(self) -> str:
        """`BTC-USDT`, for a dated future too."""
        return pair_of(self.contract_code)

    @property
    def trade_type(self) -> int:
        """The number by which v1's lists are asked for orders like this one."""
        return TRADE_TYPES[self.direction, self.offset]


def open_row(order: Order) -> dict[str, object]:
    """A row of openorders, with the extra `trade_partition` of live replies in cross margin.

    As in the docs' own examples the number `order_id` is only as exact as a double;
    `order_id_str` is exact. Assumed: leverage, order price type and source, the same for all.
    """
    symbol, _, quote = order.pair.partition("-")
    row: dict[str, object] = {
        "symbol": symbol,
        "contract_code": order.contract_code,
        "volume": order.volume,
        "order_type": 1,
        "direction": order.direction,
        "offset": order.offset,
        "lever_rate": 5,
        "order_id": as_a_double(order.order_id),
        "order_id_str": order.order_id,
        "order_source": "api",
        "created_at": order.created_at,
        "order_price_type": "formula_price",
        "status": order.status,
        "callback_rate": order.callback_rate,
        "active_price": order.active_price,
        "is_active": int(order.status in (TRIGGERED, FAILED)),
        "margin_mode": order.margin_mode,
        "margin_account": order.pair,
        "reduce_only": order.reduce_only,
    }
    if order.margin_mode == "cross":
        row |= {
            "margin_account": quote,
            "contract_type": order.contract_type,
            "pair": order.pair,
            "business_type": "swap" if order.contract_type == SWAP else "futures",
            "trade_partition": quote,
        }
    return row


def ended_row(order: Order) -> dict[str, object]:
    """A row of hisorders.

    Assumed: `update_time` is when the order ended; `canceled_at` is null unless it was cancelled;
    a triggered order did so at its activation price, in full.
    """
    met = order.status in (TRIGGERED, FAILED)
    price = order.active_price if met else None
    sign = 1 if order.direction == "buy" else -1
    return {
        **open_row(order),
        "update_time": order.ended_at,
        "canceled_at": order.ended_at if order.status == CANCELLED else None,
        "fail_code": order.fail_code,
        "fail_reason": None if order.fail_code is None else "Simulated failure.",
        "market_limit_price": price,
        "formula_price": price and price * (1 + sign * order.callback_rate),
        "real_volume": order.volume if order.status == TRIGGERED else Decimal(0),
        "triggered_price": price,
        "relation_order_id": order.relation_order_id,
    }


def as_a_double(order_id: str) -> int:
    """The number to which JavaScript rounds an id: the fewest digits that name its double."""
    return int(Decimal(repr(float(order_id))))
