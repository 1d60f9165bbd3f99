"""Processes that share one account through one Redis; the simulated exchange judges.

Workers are real processes, `tests/support/fleet_worker.py`; faults are signals. Bounds in seconds
have slack for one thing only: that a busy machine runs a process late.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from htx_async.enums import LimiterMode
from htx_async.redis_limits import RedisTokenBucket
from htx_async.simulator import SimulatedExchange
from tests.support.command import environment
from tests.support.redis_server import RedisServer, Stored, running

pytestmark = [pytest.mark.slow, pytest.mark.long]

SHARED, OWN_SHARE = LimiterMode.SHARED, LimiterMode.OWN_SHARE

BOUND = 60.0
"""Seconds after which a test is stuck, with four processes to start beside other tests."""

SLACK = 1.0
ACCESS, SECRET = "access-key-of-the-fleet", "secret-key-of-the-fleet"


@dataclass
class Summary:
    """What a worker tells of itself."""

    calls: dict[str, int]
    attempts: list[tuple[float, LimiterMode]]
    modes: list[tuple[float, LimiterMode]]


class Worker:
    """One process of the fleet."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def is_ready(self) -> None:
        """Wait until it has opened its session."""
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"

    def go(self) -> None:
        """Let its callers begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self._process.returncode is None:
            self._process.kill()

    async def end(self) -> Summary:
        """Let it come to its end, and tell."""
        out, _ = await self._process.communicate(b"")
        assert self._process.returncode == 0
        return Summary(**json.loads(out))


class Fleet:
    """An exchange that refuses nobody for coming too often, a server, and workers."""

    def __init__(
        self, exchange: SimulatedExchange, server: RedisServer, stack: AsyncExitStack
    ) -> None:
        self.exchange = exchange
        self._server = server
        self._stack = stack

    async def worker(self, *, skew: float = 0.0, callers: int = 8, **settings: Any) -> Worker:
        """One more process, with callers that wait for `go`."""
        given = {
            "redis": self._server.url,
            "exchange": self.exchange.url,
            "limiter": {"share_of": 4},
            "attempt_timeout": 3.0,
            "skew": skew,
            "callers": callers,
            **settings,
        }
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "tests.support.fleet_worker", json.dumps(given)),
            env=environment(HTX_ACCESS_KEY=ACCESS, HTX_SECRET_KEY=SECRET),
            stdin=pipe,
            stdout=pipe,
        )
        worker = Worker(process)
        self._stack.push_async_callback(process.wait)
        self._stack.callback(worker.kill)
        return worker

    async def arrive(self, count: int, since: float | None = None) -> None:
        """Wait until `count` requests have arrived since then, or from now on."""
        start = now() if since is None else since

        def came() -> int:
            return sum(one.at >= start for one in self.exchange.arrivals)

        while came() < count:  # noqa: ASYNC110 - they come from outside
            await asyncio.sleep(0.01)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server of the test's own."""
    with running() as started:
        yield started


@asynccontextmanager
async def fleet(server: RedisServer) -> AsyncIterator[Fleet]:
    """A fleet whose processes end with the block, whatever happens; used before, so open."""
    Stored(server, "fleet").open()
    async with (
        asyncio.timeout(BOUND),
        SimulatedExchange(limit=1000, access_key=ACCESS, secret_key=SECRET) as exchange,
        AsyncExitStack() as stack,
    ):
        yield Fleet(exchange, server, stack)


async def begin(*workers: Worker) -> None:
    """All callers at once."""
    await asyncio.gather(*(worker.is_ready() for worker in workers))
    for worker in workers:
        worker.go()


