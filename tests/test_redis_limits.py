"""`RedisTokenBucket` in one process, against a real server and real faults of its network.

Each bucket stands for a process of its own: what they share is on the server only.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis as blocking
from redis.asyncio import Redis

from htx_async import HtxError, HtxSession, InvalidRequest, NotSent, RateLimiter, SessionClosed
from htx_async.aio.tasks import own_task
from htx_async.enums import LimiterMode
from htx_async.events import Event, LimiterModeChanged
from htx_async.limits.limiter import BaseLimiter, as_limiter
from htx_async.limits.shared_store import WITHIN
from htx_async.redis_limits import RedisTokenBucket
from htx_async.simulator import SimulatedExchange
from tests.support.fault_server import bounded
from tests.support.redis_server import PATH, Proxy, RedisServer, Stored, running
from tests.support.shared_tokens import PER, SLACK, Crowd, Modes, fleet, until, use
from tests.support.tokens import busiest, now

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tasks")]

SHARED, OWN_SHARE = LimiterMode.SHARED, LimiterMode.OWN_SHARE


ON_V1 = {"generation": "v1"}
"""What is counted is that call alone."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One server for the tests of this module that leave it alone; each uses its own account."""
    with running() as started:
        yield started


def slowed(bucket: RedisTokenBucket, requests: float, seconds: float) -> tuple[int, float]:
    """The slower limit that is in force from now on, but for rounding."""
    told = bucket.tighten(PATH, requests, seconds)
    assert told is not None
    return told[0], round(told[1], 9)


@bounded
async def test_it_is_all_that_a_session_can_ask_of_a_limiter(server: RedisServer) -> None:
    """Each protocol is there, so that nothing of a session is less than with a bucket alone."""
    async with fleet(server) as one:
        bucket = await one.bucket()
        assert as_limiter(bucket) is bucket
        assert isinstance(bucket, BaseLimiter)
        limiter: RateLimiter = bucket
        async with limiter.take(PATH) as lease:
            lease.not_sent()
        await use(bucket)
        assert bucket.mode(PATH) is SHARED


@bounded
async def test_processes_share_the_tokens_of_an_account(server: RedisServer) -> None:
    """All of them together use two in any quarter of a second, and use them all."""
    async with fleet(server) as one:
        buckets = [await one.bucket() for _ in range(3)]
        began = now()
        granted = await asyncio.gather(*(use(bucket) for bucket in buckets for _ in range(3)))
        assert busiest(granted, PER) <= 2
        assert max(granted) - began < 4 * PER + SLACK


@bounded
async def test_a_token_comes_back_one_period_after_its_answer(server: RedisServer) -> None:
    """However long the answer took, and also when there was none."""
    async with fleet(server) as one:
        bucket, other = await one.bucket(size=1), await one.bucket(size=1)

        async def fail() -> float:
            try:
                async with bucket.take(PATH):
                    await asyncio.sleep(PER)
                    raise ConnectionError
            except ConnectionError:
                return now()

        ended = await fail()
        granted = await use(other)
        assert PER <= granted - ended < PER + SLACK


@bounded
async def test_a_token_that_was_not_used_comes_back_at_once(server: RedisServer) -> None:
    """For every process, and only once."""
    async with fleet(server) as one:
        bucket, other = [await one.bucket(size=1, per=60.0) for _ in range(2)]
        async with bucket.take(PATH) as lease:
            lease.not_sent()
            lease.not_sent()
        await bucket.drain()
        began = now()
        assert await use(other) - began < SLACK
        await other.drain()
        assert len(one.stored.tokens(one.stored.back)) == 1


@bounded
async def test_equals_go_in_the_order_of_their_coming_and_urgent_ones_before_them(
    server: RedisServer,
) -> None:
    """Also before the one for whom a token was reserved already."""
    order: list[str] = []

    async with fleet(server) as one:
        bucket = await one.bucket(size=1, per=0.1)

        async def call(name: str) -> None:
            async with bucket.take(PATH, urgent=name.startswith("u")):
                order.append(name)

        await call("first")
        ordinary = [asyncio.create_task(call(f"o{number}")) for number in range(3)]
        await until(lambda: bucket.waiting(PATH) == 3 and one.stored.tokens(one.stored.waiting))
        await asyncio.gather(*ordinary, *(call(f"u{number}") for number in range(2)))
        assert bucket.waiting(PATH) == 0
    assert order == ["first", "u0", "u1", "o0", "o1", "o2"]


