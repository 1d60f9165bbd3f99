"""Who came when: the rate limit and the record of arrivals, without I/O."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

# Instants are sums of floats: an arrival leaves its window a nanosecond early rather than a
# rounding error late.
_GRAIN = 1e-9


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request, without the query, which holds a signature.

    `at` is on the exchange's clock. `err_code` is the code in the answer, in whichever shape; None
    for a success, for an answer without a code and for a dropped connection.
    """

    at: float
    method: str
    path: str
    contract_code: str | None
    err_code: int | str | None
    host: str


@dataclass(frozen=True, slots=True)
class Rate:
    """The state of a limit just after an arrival; `wait` seconds from now one more place is free
    provided nobody else arrives.
    """

    limit: int
    interval: float
    remaining: int
    wait: float
    exceeded: bool

    def headers(self, now: float) -> dict[str, str]:
        """HTX API docs, "API Rate Limit Illustration"; `ratelimit-reset` is absolute Unix ms."""
        return {
            "ratelimit-limit": str(self.limit),
            "ratelimit-interval": str(round(self.interval * 1000)),
            "ratelimit-remaining": str(self.remaining),
            "ratelimit-reset": str(ceil((now + self.wait) * 1000)),
        }


class Window:
    """At most `limit` arrivals in any `interval` seconds, refused arrivals counted.

    Whether the exchange slides or fixes its window is unconfirmed; sliding is the stricter.
    """

    def __init__(self, limit: int, interval: float) -> None:
        if limit < 1 or interval <= 0:
            raise ValueError("a limit needs at least one place and an interval above zero")
        self._limit = limit
        self._interval = interval
        self._recent: deque[float] = deque()

    def arrive(self, at: float) -> Rate:
        recent = self._recent
        recent.append(at)
        while at - recent[0] >= self._interval - _GRAIN:
            recent.popleft()
        oldest_that_blocks = recent[-self._limit] if len(recent) > self._limit else recent[0]
        return Rate(
            self._limit,
            self._interval,
            max(0, self._limit - len(recent)),
            oldest_that_blocks + self._interval - at,
            len(recent) > self._limit,
        )


def busiest(instants: Iterable[float], window: float) -> int:
    """The most instants, given in order, that any half-open window of that length holds."""
    most = 0
    inside: deque[float] = deque()
    for at in instants:
        inside.append(at)
        while at - inside[0] >= window - _GRAIN:
            inside.popleft()
        most = max(most, len(inside))
    return most
