"""How each call of one margin mode begins: its scope, its ledger, what it works with."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from functools import partial
from typing import ClassVar, TypeAlias

from htx_async.aio.loop_binding import running_loop
from htx_async.arguments import as_seconds, check_flags
from htx_async.calls.resources import Resources
from htx_async.calls.scope import Scope
from htx_async.calls.wall_clock import as_moment
from htx_async.cancel.batches import checked_ids
from htx_async.cancel.context import Context
from htx_async.cancel.judge import problem
from htx_async.cancel.ledger import Intent, Ledger
from htx_async.cancel.procedures import cancel_all, cancel_ids, carry, history, look
from htx_async.codes import NO_SUCH_CONTRACT
from htx_async.enums import MarginMode
from htx_async.errors import ReadFailed, cleared
from htx_async.exchange.endpoints import CANCEL, CANCEL_ALL, READS
from htx_async.filters import OrderFilter
from htx_async.limits.limiter import BaseLimiter
from htx_async.orders import TrailingOrder
from htx_async.report import CancelReport
from htx_async.report_text import of_dated

_Rows: TypeAlias = tuple[TrailingOrder, ...]


class CallMaker(ABC):
    """Makes and carries the calls of one margin mode. `deadline`: seconds for those that bring none
    of their own."""

    _margin_mode: ClassVar[MarginMode]

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    @abstractmethod
    def _ready(self, is_promised: bool = False) -> Resources:
        """What calls work with; raises `SessionClosed`, but not for what closing carries out."""

    def _context(self, resources: Resources, intent: Intent, scope: Scope) -> Context:
        return Context(resources, self._ledger(resources, intent), scope, intent)

    def _ledger(self, resources: Resources, intent: Intent) -> Ledger:
        generation = resources.generation
        known = generation.known(intent.endpoint.family)
        began = asyncio.get_running_loop().time()
        return Ledger(began, known, is_pinned=not generation.is_auto)

    async def _cancel_all(
        self, intent: Intent, deadline: float | None, urgent: bool
    ) -> CancelReport:
        # The calls of a plain cancel are counted, so it is called only where it will refuse.
        if not type(urgent) is type(intent.confirm) is bool:
            check_flags(urgent=urgent, confirm=intent.confirm)
        resources, path = self._ready(), intent.endpoint.path(self._margin_mode)
        scope = self._scope(deadline, resources.trades, path, urgent)
        return cleared(await carry(self._context(resources, intent, scope), cancel_all))

    async def _cancel_ids(
        self,
        wanted: OrderFilter,
        order_ids: Iterable[str],
        deadline: float | None,
        urgent: bool,
    ) -> CancelReport:
        check_flags(urgent=urgent)
        ids, resources = checked_ids(order_ids), self._ready()
        if deadline is not None:
            scope = self._scope(deadline, resources.trades, self._path, urgent)
        else:
            scope = Scope(self._now(), 0.0, urgent=urgent)
            path = CANCEL.path(self._margin_mode)
            count = math.ceil(len(ids) / CANCEL.most_ids)
            default = resources.default_deadline(path, count, 0, urgent, self._deadline)
            scope.grow(default, self._now())
        context = self._context(resources, Intent(wanted, ids), scope)
        return cleared(await carry(context, cancel_ids))

    async def _open(self, wanted: OrderFilter, deadline: float | None) -> _Rows:
        return await self._read(wanted, deadline, look, "open")

    async def _history(
        self, wanted: OrderFilter, since: datetime | float | None, deadline: float | None
    ) -> _Rows:
        oldest = 0.0 if since is None else 1000 * as_moment("since", since).timestamp()
        return await self._read(wanted, deadline, partial(history, since=oldest), "ended")

    async def _read(
        self,
        wanted: OrderFilter,
        deadline: float | None,
        procedure: Callable[[Context], Awaitable[_Rows | None]],
        which: str,
    ) -> _Rows:
        resources = self._ready()
        scope = self._scope(deadline, resources.reads, READS, False)
        context = self._context(resources, Intent(wanted), scope)
        with resources.live.holding(scope):
            rows = await procedure(context)
        if rows is None:
            told = context.report()
            what = f"{wanted.owner}'s {which} trailing orders in {wanted.margin_mode} margin"
            why = problem(context.states())
            if any(one.code in NO_SUCH_CONTRACT for one in told.reads):
                why = f"{why} {of_dated(wanted.owner, wanted.margin_mode)}".rstrip()
            raise ReadFailed(f"{what} could not be read: {why}", told.reads)
        return rows

    def _scope(self, deadline: float | None, lane: BaseLimiter, path: str, urgent: bool) -> Scope:
        """Until the caller's deadline, or the session's from the earliest moment at which the turn
        could come."""
        now = asyncio.get_running_loop().time()
        if deadline is not None:
            seconds = as_seconds("deadline", deadline)
            return Scope(now + seconds, seconds, urgent=urgent)
        turn = lane.foresee(path, 1, urgent=urgent)
        own = self._deadline
        return Scope(max(now, turn) + own, own, is_own=False, urgent=urgent, allowance=own)

    def _reads(self, contracts: int) -> int:
        return 1 if self._margin_mode is MarginMode.CROSS else contracts

    @property
    def _path(self) -> str:
        return CANCEL_ALL.path(self._margin_mode)

    def _now(self) -> float:
        return running_loop().time()

    def _until(self, turn: float) -> float:
        return max(0.0, turn - self._now())
