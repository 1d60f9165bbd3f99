"""What goes out over V5, and what any bytes that come back prove."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from htx_async.cancel.walk import Walk
from htx_async.codes import CodeClass, classify
from htx_async.enums import MarginMode, Verdict
from htx_async.exchange import v5
from htx_async.exchange.messages import Answer, SignedRequest
from htx_async.exchange.models import Page
from htx_async.exchange.operation import Operation, Reply
from htx_async.exchange.signing import Credentials, sign
from htx_async.filters import OrderFilter
from htx_async.orders import TrailingOrder
from htx_async.simulator import Request, SimulatedExchange
from tests.support.odd_replies import EVIL, SPLICES, STATUSES, is_plain, mangled, regrown
from tests.support.paths import DATA

V5_DATA = DATA / "v5"
ACCEPTED, REFUSED, UNKNOWN = Verdict.ACCEPTED, Verdict.REFUSED, Verdict.UNKNOWN
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMIT = 100

Scrub = Callable[[str], str]
Read = Callable[[Answer, Scrub], Reply]
READERS: dict[str, Read] = {"cancel": v5.read, "orders": v5.read_orders}
each_reader = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)


def as_it_is(text: str) -> str:
    return text


def wanted(contract_code: str = "BTC-USDT", mode: MarginMode = MarginMode.ISOLATED) -> OrderFilter:
    return OrderFilter.checked(contract_code, None, None, mode)


def read(reader: Read, status: int, body: Any, scrub: Scrub = as_it_is) -> Reply:
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return reader(Answer(status, {}, body), scrub)


def recorded(name: str) -> bytes:
    return (V5_DATA / f"{name}.json").read_bytes()


def success(data: Any, **fields: Any) -> dict[str, Any]:
    return {"code": 200, "message": "Success", "data": data, "ts": 5, **fields}


def row(**changed: Any) -> dict[str, Any]:
    """The live row with other fields; what is None is left out."""
    live: dict[str, Any] = json.loads(recorded("opens_live"))["data"][0]
    return {name: value for name, value in {**live, **changed}.items() if value is not None}


def page_of(*rows: Any, **fields: Any) -> Page:
    reply = read(v5.read_orders, 200, success(list(rows), **fields))
    assert reply.verdict is ACCEPTED, reply
    assert isinstance(reply.data, Page)
    return reply.data


def order_of(**changed: Any) -> TrailingOrder:
    (order,) = page_of(row(**changed)).orders
    return order


def cancelled(*items: Any) -> Reply:
    return read(v5.read, 200, success(list(items)))


def lists(reply: Reply) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The ids that were taken, and those that were refused with code and words."""
    return list(reply.successes), [(e.order_id, e.err_code, e.err_msg) for e in reply.errors]


# --- What goes out -----------------------------------------------------------------------------


def test_a_list_is_asked_for() -> None:
    """The first page: one signed GET of the contract's trailing orders, a hundred at most."""
    operation = v5.open_orders(wanted())
    request = operation.request
    assert (request.method, request.path, request.body) == ("GET", "/v5/algo/order/opens", b"")
    assert dict(request.params) == {
        "type": "trailing_stop",
        "contract_code": "BTC-USDT",
        "limit": "100",
    }
    assert (operation.may_repeat, operation.is_read, operation.about) == (True, True, "BTC-USDT")


@pytest.mark.parametrize(("make", "more"), [(v5.open_orders, 0), (v5.history, 1)])
def test_a_list_goes_on_after_a_row(make: Callable[..., Operation], more: int) -> None:
    """The next page names the row to go on from, and the direction; nothing else changes."""
    first, following = (
        dict(make(wanted()).request.params),
        dict(make(wanted(), "77").request.params),
    )
    assert following == {**first, "from": "77", "direct": "next"}
    assert len(first) == 3 + more


def test_the_history_is_asked_for() -> None:
    """It is that of all ended states, joined by commas."""
    operation = v5.history(wanted())
    assert (operation.request.method, operation.request.path) == ("GET", "/v5/algo/order/history")
    assert dict(operation.request.params)["states"] == "effective,canceled,failed"
    assert (operation.may_repeat, operation.is_read) == (True, True)


def test_both_margin_modes_share_a_list() -> None:
    """No client is known to send the margin mode here: the request is the same."""
    cross = wanted(mode=MarginMode.CROSS)
    assert v5.open_orders(cross).request == v5.open_orders(wanted()).request
    assert v5.history(cross).request == v5.history(wanted()).request


def test_a_contract_without_a_code_is_looked_for_in_the_whole_list() -> None:
    """V5 knows no pair: the list is then that of all contracts."""
    by_pair = OrderFilter.checked(None, None, None, MarginMode.CROSS, "BTC-USDT", "quarter")
    assert dict(v5.open_orders(by_pair).request.params) == {
        "type": "trailing_stop",
        "limit": "100",
    }


def test_a_cancel_is_an_array() -> None:
    """Each order is a row with the contract and the exact id as text, in the order given."""
    operation = v5.cancel(wanted("龙虾-USDT"), ["1512889773167009792", "7"])
    assert (operation.request.method, operation.request.path) == ("POST", "/v5/algo/cancel_orders")
    assert operation.request.params == ()
    assert json.loads(operation.request.body) == [
        {"contract_code": "龙虾-USDT", "algo_id": "1512889773167009792"},
        {"contract_code": "龙虾-USDT", "algo_id": "7"},
    ]
    assert (operation.may_repeat, operation.is_read, operation.about) == (True, False, "龙虾-USDT")
    assert operation.read is v5.read
    assert v5.MOST_IDS == 10


