"""V5's word where v1's is no proof: v1 says "nothing" to accounts that have moved, too, and what it
no longer serves it refuses to every account."""

from __future__ import annotations

import asyncio

from htx_async.aio.timers import TimeLimit
from htx_async.cancel.context import Context
from htx_async.cancel.ledger import ALL, Listed, NotOnV5
from htx_async.cancel.walk import OnPage
from htx_async.enums import ApiGeneration, Verdict
from htx_async.exchange import v5
from htx_async.exchange.operation import Kind, Operation, Reply

_V5 = ApiGeneration.V5


async def _look(context: Context) -> None:
    """Look for an order of the account on V5, open or ended, of any contract, where V5's empty list
    proves nothing; what it shows goes on the ledger."""
    search = context.ledger.search
    if not await _takes(context, search.asking):
        return
    try:
        if not search.has_listed:
            search.has_listed = True
            await _page(context, Kind.OPEN, None, v5.opens(None, context.contract))
        if not search.by_code:
            await _windows(context, None)
        code = context.intent.filter.contract_code
        if search.by_code and code is not None:
            await _windows(context, code)
    finally:
        search.asking.release()


async def _windows(context: Context, code: str | None) -> None:
    """Newest first; of one contract, where that has to be named, only the last 48 hours."""
    search = context.ledger.search
    until = search.until if code is None else None
    while code not in search.looked:
        operation = v5.ended(code, until, context.contract)
        reply = await _page(context, Kind.ENDED, code, operation)
        if reply is None:
            return
        if code is not None or reply.ts is None:
            search.looked.add(code)
            return
        search.until = until = (reply.ts if until is None else until) - v5.WINDOW


async def _page(
    context: Context, kind: Kind, code: str | None, operation: Operation
) -> Reply | None:
    """The reply with a page; None where it cannot be had, or is not needed any more."""
    search = context.ledger.search
    if search.left < 1 or search.is_found:
        return None
    search.left -= 1
    contracts = ALL if code is None else context.contracts
    answered = await context.send(operation, contracts=contracts)
    page, reply = answered.page, answered.reply
    if page is None:
        is_refused = reply is not None and reply.verdict is Verdict.REFUSED
        search.by_code = search.by_code or (is_refused and code is None)
        return None
    now = context.now()
    context.file_rows(Listed(kind, _V5, contracts, False, now, now), page.orders)
    search.is_found = bool(page.orders)
    return reply


async def _takes(context: Context, lock: asyncio.Lock) -> bool:
    """Whether `lock` is had before the deadline."""
    try:
        with TimeLimit(context.scope.deadline):
            return await lock.acquire()
    except TimeoutError:
        return False


async def _ask(context: Context, on_page: OnPage) -> None:
    """Put V5's list on the ledger, or that the account is not there."""
    began, traits = context.now(), context.resources.v5
    if not traits.has_lists:
        if not await _takes(context, traits.asking):
            return
        try:
            if traits.absent_at >= began:
                context.ledger.file(NotOnV5(context.contracts, traits.absence, traits.absent_at))
                return
            if not traits.has_lists:
                await _read(context, on_page)
                return
        finally:
            traits.asking.release()
        # Whoever had the lock before has found out that each contract has a list of its own.
    await _read(context, on_page)


async def _read(context: Context, on_page: OnPage) -> None:
    asked, traits = context.now(), context.resources.v5
    traits.has_lists = await context.read_open(_V5, on_page=on_page)
    known = context.states()
    # A list that was not had says nothing by itself: only what it was refused with, now.
    if not traits.has_lists and known.not_on_v5 >= asked:
        traits.absent_at, traits.absence = asked, known.absent


async def check_v5(context: Context, on_page: OnPage = lambda page: None) -> None:
    """Ask V5 where v1's word alone is no proof, and let the session know where the account is.
    `on_page`: hears of each page of its list."""
    if context.hold is not None and _is_wanted(context):
        await context.hold(context)
    if not _is_wanted(context):
        return
    await _ask(context, on_page)
    if context.states().unreached[ApiGeneration.V1] is not None and not context.scope.reason:
        await _look(context)
    context.settle()


def _is_wanted(context: Context) -> bool:
    return not context.scope.reason and context.states().is_open_question