@pytest.mark.parametrize("stage", ["queued", "asking", "reserved", "called"])
@bounded
async def test_a_waiter_that_is_cancelled_leaves_nothing_behind(
    server: RedisServer, stage: str
) -> None:
    """Wherever it was: nobody asks for it any more, and another process has the token."""
    per = 60.0
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket, other = await one.bucket(proxy.url, size=1, per=per), await one.bucket(size=1)
        await use(bucket)
        await bucket.drain()
        if stage == "called":
            one.stored.age(per)
        waiter = asyncio.create_task(use(bucket))
        await asyncio.sleep(0)
        if stage == "asking":
            delivered, proxy.down = proxy.delivered, 0.05
            await proxy.delivers(delivered + 1)
        elif stage == "reserved":
            await until(lambda: one.stored.tokens(one.stored.waiting))
        elif stage == "called":
            await until(lambda: not bucket.waiting(PATH), every=0)
        left = now()
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert bucket.waiting(PATH) == 0
        await until(lambda: not one.stored.tokens(one.stored.waiting))
        assert now() - left < SLACK
        one.stored.age(per)
        began = now()
        assert await use(other) - began < SLACK


@bounded
async def test_a_token_of_one_that_left_in_its_turn_goes_to_the_next(server: RedisServer) -> None:
    """It is not given back to come again a period later."""
    async with fleet(server) as one:
        bucket = await one.bucket(size=1, per=60.0)
        first, second = (asyncio.create_task(use(bucket)) for _ in range(2))
        await asyncio.sleep(0)
        await until(lambda: bucket.waiting(PATH) == 1, every=0)
        first.cancel()
        began = now()
        assert await second - began < SLACK
        with pytest.raises(asyncio.CancelledError):
            await first


@bounded
async def test_what_is_foreseen_counts_queue_pause_and_reservation(server: RedisServer) -> None:
    """The next turn as if all were alone; that of many as if all were busy."""
    async with fleet(server) as one:
        bucket = await one.bucket(size=2, per=10.0)
        hold = 10.002
        assert bucket.earliest(PATH) == pytest.approx(now(), abs=0.1)
        await asyncio.gather(use(bucket), use(bucket))
        settled = now()
        waiting = [asyncio.create_task(use(bucket)) for _ in range(3)]
        await until(lambda: bucket.earliest(PATH) > settled + hold * 1.5)
        assert bucket.waiting(PATH) == 3
        assert bucket.earliest(PATH) == pytest.approx(settled + 2 * hold, abs=SLACK)
        assert bucket.earliest(PATH, urgent=True) == pytest.approx(settled + hold, abs=SLACK)
        # Half of two tokens in ten seconds, and a round trip of ten for each.
        foreseen = bucket.foresee(PATH, 4, urgent=True, round_trip=10.0)
        assert foreseen == pytest.approx(settled + hold + 3 * 20, abs=SLACK)
        bucket.pause(PATH, 300.0)
        assert bucket.earliest(PATH, urgent=True) == pytest.approx(now() + 300, abs=SLACK)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@bounded
async def test_a_pause_and_a_slower_limit_hold_for_every_process(server: RedisServer) -> None:
    """Whoever heard of it; a faster limit is ignored."""
    async with fleet(server) as one:
        bucket, other = await one.bucket(), await one.bucket()
        await asyncio.gather(use(bucket), use(other))
        one.stored.age(PER)
        assert bucket.tighten(PATH, 72, 3.0) is None
        assert bucket.tighten(PATH, 1, PER) is not None
        bucket.pause(PATH, PER)
        began = now()
        await bucket.drain()
        granted = await asyncio.gather(*(use(each) for each in (bucket, other) for _ in range(2)))
        assert min(granted) - began >= PER
        assert busiest(granted, PER) == 1


@bounded
async def test_a_holder_that_vanished_delays_the_others_by_its_lease(server: RedisServer) -> None:
    """Its token comes back by itself, half a second of slack included."""
    async with fleet(server) as one:
        bucket, other = [await one.bucket(size=1, lease=0.3, per=0.1) for _ in range(2)]
        await bucket.take(PATH).__aenter__()
        began = now()
        assert 0.3 <= await use(other) - began < 0.3 + 0.5 + SLACK


