"""Listeners: what can be one is told at once, and whatever one does changes nothing."""

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any
from unittest.mock import AsyncMock

import pytest

from htx_async import HtxSession, InvalidRequest, Outcome, RetryPolicy
from htx_async.enums import LimiterMode
from htx_async.events import CallEnded, CallStarted, Event
from htx_async.redis_limits import RedisTokenBucket
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import run, virtual_session

BTC = "BTC-USDT"
NUMBERS = itertools.count()


class Marker(BaseException):
    """Neither an `Exception` nor the end of the program, as what a test framework raises."""


def of_a_cancelled_future() -> object:
    """A future's result, as a plain listener may ask for it."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    return future.result()


def cancelled() -> object:
    raise asyncio.CancelledError


def generator_exit() -> object:
    raise GeneratorExit


def marker() -> object:
    raise Marker


def absent() -> object:
    raise KeyError("absent")


async def nothing() -> None:
    """Something that nobody awaits."""


MISDEEDS: tuple[Callable[[], object], ...] = (
    cancelled,
    of_a_cancelled_future,
    generator_exit,
    marker,
    nothing,
    absent,
)


def wall() -> float:
    """A wall clock in Unix seconds that goes with the loop's."""
    return 1_800_000_000.0 + asyncio.get_running_loop().time()


def contracts(count: int) -> list[str]:
    return [f"C{number}-USDT" for number in range(count)]


async def account(seed: int, on_event: Callable[[Event], object] | None) -> tuple[str, float]:
    """What a mass cancel over faults came to, and when."""
    chance = random.Random(seed)
    exchange = SimulatedExchange(now=wall)
    for code in contracts(12):
        exchange.place(code, "buy", "close", 2)
    exchange.lose_after_work(times=2)
    exchange.bad_gateway(contract_code="C3-USDT")
    exchange.refuse(1014, contract_code="C4-USDT")
    exchange.too_many(retry_after="1", contract_code="C5-USDT")
    settings: dict[str, Any] = {"account": f"account {next(NUMBERS)}", "on_event": on_event}
    settings |= {"retry": RetryPolicy(random=chance.random), "now": wall}
    async with virtual_session(exchange, **settings) as htx:
        report = await htx.mass_cancel_trailing(contracts(12), deadline=30.0)
        assert len(exchange.open_orders()) == 2
    return report.model_dump_json(), asyncio.get_running_loop().time()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_a_listener_does_changes_nothing(seed: int) -> None:
    """`CancelledError`, a future's result, other exceptions of no common kind and coroutines, drawn
    at each event of a mass cancel with faults: the account is that of a silent session."""
    chance = random.Random(seed)
    heard: list[Event] = []

    def wild(event: Event) -> object:
        heard.append(event)
        return chance.choice(MISDEEDS)()

    assert run(account(seed, wild)) == run(account(seed, None))
    assert sum(isinstance(event, CallEnded) for event in heard) == 12


@pytest.mark.parametrize("misdeed", MISDEEDS)
@pytest.mark.parametrize("at", [CallStarted, CallEnded])
def test_a_call_that_was_carried_out_has_its_report(
    misdeed: Callable[[], object], at: type[Event]
) -> None:
    """At the first and at the last event of a single call, the report comes back all the same."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 2)

        def listener(event: Event) -> object:
            return misdeed() if isinstance(event, at) else None

        async with virtual_session(exchange, on_event=listener) as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert set(report.successes) == set(ids)

    run(main())


def test_a_record_that_cannot_be_waited_for_changes_nothing() -> None:
    """A listener that writes ahead may raise what it likes there, too: the call is warned."""

    class Record:
        def __init__(self, misdeed: Callable[[], object]) -> None:
            self._misdeed = misdeed

        def __call__(self, event: Event) -> None:
            pass

        async def written(self, call: int) -> str:
            self._misdeed()
            return ""

    async def main() -> None:
        for misdeed in (cancelled, generator_exit, marker):
            exchange = SimulatedExchange()
            async with virtual_session(exchange, on_event=Record(misdeed)) as htx:
                report = await htx.cancel_all_trailing(BTC)
            assert report.outcome is Outcome.NOTHING_TO_CANCEL
            assert "could not be kept" in report.warnings[0]

    run(main())


def test_a_coroutine_that_is_returned_is_closed_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where it cannot be seen before: one warning for the session, and none of Python's own."""

    async def main() -> None:
        async with virtual_session(SimulatedExchange(), on_event=lambda event: nothing()) as htx:
            await htx.mass_cancel_trailing(contracts(5))

    with caplog.at_level(logging.WARNING, "htx_async"):
        run(main())
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "on_event returned coroutine, which is never awaited: make it a plain function that begins "
        "a task"
    ]