def test_a_cancel_is_compact_and_keeps_every_script() -> None:
    """No blank and no escape in the bytes that go out."""
    body = v5.cancel(wanted("龙虾-USDT"), ["7"]).request.body
    assert body == '[{"contract_code":"龙虾-USDT","algo_id":"7"}]'.encode()


def test_one_id_under_two_contracts_goes_in_two_requests() -> None:
    """A reply names orders by their ids alone: of two items of one id nobody would know which."""
    one, other = v5.cancel(wanted(), ["7", "8"]), v5.cancel(wanted("ETH-USDT"), ["9"])
    both = v5.joined(one, other)
    assert both is not None
    assert both.order_ids == ("7", "8", "9")
    assert v5.joined(one, v5.cancel(wanted("ETH-USDT"), ["8"])) is None
    again = v5.joined(one, v5.cancel(wanted(), ["8"]))
    assert again is not None
    assert again.order_ids == ("7", "8")


# --- Recorded and documented replies -----------------------------------------------------------

_OFFLINE = (
    "The interface is offline. For details about the address of the new interface, see the "
    "following bulletin:https://www.huobi.com.bo/support/en-us/detail/94916436903925"
)
_MERGED = (
    "The merged cross and isolated margin account for USDT-M futures is unavailable."
    "Please complete the query with linear-swap-api/v3/unified_account_info"
)
_METHOD = "Incorrect signature method [\u9519\u8bef\u7684\u7b7e\u540d\u65b9\u6cd5]"
ERRORS: dict[str, tuple[int, Reply, CodeClass]] = {
    "signature_refused_live": (
        200,
        Reply(REFUSED, 403, _METHOD, ts=1775823398810),
        CodeClass.AUTH,
    ),
    "parameter_refused": (
        200,
        Reply(REFUSED, 1067, "Illegal parameter margin_mode.", ts=0),
        CodeClass.NOT_RETRYABLE,
    ),
    "path_unknown": (404, Reply(REFUSED, 404, "Resources do not exist"), CodeClass.RETIRED),
    "account_moved_6023": (
        200,
        Reply(REFUSED, 6023, "The new feature is temporarily unavailable.", ts=1780224170348),
        CodeClass.MIGRATED,
    ),
    "account_moved_4002": (
        200,
        Reply(REFUSED, 4002, _MERGED, ts=1781547916103),
        CodeClass.MIGRATED,
    ),
    "interface_offline": (
        200,
        Reply(REFUSED, 10000, _OFFLINE, ts=1705731913442),
        CodeClass.RETIRED,
    ),
}
OF_A_LIST = ("opens_live",)
OF_A_CANCEL = ("cancelled_example", "placed_live")
OF_OTHER_CALLS = ("asset_mode_example", "position_mode_example")


def test_every_recorded_reply_is_judged() -> None:
    """No file of the folder is left without an expectation."""
    judged = {*ERRORS, *OF_A_LIST, *OF_A_CANCEL, *OF_OTHER_CALLS}
    assert {path.stem for path in V5_DATA.iterdir()} == judged


@each_reader
@pytest.mark.parametrize("name", ERRORS)
def test_recorded_errors_are_refusals_with_their_code_and_words(reader: Read, name: str) -> None:
    """Each recorded error, in whichever shape, is a refusal with its code, words and time."""
    status, expected, code_class = ERRORS[name]
    assert read(reader, status, recorded(name)) == expected
    assert classify(expected.code, status) is code_class


def test_the_recorded_list_is_read_to_the_last_field() -> None:
    """The recorded row is read to the last field, its ids and numbers exact, with its own."""
    reply = read(v5.read_orders, 200, recorded("opens_live"))
    assert (reply.verdict, reply.code, reply.ts) == (ACCEPTED, None, 1780742714098)
    expected = {
        "order_id_str": "1512889773167009792",
        "contract_code": "BTC-USDT",
        "direction": "sell",
        "offset": "close",
        "status": 2,
        "volume": "1",
        "callback_rate": "0.05",
        "active_price": "90000",
        "order_price_type": "formula_price",
        "reduce_only": 1,
        "order_source": "api",
        "margin_mode": "cross",
        "created_at": 1780742630055,
        "update_time": 1780742630223,
    }
    row = TrailingOrder.model_validate(expected)
    assert reply.data == Page((row,), rows=(1163773,))


def test_the_documented_cancel_took_its_order() -> None:
    """The example's order was taken."""
    reply = read(v5.read, 200, recorded("cancelled_example"))
    assert reply == Reply(ACCEPTED, successes=("1329854623927160832",), ts=1737103890390)


def test_a_placing_is_no_cancel() -> None:
    """The reply to a placing names an order, but its item has no code: nothing was cancelled."""
    reply = read(v5.read, 200, recorded("placed_live"))
    assert (reply.verdict, lists(reply)) == (ACCEPTED, ([], []))


@pytest.mark.parametrize("name", ["placed_live", "cancelled_example", *OF_OTHER_CALLS])
def test_the_reply_to_another_call_is_no_list(name: str) -> None:
    """What does not hold orders of this type is unreadable as a list, never an empty one."""
    assert read(v5.read_orders, 200, recorded(name)).verdict is UNKNOWN


