"""ALL_CONTRACTS: every listed contract, looked at first, in virtual time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from htx_async import (
    ALL_CONTRACTS,
    HtxSession,
    InvalidRequest,
    MassCancelReport,
    Outcome,
    ReadFailed,
    SessionClosed,
)
from tests.support.virtual import run
from tests.support.witness import Witness, asked, in_step, now, v1_session

MANY = [f"C{number:03}-USDT" for number in range(230)]
BUSY = MANY[5::19][:12]


async def swept(
    arm: Callable[[Witness], object] = lambda exchange: None,
    codes: list[str] | None = None,
    *arguments: Any,
    cross: bool = False,
    **settings: Any,
) -> tuple[MassCancelReport, Witness, float]:
    """The account of a sweep over `codes`, of which those in `BUSY` have three orders each."""
    listed = MANY if codes is None else codes
    exchange = in_step(contracts=listed)
    for code in set(BUSY) & set(listed):
        exchange.place(code, "buy", "open", 3, margin_mode="cross" if cross else "isolated")
    arm(exchange)
    async with v1_session(exchange) as htx:
        margin_calls = htx.cross if cross else htx
        began = now()
        report = await margin_calls.mass_cancel_trailing(ALL_CONTRACTS, *arguments, **settings)
        return report, exchange, now() - began


def most_reads(exchange: Witness) -> int:
    """The most private reads in any 3 s."""
    reads = sorted(asked(exchange, "openorders") + asked(exchange, "hisorders"))
    return max(sum(at <= one < at + 3.0 for one in reads) for at in reads)


@pytest.mark.parametrize("confirm", [False, True])
def test_230_contracts_of_which_12_have_orders(confirm: bool) -> None:
    """A third of the blind sweep's time at most, within both limits, and none missed."""
    report, exchange, seconds = run(swept(confirm=confirm))
    blind, unseen, longest = run(swept(confirm=confirm, look="none"))
    assert seconds <= longest / 3
    assert exchange.busiest(1.0) <= 5
    assert unseen.busiest(1.0) <= 5
    assert most_reads(exchange) <= 72
    assert {one.err_code for one in exchange.arrivals} == {None}
    assert len(asked(exchange, "cancelall")) == 12
    assert len(asked(unseen, "cancelall")) == 230
    for one, book in ((report, exchange), (blind, unseen)):
        assert one.is_clear
        assert not book.open_orders()
        assert [each.contract_code for each in one.reports] == MANY
        cancelled = {e.contract_code for e in one.reports if e.outcome is Outcome.CANCELLED}
        assert cancelled == set(BUSY)
        assert len(one.successes) == 36
    assert {each.confirmed for each in blind.reports} == {True if confirm else None}
    idle = [each for each in report.reports if each.contract_code not in BUSY]
    assert {(each.outcome, each.confirmed) for each in idle} == {(Outcome.NOTHING_TO_CANCEL, None)}
    assert all(len(each.reads) == 1 and not each.attempts for each in idle)


@pytest.mark.parametrize("failing", [1, 3])
def test_a_contract_that_cannot_be_read_is_cancelled_blind(failing: int) -> None:
    """Whether it has orders or not, and it says so; the others are not held up."""
    unread = MANY[5 : 5 + failing]

    def arm(exchange: Witness) -> None:
        for code in unread:
            exchange.lose_before_work(times=4, contract_code=code, call="openorders")

    report, exchange, _ = run(swept(arm, MANY[:40]))
    assert report.is_clear
    assert not exchange.open_orders()
    for each in report.reports:
        is_blind = any("cancelled blind" in warning for warning in each.warnings)
        assert is_blind == (each.contract_code in unread)
        if is_blind:
            assert (len(each.reads), len(each.attempts)) == (4, 1)
            assert "cancelled blind" in each.message


@pytest.mark.parametrize(
    "arm",
    [
        lambda one: one.refuse(1411, times=999, call="openorders"),
        lambda one: one.late(60.0, times=999, call="openorders"),
        lambda one: one.too_many(8.0, times=99, call="openorders"),
    ],
    ids=["settlement", "silent", "limited"],
)
def test_lists_that_fail_for_long_leave_time_for_the_cancels(
    arm: Callable[[Witness], object],
) -> None:
    """They may be refused, silent or limited: the cancels, which would work, still go."""
    report, exchange, _ = run(swept(arm, MANY[:10], deadline=6.0))
    assert not exchange.open_orders()
    assert report.is_clear
    assert all("cancelled blind" in each.message for each in report.reports)


