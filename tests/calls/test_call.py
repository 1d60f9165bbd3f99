"""One call carried through attempts, in virtual time over the simulated exchange's own core."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from htx_async import (
    AccountMigrated,
    AuthenticationFailed,
    CancelRefused,
    EndpointRetired,
    HtxSession,
    NotSent,
    Outcome,
    OutcomeUnknown,
    PartialCancel,
    RateLimited,
    RetryPolicy,
    SessionClosed,
    TokenBucket,
    Unavailable,
    Verdict,
)
from htx_async.cancel.guard import CancelGuard
from htx_async.simulator import SimulatedExchange
from tests.support.endings import ending
from tests.support.virtual import run, virtual_session

pytestmark = pytest.mark.usefixtures("tasks")

BTC = "BTC-USDT"
PATH = "/linear-swap-api/v1/swap_track_cancelall"


def now() -> float:
    return asyncio.get_running_loop().time()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_clean_call_tells_which_orders_went() -> None:
    """One attempt, its ids, its times, and the exchange's own clock are on the report."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 3)
        other = exchange.place(BTC, "sell", "close", 1)
        async with virtual_session(exchange) as htx:
            report = await htx.cancel_all_trailing("btc-usdt", "buy", "close")
        assert report.outcome is Outcome.CANCELLED
        assert report.is_clear
        assert report.ids_complete
        assert set(report.successes) == set(ids)
        assert {order.order_id for order in exchange.open_orders()} == set(other)
        assert report.contract_code == BTC
        (attempt,) = report.attempts
        assert (attempt.number, attempt.sent, attempt.http_status) == (1, True, 200)
        assert attempt.verdict is Verdict.ACCEPTED
        assert attempt.started.tzinfo is UTC
        assert attempt.waited == pytest.approx(0, abs=1e-3)
        assert attempt.wire == pytest.approx(0.08, abs=1e-3)
        assert report.elapsed == pytest.approx(0.08, abs=1e-3)
        assert report.ts is not None

    run(main())


def test_the_exchange_having_nothing_is_clear() -> None:
    """1051 is an answer, not a failure."""

    async def main() -> None:
        async with virtual_session(SimulatedExchange()) as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert report.outcome is Outcome.NOTHING_TO_CANCEL
        assert report.attempts[0].verdict is Verdict.REFUSED
        assert report.attempts[0].code == 1051

    run(main())


def test_a_lost_answer_is_repeated_and_the_report_says_that_ids_are_missing() -> None:
    """The work was done, the answer lost: asked again, the exchange has nothing left."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close", 3)
        exchange.lose_after_work()
        async with virtual_session(exchange) as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert report.outcome is Outcome.CLEAR_AFTER_RETRY
        assert not report.ids_complete
        assert report.successes == ()
        assert [a.verdict for a in report.attempts] == [Verdict.UNKNOWN, Verdict.REFUSED]
        assert not exchange.open_orders()

    run(main())


def test_an_answer_lost_before_the_work_is_made_up_for() -> None:
    """The repeat cancels, and its ids are reported as possibly not all."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 3)
        exchange.lose_before_work()
        async with virtual_session(exchange) as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert report.outcome is Outcome.CANCELLED
        assert set(report.successes) == set(ids)
        assert not report.ids_complete

    run(main())


def test_unknown_outcomes_are_repeated_up_to_the_policy_and_then_raised() -> None:
    """Four requests without an answer: `OutcomeUnknown`, with all four on record."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.bad_gateway(times=9)
        async with virtual_session(exchange) as htx:
            with pytest.raises(OutcomeUnknown, match="look at the exchange") as caught:
                await htx.cancel_all_trailing(BTC)
        attempts = caught.value.report.attempts
        assert [a.verdict for a in attempts] == [Verdict.UNKNOWN] * 4
        assert [a.http_status for a in attempts] == [502] * 4
        assert len(exchange.arrivals) == 4

    run(main())


def test_repeat_unknown_off_ends_the_call_at_the_first_lost_answer() -> None:
    """A strategy that places orders meanwhile must not have those taken by a repeat."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.lose_after_work()
        policy = RetryPolicy(repeat_unknown=False)
        async with virtual_session(exchange, retry=policy) as htx:
            with pytest.raises(OutcomeUnknown):
                await htx.cancel_all_trailing(BTC)
        assert len(exchange.arrivals) == 1

    run(main())


