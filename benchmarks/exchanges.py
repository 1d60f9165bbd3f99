"""What an exchange may mean by "five a second", and what it saw.

How this one counts is not documented. Each way is told in the moment of an arrival, and keeps to
the exchange's own clock. What was refused counts in none of them, the mildest reading: an exchange
that counts refusals never serves a client again that goes on sending too fast.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from math import floor
from typing import NamedTuple, Protocol

LIMIT = 5
_PHASES = 50

# Instants are sums of floats: an arrival leaves its window a nanosecond early rather than a
# rounding error late.
_GRAIN = 1e-9


class Verdict(NamedTuple):
    """On one arrival. `wait`: seconds until there is another place, if nobody else comes."""

    refused: bool
    remaining: int
    wait: float


class Count(Protocol):
    """A way of counting."""

    def arrive(self, at: float) -> Verdict:
        """One more."""


class SlidingWindow:
    """Five in any second."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque()

    def arrive(self, at: float) -> Verdict:
        """See `Count`."""
        recent = self._recent
        while recent and at - recent[0] >= 1 - _GRAIN:
            recent.popleft()
        refused = len(recent) >= LIMIT
        if not refused:
            recent.append(at)
        return Verdict(refused, LIMIT - len(recent), recent[0] + 1 - at)


class FixedWindow:
    """Five in each second of the exchange's clock."""

    def __init__(self) -> None:
        self._second = -1
        self._taken = 0

    def arrive(self, at: float) -> Verdict:
        """See `Count`."""
        second = floor(at)
        if second != self._second:
            self._second, self._taken = second, 0
        refused = self._taken >= LIMIT
        self._taken += not refused
        return Verdict(refused, LIMIT - self._taken, second + 1 - at)


class TokenBucketCount:
    """A bucket of five tokens, into which five a second flow."""

    def __init__(self) -> None:
        self._tokens = float(LIMIT)
        self._at = 0.0

    def arrive(self, at: float) -> Verdict:
        """See `Count`."""
        self._tokens = min(LIMIT, self._tokens + (at - self._at) * LIMIT)
        self._at = at
        refused = self._tokens < 1 - _GRAIN
        self._tokens -= not refused
        return Verdict(refused, max(0, floor(self._tokens)), max(0.0, 1 - self._tokens) / LIMIT)


COUNTS: dict[str, Callable[[], Count]] = {
    "sliding window": SlidingWindow,
    "fixed window": FixedWindow,
    "token bucket": TokenBucketCount,
}


class Exchange:
    """Counts in one way by its own clock, and keeps account."""

    def __init__(self, count: Count, clock: Callable[[], float]) -> None:
        self._count = count
        self._clock = clock
        self.arrivals: list[float] = []
        self.refusals = 0

    def arrive(self) -> Verdict:
        """One request is there."""
        at = self._clock()
        verdict = self._count.arrive(at)
        self.arrivals.append(at)
        self.refusals += verdict.refused
        return verdict


def busiest_sliding(arrivals: Sequence[float]) -> int:
    """The most arrivals in any second, wherever it begins; `arrivals` in order."""
    ends = (bisect_left(arrivals, at + 1 - _GRAIN) for at in arrivals)
    return max((end - start for start, end in enumerate(ends)), default=0)


def busiest_fixed(arrivals: Sequence[float]) -> tuple[int, int]:
    """The most arrivals in a second of a clock, for the phase that is kindest to the client and for
    the worst one.

    The worst is also what `busiest_sliding` finds: the busiest second, wherever it is, is a second
    of some clock. Here it is counted another way.
    """
    phases = {at % 1.0 for at in arrivals} | {step / _PHASES for step in range(_PHASES)}
    by_phase = [_busiest_at(phase, arrivals) for phase in phases]
    return min(by_phase), max(by_phase)


def _busiest_at(phase: float, arrivals: Iterable[float]) -> int:
    return max(Counter(floor(at - phase + _GRAIN) for at in arrivals).values(), default=0)
