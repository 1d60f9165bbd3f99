"""Who came when: the rate limit and the record of arrivals, without I/O."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil

from htx_async.exchange.endpoints import BUDGETS, TRAILING, Permission
from htx_async.simulator.endpoints import Call, Endpoint, endpoints, find
from htx_async.simulator.settings import InvalidSetting

# Instants are sums of floats: an arrival leaves its window a nanosecond early rather than a
# rounding error late.
_GRAIN = 1e-9


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request, without the query, which holds a signature.

    `at` is in seconds on the exchange's clock. `contract_code` is the one that is named, of several
    the first. `err_code` is the code in the answer, in whichever shape; None for a success, for an
    answer without a code and for a dropped connection. `host` is that of the header. `body` is as
    it came, with fields that the exchange ignores.
    """

    at: float
    method: str
    path: str
    contract_code: str | None
    err_code: int | str | None
    host: str
    body: bytes


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
        """As HTX API docs, "API Rate Limit Illustration", have them. `now`: Unix seconds;
        `ratelimit-reset` is absolute Unix ms.
        """
        return {
            "ratelimit-limit": str(self.limit),
            "ratelimit-interval": str(round(self.interval * 1000)),
            "ratelimit-remaining": str(self.remaining),
            "ratelimit-reset": str(ceil((now + self.wait) * 1000)),
        }


class Window:
    """At most `limit` arrivals in any `interval` seconds, refused arrivals counted.

    Whether the exchange slides or fixes its window is unconfirmed; sliding is the stricter.
    InvalidSetting for no place or no interval.
    """

    def __init__(self, limit: int, interval: float) -> None:
        if limit < 1 or interval <= 0:
            raise InvalidSetting("a limit needs at least one place and an interval above zero")
        self._limit = limit
        self._interval = interval
        self._recent: deque[float] = deque()

    def arrive(self, at: float) -> Rate:
        """Count one more at `at`, in seconds, and no earlier than the one before."""
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

    Each path has what the table of endpoints says, a trade path what is given in place of that;
    all calls of one permission together have that budget, the trade calls as much as one path alone
    may have if that is more. Assumed: that what its own path refused does not count there; that the
    headers tell of the path's own; that both generations spend the same (HTX V5 docs, "Get Current
    Orders", names the same figures). Whether V5's cancel of algo orders has a limit of its own is
    unknown: it has one if `v5_limit`, or the table, says so.
    """

    def __init__(
        self, limit: int | None = None, interval: float | None = None, v5_limit: int | None = None
    ) -> None:
        if interval is None and limit is not None:
            interval = TRAILING.per
        own = {each.path: each.row.limit for each in endpoints()}
        for each in endpoints():
            size, found = v5_limit if each.is_v5 else limit, own[each.path]
            if each.trades and (size is not None or found is not None):
                own[each.path] = (found or TRAILING).but(size, interval)
        self._own = {path: Window(*found) for path, found in own.items() if found is not None}
        self._shared = {permission: Window(*budget) for permission, budget in BUDGETS.items()}
        size, per = BUDGETS[Permission.TRADE]
        most = (ceil(one.size * max(1.0, per / one.per)) for one in own.values() if one is not None)
        self._shared[Permission.TRADE] = Window(max(size, *most), per)

    def arrive(self, endpoint: Endpoint, at: float) -> Rate:
        """Count one more request for `endpoint`; exceeded if any limit is."""
        own, shared = self._own.get(endpoint.path), self._shared[endpoint.row.permission]
        if own is None:
            return shared.arrive(at)
        rate = own.arrive(at)
        return replace(rate, exceeded=rate.exceeded or shared.arrive(at).exceeded)


def busiest(arrivals: Iterable[Arrival], window: float, path: str | None, call: str | None) -> int:
    """The most arrivals in any half-open window of `window` seconds: those on `path`, or those of
    `call`, or those of cancel-all on the busier of its paths.
    """
    chosen: dict[str, list[float]] = {}
    for one in arrivals:
        endpoint = find(one.method, one.path)
        by_call = endpoint is not None and endpoint.row.name == (call or Call.CANCEL_ALL)
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
