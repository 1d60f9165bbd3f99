"""Many contracts at once: order, deadline, rounds, callbacks, cancellation, truth, memory.

All in virtual time over the simulated exchange's own core; `make soak` runs the long property over
more seeds.
"""

import asyncio
import gc
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, cast

import pytest
from aiolimiter import AsyncLimiter

from htx_async import (
    CancelReport,
    HtxSession,
    InvalidRequest,
    MassCancelReport,
    Outcome,
    RateLimiter,
    RetryPolicy,
    SessionClosed,
    TokenBucket,
    Verdict,
)
from htx_async.codes import SETTLED_ORDER_CODES
from htx_async.events import CallEnded, CallStarted, Event, TokenGranted
from htx_async.simulator import SimulatedExchange
from tests.support.long_form import first_of
from tests.support.virtual import SOAK, VirtualLoop, run, virtual_session

pytestmark = pytest.mark.usefixtures("tasks")

BTC = "BTC-USDT"
PATH = "/linear-swap-api/v1/swap_track_cancelall"
SOAK_SEEDS = 1_000 if SOAK else 60
CHUNKS = 10
BETWEEN_ROUNDS = 1.2
LATE = 3.5
"""Seconds: longer than an attempt waits for its answer."""


def now() -> float:
    return asyncio.get_running_loop().time()


def contracts(count: int) -> list[str]:
    return [f"C{number}-USDT" for number in range(count)]


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def stall(seconds: float) -> None:
    """The loop's clock goes on while no task and no timer runs, as when something blocks it."""
    cast(VirtualLoop, asyncio.get_running_loop())._instant.now += seconds


def codes_of(report: MassCancelReport) -> list[str]:
    return [one.contract_code for one in report.reports]


def arrived(exchange: SimulatedExchange) -> list[str | None]:
    return [arrival.contract_code for arrival in exchange.arrivals]


class Listener:
    """Keeps every event, and knows which calls began and which ended."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def begun(self) -> list[int]:
        return sorted(e.call for e in self.events if isinstance(e, CallStarted))

    @property
    def ended(self) -> list[int]:
        return sorted(e.call for e in self.events if isinstance(e, CallEnded))

    @property
    def granted(self) -> list[str]:
        """Contracts in the order in which their attempts got a token."""
        return [e.contract_code for e in self.events if isinstance(e, TokenGranted)]

    def reports(self) -> list[CancelReport]:
        return [e.report for e in self.events if isinstance(e, CallEnded)]


# Arguments


@pytest.mark.parametrize(
    "wrong",
    [
        BTC,
        "",
        None,
        7,
        b"BTC-USDT",
        [],
        (),
        set[str](),
        iter(()),
        [BTC, ""],
        [BTC, None],
        [BTC, 5],
        [BTC, [BTC]],
        [BTC, "BTC USDT"],
        [BTC, "BTC/USDT"],
        [BTC, "X" * 65],
    ],
)
@pytest.mark.parametrize("entry", ["mass_cancel_trailing", "plan", "cancel_on_exit"])
def test_what_names_no_contracts_is_refused_before_anything_is_queued(
    wrong: Any, entry: str
) -> None:
    """A string's letters are no contracts, an empty list is not "all", and one bad code is enough
    to send nothing at all."""

    async def main() -> None:
        exchange, listener = SimulatedExchange(), Listener()
        async with virtual_session(exchange, on_event=listener) as htx:
            call = getattr(htx, entry)
            with pytest.raises(InvalidRequest):
                await call(wrong)
        assert exchange.arrivals == ()
        assert listener.events == []
        assert now() < 0.001

    run(main())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("entry", ["mass_cancel_trailing", "plan", "cancel_on_exit"])
def test_the_one_code_of_200_that_is_wrong_is_named(seed: int, entry: str) -> None:
    """By its place and as far as it may be shown; of many the first five, and how many more; and
    a filter that is wrong is told once, as that."""

    async def main() -> None:
        chance = random.Random(seed)
        codes: list[Any] = contracts(200)
        up: Any = "up"
        wrong: list[Any] = ["BTC USDT", "", None, 7, "B\x1b[2J", "https://:secret@h", "X" * 999]
        places = sorted(chance.sample(range(200), chance.choice((1, 1, 1, 3, 9))))
        for place in places:
            codes[place] = chance.choice(wrong)
        async with virtual_session(SimulatedExchange()) as htx:
            call = getattr(htx, entry)
            with pytest.raises(InvalidRequest) as caught:
                await call(codes)
            with pytest.raises(InvalidRequest, match=r"^direction: ") as filtered:
                await htx.mass_cancel_trailing(contracts(200), up)
        told = str(caught.value)
        assert [place for place in range(200) if f"contract_codes[{place}], " in told] == places[:5]
        assert told.endswith(f"; and {len(places) - 5} more") is (len(places) > 5)
        assert told.isprintable()
        assert "secret" not in told
        assert "contract_codes" not in str(filtered.value)

    run(main())


@pytest.mark.parametrize(
    "settings",
    [
        {"deadline": 0},
        {"deadline": -1.0},
        {"deadline": float("nan")},
        {"deadline": float("inf")},
        {"deadline": True},
        {"deadline": "5"},
        {"direction": "up"},
        {"offset": ""},
        {"offset": "both"},
    ],
)
def test_wrong_settings_are_refused_before_anything_is_queued(settings: dict[str, Any]) -> None:
    """The mass cancel judges its deadline and filters as the single call does."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            with pytest.raises(InvalidRequest):
                await htx.mass_cancel_trailing([BTC], **settings)
        assert exchange.arrivals == ()

    run(main())


def test_a_closed_session_refuses_before_anything_is_queued() -> None:
    """`SessionClosed`, not a report in which nothing was sent."""

    async def main() -> None:
        exchange = SimulatedExchange()
        htx = virtual_session(exchange)
        await htx.aclose()
        with pytest.raises(SessionClosed):
            await htx.mass_cancel_trailing([BTC])
        with pytest.raises(SessionClosed):
            htx.plan([BTC])

    run(main())


