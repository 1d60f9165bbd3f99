"""Four processes share five requests a second through a file of their host, beside the same on
Redis; an urgent call behind them; and sixteen that start and are killed at any moment.

Each process has 50 callers who wait for ten seconds; a request takes 50 ms, of which a random part
passes before it arrives. What is counted is what would arrive at an exchange. CPU is that of the
processes alone: of a server, where there is one, it is left out. Run: `python -m benchmarks.host`.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from benchmarks.exchanges import LIMIT
from benchmarks.figures import installed, save
from benchmarks.fleet import Figures, Made, figures
from benchmarks.host_killed import PROCESSES, SECONDS, Killed, killed
from benchmarks.targets import at_most, told
from htx_async import HostTokenBucket

_FILE, _REDIS = "htx_async, a file of the host", "htx_async, Redis"
_SIZE, _WAITERS, _SECONDS, _LATENCY = 4, 50, 10.0, 0.05
_LEAST_RATE, _LEAST_FAIRNESS = 4.6, 0.95
_MOST_URGENT = 1.0 + _LATENCY + 0.2
_URGENT_CALLS = 3
_LEAST_STRIKES = 48, 16
"""Of sixteen processes and their successors: how many have to die, and how many of these with a
request under way, for the figure to say something."""

_ROOT = Path(__file__).parent.parent
_PATH = "/linear-swap-api/v1/swap_track_cancelall"
_ACCOUNT = "benchmark"


class Given(NamedTuple):
    """What one process does: where the tokens lie, with how many callers, for how long (seconds),
    and urgent or not."""

    limiter: str
    where: str
    callers: int = _WAITERS
    seconds: float = _SECONDS
    urgent: bool = False


@asynccontextmanager
async def _bucket(given: Given) -> AsyncIterator[Any]:
    if given.limiter == _FILE:
        async with HostTokenBucket(_ACCOUNT, path=given.where) as bucket:
            yield bucket
    else:
        from htx_async.redis_limits import RedisTokenBucket  # noqa: PLC0415 - redis, only where it is measured

        async with RedisTokenBucket.from_url(given.where, _ACCOUNT, share_of=_SIZE) as bucket:
            yield bucket


async def work(given: Given) -> None:
    """One process: prints "ready", begins when it reads a line, and prints each request as it
    arrives, as when it was asked for, sent and come; at the end how much CPU it took."""
    chance = random.Random()

    async def call(bucket: Any) -> None:
        while True:
            asked = time.monotonic()
            async with bucket.take(_PATH, urgent=given.urgent):
                sent, up = time.monotonic(), chance.uniform(0, _LATENCY)
                await asyncio.sleep(up)
                line = json.dumps([asked, sent, time.monotonic()])
                os.write(1, f"{line}\n".encode())
                await asyncio.sleep(_LATENCY - up)

    async with _bucket(given) as bucket:
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        began = time.process_time()
        callers = [asyncio.create_task(call(bucket)) for _ in range(given.callers)]
        await asyncio.wait(callers, timeout=given.seconds)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        print(json.dumps(time.process_time() - began), flush=True)


Process = subprocess.Popen[str]


@contextmanager
def _started(*given: Given) -> Iterator[list[Process]]:
    pipe, processes = subprocess.PIPE, list[Process]()
    try:
        for one in given:
            command = [sys.executable, "-m", "benchmarks.host", json.dumps(one)]
            processes.append(
                subprocess.Popen(command, cwd=_ROOT, stdin=pipe, stdout=pipe, text=True)
            )
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _go(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def _told(process: Process) -> tuple[list[list[float]], float]:
    """What a process printed, whole lines only, and its CPU if it came to its end."""
    out, _ = process.communicate(timeout=_SECONDS + 30.0)
    lines = [json.loads(line) for line in out.splitlines(keepends=True) if line.endswith("\n")]
    cpu = sum(line for line in lines if isinstance(line, float))
    return [line for line in lines if isinstance(line, list)], cpu


class Found(NamedTuple):
    """What came of one fleet; `cpu`: ms of each grant; `urgent`: the longest wait in seconds."""

    figures: Figures
    cpu: float
    urgent: float


def measure(limiter: str, where: str) -> Found:
    """Four busy processes, then four with urgent calls behind them."""
    with _started(*[Given(limiter, where)] * _SIZE) as processes:
        for process in processes:
            _go(process)
        ended = [_told(process) for process in processes]
    made: list[Made] = [[(sent, come) for _, sent, come in lines] for lines, _ in ended]
    found = figures(made, 0, {})
    cpu = 1000 * sum(cpu for _, cpu in ended) / max(1, sum(map(len, made)))
    urgent = Given(limiter, where, callers=1, seconds=2.5 * _URGENT_CALLS, urgent=True)
    with _started(urgent, *[Given(limiter, where)] * _SIZE) as processes:
        for process in processes[1:]:
            _go(process)
        time.sleep(2.0)
        _go(processes[0])
        lines, _ = _told(processes[0])
    return Found(found, cpu, max(sent - asked for asked, sent, _ in lines))


def judged(limiter: str, one: Found) -> bool:
    """Print one fleet's figures; whether the file keeps its targets, and True for Redis."""
    is_ours, found = limiter == _FILE, one.figures
    rate, fair, urgent = f"{found.rate:.2f}/s", f"{found.fairness:.3f}", f"{one.urgent:.2f} s"
    targets = {
        "granted": (rate, f">= {_LEAST_RATE}/s", found.rate >= _LEAST_RATE),
        "Jain's index": (fair, f">= {_LEAST_FAIRNESS}", found.fairness >= _LEAST_FAIRNESS),
        "an urgent call": (urgent, f"<= {_MOST_URGENT:g} s", one.urgent <= _MOST_URGENT),
    }
    kept = [at_most(f"{limiter}: busiest second", found.arrived, LIMIT)]
    for name, (figure, target, is_kept) in targets.items():
        kept.append(told(f"  {name}", figure, target if is_ours else "", kept=is_kept))
    told("  CPU of a grant", f"{one.cpu:.1f} ms")
    return all(kept) or not is_ours


