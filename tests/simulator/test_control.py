"""The control path: what programs on this machine may do to a simulation, and who may not."""

import json
import math
from typing import Any

import aiohttp
import pytest

from htx_async.simulator import Request, SimulatedExchange
from htx_async.simulator.control import Control, is_control
from tests.support.simulated import CODE, SECRET, cancel_all, post, simulated, ticking

HERE = {"Host": "127.0.0.1:8080"}
PLACE = {"contract_code": CODE}


def asked(
    exchange: SimulatedExchange,
    method: str,
    path: str = "",
    body: object = None,
    *,
    peer: str = "127.0.0.1",
    headers: dict[str, str] = HERE,
) -> tuple[int, Any]:
    """Status and document of one command."""
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = Control(exchange).handle(Request(method, f"/_control{path}", headers, raw), peer)
    assert reply.headers["Content-Type"] == "application/json"
    return reply.status, json.loads(reply.body)


def test_orders_are_placed_and_the_book_is_read_back() -> None:
    """With any field of an order; ids are those of the book, and money is text."""
    exchange = simulated(contracts=[CODE])
    status, told = asked(exchange, "POST", "/orders", {**PLACE, "n": 3})
    assert (status, told["listed_now"]) == (200, False)
    assert told["order_ids"] == [order.order_id for order in exchange.open_orders()]
    cross = {"margin_mode": "cross", "direction": "buy", "offset": "open", "volume": 0.5}
    _, told = asked(exchange, "POST", "/orders", {"contract_code": "NEW-USDT", **cross})
    assert told["listed_now"]
    _, everything = asked(exchange, "GET", "/orders")
    assert len(everything["orders"]) == 4
    _, some = asked(exchange, "GET", "/orders?margin_mode=cross")
    (order,) = some["orders"]
    wanted = {"contract_code": "NEW-USDT", "direction": "buy", "volume": "0.5", "status": 2}
    assert wanted.items() <= order.items()
    cancel_all(exchange)
    _, ended = asked(exchange, "GET", f"/orders?contract_code={CODE}&state=ended")
    assert {order["status"] for order in ended["orders"]} == {6}


def test_a_contract_that_does_not_exist_is_told_rather_than_empty() -> None:
    """Where the book is read and where a fault is armed; one that has orders, or is known in any
    case, is no such contract, and without a list of contracts every one exists."""
    exchange = simulated(contracts=[CODE])
    refusal = asked(exchange, "GET", "/orders?contract_code=NOPE-USDT")
    assert refusal == (400, {"error": "there is no contract NOPE-USDT here"})
    fault = {"kind": "late", "seconds": 1, "contract_code": "NOPE-USDT"}
    assert asked(exchange, "POST", "/faults", fault)[0] == 400
    assert exchange.armed == 0
    known = f"/orders?contract_code={CODE.lower()}"
    assert asked(exchange, "GET", known) == (200, {"orders": []})
    assert asked(exchange, "GET", f"{known}&state=ended") == (200, {"orders": []})
    exchange.place(CODE, "sell", "close")
    exchange.unknown_contract(CODE)
    assert len(asked(exchange, "GET", known)[1]["orders"]) == 1
    assert asked(simulated(), "GET", "/orders?contract_code=NOPE-USDT")[0] == 200


def test_the_state_tells_what_there_is_and_was_and_no_key() -> None:
    """Requests, orders by mode, faults, outage, refill; arrivals without their queries."""
    exchange, at = ticking(contracts=[CODE], refill=2)
    exchange.place(CODE, "sell", "close", 2)
    cancel_all(exchange)
    assert asked(exchange, "POST", "/outage", {"seconds": 3, "kind": "lost"})[0] == 200
    assert asked(exchange, "POST", "/faults", {"kind": "truncate", "times": 2})[0] == 200
    at(1)
    _, state = asked(exchange, "GET")
    assert state == {
        "generation": "v1",
        "contracts": [CODE],
        "open": {"isolated": 2, "cross": 0},
        "ended": 2,
        "requests": 1,
        "busiest_second": 1,
        "faults": 2,
        "outage_left": 2.0,
        "refill": 2.0,
    }
    _, told = asked(exchange, "GET", "/arrivals")
    assert [one["contract_code"] for one in told["arrivals"]] == [CODE]
    shown = json.dumps([state, told])
    assert "Signature" not in shown
    assert SECRET not in shown