def generated() -> Iterator[str]:
    yield from ("a-usdt", "B-USDT", "A-USDT", "c-usdt")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["btc-usdt", "BTC-USDT", "ETH-USDT", "Btc-Usdt"], ["BTC-USDT", "ETH-USDT"]),
        (("B-USDT", "A-USDT"), ["B-USDT", "A-USDT"]),
        (generated, ["A-USDT", "B-USDT", "C-USDT"]),
        ({BTC}, [BTC]),
        ({"B-USDT": 1, "A-USDT": 2}, ["B-USDT", "A-USDT"]),
        (lambda: iter(["A-USDT"]), ["A-USDT"]),
    ],
)
def test_any_iterable_of_codes_is_taken_and_duplicates_count_once(
    given: Any, expected: list[str]
) -> None:
    """One request and one report for each contract, in the caller's order."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            codes = given() if callable(given) else given
            report = await htx.mass_cancel_trailing(codes)
        assert codes_of(report) == expected
        assert arrived(exchange) == expected

    run(main())


def test_filters_reach_every_contract() -> None:
    """Only the orders that match both filters go."""

    async def main() -> None:
        exchange = SimulatedExchange()
        wanted = {i for code in contracts(6) for i in exchange.place(code, "buy", "close", 2)}
        others = {i for code in contracts(6) for i in exchange.place(code, "sell", "close", 1)}
        others |= {i for code in contracts(6) for i in exchange.place(code, "buy", "open", 1)}
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(contracts(6), "buy", "close")
        assert set(report.successes) == wanted
        assert {order.order_id for order in exchange.open_orders()} == others

    run(main())


def test_reports_come_in_the_caller_s_order_whatever_order_they_end_in() -> None:
    """The first contract ends last, and is first in the report all the same."""

    async def main() -> None:
        exchange = SimulatedExchange()
        codes = ["Z-USDT", *contracts(9)]
        exchange.late(2.5, contract_code="Z-USDT")
        exchange.bad_gateway(times=2, contract_code="C0-USDT")
        ended: list[str] = []
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(
                codes, on_report=lambda one: ended.append(one.contract_code)
            )
        assert codes_of(report) == codes
        assert ended != codes
        assert sorted(ended) == sorted(codes)

    run(main())


# Order


@pytest.mark.parametrize("until_clear", [False, True])
@pytest.mark.parametrize("urgent", [False, True])
def test_every_first_attempt_goes_before_any_repeat(until_clear: bool, urgent: bool) -> None:
    """Trouble with the first contracts, and their second rounds, wait until all had a turn."""

    async def main() -> None:
        exchange, listener = SimulatedExchange(), Listener()
        codes = contracts(40)
        for code in codes:
            exchange.place(code, "buy", "close", 1)
        exchange.bad_gateway(times=3, contract_code="C0-USDT")
        exchange.lose_before_work(times=2, contract_code="C1-USDT")
        exchange.refuse(1056, times=3, contract_code="C2-USDT")
        exchange.refuse(1032, contract_code="C3-USDT")
        async with virtual_session(exchange, deadline=60.0, on_event=listener) as htx:
            report = await htx.mass_cancel_trailing(codes, until_clear=until_clear, urgent=urgent)
        assert report.is_clear
        assert listener.granted[:40] == codes
        assert set(arrived(exchange)[:40]) == set(codes)
        assert exchange.busiest() == 5

    run(main())


@pytest.mark.parametrize("seed", first_of(range(20), 10))
def test_first_attempts_get_their_tokens_first_under_random_faults(seed: int) -> None:
    """By the tokens granted: no repeat has one while a contract still waits for its first."""
    chance = random.Random(seed)

    async def main() -> None:
        exchange, listener = SimulatedExchange(), Listener()
        codes = contracts(60)
        placed = placed_orders(exchange, codes, chance)
        lose_a_fifth(exchange, codes, chance)
        policy = RetryPolicy(random=chance.random)
        latency = chance.choice([0.0, 0.05, 0.3])
        async with virtual_session(
            exchange,
            lambda: chance.uniform(0, latency),
            retry=policy,
            deadline=200.0,
            on_event=listener,
        ) as htx:
            report = await htx.mass_cancel_trailing(codes, until_clear=seed % 2 == 0)
        assert listener.granted[: len(codes)] == codes
        assert_true_to_the_book(exchange, report, placed)

    run(main())


def test_an_async_limiter_of_the_caller_s_own_serves_first_attempts_first() -> None:
    """aiolimiter's own queue keeps the order too, and the default deadline is long enough."""

    async def main() -> None:
        exchange, listener = SimulatedExchange(limit=1000), Listener()
        exchange.bad_gateway(times=2, contract_code="C0-USDT")
        limiter = AsyncLimiter(5, 1.0)
        async with virtual_session(exchange, limiter=limiter, on_event=listener) as htx:
            report = await htx.mass_cancel_trailing(contracts(40))
        assert report.is_clear
        assert listener.granted[:40] == contracts(40)

    run(main())


def test_one_contract_s_trouble_leaves_the_others_alone() -> None:
    """A contract that never answers, one that is unknown and one that is refused for good: the
    other 27 are cancelled no later than without them."""

    async def main() -> None:
        exchange = SimulatedExchange()
        codes = contracts(30)
        for code in codes:
            exchange.place(code, "buy", "close", 1)
        exchange.bad_gateway(times=50, contract_code="C0-USDT")
        exchange.unknown_contract("C1-USDT")
        exchange.refuse(1056, times=500, contract_code="C2-USDT")
        ended: dict[str, float] = {}
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(
                codes, on_report=lambda one: ended.setdefault(one.contract_code, now()), look="none"
            )
        assert report.not_clear == ("C0-USDT", "C1-USDT", "C2-USDT")
        assert [r.outcome for r in report.reports[:3]] == [
            Outcome.UNKNOWN,
            Outcome.REFUSED,
            Outcome.REFUSED,
        ]
        assert max(at for code, at in ended.items() if code not in report.not_clear) < 5.5

    run(main())


# Deadline


def test_what_cannot_come_in_time_ends_at_once_and_the_rest_go_on() -> None:
    """Five seconds are enough for 25 of 100: 75 end `NOT_SENT` now, 25 are cancelled."""

    async def main() -> None:
        exchange = SimulatedExchange()
        codes = contracts(100)
        placed = {code: set(exchange.place(code, "buy", "close", 2)) for code in codes}
        ended: dict[str, float] = {}
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(
                codes,
                deadline=5.0,
                on_report=lambda one: ended.setdefault(one.contract_code, now()),
                look="none",
            )
        assert report.outcomes == {Outcome.CANCELLED: 25, Outcome.NOT_SENT: 75}
        assert report.not_clear == tuple(codes[25:])
        assert all(ended[code] < 0.01 for code in codes[25:])
        assert "turn comes in" in report.reports[-1].message
        assert set(report.successes) == set().union(*(placed[code] for code in codes[:25]))
        assert report.elapsed == pytest.approx(4.41, abs=0.01)
        assert len(exchange.arrivals) == 25

    run(main())


@pytest.mark.parametrize("until_clear", [False, True])
@pytest.mark.parametrize("deadline", [0.001, 0.04, 0.5, 1.5, 3.0, 7.3])
def test_the_deadline_is_kept_to_the_millisecond(deadline: float, until_clear: bool) -> None:
    """Answers that never come do not hold the mass cancel; what was sent is unknown."""

    async def main() -> None:
        exchange = SimulatedExchange()
        codes = contracts(40)
        placed = {code: set(exchange.place(code, "buy", "close", 1)) for code in codes}
        exchange.late(60.0, times=400)
        async with virtual_session(exchange, attempt_timeout=90.0) as htx:
            report = await htx.mass_cancel_trailing(
                codes, deadline=deadline, until_clear=until_clear, look="none"
            )
        assert now() == pytest.approx(deadline, abs=0.002)
        assert report.elapsed == pytest.approx(deadline, abs=0.002)
        assert report.outcomes == {Outcome.UNKNOWN: 5, Outcome.NOT_SENT: 35}
        assert_true_to_the_book(exchange, report, placed)

    run(main())


