"""Two hosts: one fails for good, the other has one hiccup. Everything is cancelled all the same."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest

from htx_async import (
    CancelError,
    CancelReport,
    HtxSession,
    MassCancelFailed,
    MassCancelReport,
    RetryPolicy,
)
from htx_async.simulator import SimulatedExchange
from tests.support.long_form import first_of
from tests.support.virtual import (
    FIRST,
    SECOND,
    SICKNESSES,
    SOAK,
    Outage,
    Sickness,
    run,
    transport_of,
    virtual_session,
)

FOR_GOOD: tuple[Sickness, ...] = (
    "bad_gateway",
    "page",
    "resets",
    "refusing",
    "unreachable",
    "silent",
)
CONTRACTS = 40
ALONE = 8.0
"""Seconds that they take where both are healthy."""

MORE = 12.0
"""Seconds: three attempts without an answer, and the second for which each holds its token."""

SEEDS = range(300) if SOAK else first_of(range(20), 8)
TWO = (FIRST, SECOND)
EARLY = "EARLY-USDT"

Work = Callable[[HtxSession, Sequence[str]], Awaitable[Sequence[CancelReport]]]


def now() -> float:
    return asyncio.get_running_loop().time()


async def mass(htx: HtxSession, codes: Sequence[str]) -> Sequence[CancelReport]:
    return (await htx.mass_cancel_trailing(codes, deadline=60)).reports


async def until_clear(htx: HtxSession, codes: Sequence[str]) -> Sequence[CancelReport]:
    return (await htx.mass_cancel_trailing(codes, deadline=60, until_clear=True)).reports


async def guard(htx: HtxSession, codes: Sequence[str]) -> Sequence[CancelReport]:
    guard = htx.cancel_on_exit(codes, deadline=60)
    try:
        async with guard:
            pass
    except (CancelError, MassCancelFailed):
        pass
    assert isinstance(guard.report, MassCancelReport)
    return guard.report.reports


WORKS: dict[str, Work] = {"mass": mass, "until_clear": until_clear, "guard": guard}


class History:
    """One host that fails for good, a hiccup of the other, and contracts with an order each."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.codes = [f"C{number}-USDT" for number in range(CONTRACTS)]
        self.exchange = SimulatedExchange()
        for code in [*self.codes, EARLY]:
            self.exchange.place(code, "buy", "close", 1)
        self.bad, self.other = chance.sample((FIRST, SECOND), 2)
        self.what, self.how = chance.choice(FOR_GOOD), chance.choice(SICKNESSES)
        self.begins = chance.choice([0.0, 0.0, chance.uniform(0, 6)])
        self.lasts = chance.uniform(0.2, 2.0)
        self.is_remembered = chance.random() < 0.5

    def __repr__(self) -> str:
        return (
            f"{self.bad} {self.what}, {self.other} {self.how} from {self.begins:.2f} s on for "
            f"{self.lasts:.2f} s, something remembered: {self.is_remembered}"
        )

    def opened(self) -> HtxSession:
        htx = virtual_session(
            self.exchange, base_urls=TWO, retry=RetryPolicy(random=self.chance.random)
        )
        since = now() + self.begins
        self.ends = since + self.lasts
        transport_of(htx).outages = [
            Outage(self.what, host=self.bad),
            Outage(self.how, since, self.ends, self.other),
        ]
        return htx

    async def remember(self, htx: HtxSession) -> None:
        """A call before, which may end in the middle of it."""
        if self.is_remembered:
            await one(htx, EARLY, self.chance.uniform(0.5, 4.0))
            await asyncio.sleep(self.chance.uniform(0.0, 3.0))


async def one(htx: HtxSession, code: str, deadline: float | None = None) -> CancelReport:
    try:
        return await htx.cancel_all_trailing(code, deadline=deadline)
    except CancelError as error:
        return error.report


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_hiccup_of_the_healthy_host_keeps_no_order_open(seed: int, work: str) -> None:
    """Neither a slow failure nor many quick ones keep a host from being asked: a mass cancel, a
    guard and `until_clear` done within 12 s more than where both are healthy."""

    async def main() -> None:
        history = History(seed)
        async with history.opened() as htx:
            await history.remember(htx)
            start = now()
            reports = await WORKS[work](htx, history.codes)
            took = now() - start
        assert {report.is_clear for report in reports} == {True}, history
        assert {order.contract_code for order in history.exchange.open_orders()} <= {EARLY}
        assert took <= ALONE * (2 if work == "until_clear" else 1) + MORE, history
        assert history.exchange.busiest() <= 5

    run(main())


@pytest.mark.parametrize("are_together", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_each_call_that_begins_after_the_hiccup_is_done(seed: int, are_together: bool) -> None:
    """Whatever calls in the middle of it have found out, the four requests of one call reach the
    host that is well."""

    async def main() -> None:
        history = History(seed)
        async with history.opened() as htx:
            await history.remember(htx)
            if history.is_remembered:
                codes = history.codes[20:25]
                await asyncio.gather(*(one(htx, code, 2.0) for code in codes))
            await asyncio.sleep(max(0.0, history.ends - now()))
            if are_together:
                reports = await asyncio.gather(*(one(htx, code) for code in history.codes[:20]))
            else:
                reports = [await one(htx, code) for code in history.codes[:8]]
        assert {report.is_clear for report in reports} == {True}, history

    run(main())
