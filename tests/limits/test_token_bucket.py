"""The token bucket, in virtual time."""

import asyncio
import gc
import math
import random
import time
import tracemalloc
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest

from htx_async import InvalidRequest, TokenBucket
from htx_async.exchange.headers import LONGEST_PAUSE
from htx_async.simulator import SimulatedExchange
from tests.support.paths import PACKAGE
from tests.support.stalls import stall
from tests.support.tokens import HOLD, busiest, now, queue_up
from tests.support.virtual import VirtualLoop, run, virtual_session

pytestmark = pytest.mark.usefixtures("tasks")

PATH = "/linear-swap-api/v1/swap_track_cancelall"


async def use(bucket: TokenBucket, takes: float = 0.0, *, urgent: bool = False) -> float:
    """Hold a token for `takes` seconds; the loop time at which it was granted."""
    async with bucket.take(PATH, urgent=urgent):
        granted = now()
        if takes:
            await asyncio.sleep(takes)
    return granted


def test_a_full_bucket_grants_its_size_at_once_and_the_rest_one_hold_later() -> None:
    """Five go at once; the sixth goes `per` plus the margin after the first answer."""

    async def main() -> list[float]:
        bucket = TokenBucket()
        return await asyncio.gather(*(use(bucket, 0.1) for _ in range(11)))

    granted = run(main())
    assert granted[:5] == pytest.approx([0] * 5, abs=1e-3)
    assert granted[5:10] == pytest.approx([0.1 + HOLD] * 5, abs=1e-3)
    assert granted[10] == pytest.approx(2 * (0.1 + HOLD), abs=1e-3)


@pytest.mark.parametrize("seed", range(40))
def test_no_second_at_the_exchange_holds_more_than_five(seed: int) -> None:
    """Whatever uplink, downlink, pauses and order of arrival, any window of `per` holds `size`."""
    chance = random.Random(seed)
    size, arrivals = chance.choice([1, 2, 5]), list[float]()
    draw: Callable[[], float] = chance.choice(
        [
            lambda: 0.0,
            lambda: chance.uniform(0, 0.05),
            lambda: chance.expovariate(4),
            lambda: chance.choice([0.0, 0.9, 2.7]),
        ]
    )

    async def request(bucket: TokenBucket) -> None:
        async with bucket.take(PATH, urgent=chance.random() < 0.2):
            await asyncio.sleep(draw())
            arrivals.append(now())
            await asyncio.sleep(draw())

    async def main() -> None:
        bucket = TokenBucket(size)
        tasks = []
        for _ in range(80):
            tasks.append(asyncio.ensure_future(request(bucket)))
            if chance.random() < 0.3:
                await asyncio.sleep(chance.uniform(0, 0.5))
            if chance.random() < 0.05:
                bucket.pause(PATH, chance.uniform(0, 2))
        await asyncio.gather(*tasks)

    run(main())
    assert len(arrivals) == 80
    assert busiest(arrivals) <= size


