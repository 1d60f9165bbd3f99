"""Ended orders: from wherever the account may be, as far back as they are kept."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from htx_async import ApiGeneration, InvalidRequest, ReadFailed, TrailingOrder
from htx_async.simulator import SimulatedExchange
from tests.support.generations import CODE, WALL, exchange_of, session_of
from tests.support.virtual import run

DAY = 86_400.0
AGES = (0.1, 1.9, 2.1, 30.0, 89.0, 91.0)
"""Days."""


async def with_history(account: str, variant: str, **settings: Any) -> SimulatedExchange:
    """An exchange on which one order ended at each of these ages, the last one too long ago."""
    ages: list[float] = [0.0]
    loop = asyncio.get_running_loop()
    settings["now"] = lambda: WALL + loop.time() - ages[-1] * DAY
    exchange = exchange_of(account, variant, **settings)
    for age in AGES:
        ages.append(age)
        (order_id,) = exchange.place(CODE, "sell", "close")
        exchange.trigger(order_id)
    ages.append(0.0)
    return exchange


def age(order: TrailingOrder) -> float:
    assert order.update_time is not None
    return round((WALL - order.update_time / 1000) / DAY, 1)


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("variant", ["1051", "empty", "404", "10000", "1066", "6002", "answering"])
@pytest.mark.parametrize("pinned", [False, True])
def test_a_moved_account_has_ninety_days_of_history(
    variant: str, cross: bool, pinned: bool
) -> None:
    """Whatever v1 says to it, newest first, in windows; in a session that finds out, or is told."""

    async def main() -> None:
        exchange = await with_history("v5", variant)
        settings = {"generation": "v5"} if pinned else {}
        async with session_of(exchange, **settings) as htx:
            if cross:
                assert await htx.cross.trailing_history(CODE) == ()
                return
            rows = await htx.trailing_history(CODE)
        assert [age(row) for row in rows] == [*AGES[:-1]]
        assert exchange.busiest(3.0, path="/v5/algo/order/history") <= 72

    run(main())


@pytest.mark.parametrize("v5_refusal", [6001, 4007, None])
@pytest.mark.parametrize("since", [None, 20.0, 1.0])
def test_the_history_of_an_account_on_v1_has_v5s_word_for_its_end(
    v5_refusal: Any, since: float | None
) -> None:
    """v1's own history, and V5's word that there is no more of it."""

    async def main() -> None:
        exchange = await with_history("v1", "answering", v5_refusal=v5_refusal)
        async with session_of(exchange) as htx:
            given = None if since is None else WALL - since * DAY
            rows = await htx.trailing_history(CODE, since=given)
        kept = [one for one in AGES if one < (since or 90)]
        assert [age(row) for row in rows] == kept

    run(main())


@pytest.mark.parametrize(("days", "reads"), [(1.0, 1), (5.0, 3), (90.0, 45)])
def test_since_bounds_what_is_asked_for(days: float, reads: int) -> None:
    """One window for each 48 hours, as a datetime or in Unix seconds."""

    async def main() -> None:
        moment = datetime.fromtimestamp(WALL, UTC) - timedelta(days=days)
        for since in (moment, moment.timestamp()):
            exchange = exchange_of("v5", "6002")
            async with session_of(exchange, generation="v5") as htx:
                assert await htx.trailing_history(CODE, since=since) == ()
            assert len(exchange.arrivals) == reads

    run(main())


@pytest.mark.parametrize(
    "since", ["yesterday", True, float("nan"), datetime(2026, 1, 1), [], 1e300]
)
def test_what_is_no_time_is_refused(since: Any) -> None:
    """Before anything is sent."""

    async def main() -> None:
        exchange = exchange_of()
        async with session_of(exchange) as htx:
            with pytest.raises(InvalidRequest, match="since must be a time"):
                await htx.trailing_history(CODE, since=since)
        assert not exchange.arrivals

    run(main())


@pytest.mark.parametrize("variant", ["404", "10000", "1051"])
@pytest.mark.parametrize("fault", ["bad_gateway", "refuse"])
def test_a_history_that_cannot_be_had_says_so(variant: str, fault: str) -> None:
    """Never an empty one, where one of the two places it may be in does not answer."""

    async def main() -> None:
        exchange = await with_history("v5", variant)
        if fault == "refuse":
            exchange.refuse(1031, "Illegal request.", call="v5_history", times=99)
        else:
            exchange.bad_gateway(call="v5_history", times=99)
        async with session_of(exchange) as htx:
            with pytest.raises(ReadFailed, match="in isolated margin could not be read"):
                await htx.trailing_history(CODE, deadline=5.0)

    run(main())


def test_an_account_that_both_refuse_is_told_as_that() -> None:
    """v1 is gone, and V5 says that it is not here."""

    async def main() -> None:
        exchange = await with_history("v1", "answering")
        exchange.retire(call="hisorders", times=99)
        async with session_of(exchange) as htx:
            with pytest.raises(ReadFailed, match="neither API serves this account"):
                await htx.trailing_history(CODE)
            assert htx.generation[0] is ApiGeneration.V1

    run(main())