@pytest.mark.parametrize("name", OF_OTHER_CALLS)
def test_a_success_without_a_list_proves_no_cancel(name: str) -> None:
    """A success whose data is an object is unknown to the reader of a cancel."""
    assert read(v5.read, 200, recorded(name)).verdict is UNKNOWN


@each_reader
@pytest.mark.parametrize("name", [*ERRORS, *OF_A_LIST, *OF_A_CANCEL])
def test_a_truncated_reply_is_unknown_at_every_byte(reader: Read, name: str) -> None:
    """A reply cut short anywhere before its last brace proves nothing."""
    whole = recorded(name).rstrip()
    for end in range(len(whole)):
        reply = read(reader, 200, whole[:end])
        assert (reply.verdict, reply.code, reply.data) == (UNKNOWN, None, None), whole[:end]


@each_reader
@pytest.mark.parametrize("status", [201, 206, 302, 400, 401, 404, 500, 502, 599])
def test_a_success_counts_with_http_200_only(reader: Read, status: int) -> None:
    """Any other status beside a success is unknown."""
    for name in ("opens_live", "cancelled_example"):
        reply = read(reader, status, recorded(name))
        assert (reply.verdict, reply.successes, reply.data) == (UNKNOWN, (), None)


# --- Envelopes ---------------------------------------------------------------------------------

ENVELOPES: list[tuple[int, Any, Verdict, Any]] = [
    (200, success([]), ACCEPTED, None),
    (200, success([], code="200"), ACCEPTED, None),
    (200, success([], ts="5"), ACCEPTED, None),
    (200, success([], ts=None), ACCEPTED, None),
    (200, {"code": 200, "msg": "Success", "data": []}, ACCEPTED, None),
    (200, success([], status=None), ACCEPTED, None),
    (200, success([], new={"a": 1}), ACCEPTED, None),
    (200, success(None), ACCEPTED, None),
    (200, success({}), UNKNOWN, None),
    (200, success("[]"), UNKNOWN, None),
    (200, {"code": 200, "message": "Success"}, UNKNOWN, None),
    (200, success([], status="ok"), UNKNOWN, None),
    (200, success([], status="error"), UNKNOWN, None),
    (200, success([], code=200.0), UNKNOWN, None),
    (200, success([], code=True), UNKNOWN, None),
    (200, success([], code=" 200"), UNKNOWN, None),
    (200, success([], code="0200"), UNKNOWN, None),
    (200, success([], code=0), UNKNOWN, None),
    (200, success([], code=None), UNKNOWN, None),
    (200, {"data": []}, UNKNOWN, None),
    (200, {"status": "ok", "data": {"errors": [], "successes": ""}}, UNKNOWN, None),
    (200, {"status": "ok", "data": []}, UNKNOWN, None),
    (200, {"code": 6001, "message": "x", "data": None}, REFUSED, 6001),
    (200, {"code": "6001", "msg": "x"}, REFUSED, 6001),
    (200, {"code": 1032, "message": "x", "data": []}, REFUSED, 1032),
    (200, {"code": 1003, "message": "x"}, UNKNOWN, 1003),
    (200, {"code": 1067.5}, UNKNOWN, None),
    (200, {"status": "error", "err_code": 1051, "err_msg": "x"}, REFUSED, 1051),
    (200, {"status": "error", "err-code": "invalid-parameter"}, REFUSED, "invalid-parameter"),
    (200, {"status": "maintain"}, REFUSED, "maintain"),
    (404, {"status": 404, "error": "Not Found", "path": "/v5/x"}, REFUSED, 404),
    (404, b"<html>404</html>", UNKNOWN, None),
    (403, {"code": 403, "msg": "x", "data": None}, REFUSED, 403),
    (429, b"", REFUSED, None),
    (429, {"code": 1032, "message": "x"}, REFUSED, 1032),
    (429, success([]), REFUSED, None),
]  # fmt: skip


@each_reader
@pytest.mark.parametrize(("status", "body", "verdict", "code"), ENVELOPES)
def test_each_status_and_envelope_has_its_verdict_and_code(
    reader: Read, status: int, body: Any, verdict: Verdict, code: Any
) -> None:
    """The verdict and the code for each status and envelope, of a list as of a cancel."""
    reply = read(reader, status, body)
    assert (reply.verdict, reply.code) == (verdict, code)
    assert type(reply.code) is type(code)
    assert (reply.successes, reply.errors) == ((), ())
    if verdict is not ACCEPTED:
        assert reply.data is None


# --- Orders ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "position_side", "offset"),
    [
        ("buy", "long", "open"),
        ("sell", "short", "open"),
        ("sell", "long", "close"),
        ("buy", "short", "close"),
        ("buy", "both", "both"),
        ("sell", "both", "both"),
        ("buy", None, "both"),
        ("buy", "LONG", "both"),
        ("sell", "net", "both"),
        ("hold", "long", "both"),
    ],
)
def test_position_sides_are_offsets(side: str, position_side: str | None, offset: str) -> None:
    """The pairs of hedge mode open or close; all else is as unsure as a one-way order."""
    order = order_of(side=side, position_side=position_side)
    assert (order.direction, order.offset) == (side, offset)
    assert order.is_one_way is (offset == "both")


@pytest.mark.parametrize(
    ("state", "status"),
    [("active", 2), ("effective", 4), ("failed", 5), ("canceled", 6), ("new", None), (2, None)],
)
def test_states_are_statuses(state: Any, status: int | None) -> None:
    """Each state is the status that v1 has for it; a state that nobody knows is none."""
    assert order_of(state=state).status == status


