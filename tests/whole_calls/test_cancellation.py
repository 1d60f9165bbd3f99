"""Calls that are interrupted after each number of loop turns, in each way there is.

In virtual time the interruption comes between two turns of the loop, after 0, 1, 2 ... of them
until the work has ended by itself: so every await is met, and every turn in which an answer, a
token or the end of a pause comes. Over loopback the same, with the sockets looked at.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, NamedTuple

import pytest

from htx_async import (
    ALL_CONTRACTS,
    CancelError,
    CancelReport,
    Credentials,
    HtxError,
    HtxSession,
    Outcome,
    OutcomeUnknown,
    RetryPolicy,
    SessionClosed,
    TokenBucket,
)
from htx_async.cancel.guard import CancelGuard
from htx_async.events import AttemptEnded, CallEnded, CallStarted, Event, TokenGranted
from htx_async.simulator import SimulatedExchange
from tests.support.fault_server import Connection, FaultServer, answers, as_json, bounded
from tests.support.virtual import VirtualLoop, own_tasks_left, virtual_session

pytestmark = pytest.mark.slow

BTC, NEXT = "BTC-USDT", "X-USDT"
CODES = (BTC, *(f"C{number}-USDT" for number in range(6)))
KEYS = Credentials("access-key", "secret-key")
CANCEL_ALL = "/linear-swap-api/v1/swap_track_cancelall"
START = 1_700_000_000
MOST_TURNS = 400
AT_ONCE = 0.3
"""Seconds for a call that waits for nothing: one request of 0.08 s, or a few."""
HELD = 1.003
"""Seconds after which the token of a request that was given up is back."""


class TurnLoop(VirtualLoop):
    """Does something between two of its turns, and knows its timers and tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.left = -1
        self._act: Callable[[], object] = int
        self._timers: list[asyncio.TimerHandle] = []
        self._tasks: list[asyncio.Task[Any]] = []

    def after(self, turns: int, act: Callable[[], object]) -> None:
        """Call `act` before the turn that comes after so many others."""
        self.left, self._act = turns, act

    def spare(self) -> bool:
        """Forget what was to be done; whether it was still to come."""
        is_left, self.left = self.left >= 0, -1
        return is_left

    def call_at(  # type: ignore[override]  # whatever it takes goes on as it is
        self, *args: Any, **options: Any
    ) -> asyncio.TimerHandle:
        timer = super().call_at(*args, **options)
        self._timers.append(timer)
        return timer

    def create_task(self, *args: Any, **options: Any) -> asyncio.Task[Any]:
        task = super().create_task(*args, **options)
        self._tasks.append(task)
        return task

    def timers_left(self) -> list[asyncio.TimerHandle]:
        """Those that would still fire."""
        return [t for t in self._timers if not t.cancelled() and t.when() > self.time()]

    def tasks_left(self) -> list[asyncio.Task[Any]]:
        """Those that have not ended, but for the one that asks."""
        listed = [t for t in self._tasks if not t.done() and t is not asyncio.current_task()]
        return [*listed, *own_tasks_left()]

    def _run_once(self) -> None:
        if self.left == 0:
            self._act()
        self.left -= 1
        super()._run_once()  # type: ignore[misc]  # asyncio's own step, which typeshed leaves out