def test_a_send_keyed_bucket_fails_where_this_one_holds() -> None:
    """The check above can fail: sends spaced one window apart arrive six to a window."""
    sends = [index // 5 * 1.0 for index in range(10)]
    arrivals = [moment + (0.05 if index < 5 else 0.0) for index, moment in enumerate(sends)]
    assert busiest(arrivals) > 5


def test_waiters_go_first_in_first_out() -> None:
    """Equals are served in the order in which they asked."""
    order: list[int] = []

    async def main() -> None:
        bucket = TokenBucket(2)

        async def one(index: int) -> None:
            async with bucket.take(PATH):
                order.append(index)

        await asyncio.gather(*(one(index) for index in range(30)))

    run(main())
    assert order == list(range(30))


def test_urgent_waiters_go_before_all_others() -> None:
    """An urgent caller that comes last gets the next free token."""
    order: list[str] = []

    async def main() -> None:
        bucket = TokenBucket(1)

        async def one(name: str, urgent: bool) -> None:
            async with bucket.take(PATH, urgent=urgent):
                order.append(name)

        ordinary = [asyncio.ensure_future(one(f"o{index}", False)) for index in range(3)]
        await queue_up(3)
        urgent = [asyncio.ensure_future(one(f"u{index}", True)) for index in range(2)]
        await asyncio.gather(*ordinary, *urgent)

    run(main())
    assert order == ["o0", "u0", "u1", "o1", "o2"]


def test_a_caller_is_ordinary_unless_it_says_otherwise() -> None:
    """Whoever does not say `urgent` stands behind those who do, and is told so."""
    order: list[str] = []

    async def plain(bucket: TokenBucket) -> None:
        async with bucket.take(PATH):
            order.append("plain")

    async def urgent(bucket: TokenBucket) -> None:
        async with bucket.take(PATH, urgent=True):
            order.append("urgent")

    async def main() -> None:
        bucket = TokenBucket(1)
        async with bucket.take(PATH):
            tasks = [asyncio.ensure_future(one(bucket)) for one in (plain, plain, urgent)]
            await queue_up(3)
            assert bucket.earliest(PATH) == bucket.earliest(PATH, urgent=False)
            assert bucket.foresee(PATH, 2) == bucket.foresee(PATH, 2, urgent=False)
            turns = [bucket.earliest(PATH, urgent=flag) - now() for flag in (True, False)]
            assert turns == pytest.approx([2 * HOLD, 4 * HOLD], abs=1e-3)
        await asyncio.gather(*tasks)

    run(main())
    assert order == ["urgent", "plain", "plain"]


def test_endpoints_do_not_share_tokens() -> None:
    """Each endpoint has a bucket of its own."""

    async def main() -> float:
        bucket = TokenBucket(1)
        async with bucket.take("/a"), bucket.take("/b"):
            return now()

    assert run(main()) < 0.01


def test_cancelled_waiters_leave_their_place_to_the_rest() -> None:
    """20 queued, 15 cancelled: the other five are done with the tokens that are there."""

    async def main() -> float:
        bucket = TokenBucket()
        tasks = [asyncio.ensure_future(use(bucket, 0.05)) for _ in range(20)]
        await queue_up(20)
        for task in tasks[:15]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert bucket.waiting(PATH) == 0
        return now()

    assert run(main()) <= 1.2


def test_a_waiter_cancelled_after_it_was_woken_gives_its_token_back() -> None:
    """No token is lost between the grant and the waiter's next step."""

    async def main() -> float:
        bucket = TokenBucket(1)
        async with bucket.take(PATH) as lease:
            woken = asyncio.ensure_future(use(bucket))
            next_one = asyncio.ensure_future(use(bucket))
            await queue_up(2)
            lease.not_sent()
            woken.cancel()
            with pytest.raises(asyncio.CancelledError):
                await woken
            return await next_one

    assert run(main()) < 0.01


def test_a_token_that_was_not_used_comes_back_at_once() -> None:
    """`not_sent` gives the token to the next waiter without a hold, and only once."""

    async def main() -> list[float]:
        bucket = TokenBucket(1)
        async with bucket.take(PATH) as lease:
            lease.not_sent()
            lease.not_sent()
        return list(await asyncio.gather(use(bucket), use(bucket)))

    first, second = run(main())
    assert first < 0.01
    assert second == pytest.approx(HOLD, abs=1e-3)


def test_outside_its_block_a_lease_gives_nothing_back() -> None:
    """Neither before the token was taken nor after it was answered is there one to return."""

    async def main() -> list[float]:
        bucket = TokenBucket(1)
        lease = bucket.take(PATH)
        lease.not_sent()
        async with lease:
            waiting = asyncio.ensure_future(use(bucket))
            await queue_up(1)
            assert not waiting.done()
        lease.not_sent()
        return [await waiting, await use(bucket)]

    assert run(main()) == pytest.approx([HOLD, 2 * HOLD], abs=1e-3)


@pytest.mark.parametrize(("fails", "hold"), [(False, 0.702), (True, 1.002)])
def test_a_round_trip_floor_shortens_the_hold_after_an_answer_only(
    fails: bool, hold: float
) -> None:
    """After a failure the arrival may still lie ahead, so the floor proves nothing."""

    async def main() -> float:
        bucket = TokenBucket(1, round_trip_floor=0.3)
        try:
            async with bucket.take(PATH):
                if fails:
                    raise ConnectionError
        except ConnectionError:
            pass
        return await use(bucket)

    assert run(main()) == pytest.approx(hold, abs=1e-3)


def test_an_answer_may_bring_a_token_sooner_than_an_earlier_failure() -> None:
    """With a floor the next turn moves forward: the timer that was set for the failure is not
    waited for."""

    async def main() -> list[float]:
        bucket = TokenBucket(2, round_trip_floor=0.6)
        with pytest.raises(ConnectionError):
            async with bucket.take(PATH):
                raise ConnectionError
        async with bucket.take(PATH):
            waiting = [asyncio.ensure_future(use(bucket)) for _ in range(2)]
            await queue_up(2)
        return list(await asyncio.gather(*waiting))

    assert run(main()) == pytest.approx([0.402, 0.804], abs=1e-3)


def test_a_token_due_within_a_microsecond_is_due() -> None:
    """A clock that stops just short of the moment would otherwise spin there for ever."""

    async def main() -> None:
        bucket = TokenBucket(1)
        await use(bucket)
        stall(bucket.earliest(PATH) - 5e-7 - now())
        short_of_it = now()
        assert await use(bucket) == short_of_it
        bucket.pause(PATH, 3.0)
        stall(3.0 - 5e-7)
        short_of_it = now()
        assert await use(bucket) == short_of_it

    run(main())


def test_a_newcomer_does_not_overtake_after_the_loop_was_blocked() -> None:
    """Tokens that came back while the loop stood still belong to those who wait."""
    order: list[str] = []

    async def one(bucket: TokenBucket, name: str) -> None:
        async with bucket.take(PATH):
            order.append(name)

    async def main() -> None:
        bucket = TokenBucket(1)
        await use(bucket)
        waiting = asyncio.ensure_future(one(bucket, "waiting"))
        await queue_up(1)
        stall(5.0)
        await one(bucket, "newcomer")
        await waiting

    run(main())
    assert order == ["waiting", "newcomer"]


def test_a_pause_holds_everyone_and_a_shorter_one_does_not_end_it() -> None:
    """Nothing passes while an endpoint is paused, though tokens are free."""

    async def main() -> list[float]:
        bucket = TokenBucket()
        bucket.pause(PATH, 2.0)
        waiting = [asyncio.ensure_future(use(bucket)) for _ in range(2)]
        await queue_up(2)
        bucket.pause(PATH, 0.5)
        return await asyncio.gather(*waiting, use(bucket, urgent=True))

    assert run(main()) == pytest.approx([2.0] * 3, abs=1e-3)


@pytest.mark.parametrize("queued", [0, 1, 4, 5, 7, 23])
@pytest.mark.parametrize("urgent", [False, True])
def test_earliest_is_when_the_turn_comes_if_every_answer_comes_at_once(
    queued: int, urgent: bool
) -> None:
    """The promise for the next caller is kept to the millisecond when nothing is slow."""

    async def main() -> tuple[float, float]:
        bucket = TokenBucket()
        others = [asyncio.ensure_future(use(bucket)) for _ in range(queued)]
        await queue_up(queued)
        promised = bucket.earliest(PATH, urgent=urgent)
        granted = await use(bucket, urgent=urgent)
        await asyncio.gather(*others)
        return promised, granted

    promised, granted = run(main())
    assert granted == pytest.approx(promised, abs=2e-3)


def test_a_pause_that_ends_before_a_used_token_is_back_keeps_no_idle_token_back() -> None:
    """Four tokens are idle when a pause of a quarter of a second ends: the next caller goes then,
    as `earliest` had promised."""

    async def main() -> tuple[float, float]:
        bucket = TokenBucket()
        await use(bucket)
        bucket.pause(PATH, 0.25)
        return bucket.earliest(PATH), await use(bucket)

    promised, granted = run(main())
    assert promised == pytest.approx(0.25, abs=1e-3)
    assert granted == pytest.approx(promised, abs=1e-3)


def test_earliest_counts_a_pause_and_tokens_in_use() -> None:
    """A paused or busy endpoint is not promised sooner than it can be free."""

    async def main() -> None:
        bucket = TokenBucket(1)
        assert bucket.earliest(PATH) == pytest.approx(now())
        async with bucket.take(PATH):
            assert bucket.earliest(PATH) == pytest.approx(now() + HOLD, abs=1e-3)
            bucket.pause(PATH, 5.0)
            assert bucket.earliest(PATH) == pytest.approx(now() + 5.0, abs=1e-3)

    run(main())


@pytest.mark.parametrize(
    ("count", "round_trip", "expected"),
    [(1, 0.0, 0.0), (2, 0.0, 0.0), (3, 0.0, HOLD), (3, 0.5, HOLD + 0.5), (6, 0.25, 2 * HOLD + 0.5)],
)
def test_what_is_foreseen_for_many_counts_their_round_trips(
    count: int, round_trip: float, expected: float
) -> None:
    """The last of `count` callers goes when those before it were sent, answered and held."""

    async def main() -> None:
        bucket = TokenBucket(2)
        foreseen = bucket.foresee(PATH, count, round_trip=round_trip)
        assert foreseen - now() == pytest.approx(expected, abs=1e-3)
        if not round_trip:
            assert bucket.foresee(PATH, count) == foreseen
        granted = await asyncio.gather(*(use(bucket, round_trip) for _ in range(count)))
        assert granted[-1] == pytest.approx(foreseen, abs=1e-3)

    run(main())


def test_what_is_foreseen_is_of_ones_own_endpoint_and_urgency() -> None:
    """A pause elsewhere is not counted, nor are ordinary callers before an urgent one."""

    async def main() -> None:
        bucket = TokenBucket(1)
        bucket.pause("/other", 9.0)
        async with bucket.take(PATH):
            waiting = [asyncio.ensure_future(use(bucket)) for _ in range(3)]
            await queue_up(3)
            turns = [bucket.foresee(PATH, 2, urgent=flag) - now() for flag in (True, False)]
            assert turns == pytest.approx([2 * HOLD, 5 * HOLD], abs=1e-3)
        await asyncio.gather(*waiting)

    run(main())


def test_those_who_wait_hear_when_their_turn_has_moved() -> None:
    """Each by its own place in the line, at a pause that is felt and at a slower limit; those who
    did not ask hear nothing, and nobody hears of a pause that changes nothing."""
    told: dict[int, list[float]] = {place: [] for place in range(4)}

    async def one(bucket: TokenBucket, place: int) -> None:
        hears = None if place == 1 else told[place].append
        async with bucket.take(PATH, on_turn=hears):
            pass

    async def main() -> None:
        bucket = TokenBucket(2)
        await asyncio.gather(use(bucket), use(bucket))
        waiting = [asyncio.ensure_future(one(bucket, place)) for place in range(4)]
        await queue_up(4)
        bucket.pause(PATH, 1.0)
        assert not any(told.values())
        bucket.pause(PATH, 4.0)
        bucket.pause(PATH, 4.0)
        bucket.pause(PATH, 3.0)
        bucket.tighten(PATH, 2, 2.0)
        await asyncio.gather(*waiting)

    run(main())
    assert told[0] == pytest.approx([4.0, 4.0], abs=1e-3)
    assert told[1] == []
    for place in (2, 3):
        assert told[place] == pytest.approx([4.0 + HOLD, 4.0 + HOLD + 1.0], abs=1e-3)


def test_ten_thousand_waiters_are_served_in_order_and_cost_nothing_afterwards() -> None:
    """The queue is first in, first out at any length, and its memory comes back."""
    order: list[int] = []

    async def one(bucket: TokenBucket, index: int) -> None:
        async with bucket.take(PATH):
            order.append(index)

    async def burst(bucket: TokenBucket, count: int) -> None:
        order.clear()
        await asyncio.gather(*(one(bucket, index) for index in range(count)))
        assert order == list(range(count))

    async def main() -> tracemalloc.StatisticDiff | None:
        bucket = TokenBucket()
        await burst(bucket, 100)
        tracemalloc.start()
        before = tracemalloc.take_snapshot().filter_traces(ours)
        await burst(bucket, 10_000)
        gc.collect()
        after = tracemalloc.take_snapshot().filter_traces(ours)
        tracemalloc.stop()
        return max(after.compare_to(before, "filename"), key=lambda d: d.size_diff, default=None)

    ours = [tracemalloc.Filter(True, f"{PACKAGE}/*")]
    grown = run(main())
    assert grown is None or grown.size_diff < 20_000


def test_cancelled_waiters_cost_nothing() -> None:
    """A queue from which everyone has gone holds no one."""

    async def main() -> None:
        bucket = TokenBucket(1)
        async with bucket.take(PATH):
            waiting = [asyncio.ensure_future(use(bucket)) for _ in range(100)]
            await queue_up(100)
            assert bucket.waiting(PATH) == 100
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert bucket.waiting(PATH) == 0

    run(main())


def test_tokens_of_a_closed_loop_come_along_to_the_next() -> None:
    """A second `asyncio.run` right after the first one has no fresh tokens."""
    bucket = TokenBucket(2)

    async def first() -> None:
        await use(bucket)
        await use(bucket)

    async def second() -> float:
        start = now()
        return await use(bucket) - start

    began = time.monotonic()
    asyncio.run(first())
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        granted = runner.run(second())
    assert HOLD - (time.monotonic() - began) <= granted <= HOLD + 1e-3


def test_a_token_in_use_when_its_loop_closed_counts_as_used_just_now() -> None:
    """What became of that request is not known, so its token waits a full hold."""
    bucket = TokenBucket(1)

    async def abandon() -> None:
        await bucket.take(PATH).__aenter__()

    async def second() -> float:
        start = now()
        return await use(bucket) - start

    asyncio.run(abandon())
    assert run(second()) == pytest.approx(HOLD, abs=1e-3)


class LaterLoop(VirtualLoop):
    """One whose clock shows a hundred seconds more."""

    def time(self) -> float:
        return super().time() + 100


def test_a_loop_with_another_clock_inherits_what_is_left_of_each_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tokens on their way back, and a pause, end when they would have on the old loop, however far
    its clock and the new one's lie apart."""
    shown = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: shown[0])
    monkeypatch.setattr("htx_async.aio.loop_binding.time", clock)
    bucket = TokenBucket(1)

    async def first() -> None:
        assert not bucket.bind()
        await use(bucket)
        bucket.pause("/paused", 4.0)
        assert not bucket.bind()

    async def second() -> list[float]:
        assert bucket.bind()
        start = now()
        granted = await use(bucket) - start
        async with bucket.take("/paused"):
            return [granted, now() - start]

    run(first())
    shown[0] += 0.4
    with asyncio.Runner(loop_factory=LaterLoop) as runner:
        assert runner.run(second()) == pytest.approx([HOLD - 0.4, 3.6], abs=1e-3)