@pytest.mark.parametrize("count", [1, 5, 6, 100, 500])
def test_without_a_deadline_there_is_time_for_all_of_them(count: int) -> None:
    """The time that the limit needs for this many, plus the session's own, however small."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, lambda: 0.001, deadline=1.0) as htx:
            report = await htx.mass_cancel_trailing(contracts(count))
        assert report.outcomes == {Outcome.NOTHING_TO_CANCEL: count}
        assert exchange.busiest() == min(5, count)

    run(main())


@pytest.mark.parametrize("latency", first_of([0.15, 0.04, 0.1], 1))
def test_without_a_deadline_a_far_exchange_has_time_too(latency: float) -> None:
    """No fault at all, only a round trip of 80, 200 or 300 ms: tokens come back one second after
    the *answer*, so the limit needs that longer for 500 contracts."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, lambda: latency) as htx:
            report = await htx.mass_cancel_trailing(contracts(500))
        assert report.outcomes == {Outcome.NOTHING_TO_CANCEL: 500}

    run(main())


def test_without_a_deadline_the_queue_before_it_counts() -> None:
    """Two hundred calls wait already: the mass cancel's own time begins behind them."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, lambda: 0.001, deadline=2.0) as htx:
            others = [
                asyncio.ensure_future(htx.cancel_all_trailing(f"O{number}-USDT"))
                for number in range(200)
            ]
            await turns(2)
            report = await htx.mass_cancel_trailing(contracts(20))
            await asyncio.gather(*others)
        assert report.is_clear
        assert 43 < report.elapsed < 45

    run(main())


def test_mass_cancels_that_start_together_have_time_for_each_other() -> None:
    """`gather` of one mass cancel for each side: the second one's default deadline counts what the
    first one queues in the same moment."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, lambda: 0.001) as htx:
            reports = await asyncio.gather(
                htx.mass_cancel_trailing(contracts(100), "buy"),
                htx.mass_cancel_trailing(contracts(100), "sell"),
            )
        assert [report.outcomes for report in reports] == [{Outcome.NOTHING_TO_CANCEL: 100}] * 2

    run(main())


def test_a_mass_cancel_that_starts_with_many_single_calls_has_time_for_them() -> None:
    """`gather` of a mass cancel and 100 single calls, which queue before its own contracts do."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, lambda: 0.001) as htx:
            running = asyncio.ensure_future(htx.mass_cancel_trailing(contracts(20)))
            others = (htx.cancel_all_trailing(f"O{number}-USDT") for number in range(100))
            await asyncio.gather(running, *others)
        report = running.result()
        assert report.outcomes == {Outcome.NOTHING_TO_CANCEL: 20}

    run(main())


def test_until_clear_has_time_for_two_calls_a_contract_without_a_deadline() -> None:
    """The default deadline counts the second round too."""

    async def main() -> None:
        exchange = SimulatedExchange()
        codes = contracts(100)
        for code in codes:
            exchange.place(code, "buy", "close", 1)
        async with virtual_session(exchange, lambda: 0.001, deadline=2.0) as htx:
            report = await htx.mass_cancel_trailing(codes, until_clear=True, look="none")
        assert report.outcomes == {Outcome.CANCELLED: 100}
        assert len(exchange.arrivals) == 200

    run(main())


@pytest.mark.parametrize("length", [0.5, 1.2, 5.0])
def test_a_loop_that_was_blocked_at_the_deadline_does_not_make_sent_into_not_sent(
    length: float,
) -> None:
    """Something blocks the loop over the deadline while a request is on the wire: its orders are
    gone, so the report must not say that nothing was sent."""

    async def main() -> None:
        exchange, listener = SimulatedExchange(), Listener()
        placed = {BTC: set(exchange.place(BTC, "buy", "close", 2))}
        exchange.late(60.0)
        async with virtual_session(exchange, on_event=listener) as htx:
            asyncio.get_running_loop().call_at(1.95, stall, length)
            report = await htx.mass_cancel_trailing([BTC], deadline=2.0)
        assert [one.outcome for one in listener.reports()] == [Outcome.UNKNOWN]
        assert report.reports[0].outcome is Outcome.UNKNOWN
        assert_true_to_the_book(exchange, report, placed)

    run(main())


def test_a_callback_that_blocks_the_loop_at_the_deadline_falsifies_nothing() -> None:
    """A plain `on_report` that takes seconds (a slow log) while another request is on the wire."""

    async def main() -> None:
        exchange = SimulatedExchange()
        placed = {code: set(exchange.place(code, "buy", "close", 2)) for code in contracts(2)}
        exchange.late(1.9, contract_code="C0-USDT")
        exchange.late(60.0, contract_code="C1-USDT")
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(
                contracts(2), deadline=2.0, on_report=lambda one: stall(3.0)
            )
        assert_true_to_the_book(exchange, report, placed)

    run(main())


# Until clear


def gaps_between_rounds(exchange: SimulatedExchange) -> list[float]:
    """Seconds between one contract's arrival and its next, over all contracts."""
    last: dict[str | None, float] = {}
    gaps = []
    for arrival in exchange.arrivals:
        if arrival.contract_code in last:
            gaps.append(arrival.at - last[arrival.contract_code])
        last[arrival.contract_code] = arrival.at
    return gaps


def test_until_clear_goes_on_until_the_exchange_has_nothing_left() -> None:
    """Two rounds of each contract with orders, one of each without; 1.2 s or more between."""

    async def main() -> None:
        exchange = SimulatedExchange()
        codes = contracts(12)
        ids = {i for code in codes[:6] for i in exchange.place(code, "buy", "close", 2)}
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(codes, until_clear=True, look="none")
        assert report.outcomes == {Outcome.CANCELLED: 6, Outcome.NOTHING_TO_CANCEL: 6}
        assert set(report.successes) == ids
        assert Counter(arrived(exchange)) == dict.fromkeys(codes[:6], 2) | dict.fromkeys(
            codes[6:], 1
        )
        assert min(gaps_between_rounds(exchange)) >= BETWEEN_ROUNDS
        assert [a.number for a in report.reports[0].attempts] == [1, 2]
        assert [a.code for a in report.reports[0].attempts] == [None, 1051]
        assert report.reports[0].elapsed > BETWEEN_ROUNDS

    run(main())


def test_until_clear_takes_what_was_placed_between_the_rounds() -> None:
    """Successes are the union of all rounds."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = set(exchange.place(BTC, "buy", "close", 2))

        async def strategy() -> None:
            for _ in range(3):
                await asyncio.sleep(1.0)
                ids.update(exchange.place(BTC, "buy", "close", 1))

        async with virtual_session(exchange) as htx:
            trading = asyncio.create_task(strategy())
            report = await htx.mass_cancel_trailing([BTC], until_clear=True)
            await trading
        assert report.reports[0].outcome is Outcome.CANCELLED
        assert set(report.successes) == ids
        assert len(report.successes) == len(ids)
        assert not exchange.open_orders()
        assert min(gaps_between_rounds(exchange)) >= BETWEEN_ROUNDS
        numbers = [a.number for a in report.reports[0].attempts]
        assert numbers == list(range(1, len(numbers) + 1))

    run(main())


def test_a_round_for_which_there_is_no_time_is_told() -> None:
    """All is taken, and nobody has said that nothing is left: by the deadline, not the exchange."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close", 1)
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing([BTC], until_clear=True, deadline=1.0)
        assert report.outcome is Outcome.PARTIAL
        assert report.reports[0].ended_by == "the deadline of 1 s leaves no time to ask again"

    run(main())


