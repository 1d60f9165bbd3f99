"""A store that lost a part of itself: a key deleted, or evicted by a server that is full."""

import asyncio
import random
from collections.abc import Iterator
from itertools import chain

import pytest

from htx_async.enums import LimiterMode
from htx_async.limits.shared_store import ASK_AGAIN, FENCED, GRANTED, Rule, Taken
from tests.support.fault_server import bounded
from tests.support.long_form import first_of
from tests.support.redis_server import PATH, Proxy, RedisServer, Stored, running
from tests.support.shared_tokens import PER, Crowd, Modes, fleet, until, use
from tests.support.shelf import PER as LONG
from tests.support.shelf import PROBE, shelf, soon_after
from tests.support.tokens import busiest, now

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tasks")]

SHARED = LimiterMode.SHARED

KEYS = ["endpoint", "waiting", "back", "account_waiting", "account_back"]


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One server for all tests of this module; each uses an account of its own."""
    with running() as started:
        yield started


def lose(stored: Stored, *keys: str) -> None:
    """Delete these keys; the account's with its sets."""
    with stored.client() as client:
        client.delete(*(getattr(stored, key) for key in keys))


@pytest.mark.parametrize("key", ["endpoint", "waiting", "back"])
@bounded
async def test_a_store_that_lost_a_key_of_an_endpoint_closes(server: RedisServer, key: str) -> None:
    """As an empty one does: every token counts as just used, and one urgent caller passes."""
    async with shelf(server, size=4) as one:
        await one.take("a", "b")
        await one.store.settle("a")
        lose(one.stored, key)
        closed = await one.take("c", "d")
        assert {each.status for each in closed} == {FENCED}
        assert all(each == Taken(FENCED, soon_after(PROBE + LONG)) for each in closed[-1:])
        assert await one.take("e", urgent=True) == [Taken(GRANTED, 0.0)]
        one.stored.age(PROBE + LONG)
        assert (await one.take("c"))[0] == Taken(GRANTED, 0.0)


@pytest.mark.parametrize("key", ["account_waiting", "account_back"])
@bounded
async def test_a_store_that_lost_a_key_of_the_account_closes(server: RedisServer, key: str) -> None:
    """Half of the account's budget counts as just used, as with an empty store."""
    async with shelf(server, size=4) as one:
        await one.take("a", "b")
        await one.store.settle("a")
        lose(one.stored, key)
        assert (await one.take("c"))[0].status == FENCED
        left = one.stored.tokens(one.stored.account_back)
        assert sum(name.startswith("fence:") for name in left) == 36


@bounded
async def test_what_comes_back_by_itself_is_no_loss(server: RedisServer) -> None:
    """Sets that are empty because every token is back, released, or beyond its lease."""
    async with shelf(server, size=4) as one, shelf(server, account="", size=4) as other:
        for each in (one, other):
            for age in (1.0, LONG, 2 * LONG, 4 * LONG, 600.0):
                await each.take("a", "b")
                await each.store.settle("a")
                await each.store.release("b")
                await each.take("c")
                each.stored.age(age)
                assert (await each.take("d", "e"))[0].status != FENCED
                await each.store.release("d", "e")
                await each.store.settle("c")
                each.stored.age(LONG)
        assert "fence" not in one.stored.fields()


@bounded
async def test_an_account_short_of_tokens_is_no_loss(server: RedisServer) -> None:
    """It gives tokens on their way back to others, so that they are in one set only."""
    async with shelf(server, size=100, trade=Rule(10, 3 * LONG), ordinary=10) as one:
        await one.take(*map(str, range(10)))
        for number in range(10):
            await one.store.settle(str(number))
        for number in range(10, 20):
            assert (await one.take(str(number)))[0].status == GRANTED
        assert (await one.take("20"))[0].status == ASK_AGAIN
        one.stored.age(3 * LONG)
        await one.store.settle(*map(str, range(10, 20)))
        assert (await one.take("21"))[0].status == GRANTED
        assert "fence" not in one.stored.fields()


