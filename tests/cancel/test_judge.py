"""What facts prove: no report that a book which the facts allow contradicts."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from htx_async.cancel.judge import report, states
from htx_async.cancel.states import LISTED_WITHIN
from htx_async.enums import Outcome
from htx_async.exchange.operation import Kind
from htx_async.filters import OrderFilter
from htx_async.report import CancelReport
from tests.cancel.world import BTC, V1, V5, World, intent_of
from tests.support.virtual import MUTATED, SOAK

SEEN: Counter[Outcome] = Counter()
ACTIONS = (
    *("cancel_all", "cancel_all", "cancel", "v1 open", "v5 open", "v5 open", "v1 ended"),
    *("v5 ended", "wait", "wait", "place", "trigger", "move", "look first", "confirm"),
)
IN_A_ROW = {
    "look first": ("v1 open", "cancel_all", "v5 open"),
    "confirm": ("cancel_all", "wait", "wait", "v1 open", "v5 open"),
}
"""What procedures do, which chance alone seldom puts in this order."""


def act(world: World, action: str) -> None:
    if action == "cancel_all":
        world.cancel_all()
    elif action == "cancel":
        # As a client does: of orders that a list has shown.
        ids = [o for o in world.ledger.rows if world.intent_means(o)]
        if ids:
            world.cancel(ids[:10])
    elif action in ("v1 open", "v5 open", "v1 ended", "v5 ended"):
        kind = Kind.OPEN if action.endswith("open") else Kind.ENDED
        world.read(V1 if action.startswith("v1") else V5, kind)
    elif action == "wait":
        world.now += world.draw((0.5, 2.0))
        for order in world.open():
            if order.taken:
                world.end(order, 6)
    elif action == "place":
        world.place(world.draw(("buy", "sell")))
    elif action == "trigger":
        for order in world.open()[:1]:
            world.end(order, 4)
    elif action == "move":
        world.moved = True


def assert_true(world: World, told: CancelReport) -> None:
    began = world.ledger.began
    meant = [order for order in world.open() if world.means(order) and order.placed <= began]
    if told.confirmed:
        assert not meant, "confirmed, and an order is open"
    if told.is_clear:
        early = [o for o in meant if o.placed <= began - LISTED_WITHIN and not o.taken]
        assert not early, "clear, and an order is open"
    taken = {order.order_id for order in world.orders if order.taken}
    assert {*told.successes} <= taken, "an id is invented"
    assert not {*told.successes} & {*told.still_open}
    assert not {*told.triggered} & {*told.successes}
    if told.outcome in (Outcome.NOT_SENT, Outcome.REFUSED, Outcome.NOTHING_TO_CANCEL):
        errors = {error.order_id for error in told.errors}
        assert taken <= errors | {*told.triggered} | world.taken_before, "taken, and not told"
    if told.outcome in (Outcome.NOT_SENT, Outcome.REFUSED):
        assert not told.successes


MANY = settings(max_examples=5000 if SOAK else 300, deadline=None)
FEW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    # A mutant is killed by the first failure, however long that is.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@(FEW if MUTATED else MANY)
@given(st.data())
def test_no_book_that_the_facts_allow_contradicts_a_report(data: st.DataObject) -> None:
    """Over accounts on v1, moved, moving, whatever a procedure asked in whatever order."""

    def draw(choices: Any) -> Any:
        return data.draw(st.sampled_from(choices))

    direction = draw((None, None, "sell"))
    world = World(
        draw,
        draw(("answering", "empty", "1066", "6002", "10000", "404 and []")),
        draw((True, False)),
        OrderFilter.checked(BTC, direction, None),
    )
    for _ in range(draw((0, 1, 3))):
        world.place(draw(("buy", "sell")))
        world.now += draw((0.1, 2.0))
    world.begin(V5 if world.moved and draw((True, False)) else None)
    for _ in range(draw((1, 3, 6, 9))):
        drawn = draw(ACTIONS)
        for action in IN_A_ROW.get(drawn, (drawn,)):
            act(world, action)
            told = report(states(intent_of(world), world.ledger), world.now)
            SEEN[told.outcome] += 1
            assert_true(world, told)
            states(intent_of(world), world.ledger)
