"""Which call the simulated exchange takes a request for, and that a broker's mark changes none."""

import json
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import urlencode

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async.enums import ApiGeneration
from htx_async.exchange.endpoints import ENDPOINTS, Endpoint, Kind, Permission
from htx_async.simulator import Reply, Request, SimulatedExchange
from htx_async.simulator.endpoints import Call
from tests.support.simulated import document, signed, simulated

HOST = {"Host": "api.hbdm.com"}
CODE = "BTC-USDT"
EXAMPLE = b'{"an": "example"}'

BODIES: dict[Call, dict[str, Any]] = {
    Call.CANCEL_ALL: {},
    Call.CANCEL: {"order_id": "1"},
    Call.OPEN_ORDERS: {"page_size": 50},
    Call.HISTORY: {"status": "0", "trade_type": 0, "create_date": 1},
    Call.V5_CANCEL: {"algo_id": "1"},
}
"""What the body of each call needs beside the contract."""


def stocked(**options: Any) -> SimulatedExchange:
    """Two open orders in each margin mode, and one of each that triggered."""
    exchange = simulated(**options)
    for mode in ("isolated", "cross"):
        ids = exchange.place(CODE, "buy", "close", 3, margin_mode=mode)
        exchange.trigger(ids[0])
    return exchange


def send(
    exchange: SimulatedExchange, method: str, path: str, body: object = None, **query: Any
) -> Reply:
    """One call, signed unless it is the public list; the parameters of a GET are signed as well."""
    raw = b"" if method == "GET" else json.dumps(body).encode()
    target = signed(path=path, method=method, **query)
    if path == ENDPOINTS[Call.CONTRACTS].path():
        target = f"{path}?{urlencode(query)}"
    return exchange.handle(Request(method, target, HOST, raw))


def orders(exchange: SimulatedExchange) -> list[tuple[str, int]]:
    """What became of each."""
    found = (*exchange.open_orders(), *exchange.ended_orders())
    return [(order.order_id, order.status) for order in found]


# --- which call ----------------------------------------------------------------------------------

SAID = {
    Call.CANCEL_ALL: ("successes",),
    Call.CANCEL: ("successes",),
    Call.OPEN_ORDERS: ("orders", 0, "is_active"),
    Call.HISTORY: ("orders", 0, "triggered_price"),
    Call.V5_CANCEL: (0, "algo_id"),
    Call.V5_OPEN_ORDERS: (1, "state"),
    Call.V5_HISTORY: (0, "actual_time"),
    Call.V5_ORDER: (0, "state"),
    Call.V5_ASSET_MODE: ("assets_mode",),
    Call.V5_POSITION_MODE: ("position_mode",),
    Call.CONTRACTS: (0, "contract_size"),
}
"""Where the reply to each call says what only that one does."""


def parameters(exchange: SimulatedExchange, call: Call) -> dict[str, str]:
    """What the query of a read needs."""
    needed = {"type": "trailing_stop"} if "type" in ENDPOINTS[call].filters else {}
    if call is Call.V5_ORDER:
        needed["algo_id"] = exchange.open_orders()[0].order_id
    return needed


@pytest.mark.parametrize("call", Call)
def test_each_call_is_served_as_itself(call: Call) -> None:
    """Every member of the enum has an answer of its own, on each of its paths."""
    row = ENDPOINTS[call]
    for path in row.paths:
        exchange = stocked(account="v5" if row.generation is ApiGeneration.V5 else "v1")
        needed = parameters(exchange, call)
        body = {"contract_code": CODE, **BODIES.get(call, {})}
        heard = document(send(exchange, row.method, path, body, **needed))
        found = heard["ts"] if call is Call.TIMESTAMP else heard["data"]
        for key in SAID.get(call, ()):
            found = found[key]
        left = len(exchange.open_orders())
        assert left == (2 if call is Call.CANCEL_ALL else 4)


@contextmanager
def added(row: Endpoint) -> Any:
    """One row more in the table, for as long as this lasts."""
    with patch.dict(ENDPOINTS, {row.name: row}):
        yield


INVENTED = st.builds(
    Endpoint,
    name=st.sampled_from(["made_up", "history", "cancel_all", "V5_ORDER", "Cancelall"]),
    generation=st.sampled_from(ApiGeneration),
    method=st.sampled_from(["POST", "GET"]),
    paths=st.sampled_from(
        [("/linear-swap-api/v1/a",), ("/v5/a",), ("/linear-swap-api/v1/a", "/b")]
    ),
    permission=st.sampled_from(Permission),
    source=st.just("nobody's: it was made up"),
    kind=st.sampled_from(Kind),
    most_ids=st.sampled_from([0, 10]),
    filters=st.sampled_from([(), ("direction", "offset"), ("type", "algo_id")]),
)


@given(
    row=INVENTED,
    account=st.sampled_from(["v1", "v5"]),
    body=st.sampled_from([[], {}, *({"contract_code": CODE, **one} for one in BODIES.values())]),
    has_example=st.booleans(),
)
def test_what_no_branch_knows_is_served_by_its_example_alone(
    row: Endpoint, account: Any, body: Any, has_example: bool
) -> None:
    """Whatever a row of the table says of itself: without an example its developer is told, and no
    order is touched or shown."""
    exchange = stocked(account=account)
    before = orders(exchange)
    with added(row):
        for path in row.paths:
            if has_example:
                exchange.record(row.name, EXAMPLE)
                assert send(exchange, row.method, path, body).body == EXAMPLE
            else:
                with pytest.raises(LookupError, match=f"answer {path} by: give `record` an exam"):
                    send(exchange, row.method, path, body)
    assert orders(exchange) == before


