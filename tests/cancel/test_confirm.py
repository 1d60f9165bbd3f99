"""After a cancel: the report as the book has it, whatever went wrong, and as far as it is known.

All in virtual time over the simulated exchange, which judges.
"""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

import pytest

from htx_async import (
    CancelRefused,
    CancelReport,
    HtxSession,
    NotSent,
    Outcome,
    PartialCancel,
    RetryPolicy,
)
from htx_async.cancel.states import LISTED_WITHIN
from htx_async.enums import DirectionLike, OffsetLike
from htx_async.events import CallEnded, Event
from htx_async.simulator import Order, Reply, Request
from tests.support.endings import ending
from tests.support.virtual import run
from tests.support.witness import BTC, START, Witness, asked, in_step, now, page, row_of, v1_session

OTHER = "ETH-USDT"
UPLINK = 0.1
"""Seconds: orders placed so shortly after a call began may count as placed before it."""


def matches(order: Order, direction: str | None, offset: str | None) -> bool:
    """Whether a call with these filters may mean this order."""
    is_meant = offset is None or order.offset in (offset, "both")
    return order.contract_code == BTC and direction in (None, order.direction) and is_meant


def assert_true(report: CancelReport, exchange: Witness, placed_before: set[str]) -> None:
    """What the report says of each order is what the book says now."""
    named = [*report.successes, *report.triggered, *report.still_open]
    assert max(Counter(named).values(), default=1) == 1, "an id stands in two places"
    if report.confirmed is None:
        return
    status = {one: exchange.status_of(one) for one in placed_before}
    is_open = {one for one in placed_before if status[one] == 2}
    assert is_open <= set(report.still_open)
    assert (report.outcome is Outcome.PARTIAL) == bool(report.still_open)
    assert report.confirmed == report.is_clear == (not report.still_open)
    for one in report.successes:
        assert exchange.status_of(one) == 6
    for one in report.triggered:
        assert exchange.status_of(one) == 4
    told = {*report.successes, *report.still_open, *(error.order_id for error in report.errors)}
    for one in placed_before:
        if status[one] == 4:
            assert one in report.triggered
        elif status[one] == 6 and report.ids_complete:
            assert one in told


# Everything at random


