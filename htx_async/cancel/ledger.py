"""What one call of the user asked and heard, in the order in which it became known.

Facts are appended and never changed; what they prove is `judge`'s business. Times are loop times,
in seconds. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import NamedTuple

from htx_async.calls.in_flight import Heard
from htx_async.cancel.search import OrderSearch
from htx_async.codes import Code
from htx_async.enums import TRAILING_ORDERS, ApiGeneration
from htx_async.exchange.endpoints import CANCEL_ALL, Endpoint
from htx_async.exchange.operation import Kind
from htx_async.filters import OrderFilter
from htx_async.orders import TrailingOrder

ALL: tuple[str, ...] = ()
"""The contracts of a fact that speaks of the whole account."""


class Intent(NamedTuple):
    """What is to be cancelled: the orders that `filter` means, or `order_ids` of its contract.

    `until_clear`: and what is placed meanwhile, until nothing is left. `confirm`: and the lists
    are to prove that they are gone. `endpoint`: the call of v1 that cancels all of them.
    """

    filter: OrderFilter
    order_ids: tuple[str, ...] = ()
    until_clear: bool = False
    confirm: bool = False
    endpoint: Endpoint = CANCEL_ALL

    @property
    def is_trailing(self) -> bool:
        """Whether lists, and calls of V5, can tell of these orders."""
        return self.endpoint.family == TRAILING_ORDERS

    def means(self, row: TrailingOrder) -> bool:
        """Whether `row` may be one of them; in doubt it is."""
        if self.order_ids:
            return row.order_id in self.order_ids
        pair = self.filter.pair
        # V5 does not tell the pair of a contract: its name begins with it.
        is_named = pair is None or row.contract_code.upper().startswith(pair)
        return is_named and row.matches(self.filter)


class Listed(NamedTuple):
    """Orders that a list showed. `is_whole`: and there were no others; else what some of its pages
    showed. `asked` is the time of the first page, `answered` that of the last. `has_others`: it is
    the part of one contract in a list of the account, which showed orders of others. `order_ids`:
    of its rows, put in as they are filed."""

    kind: Kind
    generation: ApiGeneration
    contracts: tuple[str, ...]
    is_whole: bool
    asked: float
    answered: float
    has_others: bool = False
    order_ids: tuple[str, ...] = ()


class Unread(NamedTuple):
    """A list that could not be read, and why."""

    kind: Kind
    generation: ApiGeneration
    contracts: tuple[str, ...]
    problem: str
    answered: float


class NotOnV5(NamedTuple):
    """V5 said that the account is not there, when it was `asked` by another call of the session."""

    contracts: tuple[str, ...]
    code: Code | None
    asked: float


class OnV1(NamedTuple):
    """v1 was `asked`, and has listed or taken an order of the account."""

    asked: float
    contracts: tuple[str, ...] = ALL


class Moved(NamedTuple):
    """Another call of the session has found out, and `how`, that the account is on V5."""

    contracts: tuple[str, ...]
    how: str
    at: float


class Round(NamedTuple):
    """From here on what is placed counts, too (`until_clear`)."""

    contracts: tuple[str, ...]
    at: float


class Ended(NamedTuple):
    """What ended the work on a contract when the exchange did not."""

    contracts: tuple[str, ...]
    reason: str


class Warned(NamedTuple):
    """What went wrong beside the cancel."""

    contracts: tuple[str, ...]
    warning: str


Fact = Heard | Listed | NotOnV5 | OnV1 | Moved | Unread | Round | Ended | Warned


class Ledger:
    """The facts of one call. `known`: the generation that the account was shown to be on before,
    or that the session is pinned to; None when either may be. `is_pinned`: no other is asked.
    """

    def __init__(
        self, began: float, known: ApiGeneration | None, *, is_pinned: bool = False
    ) -> None:
        self.began = began
        self.known = known
        self.is_pinned = is_pinned
        self.rows: dict[str, TrailingOrder] = {}
        """Open orders, as they were listed last."""
        self.ended: dict[str, TrailingOrder] = {}
        """Orders that the history shows."""
        self.requests = itertools.count(1)
        """Their numbers."""
        self._of: dict[str, list[Fact]] = {}
        self._of_all: list[Fact] = []
        self.under_way: dict[Callable[[], Heard], tuple[str, ...]] = {}
        """What tells of each request on the wire as what it would count if it ended now, and the
        contracts for which it would."""

    @cached_property
    def search(self) -> OrderSearch:
        """How far it has been looked for an order of the account on V5."""
        return OrderSearch()

    def begin(
        self, contracts: tuple[str, ...], cut_off: Callable[[], Heard], number: int | None = None
    ) -> int:
        """A request goes out; its number. `number`: of one that goes for others, too."""
        self.under_way[cut_off] = contracts
        return next(self.requests) if number is None else number

    def heard(self, fact: Heard, cut_off: Callable[[], Heard]) -> None:
        """What was begun with `cut_off` came to its end."""
        del self.under_way[cut_off]
        self.file(fact)

    def file(self, fact: Fact) -> None:
        """Keep `fact` under every contract that it speaks of."""
        if fact.contracts == ALL:
            self._of_all.append(fact)
            for facts in self._of.values():
                facts.append(fact)
        for contract in fact.contracts:
            self.filed(contract).append(fact)

    def list_rows(self, fact: Listed, rows: Iterable[TrailingOrder]) -> None:
        """File a list; a row is kept once, as it was seen last."""
        kept = self.ended if fact.kind is Kind.ENDED else self.rows
        shown = {row.order_id: row for row in rows}
        kept.update(shown)
        self.file(fact._replace(order_ids=tuple(shown)))

    def of(self, contract: str) -> list[Fact]:
        """What speaks of `contract`, in the order in which it became known; what is on the wire
        comes last."""
        told = self.filed(contract)
        return [*told, *(one() for one in self.cut_off(contract))] if self.under_way else told

    def filed(self, contract: str) -> list[Fact]:
        """The same without what is on the wire; the list grows."""
        facts = self._of.get(contract)
        if facts is None:
            facts = self._of[contract] = [*self._of_all]
        return facts

    def cut_off(self, contract: str) -> list[Callable[[], Heard]]:
        """What each request on the wire that speaks of `contract` comes to if it ends now."""
        told = self.under_way.items()
        return [cut_off for cut_off, named in told if named == ALL or contract in named]
