"""What a procedure works with: it sends, reads and waits here, and decides by `states()`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence, Set
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from htx_async.calls.call import Call
from htx_async.calls.resources import Resources
from htx_async.calls.scope import Scope
from htx_async.cancel import judge
from htx_async.cancel.ledger import ALL, Ended, Intent, Ledger, Listed, Moved, Unread, Warned
from htx_async.cancel.states import LISTED_WITHIN, States
from htx_async.cancel.walk import IsEnough, OnPage, Walk
from htx_async.enums import ApiGeneration
from htx_async.exchange import v1, v5
from htx_async.exchange.models import Page
from htx_async.exchange.operation import Kind, Operation
from htx_async.orders import TrailingOrder
from htx_async.report import CancelReport

if TYPE_CHECKING:

    class AccountLists(Protocol):
        """V5's lists of the whole account."""

        async def open(self, context: Context, on_page: OnPage) -> bool | None:
            """Whether the next one of open orders could be read; None where that of the contract
            is to be asked for."""

        async def read(self, kind: Kind, scope: Scope, *, ids: Sequence[str] = ()) -> bool:
            """Whether the next one could be read before `scope` ends."""


_NOT_OF_ALL = (
    "V5's list without a contract_code is not known to be of every contract; name one by that"
)
"""Until one has shown orders of two; see `V5Traits.lists_all`."""

ROUTES: dict[ApiGeneration, ModuleType] = {ApiGeneration.V1: v1, ApiGeneration.V5: v5}


