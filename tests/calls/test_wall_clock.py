"""The wall clock and its correction, and clocks that are broken at once or later."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest

from htx_async import CancelError, HtxSession, InvalidRequest, NotSent, Outcome, OutcomeUnknown
from htx_async.audit import AuditLog
from htx_async.calls.wall_clock import WallClock
from htx_async.doctor import examine
from htx_async.events import CallEnded, Event
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import run, virtual_session

BTC = "BTC-USDT"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "told",
    [NOON, NOON.timestamp(), int(NOON.timestamp()), NOON.astimezone(timezone(timedelta(hours=8)))],
)
def test_any_form_of_now_becomes_utc(told: datetime | float) -> None:
    """Aware datetimes of any zone and Unix seconds mean the same moment."""
    now = WallClock(lambda: told).now()
    assert now == NOON
    assert now.tzinfo is UTC


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_skew_is_measured_and_corrected(hours: int) -> None:
    """The exchange's time, half a round trip old, tells how far ours is off."""
    clock = WallClock(lambda: NOON)
    ts = int((NOON + timedelta(hours=hours, seconds=-0.2)).timestamp() * 1000)
    ahead = clock.ahead(ts, 0.2)
    assert ahead is not None
    assert ahead == pytest.approx(hours * 3600)
    clock.correct(ahead)
    assert clock.now() == NOON + timedelta(hours=hours)
    assert clock.skew == pytest.approx(hours * 3600)
    assert clock.ahead(ts, 0.2) == pytest.approx(hours * 3600)


def wall() -> float:
    """A wall clock in Unix seconds that goes with the loop's."""
    return 1_800_000_000.0 + asyncio.get_running_loop().time()


class NoOffset(tzinfo):
    """A time zone that does not know its own offset."""

    def utcoffset(self, moment: datetime | None, /) -> timedelta | None:
        raise RuntimeError("no offset")

    dst = utcoffset

    def tzname(self, moment: datetime | None, /) -> str:
        return "nowhere"


class Foreign(datetime):
    """A datetime of somebody else's type, which fails at what it is asked."""

    failure: type[BaseException] = asyncio.CancelledError

    def astimezone(self, tz: tzinfo | None = None) -> "Foreign":
        raise self.failure


class Uncounted(Foreign):
    """One that knows its zone, and cannot be counted with."""

    def astimezone(self, tz: tzinfo | None = None) -> "Uncounted":
        return self

    def fails(self, *given: object, **named: object) -> Any:
        raise self.failure

    timestamp = isoformat = __add__ = __sub__ = __format__ = strftime = fails


class Hidden:
    """What can be shown no more than told."""

    def __repr__(self) -> str:
        raise asyncio.CancelledError


class NoMoment(tzinfo):
    """A time zone whose offset is the result of a cancelled future."""

    def utcoffset(self, moment: datetime | None, /) -> timedelta | None:
        raise asyncio.CancelledError

    dst = utcoffset

    def tzname(self, moment: datetime | None, /) -> str:
        return "nowhere"


async def later() -> float:
    return 1_800_000_000.0


def raises(kind: type[BaseException]) -> Callable[[], float]:
    def now() -> float:
        raise kind

    return now


