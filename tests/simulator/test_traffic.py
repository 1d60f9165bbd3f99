"""Limits and misbehaviour of the simulated exchange, for all of its calls."""

from typing import Any

import pytest

from htx_async.simulator import Reply, Request, SimulatedExchange
from tests.support.simulated import Clock, ask, document, err_code, path_of, post, simulated

CODE = "BTC-USDT"
BODIES: dict[str, dict[str, Any]] = {
    "cancelall": {"contract_code": CODE},
    "cancel": {"contract_code": CODE, "order_id": "1"},
    "openorders": {"contract_code": CODE},
    "hisorders": {"contract_code": CODE, "status": 0, "trade_type": 0, "create_date": 1},
}
TRADES = [(call, mode) for call in ("cancelall", "cancel") for mode in ("isolated", "cross")]
READS = [(call, mode) for call in ("openorders", "hisorders") for mode in ("isolated", "cross")]


def call_on(exchange: SimulatedExchange, call: str, mode: str = "isolated") -> Reply:
    """One well-formed request of any kind."""
    if call == "timestamp":
        return exchange.handle(Request("GET", "/api/v1/timestamp", {}))
    if call == "contract_info":
        target = f"/linear-swap-api/v1/swap_contract_info?contract_code={CODE}"
        return exchange.handle(Request("GET", target, {}))
    return ask(exchange, call, mode, BODIES[call])


def test_each_trade_path_has_five_a_second_of_its_own() -> None:
    """Five requests on each of the four paths pass within one second, and the sixth does not."""
    exchange = simulated()
    for call, mode in TRADES:
        replies = [call_on(exchange, call, mode) for _ in range(6)]
        assert [err_code(one) == 1032 for one in replies] == [False] * 5 + [True]
        assert replies[0].headers["ratelimit-limit"] == "5"
        assert replies[0].headers["ratelimit-remaining"] == "4"


def test_all_trade_calls_share_a_budget() -> None:
    """Wider paths meet 72 in 3 s together, which the headers, those of the path, do not tell."""
    clock = Clock(0.0)
    exchange = simulated(clock=clock, limit=20)
    for call, mode in TRADES * 18:
        assert err_code(call_on(exchange, call, mode)) != 1032
    reply = call_on(exchange, "cancel")
    assert err_code(reply) == 1032
    assert reply.headers["ratelimit-remaining"] == "1"
    assert err_code(call_on(exchange, "openorders")) is None
    clock.seconds = 3.0
    assert err_code(call_on(exchange, "cancel")) is None


def test_what_its_own_path_refuses_spends_nothing_shared() -> None:
    """Hammering one path does not close the others."""
    exchange = simulated()
    for _ in range(100):
        call_on(exchange, "cancelall")
    assert err_code(call_on(exchange, "cancelall", "cross")) == 1051


def test_reads_share_seventy_two_in_three_seconds() -> None:
    """The four private reads spend one budget, that no trade call touches."""
    clock = Clock(0.0)
    exchange = simulated(clock=clock)
    replies = [call_on(exchange, call, mode) for call, mode in READS * 18]
    assert {err_code(one) for one in replies} == {None}
    limits = ("ratelimit-limit", "ratelimit-interval", "ratelimit-remaining")
    assert [replies[-1].headers[name] for name in limits] == ["72", "3000", "0"]
    assert {err_code(call_on(exchange, call, mode)) for call, mode in READS} == {1032}
    assert err_code(call_on(exchange, "cancelall")) == 1051
    clock.seconds = 3.0
    assert err_code(call_on(exchange, "openorders")) is None


def test_public_calls_share_their_budget() -> None:
    """Clock and contract list spend the 240 of one address together."""
    exchange = simulated()
    assert call_on(exchange, "timestamp").headers["ratelimit-remaining"] == "239"
    reply = call_on(exchange, "contract_info")
    assert err_code(reply) is None
    assert reply.headers["ratelimit-limit"] == "240"
    assert reply.headers["ratelimit-remaining"] == "238"
    assert call_on(exchange, "openorders").headers["ratelimit-remaining"] == "71"