@pytest.mark.parametrize(
    ("told", "expected"), [(True, 1), (False, 0), (1, 1), ("0", 0), ("x", None)]
)
def test_reduce_only_is_a_flag_or_the_number_in_its_place(told: Any, expected: int | None) -> None:
    """A flag, or a number in its place, is the number that v1 sends; anything else is none."""
    assert order_of(reduce_only=told).reduce_only == expected


def test_times_and_numbers_come_as_either() -> None:
    """Times and amounts may be numbers; what is in no known form is None and spoils nothing."""
    order = order_of(created_time=5, updated_time="6", volume=1, active_price=1.5)
    assert (order.created_at, order.update_time) == (5, 6)
    assert (order.volume, order.active_price) == (Decimal(1), Decimal("1.5"))
    order = order_of(created_time="soon", volume="many", callback_rate=None, margin_mode=None)
    assert (order.created_at, order.volume, order.callback_rate) == (None, None, None)
    assert order.margin_mode is None


def test_the_rows_number_is_not_the_orders() -> None:
    """An order is known by `algo_id`, all digits of it, as text or as a number."""
    assert order_of(algo_id="9223372036854775807").order_id == "9223372036854775807"
    assert order_of(algo_id=1512889773167009793).order_id == "1512889773167009793"
    assert order_of(order_id_str="5", order_id="6").order_id == "1512889773167009792"


@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        [],
        {},
        row(type=None),
        row(type=7),
        row(type=["trailing_stop"]),
        row(algo_id=None),
        row(algo_id=""),
        row(algo_id=1.5),
        row(algo_id=True),
        row(algo_id="1" * 65),
        row(algo_id="7\n8"),
        row(side=None),
        row(side=1),
        row(contract_code=None),
        row(contract_code=["BTC-USDT"]),
        row(contract_code="BTC\nUSDT"),
    ],
)
def test_an_odd_row_is_counted(odd: Any) -> None:
    """A row that may hide an order is not skipped, wherever it stands, and hides no other; alone it
    makes the page unreadable."""
    for rows in ([row(), odd], [odd, row()]):
        page = page_of(*rows)
        assert ([one.order_id for one in page.orders], page.unread) == ([row()["algo_id"]], 1)
    assert read(v5.read_orders, 200, success([odd])).verdict is UNKNOWN


def test_a_list_with_a_row_that_could_not_be_read_is_not_whole() -> None:
    """It is read to its end, and then says why."""
    walk = Walk(v5.Pages)
    walk.feed(page_of(row(id="1"), row(id="2", side=None)))
    assert (walk.following, walk.problem) == ("2", "")
    walk.feed(page_of())
    assert (walk.is_whole, walk.problem) == (False, "1 of its rows could not be read")


@pytest.mark.parametrize("kind", ["tp", "sl", "tpsl", "trigger", "new kind"])
@pytest.mark.parametrize("name", ["type", "algo_type"])
def test_a_row_of_another_type_is_passed_over(name: str, kind: str) -> None:
    """It is no trailing order, and the list goes on after it all the same."""
    other = {**row(id="9", algo_id="9"), "type": None, name: kind}
    page = page_of(row(id="8"), other)
    assert (len(page.orders), page.rows, page.unread) == (1, (8, 9), 0)
    page = page_of(other)
    assert (page.orders, page.rows) == ((), (9,))


@pytest.mark.parametrize(
    "told", [{"type": "trailing_stop"}, {"type": None, "algo_type": "trailing"}]
)
def test_the_type_has_two_names(told: dict[str, Any]) -> None:
    """That of the live rows, and that of HTX.Net."""
    assert order_of(**told).order_id == row()["algo_id"]


def test_a_row_may_come_alone() -> None:
    """Not in a list, as HTX.Net reads it."""
    reply = read(v5.read_orders, 200, success(row(id="8")))
    assert (len(reply.data.orders), reply.data.rows) == (1, (8,))
    reply = read(v5.read, 200, success({"algo_id": "1", "code": 200}))
    assert reply.successes == ("1",)


def test_a_short_page_goes_on_too() -> None:
    """Only an empty one has nothing to go on from, and one whose rows have no numbers."""
    assert page_of() == Page(())
    assert v5.Pages().after(page_of(row(id="7"), row(id="9"))) == "9"
    assert v5.Pages().after(page_of(*[row(id=None)] * (LIMIT - 1))) == ""


def walked(*pages: list[int]) -> list[str]:
    """What is asked for after each of these pages, of rows with these numbers."""
    way = v5.Pages()
    made = [page_of(*[row(id=str(n), algo_id=str(n)) for n in rows]) for rows in pages]
    return [way.after(page) or way.problem for page in made]


def test_a_list_ends_where_nothing_new_comes() -> None:
    """Empty at once; after its last row; with that row once more."""
    assert walked([]) == [""]
    assert walked([3, 5], []) == ["5", ""]
    assert walked([3, 5], [5, 8], [8]) == ["5", "8", ""]


def test_a_list_whose_rows_do_not_ascend_is_asked_for_in_both_directions() -> None:
    """Newest first: `next` may lead to older rows, or back to newer ones."""
    assert walked([8, 5], [3, 1], [], [8, 5, 3]) == ["5", "1", "-1", ""]
    assert walked([8, 5], [8], [3, 1], []) == ["5", "-5", "-1", ""]
    assert walked([8, 5], [8], [1, 3], [1]) == ["5", "-5", "-1", ""]


