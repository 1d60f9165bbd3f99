"""What a session tells its listener: which events, in which order, and nothing secret."""

import asyncio
import dataclasses
import itertools
import logging
import pickle
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

import htx_async.calls.call
from htx_async import CancelError, HtxSession, OutcomeUnknown, RetryPolicy, Verdict
from htx_async.calls.emitter import Emitter
from htx_async.enums import Look, MarginMode
from htx_async.events import (
    AttemptEnded,
    CallEnded,
    CallStarted,
    EndpointPaused,
    Event,
    LimitChanged,
    LookEnded,
    TokenGranted,
)
from htx_async.simulator import Reply, Request, SimulatedExchange
from tests.support.virtual import run, virtual_session

BTC = "BTC-USDT"
PATH = "/linear-swap-api/v1/swap_track_cancelall"
URL = "http://127.0.0.1:1"
KINDS = (CallStarted, TokenGranted, AttemptEnded, CallEnded, EndpointPaused, LimitChanged)
NAMES = [kind.__name__ for kind in KINDS]
ACCESS_KEY = "canary-ACCESS-7f3a91"
SECRET_KEY = "canary-SECRET-0c55be"


def now() -> float:
    return asyncio.get_running_loop().time()


def wall() -> float:
    """A wall clock in Unix seconds that goes with the loop's."""
    return 1_800_000_000.0 + now()


def contracts(count: int) -> list[str]:
    return [f"C{number}-USDT" for number in range(count)]


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


async def told(arm: Callable[[SimulatedExchange], object]) -> list[Event]:
    """The events of one call of an exchange that was armed."""
    events: list[Event] = []
    exchange = SimulatedExchange()
    arm(exchange)
    policy = RetryPolicy(random=lambda: 0.5)
    async with virtual_session(exchange, on_event=events.append, retry=policy) as htx:
        with suppress(CancelError):
            await htx.cancel_all_trailing(BTC)
    return events


def test_a_clean_call_is_four_events() -> None:
    """Started, token, attempt, ended: one call number, times that only grow, the report itself."""

    async def main() -> None:
        events: list[Event] = []
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 2)
        async with virtual_session(exchange, on_event=events.append) as htx:
            await asyncio.sleep(1)
            report = await htx.cancel_all_trailing("btc-usdt")
        started, token, attempt, ended = events
        assert isinstance(started, CallStarted)
        assert isinstance(token, TokenGranted)
        assert isinstance(attempt, AttemptEnded)
        assert isinstance(ended, CallEnded)
        assert (started.contract_code, started.urgent) == (BTC, False)
        assert (token.contract_code, token.base_url, token.waited) == (BTC, URL, 0.0)
        assert attempt.contract_code == BTC
        assert attempt.attempt == report.attempts[0]
        assert ended.report is report
        assert set(ended.report.successes) == set(ids)
        assert {event.call for event in (started, token, attempt, ended)} == {started.call}
        assert started.at == token.at == pytest.approx(1.0, abs=1e-3)
        assert attempt.at == ended.at == pytest.approx(1.08, abs=1e-3)

    run(main())


def test_a_retried_call_has_a_token_and_an_end_for_each_attempt() -> None:
    """The events of the attempts are those of the report, in order."""

    async def main() -> None:
        events = await told(lambda e: e.bad_gateway(times=2))
        pair = ["TokenGranted", "AttemptEnded"]
        assert kinds(events) == ["CallStarted", *pair * 3, "CallEnded"]
        attempts = [e.attempt for e in events if isinstance(e, AttemptEnded)]
        assert [a.verdict for a in attempts] == [Verdict.UNKNOWN] * 2 + [Verdict.REFUSED]
        assert [a.number for a in attempts] == [1, 2, 3]
        ended = events[-1]
        assert isinstance(ended, CallEnded)
        assert ended.report.attempts == tuple(attempts)

    run(main())


def test_a_failed_call_ends_with_the_report_of_its_error() -> None:
    """What the listener is told last is what the caller's exception carries."""

    async def main() -> None:
        events: list[Event] = []
        exchange = SimulatedExchange()
        exchange.refuse(1014)
        async with virtual_session(exchange, on_event=events.append) as htx:
            with pytest.raises(CancelError) as caught:
                await htx.cancel_all_trailing(BTC)
        assert isinstance(events[-1], CallEnded)
        assert events[-1].report is caught.value.report

    run(main())


