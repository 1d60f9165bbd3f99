"""An account that moves, and orders that trigger, between a cancel and what confirms it."""

import asyncio
import random

from htx_async import ALL_CONTRACTS, CancelReport
from htx_async.enums import AllContracts
from htx_async.simulator import SimulatedExchange
from tests.support.endings import ending
from tests.support.generations import CODE, VARIANTS, exchange_of, session_of
from tests.support.virtual import SOAK, run

SEEDS = 1_000 if SOAK else 50


async def cancelled(exchange: SimulatedExchange, chance: random.Random) -> CancelReport:
    async with session_of(exchange, latency=lambda: chance.uniform(0.01, 0.15)) as htx:
        if chance.random() < 0.5:
            return await ending(htx.cancel_all_trailing(CODE, confirm=True))
        wanted: list[str] | AllContracts = [CODE] if chance.random() < 0.5 else ALL_CONTRACTS
        clear = chance.random() < 0.5
        mass = await htx.mass_cancel_trailing(wanted, confirm=True, until_clear=clear)
        return mass.reports[0]


async def moving(seed: int) -> None:
    chance = random.Random(seed)
    exchange = exchange_of(
        "v1",
        chance.choice(VARIANTS),
        contracts=[CODE],
        cancel_delay=lambda: chance.choice([0.0, 0.3, 1.1, 2.0]),
    )
    ids = exchange.place(CODE, "sell", "close", chance.choice([1, 2, 5, 12]))
    await asyncio.sleep(2.0)
    exchange.move(after=chance.uniform(0.0, 4.0))

    async def trigger() -> None:
        await asyncio.sleep(chance.uniform(0.0, 1.5))
        for order_id in chance.sample(ids, min(2, len(ids))):
            if order_id in {order.order_id for order in exchange.open_orders()}:
                exchange.trigger(order_id)

    triggering = asyncio.create_task(trigger())
    report = await cancelled(exchange, chance)
    still_open = {order.order_id for order in exchange.open_orders()}
    await triggering
    assert {*report.still_open} <= still_open, "told as open, and is not"
    assert not (report.is_clear and exchange.open_orders()), "told as clear, and is not"
    triggered = {order.order_id for order in exchange.ended_orders() if order.status == 4}
    # Where no list could be read since, that the cancel was taken is all that is known.
    if report.is_clear or report.confirmed is not None:
        assert not {*report.successes} & triggered, "told as cancelled, and has triggered"


def test_what_happens_between_a_cancel_and_its_confirmation_is_told_as_it_was() -> None:
    """No order is told as still open that is gone, none as cancelled that has triggered, and none
    is open under a clear account; wherever the history of each is by then."""
    for seed in range(SEEDS):
        try:
            run(moving(seed))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
