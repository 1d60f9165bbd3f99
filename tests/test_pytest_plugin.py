"""The fixtures for other suites, each tried in a pytest of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.user_suite import SETTLED, heard, install, run_suite

pytestmark = pytest.mark.slow

CANCELS = """
import pytest

{marked}
async def test_a_strategy(htx_exchange, htx_session):
    ids = htx_exchange.place("BTC-USDT", "buy", "close", 2)
    report = await htx_session.cancel_all_trailing("BTC-USDT")
    assert report.successes == ids

{marked}
async def test_another(htx_exchange):
    assert htx_exchange.url and not htx_exchange.arrivals
"""

IDLE = """
import sys

def test_nothing_of_ours_is_asked_for():
    assert "htx_async.pytest_plugin" in sys.modules
    ours = {name for name in sys.modules if name.startswith("htx_async.")}
    assert ours == {"htx_async.pytest_plugin"}
    assert not {"aiohttp", "pydantic", "aiolimiter"} & set(sys.modules)
"""

COST = """
import time, pytest, pytest_asyncio
start = time.process_time()
import htx_async.pytest_plugin
print(time.process_time() - start)
"""

WITHOUT_ASYNCIO = """
import sys
sys.modules["pytest_asyncio"] = None
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("mode", "marked"), [("auto", ""), ("strict", "@pytest.mark.asyncio")], ids=["auto", "strict"]
)
def test_the_fixtures_come_with_the_installation(tmp_path: Path, mode: str, marked: str) -> None:
    """A suite gets exchange and session by name alone, in both modes of pytest-asyncio."""
    install(tmp_path)
    done = run_suite(tmp_path, CANCELS.format(marked=marked), *SETTLED, f"--asyncio-mode={mode}")
    assert done.returncode == 0, heard(done)
    assert "2 passed" in done.stdout


def test_a_suite_that_does_not_ask_pays_nothing(tmp_path: Path) -> None:
    """Merely installed, the plugin loads nothing beside itself: no aiohttp, no pydantic."""
    install(tmp_path)
    done = run_suite(tmp_path, IDLE, *SETTLED)
    assert done.returncode == 0, heard(done)
    assert "1 passed" in done.stdout


def test_the_plugin_costs_20_ms_at_most() -> None:
    """CPU time of a fresh process, where pytest and pytest-asyncio are loaded anyway; the best of
    five, since what disturbs a run only ever adds to it."""
    command = [sys.executable, "-c", COST]
    runs = (
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        for _ in range(5)
    )
    assert min(float(run.stdout) for run in runs) < 0.02


def test_without_pytest_asyncio_only_the_fixtures_fail(tmp_path: Path) -> None:
    """Whoever asks for one reads what to install; all other tests run as ever."""
    suite = (
        "def test_exchange(htx_exchange): pass\n"
        "def test_session(htx_session): pass\n"
        "def test_other(): pass\n"
    )
    plugin = ("-p", "htx_async.pytest_plugin")
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = run_suite(tmp_path, suite, *plugin, code=WITHOUT_ASYNCIO, **alone)
    assert done.returncode == 1, heard(done)
    assert "1 passed, 2 errors" in done.stdout
    assert done.stdout.count("need pytest-asyncio: pip install pytest-asyncio") >= 2
