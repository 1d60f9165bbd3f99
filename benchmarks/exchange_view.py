"""What the exchange sees when 20, 100 or 500 calls come at once: by limiter, network and count.

Time over the optimum, the busiest second wherever it begins, refusals. Mostly in virtual time, one
process for each limiter (`benchmarks.one_limiter`), those of others in an environment of their
own; before that, some of the same cases over real sockets.
Run: `python -m benchmarks.exchange_view`.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import over_sockets
from benchmarks.exchange_tables import (
    JUDGED,
    LIMITERS,
    Case,
    View,
    busiest_table,
    picture,
    real_table,
    refusals_table,
    time_table,
)
from benchmarks.exchanges import LIMIT
from benchmarks.figures import installed, save
from benchmarks.networks import NEAR, PLAIN
from benchmarks.one_limiter import OURS, OURS_WITH_FLOOR
from benchmarks.targets import at_most, told

_ROOT = Path(__file__).parent.parent
_OTHERS = _ROOT / ".venv-bench" / "bin" / "python"
_AT_A_TIME = 2
_TO_END = 300.0

_MOST_TIMES = {
    (OURS, NEAR.name): 1.03,
    (OURS, PLAIN.name): 1.12,
    (OURS_WITH_FLOOR, PLAIN.name): 1.05,
}
_MOST_APART = 0.03
"""What real time may differ by: sockets, and timers that fire late."""


def _python(name: str) -> str:
    """Of the environment that it is installed in."""
    here = name.startswith((OURS, "aiolimiter"))
    return sys.executable if here else str(_OTHERS)


def measured(name: str) -> dict[str, Any]:
    """One limiter's figures and its version; none, and a line that says why, if it cannot run."""
    python = _python(name)
    if not Path(python).exists():
        return _nothing(f"{name}: not installed here (make bench sets it up)")
    try:
        done = subprocess.run(
            [python, "-m", "benchmarks.one_limiter", name],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=_TO_END,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _nothing(f"{name}: not measured: it did not come to its end")
    if done.returncode:
        return _nothing(f"{name}: not measured: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return dict(json.loads(done.stdout))


def _nothing(why: str) -> dict[str, Any]:
    print(why)
    return {"cases": [], "versions": {}}


def in_virtual_time() -> tuple[list[Case], dict[str, str]]:
    """The cases of all limiters, and what was compared."""
    # Those that poll take longest, and the last of these are throttled-py and ccxt.
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        found = list(pool.map(measured, reversed(LIMITERS)))[::-1]
    cases = [case for one in found for case in one["cases"]]
    return cases, {name: number for one in found for name, number in one["versions"].items()}


def judged(view: View) -> bool:
    """Print what is promised beside what was seen; whether all was kept."""
    kept = []
    for (limiter, network), most in _MOST_TIMES.items():
        worst = view.most("times_worst", limiter, network=network, calls=JUDGED)
        name = f"{limiter}: {JUDGED} calls, {network}, over the optimum"
        kept.append(at_most(name, worst, most, form=".3f"))
    for limiter in (OURS, OURS_WITH_FLOOR):
        for key, name in (
            ("busiest_sliding", "busiest second"),
            ("busiest_fixed", "busiest second of any clock"),
            ("refusals_worst", "refused"),
        ):
            most = 0 if key == "refusals_worst" else LIMIT
            kept.append(at_most(f"{limiter}: {name}, all runs", view.most(key, limiter), most))
    return all(kept)


def judged_in_real_time(view: View, real: Iterable[Case]) -> bool:
    """The same over real sockets, and how far the two lie apart."""
    kept = []
    for one in real:
        limiter, network, calls = one["limiter"], one["network"], one["calls"]
        alike = view.alike(one)
        name = f"real: {limiter}, {calls} calls, {network}"
        figure = f"{one['seconds']:.2f} s ({alike['seconds']:.2f}), most {one['busiest_sliding']}"
        if not limiter.startswith(OURS):
            told(name, figure)
            continue
        bound = _MOST_TIMES.get((limiter, network)) if calls == JUDGED else None
        kept.append(
            told(
                name,
                figure,
                f"<= {bound} times" if bound else f"<= {LIMIT}",
                kept=one["busiest_sliding"] <= LIMIT
                and not one["refusals_worst"]
                and (bound is None or one["times"] <= bound),
            )
        )
        if bound:
            apart = abs(one["seconds"] / alike["seconds"] - 1)
            kept.append(at_most("  apart from virtual time", apart, _MOST_APART, form=".3f"))
    return all(kept)


def main() -> int:
    """Print the figures beside their targets and keep them; 0 when every target is kept."""
    real = asyncio.run(over_sockets.compare())
    cases, versions = in_virtual_time()
    view = View(cases)
    if not {OURS, OURS_WITH_FLOOR} <= set(view.limiters):
        return 1
    kept = [judged(view), judged_in_real_time(view, real)]
    results = {
        "exchange_view": {**busiest_table(view), "picture": picture(view)},
        "exchange_view_time": time_table(view),
        "exchange_view_refusals": refusals_table(view),
        "exchange_view_real": {**real_table(view, real), "raw": real},
    }
    for name, result in results.items():
        print()
        for row in (result["columns"], *result["rows"]):
            print(f"{row[0]:32s}" + "".join(f"{cell:>21s}" for cell in row[1:]))
        if view.is_complete:
            save(name, result, versions=versions | installed("aiohttp"))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