def test_older_rows_are_read_before_newer_ones_of_which_there_may_be_no_end() -> None:
    """`next` leads back to newer rows, and somebody keeps placing: first those before."""
    assert walked([8, 5], [9, 8], [3, 1], [], [11, 9], []) == ["5", "-5", "-1", "9", "11", ""]


def test_what_is_left_of_a_list_may_ascend() -> None:
    """Once the older rows are read, the others were placed the later the later they come."""
    way = v5.Pages()
    ascends = []
    for rows in ([8, 5], [9, 8], [3, 1], [], [11, 9]):
        way.after(page_of(*[row(id=str(n), algo_id=str(n)) for n in rows]))
        ascends.append(way.ascends)
    assert ascends == [False, False, False, False, True]


def test_a_row_that_stands_twice_hides_no_other() -> None:
    """What comes last on a page need not be the row to go on from."""
    assert walked([8, 5, 8], [3, 8], [], []) == ["5", "3", "-3", ""]
    assert walked([3, 5, 3], [5, 8, 5], []) == ["5", "8", ""]
    assert walked([3, 5], [8, 3], [9], [], []) == ["5", "-3", "-9", "8", ""]


def test_a_list_that_cannot_be_gone_on_with_says_why() -> None:
    """It names no row, or it begins anew."""
    assert walked([3, 5], [3, 5]) == ["5", "it begins anew instead of going on"]
    way = v5.Pages()
    assert way.after(page_of(row(id=None))) == ""
    assert way.problem == "its rows have no numbers to go on from"


def test_a_list_goes_back_before_a_row() -> None:
    """The other direction, by its own word."""
    assert dict(v5.open_orders(wanted(), "-77").request.params)["direct"] == "prev"
    assert dict(v5.open_orders(wanted(), "-77").request.params)["from"] == "77"


def test_ended_orders_of_every_contract_are_asked_for_by_windows() -> None:
    """48 hours each, the most that one request may ask for."""
    assert dict(v5.ended(None, None, "all").request.params) == {
        "type": "trailing_stop",
        "states": "effective,canceled,failed",
        "limit": "100",
    }
    earlier = dict(v5.ended("BTC-USDT", 1_000_000_000_000, "BTC-USDT").request.params)
    assert earlier["contract_code"] == "BTC-USDT"
    assert int(earlier["end_time"]) - int(earlier["start_time"]) == 48 * 3_600_000
    assert int(earlier["end_time"]) == 1_000_000_000_000


@pytest.mark.parametrize("last", ["1163872", 1163872])
def test_a_full_page_goes_on_after_its_last_row(last: Any) -> None:
    """The cursor is the row's own number, as text, not the order's."""
    page = page_of(*[row(id="1")] * (LIMIT - 1), row(id=last))
    assert (len(page.orders), page.total) == (LIMIT, None)
    assert v5.Pages().after(page) == "1163872"


def test_a_page_longer_than_asked_for_goes_on_too() -> None:
    """An exchange that ignores the limit does not end the list by that."""
    assert v5.Pages().after(page_of(*[row(id="8")] * (LIMIT + 1))) == "8"


def test_a_cursor_may_have_64_digits() -> None:
    """As many as an id may have."""
    assert v5.Pages().after(page_of(*[row(id="1" * 64)] * LIMIT)) == "1" * 64


@pytest.mark.parametrize("last", [None, "", "x", "-1", "1.5", 1.5, True, [], "\u0661", "1" * 65])
def test_a_full_page_without_a_cursor_has_an_end_that_nobody_knows(last: Any) -> None:
    """Where the list goes on and does not say where, it is not taken for the whole; its orders
    count."""
    walk = Walk(v5.Pages)
    walk.feed(page_of(*[row(id="1")] * (LIMIT - 1), row(id=last)))
    assert (walk.is_whole, walk.problem) == (False, "its rows have no numbers to go on from")
    assert len(walk.rows()) == 1


# --- Cancels -----------------------------------------------------------------------------------


def test_an_items_own_code_counts() -> None:
    """Inside an outer 200 each order is taken or refused by what its own item says."""
    reply = cancelled(
        {"algo_id": "1", "code": 200, "message": "\u6210\u529f"},
        {"algo_id": "2", "code": 1061, "message": "The order does not exist."},
        {"algo_id": "3", "code": "200", "message": "failed"},
        {"algo_id": "4", "code": "1063", "msg": "x"},
    )
    assert (reply.verdict, reply.code, reply.ts) == (ACCEPTED, None, 5)
    refused = [("2", 1061, "The order does not exist."), ("4", 1063, "x")]
    assert lists(reply) == (["1", "3"], refused)


def test_items_of_the_other_form() -> None:
    """A flag in the place of the code counts as well, and only the flag itself."""
    reply = cancelled(
        {"algo_id": "1", "success": True},
        {"algo_id": "2", "success": False, "error_code": 1061, "error_msg": "gone"},
        {"algo_id": "3", "success": False, "error_code": "1071"},
        {"algo_id": "4", "success": "true"},
        {"algo_id": "5", "success": 1},
        {"algo_id": "6", "success": False},
    )
    assert lists(reply) == (["1"], [("2", 1061, "gone"), ("3", 1071, "")])


