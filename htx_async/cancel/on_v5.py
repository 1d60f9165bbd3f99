"""A cancel-all on the V5 generation, which has no such call: list, cancel by ids, list again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from htx_async.aio.tasks import Group
from htx_async.calls.call import Call
from htx_async.calls.generation import V5Traits
from htx_async.cancel.batches import batches
from htx_async.cancel.confirm import look_at_ended, until_gone, waits
from htx_async.cancel.context import Context
from htx_async.cancel.ledger import Ended
from htx_async.cancel.order import NEVER, Order, State
from htx_async.cancel.states import GONE_WITHIN, States
from htx_async.cancel.walk import OnPage
from htx_async.codes import OF_FORM, PATH_UNKNOWN, SETTLED_ORDER_CODES
from htx_async.enums import ApiGeneration, Verdict
from htx_async.exchange import v5
from htx_async.exchange.models import Page
from htx_async.exchange.operation import Operation

_V5 = ApiGeneration.V5
_NO_CODE = "V5 knows a contract by its contract_code only: name it by that, not by its pair"


def knows_contract(context: Context) -> bool:
    """Whether the contract has the name that a cancel needs here; else that ends the call."""
    if context.intent.filter.contract_code is None:
        context.ledger.file(Ended(context.contracts, _NO_CODE))
        return False
    return True


async def cancel_all(context: Context) -> None:
    """List and cancel until nothing is left that may go, or time is up. One-way orders are not
    cancelled under an offset filter, but reported."""
    # V5's lists lag behind, and v1's example took 1.1 s.
    between = waits(0.025)
    # What a look, or the check of v1's word, has listed of it just now needs no other list.
    async with Group() as group:
        _cancel_due(context, group, context.states().having(State.OPEN), set())
    is_begun = context.states().sent[_V5] > NEVER
    if is_begun and not await context.pause(next(between)):
        return
    known = context.states()
    if not is_begun and not context.intent.confirm and known.is_listed_since(_V5):
        return
    look = partial(_list_and_cancel, context)
    is_read = await until_gone(context, _V5, look, _may_go, between)
    if is_read and context.states().having(State.TAKEN, State.GONE) and not context.scope.reason:
        await look_at_ended(context, _V5)


async def _list_and_cancel(context: Context) -> bool:
    """List once, and cancel what is due as its page comes; whether the list was whole."""
    async with Group() as group:
        on_page = cancelling(context, group)
        is_read = await context.read_open(_V5, on_page=on_page, persists=True)
    return is_read and not context.scope.reason


def cancelling(context: Context, group: Group) -> OnPage:
    """What is to hear of each page of a list, so that its orders go while the rest is still to
    come."""
    sent: set[str] = set()

    def on_page(page: Page) -> None:
        if context.intent.filter.contract_code is not None:
            _cancel_due(context, group, [row.order_id for row in page.orders], sent)

    return on_page


def _cancel_due(context: Context, group: Group, listed: Iterable[str], sent: set[str]) -> None:
    """Begin to cancel those that are due and not `sent` yet."""
    known = context.states().orders
    fresh = [i for i in dict.fromkeys(listed) if i in known and i not in sent]
    due = [i for i in fresh if _is_due(context, i, known[i])]
    sent.update(due)
    for ids in batches(due, lambda order_id: known[order_id].is_alone):
        lost = max(known[order_id].losses for order_id in ids)
        group.begin(send_cancel(context, ids, lost=lost))


async def send_cancel(
    context: Context, ids: Sequence[str], *, lost: int = 0, persists: bool | None = None
) -> None:
    """Cancel these; in another of the documented forms where one was refused as such, in which case
    nothing was carried out."""
    traits, gone = context.resources.v5, set[str]()
    known = context.states().orders
    is_new = all(i not in known or known[i].tried == NEVER for i in ids)
    for form in sorted(v5.CANCEL_FORMS, key=lambda form: form != traits.cancel_form):
        if form.path in gone:
            continue
        part = ids if form.is_array else ids[:1]
        operation = v5.cancel(context.intent.filter, part, form)
        if is_new and form.is_array:
            operation = operation._replace(joins=partial(_joined, traits))
        answered = await context.send(operation, lost=lost, persists=persists)
        reply, left = answered.reply, _left_out(context, answered, part)
        if left:
            # What goes in one request is of one contract from now on.
            traits.mixes = False
            context.resources.turns.part(operation.request.path)
            await send_cancel(context, left, lost=lost, persists=persists)
            return
        if reply is not None and reply.verdict is Verdict.ACCEPTED:
            traits.cancel_form = form
            async with Group() as group:
                for order_id in ids[len(part) :]:
                    group.begin(send_cancel(context, (order_id,), lost=lost, persists=persists))
        elif reply is not None and reply.verdict is Verdict.REFUSED and reply.code in OF_FORM:
            gone |= {form.path} if reply.code == PATH_UNKNOWN else set()
            continue
        return


def _joined(traits: V5Traits, one: Operation, other: Operation) -> Operation | None:
    """One request for both, where V5 takes orders of several contracts, or these are of one."""
    is_of_one = len({code for code, _ in (*one.items, *other.items)}) == 1
    return v5.joined(one, other) if traits.mixes or is_of_one else None


def _left_out(context: Context, answered: Call, ids: Sequence[str]) -> tuple[str, ...]:
    """Orders that were passed over because the request was led by one of another contract, or all
    where it was refused as a whole for its form."""
    last = answered.endings[-1] if answered.endings else None
    if last is None or not last.led_by:
        return ()
    reply = last.reply
    if reply.verdict is Verdict.REFUSED and reply.code in OF_FORM:
        return tuple(ids)
    if reply.verdict is not Verdict.ACCEPTED or last.led_by == context.intent.filter.contract_code:
        return ()
    settled = {error.order_id for error in reply.errors if error.err_code in SETTLED_ORDER_CODES}
    return tuple(i for i in ids if i not in reply.successes and i not in settled)


def _is_sure(context: Context, order_id: str) -> bool:
    row = context.ledger.rows[order_id]
    return context.intent.filter.offset is None or not row.is_one_way


def _is_due(context: Context, order_id: str, order: Order) -> bool:
    """Whether a cancel of it may do something now."""
    if order.state is not State.OPEN or _is_refused(order) or not _is_sure(context, order_id):
        return False
    retry = context.resources.retry_reads
    if order.losses >= retry.attempts and context.now() - order.tried < retry.cap:
        return False
    # Taken, or gone by its own item, and listed all the same: the list lags behind, for a while.
    is_done = order.taken > NEVER or _is_told(order)
    return not is_done or context.now() - order.tried > GONE_WITHIN


def _may_go(context: Context, known: States) -> bool:
    """Whether the last list shows an order that is gone soon, or that a cancel may take off."""
    orders = [(order_id, known.orders[order_id]) for order_id in known.shown(_V5)]
    return any(_is_sure(context, i) and not _is_refused(order) for i, order in orders)


def _is_told(order: Order) -> bool:
    """Whether V5 has said something against it: what v1 said of one that is here is no matter."""
    return order.error is not None and order.refused_on is _V5


def _is_refused(order: Order) -> bool:
    """Whether V5 would not cancel it, by what it said last."""
    return _is_told(order) and not order.is_settled
