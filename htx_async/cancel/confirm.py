"""After a cancel: look at the exchange's lists until none of the orders is left, or time is up.

The exchange's "ok" means that the command was taken, not that the orders are gone (HTX API docs,
"FAQ Order and Trade" Q9 and Q11); its own example shows 1.1 s between the two.
"""

from __future__ import annotations

from itertools import chain, repeat

from htx_async.cancel.context import Context
from htx_async.cancel.order import NEVER, State
from htx_async.cancel.states import GONE_WITHIN
from htx_async.enums import ApiGeneration

_V1 = ApiGeneration.V1
_WAITS = (0.1, 0.25, 0.5)
_LAST_WAIT = 1.0
"""Seconds between looks."""


async def confirm(context: Context) -> None:
    """Read v1's list again and again, then its history."""
    if context.states().is_asked and await look_until_gone(context):
        await look_at_ended(context, _V1)


async def look_until_gone(context: Context) -> bool:
    """Read v1's list until nothing is on it that may still go; whether there was time to."""
    known, waits = context.states(), chain(_WAITS, repeat(_LAST_WAIT))
    if known.having(State.TAKEN) and not await context.pause(next(waits)):
        return False
    while await context.read_open(_V1, persists=True) is not None:
        known = context.states()
        if _may_go(context):
            wait = next(waits)
        elif context.intent.confirm and not known.shown(_V1) and not known.is_late(_V1):
            wait = max(0.0, known.listed_by - context.now())
        else:
            return True
        if not await context.pause(wait):
            return True
    return False


def _may_go(context: Context) -> bool:
    """Whether some order is left that the cancel may still take off."""
    known = context.states()
    if context.now() < known.sent_last + GONE_WITHIN:
        return bool(known.shown(_V1))
    return any(known.orders[order_id].taken > NEVER for order_id in known.shown(_V1))


async def look_at_ended(context: Context, generation: ApiGeneration) -> None:
    """Read the history until it tells of every order that is gone, or is late."""
    waits = chain(_WAITS, repeat(_LAST_WAIT))
    known = context.states()
    gone = known.having(State.TAKEN, State.GONE)
    since = known.times.since if generation is _V1 else None
    if generation is not _V1 and not {*gone} - context.ledger.ended.keys():
        return
    while not context.scope.reason:
        rows = await context.read_ended(generation, since, gone)
        if rows is None:
            return
        is_late = context.now() > known.sent_last + GONE_WITHIN
        if context.ledger.ended.keys() >= {*gone} or is_late:
            return
        if not await context.pause(next(waits)):
            return
