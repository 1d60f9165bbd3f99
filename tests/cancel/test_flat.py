"""How soon the last order is gone, and all is told: in virtual time, at a round trip of 80 ms."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pytest

from htx_async import ALL_CONTRACTS, HtxSession, MassCancelReport, Outcome
from htx_async.enums import GenerationLike, LookLike
from htx_async.simulator import Reply, Request
from tests.support.virtual import FIRST, SECOND, Outage, run, transport_of, virtual_session
from tests.support.witness import START, Witness, now

CODES = [f"C{number:03}-USDT" for number in range(230)]
PATHS = ("swap_track_cancelall", "cancel_orders")


class Book(Witness):
    """Knows when its last order went."""

    flat = 0.0

    def handle(self, request: Request) -> Reply:
        before = len(self.open_orders())
        reply = super().handle(request)
        if len(self.open_orders()) < before:
            self.flat = now() - 0.04
        return reply


class Ran(NamedTuple):
    report: MassCancelReport
    exchange: Book
    flat: float
    told: float
    least: float
    most: float

    def calls(self, end: str) -> int:
        return sum(one.path.endswith(end) for one in self.exchange.arrivals)


async def ran(
    count: int,
    busy: int,
    arm: Callable[[Book], object] = lambda exchange: None,
    *,
    every: bool = False,
    look: LookLike | None = None,
    generation: GenerationLike = "auto",
    **settings: Any,
) -> Ran:
    """A mass cancel of `count` contracts, of which `busy`, spread evenly, have one order each."""
    loop = asyncio.get_running_loop()
    codes = CODES[:count]
    wall = lambda: START + loop.time()  # noqa: E731 - two words
    exchange = Book(clock=loop.time, now=wall, contracts=codes, **settings)
    step = count // busy if busy else 1
    for code in codes[step // 2 :: step][:busy]:
        exchange.place(code, "buy", "close")
    arm(exchange)
    await asyncio.sleep(2.0)
    async with virtual_session(exchange, generation=generation, now=wall) as htx:
        if every:
            await htx.contracts()
        wanted = ALL_CONTRACTS if every else codes
        plan = htx.plan(wanted, look=look)
        began = now()
        report = await htx.mass_cancel_trailing(wanted, look=look)
        told = now() - began
    assert not exchange.open_orders()
    assert report.outcomes.get(Outcome.CANCELLED, 0) == busy
    assert report.is_clear
    assert all(exchange.busiest(1.0, call=call) <= 5 for call in ("cancelall", "v5_cancel"))
    assert {one.err_code for one in exchange.arrivals} & {1032, 429} == set()
    times = (plan.least_seconds, plan.seconds)
    return Ran(report, exchange, exchange.flat - began, told, *times)


def test_40_named_contracts_of_which_4_have_orders() -> None:
    """Flat within 0.6 s, and all 40 are cancelled all the same."""
    one = run(ran(40, 4))
    assert one.flat <= 0.6
    assert one.told <= 8.2
    assert one.calls("cancelall") == 40
    assert one.least <= one.told <= one.most


def test_lists_that_come_late_still_move_their_contracts_up() -> None:
    """1.6 s where the lists take a second; where they never come, no later than without them."""
    late = run(ran(40, 4, lambda one: one.late(0.9, times=99, call="openorders")))
    never = run(ran(40, 4, lambda one: one.late(60.0, times=999, call="openorders")))
    unread = run(ran(40, 4, look="none"))
    assert late.flat <= 1.6
    assert never.flat <= unread.flat + 0.4
    assert never.calls("cancelall") == late.calls("cancelall") == 40


@pytest.mark.parametrize("variant", ["1051", "404", "6002", "empty"])
def test_100_named_contracts_of_an_account_that_has_moved(
    variant: Literal["1051", "404", "6002", "empty"],
) -> None:
    """V5's list beside the first looks: no useless cancel on v1, flat in 2 s."""
    one = run(ran(100, 12, account="v5", v1_variant=variant))
    assert one.flat <= 2.0
    assert one.told <= 4.0
    assert one.calls("cancelall") == 0
    assert one.calls("cancel_orders") == 2


def test_what_waits_for_v1_goes_to_v5_when_the_account_turns_out_to_be_there() -> None:
    """Without a look the first replies tell: what waits gives up its places."""
    one = run(ran(60, 12, account="v5", v1_variant="6002", look="none"))
    assert one.calls("cancelall") <= 10
    assert one.told <= 4.0


def test_100_contracts_with_one_order_each_on_v5() -> None:
    """Ten orders of ten contracts to a request, which every report counts as one."""
    one = run(ran(100, 100, account="v5", generation="v5"))
    assert one.flat <= 2.0
    assert one.told <= 4.0
    assert one.calls("cancel_orders") == 10
    numbers = [each.attempts[0].request for each in one.report.reports]
    assert len(set(numbers)) == 10
    assert all(len(each.attempts[0].shared_by) == 10 for each in one.report.reports)


