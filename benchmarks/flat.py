"""How soon the last order is gone, beside what users would write: by hand, and ccxt.

*flat*: seconds until the cancel is sent that takes the last matching order; *told*: until the
report. Over real sockets, through a relay that takes 40 ms each way, to a simulated exchange in a
process of its own; each client is a process, too. Ours goes through all situations again and again,
the others once beside it. Every report is compared with the exchange's book. Run:
`python -m benchmarks.flat`.
"""

import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.exchanges import LIMIT
from benchmarks.figures import save
from benchmarks.peers.process import Missing, Process
from benchmarks.targets import told as tell
from benchmarks.time_to_flat.judge import problems
from benchmarks.time_to_flat.runs import Run, Spread, flat_of, middle, told_of
from benchmarks.time_to_flat.situations import ROUND_TRIP, SITUATIONS, Most, Situation

_OURS, _BY_HAND, _CCXT = "htx_async", "by_hand", "ccxt"
_ROUNDS = {_OURS: 3, _BY_HAND: 1, _CCXT: 1}
_ROOT = Path(__file__).parent.parent
_OTHERS = _ROOT / ".venv-bench" / "bin" / "python"
_PYTHON = {_OURS: sys.executable, _BY_HAND: sys.executable, _CCXT: str(_OTHERS)}
_LABELS = {_OURS: "htx_async", _BY_HAND: "by hand", _CCXT: "ccxt {}"}

_LEAST_APART = 0.1
_SHARE_APART = 0.05
"""By how much a plan's least may be above what an account with nothing open takes."""

_UNPLANNED = ("never", "moved", "moved_4002", "silent", "at_once", "after")
"""What no plan foresees: hosts and lists that do not answer, an account that turns out to have
moved, and another call."""


Runs = dict[str, list[Run]]
"""Those of one client, by situation."""


