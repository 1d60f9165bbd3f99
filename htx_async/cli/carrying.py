"""A mass cancel under way: what ends it before its time, and a look at what it leaves alone."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from htx_async.cli.access import Access
from htx_async.cli.aside import Aside
from htx_async.cli.key_refusals import KEY_REFUSED, REFUSED, KeyRefusals
from htx_async.cli.plan import Plan
from htx_async.cli.result import Found
from htx_async.cli.running import Stops
from htx_async.cli.words import count
from htx_async.enums import ALL_CONTRACTS, MarginMode
from htx_async.errors import HtxError
from htx_async.events import Event, Listener, LookEnded
from htx_async.report import CancelReport
from htx_async.report_text import INTERRUPTED
from htx_async.session import HtxSession

if TYPE_CHECKING:
    from htx_async.audit import AuditLog

GRACE = 1.0
"""Seconds that calls on the wire have for their answer once the operator has interrupted."""

_TO_LOOK_BESIDE = 2.0
"""Seconds for the one list of what was not to be cancelled, if the deadline leaves them."""

Beside = dict[MarginMode, int | None]


class Watchers(NamedTuple):
    """Who hears of what is done: the record, if one is kept, whoever is shown each contract's end,
    if anybody, and stderr."""

    log: "AuditLog | None"
    on_report: Callable[[CancelReport], object] | None
    aside: Aside


async def carried(
    plan: Plan, access: Access, stops: Stops, watchers: Watchers
) -> tuple[Mapping[MarginMode, Found], Beside]:
    """What came of it until the operator interrupted or the key was refused, and how many orders
    are open in a margin mode that was not meant; None where that is not known."""
    loop = asyncio.get_running_loop()
    until = loop.time() + plan.schedule.deadline
    refusals = KeyRefusals()
    heard: list[Listener] = [refusals, partial(_tell_of_look, watchers.aside)]
    if watchers.log is not None:
        heard.append(watchers.log)
    beside: Beside = {}
    async with access.session(watchers.aside.say, *heard) as htx:
        refusals.begin(htx.warm_up)
        work = plan.intent.carry_out(htx, plan.schedule.deadline, watchers.on_report)
        cancelling = asyncio.create_task(work)
        await _first(cancelling, stops.first, refusals.came)
        refusals.end()
        if stops.came and not cancelling.done():
            watchers.aside.say(_STOPPING)
            await _close(htx, INTERRUPTED, stops.second)
        elif not cancelling.done():
            watchers.aside.say(KEY_REFUSED)
            await _close(htx, REFUSED, stops.first)
        else:
            looking = asyncio.create_task(_look_beside(plan, htx, until - loop.time()))
            beside = await looking if await _first(looking, stops.first) else {}
            looking.cancel()
    return await cancelling, beside


def _tell_of_look(aside: Aside, event: Event) -> None:
    if not isinstance(event, LookEnded) or not (event.orders or event.read):
        return
    found = f"{count(event.orders, 'order')} on {count(event.contracts, 'contract')}"
    aside.say(f"Open, by the look before: {found} in {event.margin_mode} margin.")


_STOPPING = (
    "Interrupted: nothing more is sent. Calls on the wire have a second for their answer; Ctrl-C "
    "once more ends that at once."
)


async def _close(htx: HtxSession, reason: str, at_once: asyncio.Event) -> None:
    """End what is under way; calls on the wire have a moment for their answer, unless `at_once`."""
    closing = asyncio.create_task(htx.aclose(grace=GRACE, reason=reason))
    if not await _first(closing, at_once):
        await htx.aclose(reason=reason)
    await closing


async def _look_beside(plan: Plan, htx: HtxSession, left: float) -> Beside:
    """One list tells of cross margin; of isolated margin it would be one for each contract."""
    if MarginMode.CROSS in plan.intent.margins or left <= 0:
        return {}
    with suppress(HtxError):
        within = min(left, _TO_LOOK_BESIDE)
        rows = await htx.cross.open_trailing(ALL_CONTRACTS, deadline=within)
        return {MarginMode.CROSS: len(rows)}
    return {}


async def _first(task: asyncio.Task[Any], *events: asyncio.Event) -> bool:
    """Wait for any of them; whether the task has ended."""
    waiters = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait([task, *waiters], return_when=asyncio.FIRST_COMPLETED)
    for waiter in waiters:
        waiter.cancel()
    return task.done()
