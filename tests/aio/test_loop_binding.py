"""Sessions and limiters used where they do not belong: a typed error, and nothing is touched."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import aiohttp
import pytest

from htx_async import (
    Credentials,
    HtxSession,
    InvalidRequest,
    Outcome,
    SessionClosed,
    TokenBucket,
)
from htx_async.limits.account_limiter import AccountLimiter
from htx_async.limits.limiter import RateLimiter
from htx_async.redis_limits import RedisTokenBucket
from htx_async.simulator import SimulatedExchange
from tests.support.fault_server import OK, FaultServer, answers, bounded
from tests.support.redis_server import Stored, running
from tests.support.virtual import VirtualLoop, virtual_session

T = TypeVar("T")

BTC = "BTC-USDT"
PATH = "/linear-swap-api/v1/swap_track_cancelall"
KEYS = Credentials("access-key", "secret-key")


async def plan(htx: HtxSession) -> object:
    return htx.plan([BTC])


async def guard(htx: HtxSession) -> None:
    async with htx.cancel_on_exit([BTC], deadline=5.0):
        pass


USES: dict[str, Callable[[HtxSession], Coroutine[Any, Any, object]]] = {
    "cancel_all": lambda htx: htx.cancel_all_trailing(BTC, deadline=5.0),
    "cross": lambda htx: htx.cross.cancel_all_trailing("BTC-USDT"),
    "mass": lambda htx: htx.mass_cancel_trailing([BTC], deadline=5.0),
    "by ids": lambda htx: htx.cancel_trailing(BTC, ["1"]),
    "open": lambda htx: htx.open_trailing(BTC, deadline=5.0),
    "history": lambda htx: htx.trailing_history(BTC),
    "contracts": lambda htx: htx.contracts(),
    "warm-up": lambda htx: htx.warm_up(),
    "enter": lambda htx: htx.__aenter__(),
    "guard": guard,
    "plan": plan,
}


@pytest.fixture
def loops() -> Iterator[tuple[asyncio.AbstractEventLoop, asyncio.AbstractEventLoop]]:
    """Two event loops in one thread, neither of them running."""
    both = VirtualLoop(), VirtualLoop()
    yield both
    for loop in both:
        loop.close()


Loops = tuple[asyncio.AbstractEventLoop, asyncio.AbstractEventLoop]


async def cancelled(htx: HtxSession) -> Outcome:
    return (await htx.cancel_all_trailing(BTC)).outcome


@pytest.mark.parametrize("use", [*USES, "aclose"])
def test_another_loop_is_told_so_and_changes_nothing(use: str, loops: Loops) -> None:
    """A typed error says to open one in each loop; in its own loop the session goes on, and a
    call that is under way there has its answer."""
    home, elsewhere = loops
    exchange = SimulatedExchange()
    exchange.place(BTC, "buy", "close")
    htx = virtual_session(exchange)

    async def begin() -> asyncio.Task[Outcome]:
        task = asyncio.create_task(cancelled(htx))
        await asyncio.sleep(0.06)
        return task

    call = home.run_until_complete(begin())
    with pytest.raises(InvalidRequest, match="another event loop; open one session in each loop"):
        elsewhere.run_until_complete(USES.get(use, HtxSession.aclose)(htx))
    assert home.run_until_complete(call) is Outcome.CANCELLED
    assert len(exchange.arrivals) == 1
    assert home.run_until_complete(cancelled(htx)) is Outcome.NOTHING_TO_CANCEL
    home.run_until_complete(htx.aclose())


def test_a_loop_that_runs_in_another_thread_is_another_loop() -> None:
    """Its session cannot be called or closed from here, and its call on the wire goes on."""
    exchange = SimulatedExchange()
    sessions: list[HtxSession] = []
    outcomes: list[Outcome] = []
    begun, done = threading.Event(), threading.Event()

    async def trade() -> None:
        async with virtual_session(exchange) as htx:
            sessions.append(htx)
            call = asyncio.create_task(cancelled(htx))
            await asyncio.sleep(0.01)
            begun.set()
            await asyncio.to_thread(done.wait, 10)
            outcomes.append(await call)

    thread = threading.Thread(target=asyncio.run, args=[trade()])
    thread.start()
    try:
        assert begun.wait(10)
        for use in (cancelled, HtxSession.aclose):
            with pytest.raises(InvalidRequest, match="another event loop"):
                asyncio.run(use(sessions[0]))
    finally:
        done.set()
        thread.join()
    assert outcomes == [Outcome.NOTHING_TO_CANCEL]


@pytest.mark.parametrize("use", USES)
def test_after_its_loop_was_closed_a_session_is_of_no_use(use: str, loops: Loops) -> None:
    """The next loop is told to open a session of its own, and nothing is sent."""
    home, elsewhere = loops
    exchange = SimulatedExchange()
    htx = virtual_session(exchange)
    home.run_until_complete(cancelled(htx))
    home.close()
    with pytest.raises(InvalidRequest, match="open one session in each loop"):
        elsewhere.run_until_complete(USES[use](htx))
    assert len(exchange.arrivals) == 1


def test_a_session_can_be_closed_after_its_loop(loops: Loops) -> None:
    """With a call under way that can never end: `aclose` ends, again too, and calls are refused."""
    home, elsewhere = loops
    htx = virtual_session(SimulatedExchange(), keep_warm=True)

    async def begin() -> asyncio.Task[Outcome]:
        task = asyncio.create_task(cancelled(htx))
        await asyncio.sleep(0.01)
        return task

    call = home.run_until_complete(begin())
    left = asyncio.all_tasks(home)
    home.close()
    elsewhere.run_until_complete(htx.aclose())
    elsewhere.run_until_complete(htx.aclose())
    with pytest.raises(SessionClosed, match="open a new one"):
        elsewhere.run_until_complete(cancelled(htx))
    assert not call.done()
    for task in left:
        # Nothing will run them: end them here, before the garbage collector complains.
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # asyncio's own switch
        coroutine = task.get_coro()
        assert coroutine is not None
        coroutine.close()


@pytest.mark.parametrize("use", [use for use in USES if use != "guard"])
def test_a_closed_session_says_to_open_a_new_one(use: str, loops: Loops) -> None:
    """Entered a second time too; and no more is sent."""
    exchange = SimulatedExchange()

    async def main() -> None:
        async with virtual_session(exchange) as htx:
            await cancelled(htx)
        with pytest.raises(SessionClosed, match="open a new one"):
            await USES[use](htx)

    loops[0].run_until_complete(main())
    assert len(exchange.arrivals) == 1


def test_a_block_inside_the_block_closes_for_both(loops: Loops) -> None:
    """A session is one, however often it was entered; before its block it works as well."""

    async def main() -> None:
        htx = virtual_session(SimulatedExchange())
        assert await cancelled(htx) is Outcome.NOTHING_TO_CANCEL
        async with htx:
            async with htx:
                assert await cancelled(htx) is Outcome.NOTHING_TO_CANCEL
            with pytest.raises(SessionClosed, match="open a new one"):
                await cancelled(htx)

    loops[0].run_until_complete(main())


def test_without_a_running_loop_the_error_says_where_to_call() -> None:
    """A plan, a limiter and a bucket outside any coroutine; making a session there is fine."""
    htx = virtual_session(SimulatedExchange())
    for use in (
        lambda: htx.plan([BTC]),
        lambda: TokenBucket().earliest(PATH),
        lambda: AccountLimiter().earliest(PATH),
        lambda: shared_bucket().earliest(PATH),
    ):
        with pytest.raises(InvalidRequest, match=r"asyncio\.run"):
            use()


def shared_bucket() -> RedisTokenBucket:
    """One whose server is not there."""
    return RedisTokenBucket.from_url("redis://127.0.0.1:1", "an account", share_of=1)


async def take(limiter: RateLimiter, *, urgent: bool = True) -> None:
    async with limiter.take(PATH, urgent=urgent):
        pass


LIMITERS: dict[str, Callable[[], RateLimiter]] = {
    "bucket": TokenBucket,
    "account": AccountLimiter,
    "shared": shared_bucket,
}


@pytest.mark.parametrize("made", LIMITERS.values(), ids=LIMITERS)
def test_a_limiter_in_another_loop_says_what_to_do(
    made: Callable[[], RateLimiter], loops: Loops
) -> None:
    """Refused while the first loop is open, which it still serves; carried over when closed."""
    home, elsewhere = loops
    limiter = made()
    home.run_until_complete(take(limiter))
    with pytest.raises(InvalidRequest, match="close the other, or give each a fixed part"):
        elsewhere.run_until_complete(take(limiter))
    if isinstance(limiter, RedisTokenBucket):
        with pytest.raises(InvalidRequest, match="another event loop"):
            elsewhere.run_until_complete(limiter.aclose())
        home.run_until_complete(limiter.drain())
    else:
        home.run_until_complete(take(limiter))
    home.close()
    elsewhere.run_until_complete(take(limiter))


@pytest.mark.slow
@bounded
async def test_a_shared_limiter_can_be_closed_after_its_loop() -> None:
    """Its own client has a connection of the closed loop, and `aclose` ends all the same."""
    with running() as server:
        Stored(server, "late").open()
        bucket = RedisTokenBucket.from_url(server.url, "late", share_of=1)
        await asyncio.to_thread(asyncio.run, take(bucket, urgent=False))
        await bucket.aclose()
        with pytest.raises(SessionClosed, match="open a new one"):
            await take(bucket)


@pytest.mark.parametrize("is_closed", [False, True], ids=["open", "closed"])
@bounded
async def test_a_callers_session_of_another_loop_is_refused_at_once(is_closed: bool) -> None:
    """Not tried until the deadline, as a connection that fails would be; the error names http=."""
    home = asyncio.new_event_loop()

    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    http = await asyncio.to_thread(home.run_until_complete, make())
    if is_closed:
        home.close()
    async with HtxSession(KEYS, account="other", http=http) as htx:
        for use in (htx.cancel_all_trailing(BTC), htx.warm_up()):
            with pytest.raises(InvalidRequest, match=r"http=.* make it in the loop that calls"):
                await use
    await http.close()
    home.close()


FORK = """
import asyncio, json, multiprocessing, os, sys
from htx_async import Credentials, HtxError, HtxSession, TokenBucket
from htx_async.limits.registry import shared_limiter, account_key

