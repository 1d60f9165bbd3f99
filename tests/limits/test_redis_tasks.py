"""The Redis limiter's own tasks: begun eagerly or not, and cancelled from outside.

The end of `asyncio.run`, and many a hand-made shutdown, cancels every task of the loop.
"""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from htx_async.enums import LimiterMode
from htx_async.redis_limits import RedisTokenBucket
from tests.support.fault_server import bounded
from tests.support.redis_server import PATH, Proxy, RedisServer, Stored, running
from tests.support.shared_tokens import PER, SLACK, Crowd, Modes, fleet, until, use
from tests.support.tokens import busiest, now

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tasks")]

SHARED, OWN_SHARE = LimiterMode.SHARED, LimiterMode.OWN_SHARE


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One server for the tests of this module that leave it alone; each uses its own account."""
    with running() as started:
        yield started


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may stop and kill."""
    with running() as started:
        yield started


class Ours:
    """The test's own tasks; all others belong to the limiter, or to redis-py."""

    def __init__(self, *tasks: asyncio.Task[object]) -> None:
        self._tasks = {asyncio.current_task(), *tasks}

    def cancel_others(self) -> int:
        """As a shutdown does that knows no better; how many there were."""
        others = asyncio.all_tasks() - self._tasks
        for task in others:
            task.cancel()
        return len(others)


@asynccontextmanager
async def waiting(
    bucket: RedisTokenBucket, count: int = 1
) -> AsyncIterator[list[asyncio.Task[float]]]:
    """Callers who wait; whoever still does at the end, does no more."""
    callers = [asyncio.create_task(use(bucket)) for _ in range(count)]
    try:
        yield callers
    finally:
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


@bounded
async def test_callers_get_their_tokens_after_an_urgent_call_without_redis(
    server: RedisServer,
) -> None:
    """One call that needs not wait for anything ends the task that serves it at once."""
    async with Proxy(server) as proxy, fleet(server) as one:
        bucket = await one.bucket(proxy.url)
        await use(bucket)
        modes = Modes(bucket)
        proxy.refuse()
        async with waiting(bucket):
            await modes.come_to(OWN_SHARE)
        # Nobody waits any more, and the urgent one passes without waiting for anything.
        await asyncio.sleep(0.01)
        await use(bucket, urgent=True)
        await asyncio.gather(*(use(bucket) for _ in range(2)))
        proxy.open()
        crowd = Crowd(bucket)
        await crowd.get(4, SHARED)
        granted = await crowd.leave()
        assert busiest([at for at, _ in granted], PER) <= 2


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
@bounded
async def test_one_who_waits_gets_his_turn_though_all_other_tasks_are_cancelled(
    server: RedisServer, turns: int
) -> None:
    """While it asks, or sleeps until a token comes back; at no moment more than the limit."""
    async with fleet(server) as one:
        bucket = await one.bucket(size=1)
        used = await use(bucket)
        async with waiting(bucket, 3) as callers:
            ours = Ours(*callers)
            for _ in range(3):
                for _ in range(turns):
                    await asyncio.sleep(0)
                ours.cancel_others()
                await asyncio.sleep(0.03)
            granted = await asyncio.gather(*callers)
        assert busiest([used, *granted], PER) == 1
        assert max(granted) - used < 3 * PER + SLACK


@bounded
async def test_what_is_back_is_told_though_the_task_that_tells_it_is_cancelled(
    server: RedisServer,
) -> None:
    """Else the others would wait for the end of its lease."""
    async with fleet(server) as one:
        bucket = await one.bucket(size=2, per=60.0)
        ours = Ours()
        for urgent in (False, True):
            await use(bucket, urgent=urgent)
            # Before the first step of the task, and in the middle of it.
            ours.cancel_others()
            await asyncio.sleep(0)
            ours.cancel_others()
            await bucket.drain()
            assert not one.stored.tokens(one.stored.waiting)
        assert len(one.stored.tokens(one.stored.back)) == 2


@bounded
async def test_what_is_back_is_told_though_nobody_drains(server: RedisServer) -> None:
    """A process that goes on after such a shutdown owes nothing."""
    async with fleet(server) as one:
        bucket = await one.bucket(size=2, per=60.0)
        bucket.pause(PATH, 0.01)
        await use(bucket)
        Ours().cancel_others()
        await until(lambda: not one.stored.tokens(one.stored.waiting))
        assert len(one.stored.tokens(one.stored.back)) == 1
        assert "pause" in one.stored.fields()


