"""What a call costs beside 1 to 10,000 others that wait, and in a process of 1 to 1,000 accounts;
what it costs to ask a bucket of up to a million tokens for a turn.

CPU of this process and memory, the network and the exchange in virtual time; the same number of
calls at each size but the largest queue's, the sizes interleaved in rounds, medians. Neither may
grow. Besides: how long an urgent call waits behind such a queue, and what 500 contracts in flight
take over real sockets. Run: `python -m benchmarks.scale`.
"""

import asyncio
import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from operator import attrgetter
from typing import Any, NamedTuple

from benchmarks.exchanges import Exchange, SlidingWindow
from benchmarks.figures import installed, save
from benchmarks.networks import PLAIN
from benchmarks.targets import at_most, told
from benchmarks.virtual import run, session
from htx_async import HtxSession, TokenBucket
from htx_async.simulator import SimulatedExchange

WAITING = (1, 10, 100, 1_000, 10_000)
ACCOUNTS = (1, 10, 100, 1_000)
SIZES = (5, 1_000_000)

_ROUNDS = 3
_CALLS = 2_000
_AT_ONCE = 5
_MOST_TIMES = 1.5
_FROM = 100

_TO_END = 86_400.0
_TRACED = 1_000
_MOST_KILOBYTES = 12.0
_URGENT_WITHIN = 1.1

_IN_FLIGHT = 500
_MOST_MEGABYTES = 30.0
_LEFT_MEGABYTES = 1.0


def _session(chance: random.Random) -> HtxSession:
    loop = asyncio.get_running_loop()
    return session(Exchange(SlidingWindow(), loop.time), PLAIN, chance)


async def _carry(htx: HtxSession, callers: int, calls: int) -> None:
    """`calls` calls, by `callers` who have one under way each."""
    left = iter(range(calls))

    async def caller() -> None:
        for number in left:
            await htx.cancel_all_trailing(f"C{number}-USDT", deadline=_TO_END)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())


class Cost(NamedTuple):
    """CPU seconds of a call: its own, and what Python's garbage collector took meanwhile.

    The collector now and then visits all that is alive, so with more calls and accounts alive it
    has more to do; `gc.freeze()` and `gc.set_threshold()` are there for that.
    """

    own: float
    collector: float


async def _cost(work: Callable[[], Awaitable[object]], calls: int) -> Cost:
    """Of each of `calls` calls, which are all that `work` does."""
    gc.collect()
    collector = 0.0

    def hear(phase: str, info: dict[str, int]) -> None:
        nonlocal collector
        collector += time.process_time() * (1 if phase == "stop" else -1)

    gc.callbacks.append(hear)
    began = time.process_time()
    await work()
    taken = time.process_time() - began
    gc.callbacks.remove(hear)
    return Cost((taken - collector) / calls, collector / calls)


async def by_waiting(callers: int) -> Cost:
    """Of a call when so many are under way on one account."""
    calls = max(_CALLS, callers)
    async with _session(random.Random(1)) as htx:
        await _carry(htx, 1, 1)
        return await _cost(lambda: _carry(htx, callers, calls), calls)


async def by_accounts(accounts: int) -> Cost:
    """Of a call when so many accounts have five under way each."""
    calls = max(_CALLS, accounts * 2 * _AT_ONCE)
    chance = random.Random(1)
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(_session(chance)) for _ in range(accounts)]

        async def work(of_each: int) -> None:
            await asyncio.gather(*(_carry(htx, _AT_ONCE, of_each) for htx in sessions))

        await work(1)
        return await _cost(lambda: work(calls // accounts), calls)


async def by_size(size: int) -> Cost:
    """Of asking for a turn in a bucket of so many tokens, of which five are in use, while it is
    closed."""
    bucket = TokenBucket(size)
    async with AsyncExitStack() as held:
        for _ in range(_AT_ONCE):
            await held.enter_async_context(bucket.take("path"))
        bucket.pause("path", 1.0)

        async def ask() -> None:
            for _ in range(_CALLS):
                bucket.earliest("path")

        return await _cost(ask, _CALLS)


@contextmanager
def _traced() -> Iterator[Callable[[], float]]:
    """Bytes that were taken since, and not given back."""

    def taken() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    before = taken()
    try:
        yield lambda: taken() - before
    finally:
        tracemalloc.stop()


async def behind(callers: int, *, traced: bool = False) -> tuple[float, float]:
    """Seconds that an urgent call takes behind so many others, and bytes of each that waits."""
    loop = asyncio.get_running_loop()
    async with _session(random.Random(1)) as htx:
        await _carry(htx, 1, 1)
        memory = 0.0
        if traced:
            with _traced() as taken:
                queue = asyncio.create_task(_carry(htx, callers, callers))
                await asyncio.sleep(PLAIN.round_trip / 4)
                memory = taken() / callers
        else:
            queue = asyncio.create_task(_carry(htx, callers, callers))
            await asyncio.sleep(PLAIN.round_trip / 4)
        began = loop.time()
        await htx.cancel_all_trailing("BTC-USDT", urgent=True)
        seconds = loop.time() - began
        queue.cancel()
        await asyncio.gather(queue, return_exceptions=True)
    return seconds, memory


async def in_flight() -> tuple[float, float]:
    """Megabytes of 500 contracts on the wire at once, over real sockets, and afterwards.

    What tracemalloc sees; the exchange is in this process, and its half is counted, too. The mass
    cancel is cancelled; then the session closes its connections, and is still there.
    """
    codes = [f"C{number}-USDT" for number in range(_IN_FLIGHT)]
    limiter = TokenBucket(_IN_FLIGHT)
    async with SimulatedExchange(limit=2 * _IN_FLIGHT, latency=0.01) as exchange:
        htx = HtxSession(exchange.credentials, base_urls=exchange.url, limiter=limiter)
        async with htx:
            await htx.mass_cancel_trailing(codes[:_AT_ONCE])
            arrived = _all_arrived(exchange)
            with _traced() as taken:
                task = asyncio.create_task(htx.mass_cancel_trailing(codes))
                await arrived.wait()
                most = taken()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                del task
                await htx.aclose()
                await asyncio.sleep(0.1)
                return most / 1e6, taken() / 1e6


def _all_arrived(exchange: SimulatedExchange) -> asyncio.Event:
    """Set when 500 more have arrived, none of which is answered before."""
    reached, left = asyncio.Event(), iter(range(_IN_FLIGHT - 1))

    def arrive() -> float:
        if next(left, None) is None:
            reached.set()
        return 60.0

    exchange.latency = arrive
    return reached


Costs = dict[int, list[Cost]]
Part = Callable[[Cost], float]

_OWN: Part = attrgetter("own")
_COLLECTOR: Part = attrgetter("collector")


def measured(measure: Callable[[int], Coroutine[Any, Any, Cost]], sizes: Sequence[int]) -> Costs:
    """What a call costs at each size, in each round."""
    costs: Costs = {size: [] for size in sizes}
    for _ in range(_ROUNDS):
        for size in sizes:
            costs[size].append(run(measure(size)))
    return costs


def growth(costs: Costs, size: int, least: int, part: Part) -> float:
    """Times the cost at `least`, the median of the rounds."""
    pairs = zip(costs[size], costs[least], strict=True)
    return statistics.median(part(one) / part(other) for one, other in pairs)


def _micro(costs: Costs, part: Part) -> dict[int, list[float]]:
    return {size: sorted(part(cost) * 1e6 for cost in costs[size]) for size in costs}


def _cells(costs: Costs, part: Part) -> dict[int, str]:
    micro = _micro(costs, part)
    return {size: f"{statistics.median(rounds):.3g}" for size, rounds in micro.items()}


def _lines(costs: Costs) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "x": list(costs),
            "y": [round(statistics.median(rounds), 1) for rounds in micro],
            "low": [round(rounds[0], 1) for rounds in micro],
            "high": [round(rounds[-1], 1) for rounds in micro],
            "ours": part is _OWN,
        }
        for label, part in (("the call", _OWN), ("Python's garbage collector", _COLLECTOR))
        for micro in [_micro(costs, part).values()]
    ]