def now() -> float:
    return asyncio.get_running_loop().time()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Listener:
    """Hears a session's events, and keeps a record that is safe a moment later."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    async def written(self, call: int) -> str:
        await asyncio.sleep(0.001)
        return ""

    def calls(self, kind: type[CallStarted | TokenGranted | AttemptEnded | CallEnded]) -> list[int]:
        return sorted(event.call for event in self.events if isinstance(event, kind))

    def reports(self) -> list[CancelReport]:
        return [event.report for event in self.events if isinstance(event, CallEnded)]


class Stage:
    """An exchange with orders of each contract, and one session of it, in virtual time."""

    def __init__(self, work: "Work") -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TurnLoop)
        self.loop, clock = loop, loop.time
        self.exchange = SimulatedExchange(
            clock=clock, now=lambda: START + clock(), contracts=[*work.codes, NEXT], **work.account
        )
        count = 11 if work.many else 1
        self.placed = {c: set(self.exchange.place(c, "buy", "close", count)) for c in work.codes}
        self.heard = Listener()
        self.guards: list[CancelGuard] = []
        self.settings = {
            "now": lambda: START + clock() + work.skew,
            "retry": RetryPolicy(random=lambda: 0.9),
            "on_event": self.heard,
            **work.settings,
        }
        self.htx = self.session()
        self.is_closed = False

    def session(self) -> HtxSession:
        return virtual_session(self.exchange, **self.settings)

    def guarded(self, code: str) -> list[CancelReport]:
        """What the guard tells of a contract."""
        told = [guard.report for guard in self.guards if guard.report is not None]
        return [one for report in told for one in report.reports if one.contract_code == code]


class Work(NamedTuple):
    """What is interrupted. `prepare`: beforehand. `wait`: seconds until a call after it ends."""

    do: Callable[[Stage], Coroutine[Any, Any, object]]
    prepare: Callable[[Stage], Awaitable[object]] | None = None
    account: Mapping[str, Any] = {}
    settings: Mapping[str, Any] = {}
    wait: float = AT_ONCE
    skew: float = 0.0
    codes: tuple[str, ...] = (BTC,)
    many: bool = False


async def ids(stage: Stage) -> object:
    return await stage.htx.cancel_trailing(BTC, sorted(stage.placed[BTC]))


async def guarded(stage: Stage) -> object:
    async with stage.htx.cancel_on_exit(stage.placed) as guard:
        stage.guards.append(guard)
    return guard.report


async def use_all_tokens(stage: Stage) -> None:
    limiter = stage.htx._ready().trades
    async with AsyncExitStack() as held:
        for _ in range(5):
            await held.enter_async_context(limiter.take(CANCEL_ALL))


async def pause(stage: Stage) -> None:
    stage.htx._ready().trades.pause(CANCEL_ALL, 0.5)


async def fail_twice(stage: Stage) -> None:
    stage.exchange.bad_gateway(times=2, contract_code=BTC)


async def be_late(stage: Stage) -> None:
    stage.exchange.late(5.0, times=2, contract_code=BTC)


async def until_the_deadline(stage: Stage) -> None:
    """Lasts for one attempt and a part of the next, and then knows nothing."""
    with suppress(OutcomeUnknown):
        await stage.htx.cancel_all_trailing(BTC, deadline=0.4)


async def trouble(stage: Stage) -> None:
    stage.exchange.bad_gateway(contract_code=BTC)
    stage.exchange.lose_after_work(contract_code="C1-USDT")
    stage.exchange.refuse(1032, contract_code="C2-USDT")


def cancel_all(**settings: Any) -> Callable[[Stage], Coroutine[Any, Any, object]]:
    return lambda stage: stage.htx.cancel_all_trailing(BTC, **settings)


def mass(**settings: Any) -> Callable[[Stage], Coroutine[Any, Any, object]]:
    return lambda stage: stage.htx.mass_cancel_trailing(stage.placed, **settings)


SOON = HELD + AT_ONCE
WORKS = {
    "v1": Work(cancel_all()),
    "v5": Work(cancel_all(), account={"account": "v5"}, settings={"generation": "v5"}, many=True),
    "moved account": Work(
        cancel_all(),
        account={"account": "v5", "v1_variant": "empty"},
        settings={"generation": "auto"},
    ),
    "confirm": Work(cancel_all(confirm=True)),
    "mass": Work(mass(), trouble, codes=CODES, wait=2 * SOON),
    "until clear": Work(mass(until_clear=True), codes=CODES[:2], wait=SOON),
    "every contract": Work(
        lambda stage: stage.htx.mass_cancel_trailing(ALL_CONTRACTS), codes=CODES[:3], wait=SOON
    ),
    "by ids": Work(ids, many=True),
    "open orders": Work(lambda stage: stage.htx.open_trailing(BTC)),
    "warm-up": Work(lambda stage: stage.htx.warm_up()),
    "guard": Work(guarded, codes=CODES[:3], wait=SOON),
    "waiting for a token": Work(cancel_all(), use_all_tokens, wait=SOON),
    "back-off": Work(cancel_all(), fail_twice),
    "deadline": Work(until_the_deadline, be_late, settings={"attempt_timeout": 0.25}),
    "paused": Work(cancel_all(), pause, wait=0.5 + AT_ONCE),
    "clock off": Work(cancel_all(), skew=-400.0),
}


# Ways to interrupt. Each tells whether the interruption came before the work had ended by itself,
# and asserts that it came out as asyncio's rules have it.


async def by_cancel(stage: Stage, work: Work, turn: int, again: int | None = None) -> bool:
    """`task.cancel()`, and once more `again` turns later."""
    task = asyncio.create_task(work.do(stage))
    felt: list[bool] = []

    def cancel() -> None:
        felt.append(task.cancel())
        if again is not None and len(felt) == 1:
            stage.loop.after(again, cancel)

    stage.loop.after(turn, cancel)
    await asyncio.wait([task])
    stage.loop.spare()
    assert task.cancelled() is bool(felt and felt[0])
    return task.cancelled()


async def by_timeout(stage: Stage, work: Work, turn: int) -> bool:
    """`asyncio.timeout` around it, which expires in that turn."""
    limit, is_late, is_timeout = asyncio.timeout(None), True, False
    try:
        async with limit:
            stage.loop.after(turn, lambda: limit.reschedule(now()))
            try:
                await work.do(stage)
            finally:
                is_late = stage.loop.spare()
    except TimeoutError:
        is_timeout = True
    assert is_timeout is limit.expired()
    return not is_late


async def by_sibling(stage: Stage, work: Work, turn: int) -> bool:
    """A sibling in its `TaskGroup` fails; its error comes out alone."""
    failing = stage.loop.create_future()

    async def sibling() -> None:
        await failing

    def fail() -> None:
        if not failing.done():
            failing.set_exception(KeyError("sibling"))

    def end(_: object) -> None:
        if not failing.done():
            failing.set_result(None)

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(work.do(stage)).add_done_callback(end)
            group.create_task(sibling())
            stage.loop.after(turn, fail)

    # In a task of its own: asyncio's group leaves a request to cancel on the one that it is in.
    (error,) = await asyncio.gather(asyncio.create_task(both()), return_exceptions=True)
    if error is not None:
        assert isinstance(error, ExceptionGroup)
        assert [repr(each) for each in error.exceptions] == ["KeyError('sibling')"]
    stage.loop.spare()
    assert (error is not None) is (failing.exception() is not None)
    return error is not None


async def by_closing(stage: Stage, work: Work, turn: int) -> bool:
    """`aclose()` from another task: at once, but for a guard's work; the work has its typed end."""
    task = asyncio.create_task(work.do(stage))
    closing: list[asyncio.Task[float]] = []

    async def closed() -> float:
        began = now()
        await stage.htx.aclose()
        return now() - began

    def close() -> None:
        closing.append(stage.loop.create_task(closed()))

    stage.loop.after(turn, close)
    await asyncio.wait([task])
    stage.loop.spare()
    for closer in closing:
        assert await closer < (work.wait if stage.guards else 0.01)
        stage.is_closed = True
    error = task.exception()
    assert error is None or (closing and isinstance(error, HtxError))
    if isinstance(error, CancelError):
        assert error.report in stage.heard.reports()
    return bool(closing)


