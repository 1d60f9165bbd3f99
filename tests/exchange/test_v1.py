"""What goes out, and what any bytes that come back prove."""

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from htx_async.codes import Code, CodeClass, classify
from htx_async.enums import Verdict
from htx_async.exchange import v1
from htx_async.exchange.messages import Answer
from htx_async.exchange.operation import Reply
from htx_async.exchange.signing import Credentials, sign
from htx_async.filters import OrderFilter
from tests.support.odd_replies import (
    EVIL,
    NO,
    NOT_JSON,
    OK,
    STATUSES,
    is_plain,
    mangled,
    no,
    ok,
    regrown,
)
from tests.support.paths import DATA

V1_DATA = DATA / "v1"
PATH = "/linear-swap-api/v1/swap_track_cancelall"
ACCEPTED, REFUSED, UNKNOWN = Verdict.ACCEPTED, Verdict.REFUSED, Verdict.UNKNOWN


def as_it_is(text: str) -> str:
    return text


def read(status: int, body: bytes | str | Any, scrub: Callable[[str], str] = as_it_is) -> Reply:
    if isinstance(body, str):
        body = body.encode()
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return v1.read(Answer(status, {}, body), scrub)


def without(reply: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in reply.items() if name not in names}


def rows(*errors: Any) -> dict[str, Any]:
    return ok(errors=list(errors), successes="")


# --- What goes out -----------------------------------------------------------------------------


def test_the_request_is_one_post_with_the_intent_as_its_body() -> None:
    """One POST to the isolated cancel-all, with the intent as its body and no query of its own."""
    request = v1.cancel_all(OrderFilter.checked("btc-usdt", "buy", "close")).request
    assert (request.method, request.path, request.params) == ("POST", PATH, ())
    assert json.loads(request.body) == {
        "contract_code": "BTC-USDT",
        "direction": "buy",
        "offset": "close",
    }


# --- Recorded and documented replies -----------------------------------------------------------

RECORDED: dict[str, tuple[int, Reply]] = {
    "all_cancelled": (
        200,
        Reply(
            ACCEPTED,
            successes=("826054603831312384", "826054608491184128", "826054686706565120"),
            ts=1616988392280,
        ),
    ),
    "all_cancelled_cross_example": (
        200,
        Reply(
            ACCEPTED,
            successes=("826054813483597824", "826054818734866432", "826054867657228288"),
            ts=1616988442893,
        ),
    ),
    "one_cancelled_live": (
        200,
        Reply(ACCEPTED, successes=("1442564726236282880",), ts=1763975842675),
    ),
    "two_empty_lists": (200, Reply(ACCEPTED, ts=1616988392280)),
    "no_orders": (200, Reply(REFUSED, 1051, "No orders to cancel.", ts=1652552125876)),
    "signature_refused": (
        200,
        Reply(
            REFUSED,
            403,
            "Incorrect signature method [\u9519\u8bef\u7684\u7b7e\u540d\u65b9\u6cd5]",
            ts=1763892684776,
        ),
    ),
    "word_code": (
        200,
        Reply(REFUSED, "invalid-parameter", "contract_code data error or empty", ts=0),
    ),
    "maintenance": (200, Reply(REFUSED, "maintain")),
    "v5_parameter_refused": (200, Reply(REFUSED, 1067, "Illegal parameter margin_mode.", ts=0)),
    "v5_path_unknown": (404, Reply(REFUSED, 404, "Resources do not exist")),
    "path_unknown": (404, Reply(REFUSED, 404, "Not Found")),
    "account_moved_6023": (
        200,
        Reply(REFUSED, 6023, "The new feature is temporarily unavailable.", ts=1780224170348),
    ),
    "account_moved_4002": (
        200,
        Reply(
            REFUSED,
            4002,
            "The merged cross and isolated margin account for USDT-M futures is unavailable."
            "Please complete the query with linear-swap-api/v3/unified_account_info",
            ts=1781547916103,
        ),
    ),
    "interface_offline": (
        200,
        Reply(
            REFUSED,
            10000,
            "The interface is offline. For details about the address of the new interface, see the "
            "following bulletin:https://www.huobi.com.bo/support/en-us/detail/94916436903925",
            ts=1705731913442,
        ),
    ),
}
# Two more whose per-order errors are looked at by themselves.
WITH_ERRORS = {
    "some_missing": (
        ("826052268312821760",),
        [("826052268312821761", 1061, "This order doesnt exist.")],
    ),
    "none_succeeded_live": ((), [("1349442392365359104", 1061, "The order does not exist.")]),
}