def test_unknown_stays_unknown_when_a_later_attempt_is_refused() -> None:
    """The refusal of the repeat says nothing about the first attempt."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.lose_after_work()
        exchange.refuse(1014)
        async with virtual_session(exchange) as htx:
            with pytest.raises(OutcomeUnknown) as caught:
                await htx.cancel_all_trailing(BTC)
        assert caught.value.report.attempts[-1].code == 1014

    run(main())


@pytest.mark.parametrize(
    ("arm", "error", "code"),
    [
        (lambda e: e.refuse(403, "Verification failure"), AuthenticationFailed, 403),
        (lambda e: e.refuse(12004), AuthenticationFailed, 12004),
        (lambda e: e.refuse(1014), CancelRefused, 1014),
        (lambda e: e.refuse(987654), CancelRefused, 987654),
        (lambda e: e.refuse(6023), AccountMigrated, 6023),
        (lambda e: e.refuse(4002), AccountMigrated, 4002),
        (lambda e: e.refuse(1510, code_as_text=True), AccountMigrated, 1510),
        (lambda e: e.retire(), EndpointRetired, 10000),
        (lambda e: e.retire(path_gone=True), EndpointRetired, 404),
        (lambda e: e.refuse("login-required", shape=2), AuthenticationFailed, "login-required"),
        (lambda e: e.refuse(1067, shape=4), CancelRefused, 1067),
    ],
)
def test_a_final_refusal_is_raised_after_one_request(
    arm: Callable[[SimulatedExchange], None], error: type[CancelRefused], code: int | str
) -> None:
    """What cannot get better is not tried again, and its kind tells what to do."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 2)
        arm(exchange)
        async with virtual_session(exchange) as htx:
            with pytest.raises(error) as caught:
                await htx.cancel_all_trailing(BTC)
        assert type(caught.value) is error
        assert caught.value.code == code
        assert caught.value.report.outcome is Outcome.REFUSED
        assert len(exchange.arrivals) == 1
        assert {order.order_id for order in exchange.open_orders()} == set(ids)

    run(main())


@pytest.mark.parametrize(
    "arm",
    [
        lambda e: e.refuse(1056, times=3),
        lambda e: e.refuse(1431, times=3),
        lambda e: e.maintain(times=3),
        lambda e: e.refuse("system-maintenance", shape=2, times=3),
    ],
)
def test_settlement_and_maintenance_are_waited_out(
    arm: Callable[[SimulatedExchange], None],
) -> None:
    """The exchange takes no cancels for a moment: back off and go on."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close", 2)
        arm(exchange)
        async with virtual_session(exchange) as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert report.outcome is Outcome.CANCELLED
        assert len(report.attempts) == 4

    run(main())


@pytest.mark.parametrize("seed", range(30))
def test_a_settlement_that_lasts_ends_unavailable_at_the_deadline(seed: int) -> None:
    """Until then it is tried again and again, each time with a token; never so late that the
    deadline would cut an answer off and leave the outcome unknown."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.refuse(1056, times=1000)
        policy = RetryPolicy(random=random.Random(seed).random)
        async with virtual_session(exchange, retry=policy) as htx:
            with pytest.raises(Unavailable, match="settlement") as caught:
                await htx.cancel_all_trailing(BTC, deadline=6.0)
        assert now() == pytest.approx(6.0, abs=0.081)
        assert caught.value.report.elapsed == pytest.approx(now())
        assert exchange.busiest() <= 5

    run(main())


