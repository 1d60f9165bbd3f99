"""Requests to a simulated exchange over V5, and what comes back."""

from collections.abc import Callable
from typing import Any

from htx_async.simulator import Reply, Request, SimulatedExchange
from tests.support.simulated import document, post, signed

CODE, OTHER = "BTC-USDT", "ETH-USDT"
OPENS, HISTORY, ORDER = "/v5/algo/order/opens", "/v5/algo/order/history", "/v5/algo/order"
CANCEL = "/v5/algo/cancel_orders"
ASSETS, POSITIONS = "/v5/account/asset_mode", "/v5/position/mode"
TRAILING: dict[str, Any] = {"type": "trailing_stop"}


def get(exchange: SimulatedExchange, path: str, **params: Any) -> Reply:
    """A signed GET, its parameters signed as well."""
    target = signed(path=path, method="GET", **params)
    return exchange.handle(Request("GET", target, {"Host": "api.hbdm.com"}))


def rows(exchange: SimulatedExchange, path: str = OPENS, **params: str) -> list[Any]:
    heard = document(get(exchange, path, **TRAILING, **params))
    assert heard["code"] == 200, heard
    found: list[Any] = heard["data"]
    return found


def ids(exchange: SimulatedExchange, path: str = OPENS, **params: str) -> list[str]:
    return [row["algo_id"] for row in rows(exchange, path, **params)]


def cancel(exchange: SimulatedExchange, *order_ids: str, code: str = CODE) -> Any:
    return document(send(exchange, [{"contract_code": code, "algo_id": one} for one in order_ids]))


def send(exchange: SimulatedExchange, body: object) -> Reply:
    return post(exchange, body, signed(path=CANCEL))


def codes(heard: Any) -> list[tuple[str, int]]:
    return [(one["algo_id"], one["code"]) for one in heard["data"]]


CALLS: dict[str, Callable[[SimulatedExchange], Reply]] = {
    "v5_opens": lambda exchange: get(exchange, OPENS, **TRAILING),
    "v5_history": lambda exchange: get(exchange, HISTORY, **TRAILING),
    "v5_order": lambda exchange: get(exchange, ORDER, **TRAILING, algo_id="1"),
    "v5_cancel": lambda exchange: send(exchange, [{"contract_code": CODE, "algo_id": "1"}]),
    "v5_asset_mode": lambda exchange: get(exchange, ASSETS),
    "v5_position_mode": lambda exchange: get(exchange, POSITIONS),
}