def recorded(name: str) -> bytes:
    return (V1_DATA / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_replies_are_read_to_the_last_field(name: str) -> None:
    """Each recorded or documented reply is read to the last field."""
    status, expected = RECORDED[name]
    assert read(status, recorded(name)) == expected


@pytest.mark.parametrize("name", WITH_ERRORS)
def test_recorded_replies_with_errors_of_single_orders(name: str) -> None:
    """Orders that were refused one by one keep their id, code and words."""
    reply = read(200, recorded(name))
    successes, errors = WITH_ERRORS[name]
    assert (reply.verdict, reply.successes) == (ACCEPTED, successes)
    assert [(e.order_id, e.err_code, e.err_msg) for e in reply.errors] == errors


def test_every_recorded_reply_is_judged() -> None:
    """No file of the folder is left without an expectation."""
    assert {path.stem for path in V1_DATA.iterdir()} == set(RECORDED) | set(WITH_ERRORS)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 500, 502, 503, 504, 520, 599])
def test_no_redirect_or_server_error_is_believed(status: int) -> None:
    """3xx and 5xx are unknown whatever complete and well-formed reply they carry."""
    for name in [*RECORDED, *WITH_ERRORS]:
        reply = read(status, recorded(name))
        told = (reply.verdict, reply.successes, reply.errors, reply.code)
        assert told == (UNKNOWN, (), (), None), name
        assert str(status) in reply.message, name


@pytest.mark.parametrize("status", [0, 100, 101, 199, 300, 304, 399, 600, 999])
def test_no_odd_status_is_believed(status: int) -> None:
    """Only 2xx and 4xx are judged by their body."""
    assert read(status, NO).verdict is UNKNOWN
    assert read(status, OK).verdict is UNKNOWN


@pytest.mark.parametrize("name", [*RECORDED, *WITH_ERRORS])
@pytest.mark.parametrize("status", [200, 400, 404])
def test_a_truncated_reply_is_unknown_at_every_byte(name: str, status: int) -> None:
    """A reply cut short anywhere before its last brace proves nothing."""
    whole = recorded(name).rstrip()
    for end in range(len(whole)):
        reply = read(status, whole[:end])
        assert (reply.verdict, reply.code, reply.successes) == (UNKNOWN, None, ()), whole[:end]


# --- Verdicts ----------------------------------------------------------------------------------

