"""V5's lists, of which nobody says how long they are: no order is hidden by a short page, an odd
order of rows, or a list that is late."""

import asyncio
import random
from contextlib import suppress
from typing import Any, get_args

import pytest

from htx_async import (
    ALL_CONTRACTS,
    CancelError,
    CancelReport,
    Outcome,
    OutcomeUnknown,
    PartialCancel,
    ReadFailed,
)
from htx_async.cancel.states import LISTED_WITHIN
from htx_async.simulator import SimulatedExchange
from htx_async.simulator.serve_v5 import RowOrder
from tests.support.endings import ending
from tests.support.generations import CODE, VARIANTS, exchange_of, session_of
from tests.support.virtual import SOAK, run

OTHER = "ETH-USDT"
ORDERS: tuple[RowOrder, ...] = get_args(RowOrder)
LISTS = pytest.mark.parametrize(
    ("order", "inclusive"), [(order, inclusive) for order in ORDERS for inclusive in (False, True)]
)


def on_v5(**more: Any) -> SimulatedExchange:
    return exchange_of("v5", "6002", **more)


def asked(exchange: SimulatedExchange, end: str) -> int:
    return sum(arrival.path.endswith(end) for arrival in exchange.arrivals)


@LISTS
@pytest.mark.parametrize("page", [10, 50])
def test_short_pages_hide_no_order(page: int, order: RowOrder, inclusive: bool) -> None:
    """60 orders: all are told, and all are cancelled."""

    async def main() -> None:
        exchange = on_v5(v5_page=page, v5_order=order, v5_inclusive=inclusive)
        ids = exchange.place(CODE, "sell", "close", 60)
        async with session_of(exchange, generation="v5") as htx:
            assert {row.order_id for row in await htx.open_trailing(CODE)} == set(ids)
            report = await htx.cancel_all_trailing(CODE, confirm=True, deadline=30.0)
        assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, True)
        assert set(report.successes) == set(ids)
        assert not exchange.open_orders()

    run(main())


def test_an_order_that_is_listed_twice_is_cancelled_once() -> None:
    """Each row stands twice: no id is asked for again, in the same request or in another."""

    async def main() -> None:
        exchange = on_v5(rows_twice=True)
        ids = exchange.place(CODE, "sell", "close", 12)
        async with session_of(exchange, generation="v5") as htx:
            report = await htx.cancel_all_trailing(CODE, deadline=30.0)
        assert sorted(report.successes) == sorted(ids)
        sent = b"".join(one.body for one in exchange.arrivals if "cancel" in one.path)
        assert [sent.count(order_id.encode()) for order_id in ids] == [1] * 12

    run(main())


@LISTS
def test_who_keeps_placing_hides_no_older_order(order: RowOrder, inclusive: bool) -> None:
    """Each page has newer ones by the time at which it comes: those from before are read first."""

    async def place(exchange: SimulatedExchange) -> None:
        for _ in range(120):
            exchange.place(CODE, "sell", "close")
            await asyncio.sleep(0.07)

    async def main() -> None:
        exchange = on_v5(v5_page=10, v5_order=order, v5_inclusive=inclusive)
        old = {*exchange.place(CODE, "sell", "close", 60)}
        await asyncio.sleep(2.0)
        async with session_of(exchange, generation="v5") as htx, asyncio.TaskGroup() as group:
            placing = group.create_task(place(exchange))
            with suppress(PartialCancel, OutcomeUnknown):
                await htx.cancel_all_trailing(CODE, deadline=8.0)
            placing.cancel()
        assert not old & {one.order_id for one in exchange.open_orders()}

    run(main())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("how", ["all", "ids", "mass"])
def test_a_long_list_is_cancelled_while_it_is_read_for_a_second_opinion(
    how: str, variant: str
) -> None:
    """Whatever v1 says: there is time to see half of it, and none of that is left."""

    async def main() -> None:
        exchange = exchange_of("v5", variant, v5_page=3)
        ids = exchange.place(CODE, "sell", "close", 60)
        await asyncio.sleep(2.0)
        async with session_of(exchange, latency=lambda: 0.1) as htx:
            with suppress(CancelError):
                if how == "all":
                    await htx.cancel_all_trailing(CODE, deadline=3.0)
                elif how == "ids":
                    await htx.cancel_trailing(CODE, ids, deadline=5.0)
                else:
                    await htx.mass_cancel_trailing([CODE, OTHER], deadline=3.0)
        assert len(exchange.open_orders()) <= 30

    run(main())


@LISTS
def test_what_is_cancelled_by_its_id_while_the_list_is_read_may_be_on_its_next_page(
    order: RowOrder, inclusive: bool
) -> None:
    """As the lists lag behind: its cancel was taken, and nobody looks again."""

    async def main() -> None:
        lists = {"v5_page": 3, "v5_order": order, "v5_inclusive": inclusive}
        exchange = exchange_of("v5", "1066", cancel_delay=0.4, **lists)
        ids = exchange.place(CODE, "sell", "close", 12)
        await asyncio.sleep(2.0)
        async with session_of(exchange) as htx:
            report = await htx.cancel_trailing(CODE, ids)
        assert (report.outcome, {*report.successes}) == (Outcome.CANCELLED, {*ids})

    run(main())


