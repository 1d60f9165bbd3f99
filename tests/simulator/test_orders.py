"""What becomes of orders on the simulated exchange, and when: cancels, triggers, history."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from htx_async.simulator import Order, SimulatedExchange
from tests.support.simulated import (
    CODE,
    NOON,
    ask,
    cancel,
    cancel_all,
    document,
    err_code,
    history,
    listed,
    post,
    simulated,
    ticking,
)
from tests.support.virtual import run

MODES = ("isolated", "cross")


def codes(heard: Any) -> list[tuple[str, int]]:
    return [(one["order_id"], one["err_code"]) for one in heard["data"]["errors"]]


def test_each_path_sees_its_own_margin_mode() -> None:
    """Lists, cancels and cancel-alls of one mode do not know of the other's orders."""
    exchange = simulated()
    placed = {mode: exchange.place(CODE, "buy", "open", margin_mode=mode)[0] for mode in MODES}  # type: ignore[arg-type]  # the tuple holds both literals
    for mode, other in (MODES, MODES[::-1]):
        assert listed(exchange, mode) == [placed[mode]]
        assert codes(cancel(exchange, placed[other], mode=mode)) == [(placed[other], 1061)]
    assert cancel_all(exchange, "cross")["data"]["successes"] == placed["cross"]
    assert [one.order_id for one in exchange.open_orders()] == [placed["isolated"]]
    assert [one.order_id for one in exchange.ended_orders(margin_mode="cross")] == [placed["cross"]]
    assert not exchange.open_orders(margin_mode="cross")
    assert not exchange.ended_orders(CODE, "isolated")


def test_a_cancel_by_ids_answers_for_each() -> None:
    """Ids are taken in their order: gone to successes, the rest to errors, each with its code."""
    exchange, _ = ticking()
    open_, triggered, cancelled, failed = exchange.place(CODE, "sell", "both", 4)
    (other,) = exchange.place("ETH-USDT", "buy", "open")
    exchange.trigger(triggered)
    exchange.trigger(failed, fail_code=1492)
    cancel(exchange, cancelled)
    heard = cancel(exchange, "1", triggered, cancelled, other, failed, open_, open_)
    assert heard["data"]["successes"] == open_
    assert codes(heard) == [
        ("1", 1061),
        (triggered, 1063),
        (cancelled, 1071),
        (other, 1061),
        (failed, 1063),
        (open_, 1071),
    ]
    statuses = [exchange.status_of(one) for one in (open_, triggered, cancelled, failed, other)]
    assert statuses == [6, 4, 6, 5, 2]


def test_a_cancel_takes_effect_later() -> None:
    """Until then the order is open and listed, is not hit again, and answers 1062 to its id."""
    exchange, at = ticking(cancel_delay=1.1)
    (order_id,) = exchange.place(CODE, "buy", "open")
    at(1.0)
    assert cancel_all(exchange)["data"]["successes"] == order_id
    at(2.0)
    assert [one.order_id for one in exchange.open_orders()] == listed(exchange) == [order_id]
    assert exchange.status_of(order_id) == 2
    assert cancel_all(exchange)["err_code"] == 1051
    assert codes(cancel(exchange, order_id)) == [(order_id, 1062)]
    assert history(exchange) == []
    (young,) = exchange.place(CODE, "buy", "open")
    assert cancel_all(exchange)["data"]["successes"] == young
    at(2.1)
    assert listed(exchange) == [young]
    assert exchange.status_of(order_id) == 6
    (row,) = history(exchange)
    assert row["canceled_at"] == row["update_time"] == int(NOON * 1000) + 2100
    assert codes(cancel(exchange, order_id)) == [(order_id, 1071)]


def test_the_delay_may_differ_from_order_to_order() -> None:
    """A callable is asked for each order, and the attribute may change on the way."""
    exchange, at = ticking(cancel_delay=iter((3.0, 1.0)).__next__)
    slow, fast = exchange.place(CODE, "buy", "open", 2)
    cancel_all(exchange)
    at(2.0)
    assert [one.order_id for one in exchange.open_orders()] == [slow]
    exchange.cancel_delay = 0.0
    exchange.place(CODE, "sell", "open")
    cancel_all(exchange)
    assert [one.order_id for one in exchange.open_orders()] == [slow]
    at(3.0)
    ended = [one.order_id for one in exchange.ended_orders()]
    assert (ended[0], ended[-1]) == (fast, slow)


@pytest.mark.parametrize(
    ("delay", "after", "status"),
    [(1.0, 0.5, 4), (0.5, 1.0, 6), (0.0, 0.5, 6), (1.0, 0.0, 4), (1.0, 1.0, 6)],
)
def test_the_earlier_of_cancel_and_trigger_wins(delay: float, after: float, status: int) -> None:
    """A cancel not yet effective loses to the trigger; at one instant the one arranged first."""
    exchange, at = ticking(cancel_delay=delay)
    (order_id,) = exchange.place(CODE, "buy", "open")
    if after:
        cancel_all(exchange)
    if delay:
        exchange.trigger(order_id, after)
    at(5.0)
    assert exchange.status_of(order_id) == status
    (row,) = history(exchange)
    assert row["status"] == status
    assert row["update_time"] == int(NOON * 1000 + min(delay, after) * 1000)
    assert (row["canceled_at"] is None) == (status == 4)
    assert (row["relation_order_id"] != "-1") == (status == 4)
    assert listed(exchange) == []


