"""Accounts that move, lists that are not believed, rounds: never told as better than is known."""

import asyncio
from typing import Any

import pytest

from htx_async import CancelError, CancelReport, Outcome, RetryPolicy, Verdict
from htx_async.events import CallEnded, Event
from tests.support.endings import ending
from tests.support.generations import CODE, exchange_of, session_of
from tests.support.long_form import first_of
from tests.support.virtual import run


@pytest.mark.parametrize("err_code", [1061, 1063])
def test_an_order_that_v5_did_not_take_is_no_success(err_code: int) -> None:
    """Not found or executed, by its own item: not cancelled by this call, whether or not the
    history can be read."""

    async def main() -> None:
        exchange = exchange_of("v5", "6002")
        gone, taken = exchange.place(CODE, "sell", "close", 2)
        exchange.reject_order(gone, err_code)
        exchange.refuse(1030, call="v5_history", times=9)
        async with session_of(exchange) as htx:
            report = await ending(htx.cancel_all_trailing(CODE))
        assert report.successes == (taken,)
        assert [error.order_id for error in report.errors] == [gone]
        assert report.triggered == ((gone,) if err_code == 1063 else ())

    run(main())


@pytest.mark.parametrize("variant", ["1051", "empty", "4002", "6002", "10000", "404"])
def test_a_cancel_by_ids_reaches_an_account_that_has_moved(variant: str) -> None:
    """v1 says that it does not know the order, nothing at all, or that the account has moved: V5
    cancels it."""

    async def main() -> None:
        exchange = exchange_of("v5", variant)
        ids = exchange.place(CODE, "sell", "close", 2)
        async with session_of(exchange) as htx:
            report = await ending(htx.cancel_trailing(CODE, ids))
        assert not exchange.open_orders()
        assert (report.outcome, report.successes) == (Outcome.CANCELLED, ids)

    run(main())


@pytest.mark.parametrize("readable", [True, False])
def test_a_cancel_that_v1_lost_is_not_forgotten_on_v5(readable: bool) -> None:
    """Done by v1 without an answer, then the account moved: V5 finds nothing, or cannot be read."""

    async def main() -> None:
        exchange = exchange_of("v1", "6002")
        exchange.place(CODE, "sell", "close", 2)
        exchange.lose_after_work()
        if not readable:
            exchange.refuse(1030, call="v5_opens", times=9)
        async with session_of(exchange) as htx:
            call = asyncio.create_task(ending(htx.cancel_all_trailing(CODE)))
            await asyncio.sleep(0.045)
            exchange.move()
            report = await call
        assert not exchange.open_orders()
        wanted = Outcome.CLEAR_AFTER_RETRY if readable else Outcome.UNKNOWN
        assert report.outcome is wanted

    run(main())


def test_a_call_that_v1_was_sent_is_never_not_sent() -> None:
    """Ended while V5's list is on its way: v1 had the request."""
    events: list[Event] = []

    async def main() -> None:
        exchange = exchange_of("v5", "empty")
        exchange.place(CODE, "sell", "close", 2)
        async with session_of(exchange, on_event=events.append) as htx:
            call = asyncio.create_task(htx.mass_cancel_trailing([CODE]))
            await asyncio.sleep(0.2)
            call.cancel()
            await asyncio.wait([call])

    run(main())
    (report,) = (event.report for event in events if isinstance(event, CallEnded))
    assert report.attempts[0].sent
    assert report.outcome is Outcome.UNKNOWN


def test_elapsed_counts_the_second_opinion() -> None:
    """Seconds of the whole call."""

    async def main() -> CancelReport:
        async with session_of(exchange_of()) as htx:
            return await htx.cancel_all_trailing(CODE)

    report = run(main())
    assert len(report.reads) == 1
    assert report.elapsed == pytest.approx(0.16, abs=0.001)


def test_rounds_that_took_nothing_did_not_cancel() -> None:
    """Refused by itself in the first round, triggered before the second."""

    async def main() -> None:
        exchange = exchange_of()
        (order,) = exchange.place(CODE, "sell", "close")
        exchange.reject_order(order, 1004)
        exchange.trigger(order, 0.5)
        async with session_of(exchange, generation="v1") as htx:
            mass = await htx.mass_cancel_trailing([CODE], until_clear=True)
        (report,) = mass.reports
        assert (report.outcome, report.successes) == (Outcome.NOTHING_TO_CANCEL, ())

    run(main())


@pytest.mark.parametrize("variant", ["1051", "empty"])
def test_an_empty_list_that_is_not_believed_makes_nothing_clear(variant: str) -> None:
    """One order taken and one refused, then the account moves: v1's list is empty, V5 cannot be
    asked, and the refused order is open."""

    async def main() -> None:
        exchange = exchange_of("v1", variant)
        stays, goes = exchange.place(CODE, "sell", "close", 2)
        exchange.reject_order(stays, 1004)
        exchange.refuse(1030, call="v5_opens", times=9)
        async with session_of(exchange) as htx:
            call = asyncio.create_task(ending(htx.cancel_all_trailing(CODE, confirm=True)))
            await asyncio.sleep(0.06)
            exchange.move()
            report = await call
        assert [order.order_id for order in exchange.open_orders()] == [stays]
        assert not report.is_clear
        assert (report.outcome, report.successes) == (Outcome.PARTIAL, (goes,))

    run(main())