TABLE: list[tuple[int, Any, Verdict, Code | None]] = [
    # An ok in every dress that was seen or is clear.
    (200, OK, ACCEPTED, None),
    (200, ok(successes=""), ACCEPTED, None),
    (200, ok(successes=None), ACCEPTED, None),
    (200, ok(successes=[]), ACCEPTED, None),
    (200, ok(successes=["11", "12"]), ACCEPTED, None),
    (200, ok(successes=[826054603831312384]), ACCEPTED, None),
    (200, ok(successes="11, 12 ,"), ACCEPTED, None),
    (200, ok(errors=None), ACCEPTED, None),
    (200, ok(new={"a": [1]}), ACCEPTED, None),
    (200, {**OK, "new": None}, ACCEPTED, None),
    (200, without(OK, "ts"), ACCEPTED, None),
    (200, {**OK, "ts": "5"}, ACCEPTED, None),
    (200, {**OK, "ts": None}, ACCEPTED, None),
    (200, {**OK, "ts": "soon"}, ACCEPTED, None),
    (200, {**OK, "ts": 1.5}, ACCEPTED, None),
    (200, rows({"order_id": "7"}), ACCEPTED, None),
    (200, rows({"order_id": 7, "err_code": "1061"}), ACCEPTED, None),
    (200, rows({"order_id": "7", "err_code": 1061, "err_msg": None}), ACCEPTED, None),
    (200, rows({"order_id": "7", "err_code": "word-code", "new": 1}), ACCEPTED, None),
    (200, b" \r\n\t" + json.dumps(OK).encode() + b"\n\n", ACCEPTED, None),
    # An ok that is none.
    (201, OK, UNKNOWN, None),
    (202, OK, UNKNOWN, None),
    (206, OK, UNKNOWN, None),
    (400, OK, UNKNOWN, None),
    (401, OK, UNKNOWN, None),
    (403, OK, UNKNOWN, None),
    (404, OK, UNKNOWN, None),
    (200, {"status": "ok"}, UNKNOWN, None),
    (200, {"status": "ok", "data": None}, UNKNOWN, None),
    (200, {"status": "ok", "data": {}}, UNKNOWN, None),
    (200, {"status": "ok", "data": []}, UNKNOWN, None),
    (200, {"status": "ok", "data": "11,12"}, UNKNOWN, None),
    (200, {"status": "ok", "data": {"successes": "11"}}, UNKNOWN, None),
    (200, {"status": "ok", "data": {"errors": []}}, UNKNOWN, None),
    (200, {"status": "ok", "data": {"order_id": 1, "order_id_str": "1"}}, UNKNOWN, None),
    (200, ok(errors={}), UNKNOWN, None),
    (200, ok(errors=""), UNKNOWN, None),
    (200, ok(errors=[1]), UNKNOWN, None),
    (200, ok(errors=[None]), UNKNOWN, None),
    (200, ok(errors=[{}]), UNKNOWN, None),
    (200, ok(errors=[[]]), UNKNOWN, None),
    (200, ok(errors=[{"err_code": 1061}]), UNKNOWN, None),
    (200, rows({"order_id": "", "err_code": 1061}), UNKNOWN, None),
    (200, rows({"order_id": None, "err_code": 1061}), UNKNOWN, None),
    (200, rows({"order_id": 7.0, "err_code": 1061}), UNKNOWN, None),
    (200, rows({"order_id": True, "err_code": 1061}), UNKNOWN, None),
    (200, rows({"order_id": "7\n8", "err_code": 1061}), UNKNOWN, None),
    (200, rows({"order_id": "7", "err_code": True}), UNKNOWN, None),
    (200, rows({"order_id": "7", "err_code": 1061.0}), UNKNOWN, None),
    (200, rows({"order_id": "7", "err_code": [1061]}), UNKNOWN, None),
    (200, ok(successes=11), UNKNOWN, None),
    (200, ok(successes=True), UNKNOWN, None),
    (200, ok(successes={"11": 1}), UNKNOWN, None),
    (200, ok(successes=[None]), UNKNOWN, None),
    (200, ok(successes=[1.5]), UNKNOWN, None),
    (200, ok(successes=[True]), UNKNOWN, None),
    (200, ok(successes=[["11"]]), UNKNOWN, None),
    (200, ok(successes="<html>"), UNKNOWN, None),
    (200, ok(successes="11 12"), UNKNOWN, None),
    (200, ok(successes="\u0661\u0662"), UNKNOWN, None),
    (200, ok(successes="1" * 65), UNKNOWN, None),
    (200, {**OK, "status": "OK"}, UNKNOWN, None),
    (200, {**OK, "status": "ok "}, UNKNOWN, None),
    (200, {**OK, "status": "success"}, UNKNOWN, None),
    (200, {**OK, "status": True}, UNKNOWN, None),
    (200, {**OK, "status": 200}, UNKNOWN, None),
    (200, {**OK, "status": None}, UNKNOWN, None),
    (200, {**OK, "status": ["ok"]}, UNKNOWN, None),
    (200, without(OK, "status"), UNKNOWN, None),
    # Shape 1: err_code.
    (200, NO, REFUSED, 1051),
    (201, NO, REFUSED, 1051),
    (400, NO, REFUSED, 1051),
    (403, NO, REFUSED, 1051),
    (404, NO, REFUSED, 1051),
    (200, no("1051"), REFUSED, 1051),
    (200, no("maintain"), REFUSED, "maintain"),
    (200, no(1051, err_msg=None), REFUSED, 1051),
    (200, no(1051, err_msg=["x"]), REFUSED, 1051),
    (200, no(1051, ts="now"), REFUSED, 1051),
    (200, without(NO, "err_msg", "ts"), REFUSED, 1051),
    (200, no(1051, data=None, new=1), REFUSED, 1051),
    (200, no(424242), REFUSED, 424242),
    (200, no("424242"), REFUSED, 424242),
    (200, no("never-heard-of"), REFUSED, "never-heard-of"),
    (200, no(True), UNKNOWN, None),
    (200, no(False), UNKNOWN, None),
    (200, no(1051.0), UNKNOWN, None),
    (200, no(1051.5), UNKNOWN, None),
    (200, no(None), UNKNOWN, None),
    (200, no(""), UNKNOWN, None),
    (200, no(" 1051"), UNKNOWN, None),
    (200, no("1051.0"), UNKNOWN, None),
    (200, no("\u0661\u0660\u0665\u0661"), UNKNOWN, None),
    (200, no("<b>"), UNKNOWN, None),
    (200, no([1051]), UNKNOWN, None),
    (200, no({"code": 1051}), UNKNOWN, None),
    (200, no(10**30), UNKNOWN, None),
    (200, no("x" * 65), UNKNOWN, None),
    (200, no("Bad Request"), UNKNOWN, None),
    (200, without(NO, "err_code"), UNKNOWN, None),
    (200, {**NO, "status": "Error"}, UNKNOWN, None),
    (200, {**NO, "status": "fail"}, UNKNOWN, None),
    (200, without(NO, "status"), UNKNOWN, None),
    (200, no(200), UNKNOWN, None),
    (200, no("200"), UNKNOWN, None),
    # Shape 2: err-code, in words.
    (200, {"status": "error", "err-code": "invalid-parameter", "err-msg": "x"}, REFUSED,
     "invalid-parameter"),
    (200, {"status": "error", "err-code": "login-required", "data": None}, REFUSED,
     "login-required"),
    (401, {"status": "error", "err-code": "api-signature-not-valid"}, REFUSED,
     "api-signature-not-valid"),
    (200, {"status": "error", "err-code": "1051"}, REFUSED, 1051),
    (200, {"status": "error", "err-code": None}, UNKNOWN, None),
    (200, {"status": "error", "err-code": ["x"]}, UNKNOWN, None),
    # Shape 3: maintenance.
    (200, {"status": "maintain"}, REFUSED, "maintain"),
    (200, {"status": "maintain", "ts": "x", "new": 1}, REFUSED, "maintain"),
    (400, {"status": "maintain"}, REFUSED, "maintain"),
    (503, {"status": "maintain"}, UNKNOWN, None),
    (200, {"status": "maintained"}, UNKNOWN, None),
    # Shape 4: code, with message or msg.
    (200, {"code": 1067, "message": "x"}, REFUSED, 1067),
    (200, {"code": "1067", "msg": "x"}, REFUSED, 1067),
    (403, {"code": 403, "msg": "Incorrect signature method", "data": None}, REFUSED, 403),
    (404, {"code": 404, "message": "Resources do not exist"}, REFUSED, 404),
    (200, {"code": 200, "message": "Success", "data": {}}, UNKNOWN, None),
    (200, {"code": "200", "msg": "Success"}, UNKNOWN, None),
    (200, {"code": None, "message": "x"}, UNKNOWN, None),
    (200, {"code": True}, UNKNOWN, None),
    (200, {"code": 1067.0}, UNKNOWN, None),
    (200, {"message": "x"}, UNKNOWN, None),
    (200, {"status": "fail", "code": 1051, "message": "x"}, UNKNOWN, None),
    (200, {"status": "error", "code": 1051, "message": "x"}, UNKNOWN, None),
    (200, {"status": 200, "code": 1051, "message": "x"}, UNKNOWN, None),
    # Shape 5: the path is unknown.
    (404, {"status": 404, "error": "Not Found", "path": PATH}, REFUSED, 404),
    (404, {"status": "404", "error": "Not Found"}, REFUSED, 404),
    (404, {"status": 404, "error": None}, REFUSED, 404),
    (200, {"status": 404, "error": "Not Found"}, UNKNOWN, None),
    (400, {"status": 404, "error": "Not Found"}, UNKNOWN, None),
    (404, {"status": 403, "error": "Forbidden"}, UNKNOWN, None),
    (404, {"status": 500, "error": "Internal Server Error"}, UNKNOWN, None),
    (404, {"status": 404}, UNKNOWN, None),
    (404, {"status": 404.0, "error": "Not Found"}, UNKNOWN, None),
    (404, {"status": "not found", "error": "Not Found"}, UNKNOWN, None),
    (404, {"error": "Not Found"}, UNKNOWN, None),
    (404, "<html><h1>404 Not Found</h1></html>", UNKNOWN, None),
    (404, "", UNKNOWN, None),
    (404, "Not Found", UNKNOWN, None),
    (404, '"Not Found"', UNKNOWN, None),
    # 4xx by their body.
    (403, no(403), REFUSED, 403),
    (403, "<html>Forbidden</html>", UNKNOWN, None),
    (403, "", UNKNOWN, None),
    (403, {"message": "Forbidden"}, UNKNOWN, None),
    (401, no(403), REFUSED, 403),
    (401, no(12005), REFUSED, 12005),
    (401, "Unauthorized", UNKNOWN, None),
    (401, "", UNKNOWN, None),
    (400, "", UNKNOWN, None),
    (408, "", UNKNOWN, None),
    (413, "too large", UNKNOWN, None),
    (451, "<html>", UNKNOWN, None),
    (499, "", UNKNOWN, None),
    (204, "", UNKNOWN, None),
    # HTTP 429.
    (429, "", REFUSED, None),
    (429, "<html>slow down</html>", REFUSED, None),
    (429, OK, REFUSED, None),
    (429, no(1032), REFUSED, 1032),
    (429, no(1004), REFUSED, None),
    (429, no(1051), REFUSED, None),
    (429, {"code": 200, "message": "Success"}, REFUSED, None),
    (429, {"status": "error", "err-code": "rate-too-many-requests"}, REFUSED,
     "rate-too-many-requests"),
    (429, b"\xff\xfe\x00", REFUSED, None),
    (429, "[" * 100_000, REFUSED, None),
    (429, "null", REFUSED, None),
    (429, no(10**30), REFUSED, None),
    # Server errors and redirects, whatever they say.
    (500, NO, UNKNOWN, None),
    (502, "<html>502 Bad Gateway</html>", UNKNOWN, None),
    (503, NO, UNKNOWN, None),
    (504, "", UNKNOWN, None),
    (302, NO, UNKNOWN, None),
    (307, OK, UNKNOWN, None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "verdict", "code"), TABLE)
