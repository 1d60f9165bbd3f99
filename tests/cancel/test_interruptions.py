"""Guards that are interrupted in every way there is, over networks that are sick for a while."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

import aiohttp
import anyio
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st

from htx_async import HtxSession, Outcome
from htx_async.aio.isolation import Withdrawn, isolated
from htx_async.aio.tasks import Group, outlast, own_task
from htx_async.cancel.guard import CancelGuard
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import SOAK, VirtualLoop, run, virtual_session

CODES = tuple(f"C{number}-USDT" for number in range(7))


def now() -> float:
    return asyncio.get_running_loop().time()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def with_orders() -> SimulatedExchange:
    exchange = SimulatedExchange()
    for code in CODES:
        exchange.place(code, "sell", "close", 2)
    return exchange


def cancel_all_others() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


# Random interruptions ----------------------------------------------------------------------------


class Interruption(NamedTuple):
    """Who is interrupted `at` loop time, and how often in a row, one turn apart."""

    at: float
    who: str
    times: int


class Story(NamedTuple):
    """How two guards run, how the first one's block ends, and what happens meanwhile."""

    shape: str
    is_session_shared: bool
    leave: str
    interruptions: list[Interruption]
    faults: list[tuple[str, int]]
    latency: float


interruptions = st.builds(
    Interruption,
    at=st.floats(0, 2.5),
    who=st.sampled_from(["strategy", "everybody", "main", "aclose", "scope"]),
    times=st.integers(1, 40),
)
stories = st.builds(
    Story,
    shape=st.sampled_from(["gather", "group", "wait", "scope", "wait_for"]),
    is_session_shared=st.booleans(),
    leave=st.sampled_from(["end", "fail", "wait"]),
    interruptions=st.lists(interruptions, max_size=5),
    # Fewer than the four requests that a call has.
    faults=st.lists(st.tuples(st.sampled_from(CODES), st.integers(1, 2)), max_size=4),
    latency=st.sampled_from([0.0, 0.04, 0.3]),
)


