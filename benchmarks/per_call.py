"""What one call costs beside what users would write or take instead; limiter off.

Every client runs in a process of its own, against a loopback server in one more; they take turns
in rounds, on asyncio and on uvloop, and ratios are formed within a round. CPU is that of the
client's process. First a simulated exchange judges what each of them sends. Run:
`python -m benchmarks.per_call`.
"""

import asyncio
import statistics
import sys
import time
from contextlib import ExitStack
from typing import Any, Literal, NamedTuple

from benchmarks.figures import save
from benchmarks.peers import ACCESS_KEY, SECRET_KEY
from benchmarks.peers.process import (
    BY_HAND,
    CCXT_NEWEST,
    FLOOR,
    OURS,
    PEERS,
    Missing,
    Peer,
    Process,
    process,
)
from benchmarks.server import serving
from htx_async.simulator import SimulatedExchange

_LOOPS = ("asyncio", "uvloop")
_SECONDS = 25.0
_LEAST_ROUNDS = 5
_WARM_UP = 60
_CALLS = 100
_AT_ONCE = 50

_MOST_TIMES = 1.15
"""Times what is written by hand, with one call in flight and with many."""

_ORDER_ID = "1512889773167009792"

_NOTE = (
    "A ratio compares CPU with the first row's in the same round: the median, and in brackets the "
    "quartiles. ccxt dropped this endpoint after 4.5.58, and its newest calls the cancel-all of "
    "*ordinary* orders when asked to cancel all trailing ones; measured is its cancel of one "
    "trailing order."
)


class Round(NamedTuple):
    """One client in one round: with one call in flight, and with many."""

    alone: dict[str, Any]
    at_once: dict[str, Any]


class Spread(NamedTuple):
    """A median and its quartiles."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


class Beside(NamedTuple):
    """How often one client's CPU holds another's: with one call in flight, and with many."""

    alone: Spread
    at_once: Spread


class Figures(NamedTuple):
    """What came of one client on one loop; CPU is over the floor's, waits are in seconds."""

    label: str
    cpu: Spread
    cpu_at_once: Spread
    seconds: float
    p50: float
    p99: float
    rate: float
    rate_at_once: float
    megabytes: float

    def cells(self, *, ours: bool) -> list[str]:
        """Its row of the table."""
        name = f"**{self.label}**" if ours else self.label
        waits = (f"{seconds * 1e6:.0f}" for seconds in (self.seconds, self.p50, self.p99))
        rates = (f"{rate:.0f}" for rate in (self.rate, self.rate_at_once, self.megabytes))
        return [name, str(self.cpu), str(self.cpu_at_once), *waits, *rates]


_COLUMNS = (
    "client",
    "CPU, ratio",
    f"{_AT_ONCE} in flight: CPU, ratio",
    "CPU, µs",
    "wall p50, µs",
    "wall p99, µs",
    "requests/s, one in flight",
    f"requests/s, {_AT_ONCE} in flight",
    "resident, MB",
)


def labelled(peer: Peer, running: Process) -> str:
    """What a reader calls it."""
    return peer.label.format(running.versions.get(peer.library))


async def judge(peer: Peer, running: Process) -> None:
    """One call against a simulated exchange, which has one order and has to lose it."""
    generation: Literal["v1", "v5"] = "v5" if peer is CCXT_NEWEST else "v1"
    async with SimulatedExchange(
        access_key=ACCESS_KEY, secret_key=SECRET_KEY, account=generation
    ) as exchange:
        (order_id,) = exchange.place("BTC-USDT", "buy", "close")
        answer = await asyncio.to_thread(running.ask, base_url=exchange.url, order_id=order_id)
        assert answer["taken"] == [order_id], answer
        assert not exchange.open_orders()
        assert len(exchange.arrivals) == 1


def start(stack: ExitStack, loop: str, base_url: str) -> tuple[dict[Peer, Process], list[str]]:
    """Every client that can run here, judged, warm and open; and what is missing."""
    running: dict[Peer, Process] = {}
    missing = []
    for peer in PEERS:
        try:
            running[peer] = stack.enter_context(process(peer, loop))
            asyncio.run(judge(peer, running[peer]))
            assert running[peer].ask(base_url=base_url, order_id=_ORDER_ID)["taken"]
            for in_flight in (1, _AT_ONCE):
                running[peer].ask(calls=_WARM_UP, in_flight=in_flight)
        except Missing as problem:
            if peer.venv is None:
                raise
            running.pop(peer, None)
            missing.append(f"{peer}: {problem}")
    return running, missing


def compare(running: dict[Peer, Process]) -> dict[Peer, list[Round]]:
    """Rounds until the time is over; all clients take their turn in each."""
    rounds: dict[Peer, list[Round]] = {peer: [] for peer in running}
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end or len(rounds[FLOOR]) < _LEAST_ROUNDS:
        for peer, worker in running.items():
            alone = worker.ask(calls=_CALLS, in_flight=1)
            rounds[peer].append(Round(alone, worker.ask(calls=_CALLS, in_flight=_AT_ONCE)))
    return rounds


def spread(values: list[float]) -> Spread:
    """Median and quartiles."""
    return Spread(*statistics.quantiles(values, n=4, method="inclusive"))