def test_a_strategy_that_keeps_placing_is_partial_at_the_deadline() -> None:
    """The last answer was no 1051: the contract needs a person, and the words make sense."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close", 1)

        async def strategy() -> None:
            while True:
                exchange.place(BTC, "buy", "close", 1)
                await asyncio.sleep(0.3)

        async with virtual_session(exchange) as htx:
            trading = asyncio.create_task(strategy())
            report = await htx.mass_cancel_trailing([BTC, "A-USDT"], until_clear=True, deadline=6.0)
            trading.cancel()
            await asyncio.gather(trading, return_exceptions=True)
        assert now() <= 6.01
        assert [one.outcome for one in report.reports] == [
            Outcome.PARTIAL,
            Outcome.NOTHING_TO_CANCEL,
        ]
        assert report.not_clear == (BTC,)
        open_now = {order.order_id for order in exchange.open_orders()}
        assert open_now.isdisjoint(report.successes)

    run(main())


def test_partial_without_a_refused_order_is_not_told_as_refused_orders() -> None:
    """Time ran out after an accepted round: no order was refused, so none is said to be."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close", 2)
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing([BTC], until_clear=True, deadline=1.0)
        (one,) = report.reports
        assert one.outcome is Outcome.PARTIAL
        assert one.errors == ()
        assert "refused 0" not in one.message
        assert "still be open: ." not in one.message

    run(main())


def test_an_order_that_is_refused_every_time_is_partial_at_the_deadline() -> None:
    """Its id stays in the errors, once; the others are successes."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 3)
        exchange.reject_order(ids[1], 1088, times=100)
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing([BTC], until_clear=True, deadline=6.0)
        (one,) = report.reports
        assert one.outcome is Outcome.PARTIAL
        assert set(one.successes) == {ids[0], ids[2]}
        assert [error.order_id for error in one.errors] == [ids[1]]
        assert [order.order_id for order in exchange.open_orders()] == [ids[1]]
        assert len(exchange.arrivals) >= 3
        assert min(gaps_between_rounds(exchange)) >= BETWEEN_ROUNDS

    run(main())


def test_an_order_refused_in_the_first_round_and_cancelled_in_the_second_is_clear() -> None:
    """The last word counts: it is a success then, and no error."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 3)
        exchange.reject_order(ids[1], 1088)
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing([BTC], until_clear=True)
        (one,) = report.reports
        assert one.outcome is Outcome.CANCELLED
        assert set(one.successes) == set(ids)
        assert one.errors == ()
        report.raise_for_outcome()

    run(main())


def test_an_order_refused_first_and_cancelled_later_is_a_success_though_time_ran_out() -> None:
    """Two rounds and no 1051: `PARTIAL`, but no order is both cancelled and refused."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 2)
        exchange.reject_order(ids[0], 1088)
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing([BTC], until_clear=True, deadline=2.0)
        (one,) = report.reports
        assert len(exchange.arrivals) == 2
        assert one.outcome is Outcome.PARTIAL
        assert set(one.successes) == set(ids)
        assert one.errors == ()

    run(main())


def test_an_order_refused_in_the_first_round_and_gone_by_1051_is_clear() -> None:
    """It went by other means; the exchange's own word that nothing is left settles it."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 2)
        exchange.reject_order(ids[0], 1088)
        async with virtual_session(exchange) as htx:
            asyncio.get_running_loop().call_at(0.5, exchange._book._forget, ids[0])
            report = await htx.mass_cancel_trailing([BTC], until_clear=True)
        (one,) = report.reports
        assert one.outcome is Outcome.CANCELLED
        assert one.successes == (ids[1],)
        assert one.errors == ()

    run(main())


def test_a_triggered_order_stays_named_over_the_rounds() -> None:
    """1063 beside a success: the contract ends clear, and the triggered order is still told of."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 2)
        exchange.reject_order(ids[0], 1063)
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing([BTC], until_clear=True)
        (one,) = report.reports
        assert one.outcome is Outcome.CANCELLED
        assert one.triggered == (ids[0],)
        assert [error.order_id for error in one.errors] == [ids[0]]

    run(main())


@pytest.mark.parametrize("code", [1061, 1062, 1063, 1071])
def test_until_clear_ends_clear_only_on_the_exchange_s_own_1051(code: int) -> None:
    """An accepted answer that names only settled orders is not 1051: one more round asks."""

    async def main() -> None:
        exchange = SimulatedExchange()
        (only,) = exchange.place(BTC, "buy", "close", 1)
        exchange.reject_order(only, code)
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing([BTC], until_clear=True)
        assert report.is_clear
        assert exchange.arrivals[-1].err_code == 1051
        assert report.reports[0].attempts[-1].code == 1051

    run(main())


@pytest.mark.parametrize(
    ("arm", "outcome", "requests"),
    [
        (lambda e: e.refuse(1014), Outcome.REFUSED, 1),
        (lambda e: e.refuse(403), Outcome.REFUSED, 1),
        (lambda e: e.bad_gateway(times=5), Outcome.CANCELLED, 7),
        (lambda e: e.lose_after_work(), Outcome.CLEAR_AFTER_RETRY, 2),
        (lambda e: e.lose_before_work(), Outcome.CANCELLED, 3),
    ],
)
def test_a_first_round_that_was_not_accepted_decides_until_clear(
    arm: Callable[[SimulatedExchange], None], outcome: Outcome, requests: int
) -> None:
    """Refused stays refused, unknown goes on; and 1051 after a lost answer is the end."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close", 2)
        arm(exchange)
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing([BTC], until_clear=True, deadline=30)
        assert report.reports[0].outcome is outcome
        assert len(exchange.arrivals) == requests

    run(main())