def test_rate_limits_pause_the_endpoint_and_are_not_counted() -> None:
    """Ten 1032 in a row cost ten pauses, not the four attempts of an unknown outcome."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.place(BTC, "buy", "close", 2)
        exchange.refuse(1032, times=7)
        async with virtual_session(exchange, deadline=30.0) as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert report.outcome is Outcome.CANCELLED
        assert len(report.attempts) == 8

    run(main())


def test_a_rate_limit_until_the_deadline_tells_when_to_come_back() -> None:
    """HTTP 429 with Retry-After beyond the deadline: the call ends at once and says so."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.too_many(retry_after="8")
        async with virtual_session(exchange) as htx:
            with pytest.raises(RateLimited) as caught:
                await htx.cancel_all_trailing(BTC, deadline=5.0)
        assert caught.value.retry_after == 8.0
        assert caught.value.code is None
        assert now() < 0.1

    run(main())


def test_a_pause_ends_waiting_calls_whose_turn_now_comes_too_late() -> None:
    """They are told at once, not when their own deadline has passed."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.too_many(retry_after="8", contract_code="A-USDT")
        async with virtual_session(exchange, limiter=TokenBucket(1)) as htx:
            first = asyncio.ensure_future(htx.cancel_all_trailing("A-USDT", deadline=30.0))
            await turns(3)
            second = asyncio.ensure_future(htx.cancel_all_trailing("B-USDT", deadline=5.0))
            with pytest.raises(NotSent, match="turn comes in 8"):
                await second
            assert now() < 0.2
            assert (await first).is_clear

    run(main())


def test_per_order_refusals_end_partial_and_are_not_tried_again() -> None:
    """The ids that stay are in the error, the ones that triggered are named."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 4)
        exchange.reject_order(ids[0], 1088, "restricted")
        exchange.reject_order(ids[1], 1063)
        async with virtual_session(exchange) as htx:
            with pytest.raises(PartialCancel, match=ids[0]) as caught:
                await htx.cancel_all_trailing(BTC)
        report = caught.value.report
        assert set(report.successes) == set(ids[2:])
        assert report.triggered == (ids[1],)
        assert {error.order_id for error in report.errors} == set(ids[:2])
        assert [order.order_id for order in exchange.open_orders()] == [ids[0]]
        assert len(exchange.arrivals) == 1

    run(main())


def test_a_hundred_calls_without_deadlines_of_their_own_all_go() -> None:
    """The session's deadline counts from the moment at which a call's turn can come."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, deadline=2.0) as htx:
            reports = await asyncio.gather(
                *(htx.cancel_all_trailing(f"C{number}-USDT") for number in range(100))
            )
        assert all(report.is_clear for report in reports)
        assert exchange.busiest() == 5
        assert now() == pytest.approx(19 * 1.082 + 0.08, abs=0.05)

    run(main())


def test_a_call_whose_turn_comes_after_its_own_deadline_fails_at_once() -> None:
    """`NotSent` tells the time that is needed and the length of the queue."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            others = [
                asyncio.ensure_future(htx.cancel_all_trailing(f"C{number}-USDT"))
                for number in range(50)
            ]
            await turns(5)
            start = now()
            with pytest.raises(NotSent, match=r"turn comes in 10\.\d\d s .* with 45 waiting") as e:
                await htx.cancel_all_trailing(BTC, deadline=5.0)
            assert now() - start < 0.01
            assert e.value.report.attempts == ()
            await asyncio.gather(*others)

    run(main())


def test_a_retry_that_cannot_come_in_time_leaves_the_outcome_unknown() -> None:
    """After a lost answer, "too late to ask again" is not "not sent"."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.lose_after_work()
        async with virtual_session(exchange, limiter=TokenBucket(1)) as htx:
            with pytest.raises(OutcomeUnknown, match="turn comes in"):
                await htx.cancel_all_trailing(BTC, deadline=0.5)
        assert now() < 0.2

    run(main())


def test_the_deadline_ends_a_request_on_the_wire() -> None:
    """It is kept to the millisecond, and what was sent is reported as unknown."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.late(60.0, times=9)
        async with virtual_session(exchange) as htx:
            with pytest.raises(OutcomeUnknown, match=r"deadline of 1\.5 s"):
                await htx.cancel_all_trailing(BTC, deadline=1.5)
        assert now() == pytest.approx(1.5, abs=0.001)

    run(main())