class Story:
    """A call in the middle of a market, told by a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        slowest = chance.choice([0.0, 0.3, 1.1])
        self.exchange = in_step(cancel_delay=lambda: chance.uniform(0.0, slowest))
        self.skew = chance.uniform(-30.0, 30.0)
        self.filters: tuple[DirectionLike | None, OffsetLike | None] = (
            chance.choice([None, "buy", "sell"]),
            chance.choice([None, "open", "close"]),
        )
        self.placed_after: set[str] = set()

    def place(self, most: int) -> tuple[str, ...]:
        chance = self.chance
        sides: tuple[DirectionLike, ...] = ("buy", "sell")
        offsets: tuple[OffsetLike | Literal["both"], ...] = ("open", "close", "both")
        ids: list[str] = []
        for _ in range(chance.randrange(most + 1)):
            ids += self.exchange.place(BTC, chance.choice(sides), chance.choice(offsets))
        return tuple(ids)

    def arm(self) -> None:
        """Lose a few answers, before or after the work."""
        chance, exchange = self.chance, self.exchange
        for call, odds in (("cancelall", 0.3), ("openorders", 0.2), ("hisorders", 0.2)):
            for _ in range(2):
                if chance.random() < odds:
                    lose = chance.choice([exchange.lose_before_work, exchange.lose_after_work])
                    lose(call=call)

    async def goes_on(self) -> None:
        """The strategy places more, well after the call began."""
        await asyncio.sleep(UPLINK + 0.001)
        for _ in range(3):
            await asyncio.sleep(self.chance.uniform(0.0, 0.8))
            self.placed_after.update(self.place(1))

    async def told(self) -> CancelReport:
        exchange, chance = self.exchange, self.chance
        latency = lambda: chance.uniform(0.005, UPLINK)  # noqa: E731 - a short word for it
        async with v1_session(exchange, latency, skew=self.skew) as htx:
            self.place(6)
            exchange.place(OTHER, "buy", "open")
            await asyncio.sleep(chance.uniform(0.15, 0.5))
            for order in exchange.open_orders(BTC):
                if chance.random() < 0.1:
                    exchange.trigger(order.order_id)
            await asyncio.sleep(2 * UPLINK)
            meant = [one for one in exchange.open_orders() if matches(one, *self.filters)]
            for order in meant:
                if chance.random() < 0.3:
                    # Not while an order that nobody cancels is looked at for the last time.
                    exchange.trigger(order.order_id, chance.uniform(0.0, 1.9))
            self.arm()
            strategy = asyncio.create_task(self.goes_on())
            report = await ending(htx.cancel_all_trailing(BTC, *self.filters, confirm=True))
            self.placed_before = {order.order_id for order in meant}
            assert_true(report, exchange, self.placed_before)
            assert report.confirmed is not None
            assert len(exchange.open_orders(OTHER)) == 1
            strategy.cancel()
            await asyncio.wait([strategy])
        return report


async def story(seed: int) -> CancelReport:
    one = Story(seed)
    report = await one.told()
    # What the strategy placed later never counts against the call.
    assert not one.placed_after & set(report.still_open)
    return report


@pytest.mark.parametrize("chunk", range(10))
def test_a_confirmed_report_equals_the_book(chunk: int) -> None:
    """200 markets with lost answers, triggers, slow cancels, a strategy and a clock that is off."""
    reports = [run(story(seed)) for seed in range(chunk * 20, chunk * 20 + 20)]
    assert {Outcome.CANCELLED, Outcome.PARTIAL} <= {report.outcome for report in reports}
    assert any(report.triggered for report in reports)
    # Where nothing was found, a lost answer stays a lost answer.
    assert all(report.ids_complete or not report.successes for report in reports)


async def cut_short(seed: int) -> None:
    """The same within a deadline that may come at any moment."""
    chance = random.Random(seed)
    exchange = in_step(cancel_delay=lambda: chance.uniform(0.0, 1.1))
    async with v1_session(exchange, lambda: chance.uniform(0.005, UPLINK)) as htx:
        ids = exchange.place(BTC, "buy", "open", 4)
        for call, odds in (("cancelall", 0.3), ("openorders", 0.4)):
            if chance.random() < odds:
                exchange.lose_after_work(call=call)
        deadline, began = chance.uniform(0.05, 2.0), now()
        report = await ending(htx.cancel_all_trailing(BTC, confirm=True, deadline=deadline))
        assert now() - began <= deadline + 0.05
        is_open = {one for one in ids if exchange.status_of(one) == 2}
        assert not (report.is_clear and report.confirmed and is_open)
        if report.confirmed is not None:
            assert is_open <= set(report.still_open)
            assert not is_open & set(report.successes)


def test_a_deadline_at_any_moment_leaves_a_true_report() -> None:
    """Within 50 ms, and never confirmed while an order is open."""
    for seed in range(60):
        run(cut_short(seed))


# One thing at a time


def told(
    arm: Callable[[Witness], object] = lambda exchange: None,
    *arguments: Any,
    exchange_options: dict[str, Any] | None = None,
    orders: int = 2,
    retry: RetryPolicy | None = None,
    **settings: Any,
) -> tuple[CancelReport, Witness, tuple[str, ...]]:
    """The report of a confirmed cancel of so many orders, after `arm`."""

    async def main() -> tuple[CancelReport, Witness, tuple[str, ...]]:
        exchange = in_step(**(exchange_options or {}))
        ids = exchange.place(BTC, "buy", "open", orders) if orders else ()
        arm(exchange)
        async with v1_session(exchange, retry=retry or RetryPolicy()) as htx:
            call = htx.cancel_all_trailing(BTC, *arguments, confirm=True, **settings)
            report = await ending(call)
        return report, exchange, ids

    return run(main())


@pytest.mark.parametrize("delay", [0.0, 0.4, 1.1, 3.0])
def test_it_looks_until_the_orders_are_gone(delay: float) -> None:
    """As long as the exchange takes, and until every order has to be listed; every look is on
    record."""
    report, exchange, ids = told(exchange_options={"cancel_delay": delay})
    assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, True)
    assert set(report.successes) == set(ids)
    assert len(asked(exchange, "cancelall")) == len(report.attempts) == 1
    reads = len(asked(exchange, "openorders")) + len(asked(exchange, "hisorders"))
    assert len(report.reads) == reads
    assert [one.number for one in report.reads] == list(range(1, reads + 1))
    least = max(delay, LISTED_WITHIN)
    assert least <= report.elapsed <= least + 1.3


def test_without_confirm_nothing_is_read() -> None:
    """The exchange's word is taken, and told as such."""

    async def main() -> None:
        exchange = in_step()
        exchange.place(BTC, "buy", "open")
        async with v1_session(exchange) as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert (report.confirmed, report.reads, report.still_open) == (None, (), ())
        assert len(exchange.arrivals) == 1

    run(main())