def test_a_task_that_is_returned_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """It needs nobody to await it: neither is it ended nor told of."""

    async def main() -> None:
        kept: list[str] = []

        async def keep(event: Event) -> None:
            await asyncio.sleep(0.01)
            kept.append(type(event).__name__)

        def listener(event: Event) -> object:
            return asyncio.ensure_future(keep(event))

        async with virtual_session(SimulatedExchange(), on_event=listener) as htx:
            await htx.cancel_all_trailing(BTC)
            await asyncio.sleep(0.1)
        assert kept == ["CallStarted", "TokenGranted", "AttemptEnded", "CallEnded"]

    run(main())
    assert not [record for record in caplog.records if record.name == "htx_async"]


async def is_async(what: object, *more: object) -> None:
    pass


async def is_async_generator(what: object) -> AsyncIterator[object]:
    yield what


def is_generator(what: object) -> Iterator[object]:
    yield what


class Async:
    async def __call__(self, what: object) -> None:
        pass

    async def method(self, what: object) -> None:
        pass

    @staticmethod
    async def static(what: object) -> None:
        pass


AWAITED = {
    "function": is_async,
    "partial": partial(is_async, 1),
    "object": Async(),
    "partial of an object": partial(Async()),
    "partial of a partial": partial(partial(Async())),
    "method": Async().method,
    "static": Async.static,
    "mock": AsyncMock(),
}
LAZY = {
    **AWAITED,
    "generator": is_generator,
    "async generator": is_async_generator,
    "text": "on_event",
    "number": 7,
}


@pytest.mark.parametrize("name", LAZY)
def test_what_nobody_would_await_is_refused_at_construction(name: str) -> None:
    """Functions, partials, objects and methods that are async, generators, and no functions."""
    for given in (LAZY[name], [print, LAZY[name]]):
        with pytest.raises(InvalidRequest, match=r"on_event must be a (plain )?function"):
            virtual_session(SimulatedExchange(), on_event=given)


@pytest.mark.parametrize("plain", [print, [].append, partial(print), list, Async.__init__])
def test_plain_functions_of_any_kind_are_taken(plain: Any) -> None:
    """Built-in, bound, partial, a class: what does its work when it is called."""
    assert isinstance(virtual_session(SimulatedExchange(), on_event=plain), HtxSession)


@pytest.mark.parametrize("name", sorted(LAZY.keys() - AWAITED.keys()))
def test_on_report_is_judged_before_anything_is_queued(name: str) -> None:
    """It may be async, but neither a generator nor no function at all."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange) as htx:
            callback: Any = LAZY[name]
            with pytest.raises(InvalidRequest, match=r"on_report must be a (plain )?function"):
                await htx.mass_cancel_trailing([BTC], on_report=callback)
        assert exchange.arrivals == ()

    run(main())


@pytest.mark.parametrize("name", AWAITED)
def test_on_report_may_be_async_in_every_way(name: str) -> None:
    """What is refused as a listener is awaited here."""

    async def main() -> None:
        async with virtual_session(SimulatedExchange()) as htx:
            callback: Any = AWAITED[name]
            report = await htx.mass_cancel_trailing([BTC], on_report=callback)
        assert report.callback_errors == ()

    run(main())


class Wordless(Exception):
    """Its words cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, Marker, Wordless])
@pytest.mark.parametrize("is_async", [False, True])
def test_whatever_on_report_raises_is_in_the_account(
    kind: type[BaseException], is_async: bool
) -> None:
    """Each contract has its line in `callback_errors`, and every one of them was cancelled."""

    def plain(report: object) -> None:
        raise kind

    async def later(report: object) -> None:
        await asyncio.sleep(0.01)
        raise kind

    async def main() -> None:
        exchange = SimulatedExchange()
        for code in contracts(7):
            exchange.place(code, "buy", "close")
        async with virtual_session(exchange) as htx:
            callback = later if is_async else plain
            report = await htx.mass_cancel_trailing(contracts(7), on_report=callback)
        assert report.outcomes == {Outcome.CANCELLED: 7}
        named = sorted(f"{code}: {kind.__name__}: " for code in contracts(7))
        told = sorted(report.callback_errors)
        assert all(a.startswith(b) for a, b in zip(told, named, strict=True))

    run(main())


async def test_listeners_of_a_fleet_s_limiter_are_judged_alike() -> None:
    """`hear` refuses what nobody would await, and outlives what others raise."""
    heard: list[tuple[str, LimiterMode, str]] = []
    async with RedisTokenBucket.from_url("redis://127.0.0.1:1", "desk", share_of=2) as bucket:
        wrong: Any
        for wrong in LAZY.values():
            with pytest.raises(InvalidRequest, match=r"listener must be a (plain )?function"):
                bucket.hear(wrong)
        misdeeds = itertools.cycle(MISDEEDS)

        def wild(*what: object) -> object:
            return next(misdeeds)()

        bucket.hear(wild)
        leave = bucket.hear(lambda *what: heard.append(what))
        async with bucket.take("/path"):
            pass
        assert [mode for _, mode, _ in heard] == [LimiterMode.OWN_SHARE]
        leave()
        async with bucket.take("/other"):
            pass
        assert len(heard) == 1
