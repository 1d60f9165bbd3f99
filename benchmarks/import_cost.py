"""What a start costs: of this SDK, of its command, of the libraries that they stand on, of others.

Each runs in a fresh process, all in turn, from compiled files, as after an installation. Ratios are
formed within a round; the resident memory is that of a process which did nothing else. So is what a
run of pytest pays for the plugin, whose suite asks for none of its fixtures. Run:
`python -m benchmarks.import_cost`.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import installed, save
from benchmarks.peers.process import BY_HAND, CCXT_LAST, CCXT_NEWEST, HTTPX, OURS, Peer

_SECONDS = 20.0
_LEAST_ROUNDS = 3
_MOST_SECONDS = 60.0
_MOST_TIMES = 1.2
_MOST_TIMES_OF_A_COMMAND = 1.15
_MOST_OF_THE_PLUGIN = 0.02
_MOST_MEGABYTES = 48.0

_MEASURE = """
import time
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
with open("/proc/self/statm") as statm:
    pages = int(statm.read().split()[1])
import importlib.metadata
print(seconds, pages * 4096 / 1e6, importlib.metadata.version("{distribution}"))
"""


class Import(NamedTuple):
    """A statement, the peer in whose environment it runs, and the distribution that names it."""

    peer: Peer
    label: str
    statement: str
    distribution: str


_MODEL = "import aiohttp, pydantic\nclass Model(pydantic.BaseModel):\n    number: int"
_CCXT = "import ccxt.async_support as ccxt\nccxt.htx()"
_COMMAND = """
import sys
sys.argv = ["htx-async", *{args}]
from htx_async.__main__ import main
try:
    main()
except SystemExit as end:
    assert end.code == {code}
"""

FLOOR = Import(
    BY_HAND, "aiohttp, aiolimiter, pydantic, one model", f"import aiolimiter\n{_MODEL}", "aiohttp"
)
SDK = Import(OURS, "htx_async", "from htx_async import HtxSession", "htx-async")
COMMAND_FLOOR = Import(
    BY_HAND, "aiohttp, pydantic, one model, typer", f"import typer\n{_MODEL}", "typer"
)
"""Without a model pydantic loads half of itself only."""
COMMAND = Import(
    OURS,
    "htx-async cancel-all, up to its complaint that no contract is named",
    _COMMAND.format(args=["cancel-all", "--yes"], code=2),
    "htx-async",
)

IMPORTS = (
    FLOOR,
    Import(BY_HAND, "aiohttp and pydantic", "import aiohttp, pydantic", "aiohttp"),
    SDK,
    Import(OURS, "htx_async, as long as no name of it is used", "import htx_async", "htx-async"),
    COMMAND_FLOOR,
    Import(BY_HAND, "aiohttp, pydantic, typer", "import aiohttp, pydantic, typer", "typer"),
    COMMAND,
    Import(
        OURS,
        "htx-async cancel-all --help",
        _COMMAND.format(args=["cancel-all", "--help"], code=0),
        "htx-async",
    ),
    Import(HTTPX, "httpx {} and pydantic", "import httpx, pydantic\nhttpx.AsyncClient()", "httpx"),
    Import(CCXT_LAST, "ccxt {}", _CCXT, "ccxt"),
    Import(CCXT_NEWEST, "ccxt {}", _CCXT, "ccxt"),
)


class Cost(NamedTuple):
    """Of one fresh process."""

    seconds: float
    megabytes: float
    version: str


def _environment(**more: str) -> dict[str, str]:
    """This one, in which compiled files are kept."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | more


def measure(one: Import, compiled: str) -> Cost:
    """What `one` costs. `compiled` is a folder for this environment's compiled files, as the SDK
    itself was not installed into it by pip; others are compiled where they are."""
    code = _MEASURE.format(statement=one.statement, distribution=one.distribution)
    env = _environment(**({} if one.peer.venv else {"PYTHONPYCACHEPREFIX": compiled}))
    done = subprocess.run(
        [one.peer.python, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=_MOST_SECONDS,
        env=env,
    )
    # A command may have had something to say before.
    seconds, megabytes, version = done.stdout.splitlines()[-1].split()
    return Cost(float(seconds), float(megabytes), version)


def compare() -> dict[Import, list[Cost]]:
    """Rounds until the time is over, of all that are installed; the first compiles."""
    with tempfile.TemporaryDirectory() as compiled:
        here = [one for one in IMPORTS if Path(one.peer.python).exists()]
        for one in here:
            measure(one, compiled)
        costs: dict[Import, list[Cost]] = {one: [] for one in here}
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end or len(costs[FLOOR]) < _LEAST_ROUNDS:
            for one in here:
                costs[one].append(measure(one, compiled))
    return costs


def plugin() -> float:
    """Seconds of CPU that a run of pytest with one test pays for the plugin: the median over rounds
    of a run with it and one without."""
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "test_nothing.py"
        suite.write_text("def test_nothing(): pass\n")

        # What pytest rewrites is kept beside its source, not under a prefix of its own.
        env = _environment()

        def seconds(*options: str) -> float:
            command = [OURS.python, "-m", "pytest", "-q", "-c", os.devnull, *options, str(suite)]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True, capture_output=True, timeout=_MOST_SECONDS, env=env)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

        seconds()
        end, costs = time.monotonic() + _SECONDS, list[float]()
        while time.monotonic() < end or len(costs) < _LEAST_ROUNDS:
            with_it = seconds()
            costs.append(with_it - seconds("-p", "no:htx_async"))
    return statistics.median(costs)


