"""A trailing order as it was listed: exact, tolerant, frozen, and matched to what is wanted."""

import itertools
import pickle
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from htx_async.enums import ContractType, MarginMode
from htx_async.exchange.models import ListedContract, NumberedPage
from htx_async.filters import OrderFilter
from htx_async.orders import TrailingOrder

ROW: dict[str, Any] = {
    "order_id": 1442564726236282900,
    "order_id_str": "1442564726236282883",
    "contract_code": "BTC-USDT",
    "direction": "buy",
    "offset": "open",
    "status": 2,
    "margin_mode": "isolated",
}
DIRECTIONS = (None, "buy", "sell")
OFFSETS = (None, "open", "close")
LISTED = ("buy", "sell", "long")


def order(**fields: Any) -> TrailingOrder:
    """A listed order that differs from the usual one in these fields."""
    return TrailingOrder.model_validate({**ROW, **fields})


def wanted(direction: str | None = None, offset: str | None = None, **named: Any) -> OrderFilter:
    """What a call means; isolated BTC-USDT unless named otherwise."""
    names = {"contract_code": "BTC-USDT", "margin_mode": MarginMode.ISOLATED, **named}
    return OrderFilter.checked(
        names["contract_code"],
        direction,
        offset,
        names["margin_mode"],
        names.get("pair"),
        names.get("contract_type"),
    )


def test_the_id_is_the_exact_one() -> None:
    """The number beside `order_id_str` is rounded and never used."""
    assert order().order_id == "1442564726236282883"


def test_an_id_may_come_as_text_under_the_other_name() -> None:
    """Without `order_id_str`, an `order_id` that is a string is exact as well."""
    row = {**ROW, "order_id": "1442564726236282883"}
    del row["order_id_str"]
    assert TrailingOrder.model_validate(row).order_id == "1442564726236282883"


@pytest.mark.parametrize("only", [1442564726236282900, 7, 1.5, None, True, "", [], {}])
def test_a_row_with_no_exact_id_is_no_order(only: object) -> None:
    """An id that came only as a number may have been rounded: nothing is built from it."""
    row = {**ROW, "order_id": only}
    del row["order_id_str"]
    with pytest.raises(ValidationError):
        TrailingOrder.model_validate(row)


@pytest.mark.parametrize("text", [None, "", "1 2", "1,2", "x" * 65, "é", "1\n", "1/2"])
def test_an_exact_id_is_one_word(text: object) -> None:
    """A list, an empty text or foreign characters under `order_id_str` are no id."""
    with pytest.raises(ValidationError):
        order(order_id_str=text)


@pytest.mark.parametrize("name", ["contract_code", "direction", "offset"])
@pytest.mark.parametrize("value", [None, 1, "a\nb", "\x1b[2J", "x" * 65, ["buy"], {}])
def test_what_an_order_is_matched_by_must_be_there(name: str, value: object) -> None:
    """A row whose contract, direction or offset is no word is unreadable, never half an order."""
    with pytest.raises(ValidationError):
        order(**{name: value})


def test_a_refused_row_is_not_repeated_in_the_error() -> None:
    """The validator's own text does not show the foreign row."""
    with pytest.raises(ValidationError) as caught:
        order(direction="secret\nwords")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4, 5, 6, 7, 99, "6"])
def test_statuses_that_are_not_known_yet_are_kept(status: object) -> None:
    """Any whole number is a status, and one sent as text is the same number."""
    assert order(status=status).status == int(str(status))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("50000.000000000000000001", Decimal("50000.000000000000000001")),
        (Decimal("0.050000000000000000"), Decimal("0.05")),
        (1, Decimal(1)),
        ("-0.1", Decimal("-0.1")),
        ("1e3", Decimal(1000)),
    ],
)
def test_numbers_are_exact(text: object, number: Decimal) -> None:
    """Eighteen decimals survive as text and as JSON numbers that were parsed as such."""
    found = order(volume=text, callback_rate=text, active_price=text, triggered_price=text)
    prices = (found.volume, found.callback_rate, found.active_price, found.triggered_price)
    assert set(prices) == {number}
    assert str(order(volume="0.000000000000000001").volume) == "1E-18"