def test_a_trigger_that_is_due_comes_before_the_request() -> None:
    """What is due when a cancel-all arrives has happened: the order is no longer there to hit."""
    exchange, at = ticking()
    soon, never = exchange.place(CODE, "buy", "open", 2)
    exchange.trigger(soon, 1.0)
    at(1.0)
    heard = cancel_all(exchange)["data"]
    assert heard == {"errors": [], "successes": never}
    assert codes(cancel(exchange, soon)) == [(soon, 1063)]


def test_a_triggered_order_becomes_another() -> None:
    """Its history names a new order, what met the market, and no cancellation."""
    exchange, _ = ticking()
    (order_id,) = exchange.place(CODE, "sell", "close", active_price=200, callback_rate="0.1")
    exchange.trigger(order_id)
    (row,) = history(exchange)
    assert row["relation_order_id"] not in ("-1", order_id)
    assert (row["triggered_price"], row["formula_price"], row["real_volume"]) == (200, 180, 1)
    assert (row["is_active"], row["fail_code"]) == (1, None)


def test_a_failed_order_says_why() -> None:
    """Status 5 has a code and a reason, and no order that it became."""
    exchange, _ = ticking()
    (order_id,) = exchange.place(CODE, "buy", "both", reduce_only=True)
    exchange.trigger(order_id, fail_code=1492)
    (row,) = history(exchange)
    assert (row["status"], row["fail_code"], row["relation_order_id"]) == (5, 1492, "-1")
    assert (row["real_volume"], row["reduce_only"]) == (0, 1)
    assert row["fail_reason"]


@pytest.mark.parametrize(
    ("code", "status"), [(1061, None), (1017, None), (1062, 6), (1063, 4), (1071, 6), (1004, 2)]
)
def test_a_rejection_tells_what_became_of_the_order(code: int, status: int | None) -> None:
    """A code that says gone leaves the history as the code says: unknown, triggered, cancelled."""
    exchange, _ = ticking()
    (order_id,) = exchange.place(CODE, "buy", "open")
    exchange.reject_order(order_id, code)
    assert codes(cancel(exchange, order_id)) == [(order_id, code)]
    if status is None:
        with pytest.raises(ValueError, match="no such order"):
            exchange.status_of(order_id)
    else:
        assert exchange.status_of(order_id) == status


def test_a_rejection_as_cancelling_takes_its_time() -> None:
    """After a 1062 the order goes as late as any cancelled one."""
    exchange, at = ticking(cancel_delay=1.0)
    (order_id,) = exchange.place(CODE, "buy", "open")
    exchange.reject_order(order_id, 1062)
    cancel_all(exchange)
    assert exchange.status_of(order_id) == 2
    at(1.0)
    assert exchange.status_of(order_id) == 6


def test_only_an_open_order_can_be_triggered() -> None:
    """Neither an unknown nor an ended order triggers, and none does in the past."""
    exchange, _ = ticking()
    (order_id,) = exchange.place(CODE, "buy", "open")
    with pytest.raises(ValueError, match="past"):
        exchange.trigger(order_id, -1.0)
    cancel_all(exchange)
    for one in (order_id, "1"):
        with pytest.raises(ValueError, match="open order"):
            exchange.trigger(one)


def test_effects_need_no_timer() -> None:
    """In virtual time, on the loop's clock, a cancel takes effect by the time that passed."""

    async def main() -> list[int]:
        exchange = SimulatedExchange(access_key="a", secret_key="b", cancel_delay=1.0)
        (order_id,) = exchange.place(CODE, "buy", "open")
        exchange.trigger(order_id, 2.0)
        seen = [exchange.status_of(order_id)]
        await asyncio.sleep(2.0)
        return [*seen, exchange.status_of(order_id)]

    assert run(main()) == [2, 4]