def result(found: dict[str, Found], deaths: Killed) -> dict[str, Any]:
    """The table of docs/benchmarks.md."""
    return {
        "columns": [
            *("limiter", "granted a second", "busiest second, sent", "arrived"),
            *("Jain's index", "an urgent call, s", "CPU of a grant, ms"),
        ],
        "rows": [
            [
                f"**{name}**" if name == _FILE else name,
                f"{one.figures.rate:.1f}",
                str(one.figures.sent),
                str(one.figures.arrived),
                f"{one.figures.fairness:.2f}",
                f"{one.urgent:.2f}",
                f"{one.cpu:.1f}",
            ]
            for name, one in found.items()
        ],
        "note": (
            f"{_SIZE} processes of {_WAITERS} callers for {_SECONDS:g} s, requests of "
            f"{_LATENCY * 1000:g} ms, five a second allowed; the urgent call comes behind all of "
            f"them. {PROCESSES} processes at a time share a file for {SECONDS:g} s, {deaths.died} "
            f"in all, each killed by SIGKILL, {deaths.holding} of them with a request under way "
            f"and {deaths.waiting} with callers that waited: {deaths.requests} requests, "
            f"{deaths.busiest} in the busiest second."
        ),
        "inline": {"urgent": f"{found[_FILE].urgent:.1f}", "killed": str(deaths.busiest)},
    }


def main() -> int:
    """Print the figures and keep them; 0 when the file keeps its targets."""
    if len(sys.argv) > 1:
        asyncio.run(work(Given(*json.loads(sys.argv[1]))))
        return 0
    from tests.support.host_files import opened  # noqa: PLC0415 - not in a worker
    from tests.support.redis_server import Stored, running  # noqa: PLC0415 - not in a worker

    found = {}
    with TemporaryDirectory() as folder:
        # As if used before: what a first use costs is no part of the comparison.
        found[_FILE] = measure(_FILE, str(opened(Path(folder, "limit"), _ACCOUNT)))
        with running() as server:
            Stored(server, _ACCOUNT).open()
            found[_REDIS] = measure(_REDIS, server.url)
        kept = [judged(name, one) for name, one in found.items()]
        deaths = killed(f"{folder}/killed")
    kept.append(at_most(f"{PROCESSES} that are killed: busiest second", deaths.busiest, LIMIT))
    strikes = {"died": deaths.died, "with a request under way": deaths.holding}
    for (name, figure), least in zip(strikes.items(), _LEAST_STRIKES, strict=True):
        kept.append(told(f"  {name}", str(figure), f">= {least}", kept=figure >= least))
    save("host", result(found, deaths), versions=installed("htx_async", "redis"))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
