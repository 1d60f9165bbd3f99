"""What a plan tells beforehand, held against the run: in virtual time, without faults."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pytest
from aiolimiter import AsyncLimiter

from htx_async import Look
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import SOAK, run, virtual_session
from tests.support.witness import START, now

CODES = [f"C{number:03}-USDT" for number in range(120)]
APART = 0.1
SHARE = 0.05


class Case(NamedTuple):
    """`busy`: how many have orders, spread evenly. `is_warm`: the session has had answers.
    `empty`: V5 answers an account of v1 with an empty list. `pace`: of a limiter of the user's.
    `used`: calls that have just ended. `alike`: contracts for which such a cancel waits already."""

    generation: str
    account: Literal["v1", "v5"]
    empty: bool
    margin: Literal["isolated", "cross"]
    contracts: int
    busy: int
    look: Look | None
    is_warm: bool
    trip: float
    pace: tuple[float, float] | None
    used: int
    alike: int
    urgent: bool
    until_clear: bool

    @property
    def is_asked_one_by_one(self) -> bool:
        """Whether nothing open takes V5 a list for each contract, which orders would spare."""
        may_be_on_v5 = self.generation != "v1" and (self.empty or self.account == "v5")
        return may_be_on_v5 and self.busy == 0

    @property
    def is_undisturbed(self) -> bool:
        """Whether nothing was used or waits, and one round is all."""
        return not (self.pace or self.alike or self.until_clear)


def drawn(chance: random.Random) -> Case:
    generation, account, empty = chance.choice(
        (("v1", "v1", False), ("auto", "v1", False), ("auto", "v1", True), ("v5", "v5", False))
    )
    count = chance.choice((2, 5, 6, 7, 23, 40, 64, 65, 73, 100))
    own = chance.choice(((5, 1.0), (1, 0.2), (1, 0.25), (2, 1.0), (10, 1.0), (4, 1.0), (5, 2.0)))
    pace = chance.choice((None, own))
    return Case(
        generation,
        account,  # type: ignore[arg-type]  # one of the literals
        empty,
        chance.choice(("isolated", "cross")),
        count,
        chance.choice((0, 0, 1, count // 2, count)),
        chance.choice((None, *Look)),
        chance.random() < 0.6,
        chance.choice((0.02, 0.08, 0.08, 0.3)),
        pace,
        # What a limiter of the user's own let pass just now is known to the exchange alone, which
        # refuses some of it then.
        0 if pace else chance.choice((0, 0, 2, 5)),
        0 if pace else chance.choice((0, 0, 0, count // 2, count)),
        chance.random() < 0.3,
        chance.random() < 0.3,
    )


async def planned(case: Case) -> tuple[float, float, float]:
    """The least, what it took, and the most."""
    wall: Callable[[], float] = lambda: START + now()  # noqa: E731 - three words
    exchange = SimulatedExchange(
        clock=now,
        now=wall,
        contracts=CODES,
        account=case.account,
        v5_refusal=None if case.empty else 6001,
    )
    step = case.contracts // case.busy if case.busy else 1
    for code in CODES[step - 1 : case.contracts : step][: case.busy]:
        exchange.place(code, "sell", "close", margin_mode=case.margin)
    await asyncio.sleep(2.0)
    settings: dict[str, Any] = {"generation": case.generation, "now": wall}
    if case.pace is not None:
        settings["limiter"] = AsyncLimiter(*case.pace)
    async with virtual_session(exchange, lambda: case.trip / 2, **settings) as htx:
        calls = htx.cross if case.margin == "cross" else htx
        if case.is_warm:
            await htx.cancel_all_trailing(CODES[-1])
            await asyncio.sleep(6.0)
        await asyncio.gather(*map(calls.cancel_all_trailing, CODES[120 - case.used :]))
        alike = [
            asyncio.create_task(calls.cancel_all_trailing(code, deadline=99.0))
            for code in CODES[: case.alike]
        ]
        await asyncio.sleep(0)
        settings = {"look": case.look, "urgent": case.urgent, "until_clear": case.until_clear}
        plan, began = calls.plan(CODES[: case.contracts], **settings), now()
        report = await calls.mass_cancel_trailing(CODES[: case.contracts], **settings)
        took = now() - began
        await asyncio.gather(*alike)
    assert report.is_clear
    assert not exchange.open_orders()
    return plan.least_seconds, took, plan.seconds


@pytest.mark.parametrize("chunk", range(2))
def test_a_run_lies_between_the_least_and_the_most(chunk: int) -> None:
    """Whatever the generation, the margin mode, the look, the limiter and the round trip, and
    whatever was used just now or waits, be it for the same; and every contract is reached by the
    default deadline, which reckons by the same. An account with nothing open takes the least, but
    for the answer that V5's opinion takes, and the rule above."""
    chance = random.Random(None if SOAK else chunk)
    for _ in range(800 if SOAK else 15):
        case = drawn(chance)
        least, took, most = run(planned(case))
        assert least <= took + 0.001 <= most + 0.002, case
        if case.busy == 0 and case.is_warm and not case.is_asked_one_by_one and case.is_undisturbed:
            allowed = max(APART, SHARE * took, 0.01 + case.trip)
            assert took - least <= allowed, case


V1 = Case("v1", "v1", False, "isolated", 17, 17, None, False, 0.5, (5, 2.0), 0, 0, False, True)


@pytest.mark.parametrize(
    "case",
    [
        V1,
        V1._replace(margin="cross", contracts=15, busy=15, pace=(4, 1.0)),
        V1._replace(contracts=7, busy=7, is_warm=True, trip=0.3, pace=(4, 1.0)),
        V1._replace(contracts=29, busy=14, look=Look.NONE, until_clear=False),
        V1._replace(contracts=20, busy=0, pace=(4, 1.0), until_clear=False),
    ],
)
def test_the_most_has_what_refusals_take_of_a_limiter_of_the_users_own(case: Case) -> None:
    """A token for each, and what is refused in its first round goes behind the second ones."""
    least, took, most = run(planned(case))
    assert least <= took + 0.001 <= most + 0.002


@pytest.mark.parametrize(("contracts", "until_clear"), [(50, True), (52, False), (100, True)])
def test_the_most_has_the_pages_of_one_list_of_all_contracts(
    contracts: int, until_clear: bool
) -> None:
    """In cross margin, with an order of each: several pages are read twice."""
    case = V1._replace(margin="cross", contracts=contracts, busy=contracts, look=Look.ONLY)
    least, took, most = run(planned(case._replace(pace=None, until_clear=until_clear)))
    assert least <= took + 0.001 <= most + 0.002
