"""One account, many event loops: its tokens go where the open sessions are, and never double.

With real threads and real loops over loopback, and with generated histories of loops that share
one virtual clock.
"""

import asyncio
import random
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest

from htx_async import CancelReport, HtxSession, InvalidRequest, Outcome
from htx_async.exchange.endpoints import READS
from htx_async.limits.account_limiter import AccountLimiter
from htx_async.limits.registry import Registry
from htx_async.simulator import SimulatedExchange
from tests.support.fault_server import BOUND
from tests.support.tokens import HOLD, Holder, busiest, now, use
from tests.support.user_suite import SETTLED, heard, install, run_suite
from tests.support.virtual import SOAK, VirtualLoop, _InstantSelector, virtual_session

T = TypeVar("T")

BTC = "BTC-USDT"
PATH = "/linear-swap-api/v1/swap_track_cancelall"
STATED_WAY = r"close the other, or give each a fixed part .*TokenBucket\(4\).*TokenBucket\(1\)"


class Elsewhere:
    """An event loop of its own, running in a thread of its own for as long as the block."""

    def __enter__(self) -> Self:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.start(work).result(BOUND)


@contextmanager
def exchange_and_loops(count: int) -> Iterator[tuple[SimulatedExchange, list[Elsewhere]]]:
    """A simulated exchange that serves HTTP from a thread of its own, and so many other loops."""
    with ExitStack() as stack:
        home, *loops = [stack.enter_context(Elsewhere()) for _ in range(1 + count)]
        exchange = SimulatedExchange()
        home.run(exchange.__aenter__())
        try:
            yield exchange, loops
        finally:
            home.run(exchange.__aexit__(None, None, None))


def session(exchange: SimulatedExchange, **settings: Any) -> HtxSession:
    return HtxSession(exchange.credentials, base_urls=exchange.url, generation="v1", **settings)


async def burst(htx: HtxSession, calls: int) -> list[CancelReport]:
    return await asyncio.gather(
        *(htx.cancel_all_trailing(f"C{number}-USDT") for number in range(calls))
    )


async def trade(exchange: SimulatedExchange, calls: int = 5) -> list[CancelReport]:
    """So many calls at once, of a session that is closed afterwards."""
    async with session(exchange) as htx:
        return await burst(htx, calls)


def assert_at_first_try(reports: list[CancelReport]) -> None:
    """Each was answered, and the exchange refused nothing on the way."""
    assert {report.outcome for report in reports} == {Outcome.NOTHING_TO_CANCEL}
    assert {len(report.attempts) for report in reports} == {1}


def test_a_watchdogs_thread_takes_over_from_a_closed_session() -> None:
    """Its loop gets the tokens though the first one runs on, in a second that is already spent;
    and the first loop gets them back the same way."""
    with exchange_and_loops(2) as (exchange, (strategy, watchdog)):
        for loop in (strategy, watchdog, strategy):
            assert_at_first_try(loop.run(trade(exchange)))
        assert len(exchange.arrivals) == 15
        assert exchange.busiest(1.0) == 5


def test_beside_an_open_session_the_error_says_how() -> None:
    """A watchdog while the strategy trades is told of fixed parts; with them both work within the
    limit, and the refused attempt holds nothing."""
    with exchange_and_loops(2) as (exchange, (strategy, watchdog)):
        first = session(exchange)
        strategy.run(burst(first, 1))
        with pytest.raises(InvalidRequest, match=STATED_WAY):
            watchdog.run(trade(exchange))
        assert len(exchange.arrivals) == 1
        assert_at_first_try(strategy.run(burst(first, 1)))
        strategy.run(first.aclose())
        assert_at_first_try(watchdog.run(trade(exchange, 1)))