def over(mine: list[Round], other: list[Round]) -> Beside:
    """CPU beside another's, formed within each round."""
    pairs = [*zip(mine, other, strict=True)]
    return Beside(
        alone=spread([a.alone["cpu"] / b.alone["cpu"] for a, b in pairs]),
        at_once=spread([a.at_once["cpu"] / b.at_once["cpu"] for a, b in pairs]),
    )


def figures(label: str, mine: list[Round], floor: list[Round]) -> Figures:
    """One client's rounds beside the floor's."""
    beside = over(mine, floor)
    waits = sorted(wait for one in mine for wait in one.alone["waits"])
    return Figures(
        label,
        cpu=beside.alone,
        cpu_at_once=beside.at_once,
        seconds=statistics.median(one.alone["cpu"] for one in mine) / _CALLS,
        p50=statistics.median(waits),
        p99=waits[-max(1, len(waits) // 100)],
        rate=_CALLS / statistics.median(one.alone["seconds"] for one in mine),
        rate_at_once=_CALLS / statistics.median(one.at_once["seconds"] for one in mine),
        megabytes=mine[-1].at_once["resident"],
    )


def bar(label: str, cpu: Spread) -> dict[str, Any]:
    """One bar of the picture."""
    return {"label": label, "value": cpu.median, "low": cpu.low, "high": cpu.high}


class Measured(NamedTuple):
    """All that is known of one loop."""

    loop: str
    rows: dict[Peer, Figures]
    missing: list[str]
    versions: dict[str, str]
    beside: Beside

    def result(self) -> dict[str, Any]:
        """What is kept of it."""
        inline = {peer.client: f"{one.cpu.median:.2f}" for peer, one in self.rows.items()}
        inline["beside_by_hand"] = f"{self.beside.alone.median:.2f}"
        inline["beside_by_hand_at_once"] = f"{self.beside.at_once.median:.2f}"
        return {
            "columns": list(_COLUMNS),
            "rows": [one.cells(ours=peer is OURS) for peer, one in self.rows.items()],
            "note": f"On {self.loop}. {_NOTE}",
            "inline": inline,
            "raw": {peer.client: one._asdict() for peer, one in self.rows.items()},
        }

    def panel(self) -> dict[str, Any]:
        """Its half of the picture."""
        bars = [
            {**bar(one.label, one.cpu), "ours": peer is OURS} for peer, one in self.rows.items()
        ]
        return {"title": self.loop, "bars": bars}


def show(measured: Measured) -> bool:
    """Print one loop's figures; whether this SDK keeps to its bound beside what is written by
    hand."""
    heads = ("CPU, times the floor", f"{_AT_ONCE} in flight")
    print(
        f"{measured.loop:42s} {heads[0]:22s} {heads[1]:22s}     us    p50    p99    /s at once   MB"
    )
    for one in measured.rows.values():
        waits = "".join(f"{value * 1e6:7.0f}" for value in (one.seconds, one.p50, one.p99))
        rates = f"{one.rate:6.0f} {one.rate_at_once:7.0f} {one.megabytes:4.0f}"
        print(f"{one.label:42s} {one.cpu!s:22s} {one.cpu_at_once!s:22s}{waits} {rates}")
    for line in measured.missing:
        print(line)
    kept = []
    for in_flight, times in zip((1, _AT_ONCE), measured.beside, strict=True):
        kept.append(times.median <= _MOST_TIMES)
        verdict = f"at most {_MOST_TIMES:g}: {'kept' if kept[-1] else 'MISSED'}"
        print(f"over what is written by hand, {in_flight} in flight, by rounds: {times}; {verdict}")
    print()
    return all(kept)


def measure(loop: str) -> Measured:
    """Everything on one loop."""
    with ExitStack() as stack:
        running, missing = start(stack, loop, stack.enter_context(serving()))
        rounds = compare(running)
        rows = {
            peer: figures(labelled(peer, running[peer]), mine, rounds[FLOOR])
            for peer, mine in rounds.items()
        }
    versions = merged([one.versions for one in running.values()])
    return Measured(loop, rows, missing, versions, over(rounds[OURS], rounds[BY_HAND]))


def merged(versions: list[dict[str, str]]) -> dict[str, str]:
    """The versions of all; where environments differ, each of them."""
    numbers: dict[str, list[str]] = {}
    for name, number in (pair for one in versions for pair in one.items()):
        known = numbers.setdefault(name, [])
        known.extend([number] if number not in known else [])
    return {name: " and ".join(known) for name, known in numbers.items()}


def keep(both: list[Measured]) -> None:
    """Save the table of each loop, and the picture of both with the first one's."""
    picture = {
        "kind": "bars",
        "title": "CPU of one call, on a loopback server",
        "unit": "times a bare aiohttp POST that was signed beforehand",
        "panels": [one.panel() for one in both],
        "mark": {"at": 1.0},
    }
    first, second = both
    save("per_call", {**first.result(), "picture": picture}, versions=first.versions)
    save(f"per_call_{second.loop}", second.result(), versions=second.versions)


def main() -> int:
    """Print the figures, keep those of a complete run; 0 when the bound is kept everywhere."""
    both, kept = [], []
    for loop in _LOOPS:
        both.append(measure(loop))
        kept.append(show(both[-1]))
    if not any(one.missing for one in both):
        keep(both)
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