@pytest.mark.parametrize("value", [None, "NaN", "Infinity", "-Infinity", "", "1,5", "x", [], {}])
@pytest.mark.parametrize("name", ["volume", "callback_rate", "active_price", "triggered_price"])
def test_what_is_no_number_is_none(name: str, value: object) -> None:
    """Nor is one that is endless or of more digits than any price has."""
    assert getattr(order(**{name: value}), name) is None
    assert getattr(order(**{name: "1" * 65}), name) is None


@pytest.mark.parametrize(
    "name",
    [
        "status",
        "is_active",
        "lever_rate",
        "reduce_only",
        "created_at",
        "update_time",
        "canceled_at",
    ],
)
def test_a_whole_number_in_a_form_not_known_is_none(name: str) -> None:
    """Truth values, fractions, words and lists say nothing; text of digits does."""
    odd_ones: tuple[object, ...] = (True, 1.5, "x", "1.0", "", [], {}, None, "1" * 64)
    for odd in odd_ones:
        assert getattr(order(**{name: odd}), name) is None, odd
    assert getattr(order(**{name: "5"}), name) == getattr(order(**{name: 5}), name) == 5


@pytest.mark.parametrize(
    "name",
    [
        "order_price_type",
        "order_source",
        "margin_mode",
        "margin_account",
        "pair",
        "contract_type",
        "relation_order_id",
    ],
)
def test_a_word_in_a_form_not_known_is_none(name: str) -> None:
    """Numbers, lists and very long texts are left out; the row counts all the same."""
    odd_ones: tuple[object, ...] = (1, None, [], {}, "x" * 65)
    for odd in odd_ones:
        assert getattr(order(**{name: odd}), name) is None, odd
    assert getattr(order(**{name: "word"}), name) == "word"


def test_left_out_fields_are_none_and_extra_ones_are_ignored() -> None:
    """Fields appear and vanish without notice."""
    found = order(brand_new={"field": 1})
    assert found == order()
    assert not hasattr(found, "brand_new")
    assert (found.volume, found.created_at, found.relation_order_id) == (None, None, None)


def test_an_order_is_frozen_and_travels() -> None:
    """Nobody changes what the exchange said; it survives pickling and hashing."""
    found = order(volume="1.5")
    with pytest.raises(ValidationError):
        found.status = 6
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - our own bytes
    assert len({found, order(volume="1.50")}) == 1


@pytest.mark.parametrize(("offset", "is_one_way"), [("open", 0), ("close", 0), ("both", 1)])
def test_one_way_orders_are_told_apart(offset: str, is_one_way: int) -> None:
    """Only an offset that is neither of the filters' makes a filter unsure."""
    assert order(offset=offset).is_one_way == bool(is_one_way)
    assert order(offset="opening").is_one_way


@pytest.mark.parametrize(
    ("direction", "offset", "listed", "side"),
    list(itertools.product(DIRECTIONS, OFFSETS, LISTED, ("open", "close", "both", "?"))),
)
def test_filters_match_every_row_that_they_may_mean(
    direction: str | None, offset: str | None, listed: str, side: str
) -> None:
    """Each filter takes its own word and any that no filter has; None takes all."""
    other = {"buy": "sell", "sell": "buy", "open": "close", "close": "open"}
    is_out = (direction and other[direction] == listed) or (offset and other[offset] == side)
    found = order(direction=listed, offset=side)
    assert found.matches(wanted(direction, offset)) == (not is_out)


