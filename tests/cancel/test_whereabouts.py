"""404 and 10000 speak of an endpoint, never of the account: no call ends clear by them, none
switches for them, and what shows where the account is decides alone."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from htx_async import (
    ALL_CONTRACTS,
    AccountMigrated,
    ApiGeneration,
    CancelRefused,
    CancelReport,
    EndpointRetired,
    HtxSession,
    MassCancelReport,
    Outcome,
    OutcomeUnknown,
    ReadFailed,
)
from htx_async.events import Event, GenerationChanged
from htx_async.simulator import SimulatedExchange
from tests.support.endings import ending
from tests.support.generations import CODE, exchange_of, session_of
from tests.support.virtual import SOAK, run

OTHER = "ETH-USDT"
WAY_OUT = 'generation="v5"'
GONE = pytest.mark.parametrize("path_gone", [True, False])
V5_SAYS = pytest.mark.parametrize("v5_refusal", [None, 6001, 4007])


def changes(events: list[Event]) -> list[ApiGeneration]:
    return [event.generation for event in events if isinstance(event, GenerationChanged)]


def asked(exchange: SimulatedExchange, end: str) -> int:
    return sum(arrival.path.endswith(end) for arrival in exchange.arrivals)


@GONE
@V5_SAYS
def test_one_404_of_an_account_that_has_not_moved_is_not_clear(
    path_gone: bool, v5_refusal: int | None
) -> None:
    """Nor does it outlive the call: the next one asks v1 again, and cancels."""

    async def main() -> None:
        events: list[Event] = []
        exchange = exchange_of(v5_refusal=v5_refusal)
        ids = exchange.place(CODE, "sell", "close", 2)
        exchange.retire(path_gone=path_gone)
        async with session_of(exchange, on_event=events.append) as htx:
            kind = OutcomeUnknown if v5_refusal is None else EndpointRetired
            with pytest.raises(kind) as caught:
                await htx.cancel_all_trailing(CODE)
            text = str(caught.value)
            assert WAY_OUT in text if v5_refusal is None else "neither API serves this" in text
            assert caught.value.report.confirmed is None
            assert htx.generation[0] is ApiGeneration.V1
            assert (await htx.cancel_all_trailing(CODE)).successes == ids
        assert changes(events) == []

    run(main())


@GONE
@V5_SAYS
def test_an_endpoint_that_is_gone_for_good_is_told_each_time(
    path_gone: bool, v5_refusal: int | None
) -> None:
    """By every call, and none of them is clear, confirmed or not."""

    async def main() -> None:
        exchange = exchange_of(v5_refusal=v5_refusal)
        exchange.place(CODE, "sell", "close", 2)
        exchange.retire(path_gone=path_gone, times=999, call="any")
        async with session_of(exchange) as htx:
            for confirm in (False, True):
                report = await ending(htx.cancel_all_trailing(CODE, confirm=confirm, deadline=3.0))
                assert not report.is_clear
                assert report.confirmed is None
            by_ids = await ending(htx.cancel_trailing(CODE, ["1", "2"]))
            assert not by_ids.is_clear
            mass = await htx.mass_cancel_trailing([CODE, OTHER], until_clear=True, deadline=4.0)
            assert not any(one.is_clear or one.confirmed for one in mass.reports)
            with pytest.raises(ReadFailed):
                await htx.open_trailing(CODE)
        assert len(exchange.open_orders()) == 2

    run(main())


@GONE
def test_one_404_of_a_read_fails_that_read_alone(path_gone: bool) -> None:
    """V5's empty list is no answer in its place; the next read asks v1 again."""

    async def main() -> None:
        exchange = exchange_of(v5_refusal=None)
        ids = exchange.place(CODE, "sell", "close", 2)
        exchange.retire(path_gone=path_gone, call="openorders")
        async with session_of(exchange) as htx:
            with pytest.raises(ReadFailed, match=WAY_OUT):
                await htx.open_trailing(CODE)
            assert {row.order_id for row in await htx.open_trailing(CODE)} == set(ids)
            assert htx.generation[0] is ApiGeneration.V1

    run(main())


