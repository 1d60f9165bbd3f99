"""Whole calls under clocks that jump, loops that stall and deadlines that pass.

Wall clocks jump in virtual time, where every wait is exact. Stalls happen on `InstantLoop`, over
real sockets. Deadlines are kept on the real loops too: a call may end 50 ms after its own, not
counting what the machine took from this thread meanwhile, which `Gauge` measures.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

import pytest

from htx_async import CancelError, CancelReport, HtxSession, Outcome, RetryPolicy, TokenBucket
from htx_async.simulator import SimulatedExchange
from tests.support import instant
from tests.support.bad_connections import LOOPS, Resolver, resolving
from tests.support.endings import ending
from tests.support.fault_server import (
    OK,
    Connection,
    FaultServer,
    Script,
    answers,
    client_tls,
    deaf,
    drips,
    reply,
    resets,
    run_on,
    shared_server_tls,
    silent,
)
from tests.support.faulty_calls import BTC, LATE, SCHEMES, look_up_hangs, tireless, told
from tests.support.gauge import Gauge
from tests.support.virtual import run, virtual_session

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STALL = 1.5
JUMPS = pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(hours=1)], ids=["-1", "+1"])
MOMENTS = pytest.mark.parametrize("moment", [0.02, 0.1, 0.6, 1.1, 2.3])


def now() -> float:
    return asyncio.get_running_loop().time()


# --- the wall clock jumps ------------------------------------------------------------------------


class Wall:
    """This machine's wall clock, which jumps by `jump` at `moment` (loop time)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, jump: timedelta, moment: float) -> None:
        self._jump = jump
        self._moment = moment
        wall = self

        class Patched(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # no Self
                return wall.moment().astimezone(tz)

        monkeypatch.setattr("htx_async.session.datetime", Patched)
        monkeypatch.setattr(time, "time", self.time)

    def moment(self) -> datetime:
        jump = self._jump if now() >= self._moment else timedelta()
        return NOON + jump + timedelta(seconds=now())

    def time(self) -> float:
        return self.moment().timestamp()


class History(NamedTuple):
    """What a run of calls came to, without a word of the wall clock."""

    attempts: list[tuple[Any, ...]]
    arrivals: list[float]
    ended: float


def history(wall: Callable[[], float]) -> tuple[History, list[CancelReport]]:
    """Twelve calls with a fault of every kind that makes a call wait."""

    async def main() -> tuple[History, list[CancelReport]]:
        # All of a round trip is the answer's: what was on its way there would be stale at once.
        exchange = SimulatedExchange(now=wall, latency=0.08)
        codes = [f"C{number}-USDT" for number in range(12)]
        exchange.too_many(retry_after="1", contract_code=codes[1])
        exchange.refuse(1056, contract_code=codes[2], times=2)
        exchange.lose_after_work(contract_code=codes[3])
        exchange.late(9.0, contract_code=codes[4])
        exchange.refuse(1032, contract_code=codes[7])
        retry = RetryPolicy(random=random.Random(5).random)
        async with virtual_session(exchange, lambda: 0.0, retry=retry, attempt_timeout=1.0) as htx:
            calls = [htx.cancel_all_trailing(code, deadline=9.0) for code in codes]
            reports = await asyncio.gather(*map(ending, calls))
        attempts = [
            (report.contract_code, a.verdict, a.code, a.waited, a.wire, a.paused)
            for report in reports
            for a in report.attempts
        ]
        arrivals = [arrival.at for arrival in exchange.arrivals]
        return History(attempts, arrivals, now()), reports

    return run(main())


@JUMPS
@MOMENTS
def test_a_wall_clock_that_jumps_changes_no_wait(
    jump: timedelta, moment: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queue, pauses, back-off, time-outs and deadlines are the same to the microsecond, with this
    machine's and the exchange's clock an hour off from one moment to the next."""
    steady, _ = history(Wall(monkeypatch, timedelta(), 0.0).time)
    jumped, reports = history(Wall(monkeypatch, jump, moment).time)
    assert jumped == steady
    assert len({(a.started - NOON) // jump for r in reports for a in r.attempts}) > 1


@JUMPS
@MOMENTS
def test_a_wall_clock_that_jumps_alone_costs_requests_but_no_time(
    jump: timedelta, moment: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was signed by the wrong clock is refused and sent once more, as fast as tokens allow."""
    Wall(monkeypatch, jump, moment)

    async def main() -> None:
        exchange = SimulatedExchange(now=lambda: NOON.timestamp() + now())
        async with virtual_session(exchange) as htx:
            calls = (htx.cancel_all_trailing(f"C{n}-USDT", deadline=9.0) for n in range(12))
            reports = await asyncio.gather(*calls)
        refused = sum(len(report.attempts) - 1 for report in reports)
        assert refused <= 10
        assert len(exchange.arrivals) == 12 + refused
        assert now() <= -(-(12 + refused) // 5) * 1.082 + LATE

    run(main())


# --- the loop stalls -----------------------------------------------------------------------------


def answers_and_stalls(*, after: int = 1) -> Script:
    """Take `after` requests, answer them all, and stall the loop before an answer can be read."""
    waiting: list[Connection] = []

    async def script(connection: Connection) -> None:
        for _ in range(100):
            await connection.request()
            waiting.append(connection)
            if len(waiting) == after:
                for one in waiting:
                    one.send_now(OK)
                instant.stall(STALL)
            elif len(waiting) > after:
                connection.send_now(OK)

    return script


@SCHEMES
def test_answers_behind_a_stalled_loop_are_answers(tls: bool) -> None:
    """1.5 s without a turn, beyond attempt and deadline, with five answers in their sockets: no
    call times out, none is sent again."""

    async def main() -> None:
        context = shared_server_tls() if tls else None
        async with FaultServer(answers_and_stalls(after=5), tls=context) as server:
            trusted = client_tls() if tls else None
            async with tireless(server.url, ssl=trusted, attempt_timeout=0.5) as htx:
                reports = await asyncio.gather(
                    *(htx.cancel_all_trailing(f"C{n}-USDT", deadline=1.0) for n in range(5))
                )
            assert [len(report.attempts) for report in reports] == [1] * 5
            assert now() == pytest.approx(STALL, abs=0.2)
            assert len(server.requests) == 5

    instant.run(main())


def test_a_call_that_waits_behind_a_stalled_loop_keeps_its_turn() -> None:
    """The token comes back a second after the answer was read, not after it lay in the socket, and
    the call that waits for it goes then."""

    async def main() -> None:
        async with (
            FaultServer(answers_and_stalls()) as server,
            tireless(server.url, limiter=TokenBucket(1)) as htx,
        ):
            first, second = await asyncio.gather(
                htx.cancel_all_trailing(BTC), htx.cancel_all_trailing("ETH-USDT")
            )
        assert len(first.attempts) == len(second.attempts) == 1
        assert first.elapsed == pytest.approx(STALL, abs=LATE)
        assert second.attempts[0].waited == pytest.approx(STALL + 1.002, abs=LATE)

    instant.run(main())


def test_a_turn_that_came_while_the_loop_was_stalled_is_not_lost() -> None:
    """Token and deadline of a waiting call both fall into the stall, the token first: it goes."""

    async def main() -> None:
        async with (
            FaultServer(answers(OK)) as server,
            tireless(server.url, limiter=TokenBucket(1)) as htx,
        ):
            await told(htx)
            asyncio.get_running_loop().call_later(0.5, instant.stall, STALL)
            report = await htx.cancel_all_trailing("ETH-USDT", deadline=1.2)
        assert report.outcome is Outcome.CANCELLED
        assert report.elapsed == pytest.approx(0.5 + STALL, abs=LATE)

    instant.run(main())


def test_silence_behind_a_stalled_loop_ends_at_once() -> None:
    """No answer was in the socket: the call is over within 50 ms of the stall."""

    async def script(connection: Connection) -> None:
        await connection.request()
        instant.stall(STALL)

    async def main() -> None:
        async with FaultServer(script) as server, tireless(server.url) as htx:
            report = await ending(htx.cancel_all_trailing(BTC, deadline=1.0))
            assert report.outcome is Outcome.UNKNOWN
            assert STALL <= report.elapsed <= STALL + LATE

    instant.run(main())


# --- deadlines on the real loops -----------------------------------------------------------------


async def overrun(htx: HtxSession, deadline: float, gauge: Gauge) -> float:
    """Seconds by which a call outlives its deadline, by its own doing."""
    latest = now() + deadline
    with pytest.raises(CancelError):
        await htx.cancel_all_trailing(BTC, deadline=deadline)
    return now() - latest - gauge.lost_since(latest)


REAL: dict[str, Script] = {
    "silence": silent,
    "nothing is read": deaf,
    "drips": drips(OK, 0.02),
    "reset": resets,
    "HTML": answers(reply(b"<html>")),
    "503": answers(reply(b"", 503)),
    "429": answers(reply(b"", 429, Retry_After="0")),
}


@LOOPS
def test_deadlines_are_kept_on_a_real_loop(
    loop: str, refusing_url: str, black_hole_url: str
) -> None:
    """Calls over every kind of fault, all at once, end within 50 ms of their deadline."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            open_ = stack.enter_async_context
            urls = {"refused": refusing_url, "black hole": black_hole_url}
            for name, script in REAL.items():
                urls[name] = (await open_(FaultServer(script))).url
            handshake = await open_(FaultServer(deaf))
            urls["TLS"] = handshake.url.replace("http:", "https:")
            http = await open_(resolving(Resolver(1, look_up_hangs)))
            sessions = {
                name: await open_(tireless(url, ssl=client_tls())) for name, url in urls.items()
            }
            named = "https://api.example.test"
            sessions["look-up"] = await open_(tireless(named, http=http, ssl=client_tls()))
            gauge = Gauge()
            late = await asyncio.gather(*(overrun(htx, 0.4, gauge) for htx in sessions.values()))
            gauge.stop()
        assert [name for name, by in zip(sessions, late, strict=True) if by > LATE] == []

    run_on(loop, main())