BROKEN: dict[str, Callable[[], Any]] = {
    "raises": raises(RuntimeError),
    "raises ValueError": raises(ValueError),
    "is cancelled": raises(asyncio.CancelledError),
    "None": lambda: None,
    "naive": lambda: datetime(2026, 11, 22, 12),
    "no offset": lambda: datetime(2026, 11, 22, 12, tzinfo=NoOffset()),
    "an offset that is cancelled": lambda: datetime(2026, 11, 22, 12, tzinfo=NoMoment()),
    "a type that is cancelled": lambda: Foreign(2026, 11, 22, 12, tzinfo=UTC),
    "what cannot be shown": Hidden,
    "before the calendar": lambda: datetime.min.replace(tzinfo=timezone(timedelta(hours=9))),
    "NaN": lambda: float("nan"),
    "infinite": lambda: float("inf"),
    "huge": lambda: 10**400,
    "huger": lambda: 10**5000,
    "milliseconds": lambda: 1_800_000_000_000,
    "text": lambda: "2026-11-22T12:00:00Z",
    "truth": lambda: True,
    "coroutine": later,
}
MAKERS: dict[str, Callable[[Any], object]] = {
    "session": lambda now: virtual_session(SimulatedExchange(), now=now),
    "audit": lambda now: AuditLog("never-made", now=now),
    "doctor": lambda now: asyncio.run(examine(["http://127.0.0.1:1"], now=now)),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("maker", MAKERS)
def test_a_clock_that_is_broken_at_once_is_refused_at_once(
    maker: str, broken: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is given, before a file is made or anything is sent; what it gave is told."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequest, match="now=") as caught:
        MAKERS[maker](BROKEN[broken])
    assert caught.value.__context__ is None
    assert len(str(caught.value)) < 200
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("maker", MAKERS)
def test_a_clock_that_ends_the_program_ends_it(maker: str, kind: type[BaseException]) -> None:
    """Ctrl-C while a clock is asked, by whatever it gave, is not swallowed."""

    class Ends(Foreign):
        failure = kind

    with pytest.raises(kind):
        MAKERS[maker](lambda: Ends(2026, 11, 22, 12, tzinfo=UTC))


def test_a_foreign_datetime_is_asked_once() -> None:
    """What it says is kept as Python's own: nothing that it does later comes out of a call."""
    clock = WallClock(lambda: Uncounted(2026, 11, 22, 12, tzinfo=UTC))
    clock.correct(1.0)
    assert type(clock.now()) is datetime
    assert clock.now() == NOON + timedelta(seconds=1)
    assert clock.ahead(int(NOON.timestamp() * 1000) + 2000, 0.0) == pytest.approx(2.0)


class Breaks:
    """Tells the time `times` times, and then does as the broken one."""

    def __init__(self, broken: Callable[[], Any], times: int) -> None:
        self._broken = broken
        self._left = times

    def __call__(self) -> Any:
        self._left -= 1
        return 1_800_000_000.0 + self._left if self._left >= 0 else self._broken()


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_clock_that_breaks_later_ends_the_call_with_its_account(broken: str, times: int) -> None:
    """Nothing sent is NOT_SENT, a lost answer before it UNKNOWN, with what was sent on record."""

    async def main() -> None:
        exchange, ended = SimulatedExchange(), list[Event]()
        exchange.place(BTC, "buy", "close")
        exchange.lose_before_work(times=9)
        clock = Breaks(BROKEN[broken], times)
        async with virtual_session(exchange, now=clock, on_event=ended.append) as htx:
            with pytest.raises(CancelError) as caught:
                await htx.cancel_all_trailing(BTC)
        report = caught.value.report
        assert isinstance(caught.value, NotSent if times == 1 else OutcomeUnknown)
        assert len(report.attempts) == len(exchange.arrivals) == times - 1
        assert report.ended_by.startswith("the clock given as now= ")
        assert "the clock given as now= " in str(caught.value).replace("The", "the")
        assert isinstance(ended[-1], CallEnded)
        assert ended[-1].report == report

    run(main())


@pytest.mark.parametrize("seed", range(30))
def test_a_clock_that_comes_and_goes_leaves_true_accounts(seed: int) -> None:
    """Whatever it gives at any moment of a mass cancel over faults: one report for each contract,
    each true to the book, and nothing that is raised."""

    async def main() -> None:
        chance = random.Random(seed)
        codes = [f"C{number}-USDT" for number in range(12)]
        exchange = SimulatedExchange(now=wall)
        for code in codes:
            exchange.place(code, "buy", "close")
        for fault in (exchange.lose_before_work, exchange.lose_after_work, exchange.bad_gateway):
            fault(times=chance.randrange(1, 4))
        exchange.refuse(403, contract_code=chance.choice(codes))
        is_sound, share = True, chance.choice((0.1, 0.4, 0.9))

        def now() -> Any:
            sound = is_sound or chance.random() > share
            return wall() if sound else BROKEN[chance.choice(sorted(BROKEN))]()

        async with virtual_session(exchange, now=now, account=f"clock {seed}") as htx:
            is_sound = False
            report = await htx.mass_cancel_trailing(codes, confirm=chance.random() < 0.3)
            still_open = {order.contract_code for order in exchange.open_orders()}
        assert [one.contract_code for one in report.reports] == codes
        for one in report.reports:
            if one.is_clear:
                assert one.contract_code not in still_open
            if one.outcome is Outcome.NOT_SENT:
                assert one.contract_code in still_open
            came = [a for a in exchange.arrivals if a.contract_code == one.contract_code]
            assert len(one.attempts) == sum(a.path.endswith("_cancelall") for a in came)

    run(main())


def test_warming_up_and_reading_tell_of_a_clock_that_broke() -> None:
    """They have their own ways to say that something is wrong, and raise nothing else."""

    async def main(htx: HtxSession) -> None:
        (warm,) = await htx.warm_up()
        assert warm.problem == "the clock given as now= raised RuntimeError"
        with pytest.raises(Exception, match="now= raised RuntimeError") as caught:
            await htx.open_trailing(BTC)
        assert type(caught.value).__name__ == "ReadFailed"

    async def over_http() -> None:
        async with SimulatedExchange() as exchange:
            clock = Breaks(BROKEN["raises"], 1)
            async with HtxSession(exchange.credentials, base_urls=exchange.url, now=clock) as htx:
                await main(htx)

    asyncio.run(over_http())
