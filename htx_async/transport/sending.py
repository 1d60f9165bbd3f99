"""One request on the wire, and its complete reply, or why there is none.

Foreign exceptions become `SendFailed` here, in our own words: aiohttp's carry the URL, and a
signed URL is a credential. For the same reason aiohttp runs in isolation, where none of its frames
stays on an exception that goes on, and no frame of this module binds a URL, a response or an
aiohttp exception to a name while an error passes.
"""

import asyncio
import ssl as tls
import zlib
from collections.abc import Mapping
from functools import lru_cache

import aiohttp
from aiohttp import ClientSession, ClientTimeout
from yarl import URL

from htx_async.aio.isolation import isolated
from htx_async.aio.timers import StallMeter, TimeLimit
from htx_async.exchange.messages import Answer, SendFailed, SignedRequest
from htx_async.exchange.proxy import Proxy
from htx_async.transport.decoding import LARGEST_BODY, decoded
from htx_async.transport.failures import (
    NO_CONNECTION,
    PROXY_AUTHENTICATION,
    by_way_of,
    in_words,
    is_unknown_to_proxy,
    refused_tunnel,
)
from htx_async.transport.marked_body import MarkedBody

_TOO_MANY_REQUESTS = 429

_CLOSED = (
    "the aiohttp session was closed, and nothing goes through it any more: open a session with "
    "another"
)


class Sending:
    """One attempt: sent at most once, reset if it does not end with a complete reply."""

    def __init__(
        self,
        http: ClientSession | None,
        request: SignedRequest,
        ssl: tls.SSLContext | bool,
        meter: StallMeter,
        headers: Mapping[str, str] | None = None,
        *,
        is_copy: bool = False,
        proxy: Proxy | None = None,
    ) -> None:
        self._http = http
        self._is_copy = is_copy
        self._proxy = proxy
        self._headers = headers
        self._request = request
        self._ssl = ssl
        self._meter = meter
        self._body = MarkedBody(request.body)
        self._pieces = bytearray()
        self._response: aiohttp.ClientResponse | None = None

    @property
    def sent(self) -> bool:
        """False only when it is certain that no byte of the request left."""
        return self._body.asked_for or self._response is not None

    def withdraw(self) -> None:
        """Unless it was sent already, it is not any more, however soon there is a connection."""
        self._body.forbid()

    async def answer(self, within: float, connect: float) -> Answer:
        """Send, and read the whole reply within `within` seconds, `connect` of them to connect.

        Raises `SendFailed`. However it ends without a reply, cancellation included, the connection
        that the request was written to is reset, so that the kernel does not go on delivering it.
        """
        if self._http is None:
            raise SendFailed(_CLOSED, sent=False, is_final=True)
        now = asyncio.get_running_loop().time()
        if self._proxy is not None and not self._proxy.may_be_asked(now):
            told = refused_tunnel(PROXY_AUTHENTICATION, self._proxy)
            raise SendFailed(told, sent=False)
        until = now + within
        failure, begun = None, self._meter.begin()
        try:
            with TimeLimit(until, self._body.reset):
                return await isolated(self._attempt(self._http, connect), self._body.reset)
        except Exception as error:
            # A caller's session may raise anything, and whatever it is may carry the URL; aiohttp's
            # connections keep some, which must not lead back to this frame.
            failure = self._failed(error.with_traceback(None), within, connect)
            failure.stalled = isinstance(error, TimeoutError) and self._meter.is_excuse(begun)
        finally:
            self._meter.end()
        # Raised out here, so that no foreign exception hangs on ours.
        try:
            raise failure
        finally:
            del failure

    async def _attempt(self, http: ClientSession, connect: float) -> Answer:
        # With every foreign exception that passes here `isolated` cuts these frames off.
        try:
            self._response = await http.request(
                self._request.method,
                URL(self._request.url(), encoded=True),
                # A GET too, with an empty one: aiohttp sends those again by itself when a pooled
                # connection has died, which would take no token and use a signature twice.
                data=self._body,
                headers=self._headers,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=False,
                middlewares=(),
                ssl=self._ssl,
                timeout=_timeouts(connect),
                proxy=None if self._proxy is None else self._proxy.url,
                proxy_headers=None if self._proxy is None else self._proxy.headers,
            )
            if self._body.was_passed_over():
                self._abandon()
                self._response = None
                raise ConnectionResetError("the connection held a reply that nobody asked for")
            return await self._read()
        finally:
            if self._response is None or not self._response.closed:
                self._abandon()
            if self._is_copy:
                http.detach()

    async def _read(self) -> Answer:
        # Nothing of the reply is bound to a name here: it may echo the request.
        assert self._response is not None  # noqa: S101 - narrows the type for mypy
        status, content = self._response.status, self._response.content
        try:
            while not content.at_eof():
                self._pieces += await content.readany()
                if len(self._pieces) > LARGEST_BODY:
                    raise ValueError("the reply is larger than any known one")
            body = decoded(bytes(self._pieces), self._response.headers)
        except (aiohttp.ClientError, ValueError, zlib.error):
            # "Too many requests" is said by the status alone.
            if status != _TOO_MANY_REQUESTS:
                raise
            body = b""
        return Answer(status, self._response.headers, body)

    def _abandon(self) -> None:
        self._body.reset()
        if self._response is not None:
            self._response.close()

    def _failed(self, error: Exception, within: float, connect: float) -> SendFailed:
        connecting = not self._body.asked_for and self._response is None
        way = by_way_of(self._proxy)
        if self._proxy is not None and is_unknown_to_proxy(error):
            self._proxy.note_unknown(asyncio.get_running_loop().time())
        if connecting and isinstance(error, NO_CONNECTION):
            return SendFailed(in_words(error, self._proxy), sent=False, connecting=True)
        if connecting and isinstance(error, aiohttp.ConnectionTimeoutError):
            told = f"no connection within {connect:.3g} s{way}"
            return SendFailed(told, sent=False, connecting=True)
        if connecting and self._proxy is not None and _is_cut(error):
            told = f"the proxy {self._proxy.url} closed the connection before there was a tunnel"
            return SendFailed(told, sent=False)
        if not isinstance(error, TimeoutError):
            return SendFailed(in_words(error, self._proxy), sent=self.sent)
        if self.sent:
            return SendFailed(f"no complete answer within {within:.3g} s{way}", sent=True)
        return SendFailed(f"no connection within {within:.3g} s{way}", sent=False, connecting=True)


def _is_cut(error: Exception) -> bool:
    return isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError)


@lru_cache(maxsize=8)
def _timeouts(connect: float) -> ClientTimeout:
    return ClientTimeout(total=None, connect=connect, ceil_threshold=float("inf"))