@pytest.mark.parametrize(
    "odd",
    [
        None,
        7,
        "7",
        [],
        {},
        {"algo_id": "7"},
        {"algo_id": "7", "message": "Success"},
        {"algo_id": "7", "code": None},
        {"algo_id": "7", "code": ""},
        {"algo_id": "7", "code": True},
        {"algo_id": "7", "code": 200.0},
        {"algo_id": "7", "code": " 200"},
        {"algo_id": "7", "code": "ok"},
        {"algo_id": "7", "code": -1},
        {"algo_id": "7", "code": [200]},
        {"algo_id": "7", "code": "1" * 16},
        {"algo_id": "7", "code": None, "success": True},
        {"algo_id": None, "code": 200},
        {"algo_id": "", "code": 200},
        {"algo_id": 7.0, "code": 200},
        {"algo_id": True, "code": 200},
        {"algo_id": "x7", "code": 200},
        {"algo_id": "-7", "code": 1061},
        {"algo_id": "\u0667", "code": 200},
        {"algo_client_order_id": "7", "code": 200},
        {"order_id": "7", "code": 200},
    ],
)
def test_an_odd_item_proves_nothing_of_its_order(odd: Any) -> None:
    """It is in neither list, and its neighbours are read all the same."""
    reply = cancelled({"algo_id": "1", "code": 200}, odd, {"algo_id": "2", "code": 1061})
    assert lists(reply) == (["1"], [("2", 1061, "")])


@pytest.mark.parametrize(
    "odd",
    [
        {"algo_id": "7", "code": 200, "success": False},
        {"algo_id": "7", "code": 200, "success": False, "error_code": 1088},
        {"algo_id": "7", "code": 200, "error_code": 1061, "error_msg": "x"},
        {"algo_id": "7", "code": 1061, "success": True},
        {"algo_id": "7", "success": True, "error_code": 1061},
    ],
)
def test_an_item_that_contradicts_itself_proves_nothing(odd: Any) -> None:
    """Taken by its code and refused by its flag or error code, it is in neither list."""
    assert lists(cancelled(odd)) == ([], [])


@pytest.mark.parametrize(
    "odd",
    [
        {"algo_id": "7", "code": "0200"},
        {"algo_id": "7", "success": False, "error_code": 200},
        {"algo_id": "7", "success": False, "error_code": "200"},
    ],
)
def test_a_success_is_no_reason_of_an_error(odd: Any) -> None:
    """An item whose error is the code of a success is in neither list."""
    assert lists(cancelled(odd)) == ([], [])


@pytest.mark.parametrize("code", [200, 1061])
def test_an_id_that_is_too_long_is_none(code: int) -> None:
    """What no order has as its id, nobody is told of as one."""
    assert lists(cancelled({"algo_id": "1" * 65, "code": code})) == ([], [])


def test_the_longest_id_and_the_longest_code() -> None:
    """An id of 64 digits is one, and so is a code of 15."""
    reply = cancelled(
        {"algo_id": "1" * 64, "code": 200},
        {"algo_id": "2" * 64, "code": "9" * 15},
    )
    assert lists(reply) == (["1" * 64], [("2" * 64, 999_999_999_999_999, "")])


@pytest.mark.parametrize("item", [b'{"algo_id":7e0,"code":200}', b'{"algo_id":"7","code":1061e0}'])
def test_a_number_in_another_notation_is_neither_id_nor_code(item: bytes) -> None:
    """Whole only by its value: no exchange writes an id so, and it is not rounded into one."""
    reply = read(v5.read, 200, b'{"code":200,"data":[%s],"ts":5}' % item)
    assert (reply.verdict, lists(reply)) == (ACCEPTED, ([], []))


def test_a_missing_item_proves_nothing() -> None:
    """An empty success names no order."""
    reply = cancelled()
    assert (reply.verdict, lists(reply)) == (ACCEPTED, ([], []))


def test_codes_and_flags_are_not_words() -> None:
    """The same items with any words are read the same."""
    for words in ("Success", "fail", "1061", "", None, 5, {"a": 1}):
        reply = cancelled(
            {"algo_id": "1", "code": 200, "message": words},
            {"algo_id": "2", "code": 1061, "message": words},
        )
        assert reply.successes == ("1",)
        assert [error.err_code for error in reply.errors] == [1061]


# --- Foreign words -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVIL)
def test_foreign_words_cannot_move_a_terminal(name: str) -> None:
    """Escapes, line breaks and text direction arrive as visible text, by every way in."""
    words = EVIL[name]
    shown = [
        cancelled({"algo_id": "1", "code": 1061, "message": words}).errors[0].err_msg,
        cancelled({"algo_id": "1", "code": 1061, "msg": words}).errors[0].err_msg,
        cancelled({"algo_id": "1", "error_code": 1061, "error_msg": words}).errors[0].err_msg,
        *(read(one, 200, {"code": 1067, "msg": words}).message for one in READERS.values()),
    ]
    for text in shown:
        assert is_plain(text)
        assert "\\" in text


def test_foreign_words_are_capped() -> None:
    """However long the words about one order are, a few lines are kept."""
    (error,) = cancelled({"algo_id": "1", "code": 1061, "message": "x" * 5000}).errors
    assert 200 <= len(error.err_msg) <= 320
    assert error.err_msg.endswith("...")


ACCESS = "access-canary-0123456789"


def signed(operation: Operation) -> SignedRequest:
    return sign(Credentials(ACCESS, "secret-key"), operation.request, "https://api.hbdm.com", NOON)