def test_a_read_that_neither_api_serves_says_so() -> None:
    """`ReadFailed`, as for every list that cannot be had."""

    async def main() -> None:
        exchange = exchange_of(v5_refusal=4007)
        exchange.retire(call="openorders")
        async with session_of(exchange) as htx:
            with pytest.raises(ReadFailed, match="neither API serves this account"):
                await htx.open_trailing(CODE)

    run(main())


@GONE
def test_a_404_of_the_list_that_is_to_confirm_confirms_nothing(path_gone: bool) -> None:
    """One order was refused and is open; V5's empty list does not make the cancel clear. Where v1
    took every order, its word stands, unconfirmed."""

    async def main() -> None:
        exchange = exchange_of(v5_refusal=None)
        stays, goes = exchange.place(CODE, "sell", "close", 2)
        exchange.reject_order(stays, 1004)
        async with session_of(exchange) as htx:
            for left in ((stays,), ()):
                exchange.retire(path_gone=path_gone, call="openorders")
                report = await ending(htx.cancel_all_trailing(CODE, confirm=True))
                assert report.confirmed is None
                assert tuple(one.order_id for one in exchange.open_orders()) == left
                assert report.is_clear is not bool(left)
                assert report.successes == ((goes,) if left else (stays,))

    run(main())


@GONE
def test_a_404_that_moves_on_is_cancelled_on_v5(path_gone: bool) -> None:
    """V5 lists an order of the account in the other margin mode: that shows it."""

    async def main() -> None:
        exchange = exchange_of("v5", "404" if path_gone else "10000")
        exchange.place(CODE, "buy", "open", margin_mode="cross")
        async with session_of(exchange) as htx:
            report = await htx.cancel_all_trailing(CODE, confirm=True)
            assert (report.outcome, report.confirmed) == (Outcome.NOTHING_TO_CANCEL, True)
            assert htx.generation[0] is ApiGeneration.V5

    run(main())


@GONE
def test_an_open_order_of_any_contract_shows_the_account(path_gone: bool) -> None:
    """It is left alone; the contract that was asked for is found empty by V5's word."""

    async def main() -> None:
        exchange = exchange_of("v5", "404" if path_gone else "10000")
        exchange.place(OTHER, "sell", "close")
        async with session_of(exchange) as htx:
            report = await htx.cancel_all_trailing(CODE)
            assert report.outcome is Outcome.NOTHING_TO_CANCEL
            assert htx.generation[0] is ApiGeneration.V5
        assert len(exchange.open_orders(OTHER)) == 1

    run(main())


@GONE
def test_an_ended_order_of_any_contract_shows_the_account(path_gone: bool) -> None:
    """Nothing is open on V5, and its history has an order of another contract, five days old."""

    async def main() -> None:
        exchange = exchange_of("v5", "404" if path_gone else "10000")
        (old,) = exchange.place(OTHER, "sell", "close")
        exchange.trigger(old)
        await asyncio.sleep(5 * 86_400.0)
        events: list[Event] = []
        async with session_of(exchange, on_event=events.append) as htx:
            assert await htx.open_trailing(CODE) == ()
            report = await htx.cancel_all_trailing(CODE)
            assert report.outcome is Outcome.NOTHING_TO_CANCEL
            assert asked(exchange, "/history") == 3
        assert changes(events) == [ApiGeneration.V5]

    run(main())


def test_the_history_is_looked_at_once_for_all_contracts_of_a_call() -> None:
    """Eight reads at most for a mass cancel of forty; the next call looks anew."""

    async def main() -> None:
        exchange = exchange_of(v5_refusal=None)
        codes = [f"C{number}-USDT" for number in range(40)]
        exchange.retire(times=999)
        async with session_of(exchange) as htx:
            mass = await htx.mass_cancel_trailing(codes)
            assert {one.outcome for one in mass.reports} == {Outcome.UNKNOWN}
            # One of them for what is open.
            assert asked(exchange, "/history") == 7
            assert len([a for a in exchange.arrivals if a.contract_code is None]) == 8
            await ending(htx.cancel_all_trailing(CODE))
            assert asked(exchange, "/history") == 14

    run(main())