def test_a_pause_that_comes_along_is_believed_for_its_longest_only() -> None:
    """Clocks of two loops may lie apart by more than they seem to: no pause lasts for hours."""
    bucket = TokenBucket(1)

    async def first() -> None:
        bucket.pause(PATH, 3600.0)

    async def second() -> float:
        start = now()
        return await use(bucket) - start

    run(first())
    assert run(second()) == pytest.approx(LONGEST_PAUSE, abs=1e-3)


def test_a_second_live_loop_is_refused() -> None:
    """Two loops cannot share tokens without a lock between them; the error names `limiter=`."""
    bucket = TokenBucket()
    first = asyncio.new_event_loop()
    try:
        first.run_until_complete(use(bucket))
        with pytest.raises(InvalidRequest) as caught:
            run(use(bucket))
        assert str(caught.value) == (
            "another event loop that is still open uses this account's limiter; two loops cannot "
            "share its tokens. Run both on one loop, close the other, or give each a fixed part "
            "of the account's five a second with limiter=, as TokenBucket(4) there and "
            "TokenBucket(1) for a watchdog here, or let both share them on Redis with "
            "limiter=RedisTokenBucket(...)"
        )
    finally:
        first.close()
    run(use(bucket))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 0}, "size must be a whole number of at least 1"),
        ({"size": 2.5}, "size must be a whole number"),
        ({"size": True}, "size must be a whole number"),
        ({"per": 0}, "per must be a positive, finite number"),
        ({"per": float("nan")}, "per must be a positive, finite number"),
        ({"per": float("inf")}, "per must be a positive, finite number"),
        ({"per": "1"}, "per must be a positive, finite number"),
        ({"round_trip_floor": -0.1}, "round_trip_floor must be a finite number from 0 up"),
        ({"round_trip_floor": 1.0}, "round_trip_floor must be shorter than per (1 s)"),
        ({"round_trip_floor": float("nan")}, "round_trip_floor must be a finite number"),
    ],
)
def test_numbers_that_describe_no_bucket_are_refused(
    arguments: dict[str, float], words: str
) -> None:
    """A bucket that could not keep its promise is not built, and the number at fault is named."""
    with pytest.raises(InvalidRequest) as caught:
        TokenBucket(**arguments)  # type: ignore[arg-type]  # wrong on purpose
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("requests", "seconds", "limit"),
    [
        (72, 3.0, None),
        (5, 1.0, None),
        (6, 1.0, None),
        (3, 1.0, (3, 1.0)),
        (5, 2.0, (5, 2.0)),
        (10, 4.0, (5, 2.0)),
        (0.5, 1.0, (1, 2.0)),
        (2, 0.5, (2, 1.0)),
        (4, 0.9, (4, 1.0)),
        (3, 0.7, (3, 1.0)),
    ],
)
def test_a_limit_can_only_be_tightened(
    requests: float, seconds: float, limit: tuple[int, float] | None
) -> None:
    """A slower rate is kept from now on, with no more at once than before; a faster is ignored."""

    async def main() -> None:
        bucket = TokenBucket()
        assert bucket.tighten(PATH, requests, seconds) == limit
        assert bucket.tighten(PATH, requests, seconds) is None
        assert bucket.tighten(PATH, 72, 3.0) is None
        size, per = limit or (5, 1.0)
        granted = await asyncio.gather(*(use(bucket) for _ in range(3 * size + 1)))
        assert busiest(granted, per) <= size
        assert granted[-1] == pytest.approx(3 * (per + 0.002), abs=1e-3)

    run(main())


