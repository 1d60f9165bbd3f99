"""What came of a client in a situation: how soon all was gone, and how soon it was told."""

import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.exchanges import LIMIT
from benchmarks.time_to_flat.situations import ONE_WAY


class Run(NamedTuple):
    """One client in one situation: the calls as their callers saw them, and the book."""

    url: str
    calls: list[dict[str, Any]]
    book: dict[str, Any]

    @property
    def flat(self) -> float | None:
        """Seconds; None when an order is left."""
        if self.book["open"]:
            return None
        return float(max(self.book["gone"].values())) - ONE_WAY - self._began

    @property
    def told(self) -> float:
        """Seconds of the call that took longest."""
        return float(max(call["told"] for call in self.calls))

    @property
    def _began(self) -> float:
        return float(min(call["began"] for call in self.calls))

    @property
    def period(self) -> float:
        """Seconds after which tokens came back: from a cancel to the fifth after it."""
        arrived = [at for at, path, _ in self.book["arrivals"] if "cancel" in path]
        later = zip(arrived, arrived[LIMIT:], strict=False)
        return float(statistics.median(after - at for at, after in later))

    def figures(self) -> dict[str, Any]:
        """To be kept."""
        return {"flat": self.flat, "told": self.told, "busiest": self.book["busiest"]}

    def curve(self) -> list[tuple[float, int]]:
        """Orders that are open at the exchange, from each change on; the last is the report."""
        left = sum(map(len, self.book["placed"].values()))
        changes = [(0.0, left)]
        for at in sorted(self.book["gone"].values()):
            left -= 1
            changes.append((round(at - self._began, 3), left))
        return [*changes, (round(self.told, 3), left)]


def middle(runs: Sequence[Run]) -> Run:
    """The one with the median time to flat."""
    return sorted(runs, key=lambda run: math.inf if run.flat is None else run.flat)[len(runs) // 2]


class Spread(NamedTuple):
    """A median, the least and the most."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        if f"{self.low:.2f}" == f"{self.high:.2f}":
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def spread(values: Sequence[float | None]) -> Spread | None:
    """Of all runs; None if in one of them an order was left."""
    seconds = [value for value in values if value is not None]
    if len(seconds) < len(values):
        return None
    return Spread(min(seconds), statistics.median(seconds), max(seconds))


def flat_of(runs: list[Run]) -> Spread | None:
    """How soon all was gone."""
    return spread([run.flat for run in runs])


def told_of(runs: list[Run]) -> Spread:
    """How soon it was told."""
    found = spread([run.told for run in runs])
    assert found is not None
    return found
