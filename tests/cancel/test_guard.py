"""The guard: each way out of its block, in virtual time and as real processes with real signals."""

import asyncio
import gc
import itertools
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import pytest

from htx_async import (
    BaseLimiter,
    HtxSession,
    InvalidRequest,
    MassCancelFailed,
    Outcome,
    OutcomeUnknown,
    PartialCancel,
    SessionClosed,
)
from htx_async.cancel.guard import CancelGuard
from htx_async.simulator import SimulatedExchange
from tests.support.pages import example
from tests.support.paths import ROOT
from tests.support.strategy import CODES, PATIENCE, child, silent_after, with_two_orders_each
from tests.support.virtual import run, virtual_session

MANY = tuple(f"C{number}-USDT" for number in range(12))


def now() -> float:
    return asyncio.get_running_loop().time()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def with_orders(codes: tuple[str, ...] = CODES) -> SimulatedExchange:
    exchange = SimulatedExchange()
    for code in codes:
        exchange.place(code, "sell", "close", 2)
    return exchange


def outcomes(guard: CancelGuard) -> dict[str, Outcome]:
    assert guard.report is not None
    return {report.contract_code: report.outcome for report in guard.report.reports}


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


def assert_true(guard: CancelGuard, exchange: SimulatedExchange) -> None:
    """No contract is told better or worse than what the exchange saw of it."""
    cancels = [arrival for arrival in exchange.arrivals if "cancel" in arrival.path]
    arrived = {arrival.contract_code for arrival in cancels}
    still_open = {order.contract_code for order in exchange.open_orders()}
    for code, outcome in outcomes(guard).items():
        assert outcome is not Outcome.NOT_SENT or code not in arrived, code
        assert not outcome.is_clear or code not in still_open, code


async def stopped(task: asyncio.Task[Any]) -> BaseException | None:
    """How a task ended that is or will be over soon."""
    try:
        await task
    except BaseException as error:
        return error
    return None


# Ways out of the block ---------------------------------------------------------------------------


def test_a_plain_end_cancels_these_contracts_and_no_others() -> None:
    """Nothing is sent while the block runs; afterwards its contracts are clear, in their order."""

    async def main() -> None:
        exchange = with_orders()
        kept = exchange.place("D-USDT", "sell", "close")
        codes = (*CODES, "a-usdt")
        async with virtual_session(exchange) as htx, htx.cancel_on_exit(codes) as guard:
            assert guard.report is None
            await asyncio.sleep(5)
            assert not exchange.arrivals
        assert list(outcomes(guard)) == list(CODES)
        assert set(outcomes(guard).values()) == {Outcome.CANCELLED}
        assert {order.order_id for order in exchange.open_orders()} == set(kept)

    run(main())


def test_a_report_that_is_read_at_once_takes_no_time_from_the_contracts() -> None:
    """In each turn of the loop from the end of the block on, also in those before the deadline of
    the whole is known, which is longer than one call's."""
    codes = tuple(f"C{number}-USDT" for number in range(60))

    async def main() -> None:
        async with virtual_session(with_orders(codes), generation="v1") as htx:
            guard = htx.cancel_on_exit(codes)

            async def guarded() -> None:
                async with guard:
                    pass

            task = asyncio.create_task(guarded())
            for _ in range(9):
                await turns(1)
                assert guard.report is None or not guard.report.is_clear
            await task
        assert set(outcomes(guard).values()) == {Outcome.CANCELLED}

    run(main())


def test_a_return_inside_the_block_keeps_its_value() -> None:
    """`return` leaves through the guard, too."""

    async def main() -> None:
        exchange = with_orders()

        async def strategy(htx: HtxSession) -> str:
            async with htx.cancel_on_exit(CODES):
                return "done"

        async with virtual_session(exchange) as htx:
            assert await strategy(htx) == "done"
        assert not exchange.open_orders()

    run(main())