def test_tightening_slows_what_is_under_way() -> None:
    """Tokens that are out come back by the new limit: the next window holds no more than it."""

    async def main() -> list[float]:
        bucket = TokenBucket()
        first = await asyncio.gather(*(use(bucket) for _ in range(5)))
        bucket.tighten(PATH, 3, 1.0)
        promised = bucket.earliest(PATH)
        rest = await asyncio.gather(*(use(bucket) for _ in range(7)))
        assert rest[0] == pytest.approx(promised, abs=2e-3)
        return [*first[2:], *rest]

    assert busiest(run(main())) == 3


def test_tightening_holds_tokens_on_their_way_back_for_the_longer_period() -> None:
    """Five used just now are five of the slower limit: nobody goes before its period is over."""

    async def main() -> float:
        bucket = TokenBucket()
        await asyncio.gather(*(use(bucket) for _ in range(5)))
        assert bucket.tighten(PATH, 5, 3.0) == (5, 3.0)
        return await use(bucket)

    assert run(main()) == pytest.approx(3.002, abs=1e-3)


@pytest.mark.parametrize("fails", [False, True])
def test_a_tightened_limit_holds_after_a_failure_as_well(fails: bool) -> None:
    """The longer hold is that of every token, whatever became of its request."""

    async def main() -> float:
        bucket = TokenBucket(1)
        assert bucket.tighten(PATH, 1, 2.0) == (1, 2.0)
        try:
            async with bucket.take(PATH):
                if fails:
                    raise ConnectionError
        except ConnectionError:
            pass
        return await use(bucket)

    assert run(main()) == pytest.approx(2.002, abs=1e-3)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_a_pause_without_an_end_is_refused(seconds: float) -> None:
    """A pause is a finite time from now; none at all is one, too."""

    async def main() -> None:
        bucket = TokenBucket()
        with pytest.raises(InvalidRequest, match=r"^pause must be a finite number from 0 up"):
            bucket.pause(PATH, seconds)
        bucket.pause(PATH, 0)
        assert await use(bucket) == pytest.approx(0, abs=1e-3)

    run(main())


