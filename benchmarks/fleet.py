"""Four processes share five requests a second through one Redis: this SDK's limiter and others'.

Each process has 50 callers who wait for ten seconds; a request takes 50 ms, of which a random part
passes before it arrives. One limiter after the other, each alone on a server of its own; what is
counted is what would arrive at an exchange. Scripts are those that the server itself counts. The
others run in an environment of their own and wait as they offer to, those that only say no on a
lock and a clock: one caller of each process asks, every 20 ms. Run: `python -m benchmarks.fleet`.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

_PROCESSES = 4
_WAITERS = 50
_SECONDS = 10.0
_LATENCY = 0.05
_LIMIT = 5
_LEAST_RATE = 4.2
_LEAST_FAIRNESS = 0.9
_MOST_SCRIPTS = 4.0
_BETWEEN_TRIES = 0.02
_TO_END = 30.0

_ROOT = Path(__file__).parent.parent
_OTHERS = _ROOT / ".venv-bench" / "bin" / "python"
_PATH = "/linear-swap-api/v1/swap_track_cancelall"
_ACCOUNT = "benchmark"

Take = Callable[[], AbstractAsyncContextManager[object]]

# Each library is loaded where it is installed, and there only.
# ruff: noqa: PLC0415


@asynccontextmanager
async def _ours(url: str) -> AsyncIterator[Take]:
    from htx_async.redis_limits import RedisTokenBucket

    async with RedisTokenBucket.from_url(url, _ACCOUNT, share_of=_PROCESSES) as bucket:
        yield lambda: bucket.take(_PATH)


@asynccontextmanager
async def _moving_window(url: str) -> AsyncIterator[Take]:
    from limits import RateLimitItemPerSecond  # type: ignore[import-not-found]  # another venv
    from limits.aio.storage import RedisStorage  # type: ignore[import-not-found]  # another venv
    from limits.aio.strategies import (  # type: ignore[import-not-found]  # another venv
        MovingWindowRateLimiter,
    )

    limiter = MovingWindowRateLimiter(RedisStorage(f"async+{url}", implementation="redispy"))
    item, line = RateLimitItemPerSecond(_LIMIT), asyncio.Lock()

    @asynccontextmanager
    async def take() -> AsyncIterator[None]:
        async with line:
            while not await limiter.hit(item, _ACCOUNT):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(_BETWEEN_TRIES)
        yield

    yield take


@asynccontextmanager
async def _bucket_log(url: str) -> AsyncIterator[Take]:
    from pyrate_limiter import (  # type: ignore[import-not-found]  # another venv
        Duration,
        Limiter,
        Rate,
        RedisBucket,
    )
    from redis.asyncio import Redis

    async with Redis.from_url(url) as client:
        bucket = await RedisBucket.init([Rate(_LIMIT, Duration.SECOND)], client, _ACCOUNT)
        limiter = Limiter(bucket)

        @asynccontextmanager
        async def take() -> AsyncIterator[None]:
            await limiter.try_acquire_async(_ACCOUNT)
            yield

        yield take
        limiter.close()


@asynccontextmanager
async def _throttled(url: str, using: str) -> AsyncIterator[Take]:
    from throttled.asyncio import (  # type: ignore[import-not-found]  # another venv
        RedisStore,
        Throttled,
        rate_limiter,
    )

    throttle = Throttled(
        key=_ACCOUNT,
        timeout=_SECONDS,
        using=using,
        quota=rate_limiter.per_sec(_LIMIT, burst=_LIMIT),
        store=RedisStore(server=url),
    )

    @asynccontextmanager
    async def take() -> AsyncIterator[None]:
        while (await throttle.limit()).limited:
            pass
        yield

    yield take


LIMITERS: dict[str, Callable[[str], AbstractAsyncContextManager[Take]]] = {
    "htx_async": _ours,
    "limits, moving window": _moving_window,
    "pyrate-limiter, bucket log": _bucket_log,
    "throttled-py, GCRA": lambda url: _throttled(url, "gcra"),
    "throttled-py, token bucket": lambda url: _throttled(url, "token_bucket"),
}


async def work(name: str, url: str) -> list[tuple[float, float]]:
    """One process: when each of its requests was sent, and when it arrived, on the machine's
    clock. Prints a line when it is ready, and begins when it reads one."""
    made: list[tuple[float, float]] = []
    chance = random.Random()

    async def call(take: Take) -> None:
        while True:
            async with take():
                sent, up = time.monotonic(), chance.uniform(0, _LATENCY)
                await asyncio.sleep(up)
                made.append((sent, time.monotonic()))
                await asyncio.sleep(_LATENCY - up)

    async with LIMITERS[name](url) as take:
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        callers = [asyncio.create_task(call(take)) for _ in range(_WAITERS)]
        ended, _ = await asyncio.wait(callers, timeout=_SECONDS)
        for caller in ended:
            caller.result()
        for caller in callers:
            caller.cancel()
        # Some limiters lose a cancellation.
        await asyncio.wait(callers, timeout=_LATENCY * 2)
    return made


class Figures(NamedTuple):
    """What came of one limiter."""

    sent: int
    arrived: int
    rate: float
    fairness: float
    scripts: float


def figures(made: list[list[tuple[float, float]]], scripts: int) -> Figures:
    """Busiest seconds, grants per second, Jain's index over processes, scripts per grant."""
    counts = [len(one) for one in made]
    total = sum(counts)
    return Figures(
        sent=_busiest(sorted(sent for one in made for sent, _ in one)),
        arrived=_busiest(sorted(arrived for one in made for _, arrived in one)),
        rate=total / _SECONDS,
        fairness=total**2 / (len(counts) * sum(count**2 for count in counts)) if total else 0.0,
        scripts=scripts / max(1, total),
    )


