"""The shapes of what the exchange may answer.

Field names and types: HTX API docs, "[Isolated] Cancel All Trailing Orders". Models are built
when first used, so importing them costs little.
"""

import re
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from htx_async.codes import Code
from htx_async.enums import MarginMode
from htx_async.orders import MaybeWord, Milliseconds, OrderId, TrailingOrder, Word, number, order_id

_LONGEST_CODE = 64
_WORD_CODE = re.compile(rf"[a-z0-9-]{{1,{_LONGEST_CODE}}}")


def _code(value: Any) -> Code:
    value = number(value)
    if type(value) is int:
        return value
    if isinstance(value, str) and _WORD_CODE.fullmatch(value):
        return value
    raise ValueError("not a code")


def _order_ids(value: Any) -> tuple[str, ...]:
    """The documented form is one comma-joined string; "" holds no id. Lists and null were not
    seen, but say clearly what they mean."""
    if isinstance(value, str):
        value = [*filter(None, map(str.strip, value.split(",")))]
    if value is not None and not isinstance(value, list):
        raise ValueError("not a list of order ids")
    return tuple(map(order_id, value or ()))


def _words(value: Any) -> str:
    return value if isinstance(value, str) else ""


CodeField = Annotated[Code, BeforeValidator(_code)]
Words = Annotated[str, BeforeValidator(_words)]


class _Reply(BaseModel):
    # Extra fields appear without notice (HTX API docs and recorded replies): they are ignored.
    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True
    )


class OrderErrorReply(_Reply):
    """One order that the exchange did not cancel."""

    order_id: OrderId
    err_code: CodeField | None = None
    err_msg: Words = ""


class CancelAllData(_Reply):
    """`data` of an accepted cancel-all: both keys, whatever is in them."""

    successes: Annotated[tuple[str, ...], PlainValidator(_order_ids)]
    errors: tuple[OrderErrorReply, ...] | None


class ErrorReply(_Reply):
    """An error of any of the shapes that carry a code: its code, the exchange's words, its time."""

    code: CodeField
    message: Words = ""
    ts: Milliseconds = None


class Page(NamedTuple):
    """Part of a list of orders. `following`: what to ask for next; "" where the page names no place
    to go on from. `total`: how long the list says it is; None when it does not say. `rows`: the
    numbers of its rows, on V5, also of those that are no trailing orders. `unread`: how many of its
    rows could not be read."""

    orders: tuple[TrailingOrder, ...]
    following: str = ""
    total: int | None = None
    rows: tuple[int, ...] = ()
    unread: int = 0


class NumberedPage(BaseModel):
    """One page of a list of orders, as v1 sends it."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True
    )

    orders: tuple[TrailingOrder, ...]
    total_page: Annotated[int, Field(ge=0, le=100_000)]
    current_page: Annotated[int, Field(ge=0, le=100_000)]
    total_size: Annotated[int, Field(ge=0, le=10_000_000)]


class ListedContract(BaseModel):
    """A contract as the exchange's public list has it (HTX API docs, "Query Swap Info")."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, defer_build=True
    )

    contract_code: Word
    support_margin_mode: MaybeWord = None

    def trades_in(self, margin_mode: MarginMode) -> bool:
        """Whether it can have orders of `margin_mode`; when it is not told, it may."""
        return self.support_margin_mode in (None, "all", margin_mode)