def test_retries_queue_behind_first_attempts() -> None:
    """One contract's trouble does not delay the first attempt of another."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.bad_gateway(times=3, contract_code="C0-USDT")
        async with virtual_session(exchange) as htx:
            await asyncio.gather(
                *(htx.cancel_all_trailing(f"C{number}-USDT") for number in range(15))
            )
        order = [arrival.contract_code for arrival in exchange.arrivals]
        assert len(set(order[:15])) == 15
        assert order[15:] == ["C0-USDT"] * 3

    run(main())


def test_the_wall_clock_changes_no_wait() -> None:
    """It jumps an hour forth and two back between attempts; queue, pauses and deadline stay."""

    def wall() -> datetime:
        jump = 0 if now() < 0.5 else 1 if now() < 1.6 else -1
        return datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(hours=jump, seconds=now())

    async def main() -> None:
        exchange = SimulatedExchange(now=lambda: wall().timestamp())
        exchange.too_many(retry_after="1")
        async with virtual_session(exchange, now=wall) as htx:
            reports = await asyncio.gather(
                *(htx.cancel_all_trailing(f"C{number}-USDT") for number in range(12))
            )
        assert now() == pytest.approx(2 * 1.082 + 0.08, abs=0.1)
        hours = {attempt.started.hour for report in reports for attempt in report.attempts}
        assert hours == {11, 12, 13}
        assert all(0 <= a.waited < 3 and a.wire < 1 for r in reports for a in r.attempts)

    run(main())


def test_a_wall_clock_in_unix_seconds_is_understood() -> None:
    """`now` may be `time.time`."""

    async def main() -> None:
        exchange = SimulatedExchange(now=lambda: 1_800_000_000.0)
        async with virtual_session(exchange, now=lambda: 1_800_000_000.0) as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert report.attempts[0].started == datetime.fromtimestamp(1_800_000_000, UTC)

    run(main())


@pytest.mark.parametrize("stop_after", range(0, 40))
def test_a_call_cancelled_at_any_turn_leaks_nothing(stop_after: int) -> None:
    """`CancelledError` comes through from every await; tokens come back, the next call works."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.bad_gateway(contract_code=BTC)
        bucket = TokenBucket(2)
        htx = virtual_session(exchange, limiter=bucket)
        busy = [asyncio.ensure_future(htx.cancel_all_trailing(f"C{n}-USDT")) for n in range(3)]
        doomed = asyncio.ensure_future(htx.cancel_all_trailing(BTC))
        for _ in range(stop_after):
            await asyncio.sleep(0.03 if stop_after > 5 else 0)
        doomed.cancel()
        results = await asyncio.gather(doomed, *busy, return_exceptions=True)
        if stop_after < 20:
            assert isinstance(results[0], asyncio.CancelledError)
        assert not any(isinstance(result, Exception) for result in results)
        assert bucket.waiting(PATH) == 0
        await asyncio.sleep(1.01)
        assert bucket.earliest(PATH) == pytest.approx(now())
        start = now()
        await asyncio.gather(htx.cancel_all_trailing("X-USDT"), htx.cancel_all_trailing("Y-USDT"))
        assert now() - start < 0.1
        await htx.aclose()

    run(main())


def test_closing_ends_waiting_calls_not_sent_and_calls_on_the_wire_unknown() -> None:
    """Every call of a closed session has a true ending, and new ones are refused."""

    async def main() -> None:
        exchange = SimulatedExchange()
        htx = virtual_session(exchange, limiter=TokenBucket(1))
        on_the_wire = asyncio.ensure_future(htx.cancel_all_trailing("A-USDT"))
        waiting = asyncio.ensure_future(htx.cancel_all_trailing("B-USDT"))
        await asyncio.sleep(0.02)
        await htx.aclose()
        with pytest.raises(OutcomeUnknown, match="session was closed"):
            await on_the_wire
        with pytest.raises(NotSent, match="session was closed"):
            await waiting
        with pytest.raises(SessionClosed):
            await htx.cancel_all_trailing("C-USDT")
        with pytest.raises(SessionClosed):
            await htx.__aenter__()
        await htx.aclose()
        assert now() < 0.1

    run(main())