def result(waiting: Costs, accounts: Costs, urgent: dict[int, float], memory: float) -> Any:
    """The table and picture of docs/benchmarks.md."""
    rows = {
        "calls that wait on one account: CPU of a call, us": _cells(waiting, _OWN),
        "and the garbage collector's, us": _cells(waiting, _COLLECTOR),
        "an urgent call behind them, s": {size: f"{urgent[size]:.2f}" for size in urgent},
        "accounts in one process: CPU of a call, us": _cells(accounts, _OWN),
        "and the garbage collector's, us ": _cells(accounts, _COLLECTOR),
    }
    return {
        "columns": ["", *(f"{size:,}" for size in WAITING)],
        "rows": [
            [name.strip(), *(cells.get(size, "") for size in WAITING)]
            for name, cells in rows.items()
        ],
        "note": (
            f"CPU of this SDK alone, without sockets; median of {_ROUNDS} rounds. Virtual time, "
            f"80 ms round trip. A call that waits takes {memory / 1e3:.1f} kB."
        ),
        "inline": {"kilobytes": f"{memory / 1e3:.1f}"},
        "picture": {
            "kind": "lines",
            "title": "CPU of a call",
            "unit": "microseconds",
            "across": "how many",
            "log": True,
            "panels": [
                {"title": "by calls that wait on one account", "lines": _lines(waiting)},
                {"title": "by accounts in one process", "lines": _lines(accounts)},
            ],
        },
        "raw": {"waiting": waiting, "accounts": accounts, "urgent": urgent},
    }


def main() -> int:
    """Print the figures beside their targets and keep them; 0 when every target is kept."""
    waiting, accounts = measured(by_waiting, WAITING), measured(by_accounts, ACCOUNTS)
    kept = []
    for name, costs in (("waiting", waiting), ("accounts", accounts)):
        own, collector = _cells(costs, _OWN), _cells(costs, _COLLECTOR)
        for size in costs:
            told(f"{size:,} {name}: CPU a call", f"{own[size]} us and {collector[size]} us")
        for least in (1, _FROM):
            grown = growth(costs, max(costs), least, _OWN)
            kept.append(at_most(f"{max(costs):,} {name} over {least}", grown, _MOST_TIMES))
    grown = growth(measured(by_size, SIZES), max(SIZES), min(SIZES), _OWN)
    kept.append(
        at_most(f"a turn asked of {max(SIZES):,} tokens over {min(SIZES)}", grown, _MOST_TIMES)
    )
    urgent = {size: run(behind(size))[0] for size in WAITING}
    kept.append(at_most("an urgent call behind any of these", max(urgent.values()), _URGENT_WITHIN))
    memory = run(behind(_TRACED, traced=True))[1]
    kept.append(at_most("each that waits", memory / 1e3, _MOST_KILOBYTES, " kB"))
    # Once before, for what a process keeps after the first time.
    asyncio.run(in_flight())
    most, left = asyncio.run(in_flight())
    kept.append(at_most(f"{_IN_FLIGHT} contracts on the wire", most, _MOST_MEGABYTES, " MB"))
    kept.append(at_most("  afterwards", left, _LEFT_MEGABYTES, " MB"))
    save("scale", result(waiting, accounts, urgent, memory), versions=installed("htx_async"))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