@pytest.mark.parametrize("kind", [ValueError, InvalidRequest, SystemExit, KeyboardInterrupt])
def test_an_exception_comes_out_as_the_same_object(kind: type[BaseException]) -> None:
    """The block's own exception passes as it is, without a note when the cancel went well."""

    async def main() -> None:
        exchange = with_orders()
        raised = kind("the strategy failed")
        async with virtual_session(exchange) as htx:
            with pytest.raises(kind) as caught:
                async with htx.cancel_on_exit(CODES) as guard:
                    raise raised
        assert caught.value is raised
        assert caught.value.__context__ is None
        assert not notes(raised)
        assert set(outcomes(guard).values()) == {Outcome.CANCELLED}
        assert not exchange.open_orders()

    run(main())


@pytest.mark.parametrize("kind", [ValueError, SystemExit, asyncio.CancelledError])
def test_a_failed_cancel_is_a_note_on_the_block_s_exception(kind: type[BaseException]) -> None:
    """The exception wins; what went wrong with the orders is told beside it and in the report."""

    async def main() -> None:
        exchange = with_orders()
        exchange.refuse(1014, contract_code="B-USDT")
        raised = kind("the strategy failed")
        async with virtual_session(exchange) as htx:
            with pytest.raises(kind) as caught:
                async with htx.cancel_on_exit(CODES) as guard:
                    raise raised
        assert caught.value is raised
        assert "not all cancelled: 1 of 3 contracts" in notes(raised)
        assert guard.report is not None
        assert guard.report.not_clear == ("B-USDT",)

    run(main())


def test_a_failed_cancel_without_an_exception_is_raised() -> None:
    """`MassCancelFailed` holds one error for each contract that is not clear, by its kind."""

    async def main() -> None:
        exchange = SimulatedExchange()
        (order,) = exchange.place("A-USDT", "sell", "close")
        exchange.reject_order(order, 1048)
        exchange.bad_gateway(times=99, contract_code="B-USDT")
        async with virtual_session(exchange) as htx:
            with pytest.raises(MassCancelFailed) as caught:
                async with htx.cancel_on_exit(CODES) as guard:
                    pass
        assert [type(error) for error in caught.value.exceptions] == [PartialCancel, OutcomeUnknown]
        assert list(outcomes(guard).values()) == ["partial", "unknown", "nothing_to_cancel"]

    run(main())


def test_cancelling_the_task_cancels_the_orders_first() -> None:
    """The task ends cancelled, and only when the guard's work is done."""

    async def main() -> None:
        exchange = with_orders(MANY)
        guards: list[CancelGuard] = []

        async def strategy(htx: HtxSession) -> None:
            async with htx.cancel_on_exit(MANY) as guard:
                guards.append(guard)
                await asyncio.Event().wait()

        async with virtual_session(exchange) as htx:
            task = asyncio.create_task(strategy(htx))
            await turns(3)
            task.cancel("enough")
            assert isinstance(await stopped(task), asyncio.CancelledError)
        assert task.cancelled()
        assert now() > 2
        assert set(outcomes(guards[0]).values()) == {Outcome.CANCELLED}
        assert not exchange.open_orders()

    run(main())


def test_a_timeout_around_ends_the_block_and_not_the_guard() -> None:
    """`TimeoutError` comes out after the guard's work, which takes longer than the timeout."""

    async def main() -> None:
        exchange = with_orders(MANY)
        async with virtual_session(exchange) as htx:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5), htx.cancel_on_exit(MANY) as guard:
                    await asyncio.sleep(60)
        assert 2.5 < now() < 3.5
        assert set(outcomes(guard).values()) == {Outcome.CANCELLED}
        assert not exchange.open_orders()

    run(main())


