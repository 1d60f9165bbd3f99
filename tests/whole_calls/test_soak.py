"""Long runs: after ever so many calls with every fault nothing has grown and nothing is left."""

import asyncio
import gc
import itertools
import os
import random
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Literal

import pytest

from htx_async import CancelError, HtxSession, Outcome, ReadFailed, RetryPolicy, TokenBucket
from htx_async.enums import DirectionLike
from htx_async.events import Event
from htx_async.limits.registry import _registry
from htx_async.simulator import SimulatedExchange
from tests.support.paths import ROOT
from tests.support.virtual import SOAK, run, virtual_session

pytestmark = [pytest.mark.slow, pytest.mark.long]

CALLS = 100_000 if SOAK else 1_200
WARM_UP = 10_000 if SOAK else 600
"""Calls until every cache and table of the interpreter has its size."""

SETTLING = 200
"""Calls from the first traced allocation until growth is counted."""

BLOCK, AT_ONCE = 100, 20
MOST_GROWTH = 1_000_000
CODES = ("BTC-USDT", "ETH-USDT", "SOL-USDT", "XRP-USDT")
FILTERS: tuple[DirectionLike | None, ...] = (None, "buy", "sell")
LONG_AGO = 100.0
"""Seconds after which the exchange counts nothing of an account's any more."""


KINDS: tuple[dict[str, Any], ...] = (
    {"generation": "v1"},
    {"generation": "auto"},
    {"generation": "v5"},
    {"generation": "v1", "retry": RetryPolicy(repeat_unknown=False), "keep_warm": True},
)


class Desk:
    """Accounts that stay open, each with an exchange that is renewed: what the simulator keeps on
    record is not what the client keeps."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.calls = 0
        self.outcomes: Counter[str] = Counter()
        self.heard = 0
        self._numbers = itertools.count(len(KINDS))
        self.sessions = [self.session(kind, number) for number, kind in enumerate(KINDS)]

    def _hear(self, event: Event) -> None:
        self.heard += 1

    def session(self, kind: dict[str, Any], number: int) -> HtxSession:
        exchange = self._exchange(number, kind)
        return virtual_session(exchange, self._latency, on_event=self._hear, **kind)

    def renew(self) -> None:
        """The same accounts, with nothing on record and no fault left over."""
        for number, (session, kind) in enumerate(zip(self.sessions, KINDS, strict=True)):
            transport: Any = session._opening.transport
            transport.exchange = self._exchange(number, kind)

    def _exchange(self, number: int, kind: dict[str, Any]) -> SimulatedExchange:
        on: Literal["v1", "v5"] = "v5" if kind["generation"] == "v5" else "v1"
        return SimulatedExchange(
            access_key=f"access-{number}", secret_key=f"secret-{number}", account=on, limit=500
        )

    def _latency(self) -> float:
        return self.chance.uniform(0.001, 0.2)

    def misbehave(self, exchange: SimulatedExchange, order_id: str) -> None:
        """A fault for one of the next calls, or none."""
        faults: tuple[Callable[[], object], ...] = (
            exchange.lose_before_work,
            exchange.lose_after_work,
            exchange.truncate,
            exchange.bad_gateway,
            lambda: exchange.late(self.chance.uniform(0.5, 4.0)),
            lambda: exchange.malform(b"<html>", call="any"),
            lambda: exchange.refuse(1030, "Input error."),
            lambda: exchange.refuse(1056, "Settling."),
            lambda: exchange.refuse(1032, "Too many.", status=429),
            lambda: exchange.lose_before_work(call="any", times=3),
            lambda: exchange.reject_order(order_id, 1440),
            lambda: exchange.trigger(order_id),
        )
        if self.chance.random() < 0.5:
            self.chance.choice(faults)()

    async def call(self) -> None:
        """One call of any kind, which may be cancelled on its way."""
        htx, code = self.chance.choice(self.sessions), self.chance.choice(CODES)
        transport: Any = htx._opening.transport
        exchange: SimulatedExchange = transport.exchange
        ids = exchange.place(code, "buy", "close", self.chance.randrange(1, 3))
        self.misbehave(exchange, ids[0])
        task = asyncio.create_task(self._ended(self._any(htx, exchange, code)))
        if self.chance.random() < 0.1:
            await asyncio.sleep(self.chance.uniform(0.0, 0.3))
            task.cancel()
        await asyncio.wait([task])
        self.outcomes["interrupted" if task.cancelled() else task.result()] += 1

    def _any(self, htx: HtxSession, exchange: SimulatedExchange, code: str) -> Any:
        of, side = self.chance.random(), self.chance.choice(FILTERS)
        self.calls += 1
        if of < 0.70:
            urgent, confirm = of < 0.1, 0.1 < of < 0.2
            return htx.cancel_all_trailing(code, side, urgent=urgent, confirm=confirm)
        if of < 0.78:
            self.calls += len(CODES) - 1
            return htx.mass_cancel_trailing(CODES, confirm=of < 0.72)
        if of < 0.84:
            ids = [order.order_id for order in exchange.open_orders()]
            return htx.cancel_trailing(code, [*ids, "7"])
        if of < 0.90:
            return htx.open_trailing(code)
        if of < 0.92:
            return htx.warm_up()
        if of < 0.96:
            return htx.cross.cancel_all_trailing(code, deadline=0.15)
        return htx.trailing_history(code)

    async def _ended(self, call: Any) -> str:
        try:
            told = await call
        except CancelError as error:
            told = error.report
        except ReadFailed:
            return "read failed"
        return str(getattr(told, "outcome", "read"))

    async def visit(self) -> None:
        """A session of an account that is never seen again, closed in the middle of its calls."""
        number = next(self._numbers)
        async with self.session(KINDS[number % 3], number) as htx:
            calls = [asyncio.create_task(self._ended(htx.cancel_all_trailing(c))) for c in CODES]
            await asyncio.sleep(self.chance.uniform(0.0, 0.5))
        self.calls += len(CODES)
        self.outcomes.update(await asyncio.gather(*calls))

    async def until(self, calls: int) -> None:
        """Go on until so many calls were made, and nothing of them is left at the exchange."""
        while self.calls < calls:
            for _ in range(BLOCK // AT_ONCE):
                await asyncio.gather(self.visit(), *(self.call() for _ in range(AT_ONCE)))
            self.renew()
            await asyncio.sleep(LONG_AGO)


def in_use() -> int:
    """Bytes that Python has allocated since they are traced and not given back, rubbish not
    counted."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def timers() -> list[asyncio.TimerHandle]:
    """Those of the running loop that have yet to fire."""
    scheduled: Iterable[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]  # no other way to see them
    return [handle for handle in scheduled if not handle.cancelled()]