def test_where_a_history_of_all_contracts_is_refused_each_is_asked_for() -> None:
    """Within the eight."""

    async def main() -> None:
        exchange = exchange_of("v5", "404")
        (old,) = exchange.place(CODE, "sell", "close")
        exchange.trigger(old)
        exchange.refuse(1067, "Illegal parameter contract_code.", call="v5_history")
        async with session_of(exchange) as htx:
            report = await htx.cancel_all_trailing(CODE)
            assert report.outcome is Outcome.NOTHING_TO_CANCEL
            assert htx.generation[0] is ApiGeneration.V5
        told = [a.contract_code for a in exchange.arrivals if a.path.endswith("/history")]
        assert told == [None, CODE]

    run(main())


@pytest.mark.parametrize("code", [6001, 4007])
def test_v5_s_not_here_takes_the_session_back(code: Any) -> None:
    """Each kind of call goes on on v1 within itself, with one event."""
    calls: list[Callable[[HtxSession, tuple[str, ...]], Any]] = [
        lambda htx, ids: htx.cancel_all_trailing(CODE),
        lambda htx, ids: htx.cancel_all_trailing(CODE, confirm=True),
        lambda htx, ids: htx.cancel_trailing(CODE, ids),
        lambda htx, ids: htx.open_trailing(CODE),
        lambda htx, ids: htx.trailing_history(CODE),
        lambda htx, ids: htx.mass_cancel_trailing([CODE, OTHER]),
        lambda htx, ids: htx.mass_cancel_trailing(ALL_CONTRACTS),
    ]

    async def main(call: Callable[[HtxSession, tuple[str, ...]], Any]) -> Any:
        events: list[Event] = []
        exchange = exchange_of("v1", v5_refusal=code)
        ids = exchange.place(CODE, "sell", "close", 2)
        async with session_of(exchange, on_event=events.append) as htx:
            # What once showed V5, as an account that was taken back does.
            exchange.refuse(6002)
            exchange.malform(b'{"code":200,"data":[],"ts":1}', call="v5_opens")
            await ending(htx.cancel_all_trailing(CODE))
            del events[:]
            told = await call(htx, ids)
            assert htx.generation[0] is ApiGeneration.V1
        assert changes(events) == [ApiGeneration.V1], "it was on V5, and is back"
        if isinstance(told, CancelReport | MassCancelReport):
            assert told.is_clear
            assert set(told.successes) == set(ids)
            assert not exchange.open_orders()
        return told

    for call in calls:
        run(main(call))


def test_refused_by_both_is_a_refusal() -> None:
    """v1 says 6002 and V5 says 4007, whichever is asked first: never clear, and no to and fro."""

    async def main() -> None:
        exchange = exchange_of("v1", v5_refusal=4007)
        exchange.place(CODE, "sell", "close", 2)
        for call in ("cancelall", "cancel", "openorders"):
            exchange.refuse(6002, times=99, call=call)
        events: list[Event] = []
        async with session_of(exchange, on_event=events.append) as htx:
            for _ in range(4):
                del events[:]
                with pytest.raises(CancelRefused, match="neither API serves this account"):
                    await htx.cancel_all_trailing(CODE)
                assert len(changes(events)) <= 1
                with pytest.raises(CancelRefused):
                    await htx.cancel_trailing(CODE, ["1"])
                with pytest.raises(ReadFailed):
                    await htx.open_trailing(CODE)
        assert len(exchange.open_orders()) == 2

    run(main())


@GONE
def test_out_of_reach_on_both_is_a_refusal(path_gone: bool) -> None:
    """Neither API serves the account, and no order was touched."""

    async def main() -> None:
        exchange = exchange_of()
        exchange.place(CODE, "sell", "close", 2)
        exchange.retire(path_gone=path_gone, times=9)
        exchange.refuse(10000, call="v5_opens", times=9)
        async with session_of(exchange) as htx:
            with pytest.raises(EndpointRetired, match="neither API serves this account"):
                await htx.cancel_all_trailing(CODE)
        assert len(exchange.open_orders()) == 2

    run(main())


def test_a_pinned_v1_takes_its_word() -> None:
    """As ever: the refusal is told, and V5 is not asked."""

    async def main() -> None:
        exchange = exchange_of()
        exchange.retire()
        exchange.refuse(6002)
        async with session_of(exchange, generation="v1") as htx:
            with pytest.raises(EndpointRetired):
                await htx.cancel_all_trailing(CODE)
            with pytest.raises(AccountMigrated):
                await htx.cancel_all_trailing(CODE)
        assert len(exchange.arrivals) == 2

    run(main())


