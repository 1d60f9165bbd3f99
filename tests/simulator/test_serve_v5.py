"""The simulated exchange over V5: lists, cancels by ids, replies as recorded, limits, faults."""

import json
from typing import Any

import pytest

from htx_async.simulator import Request
from tests.support.simulated import NOON, ask, differences, document, example, signed, ticking
from tests.support.simulated_v5 import (
    ASSETS,
    CALLS,
    CANCEL,
    CODE,
    HISTORY,
    OPENS,
    ORDER,
    OTHER,
    POSITIONS,
    TRAILING,
    cancel,
    codes,
    get,
    ids,
    rows,
    send,
)

MS = int(NOON * 1000)
HOUR, DAY = 3600, 86_400


def on_v5(**options: Any) -> Any:
    """An exchange whose account is on V5, and what sets both of its clocks."""
    return ticking(account="v5", **options)


# --- As recorded -------------------------------------------------------------------------------


def test_a_row_is_as_recorded_live() -> None:
    """The live order, placed here, gives the live row but for ids and times, field by field."""
    exchange, _ = on_v5()
    exchange.place(CODE, "sell", "close", margin_mode="cross", active_price=90_000)
    heard = document(get(exchange, OPENS, **TRAILING))
    live = example("v5/opens_live")
    ours, theirs = heard["data"][0], live["data"][0]
    assert not differences(heard, live)
    own = ("id", "algo_id", "created_time", "updated_time")
    assert {k: v for k, v in ours.items() if k not in own} == {
        k: v for k, v in theirs.items() if k not in own
    }
    assert ours["created_time"] == str(MS)
    assert heard["ts"] == MS


def test_a_cancel_is_as_in_the_example() -> None:
    """The reply has the example's keys and types, and all of its items say 200."""
    exchange, _ = on_v5()
    placed = exchange.place(CODE, "buy", "open", 1, client_order_id="77")
    heard = cancel(exchange, *placed)
    assert not differences(heard, example("v5/cancelled_example"))
    assert codes(heard) == [(placed[0], 200)]
    assert exchange.status_of(placed[0]) == 6


def test_modes_are_as_documented() -> None:
    """Asset and position mode have the keys and types of the docs' examples."""
    exchange, _ = on_v5()
    mode = document(get(exchange, POSITIONS))
    assert mode == {**example("v5/position_mode_example"), "ts": MS}
    exchange.place(CODE, "buy", "both")
    assert document(get(exchange, POSITIONS))["data"] == {"position_mode": "single_side"}
    assets = document(get(exchange, ASSETS))["data"]
    assert assets == {"assets_mode": 1}
    assert not differences(assets, example("v5/asset_mode_example")["data"])


def test_errors_are_as_recorded() -> None:
    """A wrong signature method, a bad parameter and an unknown path answer as recorded."""
    exchange, _ = on_v5()
    wrong = document(get(exchange, OPENS, **TRAILING, SignatureMethod="HmacSHA512"))
    assert wrong == {**example("v5/signature_refused_live"), "ts": MS}
    illegal = document(get(exchange, OPENS, **TRAILING, margin_mode="cross"))
    recorded = example("v5/parameter_refused")
    assert illegal.items() <= {**recorded, "ts": MS}.items()
    for path in ("/v5/algo/cancel-orders", "/v5/trade/nope"):
        lost = exchange.handle(Request("POST", path, {}))
        assert (lost.status, document(lost)) == (404, example("v5/path_unknown"))
    unsigned = exchange.handle(Request("POST", "/v5/nope?Signature=x", {}))
    assert (unsigned.status, document(unsigned)["code"]) == (200, 403)


def test_parameters_are_part_of_the_signature() -> None:
    """One that was changed, or added, after signing does not verify."""
    exchange, _ = on_v5()
    target = signed(path=OPENS, method="GET", **TRAILING, contract_code=CODE)
    for changed in (target.replace(CODE, OTHER), f"{target}&limit=100"):
        reply = exchange.handle(Request("GET", changed, {"Host": "api.hbdm.com"}))
        assert document(reply)["code"] == 403
    assert [one.err_code for one in exchange.arrivals] == [403, 403]


