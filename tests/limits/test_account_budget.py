"""The account's 72 in any 3 s, known from the first moment on: who is late is told at once."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from htx_async import CancelError, CancelReport, HtxSession, NotSent
from htx_async.limits.account_limiter import AccountLimiter
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import run, virtual_session

pytestmark = pytest.mark.usefixtures("tasks")

PATHS = [f"/path/{number}" for number in range(8)]


def now() -> float:
    return asyncio.get_running_loop().time()


Call = Callable[[HtxSession, int], Awaitable[CancelReport]]

FOUR: list[Call] = [
    lambda htx, n: htx.cancel_all_trailing(f"C{n}-USDT"),
    lambda htx, n: htx.cross.cancel_all_trailing(f"C{n}-USDT"),
    lambda htx, n: htx.cancel_trailing(f"C{n}-USDT", [str(n + 1)]),
    lambda htx, n: htx.cross.cancel_trailing(f"C{n}-USDT", [str(n + 1)]),
]
"""Calls on the four trade paths of v1."""


async def ending(call: Awaitable[CancelReport]) -> CancelReport:
    try:
        return await call
    except CancelError as error:
        return error.report


@pytest.mark.parametrize(
    ("each", "latency"), [(40, 0.001), (40, 0.04), (40, 0.25), (100, 0.001), (100, 0.04)]
)
@pytest.mark.parametrize("mixed", [False, True])
def test_four_busy_paths_with_default_deadlines_all_end_clear(
    latency: float, each: int, mixed: bool
) -> None:
    """Forty, or a hundred, calls on each of the four trade paths at once, path by path or mixed:
    none ends unsent or unknown for want of time, and 72 in any 3 s hold at the exchange."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, lambda: latency) as htx:
            calls = [(kind, number) for kind in FOUR for number in range(each)]
            if mixed:
                calls.sort(key=lambda call: call[1])
            reports = await asyncio.gather(*(ending(kind(htx, n)) for kind, n in calls))
        assert all(report.is_clear for report in reports)
        assert most_in([arrival.at for arrival in exchange.arrivals], 3.0) <= 72
        assert {arrival.err_code for arrival in exchange.arrivals} <= {1051, 1061, 0, None}

    run(main())


