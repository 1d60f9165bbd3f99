"""Slower limits that a reply names: believed for a minute, and never the end of urgent calls."""

import asyncio
import itertools
import random
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import pytest

from htx_async import (
    CancelReport,
    HtxSession,
    MassCancelFailed,
    MassCancelReport,
    NotSent,
    Outcome,
    TokenBucket,
)
from htx_async.events import Event, LimitChanged
from htx_async.exchange.messages import Answer, SignedRequest
from htx_async.limits.account_limiter import AccountLimiter
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import (
    Outage,
    VirtualSending,
    VirtualTransport,
    run,
    transport_of,
    virtual_session,
)

pytestmark = pytest.mark.usefixtures("tasks")

PATH = "/linear-swap-api/v1/swap_track_cancelall"
ONE_A_MINUTE = {"ratelimit-limit": "1", "ratelimit-interval": "60000"}
DOCUMENTED = {"ratelimit-limit": "5", "ratelimit-interval": "1000"}
ACCOUNT = {"ratelimit-limit": "72", "ratelimit-interval": "3000"}
LONG = 300.0

Make = Callable[[], TokenBucket]


def now() -> float:
    return asyncio.get_running_loop().time()


async def use(bucket: TokenBucket, *, urgent: bool = False) -> float:
    async with bucket.take(PATH, urgent=urgent):
        return now()


async def granted(bucket: TokenBucket, count: int, *, urgent: bool = False) -> list[float]:
    """Seconds from now at which so many callers have their turns."""
    start = now()
    return [at - start for at in await asyncio.gather(
        *(use(bucket, urgent=urgent) for _ in range(count))
    )]  # fmt: skip


def gaps(moments: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(sorted(moments))]


async def odd_once(exchange: SimulatedExchange, htx: HtxSession, odd: dict[str, str]) -> None:
    """One reply names the limit `odd`, the later ones what they always do."""
    usual, exchange.reply_headers = exchange.reply_headers, odd
    await htx.cancel_all_trailing("ODD-USDT")
    exchange.reply_headers = usual


@pytest.mark.parametrize("make", [TokenBucket, AccountLimiter])
def test_one_odd_header_is_believed_for_a_minute(make: Make) -> None:
    """No later reply names it again: after sixty seconds five a second are back, also for those
    who wait already."""

    async def main() -> None:
        bucket = make()
        await use(bucket)
        assert bucket.tighten(PATH, 1, 60.0) == (1, 60.0)
        assert await granted(bucket, 6) == pytest.approx([60.0] * 5 + [61.002], abs=0.01)

    run(main())


def test_replies_that_repeat_it_keep_it_in_force() -> None:
    """A minute from each of them."""

    async def main() -> None:
        bucket = TokenBucket()
        assert bucket.tighten(PATH, 1, 2.0) == (1, 2.0)
        for _ in range(5):
            await asyncio.sleep(50.0)
            assert bucket.tighten(PATH, 1, 2.0) is None
            assert await granted(bucket, 3) == pytest.approx([0, 2.002, 4.004], abs=0.01)
        await asyncio.sleep(60.0)
        assert await granted(bucket, 3) == pytest.approx([0, 0, 0], abs=0.01)

    run(main())


@pytest.mark.parametrize("make", [TokenBucket, AccountLimiter])
@pytest.mark.parametrize(("requests", "seconds"), [(5, 1.0), (10, 2.0)])
def test_a_reply_that_names_the_documented_limit_undoes_it(
    make: Make, requests: float, seconds: float
) -> None:
    """At once, for those who wait too, who keep five in any second all the same."""

    async def main() -> None:
        bucket = make()
        await granted(bucket, 5)
        bucket.tighten(PATH, 1, 60.0)
        waiting = asyncio.create_task(granted(bucket, 6))
        await asyncio.sleep(0.5)
        assert bucket.tighten(PATH, requests, seconds) == (5, 1.0)
        assert bucket.tighten(PATH, requests, seconds) is None
        assert await waiting == pytest.approx([1.002] * 5 + [2.004], abs=0.01)

    run(main())


def test_the_account_s_figure_does_not_undo_it() -> None:
    """72 per 3 s is said of the account, so it says nothing of the endpoint; nor does 4 a second
    undo 3."""

    async def main() -> None:
        bucket = TokenBucket()
        assert bucket.tighten(PATH, 3, 1.0) == (3, 1.0)
        assert bucket.tighten(PATH, 72, 3.0) is None
        assert bucket.tighten(PATH, 4, 1.0) is None
        assert await granted(bucket, 4) == pytest.approx([0, 0, 0, 1.002], abs=0.01)
        assert bucket.tighten(PATH, 2, 1.0) == (2, 1.0)

    run(main())