@pytest.mark.parametrize("cut", [0, 200, 280, 299])
def test_an_echoed_credential_is_scrubbed(cut: int) -> None:
    """Words that repeat the signed query lose signature and access key, at the cut as well."""
    request = signed(v5.cancel(wanted(), ["7"]))
    query = urlsplit(request.url()).query
    raw = dict(parse_qsl(query))["Signature"]
    words = "x" * cut + f"{raw} {query} {raw} {ACCESS}"
    items = [{"algo_id": "7", "code": 1088, name: words} for name in ("message", "msg")]
    items.append({"algo_id": "7", "success": False, "error_code": 1088, "error_msg": words})
    shown = [error.err_msg for error in read(v5.read, 200, success(items), request.scrub).errors]
    assert len(shown) == 3
    for reader in READERS.values():
        shown += [
            read(reader, 200, {"code": 403, "msg": words}, request.scrub).message,
            read(reader, 404, {"code": 404, "message": words}, request.scrub).message,
            read(reader, 429, {"code": 1032, "message": words}, request.scrub).message,
        ]
    pieces = [raw[:12], query.partition("&Signature=")[2][:12], ACCESS[:12]]
    for text in shown:
        assert text
        assert not [piece for piece in pieces if piece in text]


@pytest.mark.parametrize("name", ["algo_id", "contract_code", "side", "order_source"])
def test_an_echo_among_the_orders_makes_the_page_unreadable(name: str) -> None:
    """A field that repeats the access key is passed on in no order."""
    request = signed(v5.open_orders(wanted()))
    reply = read(v5.read_orders, 200, success([row(), row(**{name: ACCESS})]), request.scrub)
    assert (reply.verdict, reply.data) == (UNKNOWN, None)
    assert ACCESS not in repr(reply)


def test_an_echo_in_the_place_of_an_id_is_dropped() -> None:
    """An item that names the access key as its order, or as its code, names nobody."""
    request = signed(v5.cancel(wanted(), ["7"]))
    items = [
        {"algo_id": ACCESS, "code": 200},
        {"algo_id": ACCESS, "code": 1061},
        {"algo_id": "7", "code": ACCESS},
    ]
    assert lists(read(v5.read, 200, success(items), request.scrub)) == ([], [])


# --- Hostile bytes -----------------------------------------------------------------------------

_TEXT = json.dumps(success([])).encode()
NOT_JSON = {
    "nothing": b"",
    "words": b"OK",
    "HTML around a reply": b"<pre>" + _TEXT + b"</pre>",
    "byte order mark": b"\xef\xbb\xbf" + _TEXT,
    "UTF-16": _TEXT.decode().encode("utf-16"),
    "NaN": _TEXT.replace(b"5}", b"NaN}"),
    "a key twice": _TEXT.replace(b"5}", b'5, "code": 200}'),
    "data twice": _TEXT.replace(b"5}", b'5, "data": []}'),
    "a nested key twice": _TEXT.replace(b"[]", b'[{"algo_id": "1", "code": 1, "code": 200}]'),
    "two replies": _TEXT * 2,
    "a tail": _TEXT + b"x",
    "a list": b"[" + _TEXT + b"]",
    "null": b"null",
    "deep data": _TEXT.replace(b"[]", b"[" * 100_000),
    "deep data, closed": _TEXT.replace(b"[]", b"[" * 100_000 + b"]" * 100_000),
    "deep code": b'{"code": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "5000 digits as code": b'{"code": ' + b"2" * 5000 + b"}",
    "5000 digits as time": _TEXT.replace(b"5}", b"5" * 5000 + b"}"),
    "5000 digits as id": _TEXT.replace(b"[]", b'[{"algo_id": ' + b"1" * 5000 + b"}]"),
    "an overlong byte": _TEXT.replace(b"ts", b"\xc0\xaf"),
}


@each_reader
@pytest.mark.parametrize("name", NOT_JSON)
def test_bodies_that_prove_nothing(reader: Read, name: str) -> None:
    """What is not complete, unambiguous JSON is unknown, and refused where HTTP 429 says so."""
    reply = read(reader, 200, NOT_JSON[name])
    assert (reply.verdict, reply.code, reply.data, reply.ts) == (UNKNOWN, None, None, None)
    refused = read(reader, 429, NOT_JSON[name])
    assert refused._replace(excerpt="") == Reply(REFUSED, message="HTTP 429")


def plainly(body: bytes) -> Any:
    """What a plain JSON reader sees, or None."""
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError):
        return None