FAULTS: list[dict[str, Any]] = [
    {"kind": "late", "seconds": 2},
    {"kind": "lose_before_work"},
    {"kind": "lose_after_work", "contract_code": CODE},
    {"kind": "truncate", "times": 3},
    {"kind": "bad_gateway", "after_work": True},
    {"kind": "malform", "body": "<html>", "status": 503, "call": "any"},
    {"kind": "refuse", "code": 1032, "message": "Too many.", "shape": 2, "status": 429},
    {"kind": "contradict", "code": 1051, "other": 6002, "after_work": True},
    {"kind": "maintain"},
    {"kind": "retire", "path_gone": True},
    {"kind": "redirect", "status": 302, "location": "https://elsewhere.example/"},
    {"kind": "too_many", "retry_after": 2, "body": "slow down"},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault["kind"]))
def test_every_kind_of_fault_is_met_by_the_next_cancel(fault: dict[str, Any]) -> None:
    """Or forgotten before."""
    exchange = simulated(contracts=[CODE])
    exchange.place(CODE, "sell", "close")
    usual = post(simulated())
    status, told = asked(exchange, "POST", "/faults", fault)
    assert (status, told) == (200, {"faults": fault.get("times", 1)})
    reply = post(exchange)
    assert (reply.status, reply.fate, reply.delay, reply.body) != (
        usual.status,
        "answered",
        0,
        usual.body,
    )
    assert exchange.armed == fault.get("times", 1) - 1
    assert asked(exchange, "DELETE", "/faults") == (200, {"faults": 0})
    assert exchange.armed == 0


def test_orders_are_refused_triggered_and_moved() -> None:
    """One order's refusal, its trigger, and the account's move."""
    exchange, at = ticking(contracts=[CODE])
    refused, triggered = exchange.place(CODE, "sell", "close", 2)
    assert asked(exchange, "POST", "/rejections", {"order_id": refused, "err_code": 1048})[0] == 200
    assert asked(exchange, "POST", "/triggers", {"order_id": triggered, "after": 1})[0] == 200
    at(2)
    assert [one["order_id"] for one in cancel_all(exchange)["data"]["errors"]] == [refused]
    assert exchange.status_of(triggered) == 4
    assert asked(exchange, "POST", "/move", {"after": 3}) == (200, {"generation": "v1"})
    at(5)
    assert exchange.generation == "v5"
    assert asked(exchange, "POST", "/refill", {"rate": 0.5}) == (200, {"refill": 0.5})