class Context:
    """One intent of a call of the user: what the session shares, the ledger of the whole call, and
    a scope of the intent's own. `on_page` of a read runs while the rest of the list is still to
    come."""

    lists: AccountLists | None = None
    """Those of the account, where several contracts share them."""
    hold: Callable[[Context], Awaitable[None]] | None = None
    """What a second opinion waits for."""
    after_cancel: Callable[[Context], object] | None = None
    """Hears of each cancel that is over."""
    _count = -1
    _late = ""
    _states: States

    def __init__(
        self,
        resources: Resources,
        ledger: Ledger,
        scope: Scope,
        intent: Intent,
        contracts: tuple[str, ...] | None = None,
    ) -> None:
        self.resources = resources
        self.ledger = ledger
        self.scope = scope
        self.intent = intent
        self.contract = intent.filter.instrument
        """In words; see `OrderFilter`."""
        self._is_by_pair = intent.filter.contract_code is None
        self.contracts = (self.contract,) if contracts is None else contracts
        """Under which its facts are filed."""
        self.file_rows: Callable[[Listed, Collection[TrailingOrder]], None] = ledger.list_rows
        """Puts what a list, or a page of one, has shown on the ledger."""
        self._facts = ledger.filed(self.contract)
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """Loop time."""
        return self._loop.time()

    def states(self) -> States:
        """What is known now."""
        count = len(self._facts)
        is_moving = bool(self.ledger.under_way and self.ledger.cut_off(self.contract))
        if is_moving or count != self._count:
            self._states = judge.states(self.intent, self.ledger)
            self._count = -1 if is_moving else count
        return self._states

    def report(self) -> CancelReport:
        """The report so far, true at any moment."""
        return judge.report(self.states(), self.now(), self.scope.reason, self._late)

    async def pause(self, seconds: float) -> bool:
        """Whether there is time to go on after so many seconds."""
        if not (goes_on := await self.scope.pause(seconds)):
            self._late = f"the deadline of {self.scope.patience:g} s leaves no time to ask again"
        return goes_on

    def within(self, scope: Scope, resources: Resources) -> Context:
        """The same with less time, or with other resources."""
        other = Context(resources, self.ledger, scope, self.intent, self.contracts)
        other.lists = self.lists
        return other

    def goes_to(self, tried: Set[ApiGeneration]) -> ApiGeneration | None:
        """The generation to ask next; None when there is no more to ask."""
        if self.scope.reason:
            return None
        current = self.resources.generation.current
        if current is ApiGeneration.V5:
            self._learn()
        if not tried and not self._facts:  # a plain call is judged once: nothing is known yet
            return current
        known = self.states()
        if not tried and (current in known.on or not known.on):
            return current
        # What v1 has passed over is asked for by its id, be it listed or not.
        if len(known.on) > 1 and not known.has_passed_over:
            return None
        return next((one for one in known.on if one not in tried), None)

    def _learn(self) -> None:
        """What the session has found out since the call began: the account is on V5."""
        generation = self.resources.generation
        if not generation.is_auto or self._is_by_pair or self.ledger.known is not None:
            return
        known = self.states()
        has_answered = len(known.on) == 1 or known.words[ApiGeneration.V5]
        if ApiGeneration.V1 in known.on and not (known.is_covered and has_answered):
            self.ledger.file(Moved(self.contracts, generation.how, self.now()))

    def settle(self) -> None:
        """Let the session know where the account is, if that was shown."""
        known, generation = self.states(), self.resources.generation
        if not generation.is_auto:
            return
        why, is_other = known.why if len(known.on) == 1 else "", generation.current not in known.on
        # What was said before the session found out the last time is no news.
        said = known.moved if known.on == {ApiGeneration.V5} else known.not_on_v5
        is_news = is_other and said > generation.since
        if why and is_news and not self._is_by_pair:
            (current,) = known.on
            if generation.switch(current, why, self.resources.emitter):
                self.resources.turns.give_way(current)
        elif why := why or known.hint(generation.on_v1):
            generation.note(why, known.on_v1)

    async def send(
        self,
        operation: Operation,
        *,
        lost: int = 0,
        persists: bool | None = None,
        contracts: tuple[str, ...] | None = None,
    ) -> Call:
        """Carry a request to an answer, or to what ended it. `lost`, `persists`: see `Call`."""
        named = self.contracts if contracts is None else contracts
        where = (self.resources, operation, self.scope, self.ledger, named)
        call = Call(*where, lost=lost, persists=persists, may_move=not self._is_by_pair)
        self.scope.hold(call)
        try:
            await call.run()
        finally:
            self.scope.let_go(call)
            for warning in call.warnings:
                self.ledger.file(Warned(named, warning))
            if not call.is_read and (ended_by := call.ended_by):
                self.ledger.file(Ended(named, ended_by))
        if self.after_cancel is not None and not call.is_read:
            self.after_cancel(self)
        return call

    async def read(
        self,
        generation: ApiGeneration,
        kind: Kind,
        make: Callable[[str], Operation],
        *,
        is_enough: IsEnough | None = None,
        on_page: OnPage = lambda page: None,
        persists: bool | None = None,
    ) -> bool:
        """A list, on the ledger as it comes; whether it could be read to its end, and is known to
        be of all that was asked for."""
        where = (kind, generation, self.contracts)
        walk = Walk(ROUTES[generation].Pages, is_enough)
        asked = self.now()
        while not walk.is_whole:
            page_asked = self.now()
            if walk.is_first:
                asked = page_asked
            answered = await self.send(make(walk.following), persists=persists)
            page = answered.page
            if page is None or self.scope.reason:
                problem = answered.problem if page is None else self.scope.reason
                self.ledger.file(Unread(*where, problem, self.now()))
                return False
            walk.feed(page)
            if walk.is_whole:
                rows, since = walk.rows(), asked
            else:
                rows, since = page.orders, page_asked
            is_whole = walk.is_whole and self._is_of_all(kind, generation, rows)
            self.file_rows(Listed(*where, is_whole, since, self.now()), rows)
            if walk.is_whole and not is_whole and self.contracts != ALL:
                walk.problem = _NOT_OF_ALL
            on_page(page)
            if walk.problem:
                self.ledger.file(Unread(*where, walk.problem, self.now()))
                return False
        return True

    def _is_of_all(
        self, kind: Kind, generation: ApiGeneration, rows: Collection[TrailingOrder]
    ) -> bool:
        """Whether a list that was read to its end has all that was asked for. That V5's without a
        contract code is of every contract is not documented: once one has shown orders of two, it
        is, in this session (an inference)."""
        if generation is not ApiGeneration.V5 or not self._is_by_pair:
            return True
        traits = self.resources.v5
        if kind is Kind.OPEN:
            traits.lists_all |= len({row.contract_code for row in rows}) > 1
        return traits.lists_all

    async def read_open(
        self,
        generation: ApiGeneration,
        *,
        on_page: OnPage = lambda page: None,
        persists: bool | None = None,
    ) -> bool:
        """List the open orders of the intent's contract, whatever its filters; whether that could
        be done. But for `until_clear`, a list that takes long is read no further than to those
        placed since the call began: a strategy that keeps placing would keep it from its end."""
        if generation is ApiGeneration.V5 and self.lists is not None:
            is_read = await self.lists.open(self, on_page)
            if is_read is not None:
                return is_read
        route, wanted, began = ROUTES[generation], self.intent.filter, self.now()

        def is_past(page: Page, ascends: bool) -> bool:
            is_long = ascends and self.now() > began + LISTED_WITHIN
            if self.intent.until_clear or not is_long or not page.orders:
                return False
            return all(map(self.states().is_newer, page.orders))

        return await self.read(
            generation,
            Kind.OPEN,
            lambda page: route.open_orders(wanted, page),
            is_enough=is_past if generation is ApiGeneration.V5 else None,
            on_page=on_page,
            persists=persists,
        )

    async def read_ended(
        self, generation: ApiGeneration, since: Callable[[], float] | None, ids: Sequence[str]
    ) -> bool:
        """List ended orders of the contract: at least all that ended at `since` (Unix milliseconds,
        asked for after each page, which may tell it) or later, and those of `ids` that ended at
        all; None: those of `ids` alone. Whether that could be done."""
        is_on_v5 = generation is ApiGeneration.V5
        if is_on_v5 and self.lists is not None and self.resources.v5.lists_all:
            return await self.lists.read(Kind.ENDED, self.scope, ids=ids)
        route, wanted = ROUTES[generation], self.intent.filter
        missing = set(ids)

        def is_enough(page: Page, _: bool) -> bool:
            missing.difference_update(row.order_id for row in page.orders)
            if since is None:
                return not missing
            times = [row.update_time for row in page.orders if row.update_time is not None]
            is_sorted = len(times) == len(page.orders) and times == sorted(times, reverse=True)
            # Beyond a page that is older than `since` there is nothing newer, if sorted as asked.
            return is_sorted and not missing and bool(times) and times[-1] < since()

        return await self.read(
            generation,
            Kind.ENDED,
            lambda page: route.history(wanted, page),
            is_enough=is_enough,
            persists=True,
        )
