"""What a session takes its tokens from: the account's limiter, a user's own, and the registry."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest
from aiolimiter import AsyncLimiter

from htx_async import Credentials, HtxSession, InvalidRequest, Outcome, TokenBucket
from htx_async.enums import LimiterMode
from htx_async.limits.account_limiter import AccountLimiter, public_budget
from htx_async.limits.limiter import as_limiter, check_lease
from htx_async.simulator import SimulatedExchange
from tests.support.tokens import HOLD, PATH, Holder, busiest, now, queue_up, use
from tests.support.virtual import run, virtual_session

KEYS = Credentials("an-access-key", "a-secret-key")

pytestmark = pytest.mark.usefixtures("tasks")


@pytest.mark.parametrize("make", [TokenBucket, AccountLimiter])
def test_every_limiter_of_ours_keeps_an_endpoint_at_five_a_second(
    make: type[TokenBucket | AccountLimiter],
) -> None:
    """Five in any second, first in, first out, with the queue's length told."""

    async def main() -> list[float]:
        limiter = make()
        tasks = [asyncio.ensure_future(use(limiter)) for _ in range(20)]
        await queue_up(20)
        assert limiter.waiting(PATH) == 15
        return await asyncio.gather(*tasks)

    granted = run(main())
    assert granted == sorted(granted)
    assert busiest(granted) == 5
    assert granted[-1] == pytest.approx(3 * HOLD, abs=0.01)


def test_an_account_keeps_72_trade_calls_in_any_three_seconds() -> None:
    """Over all endpoints together, however many there are."""

    async def main() -> list[float]:
        limiter = AccountLimiter()
        endpoints = [f"/endpoint/{number}" for number in range(40)]
        calls = [use(limiter, endpoint) for endpoint in endpoints for _ in range(5)]
        return await asyncio.gather(*calls)

    granted = run(main())
    assert len(granted) == 200
    assert busiest(granted, 3.0) <= 72


@pytest.mark.parametrize(
    ("who", "at_once", "a_second"),
    [({"urgent": True}, 36, 12), ({"urgent": False}, 30, 10), ({}, 30, 10)],
)
def test_the_account_s_budget_is_refilled_evenly(
    who: dict[str, Any], at_once: int, a_second: int
) -> None:
    """A burst, then a steady rate; ordinary callers, who are all that do not say `urgent`, leave
    a sixth of both."""

    async def one(limiter: AccountLimiter, endpoint: str) -> float:
        async with limiter.take(endpoint, **who):
            return now()

    async def main() -> list[float]:
        limiter = AccountLimiter()
        calls = [one(limiter, f"/endpoint/{number}") for number in range(60)]
        return sorted(await asyncio.gather(*calls))

    granted = run(main())
    assert granted[at_once - 1] < 0.01
    assert granted[at_once] == pytest.approx(1 / a_second, abs=1e-3)
    assert granted[at_once + a_second - 1] == pytest.approx(1.0, abs=1e-3)


def test_an_urgent_caller_goes_first_at_an_endpoint_of_the_account() -> None:
    """And is promised so; whoever does not say `urgent` is promised the end of the queue."""

    async def main() -> None:
        limiter = AccountLimiter()
        await asyncio.gather(*(use(limiter) for _ in range(5)))
        waiting = [asyncio.ensure_future(use(limiter)) for _ in range(5)]
        await queue_up(5)
        turns = [limiter.earliest(PATH, urgent=flag) - now() for flag in (True, False)]
        assert turns == pytest.approx([HOLD, 2 * HOLD], abs=1e-3)
        assert limiter.earliest(PATH) == limiter.earliest(PATH, urgent=False)
        assert limiter.earliest("/other") == now()
        turns = [limiter.foresee(PATH, 5, urgent=flag) - now() for flag in (True, False)]
        assert turns == pytest.approx([HOLD, 2 * HOLD], abs=1e-3)
        turns = [limiter.foresee(PATH, 6, urgent=flag) - now() for flag in (True, False)]
        assert turns == pytest.approx([2 * HOLD, 3 * HOLD], abs=1e-3)
        assert limiter.foresee(PATH, 6) == limiter.foresee(PATH, 6, urgent=False)
        urgent = [await use(limiter, urgent=True) for _ in range(2)]
        assert urgent == pytest.approx([HOLD, 2 * HOLD], abs=1e-3)
        await asyncio.gather(*waiting)

    run(main())