def test_a_call_that_never_has_a_turn_is_two_events() -> None:
    """Started and ended; no token was granted and no attempt was made."""

    async def main() -> None:
        events: list[Event] = []
        async with virtual_session(SimulatedExchange(), on_event=events.append) as htx:
            report = await htx.mass_cancel_trailing(contracts(6), deadline=0.5, look="none")
            assert report.not_clear == ("C5-USDT",)
        late = next(e for e in events if isinstance(e, CallEnded))
        assert late.report.contract_code == "C5-USDT"
        assert [type(e) for e in events if getattr(e, "call", None) == late.call] == [
            CallStarted,
            CallEnded,
        ]

    run(main())


def test_a_paused_endpoint_is_told_once_for_each_pause() -> None:
    """The pause comes before the end of the attempt whose reply asked for it."""

    async def main() -> None:
        events = await told(lambda e: e.too_many(retry_after="4"))
        assert kinds(events) == [
            "CallStarted",
            "TokenGranted",
            "EndpointPaused",
            "AttemptEnded",
            "TokenGranted",
            "AttemptEnded",
            "CallEnded",
        ]
        paused, token = events[2], events[4]
        assert paused == EndpointPaused(at=paused.at, endpoint=PATH, seconds=4.0)
        assert isinstance(token, TokenGranted)
        assert token.at == pytest.approx(paused.at + 4.0, abs=0.01)
        assert token.waited == pytest.approx(4.0, abs=0.01)

    run(main())


def test_a_spent_window_is_a_paused_endpoint_too() -> None:
    """Nothing was refused, but the reply says that none is left until its reset."""

    async def main() -> None:
        events: list[Event] = []
        exchange = SimulatedExchange(now=wall)
        exchange.reply_headers = {
            "ratelimit-remaining": "0",
            "ratelimit-reset": str(1_800_000_003_000),
        }
        async with virtual_session(exchange, now=wall, on_event=events.append) as htx:
            await htx.cancel_all_trailing(BTC)
        (paused,) = [e for e in events if isinstance(e, EndpointPaused)]
        assert paused.seconds == pytest.approx(2.96, abs=0.01)

    run(main())


def test_a_tightened_limit_is_told_once() -> None:
    """Three in a second: the reply that says so first changes the limit, the later ones do not."""

    async def main() -> None:
        events: list[Event] = []
        exchange = SimulatedExchange()
        exchange.reply_headers = {"ratelimit-limit": "3", "ratelimit-interval": "1000"}
        async with virtual_session(exchange, on_event=events.append) as htx:
            await htx.cancel_all_trailing(BTC)
            await htx.mass_cancel_trailing(contracts(7), look="none")
        changed = [e for e in events if isinstance(e, LimitChanged)]
        assert changed == [LimitChanged(at=changed[0].at, endpoint=PATH, requests=3, seconds=1.0)]
        assert kinds(events[:5]) == [
            "CallStarted",
            "TokenGranted",
            "LimitChanged",
            "AttemptEnded",
            "CallEnded",
        ]

    run(main())


def test_each_call_has_a_number_of_its_own() -> None:
    """Under a mass cancel with faults every event belongs to one call, in that call's order."""

    async def main() -> None:
        events: list[Event] = []
        exchange = SimulatedExchange()
        exchange.lose_after_work(times=3)
        async with virtual_session(exchange, on_event=events.append) as htx:
            await htx.mass_cancel_trailing(contracts(20), urgent=True, look="none")
        starts = [e for e in events if isinstance(e, CallStarted)]
        assert all(e.urgent for e in starts)
        assert len({e.call for e in starts}) == 20
        for start in starts:
            own = [e for e in events if getattr(e, "call", None) == start.call]
            assert isinstance(own[0], CallStarted)
            assert isinstance(own[-1], CallEnded)
            assert kinds(own[1:-1]) == ["TokenGranted", "AttemptEnded"] * (len(own) // 2 - 1)
            assert len(own[-1].report.attempts) == len(own) // 2 - 1
        assert [e.at for e in events] == sorted(e.at for e in events)

    run(main())


def test_a_cancelled_caller_gets_no_report_but_the_listener_does() -> None:
    """On the wire it is unknown, in the queue not sent; the last event is the call's end."""

    async def main() -> None:
        events: list[Event] = []
        exchange = SimulatedExchange()
        async with virtual_session(exchange, on_event=events.append) as htx:
            calls = [asyncio.ensure_future(htx.cancel_all_trailing(c)) for c in contracts(7)]
            await asyncio.sleep(0.05)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        ended = [e.report for e in events if isinstance(e, CallEnded)]
        assert sorted(str(report.outcome) for report in ended) == ["not_sent"] * 2 + ["unknown"] * 5
        assert all(len(report.attempts) == 1 for report in ended if report.outcome == "unknown")

    run(main())


@pytest.mark.parametrize("kind", KINDS)
def test_events_are_frozen_and_small(kind: type[Event]) -> None:
    """Slots and no assignment: a listener cannot change what another one sees."""
    assert "__slots__" in vars(kind)
    event = object.__new__(kind)
    for field in dataclasses.fields(kind):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, field.name, None)