# --- Lists -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("direction", "offset", "position_side", "reduce_only"),
    [
        ("buy", "open", "long", False),
        ("sell", "open", "short", False),
        ("sell", "close", "long", True),
        ("buy", "close", "short", True),
        ("buy", "both", "both", False),
        ("sell", "both", "both", False),
    ],
)
def test_offsets_show_as_position_sides(
    direction: str, offset: str, position_side: str, reduce_only: bool
) -> None:
    """Open and close are the pairs of hedge mode, and one-way orders have both."""
    exchange, _ = on_v5()
    exchange.place(CODE, direction, offset)
    (row,) = rows(exchange)
    assert (row["side"], row["position_side"]) == (direction, position_side)
    assert row["reduce_only"] is reduce_only


def test_a_one_way_order_tells_whether_it_reduces() -> None:
    """`reduce_only` is that of the order where its position side does not tell."""
    exchange, _ = on_v5()
    exchange.place(CODE, "sell", "both", reduce_only=1)
    assert rows(exchange)[0]["reduce_only"] is True


def test_a_list_is_of_both_margin_modes_and_one_contract_if_named() -> None:
    """V5 has one list; the contract is compared regardless of case, the id selects one order."""
    exchange, _ = on_v5()
    (isolated,) = exchange.place(CODE, "buy", "open")
    (cross,) = exchange.place(CODE, "buy", "open", margin_mode="cross")
    (other,) = exchange.place(OTHER, "buy", "open", client_order_id="mine")
    assert ids(exchange) == [isolated, cross, other]
    assert ids(exchange, contract_code="btc-usdt") == [isolated, cross]
    assert ids(exchange, algo_id=cross) == [cross]
    assert ids(exchange, algo_client_order_id="mine") == [other]
    assert rows(exchange, contract_code=OTHER)[0]["algo_client_order_id"] == "mine"
    assert "algo_client_order_id" not in rows(exchange, contract_code=CODE)[0]


def test_other_algo_orders_are_none() -> None:
    """The book has trailing orders only, whatever other type is asked for."""
    exchange, _ = on_v5()
    exchange.place(CODE, "buy", "open")
    for kind in ("tp", "sl", "tpsl", "trigger"):
        assert document(get(exchange, OPENS, type=kind))["data"] == []


def test_pages_go_on_after_a_row() -> None:
    """Ten a page unless told, by row ids, which are no order ids; the row named is not repeated."""
    exchange, _ = on_v5()
    placed = exchange.place(CODE, "buy", "open", 25)
    assert ids(exchange) == list(placed[:10])
    seen: list[str] = []
    following = {"from": "0"}
    for _ in range(4):
        page = rows(exchange, limit="8", direct="next", **following)
        seen += [row["algo_id"] for row in page]
        assert not {row["id"] for row in page} & set(placed)
        following = {"from": page[-1]["id"]}
    assert seen == list(placed)
    assert rows(exchange, limit="8", **following) == []
    numbers = [int(row["id"]) for row in rows(exchange, limit="100")]
    assert numbers == sorted(set(numbers))


def test_pages_go_back_as_well() -> None:
    """`prev` goes to older rows, the nearest first, from the newest unless told."""
    exchange, _ = on_v5()
    placed = exchange.place(CODE, "buy", "open", 5)
    back = rows(exchange, direct="prev", limit="2")
    assert [row["algo_id"] for row in back] == [placed[4], placed[3]]
    older = ids(exchange, direct="prev", **{"from": back[-1]["id"]})
    assert older == [placed[2], placed[1], placed[0]]