@pytest.mark.parametrize("guard_is_in_the_group_s_body", [True, False])
def test_a_failing_sibling_ends_the_block_and_the_orders_go(
    guard_is_in_the_group_s_body: bool,
) -> None:
    """In a `TaskGroup` the sibling's error comes out, and the guard has done its work before."""

    async def main() -> None:
        exchange = with_orders()
        failure = RuntimeError("the feed broke")
        guards: list[CancelGuard] = []

        async def feed() -> None:
            await asyncio.sleep(1)
            raise failure

        async def strategy(htx: HtxSession) -> None:
            async with htx.cancel_on_exit(CODES) as guard:
                guards.append(guard)
                await asyncio.Event().wait()

        async def both(htx: HtxSession) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(feed())
                if guard_is_in_the_group_s_body:
                    await strategy(htx)
                else:
                    group.create_task(strategy(htx))

        async with virtual_session(exchange) as htx:
            with pytest.raises(ExceptionGroup) as caught:
                await both(htx)
        assert caught.value.exceptions == (failure,)
        assert set(outcomes(guards[0]).values()) == {Outcome.CANCELLED}
        assert not exchange.open_orders()

    run(main())


@pytest.mark.parametrize("raised", [None, ValueError("the strategy failed")])
def test_a_session_closed_inside_the_block_keeps_the_promise(raised: ValueError | None) -> None:
    """`aclose()` carries the guard out and does not wait for the block; the block gets that account
    at its end, with the warning that what came since is not covered."""

    async def main() -> None:
        exchange = with_orders()
        guards: list[CancelGuard] = []

        async def strategy(htx: HtxSession) -> None:
            async with htx.cancel_on_exit(CODES) as guard:
                guards.append(guard)
                await htx.aclose()
                assert not exchange.open_orders()
                exchange.place("A-USDT", "sell", "close")
                with pytest.raises(SessionClosed):
                    await htx.cancel_all_trailing("A-USDT")
                if raised is not None:
                    raise raised

        error = await stopped(asyncio.create_task(strategy(virtual_session(exchange))))
        assert error is raised
        assert raised is None or "is not covered" in notes(raised)
        assert set(outcomes(guards[0]).values()) == {Outcome.CANCELLED}
        assert guards[0].report is not None
        assert "is not covered" in str(guards[0].report)
        assert all("is not covered" in report.message for report in guards[0].report.reports)
        assert len(exchange.open_orders()) == 1

    run(main())