class Run:
    """Two strategies, each with a guard, as the story has it."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.exchange = with_orders()
        for code, times in dict(story.faults).items():
            self.exchange.lose_after_work(times=times, contract_code=code)
        self.guards: list[CancelGuard] = []
        self.sessions: list[HtxSession] = []
        self.strategies: list[asyncio.Task[None]] = []
        self.scope: anyio.CancelScope | None = None

    def session(self) -> HtxSession:
        latency = self.story.latency
        self.sessions.append(virtual_session(self.exchange, latency=lambda: latency))
        return self.sessions[-1]

    async def strategy(self, shared: HtxSession | None, codes: tuple[str, ...], end: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.strategies.append(task)
        htx = shared or self.session()
        async with htx.cancel_on_exit(codes) as guard:
            self.guards.append(guard)
            await (asyncio.sleep(0.5) if end != "wait" else asyncio.Event().wait())
            if end == "fail":
                raise ValueError("the strategy failed")

    async def together(self, shared: HtxSession | None) -> None:
        works = [
            self.strategy(shared, CODES[:3], self.story.leave),
            self.strategy(shared, CODES[3:], "wait"),
        ]
        if self.story.shape == "gather":
            await asyncio.gather(*works)
        elif self.story.shape == "wait":
            tasks = [asyncio.create_task(work) for work in works]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        elif self.story.shape == "wait_for":
            tasks = [asyncio.create_task(asyncio.wait_for(work, 1.0)) for work in works]
            await asyncio.wait(tasks)
        elif self.story.shape == "group":
            async with asyncio.TaskGroup() as group:
                for work in works:
                    group.create_task(work)
        else:
            async with anyio.create_task_group() as nursery:
                self.scope = nursery.cancel_scope
                for work in works:
                    nursery.start_soon(_awaiting(work))

    def interrupt(self, interruption: Interruption, main: "asyncio.Task[None]") -> None:
        if interruption.who == "strategy":
            for task in self.strategies[:1]:
                task.cancel()
        elif interruption.who == "everybody":
            for task in asyncio.all_tasks(main.get_loop()):
                # Not what closes the loop itself, which nobody else knows.
                if "shutdown" not in repr(task.get_coro()):
                    task.cancel()
        elif interruption.who == "main":
            main.cancel()
        elif interruption.who == "aclose" and not main.done():
            self.closing = [main.get_loop().create_task(htx.aclose()) for htx in self.sessions]
        elif interruption.who == "scope" and self.scope is not None:
            self.scope.cancel()
        if interruption.times > 1:
            again = interruption._replace(times=interruption.times - 1)
            main.get_loop().call_soon(self.interrupt, again, main)

    async def main(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        for interruption in self.story.interruptions:
            asyncio.get_running_loop().call_at(interruption.at, self.interrupt, interruption, task)
        # The last thing that ends it, should nothing else.
        asyncio.get_running_loop().call_at(3.0, task.cancel)
        if self.story.is_session_shared:
            async with self.session() as htx:
                await self.together(htx)
        else:
            await self.together(None)


def _awaiting(work: Coroutine[Any, Any, None]) -> Callable[[], Coroutine[Any, Any, None]]:
    return lambda: work


@settings(max_examples=3000 if SOAK else 60, deadline=None)
@given(stories)
def test_no_interruption_leaves_a_guarded_order_or_a_false_account(story: Story) -> None:
    """The exchange is there and well, but for answers that are lost: every guard that was entered
    has done its work when the loop has ended, and its account agrees with the book."""
    told = Run(story)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        # Whatever ends it: what counts is what is left.
        runner.get_loop().set_exception_handler(lambda loop, context: None)
        with suppress(Exception, asyncio.CancelledError, BaseExceptionGroup):
            runner.run(told.main())
    still_open = {order.contract_code for order in told.exchange.open_orders()}
    for guard in told.guards:
        assert guard.report is not None
        for report in guard.report.reports:
            assert report.contract_code not in still_open, story
            assert report.outcome in (Outcome.CANCELLED, Outcome.CLEAR_AFTER_RETRY), story
    assert told.exchange.busiest() <= 5


# anyio -------------------------------------------------------------------------------------------


class CountingLoop(VirtualLoop):
    """Counts its turns."""

    turns = 0

    def _run_once(self) -> None:
        self.turns += 1
        super()._run_once()  # type: ignore[misc]  # asyncio's own step, which typeshed leaves out


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("what", ["guard", "aclose"])
def test_a_cancelled_scope_of_anyio_costs_no_busy_loop(when: str, what: str) -> None:
    """It repeats its cancellation in every turn; the guard waits behind a shield of its own."""
    exchange = with_orders()

    async def main() -> None:
        async with virtual_session(exchange) as htx:
            async with anyio.create_task_group() as group:
                if when == "before":
                    group.cancel_scope.cancel()
                else:
                    asyncio.get_running_loop().call_at(0.5, group.cancel_scope.cancel)
                async with htx.cancel_on_exit(CODES):
                    if what == "aclose":
                        await htx.aclose()
                    await anyio.sleep(0.4)
            assert group.cancel_scope.cancelled_caught or when == "meanwhile"

    loop = CountingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    assert not exchange.open_orders()
    assert loop.turns < 1000


# Whose tasks are cancelled, too ------------------------------------------------------------------


class SlowResolver(AbstractResolver):
    """Looks a name up in a moment."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        await asyncio.sleep(0.05)
        here: ResolveResult = {
            "hostname": host,
            "host": "127.0.0.1",
            "port": port,
            "family": 2,
            "proto": 0,
            "flags": 0,
        }
        return [here]

    async def close(self) -> None:
        pass


