"""The proxy on the way to the exchange, with a password that is shown nowhere."""

import base64
import math
import re
from collections.abc import Iterable
from typing import NoReturn
from urllib.parse import SplitResult, unquote_to_bytes

from htx_async.arguments import split_url
from htx_async.errors import InvalidRequest

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LET_BE = 10.0
"""Seconds; as long as most calls have in all."""

_HOST = re.compile(r"[a-z0-9._:-]+")


class Proxy:
    """Where tunnels are asked for (`CONNECT`), from `http://host:port` or `https://host:port`, with
    `name:password@` before the host if it wants them, percent-encoded.

    Never raises, so that no traceback has the text in its frames: `check` tells what is wrong.
    """

    __slots__ = ("_authorization", "_problem", "_unknown_until", "host", "port", "url")

    url: str
    """Without name and password."""
    host: str
    port: int
    _authorization: str
    _problem: str
    _unknown_until: float

    def __init__(self, url: object) -> None:
        parts = split_url(url)
        self._problem = _problem(parts)
        self._unknown_until = -math.inf
        self.url, self.host, self.port, self._authorization = "", "", 0, ""
        if parts is None or self._problem:
            return
        self.host = parts.hostname or ""
        self.port = parts.port or _DEFAULT_PORTS[parts.scheme]
        name = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"{parts.scheme}://{name}:{self.port}"
        if parts.username is not None:
            # The very bytes: which ones a letter is, only the proxy knows.
            pair = b":".join(map(unquote_to_bytes, (parts.username, parts.password or "")))
            self._authorization = f"Basic {base64.b64encode(pair).decode()}"

    def __repr__(self) -> str:
        return f"<Proxy {self.url or 'that is none'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a proxy may hold a password and is not pickled")

    @property
    def headers(self) -> dict[str, str]:
        """For the proxy alone; they hold its password."""
        return {"Proxy-Authorization": self._authorization} if self._authorization else {}

    @property
    def has_password(self) -> bool:
        """Whether it is told a name and a password."""
        return bool(self._authorization)

    def note_unknown(self, now: float) -> None:
        """At loop time `now` it did not know name or password (HTTP 407)."""
        self._unknown_until = now + _LET_BE

    def may_be_asked(self, now: float) -> bool:
        """Not for a while after that: who asks again and again with a wrong password is locked out
        in many a company."""
        return now >= self._unknown_until

    def check(self, base_urls: Iterable[str]) -> None:
        """`InvalidRequest` if it can be none, and for a base URL of plain http: the proxy would see
        signed requests, which are credentials, in the clear."""
        if self._problem:
            raise InvalidRequest(self._problem)
        for base_url in base_urls:
            if base_url.startswith("http://"):
                raise InvalidRequest(
                    f"the proxy {self.url} would see signed requests to {base_url} in the clear, "
                    "so nothing is sent: use https, or no proxy for it (proxy=None, HTX_PROXY not "
                    "set)"
                )


def as_proxy(proxy: str | Proxy | None) -> Proxy | None:
    """What a setting says; nothing is raised, see `Proxy`."""
    return proxy if proxy is None or isinstance(proxy, Proxy) else Proxy(proxy)


_FORM = (
    "a proxy must read http://host:port or https://host:port, with name:password@ before the host "
    "if it wants them (a / in them as %2F, and so on)"
)


def _problem(parts: SplitResult | None) -> str:
    if parts is None or parts.scheme not in _DEFAULT_PORTS:
        return _FORM
    if parts.query or parts.fragment or parts.path.strip("/"):
        return _FORM
    return "" if _HOST.fullmatch(parts.hostname or "") else _FORM