@pytest.mark.parametrize("mixed", ["missing", "refused", "malformed"])
def test_v5_that_takes_no_mixed_cancels_gets_one_contract_to_a_request(
    mixed: Literal["missing", "refused", "malformed"],
) -> None:
    """What was passed over is asked for again, and nothing is put together any more."""
    one = run(ran(20, 20, account="v5", generation="v5", v5_mixed=mixed))
    assert one.told <= 8.0
    assert 18 <= one.calls("cancel_orders") <= 22


def test_230_listed_contracts_whose_v5_list_is_empty() -> None:
    """v1 has taken an order after all others had said "nothing": no second opinion is needed."""
    one = run(ran(230, 12, every=True, v5_refusal=None))
    assert one.told <= 12.0
    assert one.calls("opens") <= 5
    assert one.least <= one.told <= one.most


@pytest.mark.parametrize("look", ["first", "only", "none"])
@pytest.mark.parametrize("count", [7, 40])
def test_the_least_of_a_plan_is_that_of_an_account_with_nothing_open(
    look: LookLike, count: int
) -> None:
    """Within 5 %, or 0.1 s, once a round trip was seen; and the run lies between both."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        exchange = Book(clock=loop.time, now=lambda: START + loop.time(), contracts=CODES)
        async with virtual_session(
            exchange, generation="auto", now=lambda: START + loop.time()
        ) as htx:
            await htx.cancel_all_trailing(CODES[-1])
            await asyncio.sleep(4.0)
            plan, began = htx.plan(CODES[:count], look=look), now()
            await htx.mass_cancel_trailing(CODES[:count], look=look)
            took = now() - began
        assert plan.least_seconds <= took + 0.001 <= plan.seconds
        assert took - plan.least_seconds <= max(0.1, 0.05 * took)

    run(main())


def test_looks_leave_eight_reads_free() -> None:
    """Somebody else's list is read at once while 230 contracts are looked at."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        exchange = Book(clock=loop.time, now=lambda: START + loop.time(), contracts=CODES)
        settings: dict[str, Any] = {"generation": "v1", "now": lambda: START + loop.time()}
        async with virtual_session(exchange, **settings) as htx:
            sweep = asyncio.create_task(htx.mass_cancel_trailing(CODES, look="only"))
            await asyncio.sleep(0.5)
            assert sum(one.path.endswith("openorders") for one in exchange.arrivals) == 64
            began = now()
            await asyncio.gather(*(htx.open_trailing(code) for code in CODES[:8]))
            assert now() - began < 0.1
            await sweep

    run(main())


async def together(
    *calls: tuple[float, LookLike | None], busy: int = 9, single: float | None = None
) -> tuple[Book, list[float]]:
    """Mass cancels of the same 40 contracts, of which every tenth has an order, the first of them
    `busy`: when each begins, and its look; and how long each took. `single`: when another contract
    is cancelled by itself."""
    loop = asyncio.get_running_loop()
    exchange = Book(clock=loop.time, now=lambda: START + loop.time(), contracts=CODES[:41])
    for code in CODES[busy:40:10]:
        exchange.place(code, "buy", "close")
    await asyncio.sleep(3.0)

    async def told(htx: HtxSession, after: float, look: LookLike | None) -> float:
        await asyncio.sleep(after)
        began = now()
        report = await htx.mass_cancel_trailing(CODES[:40], look=look)
        assert report.is_clear
        return now() - began

    async def alone(htx: HtxSession) -> None:
        if single is not None:
            await asyncio.sleep(single)
            await htx.cancel_all_trailing(CODES[40])

    async with virtual_session(exchange, generation="v1", now=lambda: START + loop.time()) as htx:
        *took, _ = await asyncio.gather(*(told(htx, *one) for one in calls), alone(htx))
    assert exchange.busiest() <= 5
    assert not exchange.open_orders()
    return exchange, list(filter(None, took))


def test_a_second_mass_cancel_of_the_same_contracts() -> None:
    """At once or 2 s later: told one period later than alone, at most."""
    alone = 7.9
    for later in (0.0, 0.05, 2.0):
        _, (first, second) = run(together((0.0, None), (later, None), busy=0))
        assert first <= alone + 0.2
        # What waits for its lists goes along with what is sent.
        assert second <= alone + (0.0 if later < 1.0 else 1.1) + 0.2, later


LOOKS: tuple[LookLike, ...] = ("first", "only", "none")