@pytest.mark.parametrize(
    ("arm", "outcome"),
    [
        (lambda e: e.bad_gateway(times=9), Outcome.UNKNOWN),
        (lambda e: e.late(60.0, times=9), Outcome.UNKNOWN),
        (lambda e: e.refuse(1014), Outcome.PARTIAL),
        (lambda e: e.refuse(1056, times=500), Outcome.PARTIAL),
        (lambda e: e.too_many(retry_after="10", times=9), Outcome.PARTIAL),
        (lambda e: e.lose_after_work(), Outcome.CANCELLED),
    ],
)
def test_a_second_round_decides_until_clear(
    arm: Callable[[SimulatedExchange], None], outcome: Outcome
) -> None:
    """Accepted before: an unknown end is unknown, a refused one partial, a late 1051 clear."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 2)
        async with virtual_session(exchange) as htx:
            asyncio.get_running_loop().call_at(0.6, arm, exchange)
            report = await htx.mass_cancel_trailing([BTC], until_clear=True, deadline=9.0)
        (one,) = report.reports
        assert one.outcome is outcome
        assert set(one.successes) == set(ids)
        assert [a.number for a in one.attempts] == list(range(1, len(one.attempts) + 1))
        assert now() <= 9.01

    run(main())


@pytest.mark.parametrize("seed", first_of(range(30), 15))
def test_until_clear_is_true_to_the_book_under_faults(seed: int) -> None:
    """Random losses, refusals and rejected orders: clear means 1051 and an empty book, and
    `PARTIAL` and `UNKNOWN` claim no more than they know."""
    chance = random.Random(seed)

    async def main() -> None:
        exchange = SimulatedExchange()
        codes = contracts(30)
        placed = placed_orders(exchange, codes, chance)
        lose_a_fifth(exchange, codes, chance)
        policy = RetryPolicy(random=chance.random)
        async with virtual_session(exchange, lambda: chance.uniform(0, 0.1), retry=policy) as htx:
            report = await htx.mass_cancel_trailing(
                codes,
                until_clear=True,
                deadline=chance.choice([5.0, 15.0, 100.0, None]),
                look="none",
            )
        assert_true_to_the_book(exchange, report, placed)
        for one in report.reports:
            if one.outcome is Outcome.PARTIAL:
                assert one.successes or one.errors
            if one.is_clear and one.errors == ():
                assert one.attempts[-1].code == 1051
            assert [a.number for a in one.attempts] == list(range(1, len(one.attempts) + 1))
        assert exchange.busiest() <= 5

    run(main())


# on_report


class Plain:
    """A callable object, plain or async."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []

    def __call__(self, report: CancelReport) -> object:
        self.seen.append((report.contract_code, now()))
        return None


class Async(Plain):
    async def __call__(self, report: CancelReport) -> None:
        await asyncio.sleep(0.3)
        self.seen.append((report.contract_code, now()))


class Future(Plain):
    def __call__(self, report: CancelReport) -> object:
        super().__call__(report)
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.2, future.set_result, None)
        return future


@pytest.mark.parametrize("kind", [Plain, Async, Future])
def test_on_report_is_called_once_as_each_contract_ends(kind: type[Plain]) -> None:
    """Plain, async, or returning a future; in its own time, not at the end of all."""

    async def main() -> None:
        exchange, told = SimulatedExchange(), kind()
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(contracts(20), on_report=told, look="none")
        assert Counter(code for code, _ in told.seen) == dict.fromkeys(contracts(20), 1)
        moments = dict(told.seen)
        for number in range(20):
            expected = number // 5 * 1.082 + 0.08
            assert expected <= moments[f"C{number}-USDT"] <= expected + 0.31
        assert report.callback_errors == ()

    run(main())


def test_on_report_is_called_once_for_all_rounds_of_a_contract() -> None:
    """Under `until_clear` the callback gets the merged report."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close", 2)
        seen: list[CancelReport] = []
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing([BTC], until_clear=True, on_report=seen.append)
        assert seen == list(report.reports)

    run(main())


def raises(report: CancelReport) -> None:
    raise ValueError(f"no room for {report.contract_code}")


async def raises_later(report: CancelReport) -> None:
    await asyncio.sleep(0.1)
    raises(report)


@pytest.mark.parametrize("callback", [raises, raises_later])
def test_an_exception_in_on_report_harms_nothing_and_is_reported(
    callback: Callable[[CancelReport], object],
) -> None:
    """Every contract is cancelled all the same, and each error names its contract."""

    async def main() -> None:
        exchange = SimulatedExchange()
        for code in contracts(12):
            exchange.place(code, "buy", "close", 1)
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(contracts(12), on_report=callback)
        assert report.outcomes == {Outcome.CANCELLED: 12}
        assert sorted(report.callback_errors) == sorted(
            f"{code}: ValueError: no room for {code}" for code in contracts(12)
        )

    run(main())


def cancels(report: CancelReport) -> None:
    raise asyncio.CancelledError


async def awaits_what_is_cancelled(report: CancelReport) -> None:
    other = asyncio.ensure_future(asyncio.sleep(60))
    other.cancel()
    await other


@pytest.mark.parametrize("callback", [cancels, awaits_what_is_cancelled])
def test_a_cancelled_error_out_of_on_report_harms_nothing_and_is_reported(
    callback: Callable[[CancelReport], object],
) -> None:
    """A callback that awaits a task of its own which was cancelled has failed, and that shows."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(contracts(7), on_report=callback)
        assert report.outcomes == {Outcome.NOTHING_TO_CANCEL: 7}
        assert len(report.callback_errors) == 7

    run(main())


def test_a_callback_that_never_ends_is_cut_off_and_reported() -> None:
    """It holds the mass cancel to a second past the deadline at most."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ended: list[str] = []

        async def never(report: CancelReport) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append(report.contract_code)

        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(contracts(3), deadline=2.0, on_report=never)
        assert now() <= 3.01
        assert report.outcomes == {Outcome.NOTHING_TO_CANCEL: 3}
        assert report.callback_errors == tuple(
            f"{code}: on_report did not end" for code in contracts(3)
        )
        assert sorted(ended) == contracts(3)

    run(main())


def test_a_callback_that_ignores_its_cancellation_does_not_hold_the_mass_cancel() -> None:
    """Bounded all the same: a report that comes a thousand seconds late helps nobody."""

    async def main() -> None:
        exchange = SimulatedExchange()
        over = asyncio.Event()

        async def stubborn(report: CancelReport) -> None:
            while not over.is_set():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait_for(over.wait(), 1000)

        async def patience() -> None:
            await asyncio.sleep(500)
            over.set()

        waiting = asyncio.create_task(patience())
        async with virtual_session(exchange) as htx:
            await htx.mass_cancel_trailing([BTC], deadline=2.0, on_report=stubborn)
        assert now() <= 5.0
        over.set()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await turns(5)

    run(main())


def test_a_callback_may_close_the_session() -> None:
    """No deadlock: what was not sent yet ends `NOT_SENT`, what is on the wire unknown."""

    async def main() -> None:
        exchange = SimulatedExchange()
        htx = virtual_session(exchange)
        for number in range(2, 5):
            exchange.late(0.5, contract_code=f"C{number}-USDT")

        async def close(report: CancelReport) -> None:
            await htx.aclose()

        report = await htx.mass_cancel_trailing(contracts(20), on_report=close, look="none")
        assert report.outcomes == {
            Outcome.NOTHING_TO_CANCEL: 2,
            Outcome.UNKNOWN: 3,
            Outcome.NOT_SENT: 15,
        }
        assert report.callback_errors == ()
        assert now() < 0.2

    run(main())


def test_a_callback_may_call_the_session() -> None:
    """Another call from within the callback queues like any other."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:

            async def again(report: CancelReport) -> None:
                await htx.cancel_all_trailing(report.contract_code)

            report = await htx.mass_cancel_trailing(contracts(10), on_report=again)
        assert report.callback_errors == ()
        assert set(arrived(exchange)[:10]) == set(arrived(exchange)[10:]) == set(contracts(10))
        assert exchange.busiest() == 5

    run(main())


