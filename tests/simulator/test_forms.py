"""What the simulated exchange makes of the bodies of its private calls."""

from typing import Any

import pytest

from htx_async.simulator import Request, SimulatedExchange
from tests.support.simulated import ask, document, err_code, path_of, signed, simulated

CODE = "BTC-USDT"
FUTURE = "BTC-USDT-261225"
HISTORY = {"status": "0", "trade_type": 0, "create_date": 1}
NEEDED: dict[str, dict[str, Any]] = {
    "cancelall": {},
    "cancel": {"order_id": "1"},
    "openorders": {},
    "hisorders": HISTORY,
}
CALLS = [(call, mode) for call in NEEDED for mode in ("isolated", "cross")]


def stocked() -> SimulatedExchange:
    """Two isolated orders, two cross orders on the swap, one on a dated future, one on ETH."""
    exchange = simulated()
    exchange.place(CODE, "buy", "close", 2)
    for code, n in ((CODE, 2), (FUTURE, 1), ("ETH-USDT", 1)):
        exchange.place(code, "sell", "open", n, margin_mode="cross")
    return exchange


@pytest.mark.parametrize(("call", "mode"), CALLS)
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"contract_code": CODE, "marginMode": "isolated"}, 1067),
        ({"contract_code": 7}, 1067),
        ({"contract_code": "BTC"}, 1014),
        ({"contract_code": "BTC-USDT-269999"}, 1014),
        ([], 1030),
    ],
)
def test_every_call_names_what_is_wrong(
    call: str, mode: str, change: object, expected: int
) -> None:
    """A field too many, a wrong type, an unknown contract and no object at all are told apart."""
    body = {**NEEDED[call], **change} if isinstance(change, dict) else change
    assert err_code(ask(stocked(), call, mode, body)) == expected


@pytest.mark.parametrize("call", NEEDED)
def test_isolated_calls_need_a_contract(call: str) -> None:
    """Neither nothing, nor a pair, nor a dated future will do in isolated margin."""
    exchange, needed = stocked(), NEEDED[call]
    assert err_code(ask(exchange, call, "isolated", needed)) == 1066
    assert err_code(ask(exchange, call, "isolated", {**needed, "contract_code": ""})) == 1066
    assert err_code(ask(exchange, call, "isolated", {**needed, "pair": CODE})) == 1067
    assert err_code(ask(exchange, call, "isolated", {**needed, "contract_code": FUTURE})) == 1014


@pytest.mark.parametrize(
    ("instrument", "expected"),
    [
        ({}, 1014),
        ({"pair": CODE}, 1014),
        ({"contract_type": "swap"}, 1014),
        ({"contract_code": ""}, 1014),
        ({"pair": "BTC", "contract_type": "swap"}, 1014),
        ({"pair": CODE, "contract_type": "month"}, 1067),
        ({"pair": 1, "contract_type": "swap"}, 1067),
        ({"pair": CODE, "contract_type": "swap"}, 2),
        ({"pair": CODE, "contract_type": "quarter"}, 1),
        ({"pair": "btc-usdt", "contract_type": "quarter"}, 1),
        ({"pair": CODE, "contract_type": "this_week"}, 1051),
        ({"contract_code": FUTURE}, 1),
        ({"contract_code": FUTURE, "pair": "ETH-USDT", "contract_type": "swap"}, 1),
    ],
)
def test_a_cross_cancel_all_names_contract_or_pair_and_type(
    instrument: dict[str, Any], expected: int
) -> None:
    """A contract, which wins, or a pair with a type; neither is 1014, and all else stays open."""
    exchange = stocked()
    heard = document(ask(exchange, "cancelall", "cross", instrument))
    hit = 6 - len(exchange.open_orders())
    assert heard.get("err_code", hit) == expected
    assert hit == (expected if expected < 10 else 0)


@pytest.mark.parametrize(
    ("instrument", "expected"),
    [
        ({}, 4),
        ({"pair": CODE}, 3),
        ({"contract_code": CODE, "pair": "ETH-USDT"}, 2),
        ({"contract_code": FUTURE}, 1),
        ({"pair": "XRP-USDT"}, 0),
        ({"contract_code": ""}, 1014),
        ({"pair": ""}, 1014),
        ({"pair": CODE, "contract_type": "swap"}, 1067),
    ],
)
def test_cross_open_orders_may_be_asked_for_all_at_once(
    instrument: dict[str, Any], expected: int
) -> None:
    """Without contract and pair the list is everything in cross margin, and only that."""
    heard = document(ask(stocked(), "openorders", "cross", instrument))
    told = heard["data"]["total_size"] if "data" in heard else heard["err_code"]
    assert told == expected


def test_cross_history_needs_a_contract_or_a_pair() -> None:
    """There is no history over everything; a pair covers its futures."""
    exchange = stocked()
    for order in exchange.open_orders(margin_mode="cross"):
        exchange.trigger(order.order_id)
    assert err_code(ask(exchange, "hisorders", "cross", HISTORY)) == 1014
    heard = document(ask(exchange, "hisorders", "cross", {**HISTORY, "pair": CODE}))
    assert heard["data"]["total_size"] == 3
    without = {name: value for name, value in HISTORY.items() if name != "trade_type"}
    assert err_code(ask(exchange, "hisorders", "cross", {**without, "pair": CODE})) is None
    assert err_code(ask(exchange, "hisorders", "isolated", {**without, "contract_code": CODE})) == (
        1066
    )


