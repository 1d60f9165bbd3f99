"""What a simulated exchange may be told: wrong settings are refused before anything happens."""

import math
from dataclasses import replace
from typing import Any

import pytest

from htx_async import Direction, MarginMode, Offset
from htx_async.simulator import InvalidSetting, SimulatedExchange
from htx_async.simulator.settings import form, number, text

ORDER: dict[str, Any] = {"contract_code": "BTC-USDT", "direction": "buy", "offset": "open"}

WRONG: list[dict[str, Any]] = [
    {"access_key": 7},
    {"secret_key": b"secret"},
    {"port": -1},
    {"port": 65536},
    {"port": "80"},
    {"contracts": "BTC-USDT"},
    {"contracts": 40},
    {"contracts": ["BTC-USDT", ""]},
    {"contracts": {"BTC-USDT": 1}},
    {"limit": 0},
    {"limit": 2.5},
    {"limit": True},
    {"interval": 0},
    {"interval": math.nan},
    {"v5_limit": -1},
    {"latency": -0.1},
    {"latency": "1"},
    {"cancel_delay": math.inf},
    {"stale_code": 1},
    {"account": "moving"},
    {"v1_variant": "1052"},
    {"v5_page": 0},
    {"v5_lag": -1},
    {"v5_order": "random"},
    {"moves_at": 0},
    {"moves_at": True},
    {"refill": -1},
    {"refill": math.nan},
    {"refill": 1001},
    {"control": "no"},
    {"v5_inclusive": 1},
]


@pytest.mark.parametrize("settings", WRONG, ids=str)
def test_a_setting_that_cannot_be_is_refused_by_name(settings: dict[str, Any]) -> None:
    """By the constructor, as an `InvalidSetting` that says which one it is."""
    (name,) = settings
    with pytest.raises(InvalidSetting) as caught:
        SimulatedExchange(**settings)
    assert isinstance(caught.value, ValueError)
    assert name in str(caught.value)
    assert "secret" not in str(caught.value).replace("secret_key", "")


def test_numbers_are_bounded_and_never_bools() -> None:
    """The lower bound is taken unless it is said to be excluded."""
    assert number("n", 0) == 0.0
    assert number("n", 3, most=3) == 3.0
    for wrong in (True, None, "1", -1, 10**400, math.inf):
        with pytest.raises(InvalidSetting, match="n is a number"):
            number("n", wrong)
    with pytest.raises(InvalidSetting, match="above 0"):
        number("n", 0, above=True)


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("bad_gateway", {"after_work": "no"}),
        ("malform", {"body": b"", "after_work": 1}),
        ("refuse", {"code": 1004, "code_as_text": "no"}),
        ("retire", {"path_gone": None}),
        ("place", {**ORDER, "margin_mode": "Cross"}),
        ("place", {**ORDER, "reduce_only": "no"}),
        ("place", {**ORDER, "volume": "many"}),
        ("place", {**ORDER, "n": -1}),
        ("place", {**ORDER, "n": "2"}),
        ("open_orders", {"margin_mode": "both"}),
        ("ended_orders", {"margin_mode": ""}),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused_by_name(method: str, given: dict[str, Any]) -> None:
    """A slip in a test is found, and no switch takes a word that would be true."""
    exchange = SimulatedExchange()
    name = list(given)[-1]
    with pytest.raises(InvalidSetting, match=f"^{name} is "):
        getattr(exchange, method)(**given)
    assert (exchange.armed, exchange.open_orders()) == (0, ())


def test_orders_are_placed_by_enums_and_by_words() -> None:
    """Either names the same order, and the margin mode of a report finds it."""
    exchange = SimulatedExchange(clock=lambda: 0.0)
    exchange.place("BTC-USDT", Direction.SELL, Offset.CLOSE, margin_mode=MarginMode.CROSS)
    exchange.place("BTC-USDT", "sell", "close", margin_mode="cross")
    first, second = exchange.open_orders("BTC-USDT", MarginMode.CROSS)
    assert replace(first, order_id="", query_id=0) == replace(second, order_id="", query_id=0)
    assert {type(first.direction), type(first.offset), type(first.margin_mode)} == {str}


def test_a_form_has_its_fields_and_no_others() -> None:
    """What is missing, unknown or of another kind is named."""
    assert form({"a": "1"}, {"a": text}, ("a",)) == {"a": "1"}
    for given, told in (([], "object"), ({"b": "1"}, "'b'"), ({}, "a is missing"), ({"a": 1}, "a")):
        with pytest.raises(InvalidSetting, match=told):
            form(given, {"a": text}, ("a",))
