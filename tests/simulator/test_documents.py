"""The simulated exchange's replies, held against the published examples."""

import json
from decimal import Decimal
from typing import Any

import pytest

from htx_async.simulator import Request, SimulatedExchange
from tests.support.paths import DATA
from tests.support.simulated import (
    ask,
    differences,
    document,
    err_code,
    example,
    post,
    signed,
    simulated,
)

FUTURE = "BTC-USDT-211231"


def stocked() -> tuple[SimulatedExchange, tuple[str, ...], tuple[str, ...]]:
    """An exchange with orders like those of the examples: isolated ids, cross ids."""
    exchange = simulated()
    isolated = exchange.place("BTC-USDT", "buy", "close", 3)
    cross = exchange.place("BTC-USDT", "buy", "close", 2, margin_mode="cross")
    future = exchange.place(FUTURE, "buy", "open", margin_mode="cross")
    return exchange, isolated, cross + future


@pytest.mark.parametrize("mode", ["isolated", "cross"])
@pytest.mark.parametrize("call", ["cancelall", "cancel", "openorders", "hisorders"])
def test_the_published_requests_are_understood(call: str, mode: str) -> None:
    """No example of the docs is refused for its form."""
    exchange, *_ = stocked()
    reply = ask(exchange, call, mode, example(f"{call}-{mode}.request"))
    assert document(reply)["status"] == "ok"


@pytest.mark.parametrize("mode", ["isolated", "cross"])
def test_a_cancel_all_is_as_published(mode: str) -> None:
    """The reply has the published keys and types."""
    exchange, *_ = stocked()
    heard = document(ask(exchange, "cancelall", mode, example(f"cancelall-{mode}.request")))
    assert not differences(heard, example(f"cancelall-{mode}.reply"))
    assert not differences(heard, example("cancelall-live.reply"))


@pytest.mark.parametrize("mode", ["isolated", "cross"])
def test_a_cancel_by_ids_is_as_published(mode: str) -> None:
    """One id that is there and one that is not answer with the published keys and types."""
    exchange, *placed = stocked()
    there = placed[mode == "cross"][0]
    wanted = {"contract_code": "BTC-USDT", "order_id": f"{there},826052268312821761"}
    heard = document(ask(exchange, "cancel", mode, wanted))
    assert not differences(heard, example(f"cancel-{mode}.reply"))
    assert not differences(heard, example("cancel-missing-live.reply"))
    assert heard["data"]["errors"][0]["err_code"] == 1061


@pytest.mark.parametrize(
    ("mode", "code"), [("isolated", "BTC-USDT"), ("cross", FUTURE)], ids=["isolated", "cross"]
)
def test_orders_are_listed_as_published(mode: str, code: str) -> None:
    """Rows of openorders and, once cancelled, of hisorders have the published keys and types."""
    exchange, *_ = stocked()
    heard = document(ask(exchange, "openorders", mode, {"contract_code": code}))
    assert not differences(heard, example(f"openorders-{mode}.reply"))
    ask(exchange, "cancelall", mode, {"contract_code": code})
    wanted = {"contract_code": code, "status": "0", "trade_type": 0, "create_date": 30}
    heard = document(ask(exchange, "hisorders", mode, wanted))
    assert heard["data"]["orders"]
    assert not differences(heard, example(f"hisorders-{mode}.reply"))