@pytest.mark.parametrize("what", ["lost", "not sent", "clear"])
def test_a_block_that_goes_on_is_not_what_an_open_order_waits_for(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An early mass cancel that is not clear is logged when it is over, once, though its block runs
    on; what is said of it is true of one that sent nothing, too."""

    async def main() -> None:
        exchange = with_orders()
        if what == "lost":
            exchange.lose_before_work(times=10**6)
        go_on, guards = asyncio.Event(), list[CancelGuard]()

        async def strategy(htx: HtxSession) -> None:
            async with htx.cancel_on_exit(CODES, deadline=5.0) as guard:
                guards.append(guard)
                await go_on.wait()

        sound = True
        htx = virtual_session(exchange, now=lambda: 1_800_000_000.0 + now() if sound else None)
        task = asyncio.create_task(strategy(htx))
        await turns(3)
        sound = what != "not sent"
        await htx.aclose()
        messages = [record.getMessage() for record in caplog.records]
        if what == "clear":
            assert messages == []
        else:
            (message,) = messages
            assert message.startswith("a guard whose block has not ended: 3 of 3 contracts are not")
            assert "began its mass cancel before its block had ended" in message
            assert f"(isolated margin: 3 {'unknown' if what == 'lost' else 'not_sent'})" in message
        caplog.clear()
        go_on.set()
        error = await stopped(task)
        assert isinstance(error, MassCancelFailed) is (what != "clear")
        (end,) = [record.getMessage() for record in caplog.records]
        assert end.startswith("this guard began its mass cancel before its block had ended")
        assert_true(guards[0], exchange)

    with caplog.at_level("WARNING", logger="htx_async"):
        run(main())


def test_closing_during_the_guard_s_work_waits_for_it() -> None:
    """It sends all that it promised to send, and only then are the connections closed."""

    async def main() -> None:
        exchange = with_orders(MANY)
        guards: list[CancelGuard] = []

        async def strategy(htx: HtxSession) -> None:
            async with htx.cancel_on_exit(MANY) as guard:
                guards.append(guard)

        htx = virtual_session(exchange)
        task = asyncio.create_task(strategy(htx))
        await asyncio.sleep(0.06)
        await htx.aclose()
        assert now() > 2
        assert not exchange.open_orders()
        assert await stopped(task) is None
        assert guards[0].report is not None
        assert guards[0].report.is_clear
        assert not guards[0].report.warnings

    run(main())


def test_an_account_that_closing_leaves_open_comes_out_of_the_block() -> None:
    """What is not clear is raised at the block's end as if the block had ended then."""

    async def main() -> None:
        exchange = with_orders()
        exchange.refuse(1014, contract_code="B-USDT")
        htx = virtual_session(exchange)
        with pytest.raises(MassCancelFailed, match="1 of 3"):
            async with htx.cancel_on_exit(CODES):
                await htx.aclose()

    run(main())


def test_a_guard_is_not_entered_where_it_could_do_nothing() -> None:
    """Not in a session that is closed, and not twice at a time; one after the other, it is."""

    async def main() -> None:
        exchange = with_orders()
        async with virtual_session(exchange) as htx:
            guard = htx.cancel_on_exit(CODES)
            async with guard:
                with pytest.raises(InvalidRequest, match="one for each block"):
                    await guard.__aenter__()
            assert not exchange.open_orders()
            exchange.place("A-USDT", "sell", "close")
            async with guard:
                assert guard.report is None
            assert not exchange.open_orders()
        with pytest.raises(SessionClosed):
            await guard.__aenter__()

    run(main())


# How the guard works -----------------------------------------------------------------------------


def test_the_guard_goes_before_200_queued_calls() -> None:
    """It is urgent: its contracts take the next free tokens, within 1.1 s."""

    async def main() -> None:
        exchange = with_orders()
        async with virtual_session(exchange) as htx:
            others = [
                asyncio.create_task(htx.cancel_all_trailing(f"O{number}-USDT"))
                for number in range(200)
            ]
            await turns(3)
            async with htx.cancel_on_exit(CODES) as guard:
                pass
            assert now() < 1.2
            assert set(outcomes(guard).values()) == {Outcome.CANCELLED}
            await asyncio.gather(*others)
        arrived = [arrival.contract_code for arrival in exchange.arrivals]
        assert arrived[5:8] == list(CODES)
        assert exchange.busiest() <= 5

    run(main())


def test_the_guard_has_its_own_deadline() -> None:
    """It counts from the end of the block: what has no answer by then is unknown, and told so."""

    async def main() -> None:
        exchange = with_orders(MANY)
        exchange.late(60.0, times=20)
        async with virtual_session(exchange) as htx:
            with pytest.raises(MassCancelFailed):
                async with htx.cancel_on_exit(MANY, deadline=0.5, look="none") as guard:
                    await asyncio.sleep(5)
            assert now() == pytest.approx(5.5, abs=0.01)
        assert list(outcomes(guard).values()) == ["unknown"] * 5 + ["not_sent"] * 7
        assert_true(guard, exchange)

    run(main())


def test_filters_and_rounds_reach_the_mass_cancel() -> None:
    """`direction`, `offset` and `until_clear` mean what they mean there."""

    async def main() -> None:
        exchange = with_orders(("A-USDT",))
        kept = exchange.place("A-USDT", "buy", "close") + exchange.place("A-USDT", "sell", "open")
        async with virtual_session(exchange) as htx:
            guard = htx.cancel_on_exit(["A-USDT"], "sell", "close", until_clear=True)
            async with guard:
                pass
        assert {order.order_id for order in exchange.open_orders()} == set(kept)
        assert [arrival.err_code for arrival in exchange.arrivals] == [None, 1051]
        assert guard.report is not None
        assert len(guard.report.successes) == 2

    run(main())


@pytest.mark.parametrize(
    ("contract_codes", "settings"),
    [
        ("BTC-USDT", {}),
        (None, {}),
        (7, {}),
        ([], {}),
        ([""], {}),
        (["BTC-USDT", None], {}),
        (CODES, {"direction": "up"}),
        (CODES, {"direction": ""}),
        (CODES, {"offset": "both"}),
        (CODES, {"deadline": 0}),
        (CODES, {"deadline": float("nan")}),
        (CODES, {"deadline": "10"}),
    ],
)
def test_wrong_arguments_are_refused_before_the_block(
    contract_codes: Any, settings: dict[str, Any]
) -> None:
    """A guard that could not do its work is never made, and the block never runs."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            with pytest.raises(InvalidRequest):
                htx.cancel_on_exit(contract_codes, **settings)
        assert not exchange.arrivals

    run(main())


def test_contract_codes_are_read_once_when_the_guard_is_made() -> None:
    """An iterator will do, and a list that changes later changes nothing."""

    async def main() -> None:
        exchange = with_orders()
        codes = list(CODES[:2])
        async with (
            virtual_session(exchange) as htx,
            htx.cancel_on_exit(codes),
            htx.cancel_on_exit(iter(CODES[2:])),
        ):
            codes.clear()
        assert not exchange.open_orders()

    run(main())


# Interrupted while the guard works ---------------------------------------------------------------


class Interrupted(NamedTuple):
    """A guard that was interrupted: what came out, and after how many seconds."""

    guard: CancelGuard
    exchange: SimulatedExchange
    error: BaseException | None
    took: float


async def interrupted(
    leave: Callable[[], object],
    interrupt: Callable[[asyncio.Task[None], CancelGuard], Any],
    **settings: Any,
) -> Interrupted:
    """Leave a block by `leave`; as soon as the guard works, `interrupt` its task."""
    exchange = with_orders(MANY)
    guards: list[CancelGuard] = []

    async def strategy(htx: HtxSession) -> None:
        async with htx.cancel_on_exit(MANY, look="none", **settings) as guard:
            guards.append(guard)
            leave()

    async with virtual_session(exchange) as htx:
        task = asyncio.create_task(strategy(htx))
        await turns(1)
        await interrupt(task, guards[0])
        began = now()
        error = await stopped(task)
        took = now() - began
    # What was cancelled and not awaited has its last turns.
    await asyncio.sleep(0.01)
    return Interrupted(guards[0], exchange, error, took)


def end() -> None:
    """The block ends by itself."""


def fail() -> None:
    raise ValueError("the strategy failed")


def be_cancelled() -> None:
    raise asyncio.CancelledError("the first")


def assert_done(result: Interrupted) -> None:
    """Everything was cancelled, and told."""
    assert not result.exchange.open_orders()
    assert set(outcomes(result.guard).values()) == {Outcome.CANCELLED}


@pytest.mark.parametrize("leave", [end, fail, be_cancelled])
def test_cancellations_change_nothing_but_what_comes_out(leave: Callable[[], None]) -> None:
    """The work is done all the same; the block's exception, else the first cancellation, comes out
    afterwards, as the same object."""

    async def main() -> None:
        async def interrupt(task: asyncio.Task[None], guard: CancelGuard) -> None:
            for count in range(30):
                await asyncio.sleep(0.05)
                task.cancel(f"cancellation {count}")

        result = await interrupted(leave, interrupt)
        assert_done(result)
        if leave is fail:
            assert type(result.error) is ValueError
        else:
            assert type(result.error) is asyncio.CancelledError
            assert result.error.args == ("cancellation 0" if leave is end else "the first",)
            assert not notes(result.error)

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("leave", [end, fail, be_cancelled])
def test_a_cancellation_in_every_turn_changes_nothing(leave: Callable[[], None]) -> None:
    """As anyio's scopes do it, and nobody else's task pays for it: of every task of the loop."""

    async def main() -> None:
        async def interrupt(task: asyncio.Task[None], guard: CancelGuard) -> None:
            for pause in itertools.chain([0.0] * 100, itertools.repeat(0.01)):
                if task.done():
                    return
                for other in asyncio.all_tasks() - {asyncio.current_task()}:
                    other.cancel()
                await asyncio.sleep(pause)

        result = await interrupted(leave, interrupt, until_clear=True)
        assert not result.exchange.open_orders()
        assert result.guard.report is not None
        assert len(result.guard.report.successes) == 24

    run(main())


def test_a_cancellation_at_any_turn_of_the_guard_s_work_changes_nothing() -> None:
    """Whenever it comes, once or three times."""

    async def main(wait: Callable[[], Any], between: int) -> None:
        async def interrupt(task: asyncio.Task[None], guard: CancelGuard) -> None:
            await wait()
            for _ in range(between):
                task.cancel()
                await turns(between - 1)

        result = await interrupted(be_cancelled, interrupt)
        assert isinstance(result.error, asyncio.CancelledError)
        assert_done(result)

    for count in range(20):
        run(main(partial(turns, count), 1 + count % 4))
    for tenths in range(24):
        run(main(partial(asyncio.sleep, tenths / 10), 1 + tenths % 4))


@pytest.mark.parametrize(
    ("leave", "kind"),
    [
        (end, MassCancelFailed),
        (fail, ValueError),
        (be_cancelled, asyncio.CancelledError),
    ],
)
def test_stop_ends_the_guard_promptly_and_truthfully(
    leave: Callable[[], None], kind: type[BaseException]
) -> None:
    """What was on the wire is unknown, the rest not sent; an exception of the block still wins."""

    async def main() -> None:
        async def interrupt(task: asyncio.Task[None], guard: CancelGuard) -> None:
            await asyncio.sleep(0.05)
            guard.stop()
            guard.stop()

        result = await interrupted(leave, interrupt)
        assert type(result.error) is kind
        assert result.took < 0.01
        assert list(outcomes(result.guard).values()) == ["unknown"] * 5 + ["not_sent"] * 7
        assert_true(result.guard, result.exchange)
        assert len(result.exchange.arrivals) == 5
        if leave is not end:
            assert "cut short: 12 of 12 contracts are not clear" in notes(result.error)

    run(main())


def test_stop_at_any_turn_leaves_a_true_account() -> None:
    """Whenever it comes, no contract that reached the exchange is told as not sent."""

    async def main(wait: Callable[[], Any]) -> None:
        async def interrupt(task: asyncio.Task[None], guard: CancelGuard) -> None:
            await wait()
            guard.stop()

        result = await interrupted(be_cancelled, interrupt)
        assert result.took < 0.01
        assert_true(result.guard, result.exchange)

    for count in range(20):
        run(main(partial(turns, count)))
    for tenths in range(24):
        run(main(partial(asyncio.sleep, tenths / 10)))


def test_stop_outside_of_the_work_does_nothing() -> None:
    """Two signals at once must not leave every order open, nor one that comes too late fail."""

    async def main() -> None:
        exchange = with_orders()
        async with virtual_session(exchange) as htx:
            guard = htx.cancel_on_exit(CODES)
            guard.stop()
            async with guard:
                guard.stop()
            guard.stop()
        assert not exchange.open_orders()

    run(main())


def test_rounds_that_were_answered_stay_in_the_account() -> None:
    """With `until_clear`, the ids of the first round are known even if the second was cut off."""

    async def main() -> None:
        async def interrupt(task: asyncio.Task[None], guard: CancelGuard) -> None:
            await asyncio.sleep(1.0)
            guard.stop()

        result = await interrupted(be_cancelled, interrupt, until_clear=True)
        assert result.guard.report is not None
        assert len(result.guard.report.successes) == 10
        assert_true(result.guard, result.exchange)

    run(main())


def test_a_cancellation_that_the_block_has_not_felt_does_not_skip_the_guard() -> None:
    """Ctrl-C while the block computes is delivered at the guard's first await: it is the first."""

    async def main() -> None:
        exchange = with_orders()

        async def strategy(htx: HtxSession) -> None:
            async with htx.cancel_on_exit(CODES):
                task = asyncio.current_task()
                assert task is not None
                task.cancel()

        async with virtual_session(exchange) as htx:
            error = await stopped(asyncio.create_task(strategy(htx)))
        assert isinstance(error, asyncio.CancelledError)
        assert not exchange.open_orders()

    run(main())


def test_a_timeout_that_comes_while_the_guard_works_waits_for_it() -> None:
    """The block was in time; the guard is shielded from the timeout, which then comes out."""

    async def main() -> None:
        exchange = with_orders(MANY)
        async with virtual_session(exchange) as htx:
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0), htx.cancel_on_exit(MANY):
                    await asyncio.sleep(0.9)
        assert not exchange.open_orders()

    run(main())


