"""What the exchange told one process of a fleet, in all of them: refusals and slower limits."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from htx_async.enums import LimiterMode
from htx_async.limits.shared_store import ASK_AGAIN, ASKING, GRANTED, Rule, Taken
from htx_async.redis_limits import RedisTokenBucket
from tests.support.fault_server import bounded
from tests.support.redis_server import PATH, Proxy, RedisServer, running
from tests.support.shared_tokens import fleet, use
from tests.support.shelf import LEASE, shelf
from tests.support.tokens import now

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tasks")]

PER = 5.0
LATE = 1.0
"""Seconds that a busy machine may add."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One server for the tests of this module; each uses an account of its own."""
    with running() as started:
        yield started


def soon(seconds: float) -> Any:
    return pytest.approx(seconds, abs=0.5)


# Step by step on the server; what is stored is made older instead of waited for


@bounded
async def test_a_slower_limit_is_renewed_by_replies_that_repeat_it(server: RedisServer) -> None:
    """A minute from the last of them; a less slow one repeats nothing."""
    async with shelf(server, per=PER) as one:
        await one.store.tighten(Rule(1, PER * 2))
        one.stored.age(50)
        await one.store.tighten(Rule(1, PER * 2))
        one.stored.age(50)
        await one.store.tighten(Rule(2, PER * 2))
        await one.take("a")
        assert (await one.take("b"))[0].status == ASK_AGAIN
        one.stored.age(11)
        assert await one.take("b") == [Taken(GRANTED, 0.0)]


@bounded
async def test_a_slower_limit_that_has_run_out_holds_nobody_any_longer(
    server: RedisServer,
) -> None:
    """What it kept from coming back is back when the endpoint's own limit lets it."""
    async with shelf(server, per=PER) as one:
        await one.take("a", "b")
        await one.store.tighten(Rule(1, 60.0))
        await one.store.settle("a", "b")
        assert await one.take("c") == [Taken(GRANTED, soon(60.0))]
        await one.store.release("c")
        one.stored.age(60)
        assert await one.take("d", "e") == [Taken(GRANTED, 0.0)] * 2
        assert (await one.take("f"))[0].status == ASK_AGAIN


@bounded
async def test_a_slower_limit_that_is_undone_leaves_the_own_one(server: RedisServer) -> None:
    """Tokens used a moment ago stay away for their period, and reservations are made anew."""
    async with shelf(server, per=PER) as one:
        await one.take("a", "b")
        await one.store.tighten(Rule(1, 60.0))
        await one.store.settle("a", "b")
        assert await one.take("c") == [Taken(GRANTED, soon(60.0))]
        await one.store.loosen()
        assert await one.take("c", "d") == [Taken(GRANTED, soon(PER))] * 2
        assert (await one.take("e"))[0].status == ASK_AGAIN


@bounded
async def test_urgent_callers_of_all_processes_keep_one_a_second(server: RedisServer) -> None:
    """Under one a minute; as far as the endpoint's own limit lets them."""
    async with shelf(server, size=3, per=PER) as one:
        await one.take("a")
        await one.store.settle("a")
        await one.store.tighten(Rule(1, 60.0))
        assert await one.take("b", urgent=True) == [Taken(GRANTED, soon(1.0))]
        assert await one.take("c", urgent=True) == [Taken(GRANTED, soon(2.0))]
        one.stored.age(2)
        assert await one.take("b", "c", urgent=True) == [Taken(GRANTED, 0.0)] * 2
        await one.store.settle("b", "c")
        assert await one.take("d", urgent=True) == [Taken(GRANTED, soon(PER - 2))]