def test_of_two_threads_that_open_at_one_instant_one_wins() -> None:
    """The other is told, and has its turn once the first has closed; over all of them the exchange
    sees five in any second."""
    with exchange_and_loops(3) as (exchange, (before, *rivals)):
        assert_at_first_try(before.run(trade(exchange)))
        instant, both_tried = threading.Barrier(2), threading.Event()
        tried: list[object] = []

        async def race() -> list[CancelReport] | InvalidRequest:
            instant.wait(BOUND)
            htx = session(exchange)
            try:
                await htx.__aenter__()
            except InvalidRequest as refused:
                return refused
            finally:
                tried.append(htx)
                if len(tried) == 2:
                    both_tried.set()
            async with htx:
                reports = await burst(htx, 6)
                await asyncio.to_thread(both_tried.wait, BOUND)
                return reports

        ended = [future.result(BOUND) for future in [rival.start(race()) for rival in rivals]]
        (refused,) = [one for one in ended if isinstance(one, InvalidRequest)]
        (won,) = [one for one in ended if isinstance(one, list)]
        assert "give each a fixed part" in str(refused)
        assert_at_first_try(won)
        loser = rivals[ended.index(refused)]
        assert_at_first_try(loser.run(trade(exchange, 4)))
        assert len(exchange.arrivals) == 15
        assert exchange.busiest(1.0) == 5


def test_threads_that_race_for_an_account_get_it_one_at_a_time() -> None:
    """A hundred accounts, raced for twice from three loops: one holds it at a time, and all of
    them together have five tokens."""
    accounts = Registry()

    async def attempt(account: str) -> tuple[AccountLimiter, Holder, float] | None:
        instant.wait(BOUND)
        holder = Holder()
        try:
            limiter = accounts.limiter(account, holder)
        except InvalidRequest:
            return None
        began = now()
        await take(limiter, 3)
        return limiter, holder, began

    async def take(limiter: AccountLimiter, count: int) -> float:
        for _ in range(count):
            await limiter.take(PATH).__aenter__()
        return limiter.earliest(PATH)

    with ExitStack() as stack:
        rivals = [stack.enter_context(Elsewhere()) for _ in range(3)]
        instant = threading.Barrier(3)
        for number in range(100):
            ended = [rival.start(attempt(f"account {number}")) for rival in rivals]
            first, rival = the_one(rivals, [future.result(BOUND) for future in ended])
            accounts.release(first[0], first[1])
            instant.reset()
            others = [one for one in rivals if one is not rival]
            winner, loser = others
            limiter = winner.run(_limiter(accounts, f"account {number}", first[1]))
            with pytest.raises(InvalidRequest):
                loser.run(_limiter(accounts, f"account {number}"))
            assert winner.run(take(limiter, 2)) > first[2] + 1.0


def the_one(rivals: list[Elsewhere], ended: list[T | None]) -> tuple[T, Elsewhere]:
    """What the only winner has, and which one that is."""
    ((rival, won),) = [(rivals[i], one) for i, one in enumerate(ended) if one is not None]
    return won, rival


async def _limiter(
    accounts: Registry, account: str, holder: Holder | None = None
) -> AccountLimiter:
    return accounts.limiter(account, holder)


def test_a_holder_that_opens_on_the_old_loop_meanwhile_is_refused() -> None:
    """Whoever is second is told, in whichever loop; the closed session stays closed."""
    with exchange_and_loops(2) as (exchange, (old, new)):
        old.run(trade(exchange, 1))
        second = session(exchange)
        new.run(second.__aenter__())
        with pytest.raises(InvalidRequest, match=STATED_WAY):
            old.run(trade(exchange, 1))
        new.run(second.aclose())
        assert_at_first_try(old.run(trade(exchange, 1)))


def test_the_old_loop_may_close_while_its_tokens_move() -> None:
    """Stopped and closed between the session's end and the next one's beginning, or just after:
    the tokens count either way."""
    with exchange_and_loops(1) as (exchange, (new,)):
        for _ in range(2):
            with Elsewhere() as old:
                old.run(trade(exchange, 5))
            assert_at_first_try(new.run(trade(exchange, 5)))
        assert exchange.busiest(1.0) == 5