def test_each_status_and_body_has_its_verdict_and_code(
    status: int, body: Any, verdict: Verdict, code: Code | None
) -> None:
    """The verdict and the code for each status and body."""
    reply = read(status, body)
    assert (reply.verdict, reply.code) == (verdict, code)
    assert type(reply.code) is type(code)
    if verdict is not ACCEPTED:
        assert (reply.successes, reply.errors) == ((), ())


@pytest.mark.parametrize("status", [200, 201, 400, 403, 404])
def test_bodies_that_prove_nothing(status: int) -> None:
    """What is not complete, unambiguous JSON of a known shape is unknown and gives no code."""
    for name, body in NOT_JSON.items():
        reply = read(status, body)
        told = (reply.verdict, reply.code, reply.successes, reply.ts)
        assert told == (UNKNOWN, None, (), None), name
        assert reply.message, name


@pytest.mark.parametrize("name", NOT_JSON)
def test_bodies_that_prove_nothing_beside_429(name: str) -> None:
    """HTTP 429 is refused without a code, however broken its body."""
    refused = read(429, NOT_JSON[name])
    assert refused._replace(excerpt="") == Reply(REFUSED, message="HTTP 429")


AMBIGUOUS = [1000, 1003, 1004, 1005, 1062, 1064, 1108, 1440, "system-busy", "timeout",
             "base-system-error", "gateway-internal-error"]  # fmt: skip