@pytest.mark.parametrize(
    "settings",
    [
        {"share_of": 0},
        {"share_of": 1.5},
        {"lease": 0},
        {"lease": float("inf")},
        {"size": 0},
        {"per": float("nan")},
        {"account": ""},
        {"account": None},
        {"redis": "redis://:a-password@127.0.0.1"},
        {"redis": object()},
        {"redis": blocking.Redis()},
    ],
)
@bounded
async def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    """At once and in words, without what may be secret."""
    async with Redis() as client:
        given = {"redis": client, "account": "an account", "share_of": 4, **settings}
        with pytest.raises(InvalidRequest) as caught:
            RedisTokenBucket(given.pop("redis"), given.pop("account"), **given)
        assert "a-password" not in str(caught.value)
        with pytest.raises(InvalidRequest, match="redis://host:port") as caught:
            RedisTokenBucket.from_url("http://:a-password@127.0.0.1", "an account", share_of=4)
        assert "a-password" not in str(caught.value)
        assert caught.value.__context__ is None


async def test_a_session_refuses_a_lease_that_is_too_short() -> None:
    """Another process could use the token of a request that still runs."""
    exchange = SimulatedExchange()
    async with Redis() as client:
        for lease, timeout in ((5.0, 4.5), (1.5, 1.0)):
            limiter = RedisTokenBucket(client, "an account", share_of=4, lease=lease)
            with pytest.raises(InvalidRequest, match="lease"):
                HtxSession(exchange.credentials, limiter=limiter, attempt_timeout=timeout)
            HtxSession(exchange.credentials, limiter=limiter, attempt_timeout=lease - 1)


def test_a_later_loop_goes_on_where_a_closed_one_ended(server: RedisServer) -> None:
    """Its tokens are on the server; the caller's client is what each loop makes of it."""
    account = uuid.uuid4().hex
    Stored(server, account).open()
    client = Redis.from_url(server.url)
    bucket = RedisTokenBucket(client, account, share_of=1, size=1, per=PER)

    async def once() -> tuple[LimiterMode, float, float]:
        began = time.monotonic()
        async with bucket.take(PATH) as token:
            granted = time.monotonic()
        settled = time.monotonic()
        await bucket.drain()
        await client.aclose()
        assert granted - began < PER + SLACK
        return token.mode, granted, settled

    modes, granted, settled = zip(*(asyncio.run(once()) for _ in range(3)), strict=True)
    assert modes == (SHARED,) * 3
    assert all(next_ - last >= PER for last, next_ in zip(settled, granted[1:], strict=False))


def test_a_second_live_loop_is_refused(server: RedisServer) -> None:
    """In a thread of its own it is as wrong as in the same one."""
    account = uuid.uuid4().hex
    Stored(server, account).open()
    bucket = RedisTokenBucket.from_url(server.url, account, share_of=1)
    ready, done = threading.Event(), threading.Event()

    async def hold() -> None:
        async with bucket:
            ready.set()
            await asyncio.to_thread(done.wait, 10)

    thread = threading.Thread(target=asyncio.run, args=[hold()])
    thread.start()
    try:
        assert ready.wait(10)
        with pytest.raises(InvalidRequest, match="limiter="):
            asyncio.run(use(bucket))
    finally:
        done.set()
        thread.join()


@bounded
async def test_closing_ends_every_wait_and_gives_up_every_reservation(
    server: RedisServer,
) -> None:
    """Nothing was sent, and other processes have the token in its time."""
    async with fleet(server) as one:
        bucket, other = await one.bucket(size=1), await one.bucket(size=1)
        await use(bucket)
        waiting = [asyncio.create_task(use(bucket, urgent=bool(n % 2))) for n in range(4)]
        await until(lambda: one.stored.tokens(one.stored.waiting))
        await bucket.aclose()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(each) for each in ended} == {SessionClosed}
        assert not one.stored.tokens(one.stored.waiting)
        began = now()
        assert await use(other) - began < PER + SLACK


@bounded
async def test_reaching_for_redis_tells_in_words_how_it_is(server: RedisServer) -> None:
    """An operator hears milliseconds, or why not; neither holds the password."""
    async with Proxy(server) as proxy, fleet(server) as one:
        assert "answers in" in await (await one.bucket()).reach()
        one.stored.admit("stranger", "another-password")
        bucket = await one.bucket(proxy.url.replace("//", "//stranger:a-password@"))
        with pytest.raises(HtxError, match="Redis refused") as caught:
            await bucket.reach()
        assert "a-password" not in str(caught.value)
        proxy.refuse()
        with pytest.raises(HtxError, match="could not be reached") as caught:
            await bucket.reach()
        assert "a-password" not in str(caught.value)


