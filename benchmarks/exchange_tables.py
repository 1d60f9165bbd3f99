"""The tables and the picture of what the exchange sees, from the cases that were measured."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.exchanges import COUNTS, LIMIT
from benchmarks.limiters_of_others import IN_MEMORY
from benchmarks.networks import NEAR, NETWORKS, PLAIN, Network
from benchmarks.one_limiter import OURS, OURS_WITH_FLOOR, RUNS

LIMITERS = (OURS, OURS_WITH_FLOOR, *IN_MEMORY)
JUDGED = 100
"""Calls at once, of which time and refusals are told."""

STRICTEST = next(iter(COUNTS))

Case = dict[str, Any]


class View:
    """Figures to look up: `limiter` in `network`, at any of `counts` and numbers of `calls`."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        present = {case["limiter"] for case in cases}
        self.limiters = [name for name in LIMITERS if name in present]
        self.is_complete = len(present) == len(LIMITERS)

    def of(self, limiter: str, **wanted: Any) -> list[Case]:
        """All that match."""
        wanted = {"limiter": limiter, **wanted}
        return [case for case in self.cases if wanted.items() <= case.items()]

    def most(self, key: str, limiter: str, **wanted: Any) -> Any:
        """The worst of them; None where there are none."""
        return max((case[key] for case in self.of(limiter, **wanted)), default=None)

    def alike(self, real: Case) -> Case:
        """The same case in virtual time, as the strictest exchange counts."""
        keys = ("limiter", "network", "calls")
        [case] = self.of(**{key: real[key] for key in keys}, count=STRICTEST)
        return case


def _name(limiter: str) -> str:
    return f"**{limiter}**" if limiter.startswith(OURS) else limiter


def _table(view: View, cell: Callable[[str, Network], str]) -> dict[str, Any]:
    rows = [
        [_name(limiter), *(cell(limiter, network) for network in NETWORKS)]
        for limiter in view.limiters
    ]
    return {"columns": ["limiter", *(network.name for network in NETWORKS)], "rows": rows}


_MODELS = "; ".join(f"{network.name}: {network.words}" for network in NETWORKS)


def busiest_table(view: View) -> dict[str, Any]:
    """The busiest second."""

    def cell(limiter: str, network: Network) -> str:
        most = view.most("busiest_sliding", limiter, network=network.name)
        return "" if most is None else str(most)

    runs = " and ".join(f"{count} of {calls}" for calls, count in RUNS.items())
    return {
        **_table(view, cell),
        "note": (
            "Most requests that arrive in any one second, when five are allowed: the worst of "
            f"{runs} calls at once, each against an exchange that counts by sliding window, by "
            "fixed window and by token bucket (this SDK five times as many). The same holds for "
            f"the seconds of a clock at its worst phase. Virtual time. {_MODELS}."
        ),
    }


def time_table(view: View) -> dict[str, Any]:
    """Times over the optimum."""

    def cell(limiter: str, network: Network) -> str:
        found = [
            view.of(limiter, network=network.name, calls=calls, count=STRICTEST) for calls in RUNS
        ]
        return " / ".join(f"{case['times']:.2f}" for one in found for case in one)

    numbers = ", ".join(map(str, RUNS))
    return {
        **_table(view, cell),
        "note": (
            f"Seconds for {numbers} calls at once, over those of a client that knows all: five in "
            "each second and one round trip, (N - 1) // 5 + r. The exchange counts by sliding "
            "window; a refused call goes again after the reset that it names. Medians, virtual "
            "time; networks as above."
        ),
        "inline": _inline(view),
    }


def _inline(view: View) -> dict[str, str]:
    at = {"calls": JUDGED, "count": STRICTEST}
    [near] = view.of(OURS, network=NEAR.name, **at)
    [far] = view.of(OURS, network=PLAIN.name, **at)
    [floor] = view.of(OURS_WITH_FLOOR, network=PLAIN.name, **at)
    return {
        "optimum": f"{far['seconds'] / far['times']:.1f}",
        "seconds": f"{far['seconds']:.1f}",
        "seconds_with_floor": f"{floor['seconds']:.1f}",
        "times": f"{far['times']:.2f}",
        "times_with_floor": f"{floor['times']:.2f}",
        "times_near": f"{near['times']:.3f}",
        "burst": _span(case["busiest_sliding"] for case in view.of("aiolimiter (5, 1)")),
        "even": _span(case["busiest_sliding"] for case in view.of("aiolimiter (1, 0.2)")),
    }


def _span(numbers: Iterable[float]) -> str:
    low, *_, high = sorted((*(found := list(numbers)), found[0]))
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def refusals_table(view: View) -> dict[str, Any]:
    """Refusals by way of counting."""

    def cell(limiter: str, count: str) -> str:
        found = [
            view.of(limiter, network=network.name, calls=JUDGED, count=count)
            for network in NETWORKS
        ]
        return _span(case["refusals"] for one in found for case in one)

    return {
        "columns": ["limiter", *COUNTS],
        "rows": [
            [_name(limiter), *(cell(limiter, count) for count in COUNTS)]
            for limiter in view.limiters
        ],
        "note": (
            f"Refusals until {JUDGED} calls were served, by the exchange's way of counting; from "
            "the kindest network to the worst. Medians, virtual time."
        ),
    }


def real_table(view: View, real: Iterable[Case]) -> dict[str, Any]:
    """Real time beside virtual time."""
    rows = []
    for one in real:
        is_ours = one["limiter"].startswith(OURS)
        alike = view.alike(one)["seconds"] if is_ours else None
        rows.append(
            [
                _name(one["limiter"]),
                one["network"],
                str(one["calls"]),
                f"{one['seconds']:.2f}",
                "" if alike is None else f"{alike:.2f}",
                str(one["busiest_sliding"]),
            ]
        )
    return {
        "columns": ["limiter", "network", "calls", "seconds", "in virtual time", "busiest second"],
        "rows": rows,
        "note": (
            "Over real sockets, through a relay that delays; 20 calls: the median of three rounds "
            "and the busiest second of all. To other limiters this exchange refuses nothing."
        ),
    }


def picture(view: View) -> dict[str, Any]:
    """The busiest second of each limiter in each network."""
    return {
        "kind": "grid",
        "title": "Most requests in any one second, when five are allowed",
        "rows": [{"label": one, "ours": one.startswith(OURS)} for one in view.limiters],
        "columns": [network.name for network in NETWORKS],
        "values": [
            [view.most("busiest_sliding", limiter, network=network.name) for network in NETWORKS]
            for limiter in view.limiters
        ],
        "most": LIMIT,
    }
