"""An account of the simulated exchange before, during and after its move from v1 to V5."""

import asyncio
from typing import Any

import pytest

from htx_async.simulator import Request, SimulatedExchange
from tests.support.simulated import (
    ask,
    cancel_all,
    document,
    err_code,
    example,
    history,
    listed,
    post,
    signed,
    simulated,
    ticking,
)
from tests.support.simulated import cancel as cancel_on_v1
from tests.support.simulated_v5 import (
    ASSETS,
    CALLS,
    CODE,
    HISTORY,
    OPENS,
    TRAILING,
    cancel,
    codes,
    get,
    ids,
)
from tests.support.virtual import run

FORMS: dict[str, dict[str, Any]] = {
    "cancelall": {"contract_code": CODE},
    "cancel": {"contract_code": CODE, "order_id": "1"},
    "openorders": {"contract_code": CODE},
    "hisorders": {"contract_code": CODE, "status": "0", "trade_type": 0, "create_date": 1},
}
EVERY = [(call, mode) for call in FORMS for mode in ("isolated", "cross")]


def answers(exchange: SimulatedExchange) -> list[Any]:
    """Of every private call of v1."""
    return [document(ask(exchange, call, mode, FORMS[call])) for call, mode in EVERY]


@pytest.mark.parametrize(("refusal", "text"), [(6001, "The Single-Asset"), (4007, "Simulated")])
def test_v5_refuses_an_account_on_v1(refusal: Any, text: str) -> None:
    """Without a move V5's calls answer the refusal chosen and touch nothing; but the asset mode
    tells the old one."""
    exchange, _ = ticking(v5_refusal=refusal)
    (order_id,) = exchange.place(CODE, "buy", "open")
    for call, make in CALLS.items():
        if call != "v5_asset_mode":
            heard = document(make(exchange))
            assert (heard["code"], heard["data"]) == (refusal, None)
            assert heard["message"].startswith(text)
    assert cancel(exchange, order_id)["code"] == refusal
    assert exchange.status_of(order_id) == 2
    assert document(get(exchange, ASSETS))["data"] == {"assets_mode": 0}
    assert exchange.generation == "v1"


def test_signature_and_parameters_do_not_hide_the_refusal() -> None:
    """Not on V5, a wrong signature is told first, and a wrong parameter is not told at all."""
    exchange, _ = ticking()
    assert document(get(exchange, OPENS, SignatureVersion="1"))["code"] == 403
    assert document(get(exchange, OPENS, nonsense="1"))["code"] == 6001


def test_one_book_serves_both_generations() -> None:
    """An order keeps its id over the move, and what one generation cancels the other shows."""
    exchange, _ = ticking()
    before, left = exchange.place(CODE, "buy", "open", 2)
    exchange.move()
    (after,) = exchange.place(CODE, "sell", "close")
    assert exchange.generation == "v5"
    assert ids(exchange) == [before, left, after]
    assert set(listed(exchange)) == {before, left, after}
    assert codes(cancel(exchange, before)) == [(before, 200)]
    assert [row["order_id_str"] for row in history(exchange)] == [before]
    assert cancel_on_v1(exchange, after)["data"]["successes"] == after
    assert ids(exchange, HISTORY) == [before, after]
    assert codes(cancel(exchange, after)) == [(after, 1071)]


def test_a_move_takes_effect_by_the_clock() -> None:
    """With `after` the account is on v1 until then; of two moves the earlier counts."""
    exchange, at = ticking(v1_variant="6023")
    exchange.move(after=2.0)
    exchange.move(after=5.0)
    at(1.9)
    assert cancel_all(exchange)["err_code"] == 1051
    assert document(get(exchange, OPENS, **TRAILING))["code"] == 6001
    at(2.0)
    assert cancel_all(exchange)["err_code"] == 6023
    assert document(get(exchange, OPENS, **TRAILING))["code"] == 200


def test_a_move_needs_no_timer() -> None:
    """In virtual time, on the loop's clock, the account has moved by the time that passed."""

    async def main() -> list[str]:
        exchange = SimulatedExchange(access_key="a", secret_key="b")
        exchange.move(after=1.0)
        seen = [exchange.generation]
        await asyncio.sleep(1.0)
        return [*seen, exchange.generation]

    assert run(main()) == ["v1", "v5"]


