"""Lists of open orders that a mass cancel reads before it cancels, or while it waits to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from htx_async.aio.tasks import own_task
from htx_async.arguments import shown
from htx_async.cancel.account_lists import AccountLists
from htx_async.cancel.context import Context
from htx_async.cancel.judge import BLIND
from htx_async.cancel.ledger import OnV1, Warned
from htx_async.cancel.order import NEVER, State
from htx_async.cancel.procedures import look
from htx_async.cancel.v5_check import check_v5
from htx_async.cancel.walk import OnPage
from htx_async.enums import ApiGeneration, Look, MarginMode
from htx_async.errors import InvalidRequest
from htx_async.events import LookEnded
from htx_async.exchange import v1
from htx_async.exchange.models import Page
from htx_async.exchange.operation import Kind
from htx_async.limits.limiter import BaseLimiter
from htx_async.limits.spared import SparedReads

_V1, _V5 = ApiGeneration.V1, ApiGeneration.V5

TO_LOOK = 0.3
"""Seconds for which contracts wait that no list has shown to have orders, before they are cancelled
all the same."""


def as_look(look: object, is_all: bool) -> Look | None:
    """`look`, or what it is where none is given; None: `usual_look`. `InvalidRequest` for what is
    none."""
    if look is None:
        return Look.ONLY if is_all else None
    if isinstance(look, str) and look in list(Look):
        return Look(look)
    raise InvalidRequest(f"look must be one of {', '.join(Look)}, not {shown(look)}")


def usual_look(limiter: BaseLimiter, path: str, contracts: int, *, urgent: bool) -> Look:
    """For so many named contracts: first, if there are more of them than free tokens."""
    last = limiter.foresee(path, contracts, urgent=urgent)
    return Look.NONE if last <= asyncio.get_running_loop().time() else Look.FIRST


class Looks:
    """Of one mass cancel. `look`: see `mass_cancel_trailing`. `contexts`: by contract, in the order
    given. `everything`: the account, in the scope of the whole call. `lists`: V5's of the account.

    Looks leave some of the account's reads to second opinions and confirmations.
    """

    def __init__(
        self,
        look: Look,
        contexts: Mapping[str, Context],
        everything: Context,
        lists: AccountLists,
    ) -> None:
        self._look = look
        self._contexts = contexts
        self._everything = everything
        self._lists = lists
        self._resources = everything.resources._replace(
            reads=SparedReads(everything.resources.reads)
        )
        self._loop = asyncio.get_running_loop()
        self._gate: asyncio.Future[None] = self._loop.create_future()
        """Open to those whose lists have shown no orders, or to second opinions."""
        self._shown: dict[str, asyncio.Future[None]] = {
            contract: self._loop.create_future() for contract in contexts
        }
        self._out = set(contexts)
        self._seen: dict[str, tuple[int, bool]] = {}
        """How many orders, and whether all of them are known."""
        self._tasks: list[asyncio.Task[None] | asyncio.Task[bool]] = []
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._cross: asyncio.Task[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._v1_at = NEVER
        self._cancelling: set[str] = set()
        for context in contexts.values():
            context.after_cancel = self._cancelled

    def begin(self) -> None:
        """Begin to read, in the order given."""
        generation = self._resources.generation
        # On V5 cancels begin with a list anyway.
        if self._look is Look.NONE or generation.current is _V5:
            return
        if generation.is_auto:
            self._tasks.append(own_task(self._ask_v5()))
        if self._look is Look.FIRST:
            self._timer = self._loop.call_later(TO_LOOK, _set, self._gate)
            self._looking = {
                contract: own_task(self._beforehand(one))
                for contract, one in self._contexts.items()
            }
            self._tasks += self._looking.values()

    def end(self) -> None:
        """Nobody needs them any more."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    async def over(self) -> None:
        """Wait until none goes on."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def is_shown(self, contract: str) -> bool:
        """Whether a list has shown orders of it that are meant."""
        return self._shown[contract].done()

    def _cancelled(self, context: Context) -> None:
        if (looking := self._looking.get(context.contract)) is not None:
            # What it would show is known better by now.
            looking.cancel()
        self._cancelling.discard(context.contract)
        self._note(context)
        self._weigh()

    def _note(self, context: Context) -> None:
        """v1 has listed or taken an order of the account: of what it has said before, V5 need not
        be asked, for no contract; an account moves from v1 to V5 and not back (inference)."""
        at = context.states().on_v1
        if at > self._v1_at:
            self._v1_at = at
            context.ledger.file(OnV1(at))

    async def lets(self, context: Context, *, is_first: bool) -> bool:
        """Wait for the moment at which a round of `context` may begin; whether there is one."""
        if self._look is Look.ONLY:
            return await self._only(context)
        waits = self._look is Look.FIRST and is_first
        if waits and self._resources.generation.current is _V1:
            cancel = v1.cancel_all(context.intent.filter, context.intent.endpoint).request
            same = self._resources.turns.same(cancel)
            await context.scope.until(self._gate, self._shown[context.contract], same)
        return not context.scope.reason

    async def _ask_v5(self) -> None:
        """V5's list of the account, beside the first looks: the account may have moved."""
        await self._lists.read(Kind.OPEN, self._everything.scope)
        for context in self._contexts.values():
            known = context.states()
            if known.on == {_V5} and known.moved > NEVER:
                context.settle()
                break
        if self._look is Look.FIRST and self._resources.generation.current is _V5:
            _set(self._gate)

    async def _beforehand(self, context: Context) -> None:
        """Look at one contract while it waits; as soon as a page shows orders it need not."""
        found, is_read = set[str](), False

        def on_page(page: Page) -> None:
            found.update(row.order_id for row in page.orders if context.intent.means(row))
            if found:
                _set(self._shown[context.contract])

        try:
            if context.intent.filter.margin_mode is MarginMode.CROSS:
                is_read = await self._look_at_all()
                found.update(context.states().having(State.OPEN))
            else:
                is_read = await self._read(context, context.scope.deadline, on_page)
                self._note(context)
        finally:
            # Of an account that may have moved v1's empty list tells nothing.
            is_proof = is_read and (bool(found) or context.states().is_covered)
            self._has_seen(context, len(found), is_proof)

    async def _read(
        self, context: Context, until: float, on_page: OnPage = lambda page: None
    ) -> bool:
        """Whether v1's list could be read until then."""
        looking = context.within(context.scope.inner(until), self._resources)
        with context.scope.holding(looking.scope):
            return await looking.read_open(_V1, on_page=on_page)

    def _has_seen(self, context: Context, orders: int, is_whole: bool) -> None:
        """What was seen of one contract; of the last one, that the look has ended."""
        self._is_in(context)
        if orders:
            _set(self._shown[context.contract])
        # Later rounds look again, at what is left.
        if context.contract in self._seen:
            return
        self._seen[context.contract] = orders, is_whole
        emitter = self._resources.emitter
        if len(self._seen) < len(self._contexts) or emitter is None:
            return
        call, mode = self._everything.scope.outermost.number, self._everything.intent.filter
        counts = [orders for orders, _ in self._seen.values() if orders]
        what = (sum(is_whole for _, is_whole in self._seen.values()), len(counts), sum(counts))
        emitter.emit(LookEnded(self._everything.now(), call, mode.margin_mode, *what))

    async def _only(self, context: Context) -> bool:
        """Whether there is something to cancel, or nobody knows."""
        half = (context.now() + context.scope.deadline) / 2
        looking = context.within(context.scope.inner(half), self._resources)
        looking.hold = self._held
        with context.scope.holding(looking.scope), self._resources.live.holding(looking.scope):
            is_cross = context.intent.filter.margin_mode is MarginMode.CROSS
            is_by_one = is_cross and self._resources.generation.current is _V1
            if is_by_one:
                await self._look_at_all()
                await check_v5(looking)
            if not is_by_one or looking.states().on == {_V5}:
                await look(looking)
        self._note(context)
        known = context.states()
        found = known.having(State.OPEN)
        if not known.is_covered or found:
            self._cancelling.add(context.contract)
        self._has_seen(context, len(found), known.is_covered)
        if not known.is_covered:
            context.ledger.file(Warned(context.contracts, BLIND))
            return not context.scope.reason
        unsure = [order_id for order_id in found if context.ledger.rows[order_id].is_one_way]
        if unsure and context.intent.filter.offset is not None:
            text = f"an offset filter is not sure to reach one-way orders: {', '.join(unsure)}"
            context.ledger.file(Warned(context.contracts, text))
        return bool(found) and not context.scope.reason

    async def _held(self, context: Context) -> None:
        """A second opinion waits until all lists are in, and for a moment until what they showed is
        cancelled: v1 may make it needless. It goes before looks then."""
        self._is_in(context)
        await context.scope.until(self._gate)
        context.resources = self._everything.resources

    def _is_in(self, context: Context) -> None:
        self._out.discard(context.contract)
        self._weigh()

    def _weigh(self) -> None:
        if self._out or self._gate.done():
            return
        if not self._cancelling:
            _set(self._gate)
        elif self._timer is None:
            self._timer = self._loop.call_later(TO_LOOK, _set, self._gate)

    async def _look_at_all(self) -> bool:
        """One list for all contracts, as cross margin has it; read once, by whoever looks first.
        Whether it could be read."""
        if self._cross is None:
            half = (self._everything.now() + self._everything.scope.deadline) / 2
            self._cross = own_task(self._read(self._everything, half))
            self._tasks.append(self._cross)
        await asyncio.wait([self._cross])
        return not self._cross.cancelled() and self._cross.result()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
