"""Documented requests and replies of lists and cancels, each through the real builder or reader."""

import json
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from htx_async.enums import ContractType, MarginMode, Verdict
from htx_async.exchange import v1
from htx_async.exchange.messages import Answer
from htx_async.exchange.models import ListedContract, Page
from htx_async.exchange.operation import Operation, Reply
from htx_async.filters import OrderFilter
from htx_async.orders import TrailingOrder
from htx_async.report import OrderError
from tests.support.paths import DATA

CODE = "BTC-USDT"
ISOLATED, CROSS = MarginMode.ISOLATED, MarginMode.CROSS
OK, REFUSED, UNKNOWN = Verdict.ACCEPTED, Verdict.REFUSED, Verdict.UNKNOWN

Read = Callable[[bytes, int], Reply]


def as_it_is(text: str) -> str:
    return text


def read_cancel(body: bytes, status: int = 200) -> Reply:
    return v1.read(Answer(status, {}, body), as_it_is)


def read_list(body: bytes, status: int = 200) -> Reply:
    return v1.read_orders(Answer(status, {}, body), as_it_is)


def document(name: str) -> bytes:
    return (DATA / f"{name}.json").read_bytes()


def the_order(reply: Reply) -> TrailingOrder:
    """The only order of a list."""
    assert reply.verdict is OK
    page: Page = reply.data
    assert page.following == ""
    (order,) = page.orders
    return order


def meant(mode: MarginMode = ISOLATED, code: str | None = CODE, **names: Any) -> OrderFilter:
    """The intent that a call is made for."""
    pair, kind = names.get("pair"), names.get("contract_type")
    filters = (names.get("direction"), names.get("offset"))
    return OrderFilter.checked(code, *filters, mode, pair, kind)


LISTED: dict[str, dict[str, Any]] = {
    "openorders-isolated.reply": {
        "order_id": "826055066114916352",
        "contract_code": CODE,
        "direction": "buy",
        "offset": "open",
        "status": 2,
        "volume": Decimal(1),
        "callback_rate": Decimal("0.03"),
        "active_price": Decimal(48888),
        "is_active": 0,
        "order_price_type": "formula_price",
        "lever_rate": 5,
        "reduce_only": 0,
        "order_source": "api",
        "margin_mode": "isolated",
        "margin_account": CODE,
        "created_at": 1616988475122,
        "pair": None,
        "contract_type": None,
        "update_time": None,
        "canceled_at": None,
        "triggered_price": None,
        "relation_order_id": None,
    },
    "openorders-cross.reply": {
        "order_id": "918819679173152768",
        "contract_code": "BTC-USDT-211231",
        "direction": "buy",
        "offset": "open",
        "status": 2,
        "callback_rate": Decimal("0.03"),
        "active_price": Decimal(41111),
        "margin_mode": "cross",
        "margin_account": "USDT",
        "pair": CODE,
        "contract_type": "quarter",
        "created_at": 1639105282359,
        "update_time": None,
    },
    "hisorders-isolated.reply": {
        "order_id": "826054686706565120",
        "contract_code": CODE,
        "direction": "sell",
        "offset": "open",
        "status": 6,
        "created_at": 1616988384665,
        "update_time": 1616988430833,
        "canceled_at": 1616988393365,
        "triggered_price": None,
        "relation_order_id": "-1",
    },
    "hisorders-cross.reply": {
        "order_id": "918819679173152768",
        "contract_code": "BTC-USDT-211231",
        "status": 6,
        "pair": CODE,
        "contract_type": "quarter",
        "update_time": 1639105426243,
        "canceled_at": 1639105426208,
        "reduce_only": 0,
    },
}


@pytest.mark.parametrize("name", LISTED)
def test_a_documented_list_is_read_field_by_field(name: str) -> None:
    """Exact ids rather than the rounded number, exact decimals, None for what is null or absent."""
    reply = read_list(document(name))
    told = the_order(reply).model_dump()
    assert {field: told[field] for field in LISTED[name]} == LISTED[name]
    body = json.loads(document(name))
    assert reply.ts == body["ts"]
    assert reply.data.total == body["data"]["total_size"]
    assert told["order_id"] != str(body["data"]["orders"][0]["order_id"])