def test_a_cancel_on_its_way_survives_the_move() -> None:
    """What v1 accepted takes effect on V5's book, and is being cancelled there until then."""
    exchange, at = ticking(cancel_delay=1.0, v1_variant="1051")
    (order_id,) = exchange.place(CODE, "buy", "open")
    assert cancel_all(exchange)["data"]["successes"] == order_id
    exchange.move()
    assert ids(exchange) == [order_id]
    assert codes(cancel(exchange, order_id)) == [(order_id, 1062)]
    at(1.0)
    assert (ids(exchange), ids(exchange, HISTORY)) == ([], [order_id])


@pytest.mark.parametrize("variant", ["6002", "6023", "4002", "1066", "10000"])
def test_v1_may_refuse_a_moved_account(variant: Any) -> None:
    """Each private call of v1 answers the code chosen, in v1's shape, and touches nothing."""
    exchange, _ = ticking(account="v5", v1_variant=variant)
    (order_id,) = exchange.place(CODE, "buy", "open")
    heard = answers(exchange)
    assert {one["err_code"] for one in heard} == {int(variant)}
    assert {one["status"] for one in heard} == {"error"}
    assert exchange.arrivals[0].err_code == int(variant)
    assert ids(exchange) == [order_id]


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        ("6023", "account_moved_6023"),
        ("4002", "account_moved_4002"),
        ("10000", "interface_offline"),
    ],
)
def test_v1_refuses_in_the_recorded_words(variant: Any, name: str) -> None:
    """What was recorded of a moved account, or of a call that is gone, comes as it was."""
    exchange = simulated(account="v5", v1_variant=variant)
    recorded = {**example(f"v5/{name}"), "ts": 0}
    assert {**cancel_all(exchange), "ts": 0} == recorded


def test_v1_may_be_gone() -> None:
    """With "404" its paths are unknown: HTTP 404 with an integer status, and no limit told."""
    exchange, _ = ticking(account="v5", v1_variant="404")
    for call, mode in EVERY:
        reply = ask(exchange, call, mode, FORMS[call])
        assert (reply.status, document(reply)["status"]) == (404, 404)
        assert "ratelimit-limit" not in reply.headers
    assert exchange.arrivals[0].err_code is None


@pytest.mark.parametrize(("variant", "codes_of_cancelall"), [("1051", 1051), ("empty", None)])
def test_v1_may_deny_that_there_are_orders(variant: Any, codes_of_cancelall: int | None) -> None:
    """Over a full book v1 lists none and cancels none, open or ended, and says ok to the lists."""
    exchange, _ = ticking(v1_variant=variant)
    open_, ended = exchange.place(CODE, "buy", "open", 2)
    cancel_on_v1(exchange, ended)
    exchange.move()
    heard = cancel_all(exchange)
    assert heard.get("err_code") == codes_of_cancelall
    if codes_of_cancelall is None:
        assert heard["data"] == {"errors": [], "successes": ""}
    assert listed(exchange) == listed(exchange, "cross") == history(exchange) == []
    by_id = cancel_on_v1(exchange, open_)["data"]
    assert by_id["successes"] == ""
    assert [one["err_code"] for one in by_id["errors"]] == ([1061] if codes_of_cancelall else [])
    assert ids(exchange) == [open_]
    assert exchange.status_of(open_) == 2


@pytest.mark.parametrize("variant", ["answering", "6002", "1051", "empty", "404"])
def test_a_moved_account_is_still_judged(variant: Any) -> None:
    """Whatever v1 answers, a wrong signature is told first, limits hold, public calls go on."""
    exchange = simulated(account="v5", v1_variant=variant, limit=1)
    wrong = signed(secret="another")
    assert err_code(post(exchange, target=wrong)) == 403
    assert err_code(post(exchange)) == 1032
    assert exchange.handle(Request("GET", "/api/v1/timestamp", {})).status == 200


def test_faults_come_before_the_account() -> None:
    """A fault armed for v1's cancel-all acts on a moved account as on any other."""
    exchange, _ = ticking(account="v5", v1_variant="6002")
    exchange.refuse(1056)
    assert cancel_all(exchange)["err_code"] == 1056
    assert cancel_all(exchange)["err_code"] == 6002


@pytest.mark.parametrize(
    "options",
    [
        {"account": "v3"},
        {"v1_variant": "1052"},
        {"v5_refusal": 6002},
        {"v5_items": "both"},
        {"v5_limit": 0},
    ],
)
def test_an_account_makes_sense(options: dict[str, Any]) -> None:
    """A typing error in the state of an account is found."""
    with pytest.raises(ValueError, match=r"is|needs"):
        simulated(**options)


def test_nobody_moves_in_the_past() -> None:
    """A move before now is a mistake of the test."""
    with pytest.raises(ValueError, match="past"):
        simulated().move(after=-1.0)