@pytest.mark.parametrize("variant", ["empty", "1051"])
def test_an_id_that_no_list_shows_is_asked_for_on_v5_itself(variant: str) -> None:
    """v1 speaks of none of them: one is not listed yet, and goes; the other is nowhere."""

    async def main() -> None:
        exchange = exchange_of("v5", variant, v5_lag=1.1)
        async with session_of(exchange) as htx:
            gone = await htx.cancel_trailing(CODE, ["9" * 19])
            ids = exchange.place(CODE, "sell", "close")
            if variant == "empty":
                report = await htx.cancel_trailing(CODE, ids)
                assert (report.outcome, report.successes) == (Outcome.CANCELLED, ids)
        assert (gone.outcome, gone.ids_complete) == (Outcome.NOTHING_TO_CANCEL, True)

    run(main())


@LISTS
def test_a_list_over_all_contracts_does_not_end_with_its_first_page(
    order: RowOrder, inclusive: bool
) -> None:
    """In cross margin one list tells of every contract, and only those on it are cancelled."""

    async def main() -> None:
        codes = [f"C{number}-USDT" for number in range(12)]
        exchange = on_v5(v5_page=10, v5_order=order, v5_inclusive=inclusive, contracts=codes)
        for code in codes:
            exchange.place(code, "sell", "close", 3, margin_mode="cross")
        async with session_of(exchange, generation="v5") as htx:
            mass = await htx.cross.mass_cancel_trailing(ALL_CONTRACTS)
        assert len(mass.successes) == 36
        assert not exchange.open_orders()

    run(main())


def test_an_order_that_is_listed_late_counts() -> None:
    """It was placed before the call, and is not on the first list: confirmed, or waited for."""

    async def main() -> None:
        exchange = on_v5(v5_lag=0.5)
        (old,) = exchange.place(CODE, "sell", "close")
        await asyncio.sleep(0.4)
        (late,) = exchange.place(CODE, "sell", "close")
        async with session_of(exchange, generation="v5") as htx:
            report = await htx.cancel_all_trailing(CODE, confirm=True)
        assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, True)
        assert set(report.successes) == {old, late}
        assert not exchange.open_orders()

    run(main())


def test_what_is_placed_later_stays() -> None:
    """However long the call looks; what was certainly placed after its beginning is not its."""

    async def main() -> None:
        exchange = on_v5()
        exchange.place(CODE, "sell", "close")
        async with session_of(exchange, generation="v5") as htx:
            call = asyncio.create_task(htx.cancel_all_trailing(CODE, confirm=True))
            await asyncio.sleep(0.4)
            (later,) = exchange.place(CODE, "sell", "close")
            report = await call
        assert (report.confirmed, report.still_open) == (True, ())
        assert [one.order_id for one in exchange.open_orders()] == [later]

    run(main())


@pytest.mark.parametrize("generation", ["v1", "v5"])
def test_confirmed_needs_a_list_from_a_second_and_a_half_later(generation: str) -> None:
    """`confirm` waits for it where the deadline allows; else nobody knows."""

    async def main() -> None:
        exchange = on_v5() if generation == "v5" else exchange_of()
        async with session_of(exchange, generation=generation) as htx:
            for deadline, confirmed in ((1.0, None), (10.0, True)):
                exchange.place(CODE, "sell", "close")
                began = asyncio.get_running_loop().time()
                report = await htx.cancel_all_trailing(CODE, confirm=True, deadline=deadline)
                took = asyncio.get_running_loop().time() - began
                assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, confirmed)
                assert (took >= LISTED_WITHIN) is bool(confirmed)
                assert took < LISTED_WITHIN + 0.5
                assert bool(report.warnings) is (confirmed is None)
                assert ("1.5 s" in report.message) is (confirmed is None)

    run(main())


def test_without_confirm_v5_is_clear_and_not_confirmed() -> None:
    """It does not wait: one read where there is nothing, and no promise about late lists."""

    async def main() -> None:
        exchange = on_v5()
        async with session_of(exchange, generation="v5") as htx:
            nothing = await htx.cancel_all_trailing(CODE)
            assert (nothing.outcome, nothing.confirmed) == (Outcome.NOTHING_TO_CANCEL, None)
            assert len(exchange.arrivals) == len(nothing.reads) == 1
            exchange.place(CODE, "sell", "close")
            report = await htx.cancel_all_trailing(CODE)
            assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, None)
            assert report.warnings == ()
            # The list and its end, beside the cancel; the list again; the history.
            assert len(report.reads) == 4

    run(main())


def test_cancels_go_out_while_the_list_is_read_on() -> None:
    """The first page's, before the second page has come."""

    async def main() -> None:
        exchange = on_v5(v5_page=10, latency=0.5)
        exchange.place(CODE, "sell", "close", 30)
        async with session_of(exchange, generation="v5") as htx:
            await htx.cancel_all_trailing(CODE, deadline=30.0)
        first = next(a.at for a in exchange.arrivals if a.path.endswith("/cancel_orders"))
        assert [a.at <= first for a in exchange.arrivals if a.path.endswith("/opens")][:3] == [
            True,
            True,
            False,
        ]

    run(main())