def test_a_lost_cancel_and_an_empty_list_that_is_not_believed_are_unknown() -> None:
    """What others cancelled meanwhile makes no cancel of a request that nobody answered."""

    async def main() -> None:
        exchange = exchange_of()
        exchange.place(CODE, "sell", "close", 2)
        exchange.lose_before_work()
        exchange.refuse(1030, call="v5_opens", times=9)
        once = RetryPolicy(repeat_unknown=False)
        async with (
            session_of(exchange, retry=once) as htx,
            session_of(exchange, generation="v1") as other,
        ):
            call = asyncio.create_task(ending(htx.cancel_all_trailing(CODE, confirm=True)))
            await asyncio.sleep(0.05)
            await other.cancel_all_trailing(CODE)
            report = await call
        assert (report.outcome, report.successes) == (Outcome.UNKNOWN, ())

    run(main())


def test_a_list_that_is_refused_confirms_no_empty_answer() -> None:
    """The cancel-all found nothing on a moved account, and the list that was to confirm it is
    refused: V5 is asked all the same."""

    async def main() -> None:
        exchange = exchange_of("v5", "empty")
        ids = exchange.place(CODE, "sell", "close", 2)
        exchange.refuse(1014, call="openorders")
        async with session_of(exchange) as htx:
            report = await ending(htx.cancel_all_trailing(CODE, confirm=True))
        assert (report.outcome, report.successes) == (Outcome.CANCELLED, ids)

    run(main())


@pytest.mark.parametrize("how", ["not listed", "list refused"])
def test_a_lost_answer_of_v1_stays_in_the_account_when_v5_cannot_be_used(how: str) -> None:
    """v1 did the work and its answer was lost, then the account moved, and V5's list does not
    come: unknown, not "nothing was sent" and not "no order was touched"."""

    async def main() -> None:
        exchange = exchange_of("v1", "4002")
        exchange.place(CODE, "sell", "close", 3)
        exchange.lose_after_work(contract_code=CODE)
        exchange.move(after=0.05)
        if how == "not listed":
            exchange.lose_before_work(times=100, call="v5_opens")
        else:
            exchange.refuse(1014, "No permission.", times=100, call="v5_opens")
        async with session_of(exchange) as htx:
            with pytest.raises(CancelError) as caught:
                await htx.cancel_all_trailing(CODE, deadline=3.0)
        report = caught.value.report
        assert not exchange.open_orders(CODE)
        assert Verdict.UNKNOWN in [attempt.verdict for attempt in report.attempts]
        assert report.outcome is Outcome.UNKNOWN

    run(main())


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_a_cancel_by_ids_is_not_clear_when_the_account_moves_between_its_requests(
    readable: bool, before: bool
) -> None:
    """The later requests are told "not found" of orders that are open on V5."""

    async def main() -> None:
        exchange = exchange_of("v1", "1051")
        ids = exchange.place(CODE, "sell", "close", 60)
        if not readable:
            exchange.refuse(1030, call="v5_opens", times=99)
        async with session_of(exchange) as htx:
            if before:
                await htx.cancel_trailing(CODE, ids[:50])
                await asyncio.sleep(2.0)
            exchange.move(after=0.5)
            report = await ending(htx.cancel_trailing(CODE, ids))
        assert report.is_clear is readable
        assert bool(exchange.open_orders()) is not readable

    run(main())


def test_what_the_history_told_as_triggered_stays_so_in_doubt() -> None:
    """v1's lists were read, V5's was not."""

    async def main() -> None:
        exchange = exchange_of("v1", cancel_delay=1.0)
        triggered, taken = exchange.place(CODE, "sell", "close", 2)
        exchange.trigger(triggered, 0.5)
        exchange.refuse(1030, call="v5_opens", times=9)
        async with session_of(exchange) as htx:
            report = await ending(htx.cancel_all_trailing(CODE, confirm=True))
        assert (report.successes, report.triggered) == ((taken,), (triggered,))

    run(main())


@pytest.mark.parametrize("times", [1, 9])
def test_a_lost_answer_of_v5_stays_in_the_account(times: int) -> None:
    """The orders are gone, the history cannot be read: ids are lost, and that is told."""

    async def main() -> None:
        exchange = exchange_of("v5", "6002")
        exchange.place(CODE, "sell", "close", 2)
        exchange.refuse(1030, call="v5_history", times=99)
        exchange.lose_after_work(call="v5_cancel", times=times)
        async with session_of(exchange, generation="v5") as htx:
            report = await ending(htx.cancel_all_trailing(CODE, deadline=10.0))
        assert report.outcome is Outcome.CLEAR_AFTER_RETRY
        assert not report.ids_complete

    run(main())


