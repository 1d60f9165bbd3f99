"""What sources disagree on, and odd lists and bodies, as the simulated exchange is told to play."""

import json
from typing import Any, get_args

import pytest

from htx_async.codes import CANCELLING
from htx_async.simulator import InvalidSetting, SimulatedExchange
from htx_async.simulator.orders import as_a_double
from htx_async.simulator.serve_v1 import Successes
from htx_async.simulator.serve_v5 import DataForm, Unnamed
from tests.support.simulated import cancel_all, document, listed, post, simulated
from tests.support.simulated_v5 import CALLS, CODE, HISTORY, OTHER, TRAILING, get, ids, rows, send

OPENS = "/v5/algo/order/opens"


def on_v5(**settings: Any) -> SimulatedExchange:
    return simulated(account="v5", **settings)


def opens(exchange: SimulatedExchange, **params: str) -> Any:
    return document(get(exchange, OPENS, **TRAILING, **params))


def items(exchange: SimulatedExchange, *order_ids: str) -> Any:
    body = [{"contract_code": CODE, "algo_id": one} for one in order_ids]
    return document(send(exchange, body))["data"]


@pytest.mark.parametrize("form", get_args(Successes))
def test_v1_names_what_it_took_in_each_form(form: Successes) -> None:
    """Text, a list, numbers as exact as a double, or in `errors` too, each with 1062."""
    exchange = simulated(v1_successes=form)
    first, second = exchange.place(CODE, "sell", "close", 2)
    data = cancel_all(exchange)["data"]
    told = {
        "text": f"{first},{second}",
        "list": [first, second],
        "numbers": [as_a_double(first), as_a_double(second)],
        "in errors too": f"{first},{second}",
    }
    assert data["successes"] == told[form]
    both = [(one["order_id"], one["err_code"]) for one in data["errors"]]
    is_both = form == "in errors too"
    assert both == ([(first, CANCELLING), (second, CANCELLING)] if is_both else [])
    assert not exchange.open_orders()


@pytest.mark.parametrize("unnamed", get_args(Unnamed))
def test_a_list_that_names_no_contract_is_of_what_it_is_said_to_be(unnamed: Unnamed) -> None:
    """Open and ended orders alike; one that names a contract is of that one."""
    exchange = on_v5(v5_unnamed=unnamed)
    mine = exchange.place(CODE, "sell", "close", 2)
    others = exchange.place(OTHER, "sell", "close")
    (gone,) = exchange.place(CODE, "buy", "open")
    exchange.trigger(gone)
    assert ids(exchange, contract_code=OTHER) == [*others]
    assert ids(exchange, HISTORY, contract_code=CODE) == [gone]
    if unnamed == "refused":
        assert opens(exchange)["code"] == 1067
        return
    shown = {"all": [*mine, *others], "none": [], "one": [*mine]}
    assert ids(exchange) == shown[unnamed]
    assert ids(exchange, HISTORY) == ([] if unnamed == "none" else [gone])


@pytest.mark.parametrize("form", get_args(DataForm))
def test_data_comes_in_each_form(form: DataForm) -> None:
    """Of lists and of replies to cancels: several rows are a list in all of them."""
    exchange = on_v5(v5_data=form)
    assert opens(exchange)["data"] == (None if "null" in form else [])
    one, other = exchange.place(CODE, "sell", "close", 2)
    assert len(opens(exchange)["data"]) == 2
    assert len(items(exchange, one, "7")) == 2
    is_alone = "object" in form
    told = opens(exchange)["data"]
    assert (told if is_alone else told[0])["algo_id"] == other
    told = items(exchange, other)
    assert (told if is_alone else told[0])["code"] == 200


def test_rows_may_stand_twice() -> None:
    """On v1, which says how long its list is without them, and on V5, where they fill pages."""
    v1 = simulated(rows_twice=True)
    first, second = v1.place(CODE, "sell", "close", 2)
    assert sorted(listed(v1)) == sorted([first, first, second, second])
    v5 = on_v5(rows_twice=True, v5_page=3)
    first, second = v5.place(CODE, "sell", "close", 2)
    assert ids(v5) == [first, first, second]
    assert ids(v5, **{"from": rows(v5)[0]["id"]}) == [second, second]


def test_orders_of_another_type_are_v5s_alone() -> None:
    """They stand in its lists in their place, and it cancels what it is told to; v1 has none."""
    exchange = on_v5()
    (trigger,) = exchange.place(CODE, "sell", "close", v5_type="trigger")
    (trailing,) = exchange.place(CODE, "sell", "close")
    assert [(row["algo_id"], row["type"]) for row in rows(exchange)] == [
        (trigger, "trigger"),
        (trailing, "trailing_stop"),
    ]
    assert items(exchange, trigger)[0]["code"] == 200
    assert exchange.status_of(trigger) == 6
    v1 = simulated()
    (trigger,) = v1.place(CODE, "sell", "close", v5_type="trigger")
    (trailing,) = v1.place(CODE, "sell", "close")
    assert listed(v1) == [trailing]
    assert cancel_all(v1)["data"]["successes"] == trailing
    assert [order.order_id for order in v1.open_orders()] == [trigger]


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize(
    ("other", "told"),
    [
        (None, {"status": "ok", "err_code": 1051}),
        (6002, {"status": "error", "err_code": 1051, "code": 6002}),
    ],
)
def test_a_body_may_contradict_itself(
    other: int | None, told: dict[str, object], is_done: bool
) -> None:
    """All well beside a code, or two codes; carried out before or not."""
    exchange = simulated()
    exchange.place(CODE, "sell", "close")
    exchange.contradict(1051, other, after_work=is_done)
    body = json.loads(post(exchange).body)
    assert {name: body[name] for name in told} == told
    assert len(exchange.open_orders()) == (0 if is_done else 1)
    assert exchange.armed == 0


@pytest.mark.parametrize("call", ["v5_opens", "v5_cancel"])
def test_so_may_one_of_v5(call: str) -> None:
    """200 beside a code, or two codes that are none of it."""
    exchange = on_v5()
    exchange.contradict(1067, call=call)
    exchange.contradict(6001, 1067, call=call)
    told = [document(CALLS[call](exchange)) for _ in range(2)]
    assert [(one["code"], one["err_code"]) for one in told] == [(200, 1067), (6001, 1067)]


@pytest.mark.parametrize(
    "settings",
    [{"v1_successes": "ids"}, {"v5_unnamed": "some"}, {"v5_data": "nil"}, {"rows_twice": 1}],
    ids=str,
)
def test_what_cannot_be_is_refused_by_name(settings: dict[str, Any]) -> None:
    """Before anything is served."""
    (name,) = settings
    with pytest.raises(InvalidSetting, match=f"^{name} is"):
        SimulatedExchange(**settings)
    with pytest.raises(InvalidSetting, match=r"^v5_type is one of"):
        simulated().place(CODE, "sell", "close", v5_type="limit")
    with pytest.raises(InvalidSetting, match=r"^other is"):
        simulated().contradict(1051, 1051)