def test_a_live_row_with_18_decimals_is_read_exactly() -> None:
    """As JSON numbers they would lose digits in a float."""
    row = document("openorders-cross-live.row")
    page = b'{"orders":[%s],"total_page":1,"current_page":1,"total_size":1}' % row
    order = the_order(read_list(b'{"status":"ok","data":%s,"ts":5}' % page))
    assert order.order_id == "1192021437253877761"
    assert (order.volume, order.callback_rate) == (Decimal(1), Decimal("0.05"))
    assert str(order.active_price) == "50000.000000000000000000"
    assert (order.reduce_only, order.contract_type) == (1, "swap")
    finer = row.replace(b"50000.000000000000000000", b"50000.000000000000000001")
    page = page.replace(row, finer)
    found = the_order(read_list(b'{"status":"ok","data":%s,"ts":5}' % page))
    assert found.active_price == Decimal("50000.000000000000000001")


CANCELLED: dict[str, Reply] = {
    "cancelall-isolated.reply": Reply(
        OK,
        successes=("826054603831312384", "826054608491184128", "826054686706565120"),
        ts=1616988392280,
    ),
    "cancelall-cross.reply": Reply(
        OK,
        successes=("826054813483597824", "826054818734866432", "826054867657228288"),
        ts=1616988442893,
    ),
    "cancelall-live.reply": Reply(OK, successes=("1442564726236282880",), ts=1763975842675),
    "cancel-isolated.reply": Reply(
        OK,
        successes=("826052268312821760",),
        errors=(
            OrderError(
                order_id="826052268312821761",
                err_code=1061,
                err_msg="This order doesnt exist.",
            ),
        ),
        ts=1616988039695,
    ),
    "cancel-cross.reply": Reply(
        OK,
        successes=("826053970168446976",),
        errors=(
            OrderError(
                order_id="826052906719444993",
                err_code=1061,
                err_msg="This order doesnt exist.",
            ),
        ),
        ts=1616988232517,
    ),
    "cancel-missing-live.reply": Reply(
        OK,
        errors=(
            OrderError(
                order_id="1349442392365359104",
                err_code=1061,
                err_msg="The order does not exist.",
            ),
        ),
        ts=1741773744526,
    ),
}


@pytest.mark.parametrize("name", CANCELLED)
def test_a_documented_cancel_is_read_id_by_id(name: str) -> None:
    """Every success and every refused order with its code and words."""
    assert read_cancel(document(name)) == CANCELLED[name]


ERRORS: dict[str, tuple[int, Reply]] = {
    "error-1-no-orders.reply": (
        200,
        Reply(REFUSED, 1051, "No orders to cancel.", ts=1652552125876),
    ),
    "error-2-word-code.reply": (
        200,
        Reply(REFUSED, "invalid-parameter", "contract_code data error or empty", ts=0),
    ),
    "error-3-maintenance.reply": (200, Reply(REFUSED, "maintain")),
    "error-4-v5.reply": (200, Reply(REFUSED, 1067, "Illegal parameter margin_mode.", ts=0)),
    "error-5-unknown-path.reply": (404, Reply(REFUSED, 404, "Not Found")),
    "error-signature.reply": (
        200,
        Reply(
            REFUSED,
            403,
            "Incorrect signature method [\u9519\u8bef\u7684\u7b7e\u540d\u65b9\u6cd5]",
            ts=1763892684776,
        ),
    ),
}


@pytest.mark.parametrize("read", [read_cancel, read_list], ids=["cancel", "list"])
@pytest.mark.parametrize("name", ERRORS)
def test_a_documented_error_is_a_refusal_to_every_reader(name: str, read: Read) -> None:
    """Code, words and time in whichever of the five shapes."""
    status, reply = ERRORS[name]
    assert read(document(name), status) == reply


@pytest.mark.parametrize("name", ["order-isolated.reply", "order-cross.reply"])
def test_the_reply_of_another_call_proves_nothing(name: str) -> None:
    """An "ok" without the lists of a cancel, or without the page of a list, is not believed."""
    assert read_cancel(document(name)).verdict is UNKNOWN
    assert read_list(document(name)).verdict is UNKNOWN