def test_a_share_of_the_limit_is_given_back_by_the_documented_figure() -> None:
    """One of several processes, with two of the five: the exchange never names two."""

    async def main() -> None:
        bucket = TokenBucket(2)
        assert bucket.tighten(PATH, 1, 1.0) == (1, 1.0)
        assert bucket.tighten(PATH, 5, 1.0) == (2, 1.0)

    run(main())


@pytest.mark.parametrize("make", [TokenBucket, AccountLimiter])
@pytest.mark.parametrize(("requests", "seconds"), [(1, 60.0), (1, 5.0), (2, 30.0), (4, 3.0)])
def test_urgent_callers_together_keep_one_a_second(
    make: Make, requests: float, seconds: float
) -> None:
    """However slow the limit; ordinary ones keep to it, also with what the urgent ones used."""

    async def main() -> None:
        bucket = make()
        await use(bucket)
        bucket.tighten(PATH, requests, seconds)
        ordinary = asyncio.create_task(granted(bucket, 3))
        await asyncio.sleep(0.01)
        first = bucket.earliest(PATH, urgent=True)
        urgent = await granted(bucket, 12, urgent=True)
        assert max(urgent) <= 12.01
        assert first <= min(urgent) + 0.02
        if requests == 1 and seconds == 60:
            assert min(gaps(urgent)) >= 0.999
        assert sum(at < 0.5 for at in await ordinary) < max(requests, 1)

    run(main())


def test_a_limit_of_one_a_second_or_more_binds_urgent_callers_too() -> None:
    """Three a second are three a second."""

    async def main() -> None:
        bucket = TokenBucket()
        bucket.tighten(PATH, 3, 1.0)
        ordinary = asyncio.create_task(granted(bucket, 3))
        await asyncio.sleep(0.01)
        assert min(await granted(bucket, 2, urgent=True)) == pytest.approx(0.992, abs=0.01)
        await ordinary

    run(main())


def test_an_urgent_mass_cancel_is_not_held_at_one_a_minute() -> None:
    """Ten contracts in ten seconds or so, though every reply names one a minute."""

    async def main() -> None:
        exchange = SimulatedExchange(reply_headers=ONE_A_MINUTE)
        async with virtual_session(exchange) as htx:
            await htx.cancel_all_trailing("ODD-USDT")
            start = now()
            codes = [f"U{number}-USDT" for number in range(10)]
            report = await htx.mass_cancel_trailing(codes, urgent=True, deadline=20.0)
            assert report.is_clear
            assert now() - start < 11.5
        assert exchange.busiest() <= 2

    run(main())


@pytest.mark.parametrize("usual", [{}, ACCOUNT])
def test_a_session_is_back_after_a_minute(usual: dict[str, str]) -> None:
    """What one odd reply did is over, though no other ever named the endpoint's own limit."""

    async def main() -> None:
        exchange = SimulatedExchange(limit=1000, reply_headers=ACCOUNT)
        exchange.reply_headers = {**ACCOUNT, **usual}
        async with virtual_session(exchange) as htx:
            await odd_once(exchange, htx, {**ACCOUNT, **ONE_A_MINUTE})
            await asyncio.sleep(61.0)
            start = now()
            calls = (htx.cancel_all_trailing(f"C{n}-USDT", deadline=2.0) for n in range(10))
            assert all(one.is_clear for one in await asyncio.gather(*calls))
            assert now() - start < 1.2

    run(main())


def test_the_next_usual_reply_undoes_an_odd_one_and_is_told() -> None:
    """On the attempt and as an event, with the limit that holds again."""

    async def main() -> None:
        events: list[Event] = []
        exchange = SimulatedExchange()
        async with virtual_session(exchange, on_event=events.append) as htx:
            await odd_once(exchange, htx, {"ratelimit-limit": "1", "ratelimit-interval": "4000"})
            report = await htx.cancel_all_trailing("A-USDT")
            assert report.attempts[0].limit == (5, 1.0)
            calls = (htx.cancel_all_trailing(f"C{n}-USDT") for n in range(4))
            reports = await asyncio.gather(*calls)
            assert {attempt.limit for one in reports for attempt in one.attempts} == {None}
        told = [(e.requests, e.seconds) for e in events if isinstance(e, LimitChanged)]
        assert told == [(1, 4.0), (5, 1.0)]

    run(main())


def test_that_it_has_run_out_is_told_with_the_next_reply() -> None:
    """Once, though that reply names the account's figure only."""

    async def main() -> None:
        events: list[Event] = []
        exchange = SimulatedExchange(reply_headers=ACCOUNT)
        async with virtual_session(exchange, on_event=events.append) as htx:
            await odd_once(exchange, htx, ONE_A_MINUTE)
            await asyncio.sleep(61.0)
            for expected in ((5, 1.0), None):
                report = await htx.cancel_all_trailing("A-USDT")
                assert report.attempts[0].limit == expected
        told = [(e.requests, e.seconds) for e in events if isinstance(e, LimitChanged)]
        assert told == [(1, 60.0), (5, 1.0)]

    run(main())