def test_sessions_of_one_account_share_one_limit() -> None:
    """Two sessions with one key, and one more under its account's name: still five."""

    async def main() -> None:
        exchange = SimulatedExchange()
        sessions = [virtual_session(exchange) for _ in range(2)]
        calls = [htx.cancel_all_trailing(f"C{n}-USDT") for n in range(10) for htx in sessions]
        await asyncio.gather(*calls)
        for htx in sessions:
            await htx.aclose()
        assert exchange.busiest() == 5
        assert {arrival.err_code for arrival in exchange.arrivals} == {1051}

    run(main())


def test_two_keys_of_one_account_share_its_limit_by_name() -> None:
    """The exchange counts per account: `account=` says which keys belong together."""

    async def main() -> None:
        first, second = SimulatedExchange(), SimulatedExchange()
        sessions = [virtual_session(exchange, account="desk-7") for exchange in (first, second)]
        await asyncio.gather(
            *(htx.cancel_all_trailing(f"C{n}-USDT") for n in range(5) for htx in sessions)
        )
        moments = sorted(a.at for exchange in (first, second) for a in exchange.arrivals)
        assert moments[5] - moments[4] > 0.9

    run(main())


@pytest.mark.parametrize("seed", range(100))
def test_every_report_is_true_to_the_book(seed: int) -> None:
    """Random faults over many contracts: no outcome is better than its evidence, no id invented,
    none lost without a word, and the limit holds."""
    chance = random.Random(seed)

    async def main() -> None:
        exchange = SimulatedExchange()
        contracts = [f"C{number}-USDT" for number in range(12)]
        placed = {code: set(exchange.place(code, "buy", "close", 3)) for code in contracts}
        for code in contracts:
            for _ in range(chance.randrange(3)):
                arm_one_fault(exchange, code, chance)
        policy = RetryPolicy(random=chance.random)
        latency = [0.0, 0.05, 0.4][seed % 3]
        async with virtual_session(
            exchange, lambda: chance.uniform(0, latency), retry=policy, deadline=20.0
        ) as htx:
            reports = await asyncio.gather(
                *(ending(htx.cancel_all_trailing(code)) for code in contracts)
            )
        for code, report in zip(contracts, reports, strict=True):
            still_open = {order.order_id for order in exchange.open_orders(code)}
            gone = placed[code] - still_open
            assert set(report.successes) <= gone
            if report.is_clear:
                assert not still_open
            if report.is_clear and report.ids_complete:
                assert set(report.successes) == gone
            if report.outcome in (Outcome.REFUSED, Outcome.NOT_SENT):
                assert not gone
            if report.outcome is Outcome.NOTHING_TO_CANCEL:
                assert not gone
        assert exchange.busiest() <= 5

    run(main())


def arm_one_fault(exchange: SimulatedExchange, code: str, chance: random.Random) -> None:
    """One misbehaviour for the next request of `code`."""
    faults: list[Callable[[], None]] = [
        lambda: exchange.lose_before_work(contract_code=code),
        lambda: exchange.lose_after_work(contract_code=code),
        lambda: exchange.bad_gateway(contract_code=code, after_work=chance.random() < 0.5),
        lambda: exchange.truncate(contract_code=code),
        lambda: exchange.malform(b"<html>", contract_code=code, after_work=True),
        lambda: exchange.late(chance.choice([0.5, 2.9, 4.0]), contract_code=code),
        lambda: exchange.refuse(chance.choice([1032, 1056, 1000, 1004, 1014]), contract_code=code),
        lambda: exchange.too_many(contract_code=code),
        lambda: exchange.maintain(contract_code=code),
    ]
    chance.choice(faults)()