def test_a_recorded_contract_is_read() -> None:
    """Its code, and that it trades in both margin modes."""
    body = b'{"status":"ok","data":[%s],"ts":5}' % document("contract-info.row")
    (contract,) = v1.read_contracts(Answer(200, {}, body))
    assert contract == ListedContract(contract_code=CODE, support_margin_mode="all")
    assert contract.trades_in(CROSS)


TWO = "826052268312821760,826052268312821761"
DIFFERENT = {
    "create_date": 90,
    "sort_by": "update_time",
    "status": "0",
    "trade_type": None,
}
"""Where the request of this package is meant to differ from the example."""


@pytest.mark.parametrize(
    ("name", "make"),
    [
        (
            "cancelall-isolated",
            lambda: v1.cancel_all(meant(direction="buy", offset="close")),
        ),
        (
            "cancelall-cross",
            lambda: v1.cancel_all(meant(CROSS, direction="buy", offset="close")),
        ),
        ("cancel-isolated", lambda: v1.cancel(meant(), TWO.split(","))),
        ("cancel-cross", lambda: v1.cancel(meant(CROSS), ["456457123"])),
        ("openorders-isolated", lambda: v1.open_orders(meant())),
        ("openorders-cross", lambda: v1.open_orders(meant(CROSS))),
        ("hisorders-isolated", lambda: v1.history(meant())),
        ("hisorders-cross", lambda: v1.history(meant(CROSS))),
    ],
)
def test_requests_hold_fields_of_the_documented_example(
    name: str, make: Callable[[], Operation]
) -> None:
    """No field that the example lacks, each of its type and, unless meant otherwise, value."""
    example, ours = json.loads(document(f"{name}.request")), json.loads(make().request.body)
    assert set(ours) <= set(example)
    for field, value in ours.items():
        assert value in (example[field], DIFFERENT.get(field)), field
    # In cross margin one name is enough, and isolated margin has no other.
    assert set(example) - set(ours) <= {"pair", "contract_type", "trade_type"}


@pytest.mark.parametrize("name", ["order-isolated.request", "order-cross.request"])
def test_no_request_of_this_package_could_place_an_order(name: str) -> None:
    """The example of a placing has fields that none of the bodies here has."""
    intent = meant(direction="buy", offset="open")
    operations = (v1.cancel_all(intent), v1.cancel(intent, ["1"]), v1.open_orders(intent))
    for operation in (*operations, v1.history(intent)):
        body = json.loads(operation.request.body)
        assert not {"volume", "callback_rate", "active_price"} & set(body)
        assert {"volume", "callback_rate", "active_price"} < set(json.loads(document(name)))
        assert "order" not in operation.request.path.rsplit("_", 1)[-1] or operation.is_read


def test_every_documented_file_is_tested() -> None:
    """A case that somebody adds has to be read by a test."""
    requests = {f"{call}-{mode}.request" for call in CALLS for mode in MarginMode}
    others = {"openorders-cross-live.row", "contract-info.row"}
    placing = {f"order-{mode}.reply" for mode in MarginMode}
    known = {*LISTED, *CANCELLED, *ERRORS, *requests, *others, *placing}
    assert {file.stem for file in DATA.glob("*.json")} == known


CALLS = ("cancelall", "cancel", "openorders", "hisorders", "order")


# Jobs


@pytest.mark.parametrize("mode", list(MarginMode))
def test_each_call_has_its_path_and_its_nature(mode: MarginMode) -> None:
    """Twins for each margin mode; lists are reads; all but a cancel-all may be repeated."""
    twin = "cross_" if mode is CROSS else ""
    start = f"/linear-swap-api/v1/swap_{twin}track_"
    intent = meant(mode)
    operations = {
        "cancelall": (v1.cancel_all(intent), False, False),
        "cancel": (v1.cancel(intent, ["1"]), True, False),
        "openorders": (v1.open_orders(intent), True, True),
        "hisorders": (v1.history(intent), True, True),
    }
    for name, (operation, may_repeat, is_read) in operations.items():
        assert (operation.request.method, operation.request.path) == ("POST", start + name)
        assert (operation.may_repeat, operation.is_read, operation.about) == (
            may_repeat,
            is_read,
            CODE,
        )
        assert not operation.request.params
        assert operation.read is v1.read or operation.is_read


