"""Which base URL an attempt goes to."""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import SplitResult, urlsplit

from htx_async.errors import InvalidRequest

BASE_URLS = ("https://api.hbdm.com", "https://api.hbdm.vn")
"""The exchange's two hosts for USDT-M swaps (HTX API docs, "FAQ Q2")."""

_AVOIDED = 30.0
"""Seconds for which a base URL that could not be connected to is tried last."""

_DEFAULT_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[a-z0-9._:-]+")


class BaseUrls:
    """The base URLs of a session, with a memory of those that failed to connect."""

    def __init__(self, urls: Iterable[str]) -> None:
        self._urls = checked(urls)
        self._failed: dict[str, float] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._urls)

    @property
    def any_plain(self) -> bool:
        """Whether one of them is plain http, to this machine."""
        return any(url.startswith("http://") for url in self._urls)

    def itinerary(self, now: float) -> "Itinerary":
        """The order for one call that starts at loop time `now`."""
        if not self._failed:
            return Itinerary(self._urls)
        return Itinerary(sorted(self._urls, key=lambda url: self._is_avoided(url, now)))

    def note(self, url: str, now: float, *, connected: bool) -> None:
        """Remember whether the last attempt could connect to `url`."""
        if not connected:
            self._failed[url] = now
        elif self._failed:
            self._failed.pop(url, None)

    def _is_avoided(self, url: str, now: float) -> bool:
        failed = self._failed.get(url)
        return failed is not None and now - failed < _AVOIDED


class Itinerary:
    """Base URLs in the order in which one call tries them, round and round."""

    def __init__(self, order: Sequence[str]) -> None:
        self._order = order
        self._place = 0
        self._tried = 0

    @property
    def current(self) -> str:
        """Where the next attempt goes."""
        return self._order[self._place]

    @property
    def untried(self) -> bool:
        """Whether this round has a base URL left after the current one."""
        return self._tried + 1 < len(self._order)

    def advance(self) -> None:
        """Go on to the next base URL; after the last one a new round begins."""
        self._tried = self._tried + 1 if self.untried else 0
        self._place = (self._place + 1) % len(self._order)


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
    parts = _split(url)
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


def _split(url: object) -> SplitResult | None:
    # urlsplit would drop spaces and line ends without a word.
    if not isinstance(url, str) or " " in url or not url.isprintable():
        return None
    try:
        parts = urlsplit(url)
        # Reading the port checks it.
        return None if parts.port == 0 else parts
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
