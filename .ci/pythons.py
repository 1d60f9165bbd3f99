"""Run a fast part of the tests on every Python from 3.11 up that the PATH names, and once more with
the lowest versions that pyproject.toml allows.

Each gets an environment of its own, in `.venv-pythons/`, which is kept for the next time. A Python
that is named on the PATH and does not start is named, too, and no failure.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOMES = ROOT / ".venv-pythons"
OLDEST = (3, 11)

TO_START, TO_INSTALL, TO_TEST = 20.0, 600.0, 600.0
"""Seconds. All of it takes about a minute for each Python."""

FAST = (
    "tests/test_audit.py",
    "tests/test_audit_rotation.py",
    "tests/whole_calls/test_blocking.py",
    "tests/calls/test_call.py",
    "tests/test_arguments.py",
    "tests/cli/test_command.py",
    "tests/cli/test_cancel_all.py",
    "tests/cli/test_interrupted.py",
    "tests/test_doctor.py",
    "tests/test_errors.py",
    "tests/test_events.py",
    "tests/transport/test_failures.py",
    "tests/cancel/test_guard.py",
    "tests/exchange/test_headers.py",
    "tests/aio/test_listeners.py",
    "tests/limits/test_loops.py",
    "tests/exchange/test_models.py",
    "tests/test_logs.py",
    "tests/test_otel.py",
    "tests/test_pytest_plugin.py",
    "tests/calls/test_retry.py",
    "tests/test_session.py",
    "tests/simulator/test_threads.py",
    "tests/exchange/test_signing.py",
    "tests/whole_calls/test_soak.py",
    "tests/aio/test_tasks.py",
    "tests/aio/test_timers.py",
    "tests/transport/test_http.py",
    "tests/limits/test_urgent.py",
    "tests/calls/test_wall_clock.py",
    "tests/exchange/test_messages.py",
)
"""What depends on the Python or on a library, and does not take long."""

_NAME = re.compile(r"python3\.(\d+)")
_ASK = "import sys; print(*sys.version_info[:2], sys.version.split()[0], sys.executable, sep='\\n')"


def found() -> Iterator[tuple[str, dict[str, str]]]:
    """Every python3.N that the PATH names, with what has to be in its environment to start it."""
    names: set[str] = {
        path.name
        for folder in os.get_exec_path()
        for path in sorted(Path(folder).glob("python3.*"))
        if (match := _NAME.fullmatch(path.name)) and (3, int(match[1])) >= OLDEST
    }
    for name in sorted(names, key=lambda name: int(name.partition(".")[2])):
        yield name, {}
        # A manager's stand-in starts what its owner has chosen, which may be none of that name.
        if shutil.which("pyenv"):
            for version in printed(["pyenv", "whence", name]).split():
                yield name, {"PYENV_VERSION": version}


def printed(command: list[str], **variables: str) -> str:
    """What a command prints; "" when it fails or hangs."""
    try:
        done = subprocess.run(
            command,
            check=False,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=TO_START,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def pythons() -> dict[str, str]:
    """The executable of each version that starts; says which names do not."""
    started: dict[str, str] = {}
    silent, seen = set(), set()
    for name, variables in found():
        told = printed([name, "-c", _ASK], **variables).splitlines()
        if len(told) != 4:
            silent.add(name)
            continue
        seen.add(name)
        started.setdefault(told[2], told[3])
    for name in sorted(silent - seen):
        print(f"pythons: {name} is on the PATH and does not start: left out")
    return started


def environment(python: str, constraints: str, home: Path) -> str:
    """An environment of `python` with what the tests need; its executable, or "" if it cannot be
    made."""
    here = str(home / "bin/python")
    pip = [sys.executable, "-m", "pip"] if find_spec("pip") else ["pip"]
    install = [*pip, "--python", here, "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [python, "-m", "venv", "--without-pip", str(home)],
        [*install, "-c", constraints, "-e", ".[cli,dev]"],
    ):
        done = run(command, TO_INSTALL)
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n")
            return ""
    return here


def run(command: list[str], bound: float) -> subprocess.CompletedProcess[str]:
    """What became of a command in the root of the project, which has `bound` seconds."""
    try:
        return subprocess.run(
            command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=bound
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no end within {bound:g} s")


def passes(name: str, python: str) -> bool:
    """Whether the fast tests pass in an environment; says so."""
    began = time.monotonic()
    options = ("-q", "-n", "4", "--dist", "worksteal", "-p", "no:cacheprovider")
    done = run([python, "-m", "pytest", *options, *FAST], TO_TEST)
    last = (done.stdout.splitlines() or [done.stderr])[-1]
    if done.returncode:
        print(done.stdout[-20_000:], done.stderr, sep="\n")
    print(f"pythons: {name}: {last} ({time.monotonic() - began:.0f} s)", flush=True)
    return done.returncode == 0


def main() -> int:
    """0 when the tests pass everywhere."""
    there = pythons()
    oldest = min(there, key=lambda version: tuple(map(int, version.split(".")[:2])))
    todo = [(version, version, "constraints.txt") for version in there]
    todo.append((f"{oldest} with the lowest versions", oldest, "constraints-lowest.txt"))
    failed = []
    for name, version, constraints in todo:
        home = HOMES / name.replace(" ", "-")
        here = environment(there[version], constraints, home)
        if not (here and passes(name, here)):
            failed.append(name)
    print(f"pythons: {', '.join(name for name, _, _ in todo)}: ", end="")
    print(f"FAILED: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