def test_without_a_look_nothing_is_read() -> None:
    """But the public list."""
    report, exchange, _ = run(swept(codes=MANY[:30], look="none"))
    assert report.is_clear
    assert len(exchange.arrivals) == 31
    assert {len(each.reads) for each in report.reports} == {0}


def test_in_cross_margin_one_list_tells_of_all() -> None:
    """Its orders are sorted by contract; only those are cancelled, and dated futures too."""
    report, exchange, seconds = run(swept(cross=True))
    assert len(asked(exchange, "openorders")) == 1
    assert len(asked(exchange, "cancelall")) == 12
    assert report.is_clear
    assert not exchange.open_orders()
    assert seconds < 4.0
    assert {len(each.reads) for each in report.reports} == {1}
    assert len({each.reads[0].request for each in report.reports}) == 1
    assert {each.margin_mode for each in report.reports} == {"cross"}


def test_in_cross_margin_a_list_that_cannot_be_read_leaves_every_contract_blind() -> None:
    """None is skipped."""

    def arm(exchange: Witness) -> None:
        exchange.lose_before_work(times=4, call="openorders")

    report, exchange, _ = run(swept(arm, MANY[:20], cross=True))
    assert report.is_clear
    assert len(asked(exchange, "cancelall")) == 20
    assert all("cancelled blind" in each.message for each in report.reports)


@pytest.mark.parametrize("settings", [{}, {"look": "none"}, {"until_clear": True}])
@pytest.mark.parametrize("call", ["cross", "isolated"])
def test_a_list_of_contracts_that_cannot_be_had_sends_nothing(
    call: str, settings: dict[str, Any]
) -> None:
    """Not even to contracts that an earlier list had."""

    async def main() -> None:
        exchange = in_step(contracts=MANY[:5])
        exchange.place(MANY[0], "buy", "open")
        async with v1_session(exchange) as htx:
            margin_calls = htx.cross if call == "cross" else htx
            await margin_calls.contracts()
            exchange.lose_before_work(times=9, call="contract_info")
            with pytest.raises(ReadFailed, match="No order was touched"):
                await margin_calls.mass_cancel_trailing(ALL_CONTRACTS, **settings)
        assert {one.method for one in exchange.arrivals} == {"GET"}

    run(main())


def test_the_deadline_counts_for_the_list_of_contracts_too() -> None:
    """Seconds for all, as it says."""

    async def main() -> None:
        exchange = in_step(contracts=MANY[:5])
        exchange.late(60.0, times=9, call="contract_info")
        async with v1_session(exchange) as htx:
            began = now()
            with suppress(ReadFailed):
                await htx.mass_cancel_trailing(ALL_CONTRACTS, deadline=1.0)
            assert now() - began <= 1.05

    run(main())


def test_one_odd_name_in_the_list_does_not_keep_the_others() -> None:
    """The exchange may list what nobody thought of; the rest can be cancelled all the same."""

    async def main() -> None:
        exchange = in_step()
        exchange.place(MANY[0], "buy", "open")
        names = f'[{{"contract_code":"{MANY[0]}"}},{{"contract_code":"1_X-USDT"}}]'
        exchange.malform(f'{{"status":"ok","data":{names}}}'.encode(), call="contract_info")
        async with v1_session(exchange) as htx:
            await htx.mass_cancel_trailing(ALL_CONTRACTS)
        assert not exchange.open_orders()

    run(main())


@pytest.mark.parametrize(
    "other",
    [
        None,
        "",
        [],
        (),
        "ALL_CONTRACTS",
        "all",
        "*",
        "all contracts",
        ["ALL_CONTRACTS", ""],
        True,
        {},
    ],
)
def test_nothing_else_means_all(other: Any) -> None:
    """What is empty or a word is refused, by the mass cancel, the plan and the guard."""

    async def main() -> None:
        exchange = in_step(contracts=MANY[:5])
        async with v1_session(exchange) as htx:
            await htx.contracts()
            for margin_calls in (htx, htx.cross):
                with pytest.raises(InvalidRequest):
                    await margin_calls.mass_cancel_trailing(other)
                with pytest.raises(InvalidRequest):
                    margin_calls.plan(other)
                with pytest.raises(InvalidRequest):
                    margin_calls.cancel_on_exit(other)
        assert len(exchange.arrivals) == 1

    run(main())