# What fails inside


class Unreliable:
    """A limiter of the caller's own whose server is gone when a lease ends."""

    def take(self, endpoint: str, *, urgent: bool = False) -> "Unreliable":
        return self

    def pause(self, endpoint: str, seconds: float) -> None:
        pass

    def earliest(self, endpoint: str, *, urgent: bool = False) -> None:
        return None

    def not_sent(self) -> None:
        pass

    async def __aenter__(self) -> "Unreliable":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        raise ConnectionError("the limiter's server is gone")


def test_an_exception_after_a_request_left_never_reads_as_not_sent() -> None:
    """The orders are gone: whatever the mass cancel gives back or raises, it is not "nothing was
    sent"."""

    async def main() -> None:
        exchange = SimulatedExchange()
        placed = {BTC: set(exchange.place(BTC, "buy", "close", 2))}
        limiter: RateLimiter = Unreliable()
        async with virtual_session(exchange, limiter=limiter) as htx:
            try:
                report = await htx.mass_cancel_trailing([BTC])
            except ConnectionError:
                return
        assert_true_to_the_book(exchange, report, placed)

    run(main())


class Broken(TokenBucket):
    """A limiter that cannot even be asked."""

    def take(self, endpoint: str, **options: Any) -> Any:
        raise RuntimeError("the limiter is broken")


def test_an_exception_inside_a_call_is_not_swallowed() -> None:
    """A limiter that raises: the single call raises that, and the mass cancel tells of it."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, limiter=Broken()) as htx:
            with pytest.raises(RuntimeError, match="limiter is broken"):
                await htx.cancel_all_trailing(BTC)
            try:
                report = await htx.mass_cancel_trailing([BTC])
            except RuntimeError as error:
                told = str(error)
            else:
                told = report.model_dump_json()
        assert "RuntimeError" in told or "limiter is broken" in told

    run(main())


# Cancellation


@pytest.mark.parametrize("until_clear", [False, True])
@pytest.mark.parametrize("stop_after", range(0, 50))
def test_a_mass_cancel_cancelled_at_any_turn_leaks_nothing(
    stop_after: int, until_clear: bool
) -> None:
    """`CancelledError` comes through at once; nothing is sent afterwards, the tokens come back,
    and the listener has the true end of every call that began."""

    async def main() -> None:
        exchange, listener = SimulatedExchange(), Listener()
        codes = contracts(12)
        placed = {code: set(exchange.place(code, "buy", "close", 2)) for code in codes}
        exchange.bad_gateway(contract_code="C0-USDT")
        exchange.lose_after_work(contract_code="C1-USDT")
        exchange.refuse(1032, contract_code="C2-USDT")
        bucket = TokenBucket()
        htx = virtual_session(exchange, limiter=bucket, on_event=listener)
        doomed = asyncio.ensure_future(
            htx.mass_cancel_trailing(codes, until_clear=until_clear, deadline=60.0)
        )
        for _ in range(stop_after):
            await asyncio.sleep(0.11 if stop_after > 12 else 0)
        over = doomed.done()
        start, sent = now(), len(exchange.arrivals)
        doomed.cancel()
        (result,) = await asyncio.gather(doomed, return_exceptions=True)
        assert over or isinstance(result, asyncio.CancelledError)
        assert now() - start < 0.01
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert bucket.waiting(PATH) == 0
        assert listener.begun == listener.ended
        await asyncio.sleep(1.01)
        assert len(exchange.arrivals) == sent
        assert len(listener.begun) <= 12 or until_clear
        if bucket._queues and not exchange_paused(bucket):
            assert bucket.earliest(PATH) == pytest.approx(now())
        for report in listener.reports():
            still_open = {order.order_id for order in exchange.open_orders(report.contract_code)}
            gone = placed[report.contract_code] - still_open
            assert set(report.successes) <= gone
            assert not (report.is_clear and still_open)
        await htx.aclose()

    run(main())


def exchange_paused(bucket: TokenBucket) -> bool:
    return bucket._queues[PATH]._paused_until > now()


@pytest.mark.parametrize("stop_at", [0.0, 0.05, 0.3, 1.3, 2.5])
def test_a_timeout_around_a_mass_cancel_is_a_timeout(stop_at: float) -> None:
    """`asyncio.timeout` ends it at its own moment, as `TimeoutError`."""

    async def main() -> None:
        exchange, listener = SimulatedExchange(), Listener()
        async with virtual_session(exchange, on_event=listener) as htx:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(stop_at):
                    await htx.mass_cancel_trailing(contracts(40))
            assert now() == pytest.approx(stop_at, abs=0.01)
            sent = len(exchange.arrivals)
            assert listener.begun == listener.ended
            await asyncio.sleep(3)
            assert len(exchange.arrivals) == sent

    run(main())


def test_a_failing_sibling_ends_a_mass_cancel() -> None:
    """In a `TaskGroup` the sibling's exception comes through alone, at once."""

    async def main() -> None:
        exchange, listener = SimulatedExchange(), Listener()

        async def sibling() -> None:
            await asyncio.sleep(0.5)
            raise KeyError("sibling")

        async def both(htx: HtxSession) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(htx.mass_cancel_trailing(contracts(40)))
                group.create_task(sibling())

        async with virtual_session(exchange, on_event=listener) as htx:
            with pytest.raises(ExceptionGroup) as caught:
                await both(htx)
            assert [type(error) for error in caught.value.exceptions] == [KeyError]
            assert now() == pytest.approx(0.5, abs=0.01)
            assert listener.begun == listener.ended

    run(main())


def test_a_cancelled_mass_cancel_waits_for_a_callback_a_second_at_most() -> None:
    """A callback that never ends does not hold the cancellation."""

    async def main() -> None:
        exchange = SimulatedExchange()

        async def never(report: CancelReport) -> None:
            await asyncio.get_running_loop().create_future()

        async with virtual_session(exchange) as htx:
            doomed = asyncio.ensure_future(htx.mass_cancel_trailing(contracts(20), on_report=never))
            await asyncio.sleep(0.5)
            doomed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await doomed
        assert now() <= 1.51
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_a_second_cancellation_ends_even_that_wait() -> None:
    """Cancelled twice, the mass cancel is over at once, with no task left behind."""

    async def main() -> None:
        exchange = SimulatedExchange()

        async def never(report: CancelReport) -> None:
            await asyncio.get_running_loop().create_future()

        async with virtual_session(exchange) as htx:
            doomed = asyncio.ensure_future(htx.mass_cancel_trailing(contracts(20), on_report=never))
            await asyncio.sleep(0.5)
            doomed.cancel()
            await asyncio.sleep(0.1)
            doomed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await doomed
        assert now() == pytest.approx(0.6, abs=0.01)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