@pytest.mark.parametrize("lose", ["lose_before_work", "lose_after_work"])
@pytest.mark.parametrize("repeat", [True, False])
def test_a_lost_answer_is_made_up_for(lose: str, repeat: bool) -> None:
    """The ids come back from the history; what was never cancelled is found open."""
    report, _, ids = told(
        lambda exchange: getattr(exchange, lose)(),
        retry=RetryPolicy(repeat_unknown=repeat),
    )
    assert report.ids_complete == bool(report.successes)
    if lose == "lose_before_work" and not repeat:
        assert (report.outcome, set(report.still_open)) == (Outcome.PARTIAL, set(ids))
    else:
        assert (report.outcome, set(report.successes)) == (Outcome.CANCELLED, set(ids))


def test_where_the_history_alone_tells_a_time_it_is_read_back_to_the_call() -> None:
    """Its first page says since when the others are needed; without them ids would be missing, and
    the report call them complete."""

    class Mute(Witness):
        def handle(self, request: Request) -> Reply:
            reply = super().handle(request)
            if request.path.endswith("hisorders"):
                return reply
            return replace(reply, body=re.sub(rb',"ts":[0-9]+', b"", reply.body))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        exchange = Mute(clock=loop.time, now=lambda: START + loop.time())
        exchange.place(BTC, "buy", "open", 60)
        async with v1_session(exchange) as htx:
            await htx.cancel_all_trailing(BTC)
            await asyncio.sleep(60.0)
            ids = exchange.place(BTC, "buy", "open", 120)
            exchange.lose_after_work()
            report = await ending(htx.cancel_all_trailing(BTC, confirm=True))
        assert (report.confirmed, report.ids_complete) == (True, True)
        assert sorted(report.successes) == sorted(ids)
        # And no further than to the page that has some of those of before.
        assert len(asked(exchange, "hisorders")) == 3

    run(main())


def test_what_ended_before_the_call_is_not_its_doing() -> None:
    """A lost answer brings back what was cancelled or triggered since the call began, no more."""

    async def main() -> None:
        exchange = in_step()
        triggered, cancelled, meant = exchange.place(BTC, "buy", "open", 3)
        exchange.trigger(triggered)
        async with v1_session(exchange, skew=-30.0) as htx:
            await htx.cancel_trailing(BTC, [cancelled])
            await asyncio.sleep(0.2)
            exchange.lose_after_work()
            report = await htx.cancel_all_trailing(BTC, confirm=True)
        assert (report.successes, report.triggered) == ((meant,), ())

    run(main())


def test_only_the_newest_part_of_the_history_is_read() -> None:
    """However long it is: beyond what is older than the call there is nothing of it."""

    async def main() -> None:
        exchange = in_step()
        old = exchange.place(BTC, "buy", "open", 230)
        async with v1_session(exchange) as htx:
            await htx.cancel_all_trailing(BTC)
            await asyncio.sleep(1.0)
            new = exchange.place(BTC, "buy", "open", 2)
            exchange.lose_after_work()
            report = await htx.cancel_all_trailing(BTC, confirm=True)
        assert set(report.successes) == set(new)
        assert not set(old) & {*report.successes, *report.triggered}
        assert len(asked(exchange, "hisorders")) == 1

    run(main())


