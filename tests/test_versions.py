"""The project's own version, and those that it is tried with: of what it needs, and of Python."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from trove_classifiers import classifiers

import htx_async
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BY_HAND = {"mutation"}
"""What only a person starts, with the versions of constraints.txt."""


def pins(name: str) -> dict[str, Version]:
    """What a file of constraints pins."""
    lines = (ROOT / name).read_text().splitlines()
    stated = [line for line in lines if line and not line.startswith("#")]
    # Neither an index nor a hash, nor anything else that is no version.
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in stated)
    assert stated == sorted(stated, key=str.lower)
    return {pin.partition("==")[0]: Version(pin.partition("==")[2]) for pin in stated}


def required() -> list[Requirement]:
    """Everything that pyproject.toml asks for, for use and for the tests."""
    extras = PROJECT["optional-dependencies"]
    asked = [one for name, some in extras.items() if name not in BY_HAND for one in some]
    return [Requirement(one) for one in (*PROJECT["dependencies"], *asked)]


def lowest(requirement: Requirement) -> Version:
    """The lowest version that is allowed."""
    (bound,) = [one.version for one in requirement.specifier if one.operator == ">="]
    return Version(bound)


def test_the_lowest_versions_are_those_of_pyproject() -> None:
    """Each of them is pinned, to its lower bound, and nothing else is; all of them are told alike
    where they are asked for twice."""
    bounds: dict[str, set[Version]] = {}
    for requirement in required():
        bounds.setdefault(requirement.name, set()).add(lowest(requirement))
    assert {name: {version} for name, version in pins("constraints-lowest.txt").items()} == bounds


def test_the_usual_versions_are_allowed() -> None:
    """constraints.txt has a version of each that pyproject.toml takes."""
    usual = pins("constraints.txt")
    for requirement in required():
        assert requirement.specifier.contains(usual[requirement.name], prereleases=True)


def test_the_pages_add_to_the_usual_versions() -> None:
    """docs/constraints.txt pins what only the pages need, and nothing twice."""
    assert {"furo", "myst-parser", "Sphinx"} <= set(pins("docs/constraints.txt"))
    assert not set(pins("docs/constraints.txt")) & set(pins("constraints.txt"))


def test_the_classifiers_name_the_pythons_that_are_tried() -> None:
    """No older one than is asked for, and the one that runs this, if it is no newer than all."""
    named = {
        tuple(map(int, one.rpartition(" ")[2].split(".")))
        for one in PROJECT["classifiers"]
        if re.search(r"Python :: 3\.\d+$", one)
    }
    assert named == {(3, 11), (3, 12), (3, 13)}
    assert PROJECT["requires-python"] == ">=3.11"


def test_the_classifiers_are_known_and_in_order() -> None:
    """Each is one of the index's own, and none stands twice."""
    named = PROJECT["classifiers"]
    assert set(named) <= classifiers
    assert named == sorted(set(named))


def test_the_version_stands_in_one_place() -> None:
    """The build reads it from the package, where no other file says it again."""
    number = htx_async.__version__
    assert PROJECT["dynamic"] == ["version"]
    saying = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "pyproject.toml", *(ROOT / "htx_async").rglob("*.py"))
        if f'"{number}"' in file.read_text()
    ]
    assert saying == ["htx_async/__init__.py"]
    assert str(Version(number)) == number


KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")


def test_the_changelog_is_in_its_form() -> None:
    """What is not released stands first, then each version with its day, the last one first; under
    each only the six kinds of changes, in their order, with entries, none of them twice."""
    text = (ROOT / "CHANGELOG.md").read_text()
    first, *released = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert first.startswith("[Unreleased]\n")
    names = [re.match(r"\[(\d+\.\d+\.\d+)] - (\d{4}-\d\d-\d\d)\n", one) for one in released]
    versions = [(Version(name[1]), date.fromisoformat(name[2])) for name in names if name]
    assert len(versions) == len(released)
    assert versions == sorted(versions, reverse=True)
    assert str(versions[0][0]) == htx_async.__version__
    for part in (first, *released):
        kinds = re.findall(r"^### (.*)$", part, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds]
        assert all(section.strip().startswith("- ") for section in re.split(r"### .*\n", part)[1:])
    entries = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(entries) == len(set(entries))


@pytest.fixture
def script() -> ModuleType:
    """`.ci/pythons.py`."""
    spec = importlib.util.spec_from_file_location("pythons", ROOT / ".ci/pythons.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_python_that_does_not_start_is_named_and_left_out(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of four names on the PATH one is too old, one fails, one is no program, and one starts."""
    here = f"python3.{sys.version_info[1]}"
    for name, text in {
        here: f'#!/bin/sh\nexec "{sys.executable}" "$@"\n',
        "python3.10": "#!/bin/sh\nexit 0\n",
        "python3.97": "#!/bin/sh\necho no such version >&2\nexit 127\n",
        "python3.98": "no program",
        "python3.11-config": "#!/bin/sh\nexit 1\n",
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (version,) = script.pythons()
    assert version == sys.version.split()[0]
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"pythons: python3.{number} is on the PATH and does not start: left out"
        for number in (97, 98)
    ]


def test_the_fast_tests_are_there(script: ModuleType) -> None:
    """Each module that is tried on every Python exists, and they are a good part of all."""
    assert all((ROOT / name).is_file() for name in script.FAST)
    assert len(script.FAST) == len(set(script.FAST)) > 20


@pytest.mark.slow
def test_a_child_that_hangs_or_fails_is_told(script: ModuleType) -> None:
    """Neither is an exception, and neither passes for success."""
    late = script.run([sys.executable, "-c", "import time; time.sleep(60)"], 0.05)
    assert (late.returncode, late.stderr) == (1, "no end within 0.05 s")
    assert script.printed([sys.executable, "-c", "raise SystemExit(3)"]) == ""
    assert script.printed(["/no/such/python"]) == ""
    assert isinstance(late, subprocess.CompletedProcess)