@bounded
async def test_an_urgent_call_passes_a_fence_though_all_other_tasks_are_cancelled(
    server: RedisServer,
) -> None:
    """The pass that was asked for is not lost with the task that asked."""
    async with Proxy(server) as proxy, fleet(server, is_open=False) as one:
        bucket = await one.bucket(url=server.url, per=60.0)
        slow = await one.bucket(url=proxy.url, per=60.0)
        async with waiting(bucket) as callers:
            await until(lambda: one.stored.tokens(one.stored.waiting))
            proxy.down = 0.02
            urgent = asyncio.create_task(use(slow, urgent=True))
            ours, began = Ours(*callers, urgent), now()
            for _ in range(4):
                await asyncio.sleep(0.015)
                ours.cancel_others()
                await asyncio.sleep(0.05)
                proxy.cut()
            await urgent
            assert now() - began < 4 * 0.065 + SLACK


@pytest.mark.parametrize("fault", ["stop", "kill"])
@bounded
async def test_tasks_cancelled_while_redis_is_away_are_made_anew(
    own_server: RedisServer, fault: str
) -> None:
    """Those who wait get tokens of the process's own share, and shared ones afterwards."""
    async with fleet(own_server) as one:
        bucket = await one.bucket(size=4)
        await use(bucket)
        modes = Modes(bucket)
        getattr(own_server, fault)()
        async with waiting(bucket, 3) as callers:
            ours = Ours(*callers)
            for pause in (0.0, 0.1, 0.2, 0.1):
                await asyncio.sleep(pause)
                ours.cancel_others()
            own = await asyncio.gather(*callers)
        assert busiest(own, PER) <= 2
        if fault == "stop":
            own_server.resume()
        else:
            await asyncio.to_thread(own_server.start)
        crowd = Crowd(bucket)
        await crowd.get(4, SHARED)
        granted = await crowd.leave()
        assert busiest([*own, *(at for at, _ in granted)], PER) <= 4
        assert [mode for _, mode, _ in modes.heard] == [OWN_SHARE, SHARED]


@pytest.mark.parametrize("seed", range(5))
@bounded
async def test_shutdowns_at_any_moment_cost_nobody_his_turn(
    own_server: RedisServer, seed: int
) -> None:
    """With a server that is stopped and goes on in between: all get their tokens, within the
    limit, and at the end none is out."""
    rng = random.Random(seed)
    async with fleet(own_server) as one:
        bucket = await one.bucket(size=4)
        modes = Modes(bucket)
        async with waiting(bucket, 14) as callers:
            ours = Ours(*callers)
            for moment in range(8):
                await asyncio.sleep(rng.choice([0.0, 0.001, 0.01, 0.1]))
                ours.cancel_others()
                if moment == 3:
                    own_server.stop()
                    await asyncio.sleep(rng.choice([0.05, 0.5]))
                    own_server.resume()
            granted = await asyncio.gather(*callers)
        shared_at = [at for at, mode, _ in modes.heard if mode is SHARED]
        assert len(shared_at) <= 1
        assert busiest(granted, PER) <= 4
        await bucket.drain()
        await until(lambda: not one.stored.tokens(one.stored.waiting))


def test_one_who_goes_on_at_the_end_of_asyncio_run_gets_his_tokens(server: RedisServer) -> None:
    """As a guard's mass cancel does; and nothing is left behind when the loop is closed."""
    account = uuid.uuid4().hex
    stored = Stored(server, account)
    stored.open()
    granted: list[float] = []

    async def stubborn(bucket: RedisTokenBucket) -> None:
        last = asyncio.ensure_future(use(bucket))
        try:
            await asyncio.shield(last)
        except asyncio.CancelledError:
            async with asyncio.timeout(5):
                for _ in range(3):
                    granted.append(await use(bucket))
                await bucket.drain()
            await bucket.aclose()

    async def main() -> None:
        bucket = RedisTokenBucket.from_url(server.url, account, share_of=1, size=1, per=PER)
        granted.append(await use(bucket))
        main.task = asyncio.create_task(stubborn(bucket))  # type: ignore[attr-defined]  # kept
        await asyncio.sleep(0.05)

    asyncio.run(main())
    assert len(granted) == 4
    assert busiest(granted, PER) == 1
    assert not stored.tokens(stored.waiting)


@pytest.mark.parametrize("drains", [False, True])
def test_a_bucket_that_nobody_closed_leaves_no_connection_open(
    own_server: RedisServer, drains: bool
) -> None:
    """A client of its own ends with its loop, idle or not, and can be closed and used later on."""
    account = uuid.uuid4().hex
    Stored(own_server, account).open()
    bucket = RedisTokenBucket.from_url(own_server.url, account, share_of=1, per=PER)

    async def once() -> None:
        await use(bucket)
        async with bucket.reads.take("reads", urgent=True):
            pass
        if drains:
            await bucket.drain()

    async def nobody_else(client: Any) -> None:
        # The server learns of it a moment later.
        await until(lambda: len(client.client_list()) == 1)

    with own_server.client() as looking:
        for work in (once, once, bucket.aclose):
            asyncio.run(work())
            asyncio.run(asyncio.wait_for(nobody_else(looking), 5.0))