def test_a_body_is_compact_and_keeps_every_script() -> None:
    """No blank and no escape in the bytes that go out."""
    operation = v1.cancel(meant(code="龙虾-USDT"), ["1", "2"])
    assert operation.request.body == '{"contract_code":"龙虾-USDT","order_id":"1,2"}'.encode()


def test_a_pair_is_named_as_each_call_takes_it() -> None:
    """With its type where something is cancelled; lists know no type, the rows are sorted out."""
    kind = ContractType.QUARTER
    intent = meant(CROSS, None, pair=CODE, contract_type=kind)
    assert json.loads(v1.cancel_all(intent).request.body) == {"pair": CODE, "contract_type": kind}
    cancel = {"pair": CODE, "order_id": "1,2", "contract_type": kind}
    assert json.loads(v1.cancel(intent, ["1", "2"]).request.body) == cancel
    for operation in (v1.open_orders(intent), v1.history(intent)):
        body = json.loads(operation.request.body)
        assert body["pair"] == CODE
        assert not {"contract_type", "contract_code"} & set(body)
        assert operation.about == "BTC-USDT quarter"


def test_everything_is_asked_for_without_a_name() -> None:
    """Only the cross list of open orders is asked so."""
    everything = OrderFilter(margin_mode=CROSS)
    assert json.loads(v1.open_orders(everything).request.body) == {
        "page_index": 1,
        "page_size": 50,
    }


def test_filters_stay_here() -> None:
    """A list is read whole whatever the filters: what they do there is not documented."""
    filtered = meant(direction="sell", offset="open")
    assert v1.open_orders(filtered).request == v1.open_orders(meant()).request
    assert v1.history(filtered).request == v1.history(meant()).request


@pytest.mark.parametrize("make", [v1.open_orders, v1.history])
def test_pages_are_counted_from_one(make: Callable[..., Any]) -> None:
    """Nothing asked for is the first page."""
    first, third = make(meant()), make(meant(), "3")
    assert json.loads(first.request.body)["page_index"] == 1
    assert json.loads(third.request.body)["page_index"] == 3
    assert third.read(listing(total_page=3), as_it_is).data.following == ""
    assert third.read(listing(total_page=4), as_it_is).data.following == "4"


# Pages

ROW = {"order_id_str": "11", "contract_code": CODE, "direction": "buy", "offset": "open"}


def listing(*rows: Any, status: int = 200, **data: Any) -> Answer:
    """A page with these rows, or one."""
    page = {"orders": [*rows] or [ROW], "total_page": 1, "current_page": 1, "total_size": 1}
    body = {"status": "ok", "data": {**page, **data}, "ts": 5}
    return Answer(status, {}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("data", "number", "following"),
    [
        ({"total_page": 0, "orders": []}, 1, ""),
        ({"total_page": 1}, 1, ""),
        ({"total_page": 2}, 1, "2"),
        ({"total_page": 2}, 2, ""),
        ({"total_page": 1}, 2, ""),
        ({"total_page": 5, "orders": []}, 2, ""),
    ],
)
def test_what_follows_a_page(data: dict[str, Any], number: int, following: str) -> None:
    """The next number, until the last page or one without orders."""
    reply = v1.read_orders(listing(**data), as_it_is, number)
    assert (reply.verdict, reply.data.following, reply.ts) == (OK, following, 5)


def test_a_page_is_the_first_unless_told_otherwise() -> None:
    """Of two pages, the second follows."""
    assert v1.read_orders(listing(total_page=2), as_it_is).data.following == "2"


@pytest.mark.parametrize(
    "answer",
    [
        listing({**ROW, "order_id_str": None}),
        listing({"order_id": 826055066114916400, **{k: ROW[k] for k in list(ROW)[1:]}}),
        listing(ROW, {}),
        listing(ROW, None),
        listing({**ROW, "direction": None}),
        listing(orders=None),
        listing(orders={}),
        listing(total_page=None),
        listing(total_page=-1),
        listing(total_size="many"),
        listing(status=400),
        listing(status=201),
        listing(status=500),
        Answer(200, {}, b'{"status":"ok","data":null,"ts":5}'),
        Answer(200, {}, b'{"status":"ok","data":[],"ts":5}'),
        Answer(200, {}, b'{"status":"ok","ts":5}'),
        Answer(200, {}, b'{"status":"ok","data":{"errors":[],"successes":"1"},"ts":5}'),
        Answer(200, {}, b""),
        Answer(200, {}, b"\xff"),
        Answer(200, {}, b"<html>"),
        Answer(200, {}, listing().body[:-1]),
        Answer(200, {}, listing().body + b"x"),
        Answer(200, {}, listing().body.replace(b'"11"', b"NaN")),
        Answer(200, {}, b'{"status":"ok",' + listing().body[1:]),
    ],
)
def test_a_page_that_is_not_whole_is_unknown(answer: Answer) -> None:
    """A rounded id, an odd row, a cut body, another shape or HTTP status: read it again."""
    reply = v1.read_orders(answer, as_it_is)
    assert reply.verdict is UNKNOWN
    assert reply.data is None


