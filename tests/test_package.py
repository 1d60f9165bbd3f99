"""The package's door: a table of names, each loaded when it is asked for."""

import ast
import json
import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest

import htx_async
from tests.support.virtual import SOAK

pytestmark = pytest.mark.slow

FILE = Path(htx_async.__file__)
HOMES: dict[str, str] = vars(htx_async)["_HOMES"]
MODULES = ("codes", "enums", "errors", "events", "logs")


def ended(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """A fresh process that has run `code`, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", code, *args]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def told(code: str, *args: str) -> str:
    done = ended(code, *args)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_table_is_what_type_checkers_read() -> None:
    """Each name has one home, under its own name, and no checker meets a door for any name."""
    (switch,) = [node for node in ast.parse(FILE.read_text()).body if isinstance(node, ast.If)]
    read = [node for node in switch.body if isinstance(node, ast.ImportFrom)]
    assert len(read) == len(switch.body)
    names = [(name.name, node.module) for node in read for name in node.names]
    assert all(name.asname == name.name for node in read for name in node.names)
    assert [name for name, home in names if home == "htx_async"] == list(MODULES)
    assert {(name, home) for name, home in names if home != "htx_async"} == set(HOMES.items())
    assert len(names) == len(HOMES) + len(MODULES)
    hidden = {node.name for node in switch.orelse if isinstance(node, ast.FunctionDef)}
    assert {"__getattr__", "__dir__"} == hidden


def test_importing_it_loads_nothing_of_it() -> None:
    """Nor do `dir` and its errors, events and enums load a session, aiohttp or pydantic."""
    code = (
        "import sys, htx_async\n"
        "print(*[name for name in sys.modules if name.startswith('htx_async.')])\n"
        "assert 'HtxSession' in dir(htx_async)\n"
        "assert issubclass(htx_async.errors.NotSent, htx_async.errors.HtxError)\n"
        "assert htx_async.codes and htx_async.enums.Outcome.UNKNOWN\n"
        "assert not {'aiohttp', 'pydantic', 'htx_async.session'} & set(sys.modules)\n"
    )
    assert told(code) == "\n"


def test_every_name_is_the_one_at_its_home() -> None:
    """A star import brings all of them, and nothing else."""
    code = "from htx_async import *\nprint(*(name for name in globals() if name[0] != '_'))"
    assert set(told(code).split()) == set(HOMES)
    for name, home in HOMES.items():
        assert getattr(htx_async, name) is getattr(import_module(home), name)
        assert name in dir(htx_async)
    assert get_type_hints(htx_async.HtxSession.cancel_all_trailing)["return"] is (
        htx_async.CancelReport
    )


@pytest.mark.parametrize("name", ["HtxSesion", "__wrapped__", "_private", "no_such_module"])
def test_a_misspelt_name_is_an_attribute_error(name: str) -> None:
    """With the words of any module; an import of it is an ImportError."""
    with pytest.raises(AttributeError, match=f"module 'htx_async' has no attribute '{name}'"):
        getattr(htx_async, name)
    assert not hasattr(htx_async, name)
    done = ended(f"from htx_async import {name}")
    assert f"ImportError: cannot import name '{name}' from 'htx_async'" in done.stderr


def test_a_misspelt_name_brings_the_one_that_was_meant() -> None:
    """As for any module that loads its names at once."""
    done = ended("import htx_async\nhtx_async.HtxSesion")
    assert "Did you mean: 'HtxSession'?" in done.stderr


def test_mypy_knows_every_name_and_none_besides(tmp_path: Path) -> None:
    """A misspelt name is an error wherever it stands; an exported one and its modules are not."""
    file = tmp_path / "strategy.py"
    lines = ["import htx_async", *(f"from htx_async import {name}" for name in sorted(HOMES))]
    lines += [f"htx_async.{name}" for name in MODULES]
    first = len(lines) + 1
    lines += ["from htx_async import HtxSesion", "htx_async.Outcom", "x: htx_async.TokenBuckt"]
    file.write_text("\n".join(lines))
    options = ("--strict", "--follow-imports=skip", f"--cache-dir={tmp_path}")
    command = [sys.executable, "-m", "mypy", *options, str(FILE), str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    places = [line.split(":")[:2] for line in done.stdout.splitlines() if ": error: " in line]
    assert places == [[str(file), str(line)] for line in range(first, first + 3)], done.stdout


DRAWN = """
import importlib, inspect, json, pickle, sys, threading, types
import aiohttp, pydantic

names, steps = json.loads(sys.argv[1])

def fresh():
    for name in [one for one in sys.modules if one.partition(".")[0] == "htx_async"]:
        del sys.modules[name]
    return importlib.import_module("htx_async")

def at_once(package, wanted):
    gate, got = threading.Barrier(len(wanted)), {}
    def load(name):
        gate.wait()
        got[name] = getattr(package, name)
    threads = [threading.Thread(target=load, args=(name,)) for name in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(got) == set(wanted), got
    assert all(getattr(package, name) is one for name, one in got.items())

packages = [fresh()]
for step, *wanted in steps:
    package = packages[-1]
    if step == "name":
        for name in wanted:
            getattr(package, name)
    elif step == "module":
        assert isinstance(package.errors, types.ModuleType)
        assert package.errors.HtxError is package.HtxError
    elif step == "star":
        exec("from htx_async import *", scope := {})
        assert all(scope[name] is getattr(package, name) for name in names)
    elif step == "threads":
        at_once(package, wanted)
    elif step == "reload":
        assert importlib.reload(package) is package
    elif step == "purge":
        packages.append(fresh())
    elif step == "copy":
        spec = importlib.util.spec_from_file_location("another", package.__file__)
        another = importlib.util.module_from_spec(spec)
        sys.modules["another"] = another
        spec.loader.exec_module(another)
        assert all(getattr(another, name) is getattr(package, name) for name in wanted)
        assert another.errors is package.errors
    elif step == "inspect":
        assert set(names) <= set(dict(inspect.getmembers(package)))
    elif step == "pickle":
        error = package.ReadFailed("a list")
        assert type(pickle.loads(pickle.dumps(error))) is package.ReadFailed
        assert pickle.loads(pickle.dumps(package.Outcome.UNKNOWN)) is package.Outcome.UNKNOWN
    elif step == "replaced":
        package.HtxSession = None
        assert package.Outcome.UNKNOWN and package.HtxSession is None
        del package.HtxSession
        assert package.HtxSession.__name__ == "HtxSession"
    # Whatever was taken out of `sys.modules`, what belongs together stays together.
    for one in packages:
        assert issubclass(one.NotSent, one.HtxError)
        method = one.HtxSession.from_env.__func__
        assert inspect.unwrap(method).__globals__["InvalidRequest"] is one.InvalidRequest
        assert one.errors.HtxError is one.HtxError
"""

STEPS = ("name", "module", "star", "threads", "reload", "purge", "copy", "inspect", "pickle")


@pytest.mark.parametrize("seed", range(20 if SOAK else 3))
def test_names_stay_together_whatever_is_done_to_the_package(seed: int) -> None:
    """Drawn: names, threads, reloads, star imports, copies, suites that take the package out of
    `sys.modules`: an error that one copy raises is caught by its own name, never by another's."""
    chance, names = random.Random(seed), sorted(HOMES)
    steps = [
        [chance.choice((*STEPS, "replaced")), *chance.sample(names, chance.randint(1, 6))]
        for _ in range(10)
    ]
    assert told(DRAWN, json.dumps([names, steps])) == "", steps