def test_the_check_of_truth_can_fail() -> None:
    """The book and a report disagree when an order stays: the property above would see it."""

    async def main() -> None:
        exchange = SimulatedExchange()
        (order,) = exchange.place(BTC, "buy", "close")
        exchange.malform(
            b'{"status":"ok","data":{"errors":[],"successes":"%s"},"ts":1}' % order.encode()
        )
        async with virtual_session(exchange) as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert report.is_clear
        assert exchange.open_orders()

    run(main())


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("stale_code", [12001, 403])
def test_a_clock_that_is_off_by_an_hour_costs_one_request(
    hours: int, stale_code: Literal[12001, 403]
) -> None:
    """The refusal tells the exchange's time: the call is signed again with it and goes through,
    and later calls of the session are right at once."""

    async def main() -> None:
        wall = datetime(2026, 1, 1, 12, tzinfo=UTC)
        exchange = SimulatedExchange(now=lambda: wall.timestamp() + now(), stale_code=stale_code)
        exchange.place(BTC, "buy", "close", 2)

        def off() -> datetime:
            return wall + timedelta(hours=hours, seconds=now())

        async with virtual_session(exchange, now=off) as htx:
            report = await htx.cancel_all_trailing(BTC)
            assert report.outcome is Outcome.CANCELLED
            assert [a.code for a in report.attempts] == [stale_code, None]
            again = await htx.cancel_all_trailing(BTC)
            assert len(again.attempts) == 1
        assert len(exchange.arrivals) == 3
        started = again.attempts[0].started - wall
        assert started.total_seconds() == pytest.approx(report.elapsed, abs=0.1)

    run(main())


def test_a_clock_that_is_not_the_reason_is_named_all_the_same() -> None:
    """Refused again after the correction: the error tells the skew that was found."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.refuse(12001, times=2)
        async with virtual_session(exchange) as htx:
            with pytest.raises(AuthenticationFailed, match=r"clock is 0\.\d s off, which is not"):
                await htx.cancel_all_trailing(BTC)
        assert len(exchange.arrivals) == 2

    run(main())


def test_a_refused_key_with_a_clock_that_is_right_is_not_tried_again() -> None:
    """A 403 beside a good clock is about the key: one request, no second."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.refuse(403)
        async with virtual_session(exchange) as htx:
            with pytest.raises(AuthenticationFailed):
                await htx.cancel_all_trailing(BTC)
        assert len(exchange.arrivals) == 1

    run(main())


def test_without_a_time_in_the_reply_the_exchange_is_asked_for_it() -> None:
    """A 12001 without `ts`: one public call, then the command once more."""

    async def main() -> None:
        wall = datetime(2026, 1, 1, 12, tzinfo=UTC)
        exchange = SimulatedExchange(now=lambda: wall.timestamp() + now())
        exchange.malform(b'{"status":"error","err_code":12001,"err_msg":""}')

        def off() -> datetime:
            return wall + timedelta(hours=1, seconds=now())

        async with virtual_session(exchange, now=off) as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert report.is_clear
        paths = [arrival.path for arrival in exchange.arrivals]
        assert paths == [PATH, "/api/v1/timestamp", PATH]

    run(main())


def test_an_account_s_figure_in_the_headers_leaves_the_limit_as_it_is() -> None:
    """72 per 3 s is the account's: five a second stay in force."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.reply_headers = {"ratelimit-limit": "72", "ratelimit-interval": "3000"}
        async with virtual_session(exchange) as htx:
            reports = await asyncio.gather(
                *(htx.cancel_all_trailing(f"C{n}-USDT") for n in range(20))
            )
        assert exchange.busiest() == 5
        assert {attempt.limit for report in reports for attempt in report.attempts} == {None}

    run(main())


def test_a_slower_limit_in_the_headers_holds_at_once_and_is_on_the_report() -> None:
    """3 per second is kept from the first reply on that says so."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.reply_headers = {"ratelimit-limit": "3", "ratelimit-interval": "1000"}
        async with virtual_session(exchange) as htx:
            first = await htx.cancel_all_trailing("A-USDT")
            await asyncio.sleep(2.0)
            reports = await asyncio.gather(
                *(htx.cancel_all_trailing(f"C{n}-USDT") for n in range(12))
            )
        assert first.attempts[0].limit == (3, 1.0)
        assert exchange.busiest() == 3
        assert all(attempt.limit is None for r in reports for attempt in r.attempts)

    run(main())