@pytest.mark.parametrize(
    ("requests", "seconds", "name"),
    [(0, 1.0, "requests"), (-1, 1.0, "requests"), (1, 0.0, "seconds"), (1, math.nan, "seconds")],
)
def test_a_rate_that_is_none_is_refused(requests: float, seconds: float, name: str) -> None:
    """The figures are the exchange's: a strange one is named, and changes nothing."""

    async def main() -> None:
        bucket = TokenBucket()
        with pytest.raises(InvalidRequest, match=rf"^{name} must be a positive"):
            bucket.tighten(PATH, requests, seconds)
        assert bucket.tighten(PATH, 5, 1.0) is None

    run(main())


def test_a_spent_window_does_not_take_the_floor_back() -> None:
    """With a floor of 70 ms at a round trip of 80, `ratelimit-remaining: 0` costs none of it: 100
    calls take at most 1.05 times the optimum, five a second, none refused."""

    async def main() -> tuple[float, int, int]:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, limiter=TokenBucket(round_trip_floor=0.07)) as htx:
            calls = (htx.cancel_all_trailing(f"C{n}-USDT", deadline=60.0) for n in range(100))
            await asyncio.gather(*calls)
            refused = sum(arrival.err_code == 1032 for arrival in exchange.arrivals)
            return asyncio.get_running_loop().time(), exchange.busiest(1.0), refused

    seconds, busiest, refused = run(main())
    assert seconds <= 1.05 * 19.08
    assert (busiest, refused) == (5, 0)


def test_a_large_bucket_reckons_with_its_tokens_in_use_alone() -> None:
    """With ten of a million in use nothing that it is asked or told makes a list of them all."""

    async def main() -> int:
        bucket = TokenBucket(10**6)
        async with AsyncExitStack() as held:
            for _ in range(10):
                await held.enter_async_context(bucket.take(PATH))
            bucket.pause(PATH, 5.0)
            waiter = asyncio.create_task(use(bucket))
            await queue_up(1)
            tracemalloc.start()
            assert bucket.earliest(PATH) == pytest.approx(now() + 5, abs=1e-3)
            assert bucket.foresee(PATH, 10**6) == pytest.approx(now() + 5 + HOLD, abs=1e-3)
            bucket.pause(PATH, 6.0)
            bucket.refused(PATH, 7.0)
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
            return most

    assert run(main()) < 50_000