class Broken(BaseLimiter):
    """A limiter of the user's that loses its store, at a moment of choice."""

    def __init__(self, where: str) -> None:
        self._where = where

    def _maybe(self, where: str) -> None:
        if where == self._where:
            raise ConnectionError("the store is gone")

    def foresee(
        self, endpoint: str, count: int, *, urgent: bool = False, round_trip: float = 0.0
    ) -> float:
        self._maybe("foresee")
        return now()

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float | None:
        return None

    def pause(self, endpoint: str, seconds: float) -> None:
        pass

    def not_sent(self) -> None:
        pass

    @asynccontextmanager
    async def take(
        self, endpoint: str, *, urgent: bool = False, on_turn: object = None
    ) -> AsyncIterator["Broken"]:
        self._maybe("take")
        yield self
        self._maybe("settle")


def test_the_block_s_exception_wins_over_any_other() -> None:
    """A user's limiter that fails when it is asked does not take the exception's place."""

    async def main() -> None:
        async with virtual_session(with_orders(), limiter=Broken("foresee")) as htx:
            with pytest.raises(ValueError, match="the strategy failed") as caught:
                async with htx.cancel_on_exit(CODES):
                    fail()
        assert "the store is gone" in notes(caught.value)

    run(main())


def test_a_limiter_that_fails_after_the_answer_leaves_a_true_account() -> None:
    """The exchange had the request: the contract is not told as not sent."""

    async def main() -> None:
        exchange = with_orders()
        async with virtual_session(exchange, limiter=Broken("settle")) as htx:
            with suppress(Exception):
                async with htx.cancel_on_exit(CODES) as guard:
                    pass
        assert_true(guard, exchange)

    run(main())
    # What asyncio has to say of such a limiter's tasks is said here, and not in another test.
    gc.collect()