def test_the_history_is_read_on_for_an_id_that_is_missing() -> None:
    """A page older than the call is not the end while an id that the exchange took is not found."""

    def arm(exchange: Witness) -> None:
        taken = exchange.open_orders()[0].order_id
        rows = [{**row_of(str(at)), "status": 6, "update_time": at} for at in (5, 1)]
        last = {**row_of(taken), "status": 4, "update_time": 1}
        exchange.malform(page(*rows, pages=2, size=3), call="hisorders")
        exchange.malform(page(last, pages=2, size=3), call="hisorders")

    report, exchange, ids = told(arm, orders=1)
    assert (report.triggered, report.successes) == (ids, ())
    assert len(asked(exchange, "hisorders")) == 2


def test_an_unsorted_history_is_read_to_its_end() -> None:
    """What a lost answer took may stand on any page then."""

    def arm(exchange: Witness) -> None:
        taken = exchange.open_orders()[0].order_id
        exchange.lose_after_work()
        rows = [{**row_of(str(at)), "status": 6, "update_time": at} for at in (2, 5, 1)]
        ended = {"status": 6, "update_time": START * 1000 + 500, "canceled_at": START * 1000 + 500}
        exchange.malform(page(*rows, pages=2, size=4), call="hisorders")
        exchange.malform(page({**row_of(taken), **ended}, pages=2, size=4), call="hisorders")

    report, _, ids = told(arm, orders=1)
    assert (report.outcome, report.successes) == (Outcome.CANCELLED, ids)


def test_every_answer_lost_is_made_up_for() -> None:
    """Four lost answers would be unknown; the lists say that all are gone."""
    report, _, ids = told(lambda exchange: exchange.lose_after_work(times=4))
    assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, True)
    assert set(report.successes) == set(ids)
    assert len(report.attempts) == 4


def test_an_order_that_stays_is_partial() -> None:
    """The exception names it, with the exchange's reason, and what went is told."""

    async def main() -> None:
        exchange = in_step()
        stays, goes = exchange.place(BTC, "buy", "open", 2)
        exchange.reject_order(stays, 1004, "System busy.")
        async with v1_session(exchange) as htx:
            with pytest.raises(PartialCancel, match=f"{stays} \\(1004: System busy") as caught:
                await htx.cancel_all_trailing(BTC, confirm=True)
        report = caught.value.report
        assert (report.still_open, report.successes) == ((stays,), (goes,))
        assert report.confirmed is False
        # It does not look for ever at what will not go by itself.
        assert 2.5 <= report.elapsed <= 4.0

    run(main())


@pytest.mark.parametrize("after", [0.0, 0.3, 0.9])
def test_an_order_that_triggers_before_its_cancel_takes_effect_is_triggered(after: float) -> None:
    """The exchange said that it took the cancel; the history knows better."""

    def arm(exchange: Witness) -> None:
        exchange.trigger(exchange.open_orders()[0].order_id, after + 0.025)

    report, _, ids = told(arm, exchange_options={"cancel_delay": 1.0})
    assert (report.triggered, report.successes) == (ids[:1], ids[1:])
    assert "1 order had triggered" in report.message


@pytest.mark.parametrize("direction", [None, "buy"])
def test_one_way_orders_under_an_offset_filter_are_reported_and_stay(direction: str | None) -> None:
    """What the filter does with them is not documented: they are never cancelled one by one."""

    def arm(exchange: Witness) -> None:
        exchange.place(BTC, "buy", "both")

    report, exchange, ids = told(arm, direction, "open")
    (one_way,) = exchange.open_orders()
    assert (report.outcome, report.still_open) == (Outcome.PARTIAL, (one_way.order_id,))
    assert set(report.successes) == set(ids)
    assert not asked(exchange, "cancel")