async def test_a_look_up_that_is_cancelled_is_a_lost_attempt(exchange: SimulatedExchange) -> None:
    """The task that looks the name up is aiohttp's; the call is not cancelled, and asks again."""
    exchange.place("BTC-USDT", "buy", "close")
    port = exchange.url.rpartition(":")[2]
    connector = aiohttp.TCPConnector(resolver=SlowResolver())
    async with aiohttp.ClientSession(connector=connector) as http:
        url = f"http://localhost:{port}"
        async with HtxSession(exchange.credentials, base_urls=url, http=http) as htx:
            call = asyncio.create_task(htx.cancel_all_trailing("BTC-USDT"))
            looked_up: list[asyncio.Task[Any]] = []
            async with asyncio.timeout(10):
                while not looked_up:
                    await asyncio.sleep(0.001)
                    looked_up = [t for t in asyncio.all_tasks() if "resolve" in repr(t.get_coro())]
            looked_up[0].cancel()
            report = await call
    assert report.outcome is Outcome.CANCELLED
    assert [attempt.sent for attempt in report.attempts] == [False, True]
    assert "was cancelled by others" in report.attempts[0].message


async def test_a_guard_outlives_the_end_of_every_task_over_http(
    exchange: SimulatedExchange,
) -> None:
    """Cold connections, look-ups and all, while every task is cancelled for a while."""
    port = exchange.url.rpartition(":")[2]
    for code in CODES[:3]:
        exchange.place(code, "buy", "close")
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo

    async def slowly(*args: Any, **options: Any) -> Any:
        await asyncio.sleep(0.05)
        return await look_up(*args, **options)

    loop.getaddrinfo = slowly  # type: ignore[method-assign]  # of this test's loop
    settings: dict[str, Any] = {"base_urls": f"http://localhost:{port}", "generation": "v1"}
    async with HtxSession(exchange.credentials, **settings) as htx:
        others = asyncio.all_tasks()

        async def strategy() -> None:
            async with htx.cancel_on_exit(CODES[:3]):
                await asyncio.Event().wait()

        task = asyncio.create_task(strategy())
        await turns(2)
        for _ in range(10):
            for other in asyncio.all_tasks() - others:
                # The exchange's own are none of this process's, as a rule.
                if "RequestHandler" not in repr(other.get_coro()):
                    other.cancel()
            await asyncio.sleep(0.01)
        await asyncio.wait([task])
    assert task.cancelled()
    assert not exchange.open_orders()
    assert len(exchange.arrivals) == 3


def test_a_connection_is_kept_warm_whoever_cancels_every_task() -> None:
    """The next use comes all the same, and closing ends it."""

    async def main() -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, keep_warm=True):
            await asyncio.sleep(5)
            cancel_all_others()
            await asyncio.sleep(5.01)
            seen = len(exchange.arrivals)
            cancel_all_others()
            await asyncio.sleep(25)
            assert len(exchange.arrivals) >= seen + 4
        seen = len(exchange.arrivals)
        await asyncio.sleep(30)
        assert len(exchange.arrivals) == seen

    run(main())


def test_a_record_that_is_being_written_is_not_lost_with_every_task() -> None:
    """The guard's calls wait for their records, and neither is interrupted."""

    class Scribe:
        def __init__(self) -> None:
            self.written_down = 0

        def __call__(self, event: object) -> None:
            pass

        async def written(self, call: int) -> str:
            await asyncio.sleep(0.03)
            self.written_down += 1
            return ""

    async def main() -> None:
        exchange, scribe = with_orders(), Scribe()
        async with virtual_session(exchange, on_event=scribe) as htx:

            async def strategy() -> None:
                async with htx.cancel_on_exit(CODES[:5]) as guard:
                    guards.append(guard)

            guards: list[CancelGuard] = []
            task = asyncio.create_task(strategy())
            for _ in range(300):
                await asyncio.sleep(0.001)
                cancel_all_others()
            await asyncio.wait([task])
        assert guards[0].report is not None
        assert guards[0].report.is_clear
        assert not guards[0].report.warnings
        assert scribe.written_down == 5

    run(main())