@bounded
async def test_a_slower_limit_is_no_loss(server: RedisServer) -> None:
    """Its tokens stay away longer than the account counts them."""
    async with shelf(server, size=4, trade=Rule(72, LONG)) as one:
        await one.take("a", "b")
        await one.store.settle("a")
        await one.store.tighten(Rule(2, 5 * LONG))
        await one.store.settle("b")
        one.stored.age(2 * LONG)
        for name in "cd":
            assert (await one.take(name))[0].status == GRANTED
        assert "fence" not in one.stored.fields()


async def harass(rng: random.Random, stored: Stored, proxies: list[Proxy]) -> None:
    """Lose a key, or some, every now and then, while the way is slow, or closes connections."""
    for _ in range(4):
        await asyncio.sleep(rng.uniform(0.2, 0.6))
        lose(stored, *rng.sample(KEYS, rng.choice([1, 1, 2])))
        proxy = rng.choice(proxies)
        if rng.random() < 0.3:
            proxy.cut()
        proxy.up = proxy.down = rng.choice([0.0, 0.01, 0.025])


@pytest.mark.parametrize("seed", first_of(range(6), 2))
@bounded
async def test_no_loss_lets_more_through(server: RedisServer, seed: int) -> None:
    """Whatever is lost and when, on a quick way or a slow one: no period holds more than the limit,
    nobody is told of an outage, and afterwards all goes on."""
    rng = random.Random(seed)
    async with Proxy(server) as near, Proxy(server) as far, fleet(server) as one:
        buckets = [await one.bucket(proxy.url, size=4) for proxy in (near, far)]
        modes = [Modes(bucket) for bucket in buckets]
        crowd = Crowd(*buckets, each=4)
        await crowd.get(8, SHARED)
        await harass(rng, one.stored, [near, far])
        await crowd.get(8, SHARED)
        granted = await crowd.leave()
        assert busiest([at for at, _ in granted], PER) <= 4
        assert list(chain.from_iterable(each.heard for each in modes)) == []


@bounded
async def test_a_loss_beside_an_urgent_call_lets_one_through(server: RedisServer) -> None:
    """One passes the change-over, as with an empty store; the next waits."""
    async with fleet(server) as one:
        bucket = await one.bucket(size=2, per=60.0)
        async with bucket.take(PATH):
            lose(one.stored, "waiting")
            waiting = asyncio.create_task(use(bucket))
            await use(bucket, urgent=True)
            second = asyncio.create_task(use(bucket, urgent=True))
            await asyncio.wait([waiting, second], timeout=2 * PER)
            assert bucket.waiting(PATH) == 2
        for task in (waiting, second):
            task.cancel()
        await asyncio.gather(waiting, second, return_exceptions=True)


@bounded
async def test_a_join_that_comes_after_the_settlement_takes_nothing(server: RedisServer) -> None:
    """It lay in the socket of a connection that was given up, while the next one was quicker."""
    async with shelf(server, size=4) as one:
        await one.take("a")
        await one.store.settle("a")
        await one.store.join("me", was_away=False, used=0, waiting=("a", "b"))
        assert set(one.stored.tokens(one.stored.waiting)) == {"b"}
        assert set(one.stored.tokens(one.stored.account_waiting)) == {"b"}


@bounded
async def test_a_token_of_ones_own_answered_while_redis_hears_of_it_comes_back(
    server: RedisServer,
) -> None:
    """Redis was told that it waits for an answer, so it hears of the answer, too; without that
    the token would stay out until the end of its lease."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url, size=3, share_of=1, per=30.0)
        await use(bucket)
        await bucket.drain()
        modes = Modes(bucket)
        proxy.refuse()
        async with bucket.take(PATH, urgent=True):
            proxy.open()
            proxy.down = 0.1
            waiting = asyncio.create_task(use(bucket))
            await until(lambda: one.stored.tokens(one.stored.waiting))
        settled = now()
        assert await modes.come_to(SHARED) >= settled
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await until(lambda: not one.stored.tokens(one.stored.waiting))
        assert now() - settled < 2.0