@pytest.mark.parametrize("seed", range(30))
def test_whatever_limits_are_named_the_own_one_holds_and_all_is_back_in_the_end(seed: int) -> None:
    """Random figures, repeated, undone or run out, with urgent callers, failures and cancellations:
    five in any second at most, urgent callers never wait for long, and after a quiet minute
    five go at once."""
    chance = random.Random(seed)

    async def caller(bucket: TokenBucket, urgent: bool, moments: list[float]) -> float:
        asked = now()
        try:
            async with bucket.take(PATH, urgent=urgent):
                moments.append(now())
                await asyncio.sleep(chance.choice([0.0, 0.05, 0.4]))
                if chance.random() < 0.2:
                    raise ConnectionError
        except ConnectionError:
            pass
        return now() - asked

    async def main() -> None:
        bucket, moments, urgent = TokenBucket(), list[float](), list[asyncio.Task[Any]]()
        tasks = list[asyncio.Task[Any]]()
        for _ in range(60):
            await asyncio.sleep(chance.choice([0.0, 0.2, 1.0, 3.0]))
            if chance.random() < 0.3:
                named = [(1, 60.0), (1, 3.0), (3, 1.0), (0.5, 1.0), (5, 1.0), (72, 3.0)]
                bucket.tighten(PATH, *chance.choice(named))
            is_urgent = chance.random() < 0.3 and sum(not one.done() for one in urgent) < 3
            task = asyncio.create_task(caller(bucket, is_urgent, moments))
            (urgent if is_urgent else tasks).append(task)
            if chance.random() < 0.1 and not is_urgent:
                asyncio.get_running_loop().call_later(chance.uniform(0, 2), task.cancel)
        assert max(await asyncio.gather(*urgent), default=0.0) < 3 * 1.41 + 0.1
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LONG)
        for first, last in zip(moments, moments[5:], strict=False):
            assert last - first >= 1.0
        await asyncio.sleep(62.0)
        assert await granted(bucket, 5) == pytest.approx([0] * 5, abs=0.01)

    run(main())


def test_what_it_does_to_a_turn_is_foreseen() -> None:
    """A call that cannot come in time is told at once; one that is urgent can."""

    async def main() -> None:
        bucket = TokenBucket()
        await use(bucket)
        bucket.tighten(PATH, 1, 60.0)
        assert bucket.earliest(PATH) - now() == pytest.approx(60.0, abs=0.01)
        assert bucket.earliest(PATH, urgent=True) - now() == pytest.approx(1.0, abs=0.01)
        assert bucket.foresee(PATH, 4, urgent=True) - now() == pytest.approx(4.0, abs=0.01)

    run(main())


def test_it_comes_along_to_the_next_loop() -> None:
    """A minute is a minute, whatever loops come and go."""
    bucket = TokenBucket()

    async def first() -> None:
        await use(bucket)
        bucket.tighten(PATH, 1, 60.0)

    async def second() -> None:
        assert bucket.earliest(PATH) - now() > 59.0
        await asyncio.sleep(61.0)
        assert await granted(bucket, 3) == pytest.approx([0, 0, 0], abs=0.01)

    run(first())
    run(second())


def test_a_report_is_of_the_usual_kind() -> None:
    """A slower limit changes when a call goes, not what it comes to."""

    async def main() -> None:
        exchange = SimulatedExchange(reply_headers=ONE_A_MINUTE)
        async with virtual_session(exchange) as htx:
            report = await htx.cancel_all_trailing("A-USDT")
        assert isinstance(report, CancelReport)
        assert report.attempts[0].limit == (1, 60.0)

    run(main())


class OddSending(VirtualSending):
    """Of the replies those with the numbers `odd` name one a minute, the others five a second."""

    def __init__(
        self,
        transport: VirtualTransport,
        request: SignedRequest,
        numbers: Iterator[int],
        odd: Container[int],
    ) -> None:
        super().__init__(transport, request)
        self._numbers = numbers
        self._odd = odd

    async def _exchange(self) -> Answer:
        answer = await super()._exchange()
        headers = ONE_A_MINUTE if next(self._numbers) in self._odd else DOCUMENTED
        return answer._replace(headers={**answer.headers, **headers})


def meets(htx: HtxSession, *odd: int) -> None:
    """The session's replies of these numbers are odd."""
    transport, numbers = transport_of(htx), itertools.count(1)
    transport.prepare = lambda request: OddSending(transport, request, numbers, odd)  # type: ignore[method-assign]  # the seam