Way = Callable[[Stage, Work, int], Coroutine[Any, Any, bool]]

WAYS: dict[str, tuple[Way, int]] = {
    "cancel": (by_cancel, 1),
    "aclose": (by_closing, 1),
    # These reach the work as a cancellation, so a part of the turns is enough.
    "timeout": (by_timeout, 3),
    "sibling": (by_sibling, 3),
}
"""And after every how many turns."""


async def interrupted(work: Work, way: Way, turn: int) -> tuple[bool, list[Outcome]]:
    """Whether `turn` came before the end, and what the listener was told; all else is asserted."""
    stage = Stage(work)
    if work.prepare is not None:
        await work.prepare(stage)
    came = await way(stage, work, turn)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    # Those that were cancelled and not waited for have their last turns.
    await turns(3)
    assert stage.loop.tasks_left() == []
    assert_true(stage)
    if work.prepare not in (use_all_tokens, pause):
        assert_unsent_tokens_are_back(stage)
    await assert_goes_on(stage, work)
    return came, [report.outcome for report in stage.heard.reports()]


def assert_true(stage: Stage) -> None:
    """Every call that began has ended, and its account agrees with the exchange's book."""
    heard, exchange = stage.heard, stage.exchange
    assert heard.calls(CallStarted) == heard.calls(CallEnded)
    assert heard.calls(TokenGranted) == heard.calls(AttemptEnded)
    for code, placed in stage.placed.items():
        still_open = {order.order_id for order in exchange.open_orders(code)}
        commands = sum(
            one.contract_code == code and "cancel" in one.path for one in exchange.arrivals
        )
        reports = [report for report in heard.reports() if report.contract_code == code]
        assert commands <= sum(attempt.sent for report in reports for attempt in report.attempts)
        for report in (*reports, *stage.guarded(code)):
            assert report.outcome is not Outcome.NOT_SENT or not any(
                a.sent for a in report.attempts
            )
            assert set(report.successes) <= placed - still_open
            assert not (report.is_clear and still_open)
        assert not commands or Outcome.NOT_SENT not in {r.outcome for r in stage.guarded(code)}


