"""1, 2, 4 and 8 processes share five requests a second through one Redis; others' limiters, 4.

Each process has 50 callers who wait for eight seconds; a request takes 50 ms, of which a random
part passes before it arrives. Every fleet has a server of its own, two fleets run side by side, and
what is counted is what would arrive at an exchange. Scripts are those that the server itself
counts. The others run in an environment of their own. Run: `python -m benchmarks.fleet`.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.exchanges import LIMIT, busiest_sliding
from benchmarks.figures import installed, save
from benchmarks.limiters_of_others import ON_REDIS, Take, as_take
from benchmarks.targets import at_most, told

_OURS = "htx_async"
_SIZES = (1, 2, 4, 8)
_SIZE_OF_OTHERS = 4
_WAITERS = 50
_SECONDS = 8.0
_LATENCY = 0.05
_LEAST_RATE = 4.2
_LEAST_FAIRNESS = {1: 0.9, 2: 0.9, 4: 0.9, 8: 0.85}
"""Of eight processes each gets five tokens in that time, so that one more or less weighs."""

_MOST_SCRIPTS = {1: 4.0, 2: 4.0, 4: 4.0, 8: 6.0}
"""Each process' head asks: with more processes, more ask for each token."""

_TO_END = 30.0
_AT_A_TIME = 2

_ROOT = Path(__file__).parent.parent
_OTHERS = _ROOT / ".venv-bench" / "bin" / "python"
_PATH = "/linear-swap-api/v1/swap_track_cancelall"
_ACCOUNT = "benchmark"

Made = list[tuple[float, float]]


class Fleet(NamedTuple):
    """So many processes with one limiter."""

    limiter: str
    size: int


# The largest and the smallest side by side, then those between.
FLEETS = (
    *(Fleet(_OURS, size) for size in (8, 1, 4, 2)),
    *(Fleet(name, _SIZE_OF_OTHERS) for name in ON_REDIS),
)


@asynccontextmanager
async def _ours(url: str, size: int) -> AsyncIterator[Take]:
    from htx_async.redis_limits import RedisTokenBucket  # noqa: PLC0415 - only where it is installed

    async with RedisTokenBucket.from_url(url, _ACCOUNT, share_of=size) as bucket:
        yield lambda: bucket.take(_PATH)


@asynccontextmanager
async def _of_others(name: str, url: str) -> AsyncIterator[Take]:
    async with ON_REDIS[name](url) as wait:
        yield as_take(wait)


def _limiter(name: str, url: str, size: int) -> AbstractAsyncContextManager[Take]:
    return _ours(url, size) if name == _OURS else _of_others(name, url)


async def work(name: str, url: str, size: int) -> Made:
    """One process: when each of its requests was sent, and when it arrived, on the machine's
    clock. Prints its versions when it is ready, and begins when it reads a line."""
    made: Made = []
    chance = random.Random()

    async def call(take: Take) -> None:
        while True:
            async with take():
                sent, up = time.monotonic(), chance.uniform(0, _LATENCY)
                await asyncio.sleep(up)
                made.append((sent, time.monotonic()))
                await asyncio.sleep(_LATENCY - up)

    async with _limiter(name, url, size) as take:
        print(json.dumps(installed(name.partition(",")[0], "redis")), flush=True)
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
    """What came of one fleet."""

    sent: int
    arrived: int
    rate: float
    fairness: float
    scripts: float
    versions: dict[str, str]


def figures(made: list[Made], scripts: int, versions: dict[str, str]) -> Figures:
    """Busiest seconds, grants per second, Jain's index over processes, scripts per grant."""
    counts = [len(one) for one in made]
    total = sum(counts)
    sent = sorted(sent for one in made for sent, _ in one)
    # The first five cost no time, so that they do not count.
    later = sent[LIMIT - 1 :]
    return Figures(
        sent=busiest_sliding(sent),
        arrived=busiest_sliding(sorted(arrived for one in made for _, arrived in one)),
        rate=(len(later) - 1) / (later[-1] - later[0]) if len(later) > 1 else 0.0,
        fairness=total**2 / (len(counts) * sum(count**2 for count in counts)) if total else 0.0,
        scripts=scripts / max(1, total),
        versions=versions,
    )


class NotMeasured(Exception):
    """Why there are no figures."""


def measure(fleet: Fleet) -> Figures | str:
    """The figures of one fleet, or why there are none."""
    from tests.support.redis_server import Stored, running  # noqa: PLC0415 - only where it is installed

    python = sys.executable if fleet.limiter == _OURS else str(_OTHERS)
    if not Path(python).exists():
        return "not installed here (make bench sets it up)"
    with running() as server, server.client() as client:
        # As if used before: what a first use costs is no part of the comparison.
        Stored(server, _ACCOUNT).open()
        client.config_resetstat()
        try:
            with _processes(python, fleet, server.url) as processes:
                made, versions = _run(processes)
        except NotMeasured as reason:
            return f"not measured: {reason}"
        stats: Any = client.info("commandstats")
        calls = (stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))
        return figures(made, sum(calls), versions)