@pytest.mark.parametrize("code", AMBIGUOUS)
@pytest.mark.parametrize("status", [200, 400])
def test_codes_of_doubt_are_unknown(code: Code, status: int) -> None:
    """A code after which the command may have been carried out is unknown, in every shape."""
    for body in ({**NO, "err_code": code}, {"status": "error", "err-code": code}, {"code": code}):
        assert read(status, body).verdict is UNKNOWN
    reply = read(status, {**NO, "err_code": str(code)})
    assert reply.verdict is UNKNOWN
    assert reply.code == code
    assert reply.message == "No orders."


@pytest.mark.parametrize("code", [424242, 1, 0, 99999, "some-new-word"])
def test_codes_nobody_knows_are_final_refusals(code: Code) -> None:
    """A new code is an authentic no, which is not tried again."""
    reply = read(200, no(code))
    assert reply.verdict is REFUSED
    assert classify(reply.code) is CodeClass.NOT_RETRYABLE


@pytest.mark.parametrize("code", [403, 12001, 1413])
@pytest.mark.parametrize("status", [200, 401, 403])
def test_key_faults_are_auth_whatever_the_status(code: int, status: int) -> None:
    """A JSON error about the key is a refusal of class auth with any of these statuses."""
    reply = read(status, no(code))
    assert reply.verdict is REFUSED
    assert classify(reply.code, status) is CodeClass.AUTH


