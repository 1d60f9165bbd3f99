"""The client's connections: its own, or a caller's aiohttp session."""

import asyncio
import ssl as tls
from collections.abc import Iterable
from functools import lru_cache

from aiohttp import ClientSession

from htx_async.aio.timers import StallMeter
from htx_async.errors import InvalidRequest, SessionClosed
from htx_async.exchange.messages import SignedRequest
from htx_async.exchange.proxy import Proxy
from htx_async.transport.http_sessions import (
    check_harmless,
    check_headers,
    new_session,
    without_extras,
)
from htx_async.transport.sending import Sending

_HEADERS = {
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "htx_async",
}
_BUT_THE_AGENT = {name: value for name, value in _HEADERS.items() if name != "User-Agent"}


class Transport:
    """The HTTP session: its own, made when first needed, or a caller's, which is never closed.

    TLS is always verified, by `ssl` or by the system's store; a context set on a caller's
    connector is not used. Connections go through `proxy`, if there is one, as tunnels. Raises
    `InvalidRequest` for a context that does not verify, for a proxy that can be none or would see
    what is sent to one of `base_urls`, for one beside a caller's session, which has its own way,
    and for a caller's session that would change what is sent (see `check_harmless`).
    """

    def __init__(
        self,
        http: ClientSession | None,
        ssl: tls.SSLContext | None,
        *,
        base_urls: Iterable[str] = (),
        proxy: Proxy | None = None,
    ) -> None:
        if ssl is not None:
            _check_verifies(ssl)
        if proxy is not None:
            proxy.check(base_urls)
        if http is not None:
            _check_alone(proxy)
            check_harmless(http, base_urls)
        self._http = http
        self._is_own = http is None
        self._proxy = proxy
        self._is_closed = self._is_promised = False
        self._meter = StallMeter()
        self._ssl: tls.SSLContext | bool = ssl or http is None or _system_store()

    def prepare(self, request: SignedRequest) -> Sending:
        """One attempt at `request`; nothing is sent yet."""
        self._replace_closed()
        http = self._http
        if self._is_closed or (http is not None and http.closed):
            http = None
        elif http is None:
            http = self._http = new_session(_HEADERS)
        if self._is_own or http is None:
            return Sending(http, request, self._ssl, self._meter, proxy=self._proxy)
        copy = without_extras(http)
        # Who stands in between may let nobody but a known agent through.
        headers = _BUT_THE_AGENT if "User-Agent" in http.headers else _HEADERS
        return Sending(copy, request, self._ssl, self._meter, headers, is_copy=True)

    async def aclose(self) -> None:
        """Send nothing from now on; close the session unless it is a caller's."""
        self._is_closed = True
        self._meter.close()
        if self._is_own and self._http is not None:
            await self._http.close()

    def promise(self) -> None:
        """From now on connections of our own take the place of a caller's session that is closed:
        somebody has promised to send."""
        self._is_promised = True

    def check_open(self) -> None:
        """`SessionClosed` when a caller's session was closed, `InvalidRequest` when it cannot work
        here."""
        self._replace_closed()
        if self._http is None or self._is_own:
            return
        if self._http.closed:
            raise SessionClosed("the aiohttp session given as http= is closed; nothing was sent")
        # aiohttp tells nobody about a session's loop, and fails in another with any kind of error.
        if getattr(self._http, "_loop", None) not in (None, asyncio.get_running_loop()):
            raise InvalidRequest(
                "the aiohttp session given as http= belongs to another event loop, so nothing was "
                "sent; make it in the loop that calls"
            )
        # Unlike the other settings of a session these may have changed since.
        check_headers(self._http)

    def _replace_closed(self) -> None:
        if self._is_promised and not self._is_own and self._http is not None and self._http.closed:
            self._http, self._is_own = None, True


@lru_cache(maxsize=1)
def _system_store() -> tls.SSLContext:
    """One for all sessions: to read the system's store takes some 20 ms."""
    return tls.create_default_context()


def _check_alone(proxy: Proxy | None) -> None:
    if proxy is not None:
        raise InvalidRequest(
            f"http= has connections of its own, so the proxy {proxy.url} would not be used: give "
            "it to that session, aiohttp.ClientSession(proxy=...), and proxy=None here, or leave "
            "http= out"
        )


def _check_verifies(context: object) -> None:
    if not isinstance(context, tls.SSLContext):
        raise InvalidRequest(f"ssl must be an ssl.SSLContext, not {type(context).__name__}")
    if context.verify_mode is not tls.CERT_REQUIRED or not context.check_hostname:
        raise InvalidRequest(
            "ssl= does not verify the exchange's certificate and host name; use "
            "ssl.create_default_context(), with cafile= for an authority of your own"
        )