def assert_unsent_tokens_are_back(stage: Stage) -> None:
    """At once, all but one for each request that was sent."""
    sent = sum(attempt.sent for report in stage.heard.reports() for attempt in report.attempts)
    if not stage.is_closed and sent < 5:
        limiter: Any = stage.htx._ready().trades
        for path in paths(limiter):
            assert limiter.foresee(path, 5 - sent) == pytest.approx(now(), abs=1e-4)


async def assert_goes_on(stage: Stage, work: Work) -> None:
    """The next call goes at once, every token comes back, and nothing is sent by what was ended."""
    sent = len(stage.exchange.arrivals)
    if stage.is_closed:
        with pytest.raises(SessionClosed):
            await stage.htx.cancel_all_trailing(NEXT)
    async with stage.session() if stage.is_closed else stage.htx as htx:
        resources = htx._ready()
        buckets: list[tuple[Any, int]] = [(resources.trades, 5), (resources.reads, 72)]
        began = now()
        report = await htx.cancel_all_trailing(NEXT)
        assert report.outcome is Outcome.NOTHING_TO_CANCEL
        assert now() - began < work.wait
        await asyncio.sleep(3 * HELD)
        for bucket, count in buckets:
            for path in paths(bucket):
                assert bucket.waiting(path) == 0
                assert bucket.foresee(path, count) == pytest.approx(now(), abs=1e-4)
    assert {one.contract_code for one in stage.exchange.arrivals[sent:]} <= {NEXT}
    await turns(3)
    assert stage.loop.timers_left() == []
    assert stage.loop.tasks_left() == []


def paths(limiter: Any) -> list[str]:
    """What somebody took a token for."""
    return list(getattr(limiter, "_endpoints", limiter)._queues)


def sweep(work: Work, way: Way, step: int = 1) -> set[Outcome]:
    """Interrupt after 0, `step`, ... turns until the work ends by itself; what was heard."""
    heard: set[Outcome] = set()
    for turn in range(0, MOST_TURNS, step):
        loop = TurnLoop()
        try:
            came, outcomes = loop.run_until_complete(interrupted(work, way, turn))
        except BaseException as error:
            error.add_note(f"interrupted after {turn} turns")
            raise
        finally:
            loop.close()
        if not came:
            assert turn > 4
            return heard
        heard.update(outcomes)
    raise AssertionError(f"no end after {MOST_TURNS} turns")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("work", WORKS)
def test_an_interruption_at_any_turn_leaks_nothing_and_tells_the_truth(work: str, way: str) -> None:
    """It comes out as asyncio has it, the account agrees with the book, the next call goes."""
    heard = sweep(WORKS[work], *WAYS[way])
    if work not in ("open orders", "warm-up", "guard"):
        assert {Outcome.NOT_SENT, Outcome.UNKNOWN} <= heard


@pytest.mark.parametrize("work", ["v5", "mass", "by ids", "guard"])
def test_a_second_cancellation_while_the_first_is_felt_changes_nothing(work: str) -> None:
    """One, two or three turns later, in the middle of clearing up; what is told stays true."""

    async def twice(stage: Stage, work: Work, turn: int) -> bool:
        return await by_cancel(stage, work, turn, again=1 + turn % 3)

    heard = sweep(WORKS[work], twice)
    if work == "guard":
        # Its own calls, and the one that goes afterwards.
        assert heard == {Outcome.CANCELLED, Outcome.NOTHING_TO_CANCEL}
    else:
        assert {Outcome.NOT_SENT, Outcome.UNKNOWN} <= heard