def test_that_v5_has_no_such_account_is_no_reason_for_what_stays() -> None:
    """v1's word on a one-way order under an offset filter stands; V5's refusal is no list that
    could not be read."""

    async def main() -> None:
        exchange = in_step(v5_refusal=6001)
        exchange.place(BTC, "buy", "both")
        async with v1_session(exchange, generation="auto") as htx:
            with pytest.raises(PartialCancel) as caught:
                await htx.cancel_all_trailing(BTC, None, "close", confirm=True)
        assert "could not be read" not in caught.value.report.ended_by

    run(main())


def test_an_order_placed_later_does_not_count() -> None:
    """Whether it is open or not."""

    async def main() -> None:
        exchange = in_step(cancel_delay=0.5)
        exchange.place(BTC, "buy", "open")
        async with v1_session(exchange) as htx:
            call = asyncio.create_task(htx.cancel_all_trailing(BTC, confirm=True))
            await asyncio.sleep(0.1)
            exchange.place(BTC, "buy", "open")
            report = await call
            assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, True)
            assert len(exchange.open_orders()) == 1

    run(main())


def test_an_order_that_the_call_itself_took_counts_however_young_it_is() -> None:
    """Placed while the call waited for its turn, taken by it, and open at the deadline."""

    async def main() -> None:
        exchange = in_step(cancel_delay=5.0)
        async with v1_session(exchange) as htx:
            await asyncio.gather(*[ending(htx.cancel_all_trailing(OTHER)) for _ in range(5)])
            call = asyncio.create_task(
                ending(htx.cancel_all_trailing(BTC, confirm=True, deadline=3.0))
            )
            await asyncio.sleep(0.5)
            (young,) = exchange.place(BTC, "buy", "open")
            report = await call
            assert exchange.status_of(young) == 2
            assert young not in report.successes
            assert report.confirmed is not True

    run(main())


def test_an_order_that_the_call_was_refused_for_counts_however_young_it_is() -> None:
    """Placed while the call waited for its turn, refused by its own code, and open."""

    async def main() -> None:
        exchange = in_step()
        async with v1_session(exchange) as htx:
            await asyncio.gather(*[ending(htx.cancel_all_trailing(OTHER)) for _ in range(5)])
            call = asyncio.create_task(ending(htx.cancel_all_trailing(BTC, confirm=True)))
            await asyncio.sleep(0.5)
            exchange.place(BTC, "buy", "open")
            (young,) = exchange.place(BTC, "buy", "open")
            exchange.reject_order(young, 1004)
            report = await call
            assert exchange.status_of(young) == 2
            assert report.outcome is Outcome.PARTIAL

    run(main())


def test_an_order_placed_in_the_last_millisecond_before_the_call_counts() -> None:
    """The exchange tells whole milliseconds, and is a tenth of one away."""

    async def main() -> None:
        exchange = in_step()
        async with v1_session(exchange, lambda: 0.0001) as htx:
            await htx.open_trailing(BTC)
            await asyncio.sleep(1.0 - now())
            (placed,) = exchange.place(BTC, "buy", "both")
            report = await ending(htx.cancel_all_trailing(BTC, None, "open", confirm=True))
            assert report.still_open == (placed,)

    run(main())


def test_an_order_that_triggers_between_the_two_lists_stands_in_one_place() -> None:
    """Open in the last list of open orders, and triggered in the history just after it."""

    async def main() -> None:
        exchange = in_step()
        (stays,) = exchange.place(BTC, "buy", "open")
        exchange.reject_order(stays, 1004)

        def trigger(call: str) -> None:
            if call == "hisorders" and exchange.status_of(stays) == 2:
                exchange.trigger(stays)

        exchange.before = trigger
        async with v1_session(exchange) as htx:
            report = await ending(htx.cancel_all_trailing(BTC, confirm=True))
        assert report.triggered == (stays,)
        assert not report.still_open

    run(main())