WRONG: list[tuple[str, str, object]] = [
    ("POST", "/orders", None),
    ("POST", "/orders", b"{"),
    ("POST", "/orders", b"[" * 100_000),
    ("POST", "/orders", [PLACE]),
    ("POST", "/orders", {}),
    ("POST", "/orders", {"contract_code": "BTCUSDT"}),
    ("POST", "/orders", {"contract_code": "BTC-USDT\u0007"}),
    ("POST", "/orders", {"contract_code": "B" * 70 + "-USDT"}),
    ("POST", "/orders", {**PLACE, "n": 0}),
    ("POST", "/orders", {**PLACE, "n": 1001}),
    ("POST", "/orders", {**PLACE, "n": 1.0}),
    ("POST", "/orders", {**PLACE, "n": True}),
    ("POST", "/orders", {**PLACE, "direction": "SELL"}),
    ("POST", "/orders", {**PLACE, "margin_mode": "both"}),
    ("POST", "/orders", {**PLACE, "volume": math.nan}),
    ("POST", "/orders", {**PLACE, "volume": 0}),
    ("POST", "/orders", {**PLACE, "contract_type": "quarter"}),
    ("POST", "/orders", {**PLACE, "client_order_id": "a", "n": 2}),
    ("POST", "/orders", {**PLACE, "color": "red"}),
    ("GET", "/orders?state=all", None),
    ("GET", "/orders?page=2", None),
    ("GET", "?verbose=1", None),
    ("POST", "/faults", {"kind": "disarm"}),
    ("POST", "/faults", {"kind": "_arm"}),
    ("POST", "/faults", {"kind": ["late"]}),
    ("POST", "/faults", {"kind": "late"}),
    ("POST", "/faults", {"kind": "late", "seconds": 1, "times": 0}),
    ("POST", "/faults", {"kind": "maintain", "call": "no such row"}),
    ("POST", "/faults", {"kind": "redirect", "status": 302, "location": "/\r\nX: 1"}),
    ("POST", "/faults", {"kind": "malform", "body": 1}),
    ("POST", "/outage", {"kind": "reset"}),
    ("POST", "/outage", {"seconds": 1e9}),
    ("POST", "/refill", {"rate": -1}),
    ("POST", "/move", {"after": "now"}),
    ("POST", "/triggers", {"order_id": "7"}),
    ("POST", "/rejections", {"order_id": "7", "err_code": 1061}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRONG, ids=str)
def test_what_cannot_be_is_told_and_changes_nothing(method: str, path: str, body: object) -> None:
    """400, and why."""
    exchange = simulated(contracts=[CODE])
    before = asked(exchange, "GET")
    status, told = asked(exchange, method, path, body)
    assert status == 400
    assert set(told) == {"error"}
    assert asked(exchange, "GET") == before


def test_paths_and_methods_that_there_are_not_are_told() -> None:
    """404 with those that there are, 405 with what is asked how."""
    exchange = simulated()
    status, told = asked(exchange, "GET", "/order")
    assert (status, "/_control/orders" in told["paths"]) == (404, True)
    assert asked(exchange, "PUT", "/orders")[0] == 405
    assert asked(exchange, "GET", "/orders/") == (200, {"orders": []})
    assert not is_control("/_controls")
    assert not is_control("/v5/_control")


FOREIGN: list[dict[str, Any]] = [
    {"peer": "10.0.0.5"},
    {"peer": ""},
    {"peer": "::ffff:10.0.0.5"},
    {"headers": {**HERE, "Origin": "http://127.0.0.1:8080"}},
    {"headers": {**HERE, "origin": "null"}},
    {"headers": {"Host": "rebound.example:8080"}},
    {"headers": {"Host": "127.0.0.1.rebound.example"}},
    {"headers": {"Host": "localhost:80@rebound.example"}},
    {"headers": {}},
]


@pytest.mark.parametrize("way", FOREIGN, ids=str)
def test_web_pages_and_other_machines_may_neither_ask_nor_tell(way: dict[str, Any]) -> None:
    """An Origin, another Host (a name that was bound to this machine anew), another peer: 403."""
    exchange = simulated(contracts=[CODE])
    for method, path, body in (("GET", "", None), ("POST", "/orders", PLACE)):
        status, told = asked(exchange, method, path, body, **way)
        assert (status, set(told)) == (403, {"error"})
    assert not exchange.open_orders()
    for host in ("localhost", "LOCALHOST:1", "[::1]:8080"):
        assert asked(exchange, "GET", headers={"Host": host}, peer="::1")[0] == 200


async def test_it_is_served_beside_the_exchange_and_is_no_part_of_it() -> None:
    """Over HTTP, unsigned, in an outage with a slow exchange, and off the record."""
    async with (
        SimulatedExchange(control=True, latency=60.0, contracts=[CODE]) as exchange,
        aiohttp.ClientSession(exchange.url) as http,
    ):
        exchange.outage(60)
        async with http.post("/_control/orders", json=PLACE) as reply:
            assert (reply.status, len((await reply.json())["order_ids"])) == (200, 1)
        async with http.get("/_control", headers={"Origin": exchange.url}) as reply:
            assert reply.status == 403
        assert not exchange.arrivals
        assert len(exchange.open_orders()) == 1


async def test_without_being_asked_for_it_is_a_path_that_there_is_not(
    exchange: SimulatedExchange,
) -> None:
    """404, as any other path of the exchange's that does not exist."""
    async with aiohttp.ClientSession(exchange.url) as http:
        for method in ("GET", "POST"):
            async with http.request(method, "/_control") as reply:
                assert reply.status == 404
                assert (await reply.json(content_type=None))["error"] == "Not Found"