def with_orders(count: int) -> tuple[SimulatedExchange, list[str]]:
    exchange, codes = SimulatedExchange(), [f"C{number}-USDT" for number in range(count)]
    for code in codes:
        exchange.place(code, "sell", "close", 1)
    return exchange, codes


async def carried(htx: HtxSession, codes: Sequence[str], kind: str) -> MassCancelReport:
    if kind == "guard":
        async with htx.cancel_on_exit(codes) as guard:
            pass
        assert guard.report is not None
        return guard.report
    settings = {"own": {"deadline": 250.0}, "until clear": {"until_clear": True}}.get(kind, {})
    return await htx.mass_cancel_trailing(codes, **settings)  # type: ignore[arg-type]  # chosen


@pytest.mark.parametrize("kind", ["default", "guard", "until clear", "own"])
@pytest.mark.parametrize("odd", [(1,), (5,), (12,), (2, 14), (5, 10, 35)])
def test_one_odd_reply_ends_no_call(kind: str, odd: tuple[int, ...]) -> None:
    """Whichever of the replies it is: a default deadline makes room for the minute, and a caller's
    own is waited for. Whatever undoes it lets all contracts go on."""

    async def main() -> None:
        exchange, codes = with_orders(40)
        async with virtual_session(exchange) as htx:
            meets(htx, *odd)
            report = await carried(htx, codes, kind)
        assert report.is_clear, report.outcomes
        assert not exchange.open_orders()
        assert exchange.busiest() <= 5

    run(main())


def test_it_ends_no_call_of_another_session_either() -> None:
    """The one that was told is not the only one that waits."""

    async def main() -> None:
        exchange, codes = with_orders(40)
        async with virtual_session(exchange) as one, virtual_session(exchange) as other:
            meets(one, 5)
            halves = (codes[:20], codes[20:])
            works = zip((one, other), halves, strict=True)
            both = await asyncio.gather(*(htx.mass_cancel_trailing(each) for htx, each in works))
        assert all(report.is_clear for report in both)

    run(main())


def test_a_call_alone_has_the_time_as_well() -> None:
    """Its default deadline moves, whether it waits already or begins now; a caller's own comes
    when it comes."""

    async def main() -> None:
        exchange = SimulatedExchange(reply_headers=ACCOUNT)
        bucket = TokenBucket(1)
        async with virtual_session(exchange, limiter=bucket) as htx:
            calls = [asyncio.ensure_future(htx.cancel_all_trailing(f"C{n}-USDT")) for n in range(3)]
            own = asyncio.ensure_future(htx.cancel_all_trailing("OWN-USDT", deadline=9.0))
            await asyncio.sleep(0.01)
            bucket.tighten(PATH, 1, 60.0)
            calls.append(asyncio.ensure_future(htx.cancel_all_trailing("LATE-USDT")))
            with pytest.raises(NotSent):
                await own
            assert now() == pytest.approx(9.0, abs=0.01)
            assert all(report.is_clear for report in await asyncio.gather(*calls))

    run(main())


def test_a_limit_that_is_repeated_ends_what_cannot_come_in_time() -> None:
    """At once, for a deadline of the caller's own; a guard goes on to its end."""

    async def main() -> None:
        exchange, codes = with_orders(10)
        exchange.reply_headers = ACCOUNT
        bucket = TokenBucket(1)
        async with virtual_session(exchange, limiter=bucket) as htx:
            call = asyncio.ensure_future(htx.mass_cancel_trailing(codes, deadline=15.0))
            await asyncio.sleep(0.01)
            bucket.tighten(PATH, 1, 60.0)
            await asyncio.sleep(0.01)
            bucket.tighten(PATH, 1, 60.0)
            report = await call
            assert report.outcomes[Outcome.NOT_SENT] == 9
            assert now() < 1.0
            guard = htx.cancel_on_exit(codes[1:], deadline=5.0)
            with pytest.raises(MassCancelFailed):
                async with guard:
                    pass
            assert now() == pytest.approx(5.1, abs=0.1)

    run(main())


def test_a_default_deadline_moves_with_each_reply_that_repeats_it() -> None:
    """One a minute for good: each contract is cancelled, a minute after the other; and when nobody
    answers any more the call ends within the minute and its own time."""

    async def main() -> None:
        exchange, codes = with_orders(5)
        exchange.reply_headers = ONE_A_MINUTE
        async with virtual_session(exchange, limiter=TokenBucket(1)) as htx:
            report = await htx.mass_cancel_trailing(codes)
            assert report.is_clear
            assert now() > 230.0
            since = now()
            transport_of(htx).outages = [Outage("refusing")]
            ends = await htx.mass_cancel_trailing(codes)
            assert not ends.is_clear
            assert now() - since < 400.0

    run(main())
