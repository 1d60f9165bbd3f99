"""Single orders, ten to a request, in virtual time over the simulated exchange."""

import asyncio
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from htx_async import (
    CancelRefused,
    CancelReport,
    HtxSession,
    InvalidRequest,
    NotSent,
    Outcome,
    OutcomeUnknown,
    PartialCancel,
    RetryPolicy,
    SessionClosed,
)
from htx_async.events import AttemptEnded, CallEnded, CallStarted, Event, TokenGranted
from htx_async.simulator import Request
from tests.support.endings import ending
from tests.support.virtual import run
from tests.support.witness import BTC, START, Witness, asked, in_step, now, v1_session

PATHS = {"isolated": "swap_track_cancel", "cross": "swap_cross_track_cancel"}


def batches_of(exchange: Witness) -> list[list[str]]:
    """The ids of each request that arrives from now on."""
    sent: list[list[str]] = []
    handle = exchange.handle

    def noted(request: Request) -> Any:
        if request.path.endswith("track_cancel"):
            sent.append(json.loads(request.body)["order_id"].split(","))
        return handle(request)

    exchange.handle = noted  # type: ignore[method-assign]  # a test looks on
    return sent


def test_the_one_id_of_many_that_is_wrong_is_named() -> None:
    """By its place and as far as it may be shown, before anything is sent."""

    async def main() -> None:
        exchange = in_step()
        async with v1_session(exchange) as htx:
            ids: list[Any] = [str(number) for number in range(200)]
            ids[137] = "4711 "
            with pytest.raises(InvalidRequest, match=r"^order_ids\[137\], '4711 ': an order"):
                await htx.cancel_trailing(BTC, ids)
            ids[150:160] = range(10)
            with pytest.raises(InvalidRequest, match=r"order_ids\[150\], 0, .*; and 6 more$"):
                await htx.cancel_trailing(BTC, ids)
        assert exchange.arrivals == ()

    run(main())