def _busiest(moments: list[float]) -> int:
    return max((sum(a <= b < a + 1.0 for b in moments) for a in moments), default=0)


def measure(name: str) -> Figures | str:
    """The figures of one limiter, or why there are none."""
    from tests.redis_server import Stored, running

    python = sys.executable if name == "htx_async" else str(_OTHERS)
    if not Path(python).exists():
        return "not installed here (make bench sets it up)"
    with running() as server, server.client() as client:
        # As if used before: what a first use costs is no part of the comparison.
        Stored(server, _ACCOUNT).open()
        client.config_resetstat()
        command = [python, "-m", "benchmarks.fleet", name, server.url]
        pipe = subprocess.PIPE
        processes = [
            subprocess.Popen(command, cwd=_ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
            for _ in range(_PROCESSES)
        ]
        try:
            return _run(processes, client)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _run(processes: list[subprocess.Popen[str]], client: Any) -> Figures | str:
    for process in processes:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            _, problem = process.communicate(timeout=_TO_END)
            return f"not measured: {problem.strip().splitlines()[-1]}"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    made = []
    for process in processes:
        try:
            out, problem = process.communicate(timeout=_SECONDS + _TO_END)
        except subprocess.TimeoutExpired:
            return "not measured: a process did not come to its end"
        if process.returncode:
            return f"not measured: {problem.strip().splitlines()[-1]}"
        made.append(json.loads(out))
    stats = client.info("commandstats")
    scripts = sum(
        stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval")
    )
    return figures(made, scripts)


def shown(name: str, measured: Figures | str) -> bool:
    """Print one limiter's figures; whether ours keep their targets, and True for the others."""
    if isinstance(measured, str):
        print(f"{name:28s} {measured}")
        return name != "htx_async"
    print(
        f"{name:28s} {measured.sent:8d} {measured.arrived:8d} {measured.rate:8.2f} "
        f"{measured.fairness:8.2f} {measured.scripts:8.1f}"
    )
    return name != "htx_async" or (
        measured.arrived <= _LIMIT
        and measured.rate >= _LEAST_RATE
        and measured.fairness >= _LEAST_FAIRNESS
        and measured.scripts <= _MOST_SCRIPTS
    )


def main() -> int:
    """Print the figures as they come; 0 when ours keep their targets."""
    if len(sys.argv) > 1:
        print(json.dumps(asyncio.run(work(*sys.argv[1:]))))
        return 0
    print(f"{'':28s}   busiest second    grants  Jain's  scripts")
    print(f"{'limiter':28s}     sent  arrived     /s    index   /grant")
    kept = [shown(name, measure(name)) for name in LIMITERS]
    print(
        f"{'bounds for htx_async':28s} {'':8s} {_LIMIT:8d} {_LEAST_RATE:8.2f} "
        f"{_LEAST_FAIRNESS:8.2f} {_MOST_SCRIPTS:8.1f}"
    )
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