# --- What an ok holds --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ()),
        (None, ()),
        ([], ()),
        (",", ()),
        ("11", ("11",)),
        ("11,12,13", ("11", "12", "13")),
        ("11,,12,", ("11", "12")),
        (" 11 , 12", ("11", "12")),
        (["11", "12"], ("11", "12")),
        ([11, 826054603831312384], ("11", "826054603831312384")),
    ],
)
def test_ids_that_succeeded(given: Any, expected: tuple[str, ...]) -> None:
    """Ids come out one by one as text, digit by digit, and "" holds none."""
    assert read(200, ok(successes=given)).successes == expected


@pytest.mark.parametrize("ids", ["7", "11,12", "1" * 64])
def test_the_documented_success_is_read_with_blanks_and_without(ids: str) -> None:
    """Both forms say the same; like any success it counts with HTTP 200 only."""
    body = f'{{"status":"ok","data":{{"errors":[],"successes":"{ids}"}},"ts":5}}'
    expected = Reply(ACCEPTED, successes=tuple(ids.split(",")), ts=5)
    assert read(200, body) == read(200, body.replace(",", ", ")) == expected
    for status in (201, 404, 500):
        assert read(status, body).verdict is UNKNOWN


def test_a_big_number_is_not_rounded() -> None:
    """An id of 19 digits that comes as a number keeps every digit."""
    body = b'{"status":"ok","data":{"errors":[],"successes":[1192021437253877761]},"ts":1}'
    assert read(200, body).successes == ("1192021437253877761",)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"order_id": "7", "err_code": 1061, "err_msg": "gone"}, ("7", 1061, "gone")),
        ({"order_id": 7, "err_code": "1061", "err_msg": None}, ("7", 1061, "")),
        ({"order_id": "7", "err_code": "word"}, ("7", "word", "")),
        ({"order_id": "7"}, ("7", None, "")),
        ({"order_id": "7", "err_code": None, "err_msg": 5}, ("7", None, "")),
        ({"order_id": "7", "err_code": 1000, "new": {}}, ("7", 1000, "")),
    ],
)
def test_orders_that_were_refused(row: Any, expected: tuple[Any, ...]) -> None:
    """A per-order error keeps id, code and words; a code of doubt does not undo the ok."""
    reply = read(200, rows(row))
    assert reply.verdict is ACCEPTED
    assert [(e.order_id, e.err_code, e.err_msg) for e in reply.errors] == [expected]


# --- Foreign words -----------------------------------------------------------------------------