# What the documentation says ---------------------------------------------------------------------

_DOCUMENTED = (ROOT / "docs" / "guard.md").read_text()
_ROWS = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", _DOCUMENTED, re.MULTILINE)


@pytest.mark.parametrize(
    ("contracts", "seconds", "deadline", "grace"), [tuple(map(int, r)) for r in _ROWS]
)
def test_a_guard_takes_the_time_that_is_documented(
    contracts: int, seconds: int, deadline: int, grace: int
) -> None:
    """At a round trip of 0.1 s; and where nothing answers, it ends at its deadline, which is that
    of a session that may find the account on V5."""

    async def main(late: float) -> float:
        exchange = SimulatedExchange()
        if late:
            exchange.late(late, times=10 * contracts)
        codes = [f"C{number}-USDT" for number in range(contracts)]
        settings = {"latency": lambda: 0.05, "generation": "auto"}
        async with virtual_session(exchange, **settings) as htx:  # type: ignore[arg-type]  # as named
            with suppress(MassCancelFailed):
                async with htx.cancel_on_exit(codes):
                    began = now()
        return now() - began

    assert seconds - 1 < run(main(0.0)) <= seconds
    assert deadline - 1 < run(main(1000.0)) <= deadline + 0.02
    assert grace == deadline + 1