def test_what_is_on_a_list_that_breaks_off_is_cancelled_and_not_clear() -> None:
    """A row counts from any page; that there is no other only from a whole list."""

    async def main() -> None:
        exchange = on_v5(v5_page=10)
        exchange.place(CODE, "sell", "close", 15)

        async def break_off() -> None:
            await asyncio.sleep(0.06)
            exchange.refuse(1030, call="v5_opens", times=99)

        async with session_of(exchange, generation="v5") as htx:
            breaking = asyncio.create_task(break_off())
            report = await ending(htx.cancel_all_trailing(CODE))
            await breaking
        assert (report.outcome, report.confirmed) == (Outcome.UNKNOWN, None)
        assert len(report.successes) == 10
        assert len(exchange.open_orders()) == 5

    run(main())


def test_a_list_that_begins_anew_has_no_end() -> None:
    """An exchange that takes no notice of where to go on from: not 10 of 60, but an error."""

    async def main() -> None:
        exchange = on_v5(v5_page=10)
        exchange.place(CODE, "sell", "close", 10)
        async with session_of(exchange, generation="v5") as htx:
            rows = await htx.open_trailing(CODE)
            assert len(rows) == 10
            first = _as_page([row.order_id for row in rows])
            exchange.malform(first, call="v5_opens", times=99)
            with pytest.raises(ReadFailed, match="begins anew"):
                await htx.open_trailing(CODE)

    run(main())


def _as_page(ids: list[str]) -> bytes:
    rows = ",".join(
        f'{{"id":"{number}","type":"trailing_stop","state":"active","side":"sell",'
        f'"algo_id":"{order_id}","contract_code":"{CODE}","position_side":"long"}}'
        for number, order_id in enumerate(ids, 1)
    )
    return f'{{"code":200,"data":[{rows}],"ts":1}}'.encode()


async def one_story(seed: int) -> None:
    """A call on V5 whose pages are short, whose lists are late, or whose answers are lost."""
    chance = random.Random(seed)
    lag, page = chance.choice([0.0, 0.3, 1.2]), chance.choice([3, 10, 50, 100])
    exchange = on_v5(
        v5_page=page,
        v5_order=chance.choice(ORDERS),
        v5_inclusive=chance.random() < 0.5,
        v5_lag=lag,
        cancel_delay=lambda: chance.choice([0.0, 0.3, 1.1]),
    )
    margin: Any = chance.choice(["isolated", "cross"])
    for pause in (2.0, chance.choice([0.0, 0.2, 0.9])):
        for code in (CODE, OTHER):
            for side in ("buy", "sell"):
                most = 25 if pause == 2.0 else 4
                exchange.place(code, side, "close", chance.randint(0, most), margin_mode=margin)
        await asyncio.sleep(pause)
    for call in ("v5_opens", "v5_cancel", "v5_history"):
        if chance.random() < 0.2:
            lose = chance.choice([exchange.lose_before_work, exchange.lose_after_work])
            lose(call=call)
        if chance.random() < 0.1:
            exchange.retire(path_gone=True, call=call, times=2)
    direction = chance.choice([None, "sell"])
    began = asyncio.get_running_loop().time()
    meant = {
        one.order_id: one
        for one in exchange.open_orders(margin_mode=margin)
        if direction in (None, one.direction)
    }
    settled = {i for i, one in meant.items() if one.created_at / 1000 + lag <= exchange._now()}
    async with session_of(
        exchange, generation="v5", latency=lambda: chance.uniform(0.005, 0.1)
    ) as htx:
        margin_calls = htx.cross if margin == "cross" else htx
        for report in await _told(margin_calls, direction, chance):
            is_open = {one.order_id for one in exchange.open_orders(report.contract_code, margin)}
            left = {i for i in is_open & meant.keys() if not exchange._book.is_going(i)}
            assert not (report.confirmed and is_open & meant.keys()), (seed, report)
            # Without a promise about late lists, the others count.
            assert not (report.is_clear and left & settled), (seed, began, report)


async def _told(
    margin_calls: Any, direction: str | None, chance: random.Random
) -> list[CancelReport]:
    deadline = chance.choice([0.3, 1.0, 4.0, 30.0])
    way = chance.choice(["one", "confirm", "many", "rounds"])
    if way in ("one", "confirm"):
        settings: dict[str, Any] = {"confirm": way == "confirm", "deadline": deadline}
        return [await ending(margin_calls.cancel_all_trailing(CODE, direction, **settings))]
    confirm = chance.random() < 0.5
    mass = await margin_calls.mass_cancel_trailing(
        [CODE, OTHER], direction, confirm=confirm, until_clear=way == "rounds", deadline=deadline
    )
    return list(mass.reports)


def test_no_story_on_v5_ends_confirmed_over_an_order() -> None:
    """Nor clear over one that had to be listed: short pages, three orders of rows, late lists,
    slow cancels and lost answers, for one contract and for two, in rounds and confirmed."""
    for seed in range(3000 if SOAK else 50):
        run(one_story(seed))