@bounded
async def test_waiting_costs_no_more_than_what_it_gets(server: RedisServer) -> None:
    """Twenty wait: at most four scripts a token; while none can come, two a period."""
    async with fleet(server) as one:
        bucket, other = await one.bucket(), await one.bucket()
        calls = one.stored.calls()
        crowd = Crowd(bucket, other, each=10)
        await crowd.get(12, SHARED)
        granted = len(await crowd.leave())
        await asyncio.gather(bucket.drain(), other.drain())
        assert one.stored.calls() - calls <= 4 * granted + 6
        one.stored.age(PER)
        async with bucket.take(PATH), bucket.take(PATH):
            calls, began = one.stored.calls(), now()
            waiting = [asyncio.create_task(use(bucket)) for _ in range(20)]
            await asyncio.wait(waiting, timeout=2 * PER)
            asked = one.stored.calls() - calls
            assert 1 <= asked <= 2 * (now() - began) / PER + 2
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


Break = Callable[[Proxy], Awaitable[None]]


async def refuse(proxy: Proxy) -> None:
    """The server is gone."""
    proxy.refuse()


async def swallow(proxy: Proxy) -> None:
    """The connections are half open."""
    proxy.is_silent = True


async def slow(proxy: Proxy) -> None:
    """The server answers, and too late."""
    proxy.down = 0.4


async def mend(proxy: Proxy) -> None:
    """The network is as before; connections that were half open are gone."""
    proxy.is_silent, proxy.down = False, 0.0
    proxy.refuse()
    proxy.open()


FAULTS = pytest.mark.parametrize("fault", [refuse, swallow, slow])


@FAULTS
@bounded
async def test_without_redis_a_process_closes_then_goes_on_with_its_share(
    server: RedisServer, fault: Break
) -> None:
    """It knows in a quarter of a second, waits one period, and comes back as soon as it can."""
    async with Proxy(server) as proxy, fleet(server) as one:
        buckets = [await one.bucket(proxy.url, size=4) for _ in range(2)]
        await asyncio.gather(*map(use, buckets))
        modes = [Modes(bucket) for bucket in buckets]
        await fault(proxy)
        began = now()
        crowd = Crowd(*buckets)
        known = [await each.come_to(OWN_SHARE) for each in modes]
        assert max(known) - began < WITHIN + SLACK
        await crowd.get(6, OWN_SHARE)
        await mend(proxy)
        back = [await each.come_to(SHARED) for each in modes]
        assert max(back) - now() < SLACK
        await crowd.get(4, SHARED)
        granted = await crowd.leave()
        own = [at for at, mode in granted if mode is OWN_SHARE]
        assert min(own) - min(known) >= PER
        assert busiest(own, PER) <= 4
        assert busiest([at for at, _ in granted], PER) <= 4
        assert [[mode for _, mode, _ in each.heard] for each in modes] == [[OWN_SHARE, SHARED]] * 2


@FAULTS
@bounded
async def test_one_urgent_call_passes_a_change_over(server: RedisServer, fault: Break) -> None:
    """It waits for no period, whatever became of Redis; the next one does."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url, per=60.0)
        await use(bucket)
        modes = Modes(bucket)
        await fault(proxy)
        ordinary = asyncio.create_task(use(bucket))
        await modes.come_to(OWN_SHARE)
        began = now()
        async with bucket.take(PATH, urgent=True) as token:
            assert token.mode is OWN_SHARE
            assert now() - began < 2 * WITHIN + SLACK
        second = asyncio.create_task(use(bucket, urgent=True))
        await asyncio.wait([ordinary, second], timeout=3 * WITHIN)
        assert bucket.waiting(PATH) == 2
        for task in (ordinary, second):
            task.cancel()
        await asyncio.gather(ordinary, second, return_exceptions=True)
        await mend(proxy)


@bounded
async def test_a_process_that_starts_without_redis_uses_its_share(server: RedisServer) -> None:
    """After a period, for it may have been started anew; later it finds the others."""
    async with Proxy(server) as proxy, fleet(server) as one:
        proxy.refuse()
        bucket = await one.bucket(proxy.url)
        modes, began = Modes(bucket), now()
        async with bucket.take(PATH) as token:
            assert token.mode is OWN_SHARE
            assert now() - began >= PER
        proxy.open()
        # The token that it used by itself is told to all of them.
        async with bucket.take(PATH) as token:
            assert token.mode is SHARED
        assert [mode for _, mode, _ in modes.heard] == [OWN_SHARE, SHARED]


@bounded
async def test_tokens_of_ones_own_count_for_all_when_redis_is_back(server: RedisServer) -> None:
    """Those in use and those on their way back, next to what the others used meanwhile."""
    async with Proxy(server) as proxy, fleet(server) as one:
        per = 30.0
        bucket = await one.bucket(proxy.url, size=3, share_of=1, per=per)
        other = await one.bucket(size=3, share_of=1, per=per)
        await asyncio.gather(use(bucket), use(other))
        proxy.refuse()
        async with bucket.take(PATH, urgent=True) as token:
            assert token.mode is OWN_SHARE
            proxy.open()
            modes = Modes(bucket)
            waiting = asyncio.create_task(use(bucket))
            await modes.come_to(SHARED)
            await until(lambda: len(one.stored.tokens(one.stored.waiting)) == 2)
            assert len(one.stored.tokens(one.stored.back)) == 1
        await bucket.drain()
        assert len(one.stored.tokens(one.stored.back)) == 2
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


@bounded
async def test_a_token_of_ones_own_that_came_back_still_counts_for_a_period(
    server: RedisServer,
) -> None:
    """The others hear of it with the first word that reaches Redis again."""
    async with Proxy(server) as proxy, fleet(server) as one:
        settings: dict[str, Any] = {"size": 3, "share_of": 1, "per": 30.0}
        bucket, other = await one.bucket(proxy.url, **settings), await one.bucket(**settings)
        await asyncio.gather(use(bucket), use(other))
        proxy.refuse()
        await use(bucket, urgent=True)
        proxy.open()
        waiting = asyncio.create_task(use(bucket))
        await until(lambda: bucket.mode(PATH) is SHARED and bucket.earliest(PATH) > now() + 15)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


@bounded
async def test_a_pause_holds_without_redis_too(server: RedisServer) -> None:
    """The exchange asked for it, and Redis has nothing to do with that."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url)
        proxy.refuse()
        await use(bucket)
        bucket.pause(PATH, 60.0)
        task = asyncio.create_task(use(bucket))
        await asyncio.wait([task], timeout=4 * PER)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@bounded