def test_an_account_pauses_slows_and_foresees_one_endpoint() -> None:
    """What the exchange asks for, and what is promised, is of that endpoint's bucket alone; those
    who wait hear when their turn has moved."""
    told: list[float] = []

    async def listening(limiter: AccountLimiter) -> float:
        async with limiter.take(PATH, on_turn=told.append):
            return now()

    async def main() -> float:
        limiter = AccountLimiter()
        limiter.pause("/other", 9.0)
        assert limiter.foresee(PATH, 6, round_trip=0.5) == pytest.approx(HOLD + 0.5, abs=1e-3)
        assert limiter.foresee(PATH, 6) == pytest.approx(HOLD, abs=1e-3)
        limiter.pause(PATH, 2.0)
        waiting = asyncio.ensure_future(listening(limiter))
        await queue_up(1)
        assert limiter.tighten(PATH, 3, 1.0) == (3, 1.0)
        assert limiter.tighten(PATH, 4, 1.0) is None
        assert limiter.tighten("/third", 4, 2.0) == (4, 2.0)
        limiter.pause(PATH, 4.0)
        return await waiting

    assert run(main()) == pytest.approx(4.0, abs=1e-3)
    assert told == pytest.approx([2.0, 4.0], abs=1e-3)


def test_an_account_s_reads_and_public_calls_have_limits_of_their_own() -> None:
    """72 reads in any 3 s, as documented; of the public 240 far less."""

    async def main() -> None:
        reads, public = AccountLimiter().reads, public_budget()
        assert (reads.size, reads.per, reads.round_trip_floor) == (72, 3.0, 0.0)
        assert (public.max_rate, public.time_period) == (12, 3.0)

    run(main())


def test_a_failure_is_told_to_the_endpoint_s_bucket() -> None:
    """One with a floor holds its token for the whole period after it."""

    async def main() -> float:
        limiter = AccountLimiter()
        limiter._size, limiter.round_trip_floor = 1, 0.3
        with pytest.raises(ConnectionError):
            async with limiter.take(PATH):
                raise ConnectionError
        return await use(limiter)

    assert run(main()) == pytest.approx(HOLD, abs=1e-3)


def test_a_caller_cancelled_at_the_account_budget_gives_its_endpoint_token_back() -> None:
    """The endpoint's token is not lost while its holder waits for the broader budget."""

    async def main() -> None:
        limiter = AccountLimiter()
        for number in range(36):
            await use(limiter, f"/endpoint/{number}")
        stuck = [asyncio.ensure_future(use(limiter)) for _ in range(5)]
        await queue_up(5)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        assert limiter.earliest(PATH, urgent=True) == pytest.approx(now(), abs=1e-3)
        assert limiter.earliest(PATH) == pytest.approx(now() + 0.1, abs=1e-3)

    run(main())


def test_an_async_limiter_is_taken_as_it_is() -> None:
    """Its own pace rules; its queue cannot be told, and a pause still holds."""

    async def main() -> None:
        limiter = as_limiter(AsyncLimiter(2, 1.0))
        assert limiter.earliest(PATH) is None
        assert await use(limiter) == pytest.approx(0, abs=1e-3)
        async with limiter.take(PATH) as lease:
            lease.not_sent()
        assert await use(limiter) == pytest.approx(0.5, abs=1e-3)
        limiter.pause(PATH, 4.0)
        limiter.pause(PATH, 1.0)
        assert limiter.earliest(PATH) == pytest.approx(4.5, abs=1e-3)
        assert await use(limiter) == pytest.approx(4.5, abs=1e-3)

    run(main())


