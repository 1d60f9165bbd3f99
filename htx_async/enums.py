"""The field's words: what is cancelled, how one attempt ended, how the whole call ended."""

from enum import Enum, StrEnum
from typing import Literal, TypeAlias


class Direction(StrEnum):
    """Side of an order, as the exchange spells it."""

    BUY = "buy"
    SELL = "sell"


DirectionLike: TypeAlias = Direction | Literal["buy", "sell"]
"""A `Direction`, or its word; type checkers know no other."""


class Offset(StrEnum):
    """Whether an order opens or closes a position, as the exchange spells it.

    Orders of one-way accounts have `both`, which cancel-all does not list as a filter (HTX API
    docs, "[Isolated] Cancel All Trailing Orders"); one row seen live, in the source of ccxt,
    suggests that they may have `close`, too.
    """

    OPEN = "open"
    CLOSE = "close"


OffsetLike: TypeAlias = Offset | Literal["open", "close"]
"""An `Offset`, or its word."""


class MarginMode(StrEnum):
    """Which of an account's two sets of orders; the exchange has calls of its own for each."""

    ISOLATED = "isolated"
    CROSS = "cross"


MarginModeLike: TypeAlias = MarginMode | Literal["isolated", "cross"]
"""A `MarginMode`, or its word."""


class ContractType(StrEnum):
    """What a pair trades as; dated futures exist in cross margin only (HTX API docs,
    "[Cross] Cancel All Trailing Orders")."""

    SWAP = "swap"
    THIS_WEEK = "this_week"
    NEXT_WEEK = "next_week"
    QUARTER = "quarter"
    NEXT_QUARTER = "next_quarter"


ContractTypeLike: TypeAlias = (
    ContractType | Literal["swap", "this_week", "next_week", "quarter", "next_quarter"]
)
"""A `ContractType`, or its word."""


class Look(StrEnum):
    """Whether a mass cancel reads open orders before it cancels.

    `FIRST`: contracts whose list shows orders go at once, the others when all lists are in, or
    0.3 s after the start. `ONLY`: those alone whose list shows orders, or could not be read; an
    order placed in the last moment may not have been listed. `NONE`: in the order given, unread.
    """

    FIRST = "first"
    ONLY = "only"
    NONE = "none"


LookLike: TypeAlias = Look | Literal["first", "only", "none"]
"""A `Look`, or its word."""


class AllContracts(Enum):
    """The type of `ALL_CONTRACTS`."""

    ALL_CONTRACTS = "all contracts"

    def __repr__(self) -> str:
        return self.name


ALL_CONTRACTS = AllContracts.ALL_CONTRACTS
"""Every contract that the exchange lists; nothing else means "all"."""


class Verdict(StrEnum):
    """What one attempt proves.

    `NOT_SENT`: no byte left for the exchange. `ACCEPTED`: a complete, authentic "ok".
    `REFUSED`: a complete, authentic, understood error; the command was not carried out.
    `UNKNOWN`: anything else; the command may have been carried out.
    """

    NOT_SENT = "not_sent"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class ApiGeneration(StrEnum):
    """The generation of the exchange's API that an account is on."""

    V1 = "v1"
    V5 = "v5"


GenerationLike: TypeAlias = ApiGeneration | Literal["auto", "v1", "v5"]
"""An `ApiGeneration`, its word, or "auto": see `HtxSession`."""


class LimiterMode(StrEnum):
    """Whose tokens a process of a fleet uses: everybody's, or only the share that is its own for
    certain, as long as it cannot ask for the others."""

    SHARED = "shared"
    OWN_SHARE = "own_share"


TRAILING_ORDERS = "trailing"
"""The family of orders whose lists and whose V5 calls are known here."""


class Outcome(StrEnum):
    """What all attempts of a call prove together.

    `CANCELLED`, `NOTHING_TO_CANCEL` and `CLEAR_AFTER_RETRY` are clear: the exchange took every
    cancel. That is not yet "the orders are gone": its own documented example shows 1.1 s between
    the reply and the cancellation. `CLEAR_AFTER_RETRY` means that an answer was lost, the command
    was repeated, and the exchange then had nothing left to cancel.
    """

    CANCELLED = "cancelled"
    """The exchange took every cancel; `report.successes` has the ids, all of them if
    `report.ids_complete`."""
    NOTHING_TO_CANCEL = "nothing_to_cancel"
    """It had no matching order."""
    CLEAR_AFTER_RETRY = "clear_after_retry"
    """An answer was lost; asked again, it had nothing left. Ids are missing."""
    PARTIAL = "partial"
    """Some orders were refused one by one and may be open."""
    UNKNOWN = "unknown"
    """A request was sent, and no answer can be believed."""
    REFUSED = "refused"
    """The exchange said no; nothing was cancelled by this call."""
    NOT_SENT = "not_sent"
    """No byte left this machine; every order is as it was."""

    @property
    def is_clear(self) -> bool:
        """True when the exchange took every cancel that the call asked for."""
        return self in _CLEAR


_CLEAR = frozenset({Outcome.CANCELLED, Outcome.NOTHING_TO_CANCEL, Outcome.CLEAR_AFTER_RETRY})

BY_URGENCY = (
    Outcome.UNKNOWN,
    Outcome.PARTIAL,
    Outcome.REFUSED,
    Outcome.NOT_SENT,
    Outcome.CLEAR_AFTER_RETRY,
    Outcome.CANCELLED,
    Outcome.NOTHING_TO_CANCEL,
)
"""Outcomes in the order in which somebody has to look at them."""