def test_a_page_is_stable_while_orders_leave() -> None:
    """Going on after a row misses none when orders of the pages before it are gone."""
    exchange, _ = on_v5()
    placed = exchange.place(CODE, "buy", "open", 6)
    page = rows(exchange, limit="3")
    cancel(exchange, *placed[:3])
    assert ids(exchange, limit="3", **{"from": page[-1]["id"]}) == list(placed[3:])


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        (OPENS, {"type": ""}),
        (OPENS, {"type": "trailing"}),
        (OPENS, {"algo_type": "trailing"}),
        (OPENS, {"limit": "0"}),
        (OPENS, {"limit": "101"}),
        (OPENS, {"limit": "ten"}),
        (OPENS, {"from": "-1"}),
        (OPENS, {"from": "x"}),
        (OPENS, {"from": "9" * 19}),
        (OPENS, {"direct": "back"}),
        (OPENS, {"margin_mode": "isolated"}),
        (OPENS, {"side": "buy"}),
        (OPENS, {"states": "active"}),
        (HISTORY, {"states": "active"}),
        (HISTORY, {"states": "canceled,"}),
        (HISTORY, {"state": "canceled"}),
        (HISTORY, {"margin_mode": "all"}),
        (HISTORY, {"start_time": str(MS - 49 * HOUR * 1000), "end_time": str(MS)}),
        (HISTORY, {"start_time": str(MS), "end_time": str(MS - 1)}),
        (HISTORY, {"start_time": "noon"}),
        (ORDER, {}),
        (ORDER, {"algo_id": "1", "limit": "1"}),
        (POSITIONS, {}),
    ],
)
def test_parameters_are_judged(path: str, changed: dict[str, str]) -> None:
    """What is missing, unknown or outside its table is 1067, with HTTP 200."""
    exchange, _ = on_v5()
    reply = get(exchange, path, **{**TRAILING, **changed})
    assert (reply.status, document(reply)["code"]) == (200, 1067)
    assert document(reply)["message"].startswith("Illegal parameter ")


def test_an_unknown_contract_is_1014() -> None:
    """The lists know which contracts exist."""
    exchange, _ = on_v5(contracts={CODE})
    assert document(get(exchange, OPENS, **TRAILING, contract_code=OTHER))["code"] == 1014
    assert ids(exchange, contract_code=CODE) == []


def test_an_order_is_asked_for_by_itself() -> None:
    """By either of its ids, open or ended, as a list; an order that never was is an empty one."""
    exchange, _ = on_v5()
    (first,) = exchange.place(CODE, "buy", "open", client_order_id="mine")
    assert [row["state"] for row in rows(exchange, ORDER, algo_id=first)] == ["active"]
    cancel(exchange, first)
    assert [row["state"] for row in rows(exchange, ORDER, algo_client_order_id="mine")] == [
        "canceled"
    ]
    assert rows(exchange, ORDER, algo_id="1") == []


# --- History -----------------------------------------------------------------------------------


def test_a_cancel_takes_effect_later() -> None:
    """Until then the order is among the open ones and not in the history; then the reverse."""
    exchange, at = on_v5(cancel_delay=1.1)
    (order_id,) = exchange.place(CODE, "buy", "open")
    assert codes(cancel(exchange, order_id)) == [(order_id, 200)]
    at(1.0)
    assert (ids(exchange), ids(exchange, HISTORY)) == ([order_id], [])
    assert rows(exchange)[0]["state"] == "active"
    assert codes(cancel(exchange, order_id)) == [(order_id, 1062)]
    at(1.1)
    assert ids(exchange) == []
    (row,) = rows(exchange, HISTORY)
    assert (row["state"], row["updated_time"]) == ("canceled", str(MS + 1100))
    assert "relation_order_id" not in row


def test_history_tells_what_became_of_orders() -> None:
    """States select; a triggered order names the order that it became and what it met."""
    exchange, _ = on_v5()
    hit, failed, gone = exchange.place(CODE, "sell", "open", 3, active_price="90000.5")
    exchange.trigger(hit)
    exchange.trigger(failed, fail_code=1492)
    cancel(exchange, gone)
    states = {row["algo_id"]: row["state"] for row in rows(exchange, HISTORY)}
    assert states == {hit: "effective", failed: "failed", gone: "canceled"}
    assert ids(exchange, HISTORY, states="effective,failed") == [hit, failed]
    (row,) = rows(exchange, HISTORY, states="effective")
    assert row["relation_order_id"] not in ("-1", hit)
    assert (row["actual_price"], row["actual_volume"]) == ("90000.5", "1")
    assert row["actual_time"] == str(MS)


def test_history_is_filtered() -> None:
    """By contract, by margin mode, and page by page like the open orders."""
    exchange, _ = on_v5()
    (isolated,) = exchange.place(CODE, "buy", "open")
    (cross,) = exchange.place(CODE, "buy", "open", margin_mode="cross")
    (other,) = exchange.place(OTHER, "buy", "open")
    cancel(exchange, cross, isolated)
    cancel(exchange, other, code=OTHER)
    assert ids(exchange, HISTORY) == [isolated, cross, other]
    assert ids(exchange, HISTORY, contract_code=CODE, margin_mode="cross") == [cross]
    (first,) = rows(exchange, HISTORY, limit="1")
    assert ids(exchange, HISTORY, **{"from": first["id"]}) == [cross, other]


