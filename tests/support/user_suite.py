"""A user's own test suite, run by a pytest of its own."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support.paths import ROOT

# pytest-asyncio warns every suite that leaves this open.
SETTLED = ("-o", "asyncio_default_fixture_loop_scope=function")


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
