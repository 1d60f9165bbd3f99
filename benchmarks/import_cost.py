"""What an import costs: this SDK's, the libraries' that it stands on, and others'.

Each runs in a fresh process, all in turn, from compiled files, as after an installation. Ratios are
formed within a round; the resident memory is that of a process which did nothing else. Run:
`python -m benchmarks.import_cost`.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import installed, save
from benchmarks.peers.process import BY_HAND, CCXT_LAST, CCXT_NEWEST, HTTPX, OURS, Peer

_SECONDS = 16.0
_LEAST_ROUNDS = 3
_MOST_SECONDS = 60.0
_MOST_TIMES = 1.2
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


_MODEL = "import aiohttp, aiolimiter, pydantic\nclass Model(pydantic.BaseModel):\n    number: int"
_CCXT = "import ccxt.async_support as ccxt\nccxt.htx()"

FLOOR = Import(BY_HAND, "aiohttp, aiolimiter, pydantic, one model", _MODEL, "aiohttp")
SDK = Import(OURS, "htx_async", "import htx_async", "htx-async")

IMPORTS = (
    FLOOR,
    Import(BY_HAND, "aiohttp and pydantic", "import aiohttp, pydantic", "aiohttp"),
    SDK,
    Import(HTTPX, "httpx {} and pydantic", "import httpx, pydantic\nhttpx.AsyncClient()", "httpx"),
    Import(CCXT_LAST, "ccxt {}", _CCXT, "ccxt"),
    Import(CCXT_NEWEST, "ccxt {}", _CCXT, "ccxt"),
)


class Cost(NamedTuple):
    """Of one fresh process."""

    seconds: float
    megabytes: float
    version: str


def measure(one: Import, compiled: str) -> Cost:
    """What `one` costs. `compiled` is a folder for this environment's compiled files, as the SDK
    itself was not installed into it by pip; others are compiled where they are."""
    code = _MEASURE.format(statement=one.statement, distribution=one.distribution)
    env = {**os.environ, **({} if one.peer.venv else {"PYTHONPYCACHEPREFIX": compiled})}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [one.peer.python, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=_MOST_SECONDS,
        env=env,
    )
    seconds, megabytes, version = done.stdout.split()
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


def keep(rows: dict[Import, Row], costs: dict[Import, list[Cost]]) -> None:
    """Save what a complete run gave."""
    ccxt = " and ".join(costs[one][0].version for one in IMPORTS[-2:])
    httpx = next(costs[one][0].version for one in IMPORTS if one.distribution == "httpx")
    result = {
        "columns": ["import", "ms", "ratio to the first row", "resident, MB"],
        "rows": [one.cells(ours=what is SDK) for what, one in rows.items()],
        "note": (
            "Fresh processes, from compiled files; medians, and in brackets the quartiles. httpx "
            "and ccxt load parts of themselves when a client is made, so one is made."
        ),
        "inline": {"ratio": f"{rows[SDK].ratio:.2f}", "megabytes": f"{rows[SDK].megabytes:.0f}"},
        "raw": {one.label: one._asdict() for one in rows.values()},
    }
    ours = installed("htx-async", "aiohttp", "aiolimiter", "pydantic")
    save("import_cost", result, versions={**ours, "ccxt": ccxt, "httpx": httpx})


def main() -> int:
    """Print the figures; 0 when this SDK's are within their bounds."""
    costs = compare()
    rows = {one: row(one, mine, costs[FLOOR]) for one, mine in costs.items()}
    print(f"{'import':42s}      ms  times the first       MB")
    for one in rows.values():
        spread = f"{one.ratio:.2f} ({one.low:.2f} to {one.high:.2f})"
        print(f"{one.label:42s} {one.milliseconds:7.0f}  {spread:20s} {one.megabytes:4.0f}")
    for missing in (one for one in IMPORTS if one not in rows):
        print(f"{missing.peer}: not installed here (make bench sets it up)")
    ours = rows[SDK]
    # The quickest runs tell the two apart best; what disturbs a run only ever adds to it.
    times = min(one.seconds for one in costs[SDK]) / min(one.seconds for one in costs[FLOOR])
    kept = times <= _MOST_TIMES and ours.megabytes <= _MOST_MEGABYTES
    bounds = f"at most {_MOST_TIMES} times, {_MOST_MEGABYTES:g} MB"
    print(f"bound: {times:.2f} times at best, {ours.megabytes:.1f} MB; {bounds}", end=": ")
    print("kept" if kept else "MISSED")
    if len(rows) == len(IMPORTS):
        keep(rows, costs)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