@contextmanager
def _process(python: str, module: str, *arguments: str) -> Iterator[Process]:
    if not Path(python).exists():
        raise Missing("not installed here (make bench sets it up)")
    command = [python, "-m", f"benchmarks.time_to_flat.{module}", *arguments]
    pipe = subprocess.PIPE
    worker = subprocess.Popen(command, cwd=_ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield Process(worker)
    finally:
        worker.kill()
        worker.communicate()


def measure(client: str, situations: Iterable[Situation]) -> tuple[Runs, dict[str, str]] | str:
    """All runs of one client and its versions, or why there are none."""
    runs: Runs = {}
    with ExitStack() as stack:
        try:
            worker = stack.enter_context(_process(_PYTHON[client], "worker", client))
            exchange = stack.enter_context(_process(sys.executable, "exchange"))
            for seed in range(_ROUNDS[client]):
                for each in situations:
                    run = _run(worker, exchange, each.name, seed)
                    runs.setdefault(each.name, []).append(run)
        except Missing as reason:
            return str(reason)
        return runs, worker.versions


def _measured(client: str) -> tuple[Runs, dict[str, str]] | str:
    """The others read no lists: for them some situations are the same."""
    return measure(client, [one for one in SITUATIONS if client == _OURS or not one.alike])


def _run(worker: Process, exchange: Process, name: str, seed: int) -> Run:
    urls = exchange.ask(situation=name, seed=seed)["urls"]
    calls = worker.ask(situation=name, urls=urls)["calls"]
    return Run(urls[-1], calls, exchange.ask())


def judged(ours: Runs) -> bool:
    """Print our figures beside their targets; whether all are kept."""
    kept = []
    for each in SITUATIONS:
        runs = ours[each.name]
        print(each.words)
        for name, of, most in (("flat", flat_of, each.flat), ("told", told_of, each.told)):
            kept.append(_at_most(f"  {name}", of(runs), _bound(most, name, ours)))
        kept += _planned(each, runs)
        busiest = max(run.book["busiest"] for run in runs)
        kept.append(tell("  busiest second", str(busiest), f"<= {LIMIT}", kept=busiest <= LIMIT))
        wrong = [word for run in runs for word in problems(each, run.url, run.calls, run.book)]
        words = f"{len(wrong)} not so" if wrong else "true to the book"
        kept.append(tell("  reports", words, "true", kept=not wrong))
        for word in wrong[:5]:
            print(f"    {word}")
    return all(kept)


def _bound(most: Most | None, name: str, ours: Runs) -> float | None:
    if most is None or not most.beside:
        return None if most is None else most.seconds
    runs = ours[most.beside]
    found = {"flat": flat_of, "told": told_of}[name](runs)
    if found is None:
        return None
    period = statistics.median(run.period for run in runs)
    return found.median + most.seconds + most.periods * period


def _at_most(name: str, found: Spread | None, most: float | None) -> bool:
    target = "" if most is None else f"<= {most:.2f} s"
    is_kept = most is None or (found is not None and found.median <= most)
    return tell(name, "an order is left" if found is None else f"{found} s", target, kept=is_kept)


def _planned(situation: Situation, runs: list[Run]) -> list[bool]:
    """Whether what was told lay between the plan's least and most."""
    if situation.name in _UNPLANNED:
        return []
    plans = [(*run.calls[0]["plan"], run.told) for run in runs]
    is_kept = all(
        least - max(_LEAST_APART, _SHARE_APART * least) <= took <= most
        for least, most, took in plans
    )
    least, most, _ = plans[0]
    return [tell("  as planned", f"{least:.2f} to {most:.2f} s", "in between", kept=is_kept)]


def beside(client: str, found: tuple[Runs, dict[str, str]] | str) -> None:
    """Print what came of another client."""
    if isinstance(found, str):
        tell(client, found)
        return
    print(client, *found[1].values())
    for each in SITUATIONS:
        if runs := found[0].get(each.name):
            worst = max(run.book["busiest"] for run in runs)
            tell(f"  {each.words}"[:52], f"{_cell(runs)}, most {worst}")


def _cell(runs: list[Run]) -> str:
    """Flat and told, in seconds."""
    flat = flat_of(runs)
    if flat is None:
        left = max(len(run.book["open"]) for run in runs)
        return f"never, {left} left / {told_of(runs)}"
    return f"{flat} / {told_of(runs)}"


def _runs_of(runs: Runs, situation: Situation) -> list[Run]:
    return runs.get(situation.name) or runs[situation.alike]


def result(found: Mapping[str, tuple[Runs, dict[str, str]]]) -> dict[str, Any]:
    """The table of docs/benchmarks.md, and the curves of its picture."""
    versions = found[_CCXT][1]
    labels = {client: label.format(versions["ccxt"]) for client, label in _LABELS.items()}
    busiest = {
        client: max(run.book["busiest"] for runs in of.values() for run in runs)
        for client, (of, _) in found.items()
    }
    named = {client: runs["named"] for client, (runs, _) in found.items()}
    return {
        "columns": ["flat / told, s", f"**{labels[_OURS]}**", labels[_BY_HAND], labels[_CCXT]],
        "rows": [
            [each.words, *(_cell(_runs_of(found[client][0], each)) for client in _LABELS)]
            for each in SITUATIONS
        ],
        "note": (
            "Flat: seconds until the cancel is sent that takes the last matching order; told: "
            f"until the report. Real sockets, {ROUND_TRIP * 1000:.0f} ms round trip; the last "
            "contract given is always one of those that have orders. By hand: aiohttp, "
            "AsyncLimiter(5, 1) and gather over all contracts (on V5, where that is known, a list "
            "and a cancel of each); ccxt: its cancel_all_orders of each, at a rateLimit of 200 ms; "
            "both ask again a second after a refusal for the rate. Most cancels in any one second "
            f"at the exchange, which allows five: {busiest[_OURS]}, {busiest[_BY_HAND]}, "
            f"{busiest[_CCXT]}. Of htx_async the median of {_ROUNDS[_OURS]} runs and, in brackets, "
            "all of them."
        ),
        "inline": {
            client: f"{flat.median:.1f}"
            for client, runs in named.items()
            if (flat := flat_of(runs)) is not None
        },
        "curves": [
            {"label": labels[client], "points": middle(runs).curve()}
            for client, runs in named.items()
        ],
        "raw": {
            client: {name: [run.figures() for run in runs] for name, runs in of.items()}
            for client, (of, _) in found.items()
        },
    }


def main() -> int:
    """Print the figures and keep them; 0 when ours keep their targets."""
    with ThreadPoolExecutor(len(_LABELS)) as pool:
        found = dict(zip(_LABELS, pool.map(_measured, _LABELS), strict=True))
    ours = found[_OURS]
    if isinstance(ours, str):
        tell(_OURS, ours, "measured", kept=False)
        return 1
    is_kept = judged(ours[0])
    for client in (_BY_HAND, _CCXT):
        beside(client, found[client])
    complete = {client: of for client, of in found.items() if not isinstance(of, str)}
    if len(complete) == len(_LABELS):
        versions = {name: n for _, own in complete.values() for name, n in own.items()}
        save("flat", result(complete), versions=versions)
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
