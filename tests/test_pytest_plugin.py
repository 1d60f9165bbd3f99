"""The fixtures for other suites, each tried in a pytest of its own."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# pytest-asyncio warns every suite that leaves this open.
SETTLED = ("-o", "asyncio_default_fixture_loop_scope=function")

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
    assert not {"htx_async.simulator", "aiohttp.web"} & set(sys.modules)
"""

WITHOUT_ASYNCIO = """
import sys
sys.modules["pytest_asyncio"] = None
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def run_suite(
    folder: Path, suite: str, *options: str, code: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `suite` as a user's own, with warnings as errors, far from this project's settings."""
    (folder / "test_suite.py").write_text(suite)
    (folder / "pytest.ini").write_text("[pytest]\n")
    start = ["-c", code] if code else ["-m", "pytest"]
    chosen = ["-W", "error", "-p", "no:cacheprovider", "-rA", *options, str(folder)]
    paths = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, *start, *chosen],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "PYTEST_ADDOPTS": ""} | environment,
    )


def install(folder: Path) -> None:
    """Make pytest in `folder` find the plugin as it finds that of an installed package."""
    point = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    ((name, module),) = point["pytest11"].items()
    package = folder / "installed_plugin-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-plugin\nVersion: 1\n")
    (package / "entry_points.txt").write_text(f"[pytest11]\n{name} = {module}\n")


def heard(done: subprocess.CompletedProcess[str]) -> str:
    return f"{done.stdout}\n{done.stderr}"


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
    """Merely installed, the plugin loads neither the simulator nor its web server."""
    install(tmp_path)
    done = run_suite(tmp_path, IDLE, *SETTLED)
    assert done.returncode == 0, heard(done)
    assert "1 passed" in done.stdout


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