def test_a_rate_limiter_of_ones_own_is_used_unchanged() -> None:
    """Whatever has take, pause and earliest is a limiter."""
    bucket = TokenBucket()
    assert as_limiter(bucket) is bucket


def test_a_pause_of_an_async_limiter_that_grows_is_sat_out() -> None:
    """A longer pause stays in force, also for those who wait for the end of a shorter one."""

    async def main() -> float:
        limiter = as_limiter(AsyncLimiter(5, 1.0))
        limiter.pause(PATH, 0.2)
        waiting = asyncio.ensure_future(use(limiter))
        await asyncio.sleep(0.1)
        limiter.pause(PATH, 1.0)
        return await waiting

    assert run(main()) == pytest.approx(1.1, abs=1e-3)


@pytest.mark.parametrize("limiter", [5, object(), AsyncLimiter, asyncio.Semaphore])
def test_anything_else_is_no_limiter(limiter: object) -> None:
    """A wrong limiter is told at once, not when the first call hangs on it."""
    with pytest.raises(InvalidRequest) as caught:
        as_limiter(limiter)  # type: ignore[arg-type]  # wrong on purpose
    assert str(caught.value) == (
        "limiter must be a RateLimiter (take, pause, earliest) or an aiolimiter.AsyncLimiter, "
        f"not {type(limiter).__name__}"
    )


def test_what_a_limiter_cannot_foresee_is_reckoned_by_five_a_second() -> None:
    """By the documented rate and two round trips, of which one is a refusal; one that can foresee
    it is asked."""

    async def main() -> None:
        await asyncio.sleep(2.0)
        mute, bucket = as_limiter(AsyncLimiter(5, 1.0)), TokenBucket(1)
        for count, round_trip, expected in ((1, 0.5, 0.0), (11, 0.0, 2.0), (11, 0.5, 4.0)):
            turn = mute.foresee(PATH, count, urgent=False, round_trip=round_trip)
            assert turn - now() == pytest.approx(expected)
        assert mute.foresee(PATH, 6, urgent=True) - now() == pytest.approx(1.0)
        async with bucket.take(PATH):
            waiting = [asyncio.ensure_future(use(bucket)) for _ in range(3)]
            await queue_up(3)
            for urgent, turns in ((True, 2), (False, 5)):
                turn = bucket.foresee(PATH, 2, urgent=urgent, round_trip=0.5)
                assert turn - now() == pytest.approx(turns * (HOLD + 0.5) - 0.5, abs=1e-3)
                turn = bucket.foresee(PATH, 2, urgent=urgent)
                assert turn - now() == pytest.approx(turns * HOLD, abs=1e-3)
        await asyncio.gather(*waiting)

    run(main())


class Plain:
    """A limiter of a user's with the three that are asked for; it tells of a free token as `first`
    does, which may be a moment long past."""

    def __init__(self, first: float | None = None) -> None:
        self.first = first
        self._one_by_one = asyncio.Lock()

    @asynccontextmanager
    async def take(self, endpoint: str, *, urgent: bool = False) -> AsyncIterator[Any]:
        async with self._one_by_one:
            await asyncio.sleep(0.21)
        yield Mock()

    def pause(self, endpoint: str, seconds: float) -> None:
        self.first = now() + seconds

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float | None:
        return self.first


def own(kind: str) -> Any:
    """A limiter of a user's own."""
    return AsyncLimiter(5, 1.0) if kind == "aiolimiter" else Plain(None if kind == "mute" else 0.0)


@pytest.mark.parametrize("kind", ["aiolimiter", "mute", "since long ago"])
@pytest.mark.parametrize("paused", [False, True])
def test_a_time_that_is_over_is_no_head_start(kind: str, paused: bool) -> None:
    """What a limiter told of a pause, or of a token, an hour ago shortens no default deadline: a
    mass cancel of 40 contracts is carried out to its last one."""

    async def main() -> None:
        exchange = SimulatedExchange(clock=now)
        codes = [f"C{number}-USDT" for number in range(40)]
        for code in codes:
            exchange.place(code, "buy", "close")
        limiter = own(kind)
        async with virtual_session(exchange, limiter=limiter, deadline=2.0) as htx:
            if paused:
                htx._ready().trades.pause(PATH, 1.0)
            await asyncio.sleep(3600.0)
            # It lets five go at once.
            least = (39 - 4 * (kind == "aiolimiter")) / 5
            assert htx.plan(codes).least_seconds == pytest.approx(least)
            report = await htx.mass_cancel_trailing(codes)
        assert {each.outcome for each in report.reports} == {Outcome.CANCELLED}

    run(main())


