"""A trailing order as V5's replies show it, without I/O.

Fields and formats: the row that ccxt recorded live in 2026-06, whose numbers and times are
strings; the fields of a triggered order: HTX's Java SDK, HuobiRDCenter/huobi_java_contract.
"""

from decimal import Decimal

from htx_async.simulator.orders import CANCELLED, FAILED, READY, TRIGGERED, Order

STATES = {READY: "active", TRIGGERED: "effective", FAILED: "failed", CANCELLED: "canceled"}

# HTX V5 docs, "Place Order": the pairs of hedge mode, for ordinary orders; a one-way account's
# orders have "both".
_POSITION_SIDES = {
    ("buy", "open"): "long",
    ("sell", "open"): "short",
    ("sell", "close"): "long",
    ("buy", "close"): "short",
}


def position_side(order: Order) -> str:
    """Assumed: that trailing orders are mapped as ordinary ones, as the live row agrees."""
    return _POSITION_SIDES.get((order.direction, order.offset), "both")


def v5_row(order: Order) -> dict[str, object]:
    """A row of opens, history and the query of one order.

    Assumed: an order that closes in hedge mode is reduce-only, as the live one is; it keeps its
    row id when it has ended; `updated_time` is then when it ended; a triggered order met its
    activation price.
    """
    row: dict[str, object] = {
        "id": str(order.query_id),
        "volume": _plain(order.volume),
        "type": order.v5_type,
        "state": STATES[order.status],
        "side": order.direction,
        "algo_id": order.order_id,
        "contract_code": order.contract_code,
        "position_side": position_side(order),
        "margin_mode": order.margin_mode,
        "created_time": str(order.created_at),
        "updated_time": str(order.ended_at or order.created_at),
        "order_source": "api",
        "active_price": _plain(order.active_price),
        "callback_rate": _plain(order.callback_rate),
        "reduce_only": bool(order.reduce_only) or order.offset == "close",
        "order_price_type": "formula_price",
    }
    if order.client_order_id is not None:
        row["algo_client_order_id"] = order.client_order_id
    if order.status in (TRIGGERED, FAILED):
        row |= {
            "actual_volume": _plain(order.volume) if order.status == TRIGGERED else "0",
            "actual_price": _plain(order.active_price),
            "actual_time": str(order.ended_at),
            "relation_order_id": order.relation_order_id,
        }
    return row


def _plain(number: Decimal) -> str:
    return f"{number:f}"
