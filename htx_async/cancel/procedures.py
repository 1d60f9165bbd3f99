"""How a cancel goes, step by step, on whichever generation of the API the account is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

from htx_async.aio.tasks import Group
from htx_async.cancel import on_v5
from htx_async.cancel.batches import batches
from htx_async.cancel.confirm import look_at_ended, look_until_gone
from htx_async.cancel.context import Context
from htx_async.cancel.ledger import Unread
from htx_async.cancel.order import State
from htx_async.cancel.v5_check import check_v5
from htx_async.enums import ApiGeneration
from htx_async.events import CallEnded, CallStarted
from htx_async.exchange import v1, v5
from htx_async.exchange.operation import Kind
from htx_async.orders import TrailingOrder
from htx_async.report import CancelReport

_AT_ONCE = 8
"""Windows of V5's history that are read at once: it is in no hurry, and others read, too."""

Procedure = Callable[[Context], Awaitable[None]]
_On = Callable[[Context, ApiGeneration], Awaitable[object]]


async def carry(context: Context, procedure: Procedure) -> CancelReport:
    """Go through `procedure`; the report, however it ends."""
    resources, scope, wanted = context.resources, context.scope, context.intent.filter
    if resources.emitter:
        family = context.intent.endpoint.family
        what = (wanted.instrument, scope.urgent, wanted.direction, wanted.offset, family)
        resources.emitter.emit(CallStarted(context.now(), scope.number, *what))
    resources.live.hold(scope)
    try:
        await procedure(context)
    finally:
        resources.live.let_go(scope)
        # A caller that is cancelled gets no report; a listener does.
        report = context.report()
        if resources.emitter:
            resources.emitter.emit(CallEnded(context.now(), scope.number, report))
    return report


async def cancel_all(context: Context) -> None:
    """Every order that the intent means."""
    if context.intent.is_trailing:
        await _where_it_is(context, _cancel_all)
    else:
        await _cancel_by_v1_alone(context)


async def cancel_ids(context: Context) -> None:
    """The orders that the intent names."""
    await _where_it_is(context, _cancel_ids)


async def look(context: Context) -> tuple[TrailingOrder, ...] | None:
    """The open orders that the intent means; None when nobody's word can be believed."""
    await _where_it_is(context, _look)
    known = context.states()
    if not known.is_covered:
        return None
    lists = (known.last_list(generation) for generation in known.on)
    shown = dict.fromkeys(order_id for one in lists if one is not None for order_id in one.shown)
    return tuple(context.ledger.rows[order_id] for order_id in shown)


async def history(context: Context, since: float) -> tuple[TrailingOrder, ...] | None:
    """Those that ended at `since` (Unix milliseconds) or later, the latest first; None when they
    could not be read wherever the account may be."""
    was_read: dict[ApiGeneration, bool] = {}
    left = [context.resources.generation.current]
    while left and not context.scope.reason:
        generation = left[0]
        if generation is ApiGeneration.V5:
            was_read[generation] = await _windows(context, since)
        else:
            was_read[generation] = await context.read_ended(generation, lambda: since, ())
        context.settle()
        left = [one for one in context.states().on if one not in was_read]
    places = context.states().on
    if not places or not all(was_read.get(one) for one in places):
        return None
    rows = [row for row in context.ledger.ended.values() if context.intent.means(row)]
    times = {row.order_id: row.canceled_at or row.update_time or math.inf for row in rows}
    late = [row for row in rows if times[row.order_id] >= since]
    return tuple(sorted(late, key=lambda row: times[row.order_id], reverse=True))


async def _windows(context: Context, since: float) -> bool:
    """V5's history, as far back as it reaches; whether all of it could be read."""
    now, wanted = context.resources.clock.now().timestamp() * 1000, context.intent.filter
    few = asyncio.Semaphore(_AT_ONCE)
    told: list[bool] = []

    async def read(window: tuple[int, int] | None) -> None:
        async with few:
            # Where one could not be read, nor where the account is not, the others are of no use.
            if all(told):
                is_read = await context.read(
                    ApiGeneration.V5, Kind.ENDED, lambda page: v5.history(wanted, page, window)
                )
                told.append(is_read)

    first, *others = v5.windows(now, since)
    await read(first)
    async with Group() as group:
        for window in others if all(told) else ():
            group.begin(read(window))
    return all(told)


async def _where_it_is(context: Context, procedure: _On) -> None:
    """Where the session's calls go, and then where the account turns out to be."""
    tried: set[ApiGeneration] = set()
    while (generation := context.goes_to(tried)) is not None:
        tried.add(generation)
        await procedure(context, generation)
        context.settle()


async def _cancel_all(context: Context, generation: ApiGeneration) -> None:
    if generation is ApiGeneration.V5:
        if on_v5.knows_contract(context):
            await on_v5.cancel_all(context)
        return
    await context.send(v1.cancel_all(context.intent.filter, context.intent.endpoint))
    known = context.states()
    confirms = context.intent.confirm and known.is_asked
    # What was listed before, and passed over by the reply, somebody else's cancel may take off.
    looks = (confirms or State.OPEN in known.kinds) and not context.scope.reason
    if looks and await look_until_gone(context) and confirms:
        await look_at_ended(context, generation)
    await _check_and_cancel(context)
    if context.intent.confirm and ApiGeneration.V5 in context.states().on:
        # Of what v1's history does not tell, V5's may: the account may have moved meanwhile.
        await look_at_ended(context, ApiGeneration.V5)


async def _cancel_by_v1_alone(context: Context) -> None:
    """Orders of a family of which no list is read here, and no call of V5 is known. Where the
    account is, is for the calls about trailing orders to find out."""
    await context.send(v1.cancel_all(context.intent.filter, context.intent.endpoint))
    if context.states().is_open_question:
        problem = f"nothing is known of {context.intent.endpoint.family} orders there"
        where = (Kind.OPEN, ApiGeneration.V5, context.contracts)
        context.ledger.file(Unread(*where, problem, context.now()))


async def _cancel_ids(context: Context, generation: ApiGeneration) -> None:
    if generation is ApiGeneration.V5 and not on_v5.knows_contract(context):
        return
    taken = {*context.states().successes}
    left = [order_id for order_id in context.intent.order_ids if order_id not in taken]

    async def send(ids: Sequence[str]) -> None:
        if generation is ApiGeneration.V5:
            await on_v5.send_cancel(context, ids, persists=True)
        else:
            await context.send(v1.cancel(context.intent.filter, ids), persists=True)
        known = context.states().orders
        alone = [i for i in ids if len(ids) > 1 and i in known and known[i].is_alone]
        if alone and not context.scope.reason:
            async with Group() as group:
                for order_id in alone:
                    group.begin(send((order_id,)))

    # The first as a part of the caller: it stands in line before another call reckons with it.
    first, *others = batches(left) or ((),)
    async with Group() as group:
        for ids in others:
            group.begin(send(ids))
        if first:
            await send(first)
    if generation is ApiGeneration.V1:
        await _check_and_cancel(context)


async def _check_and_cancel(context: Context) -> None:
    """A second opinion; what V5 lists of a long list goes before it has come to its end."""
    if context.states().is_open_question:
        async with Group() as group:
            await check_v5(context, on_v5.cancelling(context, group))


async def _look(context: Context, generation: ApiGeneration) -> None:
    await context.read_open(generation)
    if generation is ApiGeneration.V1:
        await check_v5(context)