def every_misfortune(exchange: SimulatedExchange) -> None:
    """Faults whose replies and failures leave traces in attempts and reports."""
    exchange.refuse(1014, f"no contract for {ACCESS_KEY}", contract_code="C0-USDT")
    exchange.refuse(403, f"bad key {quote(ACCESS_KEY)}", contract_code="C1-USDT")
    exchange.malform(b"<html>" + ACCESS_KEY.encode(), status=500, contract_code="C2-USDT")
    exchange.lose_after_work(contract_code="C3-USDT")
    exchange.too_many(retry_after="1", contract_code="C4-USDT")
    exchange.late(60.0, times=9, contract_code="C5-USDT")
    exchange.bad_gateway(times=9, contract_code="C6-USDT")


def test_no_event_holds_a_key_or_a_signature() -> None:
    """Neither in its text nor in its fields nor pickled, whatever the exchange echoes."""

    async def main() -> tuple[list[Event], set[str]]:
        events: list[Event] = []
        exchange = SimulatedExchange(access_key=ACCESS_KEY, secret_key=SECRET_KEY, now=wall)
        every_misfortune(exchange)
        exchange.reply_headers = {"ratelimit-limit": "4", "ratelimit-interval": "1000"}
        secrets = {ACCESS_KEY, SECRET_KEY}
        handle = exchange.handle

        def listening(request: Request) -> Reply:
            signature = parse_qs(request.query)["Signature"][0]
            secrets.update({signature, quote(signature, safe="")})
            reply = handle(request)
            if b"C7-USDT" in request.body:
                body = b'{"status":"error","err_code":1067,"err_msg":"%s"}'
                echo = f"{request.query} {signature}".encode()
                return dataclasses.replace(reply, body=body % echo)
            return reply

        exchange.handle = listening  # type: ignore[method-assign]  # an exchange that echoes
        # An account of its own: the limiter of one outlives the test that slowed it down.
        settings: dict[str, Any] = {"account": "told of all", "now": wall}
        async with virtual_session(exchange, on_event=events.append, **settings) as htx:
            await htx.mass_cancel_trailing(contracts(12), deadline=30.0, look="none")
            doomed = asyncio.ensure_future(htx.cancel_all_trailing(BTC, urgent=True))
            await asyncio.sleep(0.05)
            doomed.cancel()
            await asyncio.gather(doomed, return_exceptions=True)
        return events, secrets

    events, secrets = run(main())
    assert {type(event) for event in events} == set(KINDS)
    assert len(secrets) > 8
    for event in events:
        texts = (repr(event), str(event), repr(dataclasses.asdict(event)))
        pickled = pickle.dumps(event)
        for secret in secrets:
            assert not any(secret in text for text in texts), type(event)
            assert secret.encode() not in pickled
        assert pickle.loads(pickled) == event  # noqa: S301 - our own bytes


def test_no_event_is_built_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind raises when it is made, and a session without a listener never notices."""
    made = itertools.count()

    def never(*args: object, **kwargs: object) -> None:
        next(made)
        raise AssertionError("an event was built")

    for name in NAMES:
        monkeypatch.setattr(htx_async.events, name, never)

    async def main() -> None:
        exchange = SimulatedExchange()
        every_misfortune(exchange)
        exchange.reply_headers = {"ratelimit-limit": "4", "ratelimit-interval": "1000"}
        async with virtual_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(contracts(12), deadline=30.0, look="none")
            assert len(report.reports) == 12
            assert report.not_clear
        assert next(made) == 0

    run(main())


@pytest.mark.parametrize("seed", range(5))
def test_a_listener_that_raises_changes_nothing(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The same reports at the same moments as without one; the log names the exception's kind and
    the event's, and none of its words."""

    def raising(event: Event) -> None:
        raise RuntimeError(f"{SECRET_KEY} {event}")

    async def one(on_event: Callable[[Event], object] | None) -> tuple[str, float]:
        chance = random.Random(seed)
        exchange = SimulatedExchange(now=wall)
        every_misfortune(exchange)
        policy = RetryPolicy(random=chance.random)
        async with virtual_session(
            exchange,
            retry=policy,
            on_event=on_event,
            now=wall,
        ) as htx:
            report = await htx.mass_cancel_trailing(contracts(15), deadline=30.0, look="none")
        return report.model_dump_json(), now()

    with caplog.at_level(logging.DEBUG):
        loud = run(one(raising))
        records = list(caplog.records)
        caplog.clear()
        quiet = run(one(None))
        assert not [r for r in caplog.records if r.name.startswith("htx_async")]
    assert loud == quiet
    ours = [record for record in records if record.name == "htx_async"]
    assert {record.levelno for record in ours} == {logging.WARNING}
    named = {f"on_event raised RuntimeError at {name}" for name in NAMES}
    assert {record.getMessage() for record in ours} <= named
    assert len({record.getMessage() for record in ours}) >= 5
    for record in ours:
        assert record.exc_info is None
        assert SECRET_KEY not in repr(record.__dict__)