@pytest.mark.parametrize("call", Call)
def test_an_example_goes_before_what_the_book_says(call: Call) -> None:
    """Of every call, the public ones too; those that are private are signed all the same."""
    row, exchange = ENDPOINTS[call], stocked()
    exchange.record(call, EXAMPLE)
    assert send(exchange, row.method, row.path(), []).body == EXAMPLE
    unsigned = exchange.handle(Request(row.method, row.path(), HOST, b"[]"))
    assert (unsigned.body == EXAMPLE) is (row.permission is Permission.NONE)
    assert len(exchange.open_orders()) == 4


async def test_a_call_without_an_example_is_told_over_http_as_well() -> None:
    """Status 501 and the sentence, where a stack trace in a log would be looked for in vain."""
    row = Endpoint("new", ApiGeneration.V1, "GET", ("/new",), Permission.NONE, "made up")
    with added(row):
        async with SimulatedExchange() as exchange, aiohttp.ClientSession() as http:
            async with http.get(f"{exchange.url}/new") as response:
                told = await response.text()
            assert response.status == 501
            assert "give `record` an example" in told
            async with http.get(f"{exchange.url}/api/v1/timestamp") as response:
                assert response.status == 200


# --- a broker's mark -----------------------------------------------------------------------------

MARKS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["AA03022abc", "", None, 7, -0.5, True, [], {}, "\ud800", "\x00", "渠道"]),
    st.dictionaries(st.sampled_from(["contract_code", "channel_code"]), st.text(), max_size=2),
    st.lists(st.text(), max_size=2),
    st.text(),
)
INSTRUMENTS = st.sampled_from(
    [
        {"contract_code": CODE},
        {"contract_code": "BTC"},
        {"contract_code": 7},
        {"pair": CODE, "contract_type": "swap"},
        {"contract_code": CODE, "direction": "sideways"},
        {},
    ]
)


def answered(exchange: SimulatedExchange, path: str, body: Any) -> tuple[Any, ...]:
    """All that tells whether a request was taken for another one."""
    reply = send(exchange, "POST", path, body)
    arrival = exchange.arrivals[-1]
    assert json.loads(arrival.body) == body
    return reply.status, reply.body, orders(exchange), arrival.contract_code, arrival.err_code


@given(
    call=st.sampled_from([call for call in BODIES if call is not Call.V5_CANCEL]),
    cross=st.booleans(),
    instrument=INSTRUMENTS,
    mark=MARKS,
)
def test_a_broker_s_mark_changes_nothing_on_v1(
    call: Call, cross: bool, instrument: dict[str, Any], mark: Any
) -> None:
    """`channel_code`, of whatever value, gets the same answer and does the same to the orders as
    the request without it, a good one or a bad; what arrived still shows it."""
    path = ENDPOINTS[call].paths[cross]
    body = {**instrument, **BODIES[call]}
    plain = answered(stocked(), path, body)
    assert answered(stocked(), path, {**body, "channel_code": mark}) == plain
    assert answered(stocked(), path, {"channel_code": mark, **body}) == plain


@given(
    form=st.sampled_from(["array", "object", "hyphenated"]),
    shape=st.sampled_from(["rows", "row", "named"]),
    instrument=INSTRUMENTS,
    in_row=st.booleans(),
    mark=MARKS,
)
def test_a_broker_s_mark_changes_nothing_on_v5(
    form: Any, shape: str, instrument: dict[str, Any], in_row: bool, mark: Any
) -> None:
    """The same in a cancel of every form that V5 may want, in its row and beside its rows."""
    path = ENDPOINTS[Call.V5_CANCEL].every_path[form == "hyphenated"]

    def told(marked_row: bool, marked_body: bool) -> tuple[Any, ...]:
        exchange = stocked(account="v5", v5_cancel=form)
        row: Any = {**instrument, "algo_id": exchange.open_orders()[0].order_id}
        row |= {"channel_code": mark} if marked_row else {}
        body = {"rows": [row], "row": row, "named": {"orders": [row]}}[shape]
        if marked_body and isinstance(body, dict):
            body = {"channel_code": mark, **body}
        return answered(exchange, path, body)

    assert told(in_row, not in_row) == told(False, False)


@pytest.mark.parametrize(
    "call",
    [call for call in Call if ENDPOINTS[call].method == "GET" and call is not Call.TIMESTAMP],
)
def test_a_query_takes_no_broker_s_mark(call: Call) -> None:
    """Nobody sends it there; it is refused as any unknown parameter, and a misspelt one in a body
    as any unknown field."""
    exchange = stocked(account="v5")
    path, needed = ENDPOINTS[call].path(), parameters(exchange, call)
    send(exchange, "GET", path, **needed)
    send(exchange, "GET", path, **needed, channel_code="AA03022abc")
    assert [arrival.err_code for arrival in exchange.arrivals] == [None, 1067]
    cancel_all = ENDPOINTS[Call.CANCEL_ALL].path()
    wrong = {"contract_code": CODE, "channelCode": "AA03022abc"}
    assert document(send(stocked(), "POST", cancel_all, wrong))["err_code"] == 1067
