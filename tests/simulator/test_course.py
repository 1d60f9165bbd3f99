"""What goes on by itself in a simulation: outages, orders that come back, an account that moves."""

import pytest

from htx_async.simulator import InvalidSetting, Request, SimulatedExchange, mix
from tests.support.simulated import (
    CODE,
    KEY,
    SECRET,
    cancel_all,
    document,
    listed,
    post,
    signed,
    ticking,
)

HEADERS = {"Host": "api.hbdm.com"}


def placed(exchange: SimulatedExchange) -> list[int]:
    """When the open orders were placed, in milliseconds after the start."""
    first = min(order.created_at for order in (*exchange.open_orders(), *exchange.ended_orders()))
    return [order.created_at - first for order in exchange.open_orders()]


def test_cancelled_orders_come_back_one_by_one_at_their_rate() -> None:
    """Two a second, in the order in which they went, and again when they are cancelled again."""
    exchange, at = ticking()
    exchange.refill(2)
    ids = exchange.place(CODE, "sell", "close", 3)
    cancel_all(exchange)
    at(0.4)
    assert not exchange.open_orders()
    at(1.1)
    assert placed(exchange) == [500, 1000]
    cancel_all(exchange)
    at(60)
    assert placed(exchange) == [1500, 2000, 2500]
    assert not {order.order_id for order in exchange.open_orders()} & set(ids)
    assert all(order.status == 2 and order.ended_at is None for order in exchange.open_orders())


def test_orders_that_triggered_do_not_come_back_and_none_does_once_it_is_over() -> None:
    """A rate of 0 also takes back those that were on their way."""
    exchange, at = ticking(refill=1)
    triggered, _ = exchange.place(CODE, "sell", "close", 2)
    exchange.trigger(triggered)
    cancel_all(exchange)
    at(5)
    assert len(exchange.open_orders()) == 1
    cancel_all(exchange)
    exchange.refill(0)
    at(60)
    assert not exchange.open_orders()
    assert exchange.refill_rate == 0


@pytest.mark.parametrize(
    ("kind", "works", "status"),
    [
        ("silent", False, 200),
        ("reset", False, 200),
        ("lost", True, 200),
        ("gateway", False, 502),
        ("maintenance", False, 200),
    ],
)
def test_in_an_outage_no_request_has_its_answer(kind: str, works: bool, status: int) -> None:
    """Of whatever kind it is, each request is on record; after it, all is as before."""
    exchange, at = ticking()
    exchange.place(CODE, "sell", "close")
    exchange.outage(10, kind)  # type: ignore[arg-type]  # from the table above
    at(4)
    reply = post(exchange)
    assert reply.status == status
    assert reply.fate == ("answered" if kind in ("gateway", "maintenance") else "dropped")
    assert reply.delay == (6 if kind in ("silent", "lost") else 0)
    assert (kind == "maintenance") == (reply.body == b'{"status":"maintain"}')
    assert len(exchange.open_orders()) == (0 if works else 1)
    assert exchange.outage_left == 6
    at(10)
    exchange.place(CODE, "sell", "close")
    assert document(post(exchange))["status"] == "ok"
    assert len(exchange.arrivals) == 2


def test_an_outage_is_met_before_the_limit_by_reads_and_public_calls_too() -> None:
    """A gateway does not know who asks too often; and faults that wait stay for later."""
    exchange, at = ticking()
    exchange.bad_gateway()
    exchange.outage(5, "maintenance")
    replies = [post(exchange) for _ in range(150)]
    replies.append(exchange.handle(Request("GET", "/api/v1/timestamp", HEADERS)))
    assert {reply.body for reply in replies} == {b'{"status":"maintain"}'}
    assert exchange.armed == 1
    exchange.outage(0)
    at(60)
    assert post(exchange).status == 502


@pytest.mark.parametrize("wrong", [(-1, "silent"), (1, "fire"), (86_401, "reset"), (True, "lost")])
def test_an_outage_that_cannot_be_is_refused_and_changes_nothing(wrong: tuple[float, str]) -> None:
    """The one that is under way goes on."""
    exchange, _ = ticking()
    exchange.outage(5)
    with pytest.raises(InvalidSetting):
        exchange.outage(*wrong)  # type: ignore[arg-type]  # wrong on purpose
    assert exchange.outage_left == 5


def test_the_account_moves_just_before_its_so_many_th_private_request() -> None:
    """Public calls do not count, refused ones do."""
    exchange, _ = ticking(moves_at=3, v1_variant="1051")
    exchange.place(CODE, "sell", "close")
    exchange.handle(Request("GET", "/api/v1/timestamp", HEADERS))
    assert len(listed(exchange)) == 1
    post(exchange, target=signed(secret="wrong"))
    before: str = exchange.generation
    assert cancel_all(exchange)["err_code"] == 1051
    assert [before, exchange.generation] == ["v1", "v5"]
    assert len(exchange.open_orders()) == 1


def simulation(contracts: int) -> SimulatedExchange:
    exchange = SimulatedExchange(access_key=KEY, secret_key=SECRET)
    for number in range(contracts):
        exchange.place(f"C{number}-USDT", "sell", "close", 3)
    return exchange


@pytest.mark.parametrize("course", ["v1", "v5", "moving"])
def test_a_mix_of_faults_is_bounded_and_the_same_for_the_same_seed(course: mix.Course) -> None:
    """Each kind once at most, for one contract each; another seed draws others."""
    told = [mix.arm(simulation(40), seed, course) for seed in (1, 1, 2)]
    assert told[0] == told[1] != told[2]
    for one in told:
        kinds, places = zip(*(line.split(": ") for line in one), strict=True)
        assert sorted(kinds) == sorted(mix.KINDS)
        contracts = [place.partition(",")[0] for place in places if "V5" not in place]
        assert len(set(contracts)) == len(contracts)
    few = simulation(2)
    assert len(mix.arm(few, 1, course)) == 2
    assert few.armed <= 2
    assert mix.arm(simulation(0), 1, course) == ()