@pytest.mark.parametrize(
    ("code", "matches"),
    [("BTC-USDT", True), ("btc-usdt", True), ("ETH-USDT", False), ("BTC-USDT-261225", False)],
)
def test_a_contract_matches_by_its_whole_code(code: str, matches: bool) -> None:
    """In any case of letters; a dated future of the same pair is another contract."""
    assert order(contract_code=code).matches(wanted()) == matches


@pytest.mark.parametrize(
    ("listed", "asked"),
    [("币安人生-USDT", "币安人生-USDT"), ("é-USDT", "É-USDT"), ("É-USDT", "É-USDT")],
)
def test_codes_of_any_script_match(listed: str, asked: str) -> None:
    """The exchange lists contracts whose letters have no other case, or had one."""
    assert order(contract_code=listed).matches(wanted(contract_code=asked))


@pytest.mark.parametrize("code", ["é-USDT", "ß-USDT", "ǆ-USDT"])
def test_codes_with_small_letters_beyond_ascii_match_themselves(code: str) -> None:
    """Intent and row have the same code: an order of it is never overlooked."""
    assert order(contract_code=code).matches(wanted(contract_code=code))


@pytest.mark.parametrize(
    ("pair", "kind", "matches"),
    [
        ("BTC-USDT", "quarter", True),
        ("btc-usdt", "quarter", True),
        (None, "quarter", True),
        ("BTC-USDT", None, True),
        (None, None, True),
        ("ETH-USDT", "quarter", False),
        ("BTC-USDT", "swap", False),
        ("BTC-USDT", "next_quarter", False),
    ],
)
def test_a_pair_matches_with_its_type(pair: str | None, kind: str | None, matches: bool) -> None:
    """Both count where the row tells them; what it does not tell is no reason to leave it out."""
    asked = wanted(
        contract_code=None,
        pair="BTC-USDT",
        contract_type=ContractType.QUARTER,
        margin_mode=MarginMode.CROSS,
    )
    row = {"contract_code": "BTC-USDT-261225", "margin_mode": "cross"}
    assert order(**row, pair=pair, contract_type=kind).matches(asked) == matches


@pytest.mark.parametrize("mode", list(MarginMode))
def test_margin_modes_match_their_own(mode: MarginMode) -> None:
    """A row of the other mode is another order; one that tells no mode may be meant."""
    other = next(one for one in MarginMode if one is not mode)
    assert order(margin_mode=mode.value).matches(wanted(margin_mode=mode))
    assert not order(margin_mode=other.value).matches(wanted(margin_mode=mode))
    assert order(margin_mode=None).matches(wanted(margin_mode=mode))


@pytest.mark.parametrize(
    "change",
    [
        {"total_page": -1},
        {"total_page": 10**6},
        {"current_page": "x"},
        {"total_size": None},
        {"total_size": 10**8},
        {"orders": None},
        {"orders": {}},
        {"orders": [None]},
        {"orders": [{**ROW, "order_id_str": None}]},
        {"orders": [ROW, {}]},
    ],
)
def test_a_page_is_whole_or_none(change: dict[str, Any]) -> None:
    """One odd row or count makes the page unreadable, for an order may hide in it."""
    good = {"orders": [ROW], "total_page": 1, "current_page": 1, "total_size": 1}
    assert NumberedPage.model_validate(good).orders == (order(),)
    with pytest.raises(ValidationError):
        NumberedPage.model_validate({**good, **change})


@pytest.mark.parametrize(
    ("told", "isolated", "cross"),
    [("all", 1, 1), ("cross", 0, 1), ("isolated", 1, 0), (None, 1, 1), (5, 1, 1)],
)
def test_a_contract_may_have_orders_unless_it_says_not(
    told: object, isolated: int, cross: int
) -> None:
    """Only a margin mode that is told leaves a contract out."""
    contract = ListedContract.model_validate(
        {"contract_code": "A-USDT", "support_margin_mode": told}
    )
    assert contract.trades_in(MarginMode.ISOLATED) == bool(isolated)
    assert contract.trades_in(MarginMode.CROSS) == bool(cross)
