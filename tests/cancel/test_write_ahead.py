"""Records that should be safe before a cancel leaves, closing with a grace, worst outcomes."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from htx_async import (
    CancelReport,
    HtxSession,
    InvalidRequest,
    MassCancelReport,
    NotSent,
    Outcome,
    OutcomeUnknown,
    SessionClosed,
)
from htx_async.enums import BY_URGENCY
from htx_async.events import CallEnded, CallStarted, Event, TokenGranted, WritesAhead
from tests.support.endings import ending
from tests.support.virtual import run
from tests.support.witness import BTC, HALF_A_TICK, in_step, now, v1_session

MOST = 0.05
"""Seconds, from its start, for which a call waits for its record."""

LATE = "the record of this call was not safe yet when its first cancel left"
FAILED = "the record of this call could not be kept"


class Scribe:
    """A listener whose record of each call ends as `write` does."""

    def __init__(self, write: Callable[[], Awaitable[str]]) -> None:
        self._write = write
        self.events: list[Event] = []
        self.asked: list[int] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    async def written(self, call: int) -> str:
        self.asked.append(call)
        return await self._write()


async def at_once() -> str:
    return ""


async def soon() -> str:
    await asyncio.sleep(0.03)
    return ""


async def late() -> str:
    await asyncio.sleep(0.2)
    return ""


async def never() -> str:
    await asyncio.Event().wait()
    return ""


async def raising() -> str:
    raise OSError("/secret/path is full")


async def full() -> str:
    return "the disk is full"


def recorded(*writes: Callable[[], Awaitable[str]]) -> tuple[CancelReport, float, list[Scribe]]:
    """The report of a call whose records end so, and when its request arrived."""

    async def main() -> tuple[CancelReport, float, list[Scribe]]:
        exchange = in_step()
        exchange.place(BTC, "buy", "open", 2)
        scribes = [Scribe(write) for write in writes]
        async with v1_session(exchange, on_event=scribes) as htx:
            report = await htx.cancel_all_trailing(BTC)
        (arrival,) = exchange.arrivals
        return report, arrival.at - 0.02, scribes

    return run(main())


@pytest.mark.parametrize(
    ("writes", "seconds", "warnings"),
    [
        ([at_once], 0.0, []),
        ([soon], 0.03, []),
        ([late], MOST, [LATE]),
        ([never], MOST, [LATE]),
        ([raising], 0.0, [f"{FAILED}: OSError"]),
        ([full], 0.0, ["the disk is full"]),
        ([at_once, soon], 0.03, []),
        ([at_once, late], MOST, [LATE]),
        ([raising, full, soon], 0.03, [f"{FAILED}: OSError", "the disk is full"]),
        ([full, never], MOST, ["the disk is full", LATE]),
    ],
)
def test_a_call_waits_a_moment_for_its_records_and_goes_all_the_same(
    writes: list[Callable[[], Awaitable[str]]], seconds: float, warnings: list[str]
) -> None:
    """50 ms from its start at most; what was late or failed is in the report and its message."""
    report, left, scribes = recorded(*writes)
    assert seconds <= left <= seconds + HALF_A_TICK
    assert (report.outcome, len(report.successes)) == (Outcome.CANCELLED, 2)
    assert sorted(report.warnings) == sorted(warnings)
    for warning in warnings:
        assert f"Besides, {warning}." in report.message
    assert "secret" not in report.message
    for scribe in scribes:
        assert isinstance(scribe, WritesAhead)
        started = [event.call for event in scribe.events if isinstance(event, CallStarted)]
        assert scribe.asked == started


def test_the_wait_counts_from_the_start_of_the_call() -> None:
    """A record that became safe while the call queued costs nothing and is no warning."""

    async def main() -> None:
        exchange = in_step()
        scribe = Scribe(late)
        async with v1_session(exchange) as busy:
            await asyncio.gather(*[ending(busy.cancel_all_trailing(BTC)) for _ in range(5)])
            safe = asyncio.Event()

            async def write() -> str:
                await safe.wait()
                return ""

            scribe._write = write
            async with v1_session(exchange, on_event=scribe) as htx:
                call = asyncio.create_task(htx.cancel_all_trailing(BTC))
                await asyncio.sleep(0.5)
                safe.set()
                report = await call
        assert report.warnings == ()
        assert 0.9 < report.attempts[0].waited < 1.1

    run(main())


def test_a_repeat_waits_for_no_record() -> None:
    """It was waited for once; the warning stays in the report."""

    async def main() -> None:
        exchange = in_step()
        exchange.lose_after_work(times=2)
        scribe = Scribe(never)
        async with v1_session(exchange, on_event=scribe) as htx:
            report = await ending(htx.cancel_all_trailing(BTC))
        assert len(report.attempts) == 3
        assert len(scribe.asked) == 1
        assert report.warnings == (LATE,)

    run(main())


def test_every_call_of_a_mass_cancel_has_its_record() -> None:
    """Each is asked for by the number of its own call."""

    async def main() -> None:
        exchange = in_step()
        codes = [f"C{number}-USDT" for number in range(12)]
        scribe = Scribe(full)
        async with v1_session(exchange, on_event=scribe) as htx:
            mass = await htx.mass_cancel_trailing(codes, look="none")
        assert len(set(scribe.asked)) == 12
        assert {report.warnings for report in mass.reports} == {("the disk is full",)}

    run(main())


@pytest.mark.parametrize("how", ["close", "cancel", "deadline"])
def test_a_call_ended_while_it_waits_for_its_record_sends_nothing(how: str) -> None:
    """Its token goes back, so that five others go at once."""

    async def main() -> None:
        exchange = in_step()
        scribe = Scribe(never)
        htx = v1_session(exchange, on_event=scribe)
        async with htx, v1_session(exchange) as other:
            deadline = 0.02 if how == "deadline" else None
            calls = [
                asyncio.create_task(htx.cancel_all_trailing(BTC, deadline=deadline))
                for _ in range(5)
            ]
            await asyncio.sleep(0.01)
            if how == "close":
                await htx.aclose()
            elif how == "cancel":
                for call in calls:
                    call.cancel()
            ends = await asyncio.gather(*calls, return_exceptions=True)
            kind = asyncio.CancelledError if how == "cancel" else NotSent
            assert {type(end) for end in ends} == {kind}
            assert not exchange.arrivals
            began = now()
            await asyncio.gather(*[other.cancel_all_trailing(BTC) for _ in range(5)])
            assert now() - began < 0.06
        reports = [event.report for event in scribe.events if isinstance(event, CallEnded)]
        assert {report.outcome for report in reports} == {Outcome.NOT_SENT}

    run(main())


class Broken:
    """A listener with something that cannot be waited for."""

    def __init__(self, written: Any) -> None:
        self.written = written

    def __call__(self, event: Event) -> None:
        pass


def raises_at_once(call: int) -> Awaitable[str]:
    raise RuntimeError("not a coroutine")


async def is_cancelled(call: int) -> str:
    raise asyncio.CancelledError


async def cancels_its_own_task(call: int) -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)
    return ""


async def tells_a_number(call: int) -> int:
    return 5


@pytest.mark.parametrize(
    "written",
    [raises_at_once, is_cancelled, cancels_its_own_task, tells_a_number, 7, lambda call: None],
    ids=["raises", "cancelled", "cancels itself", "number", "no function", "no awaitable"],
)
def test_a_listener_that_is_broken_changes_nothing(written: Any) -> None:
    """The cancel goes, and its report comes; the record was not kept."""

    async def main() -> None:
        exchange = in_step()
        exchange.place(BTC, "buy", "open")
        async with v1_session(exchange, on_event=Broken(written)) as htx:
            task = asyncio.create_task(htx.cancel_all_trailing(BTC))
            await asyncio.wait([task])
            assert not task.cancelled()
            assert task.exception() is None
            assert task.result().warnings
        assert not exchange.open_orders()

    run(main())


# Several listeners


def test_every_listener_hears_everything_in_order() -> None:
    """Whatever another one raises; a sequence of one is one."""

    async def main() -> None:
        exchange = in_step()

        def raises(event: Event) -> None:
            raise ValueError("no")

        heard: list[list[Event]] = [[], []]
        listeners = (heard[0].append, raises, heard[1].append)
        async with v1_session(exchange, on_event=listeners) as htx:
            await htx.cancel_all_trailing(BTC)
        assert heard[0] == heard[1]
        assert [type(event).__name__ for event in heard[0]] == [
            "CallStarted",
            "TokenGranted",
            "AttemptEnded",
            "CallEnded",
        ]

    run(main())


@pytest.mark.parametrize("wrong", [5, "listener", [None], [print, 5], {"a": print}])
def test_what_cannot_listen_is_refused(wrong: Any) -> None:
    """By the constructor."""

    async def main() -> None:
        with pytest.raises(InvalidRequest, match="on_event"):
            v1_session(in_step(), on_event=wrong)

    run(main())


def test_no_listeners_are_none() -> None:
    """An empty sequence is as good as None."""

    async def main() -> None:
        async with v1_session(in_step(), on_event=[]) as htx:
            assert (await htx.cancel_all_trailing(BTC)).warnings == ()

    run(main())


# A session closed with a grace


async def closing(
    grace: float, latency: float, calls: int = 12
) -> tuple[list[CancelReport], float, int]:
    """Reports of so many calls when the session is closed in the first second."""
    exchange = in_step(latency=latency)
    for number in range(calls):
        exchange.place(f"C{number}-USDT", "buy", "open")
    htx = v1_session(exchange)
    tasks = [
        asyncio.create_task(ending(htx.cancel_all_trailing(f"C{number}-USDT")))
        for number in range(calls)
    ]
    await asyncio.sleep(0.05)
    waiting = tasks[5:]
    began = now()
    closed = asyncio.create_task(htx.aclose(grace=grace))
    await asyncio.sleep(0.001)
    assert all(task.done() for task in waiting), "what waits for a token ends at once"
    await closed
    seconds = now() - began
    assert len(exchange.arrivals) == 5
    with pytest.raises(SessionClosed):
        await htx.cancel_all_trailing(BTC)
    return [await task for task in tasks], seconds, len(exchange.open_orders())


@pytest.mark.parametrize(
    ("grace", "latency", "outcome"),
    [
        (1.0, 0.4, Outcome.CANCELLED),
        (0.2, 0.4, Outcome.UNKNOWN),
        (0.0, 0.4, Outcome.UNKNOWN),
        (30.0, 2.0, Outcome.CANCELLED),
    ],
)
def test_calls_on_the_wire_have_the_grace(grace: float, latency: float, outcome: Outcome) -> None:
    """What is answered within it is told truly, later answers are unknown, the rest not sent."""
    reports, seconds, left = run(closing(grace, latency))
    assert [report.outcome for report in reports] == [outcome] * 5 + [Outcome.NOT_SENT] * 7
    assert all("session was closed" in report.message for report in reports[5:])
    assert seconds <= min(grace, latency) + 0.01
    assert left == 7


@pytest.mark.parametrize("code", [1032, 1056])
def test_nothing_new_is_sent_within_the_grace(code: int) -> None:
    """A refusal that would be tried again is the last word then."""

    async def main() -> None:
        exchange = in_step(latency=0.2)
        exchange.refuse(code)
        htx = v1_session(exchange)
        task = asyncio.create_task(ending(htx.cancel_all_trailing(BTC)))
        await asyncio.sleep(0.05)
        await htx.aclose(grace=5.0)
        assert now() < 0.3
        report = await task
        assert (report.outcome, len(exchange.arrivals)) == (Outcome.REFUSED, 1)
        assert "session was closed" in report.message

    run(main())


def test_a_lost_answer_within_the_grace_is_unknown() -> None:
    """It is not asked again."""

    async def main() -> None:
        exchange = in_step(latency=0.2)
        exchange.lose_after_work()
        htx = v1_session(exchange)
        task = asyncio.create_task(htx.cancel_all_trailing(BTC))
        await asyncio.sleep(0.05)
        await htx.aclose(grace=5.0)
        with pytest.raises(OutcomeUnknown):
            await task
        assert len(exchange.arrivals) == 1

    run(main())


async def mass_closed(htx: HtxSession, codes: list[str], grace: float) -> MassCancelReport:
    task = asyncio.create_task(htx.mass_cancel_trailing(codes, until_clear=True, look="none"))
    await asyncio.sleep(0.05)
    await htx.aclose(grace=grace)
    return await task


def test_a_mass_cancel_closed_with_a_grace_accounts_for_all() -> None:
    """Answers that come are kept, no round follows, and the rest was not sent."""

    async def main() -> None:
        exchange = in_step(latency=0.3)
        codes = [f"C{number}-USDT" for number in range(12)]
        for code in codes:
            exchange.place(code, "buy", "open")
        report = await mass_closed(v1_session(exchange), codes, 2.0)
        assert report.outcomes == {Outcome.PARTIAL: 5, Outcome.NOT_SENT: 7}
        assert len(report.successes) == len(exchange.arrivals) == 5
        assert now() < 0.5

    run(main())


@pytest.mark.parametrize("grace", [-1.0, "1", None, float("nan"), float("inf")])
def test_a_grace_is_a_number_of_seconds(grace: Any) -> None:
    """Else it is refused, and the session stays open."""

    async def main() -> None:
        exchange = in_step()
        async with v1_session(exchange) as htx:
            with pytest.raises(InvalidRequest, match="grace"):
                await htx.aclose(grace=grace)
            assert (await htx.cancel_all_trailing(BTC)).is_clear

    run(main())


def test_closing_twice_is_safe() -> None:
    """At once or one after the other, whatever the grace."""

    async def main() -> None:
        exchange = in_step(latency=0.2)
        htx = v1_session(exchange)
        task = asyncio.create_task(ending(htx.cancel_all_trailing(BTC)))
        await asyncio.sleep(0.05)
        await asyncio.gather(htx.aclose(grace=2.0), htx.aclose(grace=2.0))
        await htx.aclose()
        assert (await task).outcome is Outcome.NOTHING_TO_CANCEL
        assert now() < 0.3

    run(main())


def test_a_second_closing_without_a_grace_ends_the_first() -> None:
    """Whoever cannot wait any longer need not."""

    async def main() -> None:
        exchange = in_step(latency=2.0)
        events: list[Event] = []
        htx = v1_session(exchange, on_event=events.append)
        task = asyncio.create_task(ending(htx.cancel_all_trailing(BTC)))
        await asyncio.sleep(0.05)
        first = asyncio.create_task(htx.aclose(grace=30.0))
        await asyncio.sleep(0.05)
        await htx.aclose()
        await first
        assert (await task).outcome is Outcome.UNKNOWN
        assert now() < 0.2
        assert sum(isinstance(event, TokenGranted) for event in events) == 1

    run(main())


# The worst outcome


URGENT_FIRST = (
    Outcome.UNKNOWN,
    Outcome.PARTIAL,
    Outcome.REFUSED,
    Outcome.NOT_SENT,
    Outcome.CLEAR_AFTER_RETRY,
    Outcome.CANCELLED,
    Outcome.NOTHING_TO_CANCEL,
)


def test_the_outcome_of_many_is_the_one_that_most_needs_a_person() -> None:
    """Of any two, in either order; and every outcome has its place."""
    assert BY_URGENCY == URGENT_FIRST
    assert set(URGENT_FIRST) == set(Outcome)
    for first, second in itertools.product(URGENT_FIRST, repeat=2):
        reports = tuple(
            CancelReport(contract_code=BTC, direction=None, offset=None, outcome=outcome)
            for outcome in (first, second)
        )
        worst = min(first, second, key=URGENT_FIRST.index)
        mass = MassCancelReport(reports=reports, elapsed=0.0)
        assert mass.outcome is worst
        assert mass.is_clear == worst.is_clear
        assert mass.model_dump()["outcome"] == worst