def test_a_spent_window_pauses_the_endpoint_until_its_reset() -> None:
    """`ratelimit-remaining: 0` with a reset 3 s away: nothing goes before it, and it is told."""

    async def main() -> None:
        exchange = SimulatedExchange(now=lambda: 1_800_000_000.0 + now())
        async with virtual_session(exchange, now=lambda: 1_800_000_000.0 + now()) as htx:
            exchange.reply_headers = {
                "ratelimit-remaining": "0",
                "ratelimit-reset": str(1_800_000_003_000),
            }
            first = await htx.cancel_all_trailing(BTC)
            exchange.reply_headers = {}
            second = await htx.cancel_all_trailing(BTC)
        assert first.attempts[0].paused == pytest.approx(2.96, abs=0.01)
        assert second.attempts[0].waited == pytest.approx(2.96, abs=0.01)

    run(main())


@pytest.mark.parametrize(
    ("limit", "interval"), [("4", "900"), ("3", "700"), ("2", "500"), ("4.5", "1000")]
)
def test_a_header_with_a_short_interval_never_loosens_the_limit(limit: str, interval: str) -> None:
    """Fewer requests per less time: the documented second stays in force too."""

    async def main() -> None:
        exchange = SimulatedExchange(limit=1000)
        exchange.reply_headers = {"ratelimit-limit": limit, "ratelimit-interval": interval}
        async with virtual_session(exchange) as htx:
            await asyncio.gather(*(htx.cancel_all_trailing(f"C{n}-USDT") for n in range(22)))
        assert exchange.busiest() <= 5

    run(main())


@pytest.mark.parametrize("limit", ["5e-324", "1e-300", "0.001", "0"])
def test_an_absurd_limit_header_neither_loses_the_reply_nor_stops_the_account(limit: str) -> None:
    """The accepted command is reported, and the next call goes as before."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.reply_headers = {"ratelimit-limit": limit, "ratelimit-interval": "60000"}
        exchange.place(BTC, "buy", "close", 1)
        async with virtual_session(exchange) as htx:
            assert (await htx.cancel_all_trailing(BTC)).outcome is Outcome.CANCELLED
            assert (await htx.cancel_all_trailing(BTC, deadline=1.0)).is_clear

    run(main())


@pytest.mark.parametrize("stale_code", [12001, 403])
def test_concurrent_calls_with_a_clock_that_is_off_are_all_cured(
    stale_code: Literal[12001, 403],
) -> None:
    """Each is compared with the time that it was signed with, whoever corrected it first."""

    async def main() -> None:
        wall = datetime(2026, 1, 1, 12, tzinfo=UTC)
        exchange = SimulatedExchange(now=lambda: wall.timestamp() + now(), stale_code=stale_code)

        def off() -> datetime:
            return wall + timedelta(hours=1, seconds=now())

        async with virtual_session(exchange, now=off) as htx:
            reports = await asyncio.gather(
                *(htx.cancel_all_trailing(f"C{n}-USDT") for n in range(5))
            )
        assert [len(report.attempts) for report in reports] == [2] * 5
        assert {report.ended_by for report in reports} == {""}

    run(main())


@pytest.mark.parametrize("ts", [999_999_999_999_999, 0, -1])
def test_an_impossible_time_in_a_reply_does_not_set_the_clock(ts: int) -> None:
    """The exchange's public clock is asked instead, and the session goes on."""

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.malform(b'{"status":"error","err_code":12001,"err_msg":"x","ts":%d}' % ts)
        async with virtual_session(exchange) as htx:
            assert (await htx.cancel_all_trailing(BTC)).is_clear
            assert (await htx.cancel_all_trailing(BTC)).is_clear

    run(main())


