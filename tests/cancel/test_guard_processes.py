"""The guard in real processes that get real signals, under what strategies run in."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import nullcontext

import pytest

from htx_async.simulator import SimulatedExchange
from tests.support.redis_server import running
from tests.support.strategy import PATIENCE, child, with_two_orders_each

pytestmark = [pytest.mark.slow, pytest.mark.long]

PREAMBLE = """
import asyncio, signal, sys
from htx_async import HtxSession

URL, CODES = sys.argv[1], sys.argv[2:]

def session():
    return HtxSession.from_env(base_urls=URL, generation="v1")

async def trade(htx, codes=CODES):
    guard = htx.cancel_on_exit(codes)
    try:
        async with guard:
            print("trading", flush=True)
            await asyncio.Event().wait()
    finally:
        print(guard.report, flush=True)

async def trade_alone():
    async with session() as htx:
        await trade(htx)

async def feed():
    await asyncio.Event().wait()

def on_sigterm(stop):
    # What the recipe of docs/guard.md does at the first one.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
"""

TOGETHER = {
    "gather": """
async def both(strategy):
    await asyncio.gather(strategy, feed())
""",
    "task group": """
async def both(strategy):
    async with asyncio.TaskGroup() as group:
        group.create_task(strategy)
        group.create_task(feed())
""",
    "wait": """
async def both(strategy):
    await asyncio.wait([asyncio.create_task(strategy), asyncio.create_task(feed())])
""",
    "anyio": """
import anyio

async def both(strategy):
    async with anyio.create_task_group() as group:
        group.start_soon(feed)
        await strategy
""",
    "anyio, in a child task": """
import anyio

async def both(strategy):
    async def the_strategy():
        await strategy
    async with anyio.create_task_group() as group:
        group.start_soon(feed)
        group.start_soon(the_strategy)
""",
}
"""A strategy beside a feed that never ends."""

SESSION = {
    "in main": """
async def main():
    on_sigterm(asyncio.current_task().cancel)
    async with session() as htx:
        await both(trade(htx))
""",
    "in the strategy": """
async def main():
    on_sigterm(asyncio.current_task().cancel)
    await both(trade_alone())
""",
}

RUN = {
    "asyncio": "asyncio.run(main())",
    "uvloop": "import uvloop; uvloop.run(main())",
    "anyio": "import anyio; anyio.run(main)",
}

ACCOUNT = "3 contracts in isolated margin clear, 6 orders cancelled"


EARLY = {("wait", "in main")}


def program(together: str, where: str, how: str = "asyncio") -> str:
    return f"""{PREAMBLE}{TOGETHER[together]}{SESSION[where]}
try:
    {RUN[how]}
except (KeyboardInterrupt, asyncio.CancelledError):
    print("interrupted")
"""


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    """An exchange whose keys the children know, with two orders for each contract."""
    async with with_two_orders_each() as opened:
        yield opened


CTRL_C, TERM = signal.SIGINT, signal.SIGTERM


@pytest.mark.parametrize(
    ("together", "where", "how", "number"),
    [
        ("gather", "in main", "asyncio", CTRL_C),
        ("gather", "in main", "asyncio", TERM),
        ("gather", "in the strategy", "asyncio", CTRL_C),
        ("gather", "in the strategy", "uvloop", TERM),
        ("gather", "in main", "uvloop", CTRL_C),
        ("task group", "in main", "asyncio", TERM),
        ("wait", "in main", "asyncio", CTRL_C),
        ("wait", "in the strategy", "uvloop", TERM),
        ("anyio", "in main", "asyncio", TERM),
        ("anyio", "in the strategy", "anyio", CTRL_C),
        ("anyio, in a child task", "in main", "anyio", TERM),
        ("anyio, in a child task", "in main", "uvloop", CTRL_C),
    ],
)
async def test_one_signal_leaves_no_trailing_orders(
    exchange: SimulatedExchange, together: str, where: str, how: str, number: signal.Signals
) -> None:
    """Ctrl-C, or SIGTERM through a handler that cancels: the orders go, whatever runs the guard."""
    async with child(program(together, where, how), exchange) as strategy:
        strategy.signal(number)
        _, out, err = await strategy.ended()
    assert not exchange.open_orders()
    assert len(exchange.arrivals) == 3
    assert out.splitlines()[0].startswith(ACCOUNT), out
    # Where nobody ends the block before the session is closed, it is warned.
    assert ("is not covered" in out) is ("is not covered" in err) is ((together, where) in EARLY)
    assert len(err.splitlines()) == ((together, where) in EARLY), err


GIVEN = f"""{PREAMBLE}
import aiohttp
from htx_async.redis_limits import RedisTokenBucket