@pytest.mark.parametrize("until_clear", [False, True])
@pytest.mark.parametrize("turns_between", range(4))
def test_the_account_is_true_at_any_moment(turns_between: int, until_clear: bool) -> None:
    """A guard that is cancelled again and again takes the account while calls are still ending:
    what was sent, or cancelled in an earlier round, never reads as not sent."""

    async def main() -> None:
        exchange = SimulatedExchange()
        placed = {code: set(exchange.place(code, "buy", "close", 2)) for code in contracts(8)}
        async with virtual_session(exchange) as htx:
            guard = htx.cancel_on_exit(contracts(8), until_clear=until_clear)

            async def block() -> None:
                async with guard:
                    await asyncio.sleep(60)

            task = asyncio.ensure_future(block())
            await asyncio.sleep(0.1)
            task.cancel()
            # The answers to the first five come 0.08 s after their request, and then 1.2 s pass.
            await asyncio.sleep(0.3 if until_clear else 0.06)
            task.cancel()
            await turns(turns_between)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await turns(10)
        assert guard.report is not None
        assert_true_to_the_book(exchange, guard.report, placed)

    run(main())


def test_closing_the_session_ends_a_mass_cancel_with_a_true_account() -> None:
    """Five on the wire are unknown, the rest were not sent; `aclose` comes back at once."""

    async def main() -> None:
        exchange, listener = SimulatedExchange(), Listener()
        htx = virtual_session(exchange, on_event=listener)
        running = asyncio.ensure_future(htx.mass_cancel_trailing(contracts(30), look="none"))
        await asyncio.sleep(0.05)
        await htx.aclose()
        report = await running
        assert now() < 0.1
        assert codes_of(report) == contracts(30)
        assert report.outcomes == {Outcome.UNKNOWN: 5, Outcome.NOT_SENT: 25}
        assert "session was closed" in report.reports[-1].message
        assert listener.begun == listener.ended
        await asyncio.sleep(3)
        assert len(exchange.arrivals) == 5

    run(main())


def test_closing_the_session_before_the_first_turn_sends_nothing() -> None:
    """The mass cancel has begun, none of its calls has: all of it is `NOT_SENT`."""

    async def main() -> None:
        exchange = SimulatedExchange()
        htx = virtual_session(exchange)
        running = asyncio.ensure_future(htx.mass_cancel_trailing(contracts(30)))
        closing = asyncio.ensure_future(htx.aclose())
        report = await running
        await closing
        assert report.outcomes == {Outcome.NOT_SENT: 30}
        assert {one.ended_by for one in report.reports} == {"the session was closed"}
        assert exchange.arrivals == ()

    run(main())


def test_closing_the_session_between_two_rounds_is_partial() -> None:
    """Orders were cancelled in the first round: that is not "not sent"."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = {i for code in contracts(3) for i in exchange.place(code, "buy", "close", 2)}
        htx = virtual_session(exchange)
        running = asyncio.ensure_future(htx.mass_cancel_trailing(contracts(3), until_clear=True))
        await asyncio.sleep(0.6)
        await htx.aclose()
        report = await running
        assert now() < 0.7
        assert report.outcomes == {Outcome.PARTIAL: 3}
        assert set(report.successes) == ids
        assert "session was closed" in report.reports[0].ended_by
        assert len(exchange.arrivals) == 3

    run(main())


# Truth


def placed_orders(
    exchange: SimulatedExchange, codes: Sequence[str], chance: random.Random
) -> dict[str, set[str]]:
    """Two or three orders a contract; one in twenty is refused by itself, for good or for ill."""
    placed = {}
    for code in codes:
        placed[code] = set(exchange.place(code, "buy", "close", chance.choice((2, 3))))
        for order_id in placed[code]:
            if chance.random() < 0.05:
                exchange.reject_order(order_id, chance.choice((1061, 1062, 1063, 1071, 1088, 1048)))
    return placed


def lose_a_fifth(exchange: SimulatedExchange, codes: Sequence[str], chance: random.Random) -> None:
    """Each request's answer is lost with a chance of one in five, in one of the ways there are."""
    for code in codes:
        while chance.random() < 0.2:
            lose = chance.choice(
                (
                    exchange.lose_before_work,
                    exchange.lose_after_work,
                    exchange.truncate,
                    lambda *, contract_code: exchange.bad_gateway(
                        after_work=True, contract_code=contract_code
                    ),
                    lambda *, contract_code: exchange.late(LATE, contract_code=contract_code),
                )
            )
            lose(contract_code=code)


def assert_true_to_the_book(
    exchange: SimulatedExchange, report: MassCancelReport, placed: dict[str, set[str]]
) -> None:
    """Order by order: no outcome is better than the book, no id invented, none lost in silence."""
    assert codes_of(report) == list(placed)
    still_open: dict[str, set[str]] = {code: set() for code in placed}
    for order in exchange.open_orders():
        still_open[order.contract_code].add(order.order_id)
    for one in report.reports:
        _assert_true(one, placed[one.contract_code], still_open[one.contract_code])


def _assert_true(report: CancelReport, placed: set[str], still_open: set[str]) -> None:
    gone = placed - still_open
    settled = {e.order_id for e in report.errors if e.err_code in SETTLED_ORDER_CODES}
    refused = {e.order_id for e in report.errors} - settled
    assert len(set(report.successes)) == len(report.successes)
    assert set(report.successes) | settled <= gone
    assert set(report.triggered) <= settled
    if report.outcome in (Outcome.REFUSED, Outcome.NOT_SENT):
        assert not gone
    if report.outcome is Outcome.NOT_SENT:
        assert not any(attempt.sent for attempt in report.attempts)
    if report.outcome is Outcome.PARTIAL:
        assert still_open <= refused or report.attempts[-1].verdict is not Verdict.ACCEPTED
    if report.is_clear:
        assert not still_open
        assert not refused
    if report.ids_complete and report.outcome is not Outcome.UNKNOWN:
        assert set(report.successes) | settled == gone