@pytest.mark.parametrize("count", [1, 9, 10, 11, 20, 95, 250])
def test_any_number_goes_ten_to_a_request(count: int) -> None:
    """Each once, those that were given together in one request, five requests in any second."""

    async def main() -> None:
        exchange = in_step()
        ids = exchange.place(BTC, "buy", "open", count)
        sent = batches_of(exchange)
        async with v1_session(exchange) as htx:
            report = await htx.cancel_trailing(BTC, ids)
        assert report.outcome is Outcome.CANCELLED
        assert (report.successes, report.errors) == (ids, ())
        parts = [[*ids[first : first + 10]] for first in range(0, count, 10)]
        assert sorted(sent) == sorted(parts)
        assert len(report.attempts) == len(sent) == -(-count // 10)
        assert exchange.busiest(1.0, call="cancel") <= 5
        assert not exchange.open_orders()

    run(main())


def test_a_thousand_have_time_without_a_deadline() -> None:
    """As a hundred gathered calls all go."""

    async def main() -> None:
        exchange = in_step()
        ids = exchange.place(BTC, "buy", "open", 1000)
        async with v1_session(exchange) as htx:
            report = await ending(htx.cancel_trailing(BTC, ids))
        assert (report.outcome, len(report.successes)) == (Outcome.CANCELLED, 1000)

    run(main())


def a_generator() -> Iterator[str]:
    yield from ("1", "2", "1")


@pytest.mark.parametrize(
    "given", [["1", "2", "1"], ("1", "2", "2"), a_generator(), {"1": 0, "2": 0}]
)
def test_duplicates_go_once(given: Iterable[str]) -> None:
    """Whatever iterable they come in."""

    async def main() -> None:
        exchange = in_step()
        sent = batches_of(exchange)
        async with v1_session(exchange) as htx:
            report = await htx.cancel_trailing(BTC, given)
        assert sent == [["1", "2"]]
        assert report.outcome is Outcome.NOTHING_TO_CANCEL
        assert [error.err_code for error in report.errors] == [1061, 1061]

    run(main())


@pytest.mark.parametrize(
    "wrong",
    [
        "1",
        "",
        b"1",
        None,
        7,
        [],
        (),
        [""],
        ["1", ""],
        [1442564726236282883],
        [None],
        ["1,2"],
        ["1 "],
        ["x"],
        ["-1"],
        ["1.0"],
        ["\u00b2"],
        ["\u0661"],
        ["1" * 65],
        ["1"] * 5 + [2],
        [["1"]],
    ],
)
def test_what_is_no_id_is_refused_before_anything_is_queued(wrong: Any) -> None:
    """Numbers too, for they may have been rounded; an empty list never means all."""

    async def main() -> None:
        exchange = in_step()
        exchange.place(BTC, "buy", "open")
        async with v1_session(exchange) as htx:
            for cancel in (htx.cancel_trailing, htx.cross.cancel_trailing):
                with pytest.raises(InvalidRequest):
                    await cancel(BTC, wrong)
        assert not exchange.arrivals

    run(main())


def test_wrong_names_and_deadlines_are_refused_before_anything_is_queued() -> None:
    """As for any other call."""

    async def main() -> None:
        exchange = in_step()
        async with v1_session(exchange) as htx:
            for code in ("", "BTC USDT", None):
                with pytest.raises(InvalidRequest):
                    await htx.cancel_trailing(code, ["1"])  # type: ignore[arg-type]  # the mistake
            with pytest.raises(InvalidRequest, match="deadline"):
                await htx.cancel_trailing(BTC, ["1"], deadline=-1.0)
        with pytest.raises(SessionClosed):
            await htx.cancel_trailing(BTC, ["1"])
        assert not exchange.arrivals

    run(main())


@pytest.mark.parametrize("lose", ["lose_before_work", "lose_after_work", "truncate"])
@pytest.mark.parametrize("repeat", [True, False])
def test_a_lost_answer_is_repeated_whatever_the_policy(lose: str, repeat: bool) -> None:
    """A repeat by id reaches no order that was placed since, so it harms nothing."""

    async def main() -> None:
        exchange = in_step()
        ids = exchange.place(BTC, "buy", "open", 3)
        getattr(exchange, lose)(call="cancel")
        policy = RetryPolicy(repeat_unknown=repeat)
        async with v1_session(exchange, retry=policy) as htx:
            report = await htx.cancel_trailing(BTC, ids)
        assert len(report.attempts) == 2
        assert report.is_clear
        told = {*report.successes, *(error.order_id for error in report.errors)}
        assert told == set(ids)
        assert not exchange.open_orders()

    run(main())


def test_an_order_placed_meanwhile_stays() -> None:
    """Even when the answer was lost and the request was sent again."""

    async def main() -> None:
        exchange = in_step()
        ids = exchange.place(BTC, "buy", "open", 3)
        exchange.lose_after_work(call="cancel", times=2)
        async with v1_session(exchange) as htx:
            call = asyncio.create_task(htx.cancel_trailing(BTC, ids))
            await asyncio.sleep(0.03)
            (young,) = exchange.place(BTC, "buy", "open")
            await call
        assert [one.order_id for one in exchange.open_orders()] == [young]

    run(main())


def test_an_id_that_is_not_answered_for_is_unknown() -> None:
    """An "ok" that leaves one out says nothing of it."""

    async def main() -> None:
        exchange = in_step()
        first, second = exchange.place(BTC, "buy", "open", 2)
        data = {"errors": [], "successes": first}
        body = json.dumps({"status": "ok", "data": data, "ts": START * 1000})
        exchange.malform(body.encode(), call="cancel")
        async with v1_session(exchange) as htx:
            with pytest.raises(OutcomeUnknown) as caught:
                await htx.cancel_trailing(BTC, [first, second])
        report = caught.value.report
        assert (report.successes, report.errors, report.ids_complete) == ((first,), (), False)

    run(main())


def test_answers_lost_for_good_are_unknown() -> None:
    """Until the deadline; the batch beside it is told truly."""

    async def main() -> None:
        exchange = in_step()
        ids = exchange.place(BTC, "buy", "open", 20)
        sent = batches_of(exchange)
        exchange.before = lambda call: (
            exchange.lose_before_work(call="cancel") if sent[-1][0] == ids[0] else None
        )
        async with v1_session(exchange) as htx:
            report = await ending(htx.cancel_trailing(BTC, ids))
        assert report.outcome is Outcome.UNKNOWN
        assert set(report.successes) == set(ids[10:])
        assert report.errors == ()
        assert sum(part[0] == ids[0] for part in sent) in (6, 7)

    run(main())


def test_orders_refused_one_by_one_are_partial() -> None:
    """Each with its code; those that are gone or triggered do not count against it."""

    async def main() -> None:
        exchange = in_step()
        goes, stays, triggered = exchange.place(BTC, "buy", "open", 3)
        exchange.reject_order(stays, 1004)
        exchange.trigger(triggered)
        async with v1_session(exchange) as htx:
            with pytest.raises(PartialCancel) as caught:
                await htx.cancel_trailing(BTC, [goes, stays, triggered, "1"])
        report = caught.value.report
        assert (report.successes, report.triggered) == ((goes,), (triggered,))
        codes = {error.order_id: error.err_code for error in report.errors}
        assert codes == {stays: 1004, triggered: 1063, "1": 1061}
        assert stays in str(caught.value)

    run(main())


@pytest.mark.parametrize(
    "arm",
    [
        lambda one: one.refuse(1014, times=9, call="cancel"),
        lambda one: one.refuse(403, times=9, call="cancel"),
    ],
)
def test_all_refused_is_refused(arm: Callable[[Witness], object]) -> None:
    """Then nothing was cancelled, and each id has the exchange's reason."""

    async def main() -> None:
        exchange = in_step()
        ids = exchange.place(BTC, "buy", "open", 12)
        arm(exchange)
        async with v1_session(exchange) as htx:
            with pytest.raises(CancelRefused) as caught:
                await htx.cancel_trailing(BTC, ids)
        assert len(caught.value.report.errors) == 12
        assert len(exchange.open_orders()) == 12

    run(main())


@pytest.mark.parametrize("deadline", [0.5, 1.5])
def test_what_cannot_come_in_time_is_not_sent(deadline: float) -> None:
    """Those that went are told as cancelled, the rest as not sent, within the deadline."""

    async def main() -> None:
        exchange = in_step()
        ids = exchange.place(BTC, "buy", "open", 150)
        async with v1_session(exchange) as htx:
            began = now()
            report = await ending(htx.cancel_trailing(BTC, ids, deadline=deadline))
            assert now() - began <= deadline + 0.05
        went = 50 if deadline < 1 else 100
        assert report.outcome is Outcome.PARTIAL
        assert report.successes == ids[:went]
        assert tuple(error.order_id for error in report.errors) == ids[went:]
        assert {error.err_code for error in report.errors} == {None}
        assert len(exchange.open_orders()) == 150 - went
        assert "deadline" in report.ended_by

    run(main())


def test_nothing_sent_at_all_is_not_sent() -> None:
    """When no batch can come in time."""

    async def main() -> None:
        exchange = in_step(latency=0.5)
        async with v1_session(exchange) as htx:
            first = asyncio.create_task(ending(htx.cancel_trailing(BTC, map(str, range(1, 51)))))
            await asyncio.sleep(0.01)
            with pytest.raises(NotSent):
                await htx.cancel_trailing(BTC, ["1", "2"], deadline=0.2)
            await first
        assert len(asked(exchange, "cancel")) == 5

    run(main())


def test_cross_orders_are_cancelled_on_their_own_path() -> None:
    """By code, or by pair and type; an id of the other mode is not found."""

    async def main() -> None:
        exchange = in_step()
        (isolated,) = exchange.place(BTC, "buy", "open")
        (cross,) = exchange.place(BTC, "buy", "open", margin_mode="cross")
        (dated,) = exchange.place("BTC-USDT-261225", "buy", "open", margin_mode="cross")
        async with v1_session(exchange) as htx:
            for call in (
                htx.cancel_trailing(BTC, [cross]),
                htx.cross.cancel_trailing(BTC, [isolated]),
            ):
                report = await call
                assert [error.err_code for error in report.errors] == [1061]
            assert len(exchange.open_orders()) == 3
            report = await htx.cross.cancel_trailing(BTC, [cross])
            assert (report.successes, report.margin_mode) == ((cross,), "cross")
            report = await htx.cross.cancel_trailing(
                order_ids=[dated], pair=BTC, contract_type="quarter"
            )
            assert (report.successes, report.pair) == ((dated,), BTC)
        assert [one.order_id for one in exchange.open_orders()] == [isolated]

    run(main())


async def stopped(how: str) -> tuple[CancelReport, Witness]:
    """What is told of 150 orders when the call is ended while it runs."""
    exchange = in_step(latency=0.1)
    ids = exchange.place(BTC, "buy", "open", 150)
    events: list[Event] = []
    htx = v1_session(exchange, on_event=events.append)
    async with htx:
        call = asyncio.create_task(ending(htx.cancel_trailing(BTC, ids)))
        await asyncio.sleep(0.05)
        if how == "cancel":
            call.cancel()
        else:
            await htx.aclose(grace=0.0 if how == "close" else 1.0)
        await asyncio.wait([call])
    (report,) = (event.report for event in events if isinstance(event, CallEnded))
    return report, exchange


@pytest.mark.parametrize("how", ["cancel", "close", "grace"])
def test_a_call_ended_in_the_middle_tells_the_truth(how: str) -> None:
    """On the wire: unknown, or what was answered within the grace; the rest was not sent."""
    report, exchange = run(stopped(how))
    assert len(report.errors) == 100
    assert {error.err_code for error in report.errors} == {None}
    assert len(exchange.open_orders()) == 100
    if how == "grace":
        assert (report.outcome, len(report.successes)) == (Outcome.PARTIAL, 50)
    else:
        assert (report.outcome, report.successes) == (Outcome.UNKNOWN, ())


async def heard(htx: HtxSession, exchange: Witness, events: list[Event]) -> set[int]:
    """The numbers of all events of one call."""
    await htx.cancel_trailing(BTC, exchange.place(BTC, "buy", "open", 12))
    kinds = (CallStarted, TokenGranted, AttemptEnded, CallEnded)
    return {event.call for event in events if isinstance(event, kinds)}


def test_the_events_of_one_call_have_one_number() -> None:
    """Those of its batches too."""

    async def main() -> None:
        exchange = in_step()
        events: list[Event] = []
        async with v1_session(exchange, on_event=events.append) as htx:
            assert len(await heard(htx, exchange, events)) == 1

    run(main())


# Refused as a whole, with a code that is about one order

ABOUT_ONE = pytest.mark.parametrize("code", [1017, 1061, 1063, 1071])
GENERATION = pytest.mark.parametrize("generation", ["v1", "v5"])


def account_on(generation: str) -> Witness:
    return in_step(account="v5") if generation == "v5" else in_step()


@ABOUT_ONE
@GENERATION
def test_a_refusal_of_the_whole_says_nothing_of_each(code: int, generation: str) -> None:
    """The ids are asked for again, one to a request, and all orders are gone."""

    async def main() -> None:
        exchange = account_on(generation)
        call: Any = "v5_cancel" if generation == "v5" else "cancel"
        ids = exchange.place(BTC, "buy", "open", 4)
        exchange.refuse(code, call=call)
        async with v1_session(exchange, generation=generation) as htx:
            report = await htx.cancel_trailing(BTC, ids)
        assert (report.outcome, set(report.successes)) == (Outcome.CANCELLED, set(ids))
        assert (report.errors, report.triggered, report.ids_complete) == ((), (), True)
        assert len(report.attempts) == 5
        assert not exchange.open_orders()

    run(main())


@ABOUT_ONE
def test_a_refusal_of_one_alone_speaks_for_it(code: int) -> None:
    """There was no other that it could be about."""

    async def main() -> None:
        exchange = in_step()
        (order_id,) = exchange.place(BTC, "buy", "open")
        exchange.refuse(code, call="cancel")
        async with v1_session(exchange) as htx:
            report = await htx.cancel_trailing(BTC, [order_id])
        assert (report.outcome, len(report.attempts)) == (Outcome.NOTHING_TO_CANCEL, 1)
        assert [error.err_code for error in report.errors] == [code]
        assert report.triggered == ((order_id,) if code == 1063 else ())

    run(main())


@ABOUT_ONE
def test_what_is_refused_again_by_itself_is_told_by_itself(code: int) -> None:
    """Asked alone: one was taken, one is gone, one stays."""

    async def main() -> None:
        exchange = in_step()
        goes, gone, stays = exchange.place(BTC, "buy", "open", 3)
        exchange.reject_order(gone, 1061)
        exchange.reject_order(stays, 1004)
        exchange.refuse(code, call="cancel")
        async with v1_session(exchange) as htx:
            with pytest.raises(PartialCancel) as caught:
                await htx.cancel_trailing(BTC, [goes, gone, stays])
        report = caught.value.report
        assert report.successes == (goes,)
        assert {e.order_id: e.err_code for e in report.errors} == {gone: 1061, stays: 1004}

    run(main())


@GENERATION
def test_what_is_not_asked_again_in_time_is_unknown(generation: str) -> None:
    """The first five by themselves within the deadline; of the others nothing is known."""

    async def main() -> None:
        exchange = account_on(generation)
        call: Any = "v5_cancel" if generation == "v5" else "cancel"
        ids = exchange.place(BTC, "buy", "open", 10)
        exchange.refuse(1061, call=call)
        async with v1_session(exchange, generation=generation) as htx:
            with pytest.raises(OutcomeUnknown) as caught:
                await htx.cancel_trailing(BTC, ids, deadline=0.5)
        report = caught.value.report
        gone = set(ids) - {order.order_id for order in exchange.open_orders()}
        assert set(report.successes) == gone
        assert len(gone) == 4
        assert (report.errors, report.ids_complete) == ((), False)

    run(main())


@pytest.mark.parametrize("moment", [0.01, 0.05, 0.1, 0.15, 0.3])
def test_a_call_that_ends_before_it_could_ask_again_is_unknown(moment: float) -> None:
    """Stopped at any moment after the refusal: never clear over an open order."""

    async def main() -> None:
        exchange = in_step()
        ids = exchange.place(BTC, "buy", "open", 9)
        exchange.refuse(1061, call="cancel")
        htx = v1_session(exchange)
        async with htx:
            call = asyncio.create_task(ending(htx.cancel_trailing(BTC, ids)))
            await asyncio.sleep(moment)
            await htx.aclose()
            report = await call
        assert report.outcome is Outcome.UNKNOWN
        gone = set(ids) - {order.order_id for order in exchange.open_orders()}
        assert set(report.successes) <= gone

    run(main())


@ABOUT_ONE
def test_a_cancel_all_on_v5_asks_again_one_by_one(code: int) -> None:
    """Its requests are cancels by ids, too."""

    async def main() -> None:
        exchange = account_on("v5")
        ids = exchange.place(BTC, "buy", "open", 4)
        exchange.refuse(code, call="v5_cancel")
        async with v1_session(exchange, generation="v5") as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert (report.outcome, set(report.successes)) == (Outcome.CANCELLED, set(ids))
        assert (report.errors, len(report.attempts)) == ((), 5)
        assert report.elapsed < 1.5
        assert not exchange.open_orders()

    run(main())


def refuse_wholes(exchange: Witness, call: Any, chance: random.Random) -> None:
    """Of the requests for several ids that arrive, refuse some by a code about one."""
    handle = exchange.handle

    def refusing(request: Request) -> Any:
        several = len(re.findall(rb"[0-9]{19}", request.body)) > 1
        if several and chance.random() < 0.5:
            exchange.refuse(chance.choice([1017, 1061, 1063, 1071]), call=call)
        return handle(request)

    exchange.handle = refusing  # type: ignore[method-assign]  # a test looks on


async def story_of_ids(seed: int) -> None:
    """Many ids, refusals of the whole and lost answers, within any deadline."""
    chance = random.Random(seed)
    generation = chance.choice(["v1", "v5"])
    call: Any = "v5_cancel" if generation == "v5" else "cancel"
    exchange = account_on(generation)
    ids = exchange.place(BTC, "buy", "open", chance.choice([1, 2, 9, 10, 11, 25]))
    refuse_wholes(exchange, call, chance)
    for _ in range(chance.randint(0, 2)):
        chance.choice([exchange.lose_before_work, exchange.lose_after_work])(call=call)
    settings: dict[str, Any] = {"deadline": chance.choice([0.2, 0.6, 1.5, None])}
    latency = lambda: chance.uniform(0.005, 0.1)  # noqa: E731 - a short word for it
    async with v1_session(exchange, latency, generation=generation) as htx:
        if chance.random() < 0.5:
            report = await ending(htx.cancel_trailing(BTC, ids, **settings))
        else:
            mass = await htx.mass_cancel_trailing([BTC, "ETH-USDT"], **settings)
            report = mass.reports[0]
    is_open = {order.order_id for order in exchange.open_orders()}
    assert not set(report.successes) & is_open, seed
    assert not (report.is_clear and is_open), (seed, report)


@pytest.mark.slow
def test_no_story_of_ids_ends_clear_over_an_order() -> None:
    """On either generation, by ids or as part of a mass cancel."""
    for seed in range(200):
        run(story_of_ids(seed))