@bounded
async def test_after_a_refusal_one_process_asks_and_the_others_wait(server: RedisServer) -> None:
    """Closed for as long as was told, also to what was reserved before; then one asks."""
    async with shelf(server, size=4, per=PER) as one:
        await one.take("a", "b", "c", "d")
        await one.store.settle("a")
        assert await one.take("before") == [Taken(GRANTED, soon(PER))]
        await one.store.shut(10.0, 60.0)
        assert await one.take("before") == [Taken(ASKING, soon(10.0))]
        assert (await one.take("other"))[0].status == ASK_AGAIN
        await one.store.settle("b", "c", "d")
        one.stored.age(10)
        assert await one.take("before") == [Taken(ASKING, 0.0)]
        assert (await one.take("other"))[0].status == ASK_AGAIN
        await one.store.open()
        assert await one.take("other") == [Taken(GRANTED, 0.0)]


@bounded
@pytest.mark.parametrize("end", ["released", "failed", "vanished", "refused"])
async def test_when_the_one_that_asks_gets_no_answer_the_next_asks(
    server: RedisServer, end: str
) -> None:
    """Not sent, failed, gone with its process, or refused once more."""
    async with shelf(server, size=4, per=PER) as one:
        await one.store.shut(1.0, 1.0)
        one.stored.age(1)
        assert await one.take("asks") == [Taken(ASKING, 0.0)]
        if end == "released":
            await one.store.release("asks")
        elif end == "failed":
            await one.store.settle("asks")
        elif end == "vanished":
            one.stored.age(LEASE)
            await one.store.shut(0.0, 0.0)
        else:
            await one.store.shut(3.0, 3.0)
        wait = 3.0 if end == "refused" else 0.0
        assert await one.take("next") == [Taken(ASKING, soon(wait))]


@bounded
async def test_urgent_callers_of_all_processes_ask_once_a_second(server: RedisServer) -> None:
    """While it is closed to others, and each but once."""
    async with shelf(server, size=4, per=PER) as one:
        await one.store.shut(10.0, 60.0)
        assert await one.take("a", urgent=True) == [Taken(ASKING, soon(1.0))]
        assert await one.take("b", urgent=True) == [Taken(ASKING, soon(2.0))]
        assert await one.take("a", urgent=True) == [Taken(ASKING, soon(1.0))]
        one.stored.age(1)
        assert await one.take("a", urgent=True) == [Taken(ASKING, soon(0.0))]
        assert (await one.take("ordinary"))[0].status == ASK_AGAIN


@bounded
async def test_a_refusal_that_nobody_followed_up_is_forgotten(server: RedisServer) -> None:
    """Ten seconds after the time that it asked for."""
    async with shelf(server, size=4, per=PER) as one:
        await one.store.shut(10.0, 60.0)
        one.stored.age(71)
        assert await one.take("a", "b") == [Taken(GRANTED, 0.0)] * 2


# Two processes, in real time


@bounded
async def test_a_refusal_of_one_process_closes_all_and_one_asks(server: RedisServer) -> None:
    """Of many who wait in two processes one goes after a second; the others wait for its answer."""
    async with fleet(server) as one:
        first, second = [await one.bucket(size=4) for _ in range(2)]
        await asyncio.gather(use(first), use(second))
        began = now()
        assert first.refused(PATH, 0.0) == 1.0
        await first.drain()
        granted: list[float] = []
        held = asyncio.Event()

        async def asks(bucket: RedisTokenBucket) -> None:
            async with bucket.take(PATH):
                granted.append(now() - began)
                await held.wait()

        waiting = [asyncio.create_task(asks(b)) for b in (first, second) for _ in range(3)]
        await asyncio.sleep(2.0)
        assert len(granted) == 1
        assert 1.0 <= granted[0] < 1.0 + LATE
        held.set()
        await asyncio.gather(*waiting)
        assert sorted(granted)[1] >= 2.0
        assert max(granted) < 2.0 + 2 * LATE