@pytest.mark.parametrize(
    ("call", "change", "expected"),
    [
        ("cancel", {"order_id": None}, 1066),
        ("cancel", {"order_id": ""}, 1066),
        ("cancel", {"order_id": 826052268312821760}, 1067),
        ("cancel", {"order_id": "1,"}, 1067),
        ("cancel", {"order_id": "1, 2"}, 1067),
        ("cancel", {"order_id": "one"}, 1067),
        ("cancel", {"order_id": ",".join(map(str, range(10)))}, None),
        ("cancel", {"order_id": ",".join(map(str, range(11)))}, 1067),
        ("cancel", {"direction": "buy"}, 1067),
        ("openorders", {"trade_type": 17}, None),
        ("openorders", {"trade_type": 5}, 1067),
        ("openorders", {"trade_type": "0"}, 1067),
        ("openorders", {"trade_type": True}, 1067),
        ("openorders", {"page_index": 0}, 1067),
        ("openorders", {"page_index": ""}, 1067),
        ("openorders", {"page_size": 50}, None),
        ("openorders", {"page_size": 51}, 1067),
        ("openorders", {"page_size": 0}, 1067),
        ("openorders", {"status": "0"}, 1067),
        ("hisorders", {"status": None}, 1066),
        ("hisorders", {"status": "4,5,6"}, None),
        ("hisorders", {"status": 6}, None),
        ("hisorders", {"status": "2"}, 1067),
        ("hisorders", {"status": 4.0}, 1067),
        ("hisorders", {"status": False}, 1067),
        ("hisorders", {"create_date": None}, 1066),
        ("hisorders", {"create_date": 0}, 1067),
        ("hisorders", {"create_date": "30"}, 1067),
        ("hisorders", {"create_date": 91}, None),
        ("hisorders", {"sort_by": "update_time"}, None),
        ("hisorders", {"sort_by": "order_id"}, 1067),
        ("hisorders", {"sort_by": ["update_time"]}, 1067),
    ],
)
@pytest.mark.parametrize("mode", ["isolated", "cross"])
def test_fields_are_held_to_their_tables(
    call: str, mode: str, change: dict[str, Any], expected: int | None
) -> None:
    """Documented values pass; any other is refused by a code that says missing or illegal."""
    body = {"contract_code": CODE, **NEEDED[call], **change}
    assert err_code(ask(stocked(), call, mode, body)) == expected


@pytest.mark.parametrize(("call", "mode"), CALLS)
def test_every_private_call_is_judged_by_its_signature(call: str, mode: str) -> None:
    """A signature for another path of the family does not verify, and nothing is done."""
    exchange = stocked()
    path = path_of(call, mode)
    target = signed(path=path + "x").replace(path + "x", path)
    reply = exchange.handle(Request("POST", target, {"Host": "api.hbdm.com"}, b"{}"))
    assert err_code(reply) == 403
    assert len(exchange.open_orders()) == 6


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["BTC-USDT", "ETH-USDT"]),
        ("?business_type=swap", ["BTC-USDT", "ETH-USDT"]),
        ("?business_type=futures", [FUTURE]),
        ("?business_type=all", ["BTC-USDT", FUTURE, "ETH-USDT"]),
        ("?contract_code=eth-usdt", ["ETH-USDT"]),
        ("?contract_code=XRP-USDT", ["XRP-USDT"]),
        (f"?contract_code={FUTURE}&business_type=all", [FUTURE]),
        ("?contract_code=BTC-USDT-270326&business_type=futures", ["BTC-USDT-270326"]),
        (f"?contract_code={FUTURE}", 1014),
        ("?contract_code=DOGE-USDT", 1014),
        ("?contract_code=BTC", 1014),
        ("?business_type=spot", 1067),
        ("?symbol=BTC", 1067),
    ],
)
def test_the_contract_list_is_public_and_of_swaps_unless_asked(
    query: str, expected: object
) -> None:
    """Public; by name, and swaps only unless asked for futures or for all."""
    exchange = stocked()
    exchange.unknown_contract("DOGE-USDT")
    target = "/linear-swap-api/v1/swap_contract_info" + query
    heard = document(exchange.handle(Request("GET", target, {})))
    rows = heard.get("data", [])
    assert heard.get("err_code", [row["contract_code"] for row in rows]) == expected


def test_the_contract_list_follows_the_exchange() -> None:
    """It holds the contracts given and placed on, and loses those that became unknown."""
    exchange = simulated(contracts={"BTC-USDT", FUTURE})
    exchange.place("ETH-USDT", "buy", "open")
    exchange.unknown_contract(CODE)
    target = "/linear-swap-api/v1/swap_contract_info?business_type=all"
    rows = document(exchange.handle(Request("GET", target, {})))["data"]
    assert [row["contract_code"] for row in rows] == [FUTURE, "ETH-USDT"]
    assert [row["support_margin_mode"] for row in rows] == ["cross", "all"]
    assert [row["delivery_time"] for row in rows] == ["1798185600000", ""]
    assert [row["delivery_date"] for row in rows] == ["20261225", ""]
    pairs = [{"pair": CODE, "contract_type": kind} for kind in ("swap", "quarter", "next_quarter")]
    answers = [err_code(ask(exchange, "cancelall", "cross", one)) for one in pairs]
    assert answers == [1014, 1051, 1014]


def test_a_contract_keeps_the_type_it_was_placed_with() -> None:
    """A dated future that was named this week's once is this week's until named again."""
    exchange = simulated()
    exchange.place(FUTURE, "buy", "open", margin_mode="cross", contract_type="this_week")
    exchange.place(FUTURE, "buy", "open", margin_mode="cross")
    assert {one.contract_type for one in exchange.open_orders()} == {"this_week"}
