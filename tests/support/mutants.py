"""Do the tests notice when the code changes? Runs mutmut, writes `mutants.md`; see `make mutants`.

mutmut changes functions only: the table of codes, which is none, is changed here row by row.
`python -m tests.support.mutants htx_async/cancel/judge.py ...` runs these modules alone, and keeps
what was written of the others.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.figures import installed, save
from htx_async import codes
from htx_async.codes import Code, CodeClass

REPORT = Path(__file__).parent / "mutants.md"
WORK = Path("mutants")
PACKAGE = Path("htx_async")
LONGEST = 5400.0
"""Seconds for all of mutmut's work."""

_KILLED = {1, 3, -24, 24, 36, 152, 255}
"""mutmut's exit codes of a failed test, and of one that a mutant kept from ending."""

_QUIETLY = ["-q", "-pno:cacheprovider", "-Wignore::pytest.PytestAssertRewriteWarning"]
"""The package is imported before pytest could rewrite its asserts; it has none."""

_LISTED = re.compile(r"\| `(.+?)` \| `(.+?)` \| (\d+) \| (.+?) \|")
_MODULE = re.compile(r"^\| `(.+?)` \| ([\d,]+) \| [\d,]+ \| [\d,]+ \| ([\d-]+) \|$", re.M)
_MODULES = "| module | mutants | killed | survived | run |\n|---|---|---|---|---|\n"
_TABLE = "table of codes"
_UNKNOWN = "?"
_SURVIVORS = "| where | line | mutants | why no test notices |\n|---|---|---|---|\n"


class Place(NamedTuple):
    """A line some of whose mutants survive."""

    where: str
    line: str


Reasons = dict[Place, tuple[int, str]]
"""How many mutants survive on a line, and why."""


class Tally(NamedTuple):
    """What became of the mutants of one module, and on which day."""

    name: str
    mutants: int
    survivors: Counter[Place]
    day: str = datetime.now(UTC).date().isoformat()