class Row(NamedTuple):
    """What came of one import; the ratio is to the floor."""

    label: str
    milliseconds: float
    low: float
    ratio: float
    high: float
    megabytes: float

    def cells(self, *, ours: bool) -> list[str]:
        """Its row of the table."""
        name = f"**{self.label}**" if ours else self.label
        spread = f"{self.ratio:.2f} ({self.low:.2f} to {self.high:.2f})"
        return [name, f"{self.milliseconds:.0f}", spread, f"{self.megabytes:.0f}"]


def row(one: Import, costs: list[Cost], floor: list[Cost]) -> Row:
    """The medians of one import, and the quartiles of its ratio."""
    ratios = [mine.seconds / base.seconds for mine, base in zip(costs, floor, strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Row(
        one.label.format(costs[0].version),
        statistics.median(cost.seconds for cost in costs) * 1000,
        low,
        ratio,
        high,
        statistics.median(cost.megabytes for cost in costs),
    )


def keep(
    rows: dict[Import, Row], costs: dict[Import, list[Cost]], command: Row, plugin: float
) -> None:
    """Save what a complete run gave."""
    ccxt = " and ".join(costs[one][0].version for one in IMPORTS[-2:])
    httpx = next(costs[one][0].version for one in IMPORTS if one.distribution == "httpx")
    result = {
        "columns": ["start", "ms", "ratio to the first row", "resident, MB"],
        "rows": [one.cells(ours=what.peer is OURS) for what, one in rows.items()],
        "note": (
            "Fresh processes, from compiled files; medians, and in brackets the quartiles. httpx "
            "and ccxt load parts of themselves when a client is made, so one is made. The start of "
            f"a command costs {command.ratio:.2f} times what aiohttp, pydantic with one model and "
            f"typer cost, and the plugin costs a run of pytest {plugin * 1000:.0f} ms."
        ),
        "inline": {"ratio": f"{rows[SDK].ratio:.2f}", "megabytes": f"{rows[SDK].megabytes:.0f}"},
        "raw": {one.label: one._asdict() for one in rows.values()},
    }
    ours = installed("htx-async", "aiohttp", "aiolimiter", "pydantic", "typer")
    save("import_cost", result, versions={**ours, "ccxt": ccxt, "httpx": httpx})


def main() -> int:
    """Print the figures; 0 when this SDK's are within their bounds."""
    costs = compare()
    rows = {one: row(one, mine, costs[FLOOR]) for one, mine in costs.items()}
    print(f"{'start':68s}      ms  times the first       MB")
    for one in rows.values():
        spread = f"{one.ratio:.2f} ({one.low:.2f} to {one.high:.2f})"
        print(f"{one.label:68s} {one.milliseconds:7.0f}  {spread:20s} {one.megabytes:4.0f}")
    for missing in (one for one in IMPORTS if one not in rows):
        print(f"{missing.peer}: not installed here (make bench sets it up)")
    ours = rows[SDK]
    # The quickest runs tell the two apart best; what disturbs a run only ever adds to it.
    times = min(one.seconds for one in costs[SDK]) / min(one.seconds for one in costs[FLOOR])
    command = row(COMMAND, costs[COMMAND], costs[COMMAND_FLOOR])
    paid = plugin()
    bounds = {
        f"import: {times:.2f} times at best, at most {_MOST_TIMES}": times <= _MOST_TIMES,
        f"import: {ours.megabytes:.1f} MB, at most {_MOST_MEGABYTES:g}": (
            ours.megabytes <= _MOST_MEGABYTES
        ),
        f"a command: {command.ratio:.2f} times {COMMAND_FLOOR.label}, at most "
        f"{_MOST_TIMES_OF_A_COMMAND}": command.ratio <= _MOST_TIMES_OF_A_COMMAND,
        f"the plugin: {paid * 1000:.1f} ms, at most {_MOST_OF_THE_PLUGIN * 1000:g}": (
            paid <= _MOST_OF_THE_PLUGIN
        ),
    }
    for bound, is_kept in bounds.items():
        print(f"bound: {bound}: {'kept' if is_kept else 'MISSED'}")
    if len(rows) == len(IMPORTS):
        keep(rows, costs, command, paid)
    return 0 if all(bounds.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
