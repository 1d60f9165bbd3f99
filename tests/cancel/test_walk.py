"""Lists of orders: whole, while they change, within their own budget, and told when they fail.

All in virtual time. `in_step`, `v1_session` and `Witness` serve the tests of confirmations too.
"""

import asyncio
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest

from htx_async import (
    InvalidRequest,
    ReadFailed,
    RetryPolicy,
    SessionClosed,
    TrailingOrder,
)
from tests.support.long_form import first_of
from tests.support.virtual import run
from tests.support.witness import (
    BTC,
    HALF_A_TICK,
    START,
    Witness,
    asked,
    in_step,
    now,
    page,
    row_of,
    v1_session,
)

Listed = tuple[TrailingOrder, ...]


def ids(orders: Listed) -> list[str]:
    return [order.order_id for order in orders]


# Whole lists


@pytest.mark.parametrize("count", [0, 1, 50, 51, 100, 101, 230])
def test_all_pages_are_read(count: int) -> None:
    """Every order, once, whatever the number of pages; open and ended alike."""

    async def main() -> None:
        exchange = in_step()
        placed = set(exchange.place(BTC, "buy", "open", count)) if count else set[str]()
        async with v1_session(exchange) as htx:
            assert set(ids(await htx.open_trailing(BTC))) == placed
            pages = max(1, -(-count // 50))
            # A list of several pages counts when it reads the same twice.
            assert len(asked(exchange, "openorders")) == (pages if pages == 1 else 2 * pages)
            assert await htx.trailing_history(BTC) == ()
            if placed:
                await htx.cancel_all_trailing(BTC)
            ended = await htx.trailing_history(BTC)
            assert set(ids(ended)) == placed
            assert {order.status for order in ended} <= {6}
            assert len(ids(ended)) == count

    run(main())


def test_filters_choose_and_one_way_orders_match_every_offset() -> None:
    """Direction and offset are applied to what was read; "both" may be meant by either offset."""

    async def main() -> None:
        exchange = in_step()
        placed = {
            (direction, offset): exchange.place(BTC, direction, offset)[0]
            for direction in ("buy", "sell")
            for offset in ("open", "close", "both")
        }
        exchange.place("ETH-USDT", "buy", "open")
        async with v1_session(exchange) as htx:
            for direction in (None, "buy", "sell"):
                for offset in (None, "open", "close"):
                    expected = {
                        one
                        for (side, effect), one in placed.items()
                        if direction in (None, side)
                        and (offset is None or effect in (offset, "both"))
                    }
                    assert set(ids(await htx.open_trailing(BTC, direction, offset))) == expected
            await htx.cancel_all_trailing(BTC)
            found = await htx.trailing_history(BTC, "sell", "close")
            assert set(ids(found)) == {placed["sell", "close"], placed["sell", "both"]}

    run(main())


def test_the_history_comes_latest_first_with_what_became_of_each() -> None:
    """Cancelled, triggered and failed orders, with their statuses and the order that one became."""

    async def main() -> None:
        exchange = in_step()
        first, second, third = exchange.place(BTC, "buy", "open", 3)
        async with v1_session(exchange) as htx:
            exchange.trigger(first)
            await asyncio.sleep(0.1)
            exchange.trigger(second, fail_code=1492)
            await asyncio.sleep(0.1)
            await htx.cancel_all_trailing(BTC)
            ended = await htx.trailing_history(BTC)
        assert [(row.order_id, row.status) for row in ended] == [
            (third, 6),
            (second, 5),
            (first, 4),
        ]
        assert [row.canceled_at is None for row in ended] == [False, True, True]
        assert ended[2].relation_order_id not in (None, "-1")

    run(main())


# Lists that change


def test_an_order_that_leaves_between_pages_hides_no_other() -> None:
    """What moved up, past the end of the page already read, is found by reading again."""

    async def main() -> None:
        exchange = in_step()
        placed = exchange.place(BTC, "buy", "open", 60)
        reads = 0

        def leave(call: str) -> None:
            nonlocal reads
            reads += 1
            if reads == 2:
                exchange.trigger(placed[-1])

        exchange.before = leave
        async with v1_session(exchange) as htx:
            found = await htx.open_trailing(BTC)
        assert set(ids(found)) == set(placed[:-1])
        assert reads == 6

    run(main())


def test_an_order_placed_between_pages_is_not_counted_twice() -> None:
    """It moves the others down: the one that is seen on two pages is in the list once."""

    async def main() -> None:
        exchange = in_step()
        placed = exchange.place(BTC, "buy", "open", 60)
        reads = 0

        def arrive(call: str) -> None:
            nonlocal reads
            reads += 1
            if reads == 2:
                exchange.place(BTC, "sell", "open")

        exchange.before = arrive
        async with v1_session(exchange) as htx:
            found = ids(await htx.open_trailing(BTC))
        assert len(found) == len(set(found)) == 61
        assert set(placed) < set(found)

    run(main())


async def reading_while_it_changes(seed: int) -> bool:
    """Whether a list could be read whole while others come and go between its pages."""
    chance = random.Random(seed)
    exchange = in_step()
    exchange.place(BTC, "buy", "open", chance.randrange(95, 165))
    async with v1_session(exchange, lambda: chance.uniform(0.005, 0.1)) as htx:
        before = {one.order_id for one in exchange.open_orders()}
        ever = set(before)

        def change(call: str) -> None:
            while chance.random() < 0.3:
                if chance.random() < 0.5:
                    exchange.trigger(chance.choice(exchange.open_orders()).order_id)
                else:
                    ever.update(exchange.place(BTC, "sell", "close"))

        exchange.before = change
        try:
            found = ids(await htx.open_trailing(BTC))
        except ReadFailed:
            return False
    after = {one.order_id for one in exchange.open_orders()}
    assert len(found) == len(set(found))
    assert before & after <= set(found) <= ever
    return True


@pytest.mark.slow
@pytest.mark.parametrize("chunk", first_of(range(4), 2))
def test_an_order_that_is_open_all_the_time_is_never_missing(chunk: int) -> None:
    """Whatever comes and goes between the pages; even so the list is often had within the tries."""
    whole = [run(reading_while_it_changes(seed)) for seed in range(chunk * 10, chunk * 10 + 10)]
    assert sum(whole) >= 5


def test_the_order_of_the_list_does_not_matter() -> None:
    """Oldest first, an order that leaves and another that comes keep the length, and hide one."""

    async def main() -> None:
        exchange = in_step()
        placed = exchange.place(BTC, "buy", "open", 60)
        # Between its pages the first order leaves and another comes, at the end.
        parts = (placed[:50], (*placed[51:], *exchange.place(BTC, "buy", "open")))
        exchange.trigger(placed[0])
        for part in parts:
            exchange.malform(page(*map(row_of, part), pages=2, size=60), call="openorders")
        async with v1_session(exchange) as htx:
            assert set(placed[1:]) < set(ids(await htx.open_trailing(BTC)))

    run(main())


def test_a_page_that_shows_less_than_it_tells_is_not_the_whole_list() -> None:
    """An empty page of a list that says it holds one order does not say that none is open."""

    async def main() -> None:
        exchange = in_step()
        (placed,) = exchange.place(BTC, "buy", "open")
        exchange.malform(page(pages=1, size=1), call="openorders")
        async with v1_session(exchange) as htx:
            assert ids(await htx.open_trailing(BTC)) == [placed]

    run(main())


def test_a_list_that_never_holds_still_is_given_up() -> None:
    """After eight readings, with the account of every request and the reason."""

    async def main() -> None:
        exchange = in_step()
        exchange.place(BTC, "buy", "open", 80)

        def change(call: str) -> None:
            exchange.trigger(exchange.open_orders()[0].order_id)

        exchange.before = change
        async with v1_session(exchange) as htx:
            with pytest.raises(ReadFailed, match="kept changing") as caught:
                await htx.open_trailing(BTC)
        assert len(caught.value.attempts) == len(exchange.arrivals) == 16
        assert [one.number for one in caught.value.attempts] == list(range(1, 17))

    run(main())


def test_a_list_that_gives_one_page_for_another_is_given_up() -> None:
    """The same rows twice, of a length that would fit, are not the whole list."""

    async def main() -> None:
        exchange = in_step()
        same = [row_of(str(number)) for number in range(50)]
        exchange.malform(page(*same, pages=2, size=100), call="openorders", times=99)
        async with v1_session(exchange) as htx:
            with pytest.raises(ReadFailed, match="kept changing"):
                await htx.open_trailing(BTC)

    run(main())


def test_a_list_without_an_end_is_given_up() -> None:
    """A server that always tells of more pages costs two hundred requests at most."""

    async def main() -> None:
        exchange = in_step()
        exchange.malform(page(row_of("1"), pages=5000, size=9), call="openorders", times=500)
        async with v1_session(exchange) as htx:
            with pytest.raises(ReadFailed, match="more than 200 pages"):
                await htx.open_trailing(BTC, deadline=60.0)
        assert len(exchange.arrivals) == 200

    run(main())


# Repeats and budgets


@pytest.mark.parametrize("lost", [1, 2, 3])
@pytest.mark.parametrize("call", ["openorders", "hisorders"])
def test_reads_are_repeated_though_cancels_must_not_be(call: str, lost: int) -> None:
    """They change nothing, so `repeat_unknown=False` is not about them."""

    async def main() -> None:
        exchange = in_step()
        exchange.place(BTC, "buy", "open")
        exchange.lose_after_work(call=call, times=lost)
        policy = RetryPolicy(repeat_unknown=False)
        async with v1_session(exchange, retry=policy) as htx:
            read = htx.open_trailing if call == "openorders" else htx.trailing_history
            assert len(await read(BTC)) == (call == "openorders")
        assert len(asked(exchange, call)) == lost + 1

    run(main())


def test_reads_are_given_up_after_as_many_lost_answers_as_a_call() -> None:
    """Four requests without an answer end it."""

    async def main() -> None:
        exchange = in_step()
        exchange.lose_before_work(call="openorders", times=9)
        async with v1_session(exchange, retry=RetryPolicy(repeat_unknown=False)) as htx:
            with pytest.raises(ReadFailed) as caught:
                await htx.open_trailing(BTC)
        assert len(caught.value.attempts) == len(exchange.arrivals) == 4

    run(main())


def test_300_reads_keep_the_reads_budget() -> None:
    """Both lists together, never more than 72 in any 3 s at the exchange, and none refused."""

    async def main() -> None:
        chance = random.Random(3)
        exchange = in_step()
        async with v1_session(exchange, lambda: chance.uniform(0.005, 0.1)) as htx:
            reads = [
                (htx.open_trailing if number % 2 else htx.trailing_history)(BTC, deadline=60.0)
                for number in range(300)
            ]
            assert await asyncio.gather(*reads) == [()] * 300
            assert now() < 14.0
        instants = [one.at for one in exchange.arrivals]
        most = max(sum(at <= one < at + 3.0 for one in instants) for at in instants)
        assert most <= 72
        assert len(instants) == 300
        assert {one.err_code for one in exchange.arrivals} == {None}

    run(main())


def test_300_reads_have_time_for_their_turns() -> None:
    """Without deadlines of their own, as calls that bring none."""

    async def main() -> None:
        exchange = in_step()
        async with v1_session(exchange) as htx:
            reads = [htx.open_trailing(BTC) for _ in range(300)]
            assert await asyncio.gather(*reads) == [()] * 300

    run(main())


def test_reads_take_no_trade_token_and_cancels_no_read() -> None:
    """With every read of the account used up a cancel goes at once, and the other way round."""

    async def main() -> None:
        exchange = in_step()
        async with v1_session(exchange) as htx:
            await asyncio.gather(*[htx.open_trailing(BTC) for _ in range(72)])
            began = now()
            await asyncio.gather(*[htx.cancel_all_trailing(BTC) for _ in range(5)])
            assert now() - began < 0.05
            await asyncio.sleep(4.0)
            waiting = [asyncio.create_task(htx.cancel_all_trailing(BTC)) for _ in range(20)]
            await asyncio.sleep(0)
            began = now()
            await htx.open_trailing(BTC)
            assert now() - began < 0.05
            await asyncio.gather(*waiting)
        assert exchange.busiest(1.0) == 5
        assert exchange.busiest(3.0, call="openorders") == 72

    run(main())


# Failures


async def refused(arm: Callable[[Witness], object], **settings: Any) -> ReadFailed:
    """What a read of the open orders raises."""
    exchange = in_step()
    arm(exchange)
    async with v1_session(exchange, **settings) as htx:
        with pytest.raises(ReadFailed) as caught:
            await htx.open_trailing(BTC, deadline=2.0)
    return caught.value


FAILURES: dict[str, tuple[Callable[[Witness], object], list[str]]] = {
    "lost": (
        lambda one: one.lose_before_work(call="openorders", times=9),
        ["no answer to believe", "the answer was lost", "reading changes nothing", "Call again"],
    ),
    "unreadable": (
        lambda one: one.malform(b"<html>", call="openorders", times=9),
        ["no answer to believe", "not complete JSON", "reading changes nothing"],
    ),
    "key": (
        lambda one: one.refuse(403, "Incorrect Access key", call="openorders"),
        ["code 403", "Incorrect Access key", "Check the key pair"],
    ),
    "settlement": (
        lambda one: one.refuse(1411, call="openorders", times=99),
        ["code 1411", "settlement", "longer deadline"],
    ),
    "limit": (
        lambda one: one.refuse(1032, call="openorders", times=99),
        ["code 1032", "Call again later"],
    ),
    "contract": (
        lambda one: one.unknown_contract(BTC),
        ["code 1014", "trying again unchanged does not help"],
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_read_says_what_happened_and_what_to_do(name: str) -> None:
    """The list, the reason in the exchange's words or ours, and the next step."""
    arm, parts = FAILURES[name]
    text = str(run(refused(arm)))
    assert text.startswith("BTC-USDT's open trailing orders in isolated margin could not be read: ")
    for part in parts:
        assert part in text


@pytest.mark.parametrize("name", ["key", "settlement", "limit", "contract"])
def test_a_failed_read_says_that_nothing_was_touched(name: str) -> None:
    """After a refusal too, and no word of cancels that are not taken."""
    text = str(run(refused(FAILURES[name][0])))
    assert "takes no cancels" not in text
    assert "changes nothing" in text or "was touched" in text


def test_a_failed_read_travels_and_keeps_no_secret() -> None:
    """It survives pickling with its attempts; what a reply echoed of the request is not in it."""

    async def main() -> ReadFailed:
        exchange = in_step()
        keys = exchange.credentials
        echo = f'{{"status":"error","err_code":403,"err_msg":"{keys.access_key}","ts":{START}000}}'
        exchange.malform(echo.encode(), call="openorders")
        async with v1_session(exchange) as htx:
            with pytest.raises(ReadFailed) as caught:
                await htx.open_trailing(BTC)
        for text in (str(caught.value), repr(caught.value), repr(caught.value.attempts)):
            assert keys.access_key not in text
            assert "Signature" not in text
        return caught.value

    failure = run(main())
    copy = pickle.loads(pickle.dumps(failure))  # noqa: S301 - our own bytes
    assert (str(copy), copy.attempts) == (str(failure), failure.attempts)
    assert len(copy.attempts) == 1


@pytest.mark.parametrize("deadline", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("call", ["openorders", "hisorders"])
def test_the_deadline_of_a_read_is_kept(call: str, deadline: float) -> None:
    """Late answers, whole pages or their repeats: it ends within 50 ms of it."""

    async def main() -> None:
        exchange = in_step()
        exchange.late(60.0, call=call, times=99)
        async with v1_session(exchange, attempt_timeout=1.0) as htx:
            read = htx.open_trailing if call == "openorders" else htx.trailing_history
            began = now()
            with pytest.raises(ReadFailed, match="deadline"):
                await read(BTC, deadline=deadline)
            assert deadline - HALF_A_TICK <= now() - began <= deadline + 0.05

    run(main())


def test_a_read_whose_turn_cannot_come_ends_at_once() -> None:
    """It says when its turn would come, and the others go on."""

    async def main() -> None:
        exchange = in_step()
        async with v1_session(exchange) as htx:
            first = asyncio.gather(*[htx.open_trailing(BTC) for _ in range(72)])
            await asyncio.sleep(0)
            began = now()
            with pytest.raises(ReadFailed, match="its turn comes in"):
                await htx.open_trailing(BTC, deadline=1.0)
            assert now() - began < 0.01
            assert await first == [()] * 72
        assert len(exchange.arrivals) == 72

    run(main())


@pytest.mark.parametrize("grace", [0.0, 5.0])
def test_closing_the_session_ends_a_read(grace: float) -> None:
    """At once, grace or not: nothing is lost by it. Later ones find the session closed."""

    async def main() -> None:
        exchange = in_step()
        exchange.late(2.0, call="openorders")
        htx = v1_session(exchange)
        task = asyncio.create_task(htx.open_trailing(BTC))
        await asyncio.sleep(0.1)
        await htx.aclose(grace=grace)
        assert now() < 0.2
        with pytest.raises(ReadFailed, match="session was closed"):
            await task
        with pytest.raises(SessionClosed):
            await htx.open_trailing(BTC)

    run(main())


def test_a_cancelled_read_is_a_cancellation() -> None:
    """It leaves neither a task nor a place in the budget behind."""

    async def main() -> None:
        exchange = in_step()
        exchange.late(2.0, call="openorders", times=72)
        async with v1_session(exchange) as htx:
            tasks = [asyncio.create_task(htx.open_trailing(BTC)) for _ in range(80)]
            await asyncio.sleep(0.1)
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(end) for end in ends} == {asyncio.CancelledError}
            await asyncio.sleep(3.1)
            began = now()
            await asyncio.gather(*[htx.open_trailing(BTC) for _ in range(72)])
            assert now() - began < 0.1

    run(main())


@pytest.mark.parametrize(
    "arguments",
    [("",), (None,), ("BTC USDT",), (BTC, ""), (BTC, "long"), (BTC, None, "both"), (BTC, None, "")],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(arguments: tuple[Any, ...]) -> None:
    """For both lists, as for a cancel."""

    async def main() -> None:
        exchange = in_step()
        async with v1_session(exchange) as htx:
            for read in (htx.open_trailing, htx.trailing_history):
                with pytest.raises(InvalidRequest):
                    await read(*arguments)
                with pytest.raises(InvalidRequest, match="deadline"):
                    await read(BTC, deadline=0.0)
        assert not exchange.arrivals

    run(main())


def test_nothing_of_a_cancel_is_touched_by_a_failed_read() -> None:
    """The orders are as they were, and a cancel beside it goes its own way."""

    async def main() -> None:
        exchange = in_step()
        exchange.place(BTC, "buy", "open", 3)
        exchange.lose_before_work(call="openorders", times=9)
        async with v1_session(exchange) as htx:
            with pytest.raises(ReadFailed):
                await htx.open_trailing(BTC)
            assert len(exchange.open_orders()) == 3
            assert len((await htx.cancel_all_trailing(BTC)).successes) == 3

    run(main())