def test_an_order_tells_its_story() -> None:
    """An `Order` has mode, status, times and terms, and is equal to itself at any time."""
    exchange, at = ticking()
    (order_id,) = exchange.place(
        "BTC-USDT-261225",
        "buy",
        "both",
        margin_mode="cross",
        contract_type="next_quarter",
        volume=3,
    )
    (before,) = exchange.open_orders()
    at(2.5)
    exchange.trigger(order_id)
    (after,) = exchange.ended_orders()
    assert before == after == Order(order_id, "BTC-USDT-261225", "buy", "both", "cross")
    assert (before.status, before.ended_at, before.created_at) == (2, None, NOON * 1000)
    assert (after.status, after.ended_at) == (4, NOON * 1000 + 2500)
    assert after.contract_type == "next_quarter"
    assert after.volume == Decimal(3)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"margin_mode": "isolated"}, "cross margin only"),
        ({"contract_type": "swap"}, "cannot be of the type"),
        ({"contract_type": "month"}, "cannot be of the type"),
        ({"margin_mode": "both"}, "margin_mode"),
        ({"contract_code": CODE, "contract_type": "quarter"}, "cannot be of the type"),
        ({"offset": "opne"}, "offset"),
    ],
)
def test_what_the_exchange_would_not_hold_is_not_placed(change: dict[str, Any], text: str) -> None:
    """Dated futures in isolated margin, and types that do not fit, are mistakes of the test."""
    exchange = simulated()
    good = {"contract_code": "BTC-USDT-261225", "direction": "buy", "offset": "open"}
    with pytest.raises(ValueError, match=text):
        exchange.place(**{**good, "margin_mode": "cross", **change})
    assert not exchange.open_orders()


def test_pages_hold_what_is_asked_for() -> None:
    """Twenty to a page unless told, newest first, and nothing beyond the last page."""
    exchange, at = ticking()
    ids: list[str] = []
    for second in range(45):
        at(second)
        ids += exchange.place(CODE, "buy", "open")
    ids.reverse()
    assert listed(exchange) == ids[:20]
    assert listed(exchange, page_index=3) == ids[40:]
    assert listed(exchange, page_index=2, page_size=40) == ids[40:]
    assert listed(exchange, page_index=4) == []
    heard = document(
        ask(exchange, "openorders", "isolated", {"contract_code": CODE, "page_index": 2})
    )
    totals = ("total_page", "current_page", "total_size")
    assert [heard["data"][name] for name in totals] == [3, 2, 45]


def test_an_empty_list_has_no_page() -> None:
    """Without orders the list is empty, with zero pages."""
    heard = document(ask(simulated(), "openorders", "cross", {}))
    assert heard["data"] == {"orders": [], "total_page": 0, "current_page": 1, "total_size": 0}


@pytest.mark.parametrize(
    ("trade_type", "direction", "offset"),
    [
        (1, "buy", "open"),
        (2, "sell", "open"),
        (3, "buy", "close"),
        (4, "sell", "close"),
        (17, "buy", "both"),
        (18, "sell", "both"),
    ],
)
def test_trade_types_filter(trade_type: int, direction: str, offset: str) -> None:
    """Each documented type selects its direction and offset, open or ended, and 0 selects all."""
    exchange, _ = ticking()
    for one in ("buy", "sell"):
        for other in ("open", "close", "both"):
            exchange.place(CODE, one, other)
    (wanted,) = [
        one.order_id
        for one in exchange.open_orders()
        if (one.direction, one.offset) == (direction, offset)
    ]
    assert listed(exchange, trade_type=trade_type) == [wanted]
    assert len(listed(exchange, trade_type=0)) == 6
    cancel_all(exchange)
    assert [row["order_id_str"] for row in history(exchange, trade_type=trade_type)] == [wanted]


def test_history_is_filtered_and_sorted() -> None:
    """By status, by age in days, and newest first by placement or by end."""
    exchange, at = ticking()
    at(-91 * 86_400)
    (ancient,) = exchange.place(CODE, "buy", "open")
    at(-10 * 86_400)
    old, slow, quick, failed = exchange.place(CODE, "buy", "open", 4)
    at(0)
    (fresh,) = exchange.place(CODE, "buy", "open")
    exchange.trigger(quick)
    at(1)
    exchange.trigger(failed, fail_code=1492)
    at(2)
    cancel(exchange, fresh)
    at(3)
    cancel(exchange, slow, old, ancient)

    def ids(**form: Any) -> list[str]:
        return [row["order_id_str"] for row in history(exchange, **form)]

    assert exchange.status_of(ancient) == 6
    assert set(ids()) == set(ids(create_date=10_000)) == {old, slow, quick, failed, fresh}
    assert ids()[0] == ids(sort_by="create_date")[0] == ids(sort_by="created_at")[0] == fresh
    assert set(ids(sort_by="update_time")[:2]) == {old, slow}
    assert ids(sort_by="update_time")[2:] == [fresh, failed, quick]
    assert ids(status="4") == ids(status=4) == [quick]
    assert set(ids(status="4,5")) == {quick, failed}
    assert set(ids(status="0,4")) == set(ids(status=0)) == set(ids())
    assert ids(create_date=10) == [fresh]
    assert len(ids(create_date=11)) == 5


def test_an_unknown_order_has_no_status() -> None:
    """Asking for an id that never was is a mistake."""
    with pytest.raises(ValueError, match="no such order"):
        simulated().status_of("1")


def test_cross_orders_leave_the_isolated_call_with_nothing() -> None:
    """An isolated cancel-all over cross orders alone answers 1051."""
    exchange = simulated()
    exchange.place(CODE, "buy", "open", margin_mode="cross")
    assert err_code(post(exchange)) == 1051