class Proxy:
    """What a user may put around a limiter, to log what is asked of it."""

    def __init__(self, limiter: object) -> None:
        self._limiter = limiter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._limiter, name)


def test_what_would_not_be_used_is_told_when_the_session_is_made() -> None:
    """A wrapper that can do more than a `RateLimiter` is no `BaseLimiter`: it would lose the lease,
    the promises and the shared reads without a word."""
    with pytest.raises(InvalidRequest, match=r"Proxy has .*lease.*derive it"):
        HtxSession(KEYS, limiter=Proxy(TokenBucket()))
    assert as_limiter(Proxy(Plain())).reads is None


def test_a_base_limiter_is_held_to_its_signature_and_so_are_its_reads() -> None:
    """What would be a TypeError at the first cancel, or at closing, is told at once or wrapped."""

    class Deaf(TokenBucket):
        def take(self, endpoint: str, *, urgent: bool = False) -> Any:  # type: ignore[override]  # on purpose
            raise NotImplementedError

    class WithReads(TokenBucket):
        @property
        def reads(self) -> Any:
            return Plain()

    with pytest.raises(InvalidRequest, match=r"Deaf\.take cannot be called .* on_turn="):
        HtxSession(KEYS, limiter=Deaf())

    async def main() -> None:
        exchange = SimulatedExchange(clock=now)
        exchange.place("BTC-USDT", "buy", "close")
        async with virtual_session(exchange, limiter=WithReads()) as htx:
            assert len(await htx.open_trailing("BTC-USDT")) == 1

    run(main())


class Shared(TokenBucket):
    """A bucket whose tokens other processes use too, as far as it says."""

    lease = 3.0

    def hear(self, listener: Callable[[str, LimiterMode, str], object]) -> Callable[[], None]:
        raise NotImplementedError

    async def drain(self) -> None:
        raise NotImplementedError


def test_a_lease_outlives_its_request_and_the_period() -> None:
    """A token that could come back while its request runs is refused at once, with the figures."""
    limiter = Shared(per=1.0)
    check_lease(limiter, 2.0)
    check_lease(TokenBucket(), 1000.0)
    check_lease(None, 1000.0)
    with pytest.raises(InvalidRequest) as caught:
        check_lease(limiter, 2.25)
    assert str(caught.value) == (
        "the limiter's lease of 3 s is shorter than attempt_timeout plus its period, 3.25 s: "
        "another process could use a token whose request still runs; give it a longer lease"
    )


def test_a_limiter_is_gone_when_nobody_has_held_it_for_long() -> None:
    """For more than 75 s since that was first asked, on one loop; a holder starts it anew."""
    limiter, holder = AccountLimiter(), Holder()

    async def main() -> None:
        limiter.holders.add(holder)
        assert not limiter.is_gone()
        await asyncio.sleep(100.0)
        assert not limiter.is_gone()
        for _ in range(2):
            limiter.holders.discard(holder)
            assert not limiter.is_gone()
            await asyncio.sleep(74.9)
            assert not limiter.is_gone()
            await asyncio.sleep(0.2)
            assert limiter.is_gone()
            limiter.holders.add(holder)
            assert not limiter.is_gone()
        limiter.holders.discard(holder)
        assert not limiter.is_gone()

    async def later() -> None:
        await asyncio.sleep(100.0)
        assert not limiter.is_gone()
        await asyncio.sleep(75.1)
        assert limiter.is_gone()

    run(main())
    run(later())