def most_in(moments: list[float], window: float) -> int:
    moments, most, first = sorted(moments), 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_a_call_that_the_budget_lets_go_too_late_is_not_sent_at_once() -> None:
    """Its own path is nearly idle, the account is not: told now, not at its deadline."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            busy = [asyncio.ensure_future(ending(k(htx, n))) for k in FOUR[1:] for n in range(60)]
            for _ in range(3):
                await asyncio.sleep(0)
            mine = [
                asyncio.ensure_future(ending(htx.cancel_all_trailing(f"M{n}-USDT", deadline=5.5)))
                for n in range(26)
            ]
            await asyncio.sleep(0.1)
            late = [one.result() for one in mine if one.done()]
            assert any("turn comes in" in report.message for report in late)
            reports = await asyncio.gather(*mine)
            assert {report.outcome for report in reports} <= {"nothing_to_cancel", "not_sent"}
            assert all(report.is_clear for report in await asyncio.gather(*busy))

    run(main())


@pytest.mark.parametrize("urgent", [False, True])
def test_what_is_foreseen_is_what_comes(urgent: bool) -> None:
    """For the last of many on one path of many that are busy: the first estimate of a deadline is
    no later than the turn that comes, and earlier by little."""

    async def main() -> None:
        limiter = AccountLimiter()
        turns: list[tuple[float, float]] = []

        async def caller(path: str) -> None:
            expected = limiter.earliest(path, urgent=urgent)
            async with limiter.take(path, urgent=urgent):
                turns.append((expected, now()))

        tasks = []
        for number in range(240):
            tasks.append(asyncio.create_task(caller(PATHS[number % 8])))
            await asyncio.sleep(0)
        last = limiter.foresee(PATHS[0], 10, urgent=urgent)
        await asyncio.gather(*tasks)
        rate = 12 if urgent else 10
        assert all(expected <= came + 0.01 for expected, came in turns)
        assert max(came - expected for expected, came in turns) < 2.0
        assert last == pytest.approx((240 + 10 - 3 * rate) / rate, abs=8 / rate)

    run(main())


@pytest.mark.parametrize("seed", range(20))
def test_an_estimate_is_never_later_than_the_turn(seed: int) -> None:
    """Any load, with urgent callers and answers of up to half a second: nobody is turned away for
    a turn that would have come in time."""
    chance = random.Random(seed)
    late: list[float] = []

    async def caller(limiter: AccountLimiter, path: str, urgent: bool) -> None:
        expected = limiter.earliest(path, urgent=urgent)
        async with limiter.take(path, urgent=urgent):
            late.append(expected - now())
            await asyncio.sleep(chance.uniform(0, 0.5))

    async def main() -> None:
        limiter, tasks = AccountLimiter(), list[asyncio.Task[Any]]()
        for _ in range(150):
            path = chance.choice(PATHS)
            tasks.append(asyncio.create_task(caller(limiter, path, chance.random() < 0.2)))
            await asyncio.sleep(chance.choice([0.0, 0.0, 0.0, 0.05, 0.5]))
        await asyncio.gather(*tasks)
        assert max(late) < 0.01

    run(main())


def test_first_come_first_served_over_all_paths() -> None:
    """Who came later on an idle path does not go before those who wait for the same budget."""

    async def main() -> None:
        limiter, order = AccountLimiter(), list[int]()

        async def caller(number: int) -> None:
            async with limiter.take(f"/only/{number}"):
                order.append(number)

        tasks = []
        for number in range(60):
            tasks.append(asyncio.create_task(caller(number)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert order == list(range(60))

    run(main())


def test_who_waits_for_the_budget_keeps_its_place_in_its_line() -> None:
    """First in, first out on each path, however long the budget holds it up."""

    async def main() -> None:
        limiter = AccountLimiter()
        order: dict[str, list[int]] = {path: [] for path in PATHS}

        async def caller(path: str, number: int) -> None:
            async with limiter.take(path):
                order[path].append(number)

        tasks = [
            asyncio.create_task(caller(path, number)) for number in range(20) for path in PATHS
        ]
        await asyncio.gather(*tasks)
        assert set(map(tuple, order.values())) == {tuple(range(20))}

    run(main())


def test_plans_count_the_budget() -> None:
    """While other paths are busy, a plan says how long this one will take."""

    async def main() -> None:
        async with virtual_session(SimulatedExchange()) as htx:
            codes = [f"P{number}-USDT" for number in range(20)]
            idle = htx.plan(codes).seconds
            busy = [asyncio.ensure_future(ending(k(htx, n))) for k in FOUR[1:] for n in range(60)]
            for _ in range(3):
                await asyncio.sleep(0)
            assert htx.plan(codes).seconds > idle + 2.0
            await asyncio.gather(*busy)

    run(main())


def test_nothing_is_left_of_callers_that_went_away() -> None:
    """Cancelled while the budget held them up: the next ones go as if they had never come."""

    async def main() -> None:
        limiter = AccountLimiter()

        async def caller(path: str) -> float:
            async with limiter.take(path):
                return now()

        await asyncio.gather(*(caller(path) for path in PATHS for _ in range(4)))
        gone = [asyncio.create_task(caller(path)) for path in PATHS for _ in range(5)]
        await asyncio.sleep(0.01)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        start = now()
        assert await caller(PATHS[0]) - start < 0.2

    run(main())


def test_not_sent_tells_how_long_the_account_is_busy() -> None:
    """In words, with the seconds that are needed."""

    async def main() -> None:
        async with virtual_session(SimulatedExchange()) as htx:
            busy = [asyncio.ensure_future(ending(k(htx, n))) for k in FOUR[1:] for n in range(60)]
            for _ in range(3):
                await asyncio.sleep(0)
            calls = [htx.cancel_all_trailing(f"M{n}-USDT", deadline=30.0) for n in range(40)]
            mine = [asyncio.ensure_future(ending(call)) for call in calls]
            for _ in range(3):
                await asyncio.sleep(0)
            with pytest.raises(NotSent, match=r"turn comes in 1\d\.\d\d s"):
                await htx.cancel_all_trailing("LATE-USDT", deadline=10.0)
            assert now() < 0.1
            await asyncio.gather(*busy, *mine)

    run(main())