@pytest.mark.parametrize("later", [0.0, 0.05, 0.3, 2.0])
@pytest.mark.parametrize("second", LOOKS)
@pytest.mark.parametrize("first", LOOKS)
def test_two_mass_cancels_that_look_otherwise(
    first: LookLike, second: LookLike, later: float
) -> None:
    """Whatever the looks, both are told one period of the limit later than alone, at most: a second
    and a round trip for cancels, three for lists where both together read more than there are."""
    _, took = run(together((0.0, first), (later, second)))
    for look, told in zip((first, second), took, strict=True):
        _, (alone,) = run(together((0.0, look)))
        reads = 2 if "none" not in (first, second) and look == "only" else 0
        assert told <= alone + 1.15 + reads, (look, alone)


def test_what_a_list_has_shown_goes_before_what_other_mass_cancels_guess() -> None:
    """A second one whose lists show four contracts with orders, behind 35 of a first one that read
    nothing: flat after one period. A call by itself keeps its place among them."""
    exchange, _ = run(together((0.0, "none"), (0.2, "only"), busy=6, single=0.1))
    assert exchange.flat <= 3.0 + 1.2
    cancels = [one.contract_code for one in exchange.arrivals if one.path.endswith("cancelall")]
    assert set(cancels[5:9]) == set(CODES[6:40:10])
    assert cancels[-1] == CODES[40]


def test_what_a_list_has_shown_keeps_a_deadline_that_its_place_in_the_line_would_miss() -> None:
    """Two seconds, behind 35 contracts of another mass cancel of which nothing is known."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        exchange = Book(clock=loop.time, now=lambda: START + loop.time(), contracts=CODES)
        for code in CODES[50:54]:
            exchange.place(code, "buy", "close")
        async with virtual_session(
            exchange, generation="v1", now=lambda: START + loop.time()
        ) as htx:
            first = asyncio.create_task(htx.mass_cancel_trailing(CODES[:40], look="none"))
            await asyncio.sleep(0.1)
            report = await htx.mass_cancel_trailing(CODES[40:60], look="only", deadline=2.0)
            assert report.outcomes[Outcome.CANCELLED] == 4
            assert report.is_clear
            assert (await first).is_clear

    run(main())


def test_a_call_by_itself_is_put_back_by_no_mass_cancel() -> None:
    """It goes when it would have gone without the contracts that lists have shown after it came."""
    apart, _ = run(together((0.0, "none"), single=0.1))
    beside, _ = run(together((0.0, "none"), (0.2, "first"), (0.3, "only"), single=0.1))
    place = [
        [one.contract_code for one in exchange.arrivals if one.path.endswith("cancelall")]
        for exchange in (apart, beside)
    ]
    assert place[0].index(CODES[40]) == place[1].index(CODES[40]) == 40


@pytest.mark.parametrize("look", ["first", "only"])
def test_a_silent_first_host_keeps_lists_for_a_second_only(look: LookLike) -> None:
    """They come from the other one then. Those of more contracts than there are reads wait for
    tokens; the cancels that went to the silent host wait for theirs, and then all are known."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wall = lambda: START + loop.time()  # noqa: E731 - two words
        exchange = Book(clock=loop.time, now=wall, contracts=CODES[:40])
        for code in CODES[9:40:10]:
            exchange.place(code, "buy", "close", 3)
        hosts: dict[str, Any] = {
            "base_urls": (FIRST, SECOND),
            "attempt_timeout": 3.0,
            "generation": "auto",
        }
        async with virtual_session(exchange, now=wall, **hosts) as htx:
            transport_of(htx).outages.append(Outage("silent", host=FIRST))
            report = await htx.mass_cancel_trailing(CODES[:40], look=look)
        assert report.is_clear
        assert not exchange.open_orders()
        assert exchange.flat <= 0.1 + 3.0 + 1.3
        cancelled = [one.attempts for one in report.reports if one.successes]
        if look == "only":
            assert {one.base_url for tried in cancelled for one in tried} == {SECOND}
        assert exchange.busiest(1.0, call="cancelall") <= 5

    run(main())


def test_a_host_whose_lists_are_late_is_no_sick_one() -> None:
    """The lists of both come after 1.2 s; cancels go to the first one, which answers them."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wall = lambda: START + loop.time()  # noqa: E731 - two words
        exchange = Book(clock=loop.time, now=wall, contracts=CODES[:20])
        exchange.place(CODES[19], "buy", "close")
        exchange.late(1.2, times=99, call="openorders")
        hosts: dict[str, Any] = {"base_urls": (FIRST, SECOND), "generation": "v1"}
        async with virtual_session(exchange, now=wall, **hosts) as htx:
            report = await htx.mass_cancel_trailing(CODES[:20])
        assert report.is_clear
        attempts = [one for each in report.reports for one in each.attempts]
        assert {one.base_url for one in attempts} == {FIRST}
        assert any(one.base_url == SECOND for each in report.reports for one in each.reads)

    run(main())
