"""Who came when: the rate limit and the record of arrivals, without I/O."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil

from htx_async.simulator.endpoints import BY_REQUEST, ENDPOINTS, Call, Endpoint

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


class Limits:
    """All limits of the one account and address that the simulator knows.

    Each trade path of v1 has `limit` per `interval`, and all of them together 72 per 3 s, or as
    much as one path alone may have if that is more; the reads share 72 per 3 s, the public calls
    240 (HTX API docs, "API Rate Limit Illustration"). Assumed: that the trade calls count towards
    the 72 at all; that what its own path refused does not; that the headers tell of the path's
    own. V5's pages name the same two pools (HTX V5 docs, "Get Current Orders"), so both
    generations spend the same (assumed). Whether V5's cancel of algo orders has a limit of its
    own is unknown: it has one if `v5_limit` says so.
    """

    def __init__(self, limit: int, interval: float, v5_limit: int | None = None) -> None:
        trades = [endpoint for endpoint in ENDPOINTS if endpoint.trades]
        limits = [(one.path, v5_limit if one.is_v5 else limit) for one in trades]
        self._own = {path: Window(own, interval) for path, own in limits if own is not None}
        self._trades = Window(max(72, ceil(limit * max(1.0, 3.0 / interval))), 3.0)
        self._reads = Window(72, 3.0)
        self._public = Window(240, 3.0)

    def arrive(self, endpoint: Endpoint, at: float) -> Rate:
        if endpoint.path in self._own:
            rate = self._own[endpoint.path].arrive(at)
            exceeded = rate.exceeded or self._trades.arrive(at).exceeded
            return replace(rate, exceeded=exceeded)
        if endpoint.trades:
            return self._trades.arrive(at)
        shared = self._public if endpoint.is_public else self._reads
        return shared.arrive(at)


def busiest(arrivals: Iterable[Arrival], window: float, path: str | None, call: Call | None) -> int:
    """The most arrivals in any half-open window: those on `path`, or those of `call`, or those of
    cancel-all on the busier of its paths.
    """
    chosen: dict[str, list[float]] = {}
    for one in arrivals:
        endpoint = BY_REQUEST.get((one.method, one.path))
        by_call = endpoint is not None and endpoint.call == (call or "cancelall")
        if by_call if path is None else one.path == path:
            chosen.setdefault("" if call else one.path, []).append(one.at)
    return max((_most(instants, window) for instants in chosen.values()), default=0)


def _most(instants: Iterable[float], window: float) -> int:
    most = 0
    inside: deque[float] = deque()
    for at in instants:
        inside.append(at)
        while at - inside[0] >= window - _GRAIN:
            inside.popleft()
        most = max(most, len(inside))
    return most