async def test_a_token_of_ones_own_that_was_not_used_comes_back_at_once(
    server: RedisServer,
) -> None:
    """As a shared one does."""
    async with Proxy(server) as proxy, fleet(server) as one:
        proxy.refuse()
        bucket = await one.bucket(proxy.url, size=1, share_of=1, per=SLACK)
        async with bucket.take(PATH) as lease:
            assert lease.mode is OWN_SHARE
            lease.not_sent()
            began = now()
        assert await use(bucket) - began < SLACK * 0.9


@bounded
async def test_a_slower_limit_that_redis_missed_holds_in_the_process(server: RedisServer) -> None:
    """Nothing that a caller does ever raises what only Redis is to blame for."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url, size=4, per=0.5, share_of=1)
        await use(bucket)
        proxy.refuse()
        assert bucket.tighten(PATH, 2, 0.5) is not None
        bucket.pause(PATH, 0.01)
        await bucket.drain()
        granted = await asyncio.gather(*(use(bucket) for _ in range(3)))
        assert busiest(granted, 0.5) == 2


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may stop and kill."""
    with running() as started:
        yield started


async def stop_and_resume(server: RedisServer, modes: list[Modes]) -> None:
    """The machine is suspended for a while."""
    server.stop()
    for each in modes:
        await each.come_to(OWN_SHARE)
    server.resume()


async def kill_and_start(server: RedisServer, modes: list[Modes]) -> None:
    """It dies, and comes back without its memory."""
    server.kill()
    for each in modes:
        await each.come_to(OWN_SHARE)
    await asyncio.to_thread(server.start)


@pytest.mark.parametrize("fault", [stop_and_resume, kill_and_start])
@bounded
async def test_a_server_that_went_and_came_back_opens_after_a_fence(
    own_server: RedisServer, fault: Callable[[RedisServer, list[Modes]], Awaitable[None]]
) -> None:
    """At no time more than the limit, and afterwards all that it allows."""
    async with fleet(own_server) as one:
        buckets = [await one.bucket(size=4) for _ in range(2)]
        modes = [Modes(bucket) for bucket in buckets]
        crowd = Crowd(*buckets)
        await crowd.get(8, SHARED)
        await fault(own_server, modes)
        for each in modes:
            await each.come_to(SHARED)
        await crowd.get(8, SHARED)
        granted = await crowd.leave()
        assert busiest([at for at, _ in granted], PER) <= 4
        assert [[mode for _, mode, _ in each.heard] for each in modes] == [[OWN_SHARE, SHARED]] * 2