def session(**settings):
    keys = Credentials("access-key", "secret-key")
    return HtxSession(keys, base_urls=sys.argv[1], generation="v1", account="one", **settings)

htx = session()
own = TokenBucket()

async def call(one=htx):
    return (await one.cancel_all_trailing("BTC-USDT", deadline=5.0)).outcome

async def take():
    async with own.take("/a"):
        pass

async def fresh(**settings):
    async with session(**settings) as one:
        return await call(one)

async def close():
    return await htx.aclose()

async def guard():
    async with htx.cancel_on_exit(["BTC-USDT"], deadline=5.0):
        pass

def told(name, act):
    try:
        result = str(act())
    except Exception as error:
        result = f"{type(error).__name__} {isinstance(error, HtxError)} {error}"
    os.write(1, (json.dumps([name, result]) + "\\n").encode())

def in_child(*acts):
    child = os.fork()
    if child == 0:
        for name, act in acts:
            told(name, act)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

loop = asyncio.new_event_loop()

def here(make):
    return lambda: loop.run_until_complete(make())

def anew(make):
    return lambda: asyncio.run(make())

async def inside():
    child = os.fork()
    if child == 0:
        for name, make in (("inside", call), ("inside guard", guard), ("inside close", close)):
            try:
                result = str(await make())
            except Exception as error:
                result = f"{type(error).__name__} {isinstance(error, HtxError)} {error}"
            os.write(1, (json.dumps([name, result]) + "\\n").encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

told("parent", here(call))
here(take)()
in_child(("same loop", here(call)), ("same loop limiter", here(take)))
in_child(("new loop", anew(call)), ("new session", anew(fresh)), ("limiter", anew(take)))
in_child(("own part", anew(lambda: fresh(limiter=TokenBucket(1)))))
in_child(("close", anew(close)), ("closed", anew(call)))
in_child(("close in its loop", here(close)))
here(inside)()
process = multiprocessing.get_context("fork").Process(target=told, args=("process", anew(call)))
process.start()
process.join()
told("parent again", here(call))
told("parent's end", here(close))
"""

OF_PARENT = "InvalidRequest True nothing was sent: this session belongs to the process that forked"
SHARED_BY = "InvalidRequest True the process that forked this one uses this account's limiter"
CLOSED = "SessionClosed True this session is closed"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
@bounded
async def test_a_forked_child_is_told_to_open_its_own_and_touches_nothing() -> None:
    """In the inherited loop, in a new one, in the middle of a coroutine and by multiprocessing; the
    parent's connection goes on serving it, though the child has closed its session."""
    async with FaultServer(answers(OK)) as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FORK, server.url, stdout=asyncio.subprocess.PIPE
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        answered = [len(connection.requests) for connection in server.connections]
    told = dict(map(json.loads, output.decode().splitlines()))
    for name in ("same loop", "new loop", "inside", "process"):
        assert told.pop(name).startswith(OF_PARENT), name
    # A forked child has no running loop, and the guard's deadline needs one.
    assert "after a fork open a session of the child's own" in told.pop("inside guard")
    for name in ("same loop limiter", "new session", "limiter"):
        assert told.pop(name).startswith(SHARED_BY), name
    assert told.pop("closed").startswith(CLOSED)
    closes = ("close", "close in its loop", "inside close", "parent's end")
    assert [told.pop(name) for name in closes] == ["None"] * 4
    assert set(told) == {"parent", "parent again", "own part"}
    assert set(told.values()) == {"cancelled"}
    assert sorted(answered) == [1, 2]