def replies_with(words: str) -> list[str]:
    """What is left of `words` by each way in which a reply can bring them."""
    refusals = [
        read(200, no(1014, err_msg=words)),
        read(200, no(1000, err_msg=words)),
        read(429, no(1032, err_msg=words)),
        read(200, {"status": "error", "err-code": "bad-request", "err-msg": words}),
        read(200, {"code": 1067, "message": words}),
        read(200, {"code": 1067, "msg": words}),
        read(404, {"status": 404, "error": words}),
    ]
    orders = read(200, rows({"order_id": "7", "err_code": 1088, "err_msg": words})).errors
    return [*(reply.message for reply in refusals), *(error.err_msg for error in orders)]


@pytest.mark.parametrize("name", EVIL)
def test_foreign_words_cannot_move_a_terminal(name: str) -> None:
    """Escapes, line breaks and text direction arrive as visible text, by every way in."""
    for shown in replies_with(EVIL[name]):
        assert shown
        assert is_plain(shown)
        assert "\\" in shown


def test_plain_words_are_left_alone() -> None:
    """Words in any script come through as they are."""
    words = "Incorrect Access key [Access key\u9519\u8bef] na\u00efve \U0001f680"
    assert replies_with(words) == [words] * 8


@pytest.mark.parametrize("words", ["x" * 5000, "\x00" * 5000, "\u202e" * 5000, "\U000e0041" * 5000])
def test_foreign_words_are_capped(words: str) -> None:
    """However long the exchange's words are, a report keeps a few lines of them, marked as cut."""
    for shown in replies_with(words):
        assert 200 <= len(shown) <= 320
        assert shown.endswith("...")
        assert is_plain(shown)


def test_words_of_three_hundred_signs_are_whole() -> None:
    """The cap does not cut what the exchange really says; one sign more is cut, and marked."""
    assert replies_with("x" * 300) == ["x" * 300] * 8
    assert replies_with("x" * 301) == ["x" * 300 + "..."] * 8


def test_what_cannot_be_read_is_told_in_words_of_our_own() -> None:
    """With the status, and nothing of the reply itself."""
    words = "HTTP 200, and the reply is not complete JSON of a known shape"
    assert [read(200, body).message for body in (b"<html>", OK | {"data": 1}, b"")] == [words] * 3
    assert read(503, NO).message == "HTTP 503"


@pytest.mark.parametrize("status", [200, 429])
def test_lone_surrogates_do_not_get_through(status: int) -> None:
    """Half a character, which no log can encode, neither raises nor reaches the report."""
    body = b'{"status": "error", "err_code": 1014, "err_msg": "cut \\ud83d"}'
    read(status, body).message.encode()
    body = b'{"status": "ok", "data": {"errors": [], "successes": "1\\ud83d"}}'
    assert read(status, body).successes == ()


ACCESS = "access-canary-0123456789"


@pytest.mark.parametrize("cut", [0, 200, 280, 299])
def test_an_echoed_credential_is_scrubbed(cut: int) -> None:
    """Words that repeat the signed query lose signature and access key, at the cut as well."""
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    request = v1.cancel_all(OrderFilter.checked("BTC-USDT", None, None)).request
    signed = sign(Credentials(ACCESS, "secret-key"), request, "https://api.hbdm.com", noon)
    query = urlsplit(signed.url()).query
    raw = dict(parse_qsl(query))["Signature"]
    words = "x" * cut + f"{raw} {query} {raw} {ACCESS}"
    order = {"order_id": "7", "err_code": 1088, "err_msg": words}
    shown = [
        read(200, no(403, err_msg=words), signed.scrub).message,
        read(200, no(1000, err_msg=words), signed.scrub).message,
        read(429, no(1032, err_msg=words), signed.scrub).message,
        read(404, {"status": 404, "error": words, "path": words}, signed.scrub).message,
        read(200, rows(order), signed.scrub).errors[0].err_msg,
    ]
    pieces = [raw[:12], query.partition("&Signature=")[2][:12], ACCESS[:12]]
    for text in shown:
        assert text
        assert not [piece for piece in pieces if piece in text]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, no(ACCESS)),
        (400, {"status": "error", "err-code": ACCESS}),
        (200, {"code": ACCESS, "message": "x"}),
        (200, rows({"order_id": "7", "err_code": ACCESS})),
    ],
)
def test_an_echo_is_no_code(status: int, body: Any) -> None:
    """A code would be passed on as it is: one that repeats the request makes the reply unknown."""

    def scrub(text: str) -> str:
        return text.replace(ACCESS, "***")

    assert ACCESS in repr(read(status, body))
    reply = read(status, body, scrub)
    assert reply.verdict is UNKNOWN
    assert ACCESS not in repr(reply)