async def mass_cancel_under_losses(seed: int, count: int) -> Counter[Outcome]:
    """One seed of the property; the deadline is the default, too short, or ample."""
    chance = random.Random(seed)
    exchange = SimulatedExchange()
    codes = contracts(count)
    placed = placed_orders(exchange, codes, chance)
    lose_a_fifth(exchange, codes, chance)
    policy = RetryPolicy(random=chance.random)
    latency = (0.0, 0.04, 0.2)[seed % 3]
    deadline = (None, 1000.0, 30.0, 1000.0)[seed % 4]
    async with virtual_session(exchange, lambda: chance.uniform(0, latency), retry=policy) as htx:
        report = await htx.mass_cancel_trailing(codes, deadline=deadline)
    assert_true_to_the_book(exchange, report, placed)
    assert exchange.busiest() <= 5
    if deadline is not None:
        assert report.elapsed <= deadline + 0.01
    if deadline == 1000.0:
        assert Outcome.NOT_SENT not in report.outcomes
        # Four lost answers in a row: 500 * 0.2 ** 4 is the mean, 0.8.
        assert report.outcomes.get(Outcome.UNKNOWN, 0) < 10
    return Counter(report.outcomes)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_500_contracts_with_a_fifth_of_the_answers_lost_are_true_to_the_book(chunk: int) -> None:
    """Every outcome against the simulator's book, order by order, and five in any second, over
    60 seeds; every fortieth one with 500 contracts, the others with 40. In the soak 1,000 seeds,
    all with 500."""
    seen: Counter[Outcome] = Counter()
    for seed in range(chunk * SOAK_SEEDS // CHUNKS, (chunk + 1) * SOAK_SEEDS // CHUNKS):
        seen += run(mass_cancel_under_losses(seed, 500 if SOAK or seed % 40 == 4 else 40))
    if SOAK_SEEDS >= 4 * CHUNKS:
        assert seen[Outcome.CANCELLED]
        assert seen[Outcome.CLEAR_AFTER_RETRY]
        assert seen[Outcome.PARTIAL]


def test_the_check_of_truth_can_fail() -> None:
    """A report that claims more, or less, than the book shows is found out."""

    async def main() -> None:
        exchange = SimulatedExchange()
        placed = {BTC: set(exchange.place(BTC, "buy", "close", 2))}
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing([BTC])
        assert_true_to_the_book(exchange, report, placed)
        (one,) = report.reports
        for lie in (
            {"outcome": Outcome.NOT_SENT},
            {"outcome": Outcome.REFUSED},
            {"successes": one.successes[:1]},
            {"successes": (*one.successes, "1")},
        ):
            lying = report.model_copy(update={"reports": (one.model_copy(update=lie),)})
            with pytest.raises(AssertionError):
                assert_true_to_the_book(exchange, lying, placed)
        placed[BTC] |= set(exchange.place(BTC, "buy", "close", 1))
        with pytest.raises(AssertionError):
            assert_true_to_the_book(exchange, report, placed)

    run(main())


# The plan


def test_a_plan_tells_calls_time_and_what_stays_and_sends_nothing() -> None:
    """Duplicates once; 100 contracts need 20 turns of five."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            plan = htx.plan([*contracts(100), "c0-usdt"], look="none")
            twice = htx.plan(contracts(100), until_clear=True, look="none")
            assert htx.plan(iter(contracts(5))).least_seconds == 0.0
        assert plan.contract_codes == tuple(contracts(100))
        assert plan.calls == 100
        assert plan.least_seconds == pytest.approx(19, abs=0.1)
        assert twice.contract_codes == plan.contract_codes
        assert twice.calls == 200
        # Answers take half a second at most, as is assumed.
        assert twice.seconds == pytest.approx(39 * 1.5 + 0.5, abs=0.2)
        told = " ".join(plan.untouched)
        for kind in ("cross margin", "limit", "trigger", "take-profit", "stop-loss", "positions"):
            assert kind in told
        assert exchange.arrivals == ()
        assert now() < 0.01
        with pytest.raises(ValueError, match="frozen"):
            plan.calls = 3

    run(main())


def test_a_plan_counts_the_queue_and_an_urgent_one_goes_before_it() -> None:
    """Fifty calls are before it: ten more turns for the ordinary plan, none for the urgent one."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            others = [
                asyncio.ensure_future(htx.cancel_all_trailing(f"O{number}-USDT"))
                for number in range(50)
            ]
            await turns(2)
            plan, urgent = (htx.plan(contracts(10), urgent=one) for one in (False, True))
            assert plan.least_seconds == pytest.approx(11, abs=0.1)
            assert urgent.least_seconds == pytest.approx(2, abs=0.1)
            await asyncio.gather(*others)

    run(main())


@pytest.mark.parametrize("number", [1, 100])
@pytest.mark.parametrize("until_clear", [False, True])
def test_a_plan_is_kept(until_clear: bool, number: int) -> None:
    """The last request leaves when the plan said, on a near exchange without faults."""

    async def main() -> None:
        exchange = SimulatedExchange()
        codes = contracts(number)
        for code in codes:
            exchange.place(code, "buy", "close", 1)
        async with virtual_session(exchange, lambda: 0.0005) as htx:
            settings: Any = {"until_clear": until_clear, "look": "none"}
            plan = htx.plan(codes, **settings)
            report = await htx.mass_cancel_trailing(codes, **settings)
        assert report.is_clear
        assert len(exchange.arrivals) == plan.calls
        last = exchange.arrivals[-1].at
        assert plan.least_seconds * 0.999 <= last <= plan.seconds
        if not until_clear:
            assert last == pytest.approx(plan.least_seconds, rel=0.03, abs=0.005)

    run(main())


# Memory


@pytest.mark.slow
@pytest.mark.long
def test_500_contracts_in_flight_cost_little_and_give_it_back() -> None:
    """At most 30 MB over an idle session (traced), and all of it comes back."""
    limit = 30_000_000

    async def one_mass_cancel(htx: HtxSession) -> int:
        running = asyncio.ensure_future(
            htx.mass_cancel_trailing(contracts(500), until_clear=True, deadline=400.0)
        )
        await asyncio.sleep(30)
        in_flight = tracemalloc.get_traced_memory()[0]
        report = await running
        assert report.is_clear
        return in_flight

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, lambda: 0.3) as htx:
            # Models, caches and the loop's own tables are built by the first one.
            tracemalloc.start()
            try:
                await one_mass_cancel(htx)
                growths = []
                # A leak shows each time. Once, in a whole run, a megabyte stayed for a reason that
                # could not be found again; the next mass cancel has to give everything back.
                for _ in range(3):
                    exchange._arrivals.clear()
                    gc.collect()
                    idle = tracemalloc.get_traced_memory()[0]
                    in_flight = await one_mass_cancel(htx)
                    exchange._arrivals.clear()
                    gc.collect()
                    assert 0 < in_flight - idle <= limit
                    growths.append(tracemalloc.get_traced_memory()[0] - idle)
                    if growths[-1] < 250_000:
                        break
            finally:
                tracemalloc.stop()
        assert growths[-1] < 250_000, growths

    run(main())


@pytest.mark.long
def test_a_cancelled_mass_cancel_gives_its_memory_back() -> None:
    """500 contracts cancelled in flight leave nothing behind either."""

    async def one_cancelled(htx: HtxSession) -> None:
        running = asyncio.ensure_future(htx.mass_cancel_trailing(contracts(500), deadline=400.0))
        await asyncio.sleep(2)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            tracemalloc.start()
            try:
                await one_cancelled(htx)
                exchange._arrivals.clear()
                gc.collect()
                idle = tracemalloc.get_traced_memory()[0]
                await one_cancelled(htx)
                exchange._arrivals.clear()
                gc.collect()
                after = tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
        assert after - idle < 250_000

    run(main())


def test_a_default_deadline_counts_the_contracts_of_another_mass_cancel_once() -> None:
    """Queued already, they are seen in the queue; they do not stretch the second one's time."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.late(1000.0, times=10_000)
        async with virtual_session(exchange, deadline=2.0) as htx:
            first = asyncio.ensure_future(htx.mass_cancel_trailing(contracts(50), deadline=500.0))
            await asyncio.sleep(0.01)
            start = asyncio.get_running_loop().time()
            report = await htx.mass_cancel_trailing(["X-USDT"])
            # Behind 50: ten rounds of a second and a half at most, and the session's two seconds.
            assert asyncio.get_running_loop().time() - start < 10 * 1.51 + 2.1
            assert not report.is_clear
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)

    run(main())
