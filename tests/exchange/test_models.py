"""What a caller may ask for, and the body that carries it."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from htx_async.enums import ALL_CONTRACTS, Direction, Offset
from htx_async.errors import InvalidRequest
from htx_async.exchange.models import CancelAllData, ErrorReply
from htx_async.filters import OrderFilter


def checked(contract_code: Any = "BTC-USDT", direction: Any = None, offset: Any = None) -> Any:
    return OrderFilter.checked(contract_code, direction, offset)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("BTC-USDT", "BTC-USDT"),
        ("btc-usdt", "BTC-USDT"),
        ("Btc-Usdt", "BTC-USDT"),
        ("BTC-USDT-210625", "BTC-USDT-210625"),
        ("1000pepe-usdt", "1000PEPE-USDT"),
        ("a", "A"),
        ("7", "7"),
        ("\u9f99\u867e-usdt", "\u9f99\u867e-USDT"),
        ("\u9f99\u867e-USDT", "\u9f99\u867e-USDT"),
        ("\u00e9t\u00e9-usdt", "\u00e9T\u00e9-USDT"),
        ("stra\u00dfe", "STRA\u00dfE"),
        ("\u0131\u017f\u01c6", "\u0131\u017f\u01c6"),
        ("\uff42\uff54\uff43", "\uff42\uff54\uff43"),
        ("\u0661\u0662", "\u0661\u0662"),
        ("x" * 64, "X" * 64),
        ("\u9f99" * 64, "\u9f99" * 64),
    ],
)
def test_a_contract_code_is_upper_cased_in_ascii_alone(given: str, expected: str) -> None:
    """ASCII letters are upper-cased and no other character is touched or refused for its script."""
    assert checked(given).contract_code == expected


@pytest.mark.parametrize(
    "given",
    [
        "",
        " ",
        "x" * 65,
        "\u9f99" * 65,
        " BTC-USDT",
        "BTC-USDT ",
        "BTC-USDT\n",
        "BTC USDT",
        "BTC/USDT",
        "BTC_USDT",
        "BTC.USDT",
        "BTC:USDT",
        "BTC,ETH",
        "BTC\\USDT",
        'BTC"USDT',
        "BTC*",
        "%",
        "\u20bf-USDT",
        "BTC\x00",
        "BTC\x1b[31m",
        "BTC\x7f",
        "BTC\u00b2-USDT",
        "BTC\u2082",
        "\u216b-USDT",
        "\u00bd-USDT",
        "BTC\u2010USDT",
        "BTC\u2212USDT",
        "BTC\u200b-USDT",
        "BTC\u202e-USDT",
        "\ufeffBTC-USDT",
        "e\u0301-USDT",
        "BTC\ufe0f",
        "\U0001f680-USDT",
        "BTC\u00a0USDT",
        "BTC\ud800",
        None,
        5,
        1.5,
        True,
        b"BTC-USDT",
        bytearray(b"BTC-USDT"),
        ["BTC-USDT"],
        ("BTC-USDT",),
        {"contract_code": "BTC-USDT"},
        object(),
    ],
)
def test_other_contract_codes_are_refused(given: Any) -> None:
    """Anything else than 1 to 64 letters, digits and '-' of a string is `InvalidRequest`."""
    with pytest.raises(InvalidRequest, match="contract_code") as caught:
        checked(given)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("direction", "offset"),
    [
        (None, None),
        ("buy", None),
        ("sell", None),
        (None, "open"),
        (None, "close"),
        ("buy", "close"),
        ("sell", "open"),
        (Direction.BUY, Offset.OPEN),
        (Direction.SELL, "close"),
    ],
)
def test_filters_are_optional_and_independent(direction: Any, offset: Any) -> None:
    """Both filters are optional and independent, as enum or as plain string."""
    intent = checked("BTC-USDT", direction, offset)
    assert (intent.direction, intent.offset) == (direction, offset)
    assert intent.direction is None or type(intent.direction) is Direction
    assert intent.offset is None or type(intent.offset) is Offset


BAD_FILTERS = [
    *["", " ", "Buy", "BUY", "buy ", " open", "Open", "CLOSE", "both", "all", "long", "buy,sell"],
    *["None", "null", 0, 1, False, True, 0.0, [], ["buy"], {}, b"", object()],
]


@pytest.mark.parametrize("value", BAD_FILTERS)
@pytest.mark.parametrize("name", ["direction", "offset"])
def test_a_wrong_filter_never_widens(name: str, value: Any) -> None:
    """A filter that is not understood is `InvalidRequest`: it never becomes 'all'."""
    with pytest.raises(InvalidRequest, match=name) as caught:
        checked(**{name: value})
    assert isinstance(caught.value, ValueError)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("direction", "offset"),
    [(Offset.OPEN, None), (None, Direction.BUY), ("open", None), (None, "buy"), ("close", "sell")],
)
def test_filters_are_not_interchanged(direction: Any, offset: Any) -> None:
    """A value of one filter is no value of the other."""
    with pytest.raises(InvalidRequest):
        checked("BTC-USDT", direction, offset)


@pytest.mark.parametrize("name", ["direction", "offset"])
def test_bytes_are_no_filter(name: str) -> None:
    """Filters are strings: bytes are refused like any other type."""
    with pytest.raises(InvalidRequest, match=name):
        checked(**{name: b"buy" if name == "direction" else b"open"})


def test_every_wrong_argument_is_named() -> None:
    """One error names all that is wrong, so that one correction is enough."""
    with pytest.raises(InvalidRequest) as caught:
        checked("", "", "")
    for name in ("contract_code", "direction", "offset"):
        assert name in str(caught.value)


@pytest.mark.parametrize("given", [["BTC-USDT"], ("BTC-USDT",), {"BTC-USDT"}, ALL_CONTRACTS])
def test_several_contracts_in_the_place_of_one_are_told_where_they_belong(given: Any) -> None:
    """Who hands a list to a call of one contract hears of the call that takes it."""
    with pytest.raises(InvalidRequest, match="mass_cancel_trailing takes several"):
        checked(given)


def test_a_wrong_filter_is_told_what_none_means() -> None:
    """The text for a filter lists its values and says that None means all."""
    with pytest.raises(InvalidRequest, match=r"offset: must be 'open' or 'close'; None means all"):
        checked(offset="")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("btc-usdt",), {"contract_code": "BTC-USDT"}),
        (("BTC-USDT", "buy"), {"contract_code": "BTC-USDT", "direction": "buy"}),
        (("BTC-USDT", None, "open"), {"contract_code": "BTC-USDT", "offset": "open"}),
        (
            ("BTC-USDT", "buy", "close"),
            {"contract_code": "BTC-USDT", "direction": "buy", "offset": "close"},
        ),
        (
            ("\u9f99\u867e-USDT", "sell"),
            {"contract_code": "\u9f99\u867e-USDT", "direction": "sell"},
        ),
    ],
)
def test_the_body_holds_what_was_asked_and_nothing_else(arguments: Any, expected: Any) -> None:
    """The body has the documented fields that were given: no null, no empty string, no extra."""
    body = checked(*arguments).body
    assert isinstance(body, bytes)
    assert json.loads(body) == expected


def test_the_body_is_utf_8() -> None:
    """Other scripts travel as UTF-8, and the body has no byte order mark."""
    body = checked("\u9f99\u867e-USDT").body
    assert "\u9f99\u867e-USDT".encode() in body
    assert body.startswith(b"{")


def test_an_intent_is_frozen_and_takes_no_other_field() -> None:
    """What was checked stays as it is, and no undocumented field slips in."""
    intent = checked()
    with pytest.raises(ValidationError):
        intent.offset = Offset.OPEN
    with pytest.raises(ValidationError):
        OrderFilter.model_validate({"contract_code": "BTC-USDT", "marginMode": "cross"})


def test_models_of_replies_ignore_what_is_new() -> None:
    """Fields that the exchange adds without notice are ignored at every level."""
    row = {"order_id": "7", "err_code": 1061, "err_msg": "gone", "new": {}}
    data = {"successes": "1", "errors": [row], "new": 1}
    reply = CancelAllData.model_validate(data)
    assert reply.errors
    assert (reply.successes, reply.errors[0].err_code) == (("1",), 1061)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(1051, 1051), ("1051", 1051), ("invalid-parameter", "invalid-parameter"), (0, 0)],
)
def test_codes_as_number_or_text(given: Any, expected: Any) -> None:
    """A code is a number, digits of text, or lower-case words."""
    assert ErrorReply.model_validate({"code": given}).code == expected


@pytest.mark.parametrize(
    "given",
    [None, True, False, 1051.0, 1e3, "", " ", "1051 ", "10.5", "Bad", "a b", "\u0661", "x" * 65, [],
     {}, [1051], 10**15, 10**40],
)  # fmt: skip
def test_what_is_no_code(given: Any) -> None:
    """Truth values, fractions, other scripts' digits and oversized numbers are no codes."""
    with pytest.raises(ValidationError):
        ErrorReply.model_validate({"code": given})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1652552125876, 1652552125876),
        ("1652552125876", 1652552125876),
        (0, 0),
        (None, None),
        (-1, None),
        (1.5, None),
        (True, None),
        ("soon", None),
        (10**20, None),
        ([], None),
    ],
)
def test_a_time_that_is_none_is_left_out(given: Any, expected: int | None) -> None:
    """`ts` is milliseconds or nothing: an odd one never spoils a reply."""
    assert ErrorReply.model_validate({"code": 1, "ts": given}).ts == expected