def main(modules: Sequence[str]) -> int:
    """0 when each mutant was killed, or has a reason why it could not be."""
    shutil.rmtree(WORK, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "1"]
    names = [_dotted(module) for module in modules]
    try:
        subprocess.run([*command, *(f"{name}.*" for name in names)], check=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        print(f"\nunfinished after {LONGEST:g} s; nothing was written")
        return 1
    run = [WORK / f"{module}.meta" for module in modules] or sorted(WORK.rglob("*.py.meta"))
    tallies = [tally for tally in map(_tally, run) if tally.mutants]
    if not modules or str(PACKAGE / "codes.py") in modules:
        tallies.append(_tally_of_the_table())
    reasons = _reasons()
    others: Counter[Place] = Counter()
    if modules:
        tallies.extend(_kept(tallies, reasons))
        others = _places(reasons, lambda place: not any(_is_of(place, one) for one in tallies))
    tallies.sort(key=lambda tally: tally.name)
    REPORT.write_text(_report(tallies, others, reasons))
    save("mutants", {"inline": _figures(tallies)}, versions=installed("mutmut"))
    found = sum((tally.survivors for tally in tallies), Counter[Place]())
    missing = [place for place in found if _why(reasons, place, found[place]) == _UNKNOWN]
    for where, line in missing:
        print(f"survives without a reason: {where}: {line}")
    print(_score(tallies))
    return int(bool(missing))


def _dotted(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _kept(run: Sequence[Tally], reasons: Reasons) -> Iterator[Tally]:
    """What the last report says of modules that are not `run` now, and that there still are."""
    again = {tally.name for tally in run}
    for name, mutants, day in _MODULE.findall(REPORT.read_text()):
        if name in again or not (name == _TABLE or (PACKAGE / name).exists()):
            continue
        one = Tally(name, int(mutants.replace(",", "")), Counter(), day)
        yield one._replace(survivors=_places(reasons, partial(_is_of, tally=one)))


def _is_of(place: Place, tally: Tally) -> bool:
    return f"{place.where}.".startswith(f"{_dotted(tally.name)}.")


def _places(reasons: Reasons, wanted: Callable[[Place], bool]) -> Counter[Place]:
    """Those of the last report that are `wanted`."""
    return Counter({place: count for place, (count, _) in reasons.items() if wanted(place)})


def _tally(meta: Path) -> Tally:
    ends: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
    source = meta.with_suffix("")
    survivors = Counter(_place(source, key) for key in ends if ends[key] not in _KILLED)
    name = source.relative_to(WORK / PACKAGE).as_posix()
    return Tally(name, len(ends), survivors)


def _place(source: Path, key: str) -> Place:
    """Where a mutant differs from the function that it was made of."""
    module, _, mutant = key.removeprefix("htx_async.").rpartition(".")
    function = mutant.rpartition("__mutmut_")[0]
    spans = json.loads(source.with_name(f"{source.name}.spans").read_text())["spans"]
    lines = source.read_text().splitlines()

    def text(name: str) -> list[str]:
        first, last = spans[name]
        return [line.replace(name, "").strip() for line in lines[first - 1 : last]]

    pairs = zip(text(f"{function}__mutmut_orig"), text(mutant), strict=False)
    changed = next(before for before, after in pairs if before != after)
    plain = function.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    return Place(f"{module}.{plain}", changed.replace("|", "\\|"))


class Table:
    """A plugin of pytest: runs the tests of the table of codes once for each change of a row."""

    def __init__(self) -> None:
        self.tally = Tally(_TABLE, 0, Counter())

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if _is_noticed(session, lambda: None):
            raise pytest.UsageError("the tests of the table of codes fail as it is")
        changes = list(_changes_of_the_table())
        alive = Counter(place for place, change in changes if not _is_noticed(session, change))
        self.tally = self.tally._replace(mutants=len(changes), survivors=alive)
        return True


def _tally_of_the_table() -> Tally:
    table = Table()
    end = pytest.main([*_QUIETLY, "tests/test_codes.py"], [table])
    if end != pytest.ExitCode.OK:
        raise SystemExit(end)
    return table.tally


def _changes_of_the_table() -> Iterator[tuple[Place, Callable[[], object]]]:
    """Each row left out, of another class, and without its words."""
    for code, (code_class, words) in codes._TABLE.items():
        others = [CodeClass.NOTHING_TO_CANCEL, CodeClass.NOT_RETRYABLE]
        other = next(each for each in others if each is not code_class)
        rows = {"left out": None, f"as {other}": (other, words), "no words": (code_class, "")}
        for name, row in rows.items():
            yield Place(_TABLE, f"{code!r}: {name}"), partial(_put, code, row)


def _put(code: Code, row: tuple[CodeClass, str] | None) -> None:
    if row is None:
        del codes._TABLE[code]
    else:
        codes._TABLE[code] = row


def _is_noticed(session: pytest.Session, change: Callable[[], object]) -> bool:
    """Whether one of the collected tests fails after `change`, which a child process makes."""
    child = os.fork()
    if not child:
        signal.alarm(60)
        session.config.pluginmanager.unregister(name="terminalreporter")
        change()
        for item in session.items:
            item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
            if session.testsfailed:
                os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def _reasons() -> Reasons:
    """What the last report says of each line."""
    found = _LISTED.findall(REPORT.read_text()) if REPORT.exists() else []
    return {Place(where, line): (int(count), why) for where, line, count, why in found}


def _why(reasons: Reasons, place: Place, count: int) -> str:
    """The reason for as many mutants of this line, and no others."""
    known, why = reasons.get(place, (0, _UNKNOWN))
    return why if known == count else _UNKNOWN


def _figures(tallies: list[Tally]) -> dict[str, str]:
    mutants = sum(tally.mutants for tally in tallies)
    alive = sum(tally.survivors.total() for tally in tallies)
    share = f"{(mutants - alive) / mutants:.1%}"
    return {
        "made": f"{mutants:,}",
        "killed": f"{mutants - alive:,}",
        "share": share,
        "left": f"{alive}",
    }


def _score(tallies: list[Tally]) -> str:
    return "{killed} of {made} mutants killed, {share}".format(**_figures(tallies))


def _report(tallies: list[Tally], others: Counter[Place], reasons: Reasons) -> str:
    """`others`: lines of modules that no run has been of since they have their name."""
    modules = "".join(
        f"| `{name}` | {mutants} | {mutants - survivors.total()} | {survivors.total()} | {day} |\n"
        for name, mutants, survivors, day in tallies
    )
    rows = "".join(
        f"| `{place.where}` | `{place.line}` | {count} | {_why(reasons, place, count)} |\n"
        for survivors in (*(tally.survivors for tally in tallies), others)
        for place, count in survivors.items()
    )
    head = REPORT.read_text().partition("| module |")[0] if REPORT.exists() else ""
    return f"{head}{_MODULES}{modules}\n{_score(tallies)}.\n\n{_SURVIVORS}{rows}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