# The parts ---------------------------------------------------------------------------------------


def test_an_own_task_is_its_holder_s_alone() -> None:
    """The loop's lists do not have it, `cancel` works, and no task factory makes it."""

    async def main() -> None:
        made: list[object] = []
        loop = asyncio.get_running_loop()

        def factory(loop: asyncio.AbstractEventLoop, coro: Any, **more: Any) -> asyncio.Task[Any]:
            made.append(coro)
            return asyncio.Task(coro, loop=loop, **more)

        loop.set_task_factory(factory)
        task = own_task(asyncio.sleep(1, "result"))
        assert task not in asyncio.all_tasks()
        assert not made
        assert await task == "result"
        task = own_task(asyncio.sleep(1, "result"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


async def together(*works: Coroutine[Any, Any, object]) -> None:
    async with Group() as group:
        for work in works:
            group.begin(work)


def test_a_group_waits_for_all_and_raises_what_the_first_raised() -> None:
    """One that fails ends no other; a cancellation ends all, before it comes out."""

    async def main() -> None:
        ended: list[int] = []

        async def work(number: int, failure: Exception | None = None) -> None:
            try:
                await asyncio.sleep(number)
                if failure is not None:
                    raise failure
            finally:
                ended.append(number)

        failure = KeyError("the second")
        with pytest.raises(KeyError) as caught:
            await together(work(3), work(1, failure), work(2))
        assert caught.value is failure
        assert ended == [1, 2, 3]
        ended.clear()
        task = asyncio.create_task(together(work(5), work(6)))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert sorted(ended) == [5, 6]

    run(main())


def test_a_wait_that_outlasts_returns_the_first_cancellation() -> None:
    """That very object, when what it waits for is over; and tells that one came."""

    async def main() -> None:
        felt: list[float] = []
        ended = asyncio.get_running_loop().create_future()

        async def waiting() -> asyncio.CancelledError | None:
            return await outlast(ended, lambda: felt.append(now()))

        task = asyncio.create_task(waiting())
        for count in range(5):
            await asyncio.sleep(1)
            task.cancel(f"number {count}")
        asyncio.get_running_loop().call_later(3, ended.set_result, None)
        cancelled = await task
        assert cancelled is not None
        assert cancelled.args == ("number 0",)
        assert felt == [pytest.approx(1.0, abs=0.01)]
        assert now() == pytest.approx(8.0, abs=0.01)
        assert await outlast(ended) is None

    run(main())


async def _end_of(other: asyncio.Task[None]) -> None:
    await other


def test_only_cancellations_of_the_task_itself_pass() -> None:
    """What another task's cancellation does to a wait is an error like any other."""

    async def main() -> None:
        other = asyncio.create_task(asyncio.sleep(60))
        asyncio.get_running_loop().call_later(1, other.cancel)
        with pytest.raises(Withdrawn):
            await isolated(_end_of(other), lambda: None)
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(1, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await isolated(asyncio.sleep(60), lambda: None)
        task.uncancel()

    run(main())


def test_a_guard_that_takes_long_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """With the seconds that whoever runs the process has to give it; a short one is silent."""

    async def main() -> None:
        async with virtual_session(SimulatedExchange()) as htx:
            htx.cancel_on_exit([f"C{number}-USDT" for number in range(100)])
            htx.cancel_on_exit([f"C{number}-USDT" for number in range(230)], deadline=20.0)
            assert len(caplog.records) == 1
            guard = htx.cancel_on_exit([f"C{number}-USDT" for number in range(125)])
            async with guard:
                pass
            assert len(caplog.records) == 2

    run(main())
    short, long = (record.getMessage() for record in caplog.records)
    assert "about 50 s" in short
    assert "deadline of 20 s" in short
    assert "about 27 s" in long
    assert "47 s" in long