@bounded
@pytest.mark.parametrize("way", ["fails", "cancelled", "not sent"])
async def test_in_a_fleet_too_the_next_asks_when_one_gets_no_answer(
    server: RedisServer, way: str
) -> None:
    """In the same process and in the other."""
    async with fleet(server) as one:
        first, second = [await one.bucket(size=4) for _ in range(2)]
        await asyncio.gather(use(first), use(second))
        first.refused(PATH, 0.0)
        await first.drain()

        async def fails() -> None:
            async with first.take(PATH) as lease:
                if way == "not sent":
                    lease.not_sent()
                    return
                if way == "cancelled":
                    await asyncio.sleep(60.0)
                raise ConnectionError

        lost = asyncio.create_task(fails())
        await asyncio.sleep(1.5)
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)
        began = now()
        await asyncio.gather(use(second), use(first), use(second))
        assert now() - began < 2 * LATE


@bounded
async def test_urgent_callers_of_a_fleet_ask_each_second_together(server: RedisServer) -> None:
    """Two processes, three urgent callers each, that are refused again and again."""
    async with fleet(server) as one:
        buckets = [await one.bucket(size=4) for _ in range(2)]
        await asyncio.gather(*(use(bucket) for bucket in buckets))
        buckets[0].refused(PATH, 60.0)
        await buckets[0].drain()
        granted: list[float] = []

        async def asks(number: int) -> None:
            bucket = buckets[number % 2]
            async with bucket.take(PATH, urgent=True):
                granted.append(now())
                bucket.refused(PATH, 60.0)

        tasks = [asyncio.create_task(asks(number)) for number in range(6)]
        await asyncio.sleep(3.6)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert 2 <= len(granted) <= 4
        assert min(b - a for a, b in itertools.pairwise(sorted(granted))) > 0.9


@bounded
async def test_a_slower_limit_is_undone_in_the_whole_fleet(server: RedisServer) -> None:
    """One process is told, the other waits by it, a third hears the documented limit: all go."""
    async with fleet(server) as one:
        first, second = [await one.bucket(size=5, per=1.0) for _ in range(2)]
        await asyncio.gather(use(first), use(second))
        assert first.tighten(PATH, 1, 60.0) == (1, 60.0)
        await first.drain()
        assert first.tighten(PATH, 1, 60.0) is None
        waiting = [asyncio.create_task(use(b)) for b in (first, second) for _ in range(2)]
        urgent = asyncio.create_task(use(second, urgent=True))
        await asyncio.wait([urgent], timeout=1.0 + 2 * LATE)
        assert urgent.done()
        assert not any(task.done() for task in waiting)
        began = now()
        assert first.tighten(PATH, 5, 1.0) == (5, 1.0)
        await asyncio.gather(*waiting)
        assert now() - began < 2.0 + 1.0 + 2 * LATE


@bounded
async def test_a_refusal_holds_without_redis_too(server: RedisServer) -> None:
    """On its own share a process closes, asks and opens by itself."""
    async with Proxy(server) as proxy, fleet(server) as one:
        proxy.refuse()
        bucket = await one.bucket(proxy.url, size=4, share_of=2)
        await use(bucket)
        assert bucket.mode(PATH) is LimiterMode.OWN_SHARE
        began = now()
        assert bucket.refused(PATH, 0.0) == 1.0
        granted = await asyncio.gather(*(use(bucket, 0.5) for _ in range(3)))
        assert min(granted) - began >= 1.0
        assert sorted(granted)[1] - min(granted) >= 0.5
        assert max(granted) - began < 2.5 + 2 * LATE


@bounded
async def test_what_is_foreseen_counts_refusals_and_slower_limits(server: RedisServer) -> None:
    """A call that cannot come in time is told at once; an urgent one can."""
    async with fleet(server) as one:
        bucket = await one.bucket(size=5, per=1.0, share_of=1)
        await use(bucket)
        bucket.tighten(PATH, 1, 60.0)
        assert bucket.earliest(PATH, urgent=True) - now() <= 1.0
        assert bucket.foresee(PATH, 3) - now() > 100.0
        bucket.tighten(PATH, 5, 1.0)
        bucket.refused(PATH, 9.0)
        assert bucket.earliest(PATH) - now() == pytest.approx(9.0, abs=0.1)
        assert bucket.earliest(PATH, urgent=True) - now() == pytest.approx(1.0, abs=0.1)
