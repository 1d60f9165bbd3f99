"""Accounts on v1, moved, or moving: no call ends clear while a matching order is open."""

import random
from collections.abc import Callable
from typing import Literal, NamedTuple

import pytest

from htx_async import (
    ALL_CONTRACTS,
    AccountMigrated,
    ApiGeneration,
    CancelReport,
    EndpointRetired,
    HtxSession,
    InvalidRequest,
    Outcome,
    PartialCancel,
    ReadFailed,
    RetryPolicy,
    TokenBucket,
    Verdict,
)
from htx_async.enums import DirectionLike, OffsetLike
from htx_async.events import Event, GenerationChanged
from htx_async.simulator import Order
from tests.support.endings import ending
from tests.support.generations import CODE, VARIANTS, exchange_of, session_of
from tests.support.virtual import SOAK, run

PAIRS = [("v1", "answering")] + [(state, v) for state in ("moved", "moving") for v in VARIANTS]
FILTERS: tuple[tuple[DirectionLike | None, OffsetLike | None], ...] = (
    (None, None),
    ("sell", None),
    ("sell", "close"),
)
MARGINS: tuple[Literal["isolated", "cross"], ...] = ("isolated", "cross")
SEEDS = 400 if SOAK else 16


class Told(NamedTuple):
    report: CancelReport
    left: list[Order]
    offset: str | None


async def one_call(seed: int, state: str, variant: str, confirm: bool) -> Told:
    """One cancel-all among random orders, faults and latencies."""
    chance = random.Random(seed)
    delay = (lambda: chance.choice([0.0, 0.3, 1.1])) if confirm else 0.0
    account = "v5" if state == "moved" else "v1"
    exchange = exchange_of(account, variant, cancel_delay=delay)
    margin = chance.choice(MARGINS)
    exchange.place(CODE, "sell", "close", chance.randint(0, 6), margin_mode=margin)
    exchange.place(CODE, "buy", "open", chance.choice([0, 2]), margin_mode=margin)
    exchange.place(CODE, "sell", "both", chance.choice([0, 0, 1]), margin_mode=margin)
    exchange.place("ETH-USDT", "sell", "close", 2, margin_mode=margin)
    faults: list[Callable[[], object]] = [
        exchange.lose_after_work,
        exchange.lose_before_work,
        lambda: exchange.lose_after_work(call="v5_cancel"),
        lambda: exchange.lose_before_work(call="v5_opens"),
        lambda: exchange.refuse(1032, "Too many.", call="v5_opens"),
        lambda: exchange.refuse(1000, "System.", call="v5_opens"),
    ]
    for fault in chance.sample(faults, chance.randint(0, 2)):
        fault()
    if state == "moving":
        exchange.move(after=chance.uniform(0.0, 0.6))
    direction, offset = chance.choice(FILTERS)
    async with session_of(exchange, latency=lambda: chance.uniform(0.005, 0.1)) as htx:
        margin_calls = htx if margin == "isolated" else htx.cross
        report = await ending(
            margin_calls.cancel_all_trailing(CODE, direction, offset, confirm=confirm)
        )
    assert len(exchange.open_orders("ETH-USDT")) == 2
    left = [
        order
        for order in exchange.open_orders(CODE, margin)
        if direction in (None, order.direction)
        and (offset is None or order.offset in (offset, "both"))
    ]
    return Told(report, left, offset)


@pytest.mark.slow
@pytest.mark.parametrize(("state", "variant"), PAIRS)
def test_no_call_ends_clear_while_a_matching_order_is_open(state: str, variant: str) -> None:
    """Over 36 seeds, confirmed or not; an unconfirmed clear v1 answer leaves at most one-way
    orders, which its offset filter does not reach."""
    outcomes = set()
    for seed in range(SEEDS):
        confirm = seed % 2 == 1
        report, left, offset = run(one_call(seed, state, variant, confirm))
        outcomes.add(report.outcome)
        if not confirm and offset is not None:
            left = [order for order in left if order.offset != "both"]
        assert not (report.is_clear and left), (seed, report)
        assert not report.confirmed or not left, (seed, report)
        if report.still_open:
            assert report.outcome is Outcome.PARTIAL, (seed, report)
    assert Outcome.CANCELLED in outcomes