def test_a_history_that_cannot_be_read_is_a_warning() -> None:
    """Then nobody knows whether the exchange's successes were cancelled or had triggered."""

    def arm(exchange: Witness) -> None:
        exchange.trigger(exchange.open_orders()[0].order_id, 0.5)
        exchange.lose_before_work(times=99, call="hisorders")

    report, exchange, ids = told(arm, exchange_options={"cancel_delay": 1.0})
    assert exchange.status_of(ids[0]) == 4
    assert ids[0] not in report.successes or report.warnings


# What cannot be read


@pytest.mark.parametrize(
    ("arm", "outcome", "ids_complete"),
    [
        (lambda one: None, Outcome.CANCELLED, True),
        (lambda one: one.refuse(1051), Outcome.NOTHING_TO_CANCEL, True),
        (lambda one: one.lose_after_work(), Outcome.CLEAR_AFTER_RETRY, False),
        (lambda one: one.lose_before_work(times=9), Outcome.UNKNOWN, False),
    ],
    ids=["cancelled", "nothing", "lost", "unknown"],
)
def test_without_the_list_the_exchange_s_word_stands(
    arm: Callable[[Witness], object], outcome: Outcome, ids_complete: bool
) -> None:
    """Not confirmed, with a warning that says so and why, in the message too."""

    def both(exchange: Witness) -> None:
        arm(exchange)
        exchange.lose_before_work(times=99, call="openorders")

    # Chance is left out, so that no request is cut off by the deadline.
    report, exchange, _ = told(both, retry=RetryPolicy(random=lambda: 0.5))
    assert (report.outcome, report.confirmed) == (outcome, None)
    assert report.ids_complete == ids_complete
    (warning,) = report.warnings
    assert "not confirmed by the list of open orders" in warning
    assert "the answer was lost" in warning
    assert warning in report.message
    assert len(report.reads) == len(asked(exchange, "openorders")) >= 5


@pytest.mark.parametrize(
    "arm",
    [
        lambda one: one.refuse(403, times=9),
        lambda one: one.refuse(1014, times=9),
        lambda one: one.retire(),
        lambda one: one.unknown_contract(BTC),
    ],
)
def test_a_refused_cancel_is_not_looked_after(arm: Callable[[Witness], object]) -> None:
    """It cancelled nothing, so there is nothing to confirm."""

    async def main() -> None:
        exchange = in_step()
        exchange.place(BTC, "buy", "open")
        arm(exchange)
        async with v1_session(exchange) as htx:
            with pytest.raises(CancelRefused) as caught:
                await htx.cancel_all_trailing(BTC, confirm=True)
        assert (caught.value.report.reads, caught.value.report.confirmed) == ((), None)
        assert not asked(exchange, "openorders")

    run(main())


def test_what_was_not_sent_is_not_looked_after() -> None:
    """Every order is as it was."""

    async def main() -> None:
        exchange = in_step(latency=0.3)
        async with v1_session(exchange) as htx:
            first = [asyncio.create_task(ending(htx.cancel_all_trailing(BTC))) for _ in range(5)]
            await asyncio.sleep(0.01)
            with pytest.raises(NotSent) as caught:
                await htx.cancel_all_trailing(BTC, confirm=True, deadline=0.5)
            assert caught.value.report.reads == ()
            await asyncio.gather(*first)
        assert not asked(exchange, "openorders")

    run(main())


def test_a_list_with_a_rounded_id_confirms_nothing() -> None:
    """It is read again, and when it stays so, the call is not confirmed."""
    row = {**row_of("1"), "order_id": 826055066114916400}
    del row["order_id_str"]
    report, _, _ = told(
        lambda one: one.malform(page(row, pages=1, size=1), times=99, call="openorders")
    )
    assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, None)
    assert report.warnings