def test_history_has_a_window() -> None:
    """The last 48 hours unless told, any 48 of the last 90 days, by when an order was placed."""
    exchange, at = on_v5()
    at(-91 * DAY)
    (ancient,) = exchange.place(CODE, "buy", "open")
    at(-3 * DAY)
    (old,) = exchange.place(CODE, "buy", "open")
    at(0)
    (fresh,) = exchange.place(CODE, "buy", "open")
    cancel(exchange, ancient, old, fresh)
    assert ids(exchange, HISTORY) == [fresh]
    since = str(MS - 4 * DAY * 1000)
    assert ids(exchange, HISTORY, start_time=since) == [old]
    assert ids(exchange, HISTORY, end_time=str(MS - 2 * DAY * 1000)) == [old]
    assert ids(exchange, HISTORY, start_time=str(MS - 92 * DAY * 1000)) == []
    both = {"start_time": str(MS - 3 * DAY * 1000), "end_time": str(MS - 3 * DAY * 1000)}
    assert ids(exchange, HISTORY, **both) == [old]


# --- Cancels -----------------------------------------------------------------------------------


def test_each_order_has_an_answer_of_its_own() -> None:
    """Inside an outer 200: unknown, triggered, cancelled, of another contract, named twice."""
    exchange, _ = on_v5()
    live, hit, gone = exchange.place(CODE, "buy", "open", 3)
    (other,) = exchange.place(OTHER, "buy", "open")
    exchange.trigger(hit)
    cancel(exchange, gone)
    heard = cancel(exchange, "1", hit, gone, other, live, live)
    assert heard["code"] == 200
    expected = [("1", 1061), (hit, 1063), (gone, 1071), (other, 1061), (live, 200), (live, 1071)]
    assert codes(heard) == expected
    assert exchange.status_of(other) == 2


def test_items_may_tell_success_instead() -> None:
    """In the other form an item has a flag, and a code and words only if it failed."""
    exchange, _ = on_v5(v5_items="success")
    (order_id,) = exchange.place(CODE, "buy", "open")
    named = {"algo_client_order_id": None}
    assert cancel(exchange, order_id, "1")["data"] == [
        {**named, "algo_id": order_id, "success": True},
        {
            **named,
            "algo_id": "1",
            "success": False,
            "error_code": 1061,
            "error_msg": "The order does not exist.",
        },
    ]


def test_a_cancel_takes_either_body() -> None:
    """An array, one row alone, or an object with one list; by either id, of which algo_id wins."""
    exchange, _ = on_v5()
    first, second, third = exchange.place(CODE, "buy", "open", 3)
    (named,) = exchange.place(CODE, "buy", "open", client_order_id="mine")
    for body, gone in (
        ({"contract_code": CODE, "algo_id": first}, first),
        ({"orders": [{"contract_code": "btc-usdt", "algo_id": second}]}, second),
        ([{"contract_code": CODE, "algo_id": third, "algo_client_order_id": "mine"}], third),
        ([{"contract_code": CODE, "algo_id": "", "algo_client_order_id": "mine"}], named),
    ):
        assert codes(document(send(exchange, body))) == [(gone, 200)]
        assert exchange.status_of(gone) == 6
    heard = document(send(exchange, [{"contract_code": CODE, "algo_client_order_id": "yours"}]))
    assert heard["data"][0].items() >= {"algo_id": None, "code": 1061}.items()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        [],
        {},
        "1",
        7,
        None,
        [7],
        [None],
        [[]],
        {"orders": {}},
        {"orders": [], "more": []},
        [{"algo_id": "1"}],
        [{"contract_code": "", "algo_id": "1"}],
        [{"contract_code": CODE}],
        [{"contract_code": CODE, "algo_id": None}],
        [{"contract_code": CODE, "algo_id": 1}],
        [{"contract_code": CODE, "algo_id": ["1"]}],
        [{"contract_code": CODE, "order_id": "1"}],
        [{"contract_code": CODE, "algo_id": "1", "margin_mode": "cross"}],
        [{"contract_code": CODE, "algo_id": "1"}] * 11,
    ],
)
def test_bodies_are_judged(body: object) -> None:
    """What is no list of one to ten orders is 1067 as a whole, and nothing is cancelled."""
    exchange, _ = on_v5()
    (order_id,) = exchange.place(CODE, "buy", "open")
    if isinstance(body, list) and body:
        body = [*body, {"contract_code": CODE, "algo_id": order_id}]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = send(exchange, raw)
    assert (reply.status, document(reply)["code"]) == (200, 1067)
    assert exchange.status_of(order_id) == 2