def test_memory_does_not_grow_with_calls_and_nothing_is_left_at_close() -> None:
    """Thousands of calls of every kind, with faults, in sessions that stay and sessions that go; in
    a process of their own, where nothing ran before."""
    program = ("-W", "error", "-c", "from tests.whole_calls.test_soak import soak; soak()")
    done = subprocess.run(
        [sys.executable, *program],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=7200 if SOAK else 600,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def soak() -> None:
    """The calls, and what is judged of them."""

    async def main() -> None:
        desk = Desk(20_260_923)
        await desk.until(WARM_UP)
        tracemalloc.start()
        # What was there before may be replaced, which looks like growth: let it be.
        await desk.until(WARM_UP + SETTLING)
        before, accounts = in_use(), len(_registry)
        await desk.until(CALLS)
        growth, more = in_use() - before, len(_registry) - accounts
        tracemalloc.stop()
        told = f"{desk.calls} calls {dict(desk.outcomes)}: {growth} bytes more, {accounts} accounts"
        print(told)
        assert growth < MOST_GROWTH, told
        assert more <= 2 * BLOCK // AT_ONCE, told
        assert {outcome.value for outcome in Outcome} <= set(desk.outcomes), told
        await asyncio.gather(*(session.aclose() for session in desk.sessions))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not timers()

    run(main())


def descriptors() -> int:
    """Files and sockets that this process has open."""
    gc.collect()
    return sum(1 for number in range(1024) if _is_open(number))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


async def _visit_over_http(exchange: SimulatedExchange, chance: random.Random) -> None:
    """A session with sockets, whose calls are lost, cut short, cancelled or ended by its close."""
    code = chance.choice(CODES)
    exchange.place(code, "buy", "close", 2)
    faults = (exchange.lose_after_work, exchange.truncate, exchange.bad_gateway)
    if chance.random() < 0.75:
        chance.choice(faults)()
    limiter, grace = TokenBucket(1000), chance.choice([0.0, 0.05])
    settings: dict[str, Any] = {"base_urls": exchange.url, "limiter": limiter, "generation": "v1"}
    htx = HtxSession(exchange.credentials, keep_warm=chance.random() < 0.3, **settings)
    calls = [asyncio.create_task(htx.cancel_all_trailing(one)) for one in CODES]
    await asyncio.sleep(chance.choice([0.0, 0.002, 0.02]))
    chance.choice(calls).cancel()
    await htx.aclose(grace)
    await asyncio.gather(*calls, return_exceptions=True)


async def test_no_socket_task_or_timer_is_left_by_sessions_on_a_network() -> None:
    """Sessions on loopback that are closed in the middle of their calls give everything back."""
    chance, sessions = random.Random(7), 1_000 if SOAK else 40
    async with SimulatedExchange(limit=100_000) as exchange:
        await _visit_over_http(exchange, chance)
    before, others = descriptors(), asyncio.all_tasks()
    async with SimulatedExchange(limit=100_000) as exchange:
        for _ in range(sessions // 4):
            await asyncio.gather(*(_visit_over_http(exchange, chance) for _ in range(4)))
    # A transport that was aborted closes its socket in the loop's next turn.
    await asyncio.sleep(0)
    assert descriptors() == before
    assert asyncio.all_tasks() == others
    assert not timers()