def test_a_row_that_repeats_the_request_is_not_passed_on() -> None:
    """An echo of key or signature in any field of an order makes the page unreadable."""

    def scrub(text: str) -> str:
        return text.replace("my-access-key", "***")

    for field in ("contract_code", "direction", "order_source", "margin_account", "order_id_str"):
        answer = listing({**ROW, field: "my-access-key"})
        assert v1.read_orders(answer, as_it_is).verdict is OK, field
        reply = v1.read_orders(answer, scrub)
        assert reply.verdict is UNKNOWN, field
        assert "my-access-key" not in repr(reply)


def test_any_bytes_give_a_verdict() -> None:
    """A documented list, damaged in a few places, raises nothing and is a page or none at all."""
    chance = random.Random(5)
    whole = document("openorders-isolated.reply")
    for _ in range(1500):
        body = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(body))
            body[at : at + chance.randrange(3)] = bytes(chance.choices(b'0"{}[],:x\xff\\', k=1))
        reply = read_list(bytes(body))
        assert reply.verdict in (OK, REFUSED, UNKNOWN)
        if reply.verdict is OK:
            assert isinstance(reply.data, Page)


# The public list


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {}, b'{"status":"ok","data":null}'),
        Answer(200, {}, b'{"status":"ok","data":{}}'),
        Answer(200, {}, b'{"status":"ok","data":[{"contract_code":"A-USDT"},{}]}'),
        Answer(200, {}, b'{"status":"ok","data":[{"contract_code":"A\\n"}]}'),
        Answer(200, {}, b'{"status":"error","err_code":1014,"err_msg":"","ts":1}'),
        Answer(200, {}, b'{"status":"maintain"}'),
        Answer(404, {}, b'{"status":"ok","data":[{"contract_code":"A-USDT"}]}'),
        Answer(200, {}, b"["),
        Answer(200, {}, b"[" * 100_000),
        Answer(502, {}, b"<html>"),
    ],
)
def test_a_list_that_does_not_tell_the_contracts_is_none(answer: Answer) -> None:
    """Half a list would leave contracts out of a cancel of all of them."""
    with pytest.raises(ValueError, match=r"."):
        v1.read_contracts(answer)


def test_dated_futures_are_asked_for_in_cross_margin_only() -> None:
    """One public GET, never signed."""
    isolated, cross = v1.contracts(ISOLATED), v1.contracts(CROSS)
    assert isolated.method == cross.method == "GET"
    assert isolated.path == cross.path == "/linear-swap-api/v1/swap_contract_info"
    assert (isolated.params, cross.params) == ((), (("business_type", "all"),))


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"status":"ok","ts":5}', 5),
        (200, b'{"status":"ok","ts":"5"}', 5),
        (200, b'{"status":"ok","ts":5,"data":null}', 5),
        (200, b'{"status":"ok","ts":1.5}', None),
        (200, b'{"status":"ok"}', None),
        (200, b'{"status":"error","ts":5}', None),
        (200, b'{"ts":5}', None),
        (201, b'{"status":"ok","ts":5}', None),
        (404, b'{"status":"ok","ts":5}', None),
        (502, b"<html>", None),
        (200, b'{"status":"ok","ts":5', None),
        (200, b"[" * 100_000, None),
        (200, b"", None),
    ],
)
def test_the_time_is_told_by_a_whole_ok_alone(
    status: int, body: bytes, expected: int | None
) -> None:
    """A clock is corrected by it: any other reply tells no time, and none raises."""
    assert v1.read_time(Answer(status, {}, body)) == expected