def test_a_listener_that_raises_does_not_replace_the_call_s_own_error() -> None:
    """The caller sees why the call failed, not that the listener did."""

    def raising(event: Event) -> None:
        raise KeyError("listener")

    async def main() -> None:
        exchange = SimulatedExchange()
        exchange.bad_gateway(times=9)
        async with virtual_session(exchange, on_event=raising) as htx:
            with pytest.raises(OutcomeUnknown) as caught:
                await htx.cancel_all_trailing(BTC)
        assert caught.value.__context__ is None

    run(main())


def test_a_listener_may_begin_and_end_calls() -> None:
    """It starts a call for each that ends and cancels the one that began it: no harm is done."""

    async def main() -> None:
        exchange = SimulatedExchange()
        begun: list[asyncio.Task[object]] = []
        session: list[HtxSession] = []

        def reenter(event: Event) -> None:
            if isinstance(event, CallEnded) and event.report.contract_code != BTC:
                begun.append(asyncio.ensure_future(session[0].cancel_all_trailing(BTC)))
            if isinstance(event, CallStarted) and event.contract_code == "C9-USDT":
                doomed.cancel()

        htx = virtual_session(exchange, on_event=reenter)
        session.append(htx)
        await asyncio.sleep(0)
        doomed = asyncio.ensure_future(htx.cancel_all_trailing("C0-USDT"))
        await asyncio.sleep(0)
        await htx.cancel_all_trailing("C9-USDT")
        results = await asyncio.gather(doomed, *begun, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert len(begun) == 2
        assert not any(isinstance(result, Exception) for result in results)
        await htx.aclose()

    run(main())


def test_what_is_no_error_goes_through_a_teller() -> None:
    """`KeyboardInterrupt` and `SystemExit` are the program's business, not the listener's."""

    def leaving(event: Event) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        Emitter([leaving]).emit(EndpointPaused(0.0, PATH, 1.0))


@pytest.mark.parametrize("margin", list(MarginMode))
@pytest.mark.parametrize("look", [Look.FIRST, Look.ONLY])
def test_a_look_tells_how_many_orders_it_found(look: Look, margin: MarginMode) -> None:
    """Once, with the orders that are meant, the contracts that have some, and of how many all is
    known; a list that could not be read counts as none of these."""

    async def main() -> list[LookEnded]:
        exchange, events = SimulatedExchange(), list[Event]()
        for code in contracts(3):
            exchange.place(code, "sell", "close", 2, margin_mode=margin.value)
        exchange.place("C0-USDT", "buy", "close", margin_mode=margin.value)
        if margin is MarginMode.ISOLATED:
            exchange.refuse(1014, call="openorders", contract_code="C8-USDT", times=9)
        async with virtual_session(exchange, on_event=events.append) as htx:
            calls = htx if margin is MarginMode.ISOLATED else htx.cross
            await calls.mass_cancel_trailing(contracts(9), "sell", look=look)
            await calls.mass_cancel_trailing(contracts(1), look=Look.NONE)
        return [event for event in events if isinstance(event, LookEnded)]

    (told_of,) = run(main())
    read = 8 if margin is MarginMode.ISOLATED else 9
    assert (told_of.margin_mode, told_of.orders, told_of.contracts) == (margin, 6, 3)
    assert told_of.read == read


def test_a_look_is_told_once_however_many_rounds_look_again() -> None:
    """Under `until_clear`, where each round begins with a list: with what the first one saw."""

    async def main() -> list[LookEnded]:
        exchange, events = SimulatedExchange(), list[Event]()
        for code in contracts(3):
            exchange.place(code, "sell", "close", 2)
        async with virtual_session(exchange, on_event=events.append) as htx:
            await htx.mass_cancel_trailing(contracts(3), look=Look.ONLY, until_clear=True)
        return [event for event in events if isinstance(event, LookEnded)]

    (told_of,) = run(main())
    assert (told_of.orders, told_of.contracts, told_of.read) == (6, 3, 3)