def test_what_was_in_use_counts_as_used_just_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that vanished with tokens in hand leaves them to be waited for, reads and the
    broad budget too; whoever waited on the old loop is told."""
    # Between these two loops no time passes, however busy the machine is.
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    accounts = Registry()
    home, elsewhere = VirtualLoop(), VirtualLoop()

    async def begin() -> list["asyncio.Task[Any]"]:
        limiter = accounts.limiter("one")
        for _ in range(3):
            await limiter.take("/a").__aenter__()
        for _ in range(72):
            await limiter.reads.take(READS).__aenter__()
        for _ in range(2):
            await use(limiter, "/a")
        for number in range(25):
            await use(limiter, f"/{number}")
        waiting = [asyncio.ensure_future(use(limiter, "/a"))]
        await asyncio.sleep(0)
        return waiting

    async def carry_on() -> tuple[float, float, float]:
        limiter, start = accounts.limiter("one"), now()
        await use(limiter, "/b")
        broad = now() - start
        await use(limiter, "/a")
        private = now() - start
        await use(limiter.reads, READS)
        return broad, private, now() - start

    (waiting,) = home.run_until_complete(begin())
    waits = elsewhere.run_until_complete(carry_on())
    assert waits == pytest.approx((0.1, HOLD, 3.002), abs=0.02)
    with pytest.raises(InvalidRequest, match=STATED_WAY):
        home.run_until_complete(waiting)
    home.close()
    elsewhere.close()


class _SharedSelector(_InstantSelector):
    """Never waits either; all of them advance one clock."""

    def __init__(self, clock: list[float]) -> None:
        self._clock = clock
        super().__init__()

    @property
    def now(self) -> float:
        return self._clock[0]

    @now.setter
    def now(self, value: float) -> None:
        self._clock[0] = max(self._clock[0], value)


class SharedLoop(VirtualLoop):
    """One of several loops on one virtual clock."""

    def __init__(self, clock: list[float]) -> None:
        self._instant = _SharedSelector(clock)
        self._count = 0
        asyncio.SelectorEventLoop.__init__(self, self._instant)


class History:
    """A random life of one account on three loops; every call's grant at the exchange is kept."""

    def __init__(self, seed: int, clock: list[float]) -> None:
        self.random = random.Random(seed)
        self.clock = clock
        self.exchange = SimulatedExchange(
            access_key=uuid.uuid4().hex, clock=lambda: clock[0], now=time.time
        )
        self.loops = [SharedLoop(clock) for _ in range(3)]
        self.open: list[tuple[SharedLoop, HtxSession]] = []
        self.refused = self.moved = 0
        self.last: SharedLoop | None = None

    def step(self) -> None:
        acts: list[Callable[[], None]] = [self.opens, self.opens, self.calls, self.calls]
        acts += [self.closes, self.closes_a_loop]
        self.random.choice(acts)()

    def opens(self) -> None:
        loop = self.random.choice(self.loops)
        htx = virtual_session(self.exchange, self.latency, account=f"account {id(self)}")
        elsewhere = [one for one, _ in self.open if one is not loop]
        if elsewhere:
            with pytest.raises(InvalidRequest, match="give each a fixed part"):
                loop.run_until_complete(htx.__aenter__())
            self.refused += 1
        else:
            loop.run_until_complete(htx.__aenter__())
            self.moved += self.last not in (None, loop)
            self.last = loop
            self.open.append((loop, htx))

    def calls(self) -> None:
        if self.open:
            loop, htx = self.random.choice(self.open)
            loop.run_until_complete(self.burst(htx))

    async def burst(self, htx: HtxSession) -> None:
        """Some calls at once, one of which may be given up, or lose its answer."""
        if self.random.random() < 0.2:
            self.exchange.lose_after_work()
        calls = [
            asyncio.ensure_future(htx.cancel_all_trailing(f"C{number}-USDT"))
            for number in range(self.random.randint(1, 9))
        ]
        if self.random.random() < 0.3:
            await asyncio.sleep(self.random.random())
            calls[0].cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        for one in ended:
            assert isinstance(one, CancelReport | asyncio.CancelledError), one

    def closes(self) -> None:
        if self.open:
            loop, htx = self.open.pop(self.random.randrange(len(self.open)))
            loop.run_until_complete(htx.aclose())

    def closes_a_loop(self) -> None:
        """Sessions are left open on it, or closed from elsewhere afterwards."""
        number = self.random.randrange(3)
        loop, self.loops[number] = self.loops[number], SharedLoop(self.clock)
        loop.close()
        self.last = None if self.last is loop else self.last
        for one in [one for one in self.open if one[0] is loop]:
            self.open.remove(one)
            if self.random.random() < 0.5:
                self.loops[number].run_until_complete(one[1].aclose())

    def latency(self) -> float:
        return self.random.random() * 0.2

    def end(self) -> None:
        for loop, htx in self.open:
            loop.run_until_complete(htx.aclose())
        for loop in self.loops:
            loop.close()