@contextmanager
def _processes(python: str, fleet: Fleet, url: str) -> Iterator[list["subprocess.Popen[str]"]]:
    command = [python, "-m", "benchmarks.fleet", fleet.limiter, url, str(fleet.size)]
    pipe = subprocess.PIPE
    processes = [
        subprocess.Popen(command, cwd=_ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for _ in range(fleet.size)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _run(processes: list["subprocess.Popen[str]"]) -> tuple[list[Made], dict[str, str]]:
    ready = [_heard(process) for process in processes]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [_ended(process) for process in processes], ready[0]


def _heard(process: "subprocess.Popen[str]") -> dict[str, str]:
    assert process.stdout is not None
    if line := process.stdout.readline():
        return dict(json.loads(line))
    _, problem = process.communicate(timeout=_TO_END)
    raise NotMeasured(_last_line(problem))


def _ended(process: "subprocess.Popen[str]") -> Made:
    try:
        out, problem = process.communicate(timeout=_SECONDS + _TO_END)
    except subprocess.TimeoutExpired:
        raise NotMeasured("a process did not come to its end") from None
    if process.returncode:
        raise NotMeasured(_last_line(problem))
    return [(sent, arrived) for sent, arrived in json.loads(out)]


def _last_line(problem: str) -> str:
    return (problem.strip().splitlines() or ["it ended without a word"])[-1]


def judged(fleet: Fleet, found: Figures | str) -> bool:
    """Print one fleet's figures; whether ours keep their targets, and True for the others."""
    name = f"{fleet.limiter}, {fleet.size} processes"
    if isinstance(found, str):
        return told(name, found, kept=fleet.limiter != _OURS)
    if fleet.limiter != _OURS:
        return told(
            name,
            f"{found.rate:.2f}/s, most {found.arrived}, {found.fairness:.2f}, {found.scripts:.1f}",
        )
    rate, fair = f"{found.rate:.2f}/s", f"{found.fairness:.2f}"
    kept = (
        at_most(f"{name}: busiest second", found.arrived, LIMIT),
        told("  granted", rate, f">= {_LEAST_RATE}/s", kept=found.rate >= _LEAST_RATE),
        told(
            "  Jain's index",
            fair,
            f">= {_LEAST_FAIRNESS[fleet.size]}",
            kept=found.fairness >= _LEAST_FAIRNESS[fleet.size],
        ),
        at_most("  scripts for each grant", found.scripts, _MOST_SCRIPTS[fleet.size]),
    )
    return all(kept)


Found = list[tuple[Fleet, Figures]]

_COLUMNS = [
    "limiter",
    "processes",
    "granted a second",
    "busiest second, sent",
    "arrived",
    "Jain's index",
    "scripts a grant",
]


def result(found: Found) -> dict[str, Any]:
    """The table and picture of docs/benchmarks.md."""
    ours = [one for fleet, one in found if fleet.limiter == _OURS]
    return {
        "columns": _COLUMNS,
        "rows": [_row(fleet, one) for fleet, one in found],
        "note": (
            f"{_WAITERS} callers in each process for {_SECONDS:g} s on one Redis over loopback, "
            f"requests of {_LATENCY * 1000:g} ms, five a second allowed. Jain's index of the "
            "processes' shares: 1 is fair, 1/n is all for one."
        ),
        "inline": {
            "rate": f"{min(one.rate for one in ours):.1f}",
            "busiest": str(max(one.arrived for one in ours)),
            "fairness": f"{min(one.fairness for one in ours):.2f}",
            "scripts": f"{max(one.scripts for one in ours):.1f}",
        },
        "picture": _picture(found),
        "raw": {_named(fleet): one._replace(versions={})._asdict() for fleet, one in found},
    }


def _named(fleet: Fleet) -> str:
    return f"{fleet.size} x {fleet.limiter}"


def _row(fleet: Fleet, one: Figures) -> list[str]:
    return [
        f"**{fleet.limiter}**" if fleet.limiter == _OURS else fleet.limiter,
        str(fleet.size),
        f"{one.rate:.1f}",
        str(one.sent),
        str(one.arrived),
        f"{one.fairness:.2f}",
        f"{one.scripts:.3g}",
    ]


def _picture(found: Found) -> dict[str, Any]:
    bars = [
        {"label": _named(fleet), "value": one.arrived, "ours": fleet.limiter == _OURS}
        for fleet, one in found
    ]
    return {
        "kind": "bars",
        "title": "Processes that share five a second through one Redis",
        "unit": "most requests in any one second at the exchange",
        "panels": [{"title": "", "bars": bars}],
        "mark": {"at": LIMIT, "label": "the limit"},
    }


def main() -> int:
    """Print the figures as they come and keep them; 0 when ours keep their targets."""
    if len(sys.argv) > 1:
        name, url, size = sys.argv[1:]
        print(json.dumps(asyncio.run(work(name, url, int(size)))))
        return 0
    kept, found = [], {}
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for fleet, one in zip(FLEETS, pool.map(measure, FLEETS), strict=True):
            kept.append(judged(fleet, one))
            if not isinstance(one, str):
                found[fleet] = one
    if len(found) == len(FLEETS):
        ordered = sorted(found.items(), key=lambda one: (one[0].limiter != _OURS, one[0]))
        versions = {name: n for one in found.values() for name, n in one.versions.items()}
        save("fleet", result(ordered), versions=versions)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