def test_the_busiest_second_is_counted_by_path_or_call() -> None:
    """By default the busier path of cancel-all; on request one path, or a call in both modes."""
    exchange = simulated()
    for call, mode, n in (
        ("cancelall", "isolated", 2),
        ("cancelall", "cross", 3),
        ("openorders", "isolated", 1),
        ("openorders", "cross", 4),
        ("contract_info", "", 1),
    ):
        for _ in range(n):
            call_on(exchange, call, mode)
    exchange.handle(Request("GET", path_of("cancelall", "isolated"), {}))
    assert exchange.busiest() == 3
    assert exchange.busiest(call="cancelall") == 5
    assert exchange.busiest(call="openorders") == 5
    assert exchange.busiest(1.0, path_of("openorders", "cross")) == 4
    assert exchange.busiest(call="contract_info") == 1
    assert exchange.busiest(call="cancel") == 0


def test_arrivals_tell_path_and_contract() -> None:
    """Each is on record with its path; a contract asked for in a query counts as named."""
    exchange = simulated()
    call_on(exchange, "openorders", "cross")
    call_on(exchange, "contract_info")
    seen = [(one.path, one.contract_code) for one in exchange.arrivals]
    assert seen == [
        (path_of("openorders", "cross"), CODE),
        ("/linear-swap-api/v1/swap_contract_info", CODE),
    ]


@pytest.mark.parametrize("call", [*BODIES, "contract_info", "timestamp"])
def test_faults_are_aimed_at_a_call(call: str) -> None:
    """Each kind of call may be refused, while all others answer as ever."""
    exchange = simulated()
    exchange.refuse(1056, call=call)
    others = [other for other in (*BODIES, "contract_info", "timestamp") if other != call]
    assert 1056 not in [err_code(call_on(exchange, other)) for other in others]
    assert err_code(call_on(exchange, call)) == 1056
    assert err_code(call_on(exchange, call)) != 1056


def test_a_fault_for_any_call_takes_the_first() -> None:
    """Whatever arrives next is hit, of either margin mode."""
    exchange = simulated()
    exchange.refuse(1056, call="any", times=3)
    hit = [call_on(exchange, *one) for one in (("hisorders", "cross"), ("cancel",), ("timestamp",))]
    assert [err_code(one) for one in hit] == [1056] * 3
    assert err_code(call_on(exchange, "hisorders")) is None


def test_faults_wait_for_a_cancel_all_of_either_mode() -> None:
    """By default reads pass a fault by, and a cross cancel-all takes it."""
    exchange = simulated()
    exchange.refuse(1056, times=2)
    calls = [("openorders",), ("cancel",), ("cancelall", "cross"), ("cancelall",), ("cancelall",)]
    answers = [err_code(call_on(exchange, *one)) for one in calls]
    assert answers == [None, None, 1056, 1056, 1051]


@pytest.mark.parametrize("call", ["openorders", "cancel"])
def test_every_kind_of_fault_can_be_aimed(call: Any) -> None:
    """Answers of other calls get late, lost, cut, garbled, redirected and refused as well."""
    exchange = simulated(limit=50)
    exchange.late(2.0, call=call)
    exchange.lose_before_work(call=call)
    exchange.lose_after_work(call=call)
    exchange.truncate(call=call)
    exchange.bad_gateway(call=call)
    exchange.malform(b"{", call=call)
    exchange.maintain(call=call)
    exchange.retire(call=call)
    exchange.redirect(302, "https://example.invalid/", call=call)
    exchange.too_many(call=call)
    assert err_code(post(exchange)) == 1051
    replies = [call_on(exchange, call) for _ in range(10)]
    assert [one.delay for one in replies] == [2.0] + [0.0] * 9
    fates = ["answered", "dropped", "dropped", "truncated", *["answered"] * 6]
    assert [one.fate for one in replies] == fates
    assert [one.status for one in replies] == [200, 200, 200, 200, 502, 200, 200, 200, 302, 429]
    assert replies[5].body == b"{"
    assert document(replies[6]) == {"status": "maintain"}
    assert err_code(replies[7]) == 10000


def test_a_lost_cancel_by_ids_is_carried_out_or_not() -> None:
    """Lost before the work the order stays, lost after it the order is gone."""
    exchange = simulated()
    first, second = exchange.place(CODE, "buy", "open", 2)
    exchange.lose_before_work(call="cancel")
    exchange.lose_after_work(call="cancel")
    for order_id in (first, second):
        ask(exchange, "cancel", "isolated", {"contract_code": CODE, "order_id": order_id})
    assert (exchange.status_of(first), exchange.status_of(second)) == (2, 6)


def test_a_fault_needs_a_call_that_exists() -> None:
    """A typing error in the name of a call is found."""
    with pytest.raises(ValueError, match="call is one of"):
        simulated().maintain(call="cancel_all")
