"""The wire's shapes: what a call asks for, and what the exchange may answer.

Field names and types: HTX API docs, "[Isolated] Cancel All Trailing Orders". Models are built
when first used, so importing them costs little.
"""

import re
import unicodedata
from functools import cached_property, lru_cache
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from htx_async.codes import Code
from htx_async.enums import ContractType, Direction, MarginMode, Offset
from htx_async.errors import InvalidRequest

_LONGEST_CONTRACT_CODE = 64
_LONGEST_CODE = 64
_MOST_DIGITS = 15
_LONGEST_ID = 64
_ORDER_ID = re.compile(rf"[0-9A-Za-z_-]{{1,{_LONGEST_ID}}}")
_WORD_CODE = re.compile(rf"[a-z0-9-]{{1,{_LONGEST_CODE}}}")


def _contract_code(value: str | None) -> str | None:
    if value is None:
        return None
    if not value:
        raise ValueError("is empty; name one contract, such as BTC-USDT")
    if len(value) > _LONGEST_CONTRACT_CODE:
        raise ValueError(f"is longer than {_LONGEST_CONTRACT_CODE} characters")
    if not all(_is_contract_character(character) for character in value):
        raise ValueError("may hold letters, digits and '-' only, such as BTC-USDT")
    # Only ASCII: other scripts' upper case is not the exchange's business.
    return "".join(c.upper() if c.isascii() else c for c in value)


def _text_only(value: Any) -> Any:
    # Lax validation would take bytes for text.
    if not isinstance(value, str | None):
        raise ValueError(f"must be a string, not {type(value).__name__}")
    return value


def _is_contract_character(character: str) -> bool:
    category = unicodedata.category(character)
    return character == "-" or category[0] == "L" or category == "Nd"


class CancelAllTrailing(BaseModel):
    """The intent: cancel the trailing orders of one contract that match both filters.

    `contract_code`: ASCII letters are upper-cased, nothing is trimmed; letters and digits of any
    script are taken, since the exchange lists such contracts. In cross margin `pair` with
    `contract_type` may name it instead. A filter of None takes all.
    """

    # Built at once: with its first model pydantic reads what plugins are installed, from the disk.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    contract_code: Annotated[
        str | None, BeforeValidator(_text_only), AfterValidator(_contract_code)
    ] = None
    pair: Annotated[str | None, BeforeValidator(_text_only), AfterValidator(_contract_code)] = None
    contract_type: Annotated[ContractType | None, BeforeValidator(_text_only)] = None
    direction: Annotated[Direction | None, BeforeValidator(_text_only)] = None
    offset: Annotated[Offset | None, BeforeValidator(_text_only)] = None
    margin_mode: Annotated[MarginMode, Field(exclude=True)] = MarginMode.ISOLATED

    @classmethod
    def checked(
        cls,
        contract_code: object,
        direction: object,
        offset: object,
        margin_mode: MarginMode = MarginMode.ISOLATED,
        pair: object = None,
        contract_type: object = None,
    ) -> Self:
        """The intent, or `InvalidRequest` that says which argument is wrong and why."""
        values = (contract_code, pair, contract_type, direction, offset, margin_mode)
        try:
            return cls._remembered(*values)
        except InvalidRequest:
            raise
        except (ValidationError, TypeError):
            # Not to be remembered, or unhashable: the second look tells what is wrong.
            problems = cls._problems(dict(zip(cls.model_fields, values, strict=True)))
        # Raised out here so that the validator's own exception does not hang on it.
        raise InvalidRequest("; ".join(problems))

    @classmethod
    def listed(
        cls, contract_code: str, direction: object, offset: object, margin_mode: MarginMode
    ) -> Self:
        """The same for a contract that the exchange's own list names, in whatever spelling."""
        try:
            return cls.checked(contract_code, direction, offset, margin_mode)
        except InvalidRequest:
            blank = cls.checked("X-USDT", direction, offset, margin_mode)
            return blank.model_copy(update={"contract_code": contract_code})

    @classmethod
    @lru_cache(maxsize=1024)
    def _remembered(cls, *values: object) -> Self:
        # Strategies cancel the same contracts over and over.
        intent = cls.model_validate(dict(zip(cls.model_fields, values, strict=True)))
        intent._check_name()
        return intent

    @classmethod
    def _problems(cls, values: dict[str, object]) -> list[str]:
        try:
            cls.model_validate(values)
        except ValidationError as error:
            return [_in_words(str(item["loc"][0]), item["msg"]) for item in error.errors()]
        return ["the arguments must be strings"]

    def _check_name(self) -> None:
        has_code = self.contract_code is not None
        if self.margin_mode is MarginMode.ISOLATED and not has_code:
            raise InvalidRequest("contract_code: is missing; name one contract, such as BTC-USDT")
        by_pair = self.pair is not None and self.contract_type is not None
        if (self.pair is not None or self.contract_type is not None) == has_code or (
            not has_code and not by_pair
        ):
            raise InvalidRequest(
                "name the contract by contract_code, or by pair together with contract_type"
            )

    @cached_property
    def body(self) -> bytes:
        """The request body: the given fields and no others, since unknown ones are refused."""
        return self.model_dump_json(exclude_none=True).encode()

    @cached_property
    def instrument(self) -> str:
        """The contract in words."""
        by_pair = f"{self.pair} {self.contract_type}" if self.pair else "all contracts"
        return self.contract_code or by_pair


def _in_words(name: str, message: str) -> str:
    hint = "; None means all" if name in ("direction", "offset") else ""
    return f"{name}: {message.removeprefix('Value error, ')}{hint}"


def _number(value: Any) -> Any:
    """Codes and times may come as text; a number of more digits is neither."""
    if type(value) is int:
        return value if 0 <= value < 10**_MOST_DIGITS else None
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value) if len(value) <= _MOST_DIGITS else value
    return value


def _code(value: Any) -> Code:
    value = _number(value)
    if type(value) is int:
        return value
    if isinstance(value, str) and _WORD_CODE.fullmatch(value):
        return value
    raise ValueError("not a code")


def _order_id(value: Any) -> str:
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and _ORDER_ID.fullmatch(text):
        return text
    raise ValueError("not an order id")


def _order_ids(value: Any) -> tuple[str, ...]:
    """The documented form is one comma-joined string; "" holds no id. Lists and null were not
    seen, but say clearly what they mean."""
    if isinstance(value, str):
        value = [item for item in map(str.strip, value.split(",")) if item]
    if not isinstance(value, list | None):
        raise ValueError("not a list of order ids")
    return tuple(map(_order_id, value or ()))


def _rows(value: Any) -> Any:
    return [] if value is None else value


def _words(value: Any) -> str:
    return value if isinstance(value, str) else ""


def milliseconds(value: Any) -> int | None:
    """A time of the exchange, as a number or as text; None for anything else."""
    value = _number(value)
    return value if type(value) is int else None


CodeField = Annotated[Code, BeforeValidator(_code)]
OrderId = Annotated[str, BeforeValidator(_order_id)]
Words = Annotated[str, BeforeValidator(_words)]
Milliseconds = Annotated[int | None, BeforeValidator(milliseconds)]


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

    successes: Annotated[tuple[str, ...], BeforeValidator(_order_ids)]
    errors: Annotated[tuple[OrderErrorReply, ...], BeforeValidator(_rows)]


class ErrorReply(_Reply):
    """An error of any of the shapes that carry a code: its code, the exchange's words, its time."""

    code: CodeField
    message: Words = ""
    ts: Milliseconds = None
