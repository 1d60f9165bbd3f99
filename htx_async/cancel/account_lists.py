"""V5's lists of the whole account, read once for all contracts of a mass cancel that wait."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from htx_async.aio.tasks import own_task
from htx_async.calls.scope import Scope
from htx_async.cancel.context import Context
from htx_async.cancel.ledger import Listed, Unread
from htx_async.cancel.walk import OnPage
from htx_async.enums import ApiGeneration
from htx_async.exchange import v5
from htx_async.exchange.models import Page
from htx_async.exchange.operation import Kind
from htx_async.orders import TrailingOrder

_V5 = ApiGeneration.V5


class _Reading:
    """One list that is to be read, and those who wait for it. `ids`: what a history is to tell."""

    def __init__(self) -> None:
        self.on_page: list[OnPage] = []
        self.ids: set[str] = set()
        self.task: asyncio.Task[bool]


class AccountLists:
    """Those who wait share the next list, which is asked for after they came.

    `everything`: what reads it, in the scope of the whole call. `contexts`: whose contracts its
    rows are filed under.
    """

    def __init__(self, everything: Context, contexts: Collection[Context]) -> None:
        self._reader = everything.within(everything.scope, everything.resources)
        self._reader.file_rows = self._file
        self._contexts = contexts
        self._has_read = False
        self._tasks: set[asyncio.Task[bool]] = set()
        self._next: dict[Kind, _Reading] = {}
        self._locks = {kind: asyncio.Lock() for kind in (Kind.OPEN, Kind.ENDED)}

    async def open(self, context: Context, on_page: OnPage) -> bool | None:
        """Whether the next one of open orders could be read. None: it is not known to be of all
        contracts, so that of this one is to be asked for; tried once in a call."""
        traits = self._reader.resources.v5
        if self._has_read and not traits.lists_all:
            return None
        is_read = await self.read(Kind.OPEN, context.scope, on_page)
        if not is_read and context.now() >= context.scope.deadline:
            passed = f"the deadline of {context.scope.patience:g} s passed"
            unread = Unread(Kind.OPEN, _V5, context.contracts, passed, context.now())
            context.ledger.file(unread)
        if not is_read and context.states().absent is not None:
            return False
        return is_read if traits.lists_all else None

    async def over(self) -> None:
        """Wait until none is read any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def read(
        self,
        kind: Kind,
        scope: Scope,
        on_page: OnPage = lambda page: None,
        ids: Sequence[str] = (),
    ) -> bool:
        """Whether it could be read to its end before `scope` ends; it is on the ledger then."""
        reading = self._next.get(kind)
        if reading is None:
            reading = self._next[kind] = _Reading()
            reading.task = own_task(self._read(kind, reading))
            self._tasks.add(reading.task)
            reading.task.add_done_callback(self._tasks.discard)
        reading.on_page.append(on_page)
        reading.ids.update(ids)
        try:
            await scope.until(reading.task)
        finally:
            reading.on_page.remove(on_page)
        return reading.task.done() and reading.task.result()

    def _file(self, fact: Listed, rows: Collection[TrailingOrder]) -> None:
        """Each contract's own under that contract."""
        of: dict[str, list[TrailingOrder]] = {}
        for row in rows:
            of.setdefault(row.contract_code.upper(), []).append(row)
        for context in self._contexts:
            own = of.get(context.contract.upper(), [])
            if own or fact.is_whole:
                others = len(rows) > len(own)
                part = fact._replace(contracts=context.contracts, has_others=others)
                context.file_rows(part, own)

    async def _read(self, kind: Kind, reading: _Reading) -> bool:
        async with self._locks[kind]:
            # Whoever comes from now on waits for the one after this.
            del self._next[kind]
            if kind is Kind.OPEN:
                # Nobody needs to look there for an order of the account once more.
                self._reader.ledger.search.spend_a_list()
            is_read = await self._pages(kind, reading)
            self._has_read = True
        return is_read

    async def _pages(self, kind: Kind, reading: _Reading) -> bool:
        if kind is Kind.ENDED:
            return await self._reader.read_ended(_V5, None, tuple(reading.ids))
        wanted = self._reader.intent.filter

        def on_page(page: Page) -> None:
            for each in reading.on_page:
                each(page)

        return await self._reader.read(
            _V5, kind, lambda page: v5.open_orders(wanted, page), on_page=on_page
        )
