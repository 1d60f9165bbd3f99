"""What CONTRIBUTING.md tells a newcomer to type and to open is there."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT, TESTS

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TOLD = dict(re.findall(r"^([a-z]+):.*? ## (.+)$", MAKEFILE, re.MULTILINE))
"""Each target that `make help` lists, and its line."""

WINGS = {path.parent.name for path in ROOT.glob("htx_async/*/__init__.py")}


def test_the_commands_that_it_names_are_targets() -> None:
    """`make x` of the page is a target of the Makefile, and has its line in `make help`."""
    named = set(re.findall(r"\bmake ([a-z]+)", PAGE))
    assert {"test", "fast", "fmt", "check", "help"} <= named
    assert named <= set(TOLD)


def test_the_parts_of_the_tests_that_it_names_are_there() -> None:
    """Whatever follows `T=` can be run, and each path that the page speaks of exists."""
    parts = re.findall(r"T=\"?(tests[\w/.]*)(?:::(\w+))?", PAGE)
    assert len(parts) > 2
    for path, test in parts:
        assert (ROOT / path).exists(), path
        assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8")
    for path in re.findall(r"`((?:tests|htx_async|docs)/[\w/.]+)`|\]\(([\w/.]+)", PAGE):
        assert (ROOT / (path[0] or path[1])).exists(), path


def test_what_it_says_of_the_great_run_is_what_that_does() -> None:
    """The targets that the page gives to `.ci/run` are those that it makes, in that order."""
    done = re.findall(r"^make --no-print-directory (\w+)", (ROOT / ".ci/run").read_text(), re.M)
    passage = PAGE.partition("`.ci/run` does everything")[2].partition("`make audit`")[0]
    assert re.findall(r"`make (\w+)`", passage) == done


def test_every_target_has_its_line_in_the_help() -> None:
    """None of those that can be asked for by name is left out, and none is told at length."""
    asked = MAKEFILE.partition(".PHONY:")[2].partition("\n\n")[0].replace("\\", " ").split()
    assert set(asked) == set(TOLD)
    assert max(map(len, TOLD.values())) <= 80


@pytest.mark.slow
def test_help_lists_the_targets() -> None:
    """A line each, from the comments of the Makefile."""
    done = subprocess.run(
        ["/usr/bin/env", "make", "--no-print-directory", "help"],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert lines == [["make", name, told] for name, told in TOLD.items()]


def _modules(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]


def test_the_folders_of_the_tests_are_the_wings() -> None:
    """Each folder with tests is one of the package, or one of the two that the page explains."""
    folders = {path.parent.name for path in TESTS.glob("*/__init__.py")}
    assert folders - WINGS == {"support", "whole_calls"}
    for name in folders:
        assert _modules(TESTS / name), name


def test_no_test_module_imports_from_another() -> None:
    """What several need stands in `tests/support`."""
    found = [
        (path.name, line)
        for path in TESTS.rglob("*.py")
        for line in re.findall(r"^from tests[\w.]*\.test_\w+ import .*", path.read_text(), re.M)
    ]
    assert found == []