def sockets() -> int:
    """How many are open in this process."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return found


async def down_to(count: int) -> None:
    """Let both ends see that the other is gone; the test's own bound ends it."""
    while sockets() > count:  # noqa: ASYNC110 - nobody tells of it
        await asyncio.sleep(0)


REAL: dict[str, Callable[[HtxSession, str], Coroutine[Any, Any, object]]] = {
    "call": lambda htx, code: htx.cancel_all_trailing(code),
    "mass": lambda htx, code: htx.mass_cancel_trailing([code, f"A{code}", f"B{code}"]),
    "warm-up": lambda htx, code: htx.warm_up(),
}


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="sockets are counted in /proc")
@pytest.mark.parametrize("how", ["cancel", "aclose"])
@pytest.mark.parametrize("work", REAL)
@bounded
async def test_over_loopback_no_socket_is_left_and_the_next_call_goes(work: str, how: str) -> None:
    """After every number of turns: the account is true, the same or a new session works at once,
    and when it is closed no socket of either end is open."""
    async with SimulatedExchange(limit=1_000_000, interval=0.001) as exchange:
        for turn in range(MOST_TURNS):
            if not await interrupted_over_loopback(exchange, REAL[work], how, turn):
                assert turn > 4
                return
    raise AssertionError(f"no end after {MOST_TURNS} turns")


async def interrupted_over_loopback(
    exchange: SimulatedExchange,
    work: Callable[[HtxSession, str], Coroutine[Any, Any, object]],
    how: str,
    turn: int,
) -> bool:
    """Whether `turn` came before the end."""
    code, heard, before = f"C{turn}-USDT", Listener(), sockets()
    exchange.place(code, "buy", "close")
    settings: dict[str, Any] = {"base_urls": exchange.url, "generation": "v1"}
    settings |= {"limiter": TokenBucket(1000), "on_event": heard.events.append}
    htx = HtxSession(exchange.credentials, **settings)
    task = asyncio.create_task(work(htx, code))
    await turns(turn)
    came = not task.done()
    if how == "cancel":
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() is came
    else:
        await htx.aclose()
        await asyncio.wait([task])
        assert isinstance(task.exception(), HtxError | None)
        htx = HtxSession(exchange.credentials, **settings)
    async with htx:
        assert (await htx.cancel_all_trailing(NEXT)).outcome is Outcome.NOTHING_TO_CANCEL
    await down_to(before)
    assert heard.calls(CallStarted) == heard.calls(CallEnded)
    arrived = {one.contract_code for one in exchange.arrivals}
    is_open = bool(exchange.open_orders(code))
    for report in heard.reports():
        assert report.outcome is not Outcome.NOT_SENT or report.contract_code not in arrived
        assert not (report.contract_code == code and report.is_clear and is_open)
    return came


def answer(order_id: str) -> bytes:
    return as_json({"status": "ok", "data": {"errors": [], "successes": order_id}, "ts": 1})


@pytest.mark.parametrize("turn", range(6))
@bounded
async def test_a_cancellation_in_the_turns_of_the_answer(turn: int) -> None:
    """With the answer in the socket: it is read or it is not, and it never answers the next call,
    which has its own."""

    async def first(connection: Connection) -> None:
        await connection.request()
        await connection.resume.wait()
        connection.send_now(answer("1"))
        await answers(answer("2"))(connection)

    heard = Listener()
    async with FaultServer(first, answers(answer("2"))) as server:
        settings: dict[str, Any] = {"base_urls": server.url, "limiter": TokenBucket(2)}
        async with HtxSession(KEYS, on_event=heard, **settings) as htx:
            task = asyncio.create_task(htx.cancel_all_trailing(BTC))
            await server.arrived.wait()
            server.connections[0].resume.set()
            await turns(1 + turn)
            is_late = task.done()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() is not is_late
            (told,) = heard.reports()
            assert told.outcome in ((Outcome.CANCELLED,) if is_late else (Outcome.UNKNOWN,))
            assert (await htx.cancel_all_trailing(BTC)).successes == ("2",)
        assert len(server.connections) == (1 if is_late else 2)