def test_a_cancel_that_names_ids_costs_one_request_and_a_nothing_one_read_more() -> None:
    """On v1, and no other request of any kind."""

    async def main() -> None:
        exchange = exchange_of()
        exchange.place(CODE, "sell", "close", 3)
        async with session_of(exchange) as htx:
            first = await htx.cancel_all_trailing(CODE)
            assert (len(first.successes), len(first.reads)) == (3, 0)
            assert len(exchange.arrivals) == 1
            second = await htx.cancel_all_trailing(CODE)
            assert second.outcome is Outcome.NOTHING_TO_CANCEL
            assert [read.verdict for read in second.reads] == [Verdict.REFUSED]
            assert len(exchange.arrivals) == 3
            assert htx.generation[0] is ApiGeneration.V1

    run(main())


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v not in ("answering",)])
def test_a_moved_account_is_cancelled_on_v5(variant: str) -> None:
    """Whatever v1 answers there: all pages, batches of ten, one true report; the next call goes to
    V5 at once, and the change is one event."""
    events: list[Event] = []

    async def main() -> None:
        exchange = exchange_of("v5", variant)
        ids = exchange.place(CODE, "sell", "close", 123)
        others = exchange.place(CODE, "buy", "close") + exchange.place(CODE, "sell", "open")
        exchange.place(CODE, "sell", "close", margin_mode="cross")
        async with session_of(exchange, on_event=events.append) as htx:
            report = await htx.cancel_all_trailing(CODE, "sell", "close", deadline=30.0)
            assert set(report.successes) == set(ids)
            assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, True)
            assert {order.order_id for order in exchange.open_orders(CODE, "isolated")} == set(
                others
            )
            generation, how = htx.generation
            assert generation is ApiGeneration.V5
            assert how
            before = len(exchange.arrivals)
            again = await htx.cancel_all_trailing(CODE, "sell", "close")
            assert again.outcome is Outcome.NOTHING_TO_CANCEL
            # Others are listed, so that the list's end has to be asked for.
            assert len(exchange.arrivals) == before + 2
            assert len(await htx.open_trailing(CODE)) == 2
        cancels = [a for a in exchange.arrivals if a.path == "/v5/algo/cancel_orders"]
        assert len(cancels) == 13

    run(main())
    changes = [event for event in events if isinstance(event, GenerationChanged)]
    assert [change.generation for change in changes] == [ApiGeneration.V5]


def test_at_most_five_v5_cancels_in_a_second() -> None:
    """Whether v1's limit lives on there is not known, so it is kept."""

    async def main() -> None:
        exchange = exchange_of("v5", "6002")
        exchange.place(CODE, "sell", "close", 150)
        async with session_of(exchange) as htx:
            await htx.cancel_all_trailing(CODE, deadline=30.0)
        assert not exchange.open_orders()
        assert exchange.busiest(1.0, call="v5_cancel") <= 5

    run(main())


def test_what_v5_cannot_say_leaves_a_nothing_of_v1_unknown() -> None:
    """An unreadable second opinion is none: the outcome is unknown, loudly."""

    async def main() -> None:
        exchange = exchange_of()
        exchange.bad_gateway(call="v5_opens", times=50)
        async with session_of(exchange) as htx:
            report = await ending(htx.cancel_all_trailing(CODE, deadline=2.0))
        assert report.outcome is Outcome.UNKNOWN
        assert "moved to V5" in report.message
        assert "look at the exchange now" in report.message

    run(main())


def test_an_authentic_empty_list_agrees() -> None:
    """V5 knows the account, and no such order: both generations say the same."""

    async def main() -> None:
        exchange = exchange_of("v5", "1051")
        exchange.place("ETH-USDT", "sell", "close")
        async with session_of(exchange) as htx:
            report = await htx.cancel_all_trailing(CODE)
            assert (report.outcome, len(report.reads)) == (Outcome.NOTHING_TO_CANCEL, 1)
            assert htx.generation[0] is ApiGeneration.V1

    run(main())