def test_no_mangled_cancel_raises_or_is_believed_too_much() -> None:
    """Over 2500 mutations an order is taken only where a plain reader sees its own item say so."""
    chance = random.Random(20260301)
    items = [
        {"algo_id": "11", "code": 200, "message": "Success"},
        {"algo_id": "12", "code": 1061, "message": "x"},
        {"algo_id": "13", "success": True},
        {"algo_id": "14", "success": False, "error_code": 1063, "error_msg": "x"},
    ]
    bodies = [json.dumps(success(items)).encode()] * 4 + [recorded("cancelled_example").strip()]
    bodies += [recorded(name).strip() for name in ERRORS]
    seen = dict.fromkeys((ACCEPTED, REFUSED, UNKNOWN), 0)
    for turn in range(2500):
        status = chance.choice(STATUSES)
        body = (mangled, regrown)[turn % 2](chance, chance.choice(bodies))
        reply = read(v5.read, status, body)
        seen[reply.verdict] += 1
        if reply.verdict is ACCEPTED:
            said = plainly(body)
            assert (status, str(said["code"])) == (200, "200"), body
            items = said["data"] or []
            good = [
                str(one["algo_id"])
                for one in (items if isinstance(items, list) else [items])
                if isinstance(one, dict)
                and (isinstance(one.get("algo_id"), str) or type(one.get("algo_id")) is int)
                and ("code" in one or "success" in one)
                and str(one.get("code", 200)) == "200"
                and one.get("success", True) is True
                and one.get("error_code") is None
            ]
            assert [one for one in good if one.isascii() and one.isdigit()] == list(
                reply.successes
            ), body
        assert is_plain(reply.message)
        assert all(is_plain(error.err_msg) for error in reply.errors)
    assert min(seen.values()) > 100, seen


def is_other(one: Any) -> bool:
    """Whether a row says plainly that it is no trailing order."""
    kind = (one.get("type") or one.get("algo_type")) if isinstance(one, dict) else None
    return isinstance(kind, str) and kind not in ("trailing_stop", "trailing")


def test_no_mangled_list_raises_or_loses_an_order() -> None:
    """Over 1500 mutations a list that is believed has an order for every row that it shows, or
    counts it, but for those of another type."""
    chance = random.Random(20260302)
    body = json.dumps(success([row(), row(algo_id="12", side="buy")])).encode()
    seen = dict.fromkeys((ACCEPTED, REFUSED, UNKNOWN), 0)
    for turn in range(1500):
        damaged = (mangled, regrown)[turn % 2](chance, body)
        reply = read(v5.read_orders, 200, damaged)
        seen[reply.verdict] += 1
        if reply.verdict is ACCEPTED:
            said = plainly(damaged)
            rows = said["data"] or []
            rows = rows if isinstance(rows, list) else [rows]
            others = [one for one in rows if is_other(one)]
            orders = reply.data.orders
            assert len(rows) == len(orders) + reply.data.unread + len(others), damaged
            shown = [str(one.get("algo_id")) for one in rows if isinstance(one, dict)]
            assert {order.order_id for order in orders} <= {*shown}, damaged
    assert min(seen[ACCEPTED], seen[UNKNOWN]) > 100, seen


@each_reader
def test_random_bytes_are_never_believed(reader: Read) -> None:
    """Noise is unknown, or refused where HTTP 429 says so."""
    chance = random.Random(5)
    for _ in range(300):
        status = chance.choice(STATUSES)
        noise = chance.choice(SPLICES) + chance.randbytes(chance.randrange(200))
        assert read(reader, status, noise).verdict is (REFUSED if status == 429 else UNKNOWN)


# --- Both halves -------------------------------------------------------------------------------


def asked(exchange: SimulatedExchange, operation: Operation) -> Reply:
    """The simulated exchange's answer to a job, signed and read as the client does it."""
    request = sign(
        exchange.credentials, operation.request, "https://api.hbdm.com", datetime.now(UTC)
    )
    target = request.url().removeprefix(request.base_url)
    host = {"Host": "api.hbdm.com"}
    reply = exchange.handle(Request(request.method, target, host, request.body))
    return operation.read(Answer(reply.status, {}, reply.body), request.scrub)


def test_the_simulated_exchange_takes_what_is_sent() -> None:
    """Over two pages and two batches, each request is understood and each reply read in full."""
    exchange = SimulatedExchange(account="v5")
    placed = exchange.place("BTC-USDT", "sell", "close", LIMIT + 5)
    exchange.place("ETH-USDT", "buy", "open")
    first = asked(exchange, v5.open_orders(wanted())).data
    rest = asked(exchange, v5.open_orders(wanted(), str(first.rows[-1]))).data
    assert [order.order_id for order in (*first.orders, *rest.orders)] == list(placed)
    assert {(order.direction, order.offset) for order in first.orders} == {("sell", "close")}
    last = asked(exchange, v5.open_orders(wanted(), str(rest.rows[-1]))).data
    assert last == Page(())
    exchange.reject_order(placed[1], 1004)
    reply = asked(exchange, v5.cancel(wanted(), placed[: v5.MOST_IDS]))
    assert reply.successes == (placed[0], *placed[2:10])
    assert [(error.order_id, error.err_code) for error in reply.errors] == [(placed[1], 1004)]
    ended = asked(exchange, v5.history(wanted())).data
    assert [order.order_id for order in ended.orders] == list(reply.successes)
    assert {order.status for order in ended.orders} == {6}
    assert asked(exchange, v5.cancel(wanted(), placed[:11])).code == 1067


def test_the_simulated_exchange_tells_success_in_the_other_form() -> None:
    """Items with a flag in the place of a code are read the same."""
    exchange = SimulatedExchange(account="v5", v5_items="success")
    (order_id,) = exchange.place("BTC-USDT", "sell", "close")
    reply = asked(exchange, v5.cancel(wanted(), [order_id, "1"]))
    assert lists(reply) == ([order_id], [("1", 1061, "The order does not exist.")])


def test_an_account_on_v1_is_told_apart() -> None:
    """What V5 says to an account that is not on it is a refusal with its own code."""
    for code in (6001, 4007):
        exchange = SimulatedExchange(v5_refusal=code)
        assert asked(exchange, v5.open_orders(wanted())).code == code