@bounded
async def test_a_server_that_was_flushed_closes_and_lets_one_urgent_call_through(
    own_server: RedisServer,
) -> None:
    """Nobody has to notice: it counts every token as used until a probe and a period later."""
    async with fleet(own_server) as one:
        buckets = [await one.bucket(size=4) for _ in range(2)]
        modes = [Modes(bucket) for bucket in buckets]
        crowd = Crowd(*buckets)
        await crowd.get(8, SHARED)
        with own_server.client() as client:
            client.flushall()
        flushed, before = now(), len(crowd.granted)
        await until(lambda: one.stored.fields().get("fence"))
        urgent = await use(buckets[0], urgent=True)
        await crowd.get(4, SHARED)
        granted = [at for at, _ in await crowd.leave()]
        # A token may have been handed out while the flush was under way.
        reopened = [at for at in granted[before:] if at - flushed > PER]
        assert min(reopened) - flushed >= PER + 0.25 - 0.05
        assert urgent < min(reopened)
        assert busiest(granted, PER) <= 4
        assert not any(each.heard for each in modes)


@bounded
async def test_an_urgent_call_passes_a_fence_at_which_others_wait(server: RedisServer) -> None:
    """One for all processes together, and without a change of mode: Redis is there."""
    async with fleet(server, is_open=False) as one:
        bucket, other = [await one.bucket(per=60.0) for _ in range(2)]
        tasks = [asyncio.create_task(use(each)) for each in (bucket, other)]
        await until(lambda: len(one.stored.tokens(one.stored.waiting)) == 2)
        began = now()
        assert await use(bucket, urgent=True) - began < SLACK
        tasks += [asyncio.create_task(use(each, urgent=True)) for each in (bucket, other)]
        await asyncio.wait(tasks, timeout=2 * PER)
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@bounded
async def test_attempts_and_listeners_tell_whose_tokens_were_used(server: RedisServer) -> None:
    """The mode is on each attempt, and each change is told once, with its reason."""
    events: list[Event] = []

    async with (
        SimulatedExchange() as exchange,
        Proxy(server) as proxy,
        fleet(server) as one,
    ):
        one.stored.admit("guest", "a-password")
        bucket = await one.bucket(proxy.url.replace("//", "//guest:a-password@"))
        settings: dict[str, Any] = {"base_urls": exchange.url, "limiter": bucket, **ON_V1}
        async with HtxSession(exchange.credentials, on_event=events.append, **settings) as htx:
            reports = [await htx.cancel_all_trailing("BTC-USDT")]
            proxy.refuse()
            reports += [await htx.cancel_all_trailing("BTC-USDT") for _ in range(2)]
            proxy.open()
            reports += [await htx.cancel_all_trailing("BTC-USDT") for _ in range(2)]
    modes = [attempt.limiter_mode for report in reports for attempt in report.attempts]
    assert modes == [SHARED, OWN_SHARE, OWN_SHARE, SHARED, SHARED]
    changes = [event for event in events if isinstance(event, LimiterModeChanged)]
    assert [(event.mode, event.endpoint) for event in changes] == [
        (OWN_SHARE, PATH),
        (SHARED, PATH),
    ]
    assert "could not be reached" in changes[0].reason
    assert "answers again" in changes[1].reason
    assert "a-password" not in repr(events)


@bounded
async def test_a_listener_is_told_no_more_once_it_wants_no_more(server: RedisServer) -> None:
    """A session that was closed hears nothing of a bucket that lives on."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url)
        gone, present = Modes(bucket), Modes(bucket)
        gone.stop()
        gone.stop()
        proxy.refuse()
        await use(bucket, urgent=True)
        assert [len(gone.heard), len(present.heard)] == [0, 1]


@bounded
async def test_a_brief_cut_ends_no_call(server: RedisServer) -> None:
    """Sixty gathered calls without a deadline of their own lose their connections for a moment,
    and each of them still has its turn."""
    async with (
        SimulatedExchange(limit=1000) as exchange,
        Proxy(server) as proxy,
        fleet(server) as one,
    ):
        bucket = await one.bucket(proxy.url, size=10, share_of=4)
        settings: dict[str, Any] = {"base_urls": exchange.url, "limiter": bucket, **ON_V1}
        async with HtxSession(exchange.credentials, **settings) as htx:
            modes = Modes(bucket)
            calls = [
                asyncio.create_task(htx.cancel_all_trailing(f"C{number}-USDT"))
                for number in range(60)
            ]
            await until(lambda: len(exchange.arrivals) >= 20)
            proxy.refuse()
            proxy.open()
            reports = await asyncio.gather(*calls)
    assert len(exchange.arrivals) == sum(len(report.attempts) for report in reports) == 60
    assert [mode for _, mode, _ in modes.heard] in ([OWN_SHARE, SHARED], [])


@bounded
async def test_the_turn_foretold_is_no_later_while_redis_is_away(server: RedisServer) -> None:
    """It may answer at the next look, so nobody is told a turn that depends on its absence."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url, size=4, share_of=4, per=1.0)
        await use(bucket)
        modes, told = Modes(bucket), list[float]()
        proxy.refuse()

        async def wait() -> None:
            async with bucket.take(PATH, on_turn=told.append):
                pass

        waiting = [asyncio.create_task(wait()) for _ in range(4)]
        await modes.come_to(OWN_SHARE)
        assert told == []
        assert bucket.earliest(PATH, urgent=True) == pytest.approx(now(), abs=0.1)
        assert bucket.earliest(PATH) == pytest.approx(now() + 1.002, abs=0.1)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@bounded
