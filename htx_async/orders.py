"""A trailing order as the exchange lists it, open or ended.

Field names and types: HTX API docs, "[Isolated] Current unfilled trailing order acquisition",
"[Isolated] Get History Trailing Orders" and their cross twins.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from htx_async.enums import Direction, Offset
from htx_async.filters import OrderFilter

CANCELLED = 6
TRIGGERED = (4, 5)
"""Statuses of ended orders: 5 triggered too, but its order was not taken."""

_DIRECTIONS = tuple(Direction)
_OFFSETS = tuple(Offset)
_LONGEST_WORD = 64
_MOST_DIGITS = 15
_LONGEST_ID = 64
_ORDER_ID = re.compile(rf"[0-9A-Za-z_-]{{1,{_LONGEST_ID}}}")


def number(value: Any) -> Any:
    """Codes and times may come as text; a number of more digits is neither."""
    if type(value) is int:
        return value if 0 <= value < 10**_MOST_DIGITS else None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value) if len(value) <= _MOST_DIGITS else value
    return value


def order_id(value: Any) -> str:
    """An order's id; `ValueError` for anything that cannot be one."""
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and _ORDER_ID.fullmatch(text):
        return text
    raise ValueError("not an order id")


def milliseconds(value: Any) -> int | None:
    """A time of the exchange, as a number or as text; None for anything else."""
    value = number(value)
    return value if type(value) is int else None


def _word(value: Any) -> str:
    if isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST_WORD:
        return value
    raise ValueError("not a word")


def _maybe_word(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= _LONGEST_WORD else None


def _maybe_number(value: Any) -> int | None:
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < _LONGEST_WORD:
        return int(value)
    return value if type(value) is int else None


def _decimal(value: Any) -> Decimal | None:
    text = str(value) if isinstance(value, str | int | Decimal) else ""
    try:
        number = Decimal(text)
    except ArithmeticError:
        return None
    return number if number.is_finite() and len(text) <= _LONGEST_WORD else None


OrderId = Annotated[str, BeforeValidator(order_id)]
Milliseconds = Annotated[int | None, BeforeValidator(milliseconds)]
Word = Annotated[str, BeforeValidator(_word)]
MaybeWord = Annotated[str | None, BeforeValidator(_maybe_word)]
_MaybeNumber = Annotated[int | None, BeforeValidator(_maybe_number)]
_Decimal = Annotated[Decimal | None, BeforeValidator(_decimal)]


class TrailingOrder(BaseModel):
    """One trailing order. What the exchange left out, or sent in a form not known, is None.

    `order_id`: from `order_id_str`; the number beside it is rounded. `offset`: also "both", on the
    orders of one-way accounts. `volume`: contracts. `callback_rate`: 0.01 is one per cent.
    `status`: 2 ready, 4 triggered, 5 triggered but its order was not taken, 6 cancelled; others
    may appear. Times are Unix milliseconds. `relation_order_id`: the limit order that it became.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True
    )

    order_id: Annotated[OrderId, Field(validation_alias="order_id_str")]
    contract_code: Word
    direction: Word
    offset: Word
    status: _MaybeNumber = None
    volume: _Decimal = None
    callback_rate: _Decimal = None
    active_price: _Decimal = None
    is_active: _MaybeNumber = None
    order_price_type: MaybeWord = None
    lever_rate: _MaybeNumber = None
    reduce_only: _MaybeNumber = None
    order_source: MaybeWord = None
    margin_mode: MaybeWord = None
    margin_account: MaybeWord = None
    pair: MaybeWord = None
    contract_type: MaybeWord = None
    created_at: Milliseconds = None
    update_time: Milliseconds = None
    canceled_at: Milliseconds = None
    triggered_price: _Decimal = None
    relation_order_id: MaybeWord = None

    @model_validator(mode="before")
    @classmethod
    def _exact_id(cls, row: Any) -> Any:
        # An id that comes only as a JSON number may have been rounded on the way.
        if isinstance(row, dict) and "order_id_str" not in row:
            only = row.get("order_id")
            return {**row, "order_id_str": only if isinstance(only, str) else None}
        return row

    @property
    def is_one_way(self) -> bool:
        """Whether its offset is neither open nor close, so that no offset filter is sure of it."""
        return self.offset not in _OFFSETS

    def matches(self, wanted: OrderFilter) -> bool:
        """Whether it may be one of those that `wanted` means; in doubt it is.

        A one-way order matches every offset: what the filter does with it is not documented.
        """
        code, pair, kind = wanted.contract_code, wanted.pair, wanted.contract_type
        return (
            (code is None or self.contract_code.casefold() == code.casefold())
            and (pair is None or self.pair is None or self.pair.casefold() == pair.casefold())
            and (kind is None or self.contract_type in (None, kind))
            and (self.margin_mode or wanted.margin_mode) == wanted.margin_mode
            and _may_be(wanted.direction, self.direction, _DIRECTIONS)
            and _may_be(wanted.offset, self.offset, _OFFSETS)
        )


def _may_be(wanted: str | None, found: str, known: tuple[str, ...]) -> bool:
    return wanted is None or found == wanted or found not in known