def test_one_way_orders_are_reported_not_cancelled_under_an_offset_filter() -> None:
    """On V5 too: in doubt an order stays, and the report says that it does."""

    async def main() -> None:
        exchange = exchange_of("v5", "6002")
        (unsure,) = exchange.place(CODE, "sell", "both")
        (sure,) = exchange.place(CODE, "sell", "close")
        async with session_of(exchange) as htx:
            with pytest.raises(PartialCancel) as caught:
                await htx.cancel_all_trailing(CODE, "sell", "close")
            report = caught.value.report
            assert (report.successes, report.still_open) == ((sure,), (unsure,))
            assert (await htx.cancel_all_trailing(CODE)).successes == (unsure,)

    run(main())


def test_orders_that_trigger_meanwhile_are_told_as_triggered() -> None:
    """By V5's history, with a cancel that takes effect late."""

    async def main() -> None:
        exchange = exchange_of("v5", "6023", cancel_delay=1.1)
        first, second = exchange.place(CODE, "sell", "close", 2)
        exchange.trigger(second, after=0.8)
        async with session_of(exchange) as htx:
            report = await htx.cancel_all_trailing(CODE)
        assert (report.successes, report.triggered) == ((first,), (second,))

    run(main())


def test_an_order_refused_by_its_own_item_is_open_and_told() -> None:
    """The outer 200 counts for nothing."""

    async def main() -> None:
        exchange = exchange_of("v5", "6002")
        bad, good = exchange.place(CODE, "sell", "close", 2)
        exchange.reject_order(bad, 1088, "not now", times=99)
        async with session_of(exchange) as htx:
            report = await ending(htx.cancel_all_trailing(CODE, deadline=5.0))
        assert report.outcome is Outcome.PARTIAL
        assert (report.successes, report.still_open) == ((good,), (bad,))
        assert [error.err_code for error in report.errors] == [1088]
        assert "1088" in report.message

    run(main())


def test_a_v5_that_loses_answers_still_ends_true() -> None:
    """Lost cancels and lost lists are made good by the next list."""

    async def main() -> None:
        exchange = exchange_of("v5", "404")
        ids = exchange.place(CODE, "sell", "close", 25)
        for _ in range(3):
            exchange.lose_after_work(call="v5_cancel")
            exchange.lose_before_work(call="v5_cancel")
            exchange.lose_before_work(call="v5_opens")
        async with session_of(exchange) as htx:
            report = await htx.cancel_all_trailing(CODE, deadline=30.0)
        assert set(report.successes) == set(ids)
        assert not exchange.open_orders()

    run(main())


def test_a_pinned_v1_reports_a_moved_account_as_it_always_did() -> None:
    """No second opinion is asked, and no V5 request is sent."""

    async def main() -> None:
        for variant, kind in (("6002", AccountMigrated), ("10000", EndpointRetired)):
            exchange = exchange_of("v5", variant)
            async with session_of(exchange, generation="v1") as htx:
                with pytest.raises(kind):
                    await htx.cancel_all_trailing(CODE)
            assert [a.path for a in exchange.arrivals] == [
                "/linear-swap-api/v1/swap_track_cancelall"
            ]

    run(main())


def test_a_refusal_of_the_account_says_what_to_do_whoever_asked_whom() -> None:
    """Where it was asked on the other generation alone, and where both have refused, the words name
    the setting and the website, and never send anybody back to where he was."""

    async def main() -> None:
        moved, stayed, nowhere = (exchange_of(on, "6002") for on in ("v5", "v1", "v1"))
        nowhere.refuse(6002)
        for exchange, generation in ((moved, "v1"), (stayed, "v5"), (nowhere, "auto")):
            async with session_of(exchange, generation=generation) as htx:
                with pytest.raises(AccountMigrated) as failure:
                    await htx.cancel_all_trailing(CODE)
            assert '"auto"' in str(failure.value)
            assert "website" in str(failure.value)
            assert "there" not in str(failure.value).split("This call cancelled nothing.")[1]

    run(main())