def test_a_report_asked_for_in_the_middle_changes_nothing() -> None:
    """Between the correction of a clock and the second try, an account is only an account."""

    async def main() -> None:
        wall = datetime(2026, 1, 1, 12, tzinfo=UTC)
        exchange = SimulatedExchange(now=lambda: wall.timestamp() + now())

        def off() -> datetime:
            return wall + timedelta(hours=1, seconds=now())

        async def guarded(guard: CancelGuard) -> None:
            async with guard:
                pass

        async with virtual_session(exchange, now=off, limiter=TokenBucket(1)) as htx:
            guard = htx.cancel_on_exit([BTC])
            call = asyncio.ensure_future(guarded(guard))
            for at, outcome in ((0.5, Outcome.REFUSED), (1.12, Outcome.UNKNOWN)):
                await asyncio.sleep(at - now())
                assert guard.report is not None
                (asked,) = guard.report.reports
                assert (asked.outcome, asked.ended_by) == (outcome, "")
            await call
        assert guard.report is not None
        (report,) = guard.report.reports
        assert report.outcome is Outcome.NOTHING_TO_CANCEL
        assert report.ended_by == ""

    run(main())


def test_closing_in_the_turn_of_a_grant_sends_nothing() -> None:
    """A call that was waiting for a token ends `NotSent`, though the token had just come."""

    async def main() -> None:
        exchange = SimulatedExchange()
        bucket = TokenBucket(1)
        htx = virtual_session(exchange, limiter=bucket)
        async with bucket.take(PATH) as lease:
            call = asyncio.ensure_future(htx.cancel_all_trailing(BTC))
            await turns(3)
            lease.not_sent()
            await htx.aclose()
        with pytest.raises(NotSent, match="closed"):
            await call
        assert not exchange.arrivals

    run(main())


@pytest.mark.parametrize("what", ["pause", "tighten"])
def test_whatever_moves_a_turn_past_its_deadline_ends_the_waiting_call(what: str) -> None:
    """A pause or a slower limit from elsewhere is felt at once, each by its own place."""

    async def main() -> None:
        exchange = SimulatedExchange()
        bucket = TokenBucket(1)
        async with virtual_session(exchange, limiter=bucket) as htx:
            calls = [
                asyncio.ensure_future(ending(htx.cancel_all_trailing(f"C{n}-USDT", deadline=5.0)))
                for n in range(4)
            ]
            await asyncio.sleep(0.01)
            if what == "pause":
                bucket.pause(PATH, 3.5)
            else:
                bucket.tighten(PATH, 1, 2.0)
                # One reply alone may be a mistake.
                bucket.tighten(PATH, 1, 2.0)
            await asyncio.sleep(0.01)
            assert [call.done() for call in calls] == [False, False, False, True]
            reports = await asyncio.gather(*calls)
        assert reports[3].outcome is Outcome.NOT_SENT
        assert "turn comes in" in reports[3].message

    run(main())


def test_a_session_belongs_to_one_event_loop() -> None:
    """Using it from another loop is a typed error that says what to do."""
    htx: list[HtxSession] = []

    async def first() -> None:
        htx.append(virtual_session(SimulatedExchange()))
        await htx[0].cancel_all_trailing(BTC)

    async def second() -> None:
        with pytest.raises(ValueError, match="another event loop"):
            await htx[0].cancel_all_trailing(BTC)

    run(first())
    run(second())


class Overtaken(TokenBucket):
    """Tells a turn that is over by the time that anybody reads it."""

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float:
        return now() + 1e-9


async def test_no_time_that_is_told_is_negative() -> None:
    """A turn between the deadline and now is 0.00 s away, never -0.00 s."""
    async with virtual_session(SimulatedExchange(), limiter=Overtaken()) as htx:
        for _ in range(20):
            with pytest.raises(NotSent) as caught:
                await htx.cancel_all_trailing(BTC, deadline=1e-12)
            assert "Its turn comes in 0.00 s at the earliest" in str(caught.value)
            assert "-0.00" not in str(caught.value)