async def test_a_call_whose_turn_cannot_come_in_time_fails_at_once(server: RedisServer) -> None:
    """Because of a pause that the exchange asked for, with its own deadline, Redis or not."""
    async with SimulatedExchange() as exchange, Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url)
        modes = Modes(bucket)
        settings: dict[str, Any] = {"base_urls": exchange.url, "limiter": bucket, **ON_V1}
        async with HtxSession(exchange.credentials, **settings) as htx:
            await use(bucket)
            proxy.refuse()
            call = asyncio.create_task(htx.cancel_all_trailing("BTC-USDT", deadline=5.0))
            await modes.come_to(OWN_SHARE)
            bucket.pause(PATH, 60.0)
            with pytest.raises(NotSent, match="turn comes in"):
                await call
    assert not exchange.arrivals


@bounded
async def test_a_store_from_a_snapshot_is_closed(own_server: RedisServer) -> None:
    """It comes back with the tokens of then, and those used since count all the same."""
    async with fleet(own_server) as one:
        client = Redis.from_url(own_server.url)
        try:
            bucket = RedisTokenBucket(client, one.account, share_of=1, size=4, per=1.0)
            await use(bucket)
            await bucket.drain()
            one.stored.age(1.0)
            with own_server.client() as looking:
                looking.save()
            before = await asyncio.gather(*(use(bucket) for _ in range(4)))
            await bucket.drain()
            own_server.kill()
            await asyncio.to_thread(own_server.start)
            after = await asyncio.gather(*(use(bucket) for _ in range(4)))
            assert busiest([*before, *after], 1.0) <= 4
            assert "fence" in one.stored.fields()
            await bucket.aclose()
        finally:
            await client.aclose()


@bounded
async def test_what_is_out_and_a_slower_limit_outlive_a_flush(own_server: RedisServer) -> None:
    """Redis hears of both from whoever sees the fence."""
    async with fleet(own_server) as one:
        bucket, other = [await one.bucket(size=3, per=0.5) for _ in range(2)]
        await use(other)
        assert slowed(bucket, 2, 0.5) == (2, 0.5)
        await bucket.drain()
        async with bucket.take(PATH):
            (out,) = one.stored.tokens(one.stored.waiting)
            with own_server.client() as client:
                client.flushall()
            tasks = [asyncio.create_task(use(bucket)) for _ in range(3)]
            await until(lambda: out in one.stored.tokens(one.stored.waiting))
            await until(lambda: one.stored.fields().get("size") == "2")
            tasks += [asyncio.create_task(use(other)) for _ in range(2)]
            first = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # One of two is still out, so that there is one to be had.
            assert len(first[0]) == 1
        granted = await asyncio.gather(*tasks)
        assert busiest(granted, 0.5) <= 2


@bounded
async def test_an_urgent_call_waits_once_for_a_silent_network(server: RedisServer) -> None:
    """A quarter of a second until it is known, and no second look before it goes."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url, per=60.0)
        await use(bucket)
        modes = Modes(bucket)
        proxy.is_silent = True
        granted = await use(bucket, urgent=True)
        # A second look would take as long as the first one.
        assert granted - await modes.come_to(OWN_SHARE) < WITHIN
        await mend(proxy)


@bounded
async def test_an_urgent_call_does_not_pass_a_pause_of_the_exchange(server: RedisServer) -> None:
    """Redis' absence lets it pass what Redis would have counted, and nothing else."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url)
        modes = Modes(bucket)
        await use(bucket)
        proxy.refuse()
        ordinary = asyncio.create_task(use(bucket))
        await modes.come_to(OWN_SHARE)
        bucket.pause(PATH, 3 * PER)
        paused = now()
        urgent = await use(bucket, urgent=True)
        assert 3 * PER <= urgent - paused < 3 * PER + SLACK
        ordinary.cancel()
        await asyncio.gather(ordinary, return_exceptions=True)