def test_ten_orders_are_not_too_many() -> None:
    """The largest batch of ordinary orders passes."""
    exchange, _ = on_v5()
    placed = exchange.place(CODE, "buy", "open", 10)
    assert codes(cancel(exchange, *placed)) == [(one, 200) for one in placed]


def test_a_name_is_of_one_order() -> None:
    """Two orders of one client order id are a mistake of the test."""
    exchange, _ = on_v5()
    with pytest.raises(ValueError, match="names one order"):
        exchange.place(CODE, "buy", "open", 2, client_order_id="mine")
    exchange.place(CODE, "buy", "open", client_order_id="mine")
    with pytest.raises(ValueError, match="names one order"):
        exchange.place(CODE, "buy", "open", client_order_id="mine")


# --- Limits and faults -------------------------------------------------------------------------


def test_reads_of_both_generations_share_their_budget() -> None:
    """V5's lists and v1's spend one 72 per 3 s, which V5's refusal tells in its own shape."""
    exchange, at = on_v5()
    form = {"contract_code": CODE}
    for _ in range(36):
        assert document(get(exchange, OPENS, **TRAILING))["code"] == 200
        assert document(ask(exchange, "openorders", "cross", form))["status"] == "ok"
    reply = get(exchange, OPENS, **TRAILING)
    assert document(reply).items() >= {"code": 1032, "data": None}.items()
    assert reply.headers["ratelimit-limit"] == "72"
    assert codes(cancel(exchange, "1")) == [("1", 1061)]
    at(3.0)
    assert document(get(exchange, POSITIONS))["code"] == 200


def test_cancels_spend_the_budget_of_trade_calls() -> None:
    """V5's cancels have no limit of their own, only the pool that v1's cancels draw on too, which
    is as wide as 100 a second here."""
    exchange, at = on_v5()
    (order_id,) = exchange.place(CODE, "buy", "open")
    replies = [send(exchange, [{"contract_code": CODE, "algo_id": "1"}]) for _ in range(301)]
    seen = [document(one)["code"] for one in replies]
    assert seen == [200] * 300 + [1032]
    v1 = document(ask(exchange, "cancelall", "isolated", {"contract_code": CODE}))
    assert v1["err_code"] == 1032
    at(3.0)
    assert codes(cancel(exchange, order_id)) == [(order_id, 200)]


def test_cancels_may_be_given_a_limit() -> None:
    """With `v5_limit` the path refuses what is beyond it, and its headers tell of it."""
    exchange, at = on_v5(v5_limit=5)
    replies = [send(exchange, [{"contract_code": CODE, "algo_id": "1"}]) for _ in range(6)]
    assert [document(one)["code"] for one in replies] == [200] * 5 + [1032]
    assert replies[0].headers["ratelimit-limit"] == "5"
    assert document(get(exchange, OPENS, **TRAILING))["code"] == 200
    at(1.0)
    assert codes(cancel(exchange, "1")) == [("1", 1061)]


@pytest.mark.parametrize("call", CALLS)
def test_faults_are_aimed_at_a_call(call: Any) -> None:
    """Each of V5's calls may be refused, in V5's shape, while the others answer as ever."""
    exchange, _ = on_v5()
    exchange.refuse(1056, call=call)
    others = [document(make(exchange))["code"] for name, make in CALLS.items() if name != call]
    assert others == [200] * (len(CALLS) - 1)
    assert document(CALLS[call](exchange)).items() >= {"code": 1056, "data": None}.items()
    assert document(CALLS[call](exchange))["code"] == 200


