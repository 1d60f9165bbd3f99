"""Which trailing orders a call is about: the intent that a caller's arguments stand for.

Field names and types: HTX API docs, "[Isolated] Cancel All Trailing Orders".
"""

import unicodedata
from functools import cached_property, lru_cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from htx_async.enums import AllContracts, ContractType, Direction, MarginMode, Offset
from htx_async.errors import InvalidRequest

_LONGEST_CONTRACT_CODE = 64
_ALL = "all contracts"


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
        several = isinstance(value, AllContracts | list | tuple | set | frozenset)
        hint = "; it names one, and mass_cancel_trailing takes several" if several else ""
        raise ValueError(f"must be a string, not {type(value).__name__}{hint}")
    return value


def _is_contract_character(character: str) -> bool:
    category = unicodedata.category(character)
    return character == "-" or category[0] == "L" or category == "Nd"


class OrderFilter(BaseModel):
    """The intent: cancel the trailing orders of one contract that match both filters.

    `contract_code`: ASCII letters are upper-cased, nothing is trimmed; letters and digits of any
    script are taken, since the exchange lists such contracts. In cross margin `pair` with
    `contract_type` may name it instead. A filter of None takes all.
    """

    # Built at once: with its first model pydantic reads what plugins are installed, from the disk.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True
    )

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
    def of_all(cls, direction: object, offset: object, margin_mode: MarginMode) -> Self:
        """Every contract's; `InvalidRequest` as `checked`."""
        one = cls.checked("X-USDT", direction, offset, margin_mode)
        return cls(direction=one.direction, offset=one.offset, margin_mode=margin_mode)

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
        by_pair = f"{self.pair} {self.contract_type}" if self.pair else _ALL
        return self.contract_code or by_pair

    @property
    def owner(self) -> str:
        """Whose orders they are, in words."""
        return "the account" if self.instrument == _ALL else self.instrument


def _in_words(name: str, message: str) -> str:
    hint = "; None means all" if name in ("direction", "offset") else ""
    words = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{name}: {words}{hint}"