async def accounts(exchange: SimulatedExchange, *workers: Worker) -> list[Summary]:
    """What each worker tells, once it is certain that together they tell all that arrived."""
    told = await asyncio.gather(*(worker.end() for worker in workers))
    answered = sum(one.calls["answered"] for one in told)
    assert answered == sum(len(one.attempts) for one in told) == len(exchange.arrivals)
    for one in told:
        assert one.calls["unknown"] == 0
        assert one.calls["begun"] == one.calls["answered"] + one.calls["not_sent"]
    return told


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_fleet_keeps_the_limit_together_whatever_its_clocks_show(
    server: RedisServer,
) -> None:
    """Two of four processes are half a minute off, one way and the other, and it changes nothing:
    five in any second at the exchange, all that the limit gives, and a fair part for each."""
    async with fleet(server) as one:
        workers = [await one.worker(skew=skew) for skew in (0.0, 30.0, -30.0, 0.0)]
        await begin(*workers)
        await one.arrive(1)
        began = now()
        await one.arrive(19)
        assert now() - began < 3 * 1.1 + SLACK
        told = await accounts(one.exchange, *workers)
        assert one.exchange.busiest(1.0) <= 5
        assert [each.modes for each in told] == [[]] * 4
        assert all(mode == SHARED for each in told for _, mode in each.attempts)
        assert min(each.calls["answered"] for each in told) >= 2
        # Those who still waited were told so; none was lost.
        assert sum(each.calls["not_sent"] for each in told) >= 4 * 8 - 5


async def test_a_fleet_outlives_the_death_of_its_server(server: RedisServer) -> None:
    """Killed under load and started empty: no second above five, no call lost, and shared tokens
    again within 1.5 s."""
    async with fleet(server) as one:
        workers = [await one.worker() for _ in range(4)]
        await begin(*workers)
        await one.arrive(8)
        server.kill()
        killed = now()
        # What used the last shared tokens is over by then.
        await one.arrive(3, since=killed + 0.9)
        await asyncio.to_thread(server.start)
        started = now()
        await one.arrive(9)
        told = await accounts(one.exchange, *workers)
        assert one.exchange.busiest(1.0) <= 5
        for each in told:
            assert [mode for _, mode in each.modes] == [OWN_SHARE, SHARED]
        attempts = sorted(attempt for each in told for attempt in each.attempts)
        own = [at for at, mode in attempts if mode == OWN_SHARE]
        assert len(own) >= 3
        assert min(own) - killed >= 1.0
        again = min(at for at, mode in attempts if mode == SHARED and at > started)
        assert again - started < 1.5 + SLACK


async def test_a_process_that_dies_with_all_tokens_delays_the_others_by_its_lease(
    server: RedisServer,
) -> None:
    """Its five requests have arrived and are never answered; nobody ever settles them."""
    lease = 2.0
    settings: dict[str, Any] = {
        "limiter": {"share_of": 2, "lease": lease},
        "attempt_timeout": 0.9,
    }
    async with fleet(server) as one:
        holder, other = [await one.worker(callers=5, **settings) for _ in range(2)]
        await asyncio.gather(holder.is_ready(), other.is_ready())
        one.exchange.latency = BOUND
        holder.go()
        await one.arrive(5)
        holder.kill()
        killed = now()
        one.exchange.latency = 0.0
        other.go()
        await one.arrive(1)
        # The bucket itself adds half a second to a lease.
        assert now() - killed < lease + 0.5 + SLACK
        await one.arrive(4)
        told = await other.end()
        assert one.exchange.busiest(1.0) <= 5
        # By attempts: on a busy machine an answer may come after 0.9 s, and the call once more.
        assert len(told.attempts) == len(one.exchange.arrivals) - 5
        assert told.calls["answered"] >= 5
        assert told.calls["unknown"] == 0
        assert told.modes == []


async def test_a_process_that_ends_properly_delays_nobody(server: RedisServer) -> None:
    """What it had reserved is free for the others when its session is closed."""
    async with fleet(server) as one:
        worker = await one.worker(limiter={"share_of": 2})
        await begin(worker)
        await one.arrive(5)
        await accounts(one.exchange, worker)
        ended = now()
        async with RedisTokenBucket.from_url(server.url, "fleet", share_of=2) as bucket:
            path = one.exchange.arrivals[0].path
            for _ in range(5):
                async with bucket.take(path):
                    pass
            assert now() - ended < 1.0 + SLACK
            assert bucket.mode(path) is SHARED
