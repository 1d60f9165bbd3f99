"""Many contracts of an account that has moved: none is left, and none told as unknown."""

import asyncio
from contextlib import suppress

import pytest

from htx_async import ALL_CONTRACTS, Look, MassCancelFailed, MassCancelReport, Outcome
from tests.support.generations import VARIANTS, exchange_of, session_of
from tests.support.virtual import run

CODES = [f"C{number}-USDT" for number in range(40)]
CLEAR = {Outcome.CANCELLED, Outcome.NOTHING_TO_CANCEL}


async def cancelled(
    how: str, variant: str, trip: float, with_orders: int, **settings: object
) -> tuple[MassCancelReport, int]:
    """The account, and how many orders are left."""
    exchange = exchange_of("v5", variant, contracts=CODES)
    for code in CODES[:with_orders]:
        exchange.place(code, "sell", "close")
    await asyncio.sleep(2.0)
    async with session_of(exchange, latency=lambda: trip / 2) as htx:
        if how == "guard":
            guard = htx.cancel_on_exit(CODES)
            with suppress(MassCancelFailed):
                async with guard:
                    pass
            assert guard.report is not None
            report = guard.report
        else:
            wanted = ALL_CONTRACTS if how == "all" else CODES
            report = await htx.mass_cancel_trailing(wanted, **settings)  # type: ignore[arg-type]  # of the test's choice
    return report, len(exchange.open_orders())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["named", "all", "guard"])
@pytest.mark.parametrize("variant", ["404", "1051", "6002"])
@pytest.mark.parametrize("with_orders", [1, 40])
def test_a_moved_account_of_many_contracts(how: str, variant: str, with_orders: int) -> None:
    """Whatever v1 still says to it, and however many of them have orders: all is clear, by the
    default deadline."""
    for trip in (0.1, 2.0):
        report, left = run(cancelled(how, variant, trip, with_orders))
        assert left == 0, trip
        assert report.outcomes.keys() <= CLEAR, (trip, report.outcomes)
        assert report.outcomes[Outcome.CANCELLED] == with_orders


@pytest.mark.parametrize("settings", [{"until_clear": True, "deadline": 60.0}, {"confirm": True}])
@pytest.mark.parametrize("variant", ["404", "10000"])
def test_an_order_that_v5_showed_counts_for_contracts_that_come_later(
    variant: str, settings: dict[str, object]
) -> None:
    """v1 is gone, and one contract has an order: that shows the account, for all of the call."""
    report, left = run(cancelled("named", variant, 0.1, 1, **settings))
    assert left == 0
    assert report.outcomes == {Outcome.CANCELLED: 1, Outcome.NOTHING_TO_CANCEL: 39}


@pytest.mark.parametrize("after", [0.3, 0.6, 0.9, 1.2])
@pytest.mark.parametrize("look", [Look.NONE, Look.FIRST])
@pytest.mark.parametrize("variant", VARIANTS)
def test_an_account_that_moves_after_v5_has_refused_it_once(
    variant: str, look: Look, after: float
) -> None:
    """What still waits for its turn on v1 goes to V5, of two calls of which one has looked at most
    of its contracts before, and needs to know no more of those."""

    async def main() -> None:
        exchange = exchange_of("v1", variant, contracts=CODES[:12])
        for code in CODES[:5]:
            exchange.place(code, "buy", "close")
            exchange.place(code, "sell", "close")
        exchange.place(CODES[11], "sell", "close")
        exchange.move(2.0 + after)
        await asyncio.sleep(2.0)
        async with session_of(exchange) as htx, asyncio.TaskGroup() as group:
            group.create_task(htx.mass_cancel_trailing(CODES[:12], "buy", look=look))
            await asyncio.sleep(0.5)
            report = await htx.mass_cancel_trailing(CODES[:12], look="none")
        assert not exchange.open_orders()
        # Where v1 has no word, V5's empty lists alone prove nothing to a call.
        assert report.is_clear or variant in ("404", "10000", "1066")

    run(main())


def test_a_long_list_of_v5_leaves_time_for_the_cancels() -> None:
    """A look takes half of the time at most, whoever reads the list that it waits for."""

    async def main() -> None:
        exchange = exchange_of("v5", "404", contracts=CODES[:2], v5_page=3)
        exchange.place(CODES[0], "sell", "close", 2)
        exchange.place(CODES[1], "sell", "close", 240)
        await asyncio.sleep(2.0)
        async with session_of(exchange) as htx:
            await htx.mass_cancel_trailing(CODES[:2], look="only", deadline=4.0)
        assert not exchange.open_orders(CODES[0])
        assert len(exchange.open_orders(CODES[1])) < 240

    run(main())


def test_a_list_of_v5_that_does_not_end_in_time_is_told() -> None:
    """It is known to be of all contracts, so that those that wait for it ask for none of their
    own."""

    async def main() -> None:
        exchange = exchange_of("v5", "6002", contracts=CODES[:2], v5_page=3)
        for code in CODES[:2]:
            exchange.place(code, "sell", "close", 30, margin_mode="cross")
        async with session_of(exchange, generation="v5") as htx:
            await htx.cross.open_trailing(ALL_CONTRACTS, deadline=10.0)
            report = await htx.mass_cancel_trailing(CODES[:2], deadline=1.0)
        assert report.outcomes == {Outcome.NOT_SENT: 2}
        assert all("deadline of 1 s" in each.ended_by for each in report.reports)

    run(main())


def test_v5_s_lists_are_read_beside_each_other() -> None:
    """An account on v1 whose V5 answers with empty lists: forty of them are read within seconds at
    a round trip of 2 s, not one after the other."""

    async def main() -> None:
        exchange = exchange_of("v1", v5_refusal=None, contracts=CODES)
        exchange.place(CODES[0], "sell", "close")
        async with session_of(exchange, latency=lambda: 1.0) as htx:
            report = await htx.mass_cancel_trailing(ALL_CONTRACTS)
        assert report.outcomes == {Outcome.CANCELLED: 1, Outcome.NOTHING_TO_CANCEL: 39}
        assert report.elapsed < 15

    run(main())