def test_digits_are_no_echo() -> None:
    """Ids and codes of digits stay as they are, even where a key happens to hold the same."""

    def scrub(text: str) -> str:
        return text.replace("7", "***")

    reply = read(200, rows({"order_id": "1777", "err_code": 1071}), scrub)
    assert [(error.order_id, error.err_code) for error in reply.errors] == [("1777", 1071)]
    assert read(200, no(1017), scrub).code == 1017


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"status": "maintain", "ts": 5}),
        (429, NO),
        (429, no(1032)),
        (429, {"code": 1032, "message": "x", "ts": 5}),
    ],
)
def test_a_refusal_tells_the_exchange_s_time(status: int, body: Any) -> None:
    """The pause that a rate limit asks for is reckoned from it."""
    assert (read(status, body).verdict, read(status, body).ts) == (REFUSED, 5)


def test_nothing_is_decided_from_words() -> None:
    """The same code with any words is the same verdict."""
    for words in ("ok", "No orders to cancel.", "success", "maintain", "System busy", "1051"):
        reply = read(200, no(1014, err_msg=words))
        assert (reply.verdict, reply.code) == (REFUSED, 1014)


# --- Fuzz --------------------------------------------------------------------------------------


def claims(body: bytes) -> Any:
    """What a plain JSON reader sees, or None."""
    try:
        return json.loads(body.decode())
    except (ValueError, RecursionError):
        return None


def test_no_mangled_reply_raises_or_is_believed_too_much() -> None:
    """Over 6000 mutations, accepted and refused are only what a plain JSON reader sees as such."""
    chance = random.Random(20260301)
    bodies = [recorded(name).strip() for name in (*RECORDED, *WITH_ERRORS)]
    bodies += [body for body in bodies if b'"ok"' in body] * 2
    seen = dict.fromkeys((ACCEPTED, REFUSED, UNKNOWN), 0)
    for turn in range(6000):
        status = chance.choice(STATUSES)
        body = (mangled, regrown)[turn % 2](chance, chance.choice(bodies))
        reply = read(status, body)
        context = (status, body, reply)
        assert isinstance(reply, Reply), context
        seen[reply.verdict] += 1
        document = claims(body)
        if reply.verdict is ACCEPTED:
            assert status == 200, context
            assert document["status"] == "ok", context
            given = document["data"]["successes"] or ""
            listed = given.split(",") if isinstance(given, str) else [str(each) for each in given]
            assert list(reply.successes) == [each.strip() for each in listed if each.strip()], (
                context
            )
            assert len(reply.errors) == len(document["data"]["errors"] or []), context
        elif reply.verdict is REFUSED and status != 429:
            assert 200 <= status < 300 or 400 <= status < 500, context
            assert isinstance(document, dict), context
            assert document.get("status") != "ok", context
            assert classify(reply.code) is not CodeClass.AMBIGUOUS, context
        assert reply.ts is None or (isinstance(reply.ts, int) and reply.ts >= 0), context
        assert is_plain(reply.message), context
        assert len(reply.message) <= 320, context
    assert min(seen.values()) > 300, seen


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_are_never_believed(seed: int) -> None:
    """Noise is unknown, or refused where HTTP 429 says so."""
    chance = random.Random(seed)
    for _ in range(250):
        status = chance.choice(STATUSES)
        reply = read(status, chance.randbytes(chance.randrange(200)))
        assert reply.verdict is (REFUSED if status == 429 else UNKNOWN)