@pytest.mark.parametrize("deadline", [0.2, 0.6, 1.0, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("late", [None, "openorders", "hisorders"])
def test_the_deadline_counts_for_the_looking_too(deadline: float, late: str | None) -> None:
    """Orders that never go, or lists that never come: it ends within 50 ms of it."""

    def arm(exchange: Witness) -> None:
        if late is not None:
            exchange.late(60.0, times=99, call=late)

    delay = 0.05 if late == "hisorders" else 60.0
    report, _, ids = told(arm, exchange_options={"cancel_delay": delay}, deadline=deadline)
    assert deadline / 2 <= report.elapsed <= deadline + 0.05
    if late is None:
        assert (report.outcome, set(report.still_open)) == (Outcome.PARTIAL, set(ids))
        assert report.successes == ()
    elif late == "openorders":
        assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, None)
        assert "deadline" in report.warnings[0]
    else:
        is_late = True if deadline > LISTED_WITHIN else None
        assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, is_late)


# Stopped in the middle


async def stopped(at: float, how: str) -> tuple[CancelReport, Witness, set[str]]:
    """What the listener hears of a call that is ended after so many seconds."""
    exchange = in_step(cancel_delay=0.8)
    stays, *others = exchange.place(BTC, "buy", "open", 3)
    exchange.reject_order(stays, 1004)
    events: list[Event] = []
    htx = v1_session(exchange, on_event=events.append)
    async with htx:
        call = asyncio.create_task(ending(htx.cancel_all_trailing(BTC, confirm=True)))
        await asyncio.sleep(at)
        before = now()
        if how == "cancel":
            call.cancel()
        else:
            await htx.aclose(grace=0.0 if how == "close" else 1.0)
        with suppress(asyncio.CancelledError):
            await call
        assert now() - before <= (0.1 if how == "grace" else 0.01)
    (report,) = (event.report for event in events if isinstance(event, CallEnded))
    if how != "cancel":
        assert report == call.result()
    return report, exchange, {stays, *others}


@pytest.mark.parametrize("how", ["cancel", "close", "grace"])
def test_a_call_ended_at_any_moment_tells_the_truth(how: str) -> None:
    """Unknown on the wire, the exchange's word before the first look, and then what was seen."""
    outcomes = set()
    for moment in (
        *(step * 0.013 for step in range(1, 24)),
        *(step * 0.15 for step in range(2, 22)),
    ):
        report, exchange, ids = run(stopped(moment, how))
        outcomes.add((report.outcome, report.confirmed))
        is_open = {one.order_id for one in exchange.open_orders()}
        assert not (report.confirmed and is_open)
        if report.confirmed is not None:
            assert is_open <= set(report.still_open) <= ids
            assert not set(report.still_open) & {*report.successes, *report.triggered}
    assert (Outcome.PARTIAL, None) in outcomes
    assert (Outcome.PARTIAL, False) in outcomes
    assert ((Outcome.UNKNOWN, None) in outcomes) == (how != "grace")


def test_a_confirmation_that_never_began_is_a_warning() -> None:
    """Asked for and not made: the report says so, as when the list could not be read."""

    async def main() -> None:
        exchange = in_step(latency=0.3)
        exchange.place(BTC, "buy", "open")
        async with v1_session(exchange) as htx:
            call = asyncio.create_task(ending(htx.cancel_all_trailing(BTC, confirm=True)))
            await asyncio.sleep(0.03)
            await htx.aclose(grace=1.0)
            report = await call
        assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, None)
        assert len(report.warnings) == 1

    run(main())


# Many contracts, rounds, guards


async def many(seed: int) -> None:
    """A mass cancel of nine contracts, one of them without orders and one that refuses."""
    chance = random.Random(seed)
    exchange = in_step(cancel_delay=lambda: chance.uniform(0.0, 1.1))
    codes = [f"C{number}-USDT" for number in range(9)]
    for code in codes[1:]:
        for order_id in exchange.place(code, "buy", "open", 3):
            if chance.random() < 0.2:
                exchange.trigger(order_id, chance.uniform(0.1, 2.0))
    (stays,) = exchange.place(codes[-1], "sell", "open")
    exchange.reject_order(stays, 1004)
    exchange.lose_after_work(contract_code=codes[1])
    async with v1_session(exchange, lambda: chance.uniform(0.005, 0.1)) as htx:
        mass = await htx.mass_cancel_trailing(codes, confirm=True)
    assert mass.not_clear == (codes[-1],)
    assert [report.confirmed for report in mass.reports] == [True] * 8 + [False]
    assert mass.reports[-1].still_open == (stays,)
    for code, report in zip(codes, mass.reports, strict=True):
        status = {one.order_id: one.status for one in exchange.ended_orders(code)}
        assert {one for one in status if status[one] == 6} == set(report.successes)
        assert {one for one in status if status[one] == 4} == set(report.triggered)
    with pytest.raises(ExceptionGroup) as caught:
        mass.raise_for_outcome()
    assert [type(error) for error in caught.value.exceptions] == [PartialCancel]