def test_a_pinned_v5_asks_v1_nothing() -> None:
    """Lists and cancels by ids alone, cross margin likewise."""

    async def main() -> None:
        exchange = exchange_of("v5", "6002")
        ids = exchange.place(CODE, "sell", "close", 3, margin_mode="cross")
        async with session_of(exchange, generation="v5") as htx:
            report = await htx.cross.cancel_all_trailing(CODE)
            assert set(report.successes) == set(ids)
            assert report.margin_mode == "cross"
            (more,) = exchange.place(CODE, "buy", "open")
            assert (await htx.cancel_trailing(CODE, [more])).successes == (more,)
            history = await htx.cross.trailing_history(CODE)
            assert {order.order_id for order in history} == set(ids)
        assert all(a.path.startswith("/v5/") for a in exchange.arrivals)

    run(main())


def test_every_contract_of_an_account_that_has_moved() -> None:
    """Empty v1 lists are not believed: no contract is skipped, and v1 costs one look."""

    async def main() -> None:
        codes = [f"C{n}-USDT" for n in range(30)]
        exchange = exchange_of("v5", "empty", contracts=codes)
        for code in codes[::6]:
            exchange.place(code, "sell", "close", 2)
        async with session_of(exchange) as htx:
            report = await htx.mass_cancel_trailing(ALL_CONTRACTS)
        assert report.is_clear
        assert len(report.successes) == 10
        assert not exchange.open_orders()

    run(main())


def test_the_second_opinion_over_every_contract_is_shared() -> None:
    """That an account is not on V5 holds for all contracts: 230 empty lists cost fewer reads."""

    async def main() -> float:
        codes = [f"C{n}-USDT" for n in range(230)]
        exchange = exchange_of(contracts=codes)
        exchange.place(codes[7], "sell", "close")
        async with session_of(exchange) as htx:
            report = await htx.mass_cancel_trailing(ALL_CONTRACTS)
        assert report.is_clear
        v5_reads = sum(a.path.startswith("/v5/") for a in exchange.arrivals)
        assert v5_reads < 115, v5_reads
        assert exchange.busiest(3.0, call="openorders") <= 72
        return report.elapsed

    assert run(main()) < 46 / 3


def test_a_list_that_v5_cannot_confirm_is_not_an_empty_one() -> None:
    """`open_trailing` raises rather than say that there is nothing."""

    async def main() -> None:
        exchange = exchange_of("v5", "empty")
        exchange.place(CODE, "sell", "close")
        exchange.bad_gateway(call="v5_opens", times=50)
        async with session_of(exchange) as htx:
            with pytest.raises(ReadFailed):
                await htx.open_trailing(CODE, deadline=2.0)

    run(main())


def test_what_is_no_generation_is_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidRequest, match="generation must be one of auto, v1, v5"):
        run(refused_generation())


async def refused_generation() -> None:
    session_of(exchange_of(), generation="v2")


def test_the_environment_names_a_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HTX_GENERATION` counts for `from_env`; what is given in code counts more."""
    for name, value in (("ACCESS_KEY", "a"), ("SECRET_KEY", "s"), ("GENERATION", "v5")):
        monkeypatch.setenv(f"HTX_{name}", value)
    assert HtxSession.from_env().generation[0] is ApiGeneration.V5
    assert HtxSession.from_env(generation="v1").generation == (ApiGeneration.V1, "given")


def test_no_repeat_of_unknown_answers_still_checks_a_nothing() -> None:
    """A policy against repeats is about cancels: reading is harmless."""

    async def main() -> None:
        exchange = exchange_of()
        exchange.lose_before_work(call="v5_opens")
        policy = RetryPolicy(repeat_unknown=False)
        async with session_of(exchange, retry=policy, limiter=TokenBucket()) as htx:
            report = await htx.cancel_all_trailing(CODE)
        assert report.outcome is Outcome.NOTHING_TO_CANCEL
        assert [read.verdict for read in report.reads] == [Verdict.UNKNOWN, Verdict.REFUSED]

    run(main())