def test_every_kind_of_fault_can_be_aimed() -> None:
    """V5's answers get late, lost, cut, garbled and retired, the last in V5's own words."""
    exchange, _ = on_v5()
    (order_id,) = exchange.place(CODE, "buy", "open")
    exchange.lose_after_work(call="v5_cancel", contract_code="btc-usdt")
    exchange.late(2.0, call="v5_opens")
    exchange.truncate(call="v5_opens")
    exchange.malform(b"[]", call="v5_opens")
    exchange.maintain(call="v5_opens")
    exchange.retire(call="v5_opens")
    exchange.retire(path_gone=True, call="v5_opens")
    assert send(exchange, [{"contract_code": OTHER, "algo_id": "1"}]).fate == "answered"
    lost = send(exchange, [{"contract_code": CODE, "algo_id": order_id}])
    assert (lost.fate, exchange.status_of(order_id)) == ("dropped", 6)
    replies = [get(exchange, OPENS, **TRAILING) for _ in range(6)]
    assert [one.delay for one in replies] == [2.0, *[0.0] * 5]
    assert [one.fate for one in replies] == ["answered", "truncated", *["answered"] * 4]
    assert replies[2].body == b"[]"
    assert document(replies[3]) == {"status": "maintain"}
    assert document(replies[4])["code"] == 10000
    assert (replies[5].status, document(replies[5])) == (404, example("v5/path_unknown"))


def test_a_refusal_keeps_the_shape_asked_for() -> None:
    """V5 may also be made to answer like v1."""
    exchange, _ = on_v5()
    exchange.refuse(4002, shape=1, call="v5_opens")
    assert document(get(exchange, OPENS, **TRAILING))["err_code"] == 4002


@pytest.mark.parametrize(("code", "status"), [(1004, 2), (1062, 6), (1063, 4), (1071, 6)])
def test_an_order_may_be_rejected_on_its_own(code: int, status: int) -> None:
    """`reject_order` gives the item its code, beside items that say 200, and what it implies."""
    exchange, _ = on_v5()
    bad, good = exchange.place(CODE, "buy", "open", 2)
    exchange.reject_order(bad, code, "text")
    heard = cancel(exchange, bad, good)
    assert codes(heard) == [(bad, code), (good, 200)]
    assert heard["data"][0]["message"] == "text"
    assert exchange.status_of(bad) == status


def test_an_item_may_be_missing_or_odd() -> None:
    """A spoiled item is left out, replaced or doubled, with the work done or not, so many times."""
    exchange, _ = on_v5()
    first, second, third = exchange.place(CODE, "buy", "open", 3)
    exchange.spoil_item(first)
    exchange.spoil_item(second, None, {"algo_id": second}, work=False, times=2)
    heard = cancel(exchange, first, second, third)
    assert heard["data"][:2] == [None, {"algo_id": second}]
    assert [one["algo_id"] for one in heard["data"][2:]] == [third]
    statuses = [exchange.status_of(one) for one in (first, second, third)]
    assert statuses == [6, 2, 6]
    assert cancel(exchange, second)["data"] == [None, {"algo_id": second}]
    assert codes(cancel(exchange, second)) == [(second, 200)]


def test_only_an_order_that_was_can_be_spoiled() -> None:
    """An unknown id, or no time at all, is a mistake of the test."""
    exchange, _ = on_v5()
    with pytest.raises(ValueError, match="no such order"):
        exchange.spoil_item("1")
    with pytest.raises(ValueError, match="times"):
        exchange.spoil_item(*exchange.place(CODE, "buy", "open"), times=0)


def test_arrivals_tell_v5s_paths() -> None:
    """Path, contract and code are on record, of a cancel that of its first order; so are peaks."""
    exchange, _ = on_v5()
    get(exchange, OPENS, **TRAILING, contract_code=CODE)
    get(exchange, OPENS, **TRAILING)
    get(exchange, HISTORY)
    cancel(exchange, "1", code=OTHER)
    send(exchange, {"orders": [{"contract_code": CODE, "algo_id": "1"}]})
    send(exchange, [7])
    seen = [(one.path, one.contract_code, one.err_code) for one in exchange.arrivals]
    assert seen == [
        (OPENS, CODE, None),
        (OPENS, None, None),
        (HISTORY, None, 1067),
        (CANCEL, OTHER, None),
        (CANCEL, CODE, None),
        (CANCEL, None, 1067),
    ]
    assert exchange.busiest(call="v5_opens") == exchange.busiest(path=OPENS) == 2
    assert exchange.busiest(call="v5_cancel") == 3
    assert exchange.busiest() == 0