def test_no_history_of_loops_and_sessions_doubles_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened, used, cancelled, closed on loops that come and go: a session opens exactly when no
    other loop has one open, and the exchange, whose window slides, refuses nothing."""
    refused = moved = 0
    for seed in range(400 if SOAK else 60):
        clock = [0.0]
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda clock=clock: clock[0])
            history = History(seed, clock)
            for _ in range(30):
                history.step()
            history.end()
        assert busiest_of(history.exchange) <= 5, seed
        refused, moved = refused + history.refused, moved + history.moved
    assert min(refused, moved) > 50


def busiest_of(exchange: SimulatedExchange) -> int:
    return busiest([one.at for one in exchange.arrivals] or [0.0])


SCOPES = """
import pytest
import pytest_asyncio
from htx_async import HtxSession
from htx_async.simulator import SimulatedExchange

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def exchange():
    async with SimulatedExchange() as exchange:
        async with HtxSession(exchange.credentials, base_urls=exchange.url) as htx:
            await htx.cancel_all_trailing("BTC-USDT")
        yield exchange

@pytest.mark.asyncio(loop_scope="session")
async def test_in_the_session_loop(exchange):
    async with HtxSession(exchange.credentials, base_urls=exchange.url) as htx:
        await htx.cancel_all_trailing("BTC-USDT")

@pytest.mark.asyncio
async def test_in_a_loop_of_its_own(exchange):
    async with HtxSession(exchange.credentials) as htx:
        assert htx.plan(["BTC-USDT"]).calls == 1

@pytest.mark.asyncio(loop_scope="session")
async def test_in_the_session_loop_again(exchange):
    async with HtxSession(exchange.credentials, base_urls=exchange.url) as htx:
        await htx.cancel_all_trailing("BTC-USDT")
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_suite_may_use_loops_of_several_scopes(tmp_path: Any) -> None:
    """pytest-asyncio keeps the session's loop open beside those of the functions: each test opens
    its own session on the same account and closes it."""
    install(tmp_path)
    done = run_suite(tmp_path, SCOPES, *SETTLED)
    assert done.returncode == 0, heard(done)
    assert "3 passed" in done.stdout


def test_a_notebook_whose_loop_stays_open_shares_with_a_script(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cell in the notebook's loop, then `asyncio.run` in a thread, then another cell."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    exchange = SimulatedExchange(access_key=uuid.uuid4().hex, clock=lambda: clock[0])
    notebook, script = SharedLoop(clock), SharedLoop(clock)

    async def cell() -> list[CancelReport]:
        async with virtual_session(exchange) as htx:
            return await burst(htx, 5)

    for loop in (notebook, script, notebook):
        assert_at_first_try(loop.run_until_complete(cell()))
    assert busiest_of(exchange) == 5
    notebook.close()
    script.close()