def test_a_cross_row_is_as_recorded_live() -> None:
    """A row has the fields of the live one, `trade_partition` too, and decimals of 18 places."""
    exchange, *_ = stocked()
    reply = ask(exchange, "openorders", "cross", {})
    rows = document(reply)["data"]["orders"]
    live = example("openorders-cross-live.row")
    assert all(row.keys() == live.keys() for row in rows)
    assert b'"volume":1.000000000000000000,' in reply.body
    assert b'"active_price":50000.000000000000000000,' in reply.body
    exact = json.loads(reply.body, parse_float=Decimal)["data"]["orders"][0]
    assert exact["callback_rate"] == Decimal("0.05")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("BTC-USDT", {"business_type": "swap", "pair": "BTC-USDT", "contract_type": "swap"}),
        (FUTURE, {"business_type": "futures", "pair": "BTC-USDT", "contract_type": "quarter"}),
    ],
)
def test_the_values_of_a_cross_row_fit_its_contract(code: str, expected: dict[str, str]) -> None:
    """Pair, business type, contract type and margin account tell a future from a swap."""
    exchange, *_ = stocked()
    row = document(ask(exchange, "openorders", "cross", {"contract_code": code}))["data"]["orders"]
    assert row[0].items() >= {"symbol": "BTC", "margin_account": "USDT", **expected}.items()


def test_ids_are_rounded_as_in_the_published_examples() -> None:
    """`order_id` is what is left of the exact id in a double, beside the exact `order_id_str`."""
    examples = [
        example(f"{name}-{mode}.reply")["data"]["orders"][0]
        for name in ("openorders", "hisorders")
        for mode in ("isolated", "cross")
    ]
    rounded = [int(Decimal(repr(float(row["order_id_str"])))) for row in examples]
    assert rounded == [row["order_id"] for row in examples]
    exchange, isolated, _ = stocked()
    rows = document(ask(exchange, "openorders", "isolated", {"contract_code": "BTC-USDT"}))
    for row in rows["data"]["orders"]:
        assert row["order_id_str"] in isolated
        assert row["order_id"] == int(Decimal(repr(float(row["order_id_str"]))))
        assert str(row["order_id"]) != row["order_id_str"]


def test_the_contract_list_is_as_recorded() -> None:
    """A row of swap_contract_info has the recorded keys and types."""
    exchange, *_ = stocked()
    reply = exchange.handle(Request("GET", "/linear-swap-api/v1/swap_contract_info", {}))
    (row,) = document(reply)["data"]
    assert not differences(row, example("contract-info.row"))
    assert b'"contract_size":0.001000000000000000,' in reply.body


@pytest.mark.parametrize(
    ("name", "shape", "code", "status"),
    [
        ("error-1-no-orders", 1, 1051, 200),
        ("error-2-word-code", 2, "invalid-parameter", 200),
        ("error-3-maintenance", 3, 0, 200),
        ("error-4-v5", 4, 1067, 200),
        ("error-5-unknown-path", 5, 404, 404),
        ("error-signature", 1, 403, 200),
    ],
)
def test_errors_are_as_recorded(name: str, shape: Any, code: int | str, status: int) -> None:
    """Each shape of error has the recorded keys and types; V5 adds two that only it has."""
    exchange = simulated()
    exchange.refuse(code, "text", shape=shape, status=status)
    theirs = example(f"{name}.reply")
    for key in ("args", "unknownException"):
        theirs.pop(key, None)
    assert not differences(document(post(exchange)), theirs)


def test_its_own_errors_are_as_recorded() -> None:
    """Nothing to cancel, a wrong key and an unknown path answer in the recorded words."""
    exchange = simulated()
    assert document(post(exchange)).items() >= {"err_code": 1051, "status": "error"}.items()
    wrong = post(exchange, target=signed(SignatureMethod="HmacSHA512"))
    assert document(wrong)["err_msg"] == example("error-signature.reply")["err_msg"]
    lost = exchange.handle(Request("GET", "/linear-swap-api/v1/nope", {}))
    assert not differences(document(lost), example("error-5-unknown-path.reply"))
    assert err_code(post(exchange, b"")) == 1030


def test_every_file_is_on_the_list() -> None:
    """The README of the folder names each file there, and no other."""
    told = (DATA / "README.md").read_text()
    files = {
        str(file.relative_to(DATA)) for file in (*DATA.glob("*.json"), *DATA.glob("v5/*.json"))
    }
    named = {word.strip("`") for word in told.replace(",", " ").split() if word.endswith(".json`")}
    assert named == files