async def strategy(**given):
    async with HtxSession.from_env(base_urls=URL, generation="v1", **given) as htx:
        await trade(htx, CODES[:3])

async def main():
    on_sigterm(asyncio.current_task().cancel)
    if CODES[3]:
        async with RedisTokenBucket.from_url(CODES[3], "desk", share_of=2) as shared:
            await asyncio.gather(strategy(limiter=shared), feed())
    else:
        async with aiohttp.ClientSession() as http:
            await asyncio.gather(strategy(http=http), feed())

try:
    asyncio.run(main())
except (KeyboardInterrupt, asyncio.CancelledError):
    print("interrupted")
"""


@pytest.mark.parametrize("number", [CTRL_C, TERM])
@pytest.mark.parametrize("shared", [True, False])
async def test_what_a_session_was_given_outlasts_its_guard(
    exchange: SimulatedExchange, shared: bool, number: signal.Signals
) -> None:
    """A limiter over Redis, or a session for `http=`, that is closed around the `gather` which the
    guard is in: the orders go."""
    with running() if shared else nullcontext() as server:
        url = "" if server is None else server.url
        async with child(GIVEN, exchange, more=url) as strategy:
            strategy.signal(number)
            _, out, err = await strategy.ended()
    assert not exchange.open_orders()
    # Where others share the limit nobody knows how many tokens are free: lists are read meanwhile.
    assert [one.path.endswith("_cancelall") for one in exchange.arrivals].count(True) == 3
    assert out.splitlines()[0].startswith(ACCOUNT), (out, err)


async def interrupt(
    exchange: SimulatedExchange, program: str, count: int
) -> tuple[str, str, float]:
    """Ctrl-C once, and more often while the exchange has all the cancels: stdout, stderr, and
    seconds since the second."""
    loop, sent = asyncio.get_running_loop(), are_under_way(exchange)
    async with child(program, exchange) as strategy:
        await strategy.interrupt()
        await asyncio.wait_for(sent.wait(), PATIENCE)
        began = loop.time()
        for _ in range(count - 1):
            await strategy.interrupt()
            # Two that wait for the interpreter at once are one.
            await asyncio.sleep(0.2)
        code, out, err = await strategy.ended()
    assert code == 0, (code, err)
    return out, err, loop.time() - began


SURVIVED = [
    ("task group", "in main", 2),
    ("gather", "in main", 2),
    ("gather", "in the strategy", 1),
]
"""How often Ctrl-C may come. The first cancels the main task; the second is a `KeyboardInterrupt`
that stops the loop, upon which the runner cancels every task once more and waits for them all, and
one that comes in that time ends it. Where the main task does not wait for the guard, that time has
begun after the first one."""


@pytest.mark.parametrize(("together", "where", "count"), SURVIVED)
async def test_so_many_ctrl_cs_do_not_end_the_guard(
    exchange: SimulatedExchange, together: str, where: str, count: int
) -> None:
    """All orders go, and the account says so."""
    exchange.latency = 0.6
    out, err, _ = await interrupt(exchange, program(together, where), count)
    assert not exchange.open_orders()
    assert out.startswith(ACCOUNT), (out, err)


@pytest.mark.parametrize(("together", "where", "count"), SURVIVED)
async def test_one_ctrl_c_more_ends_the_process(
    exchange: SimulatedExchange, together: str, where: str, count: int
) -> None:
    """At once, though the exchange is silent; no contract that it has heard of is told as not
    sent."""
    exchange.latency = PATIENCE
    out, _, took = await interrupt(exchange, program(together, where), count + 1)
    assert took < 5, "the guard's deadline would be 10 s"
    assert "not_sent" not in out


STRUCK = f"""{PREAMBLE}
AT = int(CODES.pop())

async def strategy():
    events = 0

    def strike(event):
        nonlocal events
        events += 1
        if guard.report and events == AT:
            signal.raise_signal(signal.SIGINT)

    async with HtxSession.from_env(base_urls=URL, on_event=strike) as htx:
        guard = htx.cancel_on_exit(CODES)
        try:
            async with guard:
                print("trading", flush=True)
                await asyncio.Event().wait()
        finally:
            print(guard.report, flush=True)