async def one_story(seed: int) -> None:
    """An account that did not move, among answers that say the endpoint is gone."""
    chance = random.Random(seed)
    exchange = exchange_of(
        v5_refusal=chance.choice([None, 6001, 4007]), contracts=[CODE, OTHER, "SOL-USDT"]
    )
    margin: Any = chance.choice(["isolated", "cross"])
    for code in (CODE, OTHER):
        exchange.place(code, "sell", "close", chance.randrange(3), margin_mode=margin)
    for _ in range(chance.randint(1, 3)):
        call: Any = chance.choice(["cancelall", "openorders", "cancel", "hisorders", "v5_opens"])
        times = chance.choice([1, 1, 99])
        exchange.retire(path_gone=chance.random() < 0.5, call=call, times=times)
    if chance.random() < 0.3:
        exchange.lose_after_work(call=chance.choice(["cancelall", "cancel", "v5_opens"]))
    async with session_of(exchange, latency=lambda: chance.uniform(0.005, 0.1)) as htx:
        margin_calls = htx.cross if margin == "cross" else htx
        for _ in range(2):
            placed = exchange.open_orders(margin_mode=margin)
            told = await _told(
                margin_calls, chance, {one.order_id: one.contract_code for one in placed}
            )
            left = {one.contract_code for one in exchange.open_orders(margin_mode=margin)}
            for report in told:
                assert not (report.is_clear and report.contract_code in left), (seed, report)
                assert not (report.confirmed and report.contract_code in left), (seed, report)
            assert htx.generation[0] is ApiGeneration.V1, seed


async def _told(
    margin_calls: Any, chance: random.Random, is_open: dict[str, str]
) -> list[CancelReport]:
    """What is told of the contracts that one call, of whatever kind, was for."""
    confirm = chance.random() < 0.5
    way = chance.choice(["one", "many", "rounds", "all", "ids", "read"])
    if way == "read":
        with suppress(ReadFailed):
            rows = await margin_calls.open_trailing(CODE, deadline=3.0)
            assert {row.order_id for row in rows} == {i for i in is_open if is_open[i] == CODE}
        return []
    if way == "one":
        return [await ending(margin_calls.cancel_all_trailing(CODE, confirm=confirm, deadline=4.0))]
    if way == "ids":
        ids = [order_id for order_id, code in is_open.items() if code == CODE]
        return [await ending(margin_calls.cancel_trailing(CODE, [*ids, "1"], deadline=4.0))]
    more: dict[str, Any] = {"confirm": confirm, "deadline": 6.0}
    codes = ALL_CONTRACTS if way == "all" else [CODE, OTHER]
    mass = await margin_calls.mass_cancel_trailing(codes, until_clear=way == "rounds", **more)
    return list(mass.reports)


def test_no_story_of_an_account_that_did_not_move_ends_clear_over_an_order() -> None:
    """Two contracts, mass cancels, rounds, confirmations, reads and ids, and 404 or 10000 once or
    for good on any of their requests; no call switches."""
    for seed in range(3000 if SOAK else 80):
        run(one_story(seed))


def test_what_v1_has_named_is_told_as_the_reason_and_no_more() -> None:
    """An order that v1 takes or lists speaks for v1 by an inference, and is told as one; a later
    call to which both have said "nothing" says that either may be it, one that ran beside does
    not; and a refusal of V5 is what shows it."""

    async def main() -> None:
        exchange = exchange_of(v5_refusal=None)
        exchange.place(CODE, "sell", "close")
        async with session_of(exchange) as htx:
            assert htx.generation == (ApiGeneration.V1, "assumed, until a reply says otherwise")
            await asyncio.gather(htx.open_trailing(CODE), htx.open_trailing(OTHER))
            assert htx.generation[1].startswith("v1 has named orders of the account, and ")
            assert htx.generation[1].endswith(": an inference")
            await htx.open_trailing(OTHER)
            assert htx.generation[1].startswith("both list no such order, ")
            await htx.cancel_all_trailing(CODE)
            assert htx.generation[1].startswith("v1 has named orders of the account, and ")
        refusing = exchange_of(v5_refusal=6001)
        refusing.place(CODE, "sell", "close")
        async with session_of(refusing) as htx:
            await htx.open_trailing(OTHER)
            assert htx.generation[1].startswith("V5 answered 6001, ")

    run(main())
