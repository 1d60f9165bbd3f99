"""After a cancel: look at the exchange's lists until none of the orders is left, or time is up.

The exchange's "ok" means that the command was taken, not that the orders are gone (HTX API docs,
"FAQ Order and Trade" Q9 and Q11); its own example shows 1.1 s between the two.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import chain, repeat

from htx_async.cancel.context import Context
from htx_async.cancel.order import NEVER, State
from htx_async.cancel.states import GONE_WITHIN, States
from htx_async.enums import ApiGeneration

_V1 = ApiGeneration.V1


def waits(*first: float) -> Iterator[float]:
    """Seconds between looks, after `first`."""
    return chain(first, (0.1, 0.25, 0.5), repeat(1.0))


async def look_until_gone(context: Context) -> bool:
    """Read v1's list until nothing is on it that may still go; whether there was time to."""
    between = waits()
    if context.states().having(State.TAKEN) and not await context.pause(next(between)):
        return False
    look = partial(context.read_open, _V1, persists=True)
    return await until_gone(context, _V1, look, _may_go, between)


async def until_gone(
    context: Context,
    generation: ApiGeneration,
    look: Callable[[], Awaitable[bool]],
    may_go: Callable[[Context, States], bool],
    between: Iterator[float],
) -> bool:
    """Look, with pauses `between`, until nothing is listed that `may_go`, and what is to confirm
    that is late enough, or time is up; False where a list was not to be had."""
    while await look():
        known = context.states()
        if may_go(context, known):
            wait = next(between)
        elif context.intent.confirm and not known.is_late(generation):
            wait = max(0.0, known.listed_by - context.now())
        else:
            return True
        if not await context.pause(wait):
            return True
    return False


def _may_go(context: Context, known: States) -> bool:
    """Whether some order is left that the cancel may still take off."""
    if context.now() < known.sent_last + GONE_WITHIN:
        return bool(known.shown(_V1))
    return any(known.orders[order_id].taken > NEVER for order_id in known.shown(_V1))


async def look_at_ended(context: Context, generation: ApiGeneration) -> None:
    """Read the history until it tells of every order that is gone, or is late."""
    known, between = context.states(), waits()
    gone = known.having(State.TAKEN, State.GONE)
    since = (lambda: context.states().times.since) if generation is _V1 else None
    if generation is not _V1 and not {*gone} - context.ledger.ended.keys():
        return
    while not context.scope.reason and await context.read_ended(generation, since, gone):
        is_late = context.now() > known.sent_last + GONE_WITHIN
        if context.ledger.ended.keys() >= {*gone} or is_late:
            return
        if not await context.pause(next(between)):
            return
