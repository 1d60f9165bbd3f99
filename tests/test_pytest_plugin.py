"""The fixtures for other suites, each tried in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.user_suite import SETTLED, heard, install, run_suite

pytestmark = [pytest.mark.slow, pytest.mark.long]

COMMON = """
import asyncio
import threading

import pytest

from htx_async import InvalidRequest, SessionClosed

async def cancels(exchange, session, margin_mode="isolated"):
    ids = exchange.place("BTC-USDT", "buy", "close", 2, margin_mode=margin_mode)
    orders = session if margin_mode == "isolated" else session.cross
    report = await orders.cancel_all_trailing("BTC-USDT")
    assert report.successes == ids
    assert not exchange.open_orders()

def test_its_own_loop(htx_exchange, htx_session):
    asyncio.run(cancels(htx_exchange, htx_session))
    with pytest.raises((SessionClosed, InvalidRequest)):
        asyncio.run(htx_session.open_trailing("BTC-USDT"))

def test_no_loop(htx_exchange, htx_session):
    assert htx_exchange.url and not htx_exchange.arrivals
    with pytest.raises(InvalidRequest, match='let anyio_backend return "asyncio"'):
        htx_session.plan(["BTC-USDT"])

def test_threads(htx_exchange):
    def place():
        for _ in range(50):
            (own,) = htx_exchange.place("BTC-USDT", "sell", "close")
            assert own in {order.order_id for order in htx_exchange.open_orders()}
            htx_exchange.trigger(own)
    threads = [threading.Thread(target=place) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(htx_exchange.ended_orders()) == 200 and not htx_exchange.open_orders()
"""

ON_LOOPS = (
    COMMON
    + """
import pytest_asyncio

@pytest_asyncio.fixture
async def strategy(htx_exchange, htx_session):
    await cancels(htx_exchange, htx_session)
    yield htx_session
    await cancels(htx_exchange, htx_session)

@pytest.mark.asyncio
async def test_default(htx_exchange, htx_session):
    await cancels(htx_exchange, htx_session, "cross")

@pytest.mark.asyncio
async def test_entered(htx_exchange, htx_session):
    async with htx_session:
        await cancels(htx_exchange, htx_session)

@pytest.mark.asyncio
async def test_left_guard(htx_exchange, htx_session):
    htx_exchange.place("BTC-USDT", "sell", "open")
    await htx_session.cancel_on_exit(["BTC-USDT"]).__aenter__()

@pytest.mark.asyncio
async def test_left_on_the_wire(htx_exchange, htx_session):
    htx_exchange.late(600.0)
    call = asyncio.ensure_future(htx_session.cancel_all_trailing("BTC-USDT"))
    while not htx_exchange.arrivals:
        await asyncio.sleep(0)
    call.add_done_callback(lambda call: call.cancelled() or call.exception())

@pytest.mark.asyncio(loop_scope="{fixtures}")
async def test_with_a_fixture_on_its_loop(htx_exchange, strategy):
    await cancels(htx_exchange, strategy)

@pytest.mark.asyncio(loop_scope="{others}")
async def test_with_a_fixture_on_another_loop(htx_exchange, strategy):
    advice = 'loop scope is "{others}": set asyncio_default_fixture_loop_scope = {others}, or'
    with pytest.raises(InvalidRequest, match=advice):
        await strategy.cancel_all_trailing("BTC-USDT")

@pytest.mark.asyncio(loop_scope="class")
class TestClass:
    async def test_one(self, htx_exchange, htx_session):
        await cancels(htx_exchange, htx_session)

    async def test_two(self, htx_exchange, htx_session):
        await cancels(htx_exchange, htx_session)

@pytest.mark.asyncio(loop_scope="module")
async def test_module(htx_exchange, htx_session):
    await cancels(htx_exchange, htx_session)

@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("number", range(2))
async def test_session(htx_exchange, htx_session, number):
    await cancels(htx_exchange, htx_session)
"""
)

ON_ANYIO = (
    COMMON
    + """
pytestmark = pytest.mark.anyio

@pytest.fixture(scope="{scope}")
def anyio_backend():
    return "asyncio"

@pytest.fixture
async def strategy(htx_exchange, htx_session):
    await cancels(htx_exchange, htx_session)
    yield htx_session
    await cancels(htx_exchange, htx_session)

async def test_anyio(htx_exchange, htx_session):
    await cancels(htx_exchange, htx_session)

async def test_anyio_and_its_fixture(htx_exchange, strategy):
    await cancels(htx_exchange, strategy, "cross")
"""
)

FIXTURE_SCOPE, TEST_SCOPE = "asyncio_default_fixture_loop_scope", "asyncio_default_test_loop_scope"
OPEN = ("-W", "ignore:The configuration option")
"""What pytest-asyncio says where no scope of fixtures is set."""

WAYS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "strict": (
        ON_LOOPS.replace("{fixtures}", "function").replace("{others}", "module"),
        14,
        (*SETTLED, "--asyncio-mode=strict"),
    ),
    "fixtures on the session's loop, xdist": (
        ON_LOOPS.replace("{fixtures}", "session").replace("{others}", "function"),
        14,
        ("-o", f"{FIXTURE_SCOPE}=session", "-n", "2"),
    ),
    "tests on the session's loop, auto": (
        ON_LOOPS.replace("{fixtures}", "function").replace("{others}", "session"),
        14,
        ("-o", f"{TEST_SCOPE}=session", "--asyncio-mode=auto", *OPEN),
    ),
    "anyio alone": (ON_ANYIO.replace("{scope}", "function"), 5, ("-p", "no:asyncio")),
    "anyio for the module, beside pytest-asyncio": (
        ON_ANYIO.replace("{scope}", "module"),
        5,
        SETTLED,
    ),
}

IDLE = """
import sys

def test_nothing_of_ours_is_asked_for():
    assert "htx_async.pytest_plugin" in sys.modules
    ours = {name for name in sys.modules if name.startswith("htx_async.")}
    assert ours == {"htx_async.pytest_plugin"}
    assert not {"aiohttp", "pydantic", "aiolimiter"} & set(sys.modules)
"""

COST = """
import time, pytest
start = time.process_time()
import htx_async.pytest_plugin
print(time.process_time() - start)
"""


@pytest.mark.parametrize(("suite", "passed", "options"), WAYS.values(), ids=WAYS)
def test_the_fixtures_suit_every_common_suite(
    tmp_path: Path, suite: str, passed: int, options: tuple[str, ...]
) -> None:
    """Exchange and session by name alone, on whatever loop a test runs or on none, in any order,
    with warnings as errors; whose own fixture is on another loop is told which setting helps."""
    install(tmp_path)
    done = run_suite(tmp_path, suite, *options)
    assert done.returncode == 0, heard(done)
    assert f"{passed} passed" in done.stdout, heard(done)


def test_a_suite_that_does_not_ask_pays_nothing(tmp_path: Path) -> None:
    """Merely installed, the plugin loads nothing beside itself: no aiohttp, no pydantic."""
    install(tmp_path)
    done = run_suite(tmp_path, IDLE, *SETTLED)
    assert done.returncode == 0, heard(done)
    assert "1 passed" in done.stdout


def test_the_plugin_costs_20_ms_at_most() -> None:
    """CPU time of a fresh process, where pytest is loaded anyway; the best of five, since what
    disturbs a run only ever adds to it."""
    command = [sys.executable, "-c", COST]
    runs = (
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        for _ in range(5)
    )
    assert min(float(run.stdout) for run in runs) < 0.02