def test_a_mass_cancel_confirms_each_contract() -> None:
    """Each report equals the book of its contract."""
    for seed in range(8):
        run(many(seed))


def test_until_clear_looks_after_each_round() -> None:
    """An order refused at first is found open, cancelled in the next round, and seen to be gone."""

    async def main() -> None:
        exchange = in_step(cancel_delay=0.4)
        ids = exchange.place(BTC, "buy", "open", 3)
        exchange.reject_order(ids[0], 1004)
        async with v1_session(exchange) as htx:
            mass = await htx.mass_cancel_trailing([BTC], until_clear=True, confirm=True)
        (report,) = mass.reports
        assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, True)
        assert set(report.successes) == set(ids)
        assert (report.still_open, report.errors) == ((), ())
        assert {exchange.status_of(one) for one in ids} == {6}
        reads = len(asked(exchange, "openorders")) + len(asked(exchange, "hisorders"))
        assert len(report.reads) == reads

    run(main())


def test_until_clear_is_clear_once_it_is_confirmed() -> None:
    """With no time for another round, a list that shows nothing left is clear enough."""

    async def main() -> None:
        exchange = in_step(cancel_delay=0.2)
        exchange.place(BTC, "buy", "open")
        async with v1_session(exchange) as htx:
            codes, deadline = [BTC], 2.5
            mass = await htx.mass_cancel_trailing(
                codes, until_clear=True, confirm=True, deadline=deadline
            )
        assert mass.reports[0].confirmed
        assert mass.is_clear

    run(main())


async def guarded(htx: HtxSession, **settings: Any) -> Any:
    guard = htx.cancel_on_exit([BTC, OTHER], confirm=True, **settings)
    async with guard:
        await asyncio.sleep(0.1)
    return guard.report


def test_a_guard_confirms() -> None:
    """Its report says that the orders are gone, and an order that stays is raised."""

    async def main() -> None:
        exchange = in_step(cancel_delay=1.0)
        exchange.place(BTC, "buy", "open", 2)
        async with v1_session(exchange) as htx:
            report = await guarded(htx)
            assert [one.confirmed for one in report.reports] == [True, True]
            (stays,) = exchange.place(OTHER, "buy", "open")
            exchange.reject_order(stays, 1004)
            with pytest.raises(ExceptionGroup) as caught:
                await guarded(htx)
            (error,) = caught.value.exceptions
            assert isinstance(error, PartialCancel)
            assert error.report.still_open == (stays,)
            assert f"{START}" not in str(error)

    run(main())


def test_a_guard_stopped_while_it_looks_tells_what_it_saw() -> None:
    """What was open at the last look is partial, not clear."""

    async def main() -> None:
        exchange = in_step(cancel_delay=5.0)
        (order_id,) = exchange.place(BTC, "buy", "open")
        async with v1_session(exchange) as htx:
            guard = htx.cancel_on_exit([BTC], confirm=True)

            async def block() -> None:
                async with guard:
                    pass

            task = asyncio.create_task(block())
            for pause, interrupt in ((1.0, task.cancel), (0.1, guard.stop)):
                await asyncio.sleep(pause)
                interrupt()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert guard.report is not None
        (report,) = guard.report.reports
        assert (report.outcome, report.still_open) == (Outcome.PARTIAL, (order_id,))
        assert report.confirmed is False

    run(main())
