"""Which base URL an attempt goes to."""

import ipaddress
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from htx_async.arguments import split_url
from htx_async.errors import InvalidRequest

BASE_URLS = ("https://api.hbdm.com", "https://api.hbdm.vn")
"""The exchange's two hosts for USDT-M swaps (HTX API docs, "FAQ Q2")."""

_AVOIDED = 30.0
"""Seconds for which a base URL that gave no answer is tried last; then one attempt goes there."""

_MOST_TIMES = 5
"""Failures in a row that count against a base URL; a mass cancel has five at once."""

_WELL = -math.inf

_DEFAULT_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[a-z0-9._:-]+")


class _Failures(NamedTuple):
    """Of one base URL since its last answer: when the last one was (loop time), how many there
    were, and the seconds that the last one took."""

    at: float
    times: int = 0
    took: float = 0.0


class BaseUrls:
    """The base URLs of a session, with a memory of those that gave no answer.

    No connection, silence, a reset, an error of the gateway: whatever is not the exchange's own
    word. All calls share what one of them found out.
    """

    def __init__(self, urls: Iterable[str]) -> None:
        self.all = checked(urls)
        self._sick: dict[str, _Failures] = {}
        self.round_trip = 0.0
        """Seconds that the last answer took; 0 before the first."""
        self.shortest = math.inf
        """Seconds that the quickest answer took."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.all)

    def itinerary(self, now: float) -> "Itinerary":
        """The order for one call that starts at loop time `now`."""
        return Itinerary(self, now)

    def note(self, url: str, now: float, *, answered: bool, took: float = 0.0) -> None:
        """Remember whether the last attempt at `url`, of so many seconds, had an answer of the
        exchange."""
        if not answered:
            before = self._sick.get(url, _Failures(now))
            self._sick[url] = _Failures(now, before.times + 1, took)
        else:
            if took:
                self.round_trip, self.shortest = took, min(took, self.shortest)
            if self._sick:
                self._sick.pop(url, None)

    def by_health(self, urls: Sequence[str], now: float) -> Sequence[str]:
        """`urls` in their order, those to avoid last, the worst of these at the end."""
        return sorted(urls, key=lambda url: self.sickness(url, now)) if self._sick else urls

    def sickness(self, url: str, now: float) -> float:
        """More is worse: when the last failure was, later by the seconds that it took and by one
        for each in a row. So neither one slow failure nor many quick ones keep a base URL away for
        longer than a few seconds while another one goes on failing. `_WELL` without any, and when
        the last one is long ago."""
        failures = self._sick.get(url)
        if failures is None or now - failures.at >= _AVOIDED:
            return _WELL
        return failures.at + failures.took + min(failures.times, _MOST_TIMES)

    def begin(self, url: str, now: float) -> None:
        """An attempt goes to `url`: if that is to find out whether it is well again, the others
        avoid it meanwhile."""
        if url in self._sick and self.sickness(url, now) == _WELL:
            self._sick[url] = self._sick[url]._replace(at=now)


class Itinerary:
    """Where one call goes: in rounds, each base URL once in a round, those to avoid last."""

    def __init__(self, urls: BaseUrls, now: float) -> None:
        self._urls = urls
        self._now = now
        self._left: Sequence[str] = urls.all
        self.current = urls.by_health(self._left, now)[0]
        """Where the next attempt goes, by what is known so far."""

    @property
    def untried(self) -> bool:
        """Whether this round has a base URL left after the current one."""
        return len(self._left) > 1

    @property
    def untried_no_worse(self) -> bool:
        """Whether this round has one left that is no worse than the current one."""
        mine = self._urls.sickness(self.current, self._now)
        others = (url for url in self._left if url != self.current)
        return any(self._urls.sickness(url, self._now) <= mine for url in others)

    def choose(self, now: float) -> str:
        """Where the attempt goes that begins at loop time `now`."""
        self._now = now
        self.current = self._urls.by_health(self._left, now)[0]
        self._urls.begin(self.current, now)
        return self.current

    def follow(self, url: str, now: float) -> None:
        """The attempt that begins at loop time `now` goes to `url`."""
        self._now, self.current = now, url
        if url not in self._left:
            self._left = self._urls.all

    def advance(self) -> None:
        """The current one is done with; after the last one a new round begins."""
        self._left = [url for url in self._left if url != self.current] or self._urls.all
        self.current = self._urls.by_health(self._left, self._now)[0]


def checked(urls: Iterable[str]) -> tuple[str, ...]:
    """Base URLs as `scheme://host[:port]`, lower-case, duplicates once.

    Raises `InvalidRequest` unless each is https, or http to this machine: a signed URL is a
    credential and does not travel in the clear.
    """
    if not isinstance(urls, Iterable):
        raise InvalidRequest(f"base_urls must be one URL or several, not {type(urls).__name__}")
    given = (urls,) if isinstance(urls, str) else tuple(urls)
    result = tuple(dict.fromkeys(_checked(url) for url in given))
    if not result:
        raise InvalidRequest("base_urls is empty; give at least one, such as https://api.hbdm.com")
    return result


def _checked(url: str) -> str:
    parts = split_url(url)
    if parts is None or parts.scheme not in _DEFAULT_PORTS:
        raise InvalidRequest("a base URL must read https://host or https://host:port")
    hostname = parts.hostname or ""
    if not _HOST.fullmatch(hostname):
        raise InvalidRequest("the host of a base URL must be a plain name or address")
    if parts.username is not None or parts.query or parts.fragment or parts.path.strip("/"):
        raise InvalidRequest(
            f"the base URL for {hostname} must hold scheme, host and port, nothing else"
        )
    if parts.scheme == "http" and not _is_loopback(hostname):
        raise InvalidRequest(
            f"plain http to {hostname} would show signed requests to the network; use https"
        )
    host = f"[{hostname}]" if ":" in hostname else hostname
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