def test_a_cancel_that_was_taken_is_not_undone_by_not_found() -> None:
    """Taken, listed for 2.5 s more, tried again and not there any more."""

    async def main() -> None:
        exchange = exchange_of("v5", "6002", cancel_delay=3.4)
        ids = exchange.place(CODE, "sell", "close", 1)
        exchange.refuse(1030, call="v5_history", times=99)
        async with session_of(exchange, generation="v5") as htx:
            report = await ending(htx.cancel_all_trailing(CODE, deadline=12.0))
        assert (report.outcome, report.successes) == (Outcome.CANCELLED, ids)

    run(main())


def test_no_request_without_a_contract_goes_to_v5() -> None:
    """A moved account, a contract named by pair: told as moved."""

    async def main() -> None:
        exchange = exchange_of("v5", "6002")
        ids = exchange.place("BTC-USDT-261225", "sell", "close", margin_mode="cross")
        async with session_of(exchange) as htx:
            call = htx.cross.cancel_trailing(
                order_ids=ids, pair="BTC-USDT", contract_type="quarter"
            )
            report = await ending(call)
        assert len(exchange.arrivals) == 1
        assert report.refusal is not None
        assert report.refusal.code == 6002

    run(main())


def test_an_order_that_was_only_listed_and_refused_was_not_cancelled() -> None:
    """It triggered between two rounds."""

    async def main() -> None:
        exchange = exchange_of()
        (order,) = exchange.place(CODE, "sell", "close")
        exchange.reject_order(order, 1004)
        exchange.trigger(order, 4.0)
        async with session_of(exchange, generation="v1") as htx:
            mass = await htx.mass_cancel_trailing([CODE], until_clear=True, confirm=True)
        assert mass.reports[0].outcome is Outcome.NOTHING_TO_CANCEL

    run(main())


def test_other_orders_on_v5_show_nothing_about_these() -> None:
    """Both generations list the account; an id is unknown, another order is open."""

    async def main() -> None:
        exchange = exchange_of("v5", "answering")
        exchange.place(CODE, "sell", "close")
        async with session_of(exchange) as htx:
            await ending(htx.cancel_trailing(CODE, ["123456"]))
            assert htx.generation[0] == "v1"

    run(main())


def test_a_whole_request_refused_as_not_found_is_doubted_too() -> None:
    """By the code of the reply instead of its items."""

    async def main() -> None:
        exchange = exchange_of("v5", "1051")
        ids = exchange.place(CODE, "sell", "close", 2)
        exchange.refuse(1061, call="cancel")
        async with session_of(exchange) as htx:
            report = await ending(htx.cancel_trailing(CODE, ids))
        assert (report.outcome, report.successes) == (Outcome.CANCELLED, ids)

    run(main())


@pytest.mark.parametrize("refusal", first_of([4007, 6001], 1))
@pytest.mark.parametrize("latency", [0.01, 0.1])
def test_a_list_that_was_cut_off_is_no_refusal(refusal: Any, latency: float) -> None:
    """V5 refused the account before it moved in the middle of a mass cancel; a list of V5's that
    closing cuts off afterwards does not say so again, for whoever shares it."""

    async def main(close: float) -> None:
        codes = [f"C{number}-USDT" for number in range(20)]
        exchange = exchange_of("v1", "1051", contracts=codes, v5_refusal=refusal, v5_page=3)
        for code in codes:
            exchange.place(code, "buy", "open", 4)
        async with session_of(exchange, latency=lambda: latency) as htx:
            mass = asyncio.ensure_future(htx.mass_cancel_trailing(codes, deadline=30.0))
            await asyncio.sleep(0.779)
            exchange.move()
            await asyncio.sleep(close - 0.779)
            await htx.aclose()
            report = await mass
        still = {order.contract_code for order in exchange.open_orders()}
        assert [
            each for each in report.reports if each.is_clear and each.contract_code in still
        ] == []

    for step in range(24):
        run(main(0.9 + 0.06 * step))


def test_ids_that_v1_took_need_no_other_generation() -> None:
    """Its answer comes when another call of the session has found the account on V5: the account
    of the orders is what v1 said, and nothing is asked for again."""

    async def main() -> None:
        exchange = exchange_of("v1", "404", contracts=["A-USDT", "B-USDT"])
        ids = exchange.place("A-USDT", "buy", "open", 2)
        exchange.place("B-USDT", "buy", "open")
        exchange.late(1.0, call="cancel")
        async with session_of(exchange) as htx:
            cancel = asyncio.ensure_future(htx.cancel_trailing("A-USDT", ids))
            await asyncio.sleep(0.1)
            exchange.move()
            await htx.cancel_all_trailing("B-USDT")
            report = await cancel
        assert set(report.successes) == set(ids)

    run(main())