@pytest.mark.parametrize("wrong", [("",), ("long",), (None, ""), (None, "both"), (5,)])
def test_filters_are_looked_at_before_the_list_is_asked_for(wrong: tuple[Any, ...]) -> None:
    """A mistake costs nothing and is told at once."""

    async def main() -> None:
        exchange = in_step(contracts=MANY[:5])
        async with v1_session(exchange) as htx:
            for margin_calls in (htx, htx.cross):
                with pytest.raises(InvalidRequest):
                    await margin_calls.mass_cancel_trailing(ALL_CONTRACTS, *wrong)
            with pytest.raises(InvalidRequest, match="deadline"):
                await htx.mass_cancel_trailing(ALL_CONTRACTS, deadline=0.0)
        with pytest.raises(SessionClosed):
            await htx.mass_cancel_trailing(ALL_CONTRACTS)
        assert not exchange.arrivals

    run(main())


@pytest.mark.parametrize("confirm", [False, True])
def test_only_contracts_with_matching_orders_are_cancelled(confirm: bool) -> None:
    """By both filters; a one-way order may match, and is reported as not sure to be reached."""

    async def main() -> None:
        exchange = in_step(contracts=MANY[:6])
        wanted = exchange.place(MANY[0], "buy", "close")
        exchange.place(MANY[1], "sell", "close")
        exchange.place(MANY[2], "buy", "open")
        (one_way,) = exchange.place(MANY[3], "buy", "both")
        async with v1_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(ALL_CONTRACTS, "buy", "close", confirm=confirm)
        reached = [one.contract_code for one in exchange.arrivals if "cancelall" in one.path]
        assert set(reached) == {MANY[0], MANY[3]}
        assert report.successes == wanted
        assert len(exchange.open_orders()) == 3
        unsure = report.reports[3]
        assert any(one_way in warning for warning in unsure.warnings)
        assert one_way in unsure.message
        if confirm:
            assert report.not_clear == (MANY[3],)
            assert unsure.still_open == (one_way,)

    run(main())


def test_a_plan_needs_the_list_first() -> None:
    """Before it nobody knows which contracts these are; after it the plan tells both times."""

    async def main() -> None:
        exchange = in_step(contracts=MANY)
        async with v1_session(exchange) as htx:
            with pytest.raises(InvalidRequest, match=r"await contracts\(\) first"):
                htx.plan(ALL_CONTRACTS)
            assert not exchange.arrivals
            await htx.contracts()
            plan, blind = htx.plan(ALL_CONTRACTS), htx.plan(ALL_CONTRACTS, look="none")
            assert plan.contract_codes == tuple(MANY)
            assert (plan.calls, plan.reads, blind.reads) == (230, 230, 0)
            # With the round trip of the public list: 46 answers one after another.
            trip = htx._ready().base_urls.shortest
            assert blind.least_seconds == pytest.approx(45.0 + 46 * trip, abs=0.2)
            assert plan.least_seconds == pytest.approx(9.0 + 4 * trip, abs=0.1)
            assert plan.seconds > blind.seconds > blind.least_seconds
            await htx.cross.contracts()
            assert htx.cross.plan(ALL_CONTRACTS).reads == 1
        assert len(exchange.arrivals) == 2

    run(main())


async def ended_early(htx: HtxSession, how: str, cross: bool) -> MassCancelReport | None:
    margin_calls = htx.cross if cross else htx
    task = asyncio.create_task(margin_calls.mass_cancel_trailing(ALL_CONTRACTS))
    await asyncio.sleep(0.1)
    if how == "close":
        await htx.aclose()
    else:
        task.cancel()
    await asyncio.wait([task])
    return None if task.cancelled() else task.result()


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("how", ["close", "cancel"])
def test_a_sweep_ended_while_it_looks_cancels_nothing(how: str, cross: bool) -> None:
    """Every contract was not sent, whatever its list said; no task is left behind."""

    async def main() -> None:
        exchange = in_step(contracts=MANY[:20])
        exchange.late(2.0, times=99, call="openorders")
        async with v1_session(exchange) as htx:
            report = await ended_early(htx, how, cross)
            assert now() < 0.2
        if how == "close":
            assert report is not None
            assert report.outcomes == {Outcome.NOT_SENT: 20}
            assert all("session was closed" in each.message for each in report.reports)
        assert not asked(exchange, "cancelall")

    run(main())


def test_the_deadline_of_a_sweep_is_kept() -> None:
    """What was not looked at in time is cancelled blind or not sent, never called clear."""

    async def main() -> None:
        exchange = in_step(contracts=MANY)
        for code in MANY:
            exchange.place(code, "buy", "open")
        async with v1_session(exchange) as htx:
            began = now()
            report = await htx.mass_cancel_trailing(ALL_CONTRACTS, deadline=4.0)
            assert now() - began <= 4.05
        assert len(report.reports) == 230
        is_open = {one.contract_code for one in exchange.open_orders()}
        assert not is_open & {one.contract_code for one in report.reports if one.is_clear}
        assert set(report.not_clear) == is_open

    run(main())
