"""Several sessions of one account that work at once: each counts with the others."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest

from htx_async import CancelError, MassCancelFailed, MassCancelReport, TokenBucket
from htx_async.simulator import SimulatedExchange
from tests.support.long_form import first_of
from tests.support.virtual import run, virtual_session

pytestmark = pytest.mark.usefixtures("tasks")


def contracts(session: int, count: int) -> list[str]:
    return [f"S{session}C{number}-USDT" for number in range(count)]


def exchange_with(
    codes: Sequence[str], account: Literal["v1", "v5"] = "v1", cross: Sequence[str] = ()
) -> SimulatedExchange:
    exchange = SimulatedExchange(account=account)
    for code in codes:
        mode: Literal["cross", "isolated"] = "cross" if code in cross else "isolated"
        exchange.place(code, "sell", "close", 1, margin_mode=mode)
    return exchange


async def guarded(desk: Any, codes: Sequence[str], leave: asyncio.Event, **settings: Any) -> Any:
    guard = desk.cancel_on_exit(codes, **settings)
    try:
        async with guard:
            await leave.wait()
    except (CancelError, MassCancelFailed):
        pass
    return guard.report


async def mass(desk: Any, codes: Sequence[str], leave: asyncio.Event, **settings: Any) -> Any:
    await leave.wait()
    return await desk.mass_cancel_trailing(codes, **settings)


Work = Callable[..., Any]


@pytest.mark.slow
@pytest.mark.parametrize("work", [guarded, mass])
@pytest.mark.parametrize("one_way", [0.04, 0.25])
@pytest.mark.parametrize(("sessions", "count"), first_of([(2, 40), (5, 25), (3, 40)], 2))
@pytest.mark.parametrize("generation", ["v1", "v5"])
def test_all_begin_at_once_and_none_is_late(
    work: Work, one_way: float, sessions: int, count: int, generation: Literal["v1", "v5"]
) -> None:
    """`deadline=None` is enough for the contracts of all sessions together, on either
    generation."""

    async def main() -> None:
        each = [contracts(number, count) for number in range(sessions)]
        exchange = exchange_with([code for codes in each for code in codes], generation)
        leave = asyncio.Event()

        async def strategy(codes: Sequence[str]) -> MassCancelReport:
            htx = virtual_session(exchange, lambda: one_way, generation=generation)
            async with htx:
                report: MassCancelReport = await work(htx, codes, leave)
            return report

        strategies = [asyncio.create_task(strategy(codes)) for codes in each]
        await asyncio.sleep(1)
        leave.set()
        reports = await asyncio.gather(*strategies)
        assert all(report.is_clear for report in reports), [r.outcomes for r in reports]
        assert not exchange.open_orders()
        assert exchange.busiest() <= 5

    run(main())


@pytest.mark.parametrize("seed", range(8))
def test_whatever_sessions_do_together_nothing_is_late(seed: int) -> None:
    """Guards and mass cancels, either margin mode, some a moment later or, if they begin at once,
    until clear, with the account's limiter or one of their own that they share."""
    chance = random.Random(seed)

    async def main() -> None:
        sessions, cross, calls = chance.randint(2, 5), list[str](), Counter[str]()
        each = [contracts(number, chance.randint(5, 30)) for number in range(sessions)]
        modes = [chance.choice(["isolated", "isolated", "cross"]) for _ in each]
        for codes, mode in zip(each, modes, strict=True):
            calls[mode] += len(codes)
            cross += codes if mode == "cross" else []
        all_codes = [code for codes in each for code in codes]
        exchange = exchange_with(all_codes, cross=cross)
        leave, limiter = asyncio.Event(), chance.choice([None, TokenBucket()])
        one_way = chance.choice([0.04, 0.1, 0.25])
        work, is_together = chance.choice([guarded, mass]), chance.random() < 0.5

        async def strategy(codes: Sequence[str], mode: str) -> MassCancelReport:
            settings: dict[str, Any] = {"until_clear": is_together and chance.random() < 0.3}
            later = 0 if is_together else chance.choice([0, 1, 3])
            async with virtual_session(exchange, lambda: one_way, limiter=limiter) as htx:
                await leave.wait()
                for _ in range(later):
                    await asyncio.sleep(0)
                desk = htx if mode == "isolated" else htx.cross
                report: MassCancelReport = await work(desk, codes, leave, **settings)
            return report

        strategies = [
            asyncio.create_task(strategy(codes, mode))
            for codes, mode in zip(each, modes, strict=True)
        ]
        await asyncio.sleep(1)
        leave.set()
        reports = await asyncio.gather(*strategies)
        assert all(report.is_clear for report in reports), [r.outcomes for r in reports]
        assert not exchange.open_orders()

    run(main())