@bounded
async def test_a_slower_limit_makes_all_own_shares_slower(server: RedisServer) -> None:
    """In proportion, so that together they keep to it."""
    async with Proxy(server) as proxy, fleet(server) as one:
        settings: dict[str, Any] = {"size": 4, "share_of": 2, "per": 0.5}
        buckets = [await one.bucket(proxy.url, **settings) for _ in range(2)]
        for bucket in buckets:
            await use(bucket)
            assert slowed(bucket, 2, 0.5) == (2, 0.5)
            await bucket.drain()
        modes = [Modes(bucket) for bucket in buckets]
        proxy.refuse()
        crowd = Crowd(*buckets)
        for each in modes:
            await each.come_to(OWN_SHARE)
        await crowd.get(5, OWN_SHARE)
        own = [at for at, mode in await crowd.leave() if mode is OWN_SHARE]
        assert busiest(own, 0.5) <= 2


@bounded
async def test_own_tokens_that_redis_never_heard_of_are_not_owed(server: RedisServer) -> None:
    """A long absence under load is no storm of settlements when Redis is back."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url, size=8, share_of=1, per=0.05)
        await use(bucket)
        await bucket.drain()
        proxy.refuse()
        crowd = Crowd(bucket, each=8)
        await crowd.get(48, OWN_SHARE)
        await crowd.leave()
        await bucket.drain()
        calls = one.stored.calls()
        proxy.open()
        # The look that failed last may have been the first one's.
        while bucket.mode(PATH) is not SHARED:
            await use(bucket)
        await bucket.drain()
        # A join, a take or two for the fence, a settlement, and what a slow look may add.
        assert one.stored.calls() - calls <= 12


@bounded
async def test_a_listener_that_raises_harms_nobody(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log by its error, the others are told, and callers get their tokens."""

    def fail(endpoint: str, mode: LimiterMode, reason: str) -> None:
        raise ZeroDivisionError("a-password")

    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url)
        bucket.hear(fail)
        present = Modes(bucket)
        bucket.hear(fail)
        proxy.refuse()
        await use(bucket)
        assert [mode for _, mode, _ in present.heard] == [OWN_SHARE]
    assert "ZeroDivisionError" in caplog.text
    assert "a-password" not in caplog.text


@bounded
async def test_listeners_hear_of_the_reads_too(server: RedisServer) -> None:
    """Whether they came before the reads were first used, or after."""
    heard: list[tuple[str, str]] = []
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url)
        bucket.hear(lambda endpoint, mode, reason: heard.append(("before", endpoint)))
        reads = bucket.reads
        assert bucket.reads is reads
        bucket.hear(lambda endpoint, mode, reason: heard.append(("after", endpoint)))
        proxy.refuse()
        async with reads.take("reads", urgent=True):
            pass
    assert sorted(heard) == [("after", "reads"), ("before", "reads")]


@bounded
async def test_a_closed_bucket_gives_no_token(server: RedisServer) -> None:
    """What it would hand out, nobody would settle; closing it twice does no harm."""
    async with fleet(server) as one:
        bucket = await one.bucket()
        await use(bucket)
        await bucket.aclose()
        with pytest.raises(SessionClosed, match="nothing was sent"):
            await use(bucket)


@bounded
async def test_a_slower_limit_is_told_without_the_margin(server: RedisServer) -> None:
    """As the exchange said it; what is as slow as the limit in force changes nothing."""
    async with fleet(server) as one:
        bucket = await one.bucket(size=5, per=1.0)
        assert bucket.tighten(PATH, 5, 1.0) is None
        assert slowed(bucket, 3, 1.0) == (3, 1.0)
        assert bucket.tighten(PATH, 3, 1.0) is None
        assert slowed(bucket, 5, 2.0) == (3, 1.2)


@bounded
async def test_waiters_get_their_tokens_whoever_cancels_every_task(server: RedisServer) -> None:
    """The task that asks Redis for all of them is made anew, and tokens on their way back are told
    of with the next."""
    async with fleet(server) as made:
        bucket = await made.bucket()
        waiters = [own_task(use(bucket, 0.01)) for _ in range(6)]
        began = now()
        while not all(waiter.done() for waiter in waiters):
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                if "htx_async" in str(task.get_coro()) or "SharedQueue" in str(task.get_coro()):
                    task.cancel()
            await asyncio.sleep(0.05)
        assert busiest([waiter.result() for waiter in waiters], PER) <= 2
        assert now() - began < 2 * PER + 2 * WITHIN + SLACK