def test_the_documented_times_are_those_of_the_table() -> None:
    """The figures that people plan with."""
    assert {row[0]: row[1] for row in _ROWS}.items() >= {
        "40": "9",
        "125": "27",
        "230": "51",
    }.items()


# The recipe of docs/guard.md, in a process of its own ---------------------------------------------

RECIPE = example("cancel_on_exit", "SIGTERM")

_STRATEGY = """

import sys


async def strategy(htx):
    print("trading", flush=True)
    await asyncio.Event().wait()


"""
WITH_RECIPE = f"""{RECIPE}{_STRATEGY}
asyncio.run(guarded(HtxSession.from_env(base_urls=sys.argv[1]), sys.argv[2:], strategy))
"""
WITHOUT_RECIPE = f"""
import asyncio
from htx_async import HtxSession
{_STRATEGY}
async def main():
    async with HtxSession.from_env(base_urls=sys.argv[1]) as htx:
        guard = htx.cancel_on_exit(sys.argv[2:])
        try:
            async with guard:
                await strategy(htx)
        finally:
            print(guard.report)


try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    """An exchange whose keys the children know, with two orders for each contract."""
    async with with_two_orders_each() as opened:
        yield opened


@pytest.mark.slow
async def test_ctrl_c_leaves_no_trailing_orders(exchange: SimulatedExchange) -> None:
    """SIGINT to `asyncio.run(main())`: the orders go, the account is told, then it interrupts."""
    async with child(WITHOUT_RECIPE, exchange) as strategy:
        assert not exchange.arrivals
        strategy.signal(signal.SIGINT)
        code, out, err = await strategy.ended()
    assert not exchange.open_orders()
    assert out == "3 contracts in isolated margin clear, 6 orders cancelled\ninterrupted\n"
    assert (code, err) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_recipe_turns_sigterm_into_cancellation(
    exchange: SimulatedExchange, number: signal.Signals
) -> None:
    """As it stands on the page: no trailing orders are left, and the exit is clean."""
    async with child(WITH_RECIPE, exchange) as strategy:
        strategy.signal(number)
        code, out, err = await strategy.ended()
    assert not exchange.open_orders()
    assert out == "3 contracts in isolated margin clear, 6 orders cancelled\n"
    assert (code, err) == (0, "")


@pytest.mark.slow
async def test_a_second_sigterm_ends_the_recipe_promptly_and_truthfully(
    exchange: SimulatedExchange,
) -> None:
    """The exchange is silent: all three are told as unknown, and the exit is not clean."""
    sent = silent_after(exchange, 3)
    async with child(WITH_RECIPE, exchange) as strategy:
        strategy.signal(signal.SIGTERM)
        await asyncio.wait_for(sent.wait(), PATIENCE)
        began = now()
        strategy.signal(signal.SIGTERM)
        code, out, err = await strategy.ended()
    assert now() - began < 5, "it would wait 10 s for the exchange"
    assert code == 1
    first = f"3 of 3 contracts are not clear (isolated margin: 3 unknown). {', '.join(CODES)} in "
    assert out.startswith(first)
    assert "MassCancelFailed" in err


@pytest.mark.slow
async def test_sigterm_alone_skips_the_guard(exchange: SimulatedExchange) -> None:
    """Without the recipe the process is gone at once, and every order stays."""
    async with child(WITHOUT_RECIPE, exchange) as strategy:
        strategy.signal(signal.SIGTERM)
        code, out, _ = await strategy.ended()
    assert code == -signal.SIGTERM
    assert out == ""
    assert not exchange.arrivals
    assert len(exchange.open_orders()) == 6