try:
    RUN
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("how", ["asyncio.run", "import uvloop; uvloop.run"])
@pytest.mark.parametrize("at", [2, 5, 9])
async def test_a_second_ctrl_c_in_a_step_of_the_guards_own_does_not_end_it(
    exchange: SimulatedExchange, how: str, at: int
) -> None:
    """It comes while one of the guard's tasks runs: the program is interrupted, the guard goes
    on, all orders go, and nothing is said by asyncio."""
    program = STRUCK.replace("RUN", f"{how}(strategy())")
    async with child(program, exchange, more=str(at)) as strategy:
        await strategy.interrupt()
        code, out, err = await strategy.ended()
    assert not exchange.open_orders()
    assert out == f"{ACCOUNT}\ninterrupted\n"
    assert (code, err) == (0, "")


def are_under_way(exchange: SimulatedExchange) -> asyncio.Event:
    """Set when the exchange has all three cancels, which it answers as late as before."""
    reached, late = asyncio.Event(), exchange.latency

    def latency() -> float:
        # Asked for before the arrival is on record.
        if len(exchange.arrivals) >= 2:
            reached.set()
        return late() if callable(late) else late

    exchange.latency = latency
    return reached


WEB = f"""{PREAMBLE}
from aiohttp import web

async def background(app):
    task = asyncio.create_task(trade_alone())
    yield
    task.cancel()
    await asyncio.wait([task])

app = web.Application()
app.cleanup_ctx.append(background)
web.run_app(app, host="127.0.0.1", port=0, print=None, handle_signals=True)
"""

ASGI = f"""{PREAMBLE}
from contextlib import asynccontextmanager
import uvicorn

class App:
    # The lifespan part of ASGI, as Starlette and FastAPI have it.
    async def __call__(self, scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        async with session() as htx:
            guard = htx.cancel_on_exit(CODES)
            async with guard:
                await send({{"type": "lifespan.startup.complete"}})
                await receive()
            print(guard.report, flush=True)
        await send({{"type": "lifespan.shutdown.complete"}})

class Server(uvicorn.Server):
    async def startup(self, *args, **more):
        await super().startup(*args, **more)
        # Not sooner: it skips the lifespan's end when it is told to stop while it starts.
        asyncio.get_running_loop().call_soon(lambda: print("trading", flush=True))

Server(uvicorn.Config(App(), host="127.0.0.1", port=0, log_level="critical", lifespan="on")).run()
"""

NOBODY_S = f"""{PREAMBLE}
async def main():
    # A guard whose block nobody ends, in a session that nobody closes.
    on_sigterm(asyncio.current_task().cancel)
    await session().cancel_on_exit(CODES).__aenter__()
    print("trading", flush=True)
    await asyncio.Event().wait()

try:
    asyncio.run(main())
except (KeyboardInterrupt, asyncio.CancelledError):
    print({ACCOUNT!r})
"""

TWO = f"""{PREAMBLE}
async def other(htx):
    async with htx.cancel_on_exit(CODES[1:]):
        await asyncio.Event().wait()

async def main():
    on_sigterm(asyncio.current_task().cancel)
    async with session() as htx:
        await asyncio.gather(other(htx), trade(htx, CODES[:1]))

try:
    asyncio.run(main())
except (KeyboardInterrupt, asyncio.CancelledError):
    print({ACCOUNT!r})
"""


@pytest.mark.parametrize(
    ("program", "number"),
    [(WEB, CTRL_C), (WEB, TERM), (ASGI, TERM), (NOBODY_S, TERM), (TWO, CTRL_C)],
    ids=["web, Ctrl-C", "web, SIGTERM", "asgi", "nobody's", "two"],
)
async def test_one_signal_to_a_server_leaves_no_trailing_orders(
    exchange: SimulatedExchange, program: str, number: signal.Signals
) -> None:
    """aiohttp's `run_app` and uvicorn hear both signals themselves; a guard that nobody ends goes
    with the loop; two guards in one `gather` both do their work."""
    # Loops and servers of others warn of what is theirs.
    async with child(program, exchange, warnings="default") as strategy:
        strategy.signal(number)
        _, out, err = await strategy.ended()
    assert not exchange.open_orders(), (out, err)
    assert len(exchange.arrivals) == 3
    assert ACCOUNT in out
