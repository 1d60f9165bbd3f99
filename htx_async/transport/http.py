"""Requests out, complete replies in: the client's only door to aiohttp.

One `Sending` is one request on the wire. Foreign exceptions become `SendFailed` here, in our own
words: aiohttp's carry the URL, and a signed URL is a credential. For the same reason aiohttp runs
in isolation, where none of its frames stays on an exception that goes on, and no frame of this
module binds a URL, a response or an aiohttp exception to a name while an error passes.
"""

import asyncio
import socket
import ssl as tls
import struct
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache

import aiohttp
from aiohttp import BytesPayload, ClientSession, ClientTimeout
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from htx_async.aio.isolation import isolated
from htx_async.aio.timers import StallMeter, TimeLimit
from htx_async.errors import InvalidRequest, SessionClosed
from htx_async.exchange.messages import Answer, SendFailed, SignedRequest
from htx_async.transport.decoding import LARGEST_BODY, decoded
from htx_async.transport.failures import NO_CONNECTION, in_words
from htx_async.transport.http_sessions import (
    check_harmless,
    check_headers,
    new_session,
    without_extras,
)

_HEADERS = {
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "htx_async",
}
_TOO_MANY_REQUESTS = 429
_RESET = struct.pack("ii", 1, 0)


class Transport:
    """The HTTP session: its own, made when first needed, or a caller's, which is never closed.

    TLS is always verified, by `ssl` or by the system's store; a context set on a caller's
    connector is not used. Raises `InvalidRequest` for a context that does not verify and for a
    caller's session that would change what is sent to one of `base_urls` (see `check_harmless`).
    """

    def __init__(
        self,
        http: ClientSession | None,
        ssl: tls.SSLContext | None,
        *,
        base_urls: Iterable[str] = (),
    ) -> None:
        if ssl is not None:
            _check_verifies(ssl)
        if http is not None:
            check_harmless(http, base_urls)
        self._http = http
        self._is_own = http is None
        self._is_closed = self._is_promised = False
        self._meter = StallMeter()
        self._ssl: tls.SSLContext | bool = ssl or http is None or tls.create_default_context()

    def prepare(self, request: SignedRequest) -> "Sending":
        """One attempt at `request`; nothing is sent yet."""
        http = self._session()
        if self._is_own or http is None:
            return Sending(http, request, self._ssl, self._meter)
        copy = without_extras(http)
        return Sending(copy, request, self._ssl, self._meter, _HEADERS, is_copy=True)

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

    def _session(self) -> ClientSession | None:
        self._replace_closed()
        if self._is_closed or (self._http is not None and self._http.closed):
            return None
        if self._http is None:
            self._http = new_session(_HEADERS)
        return self._http


def _check_verifies(context: object) -> None:
    if not isinstance(context, tls.SSLContext):
        raise InvalidRequest(f"ssl must be an ssl.SSLContext, not {type(context).__name__}")
    if context.verify_mode is not tls.CERT_REQUIRED or not context.check_hostname:
        raise InvalidRequest(
            "ssl= does not verify the exchange's certificate and host name; use "
            "ssl.create_default_context(), with cafile= for an authority of your own"
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
    ) -> None:
        self._http = http
        self._is_copy = is_copy
        self._headers = headers
        self._request = request
        self._ssl = ssl
        self._meter = meter
        self._body = _MarkedBody(request.body)
        self._pieces = bytearray()
        self._response: aiohttp.ClientResponse | None = None

    @property
    def sent(self) -> bool:
        """False only when it is certain that no byte of the request left."""
        return self._body.asked_for or self._response is not None

    async def answer(self, within: float, connect: float) -> Answer:
        """Send, and read the whole reply within `within` seconds, `connect` of them to connect.

        Raises `SendFailed`. However it ends without a reply, cancellation included, the connection
        that the request was written to is reset, so that the kernel does not go on delivering it.
        """
        if self._http is None:
            raise SendFailed("the HTTP session was closed", sent=False)
        until = asyncio.get_running_loop().time() + within
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
            await self._exchange(http, connect)
            return await self._read()
        finally:
            if self._response is None or not self._response.closed:
                self._abandon()
            if self._is_copy:
                http.detach()

    async def _exchange(self, http: ClientSession, connect: float) -> None:
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
        )
        if self._body.was_passed_over():
            self._abandon()
            self._response = None
            raise ConnectionResetError("the connection held a reply that nobody asked for")

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
        if connecting and isinstance(error, NO_CONNECTION):
            return SendFailed(in_words(error), sent=False, connecting=True)
        if connecting and isinstance(error, aiohttp.ConnectionTimeoutError):
            return SendFailed(f"no connection within {connect:.3g} s", sent=False, connecting=True)
        if not isinstance(error, TimeoutError):
            return SendFailed(in_words(error), sent=self.sent)
        if self.sent:
            return SendFailed(f"no complete answer within {within:.3g} s", sent=True)
        return SendFailed(f"no connection within {within:.3g} s", sent=False, connecting=True)


@lru_cache(maxsize=8)
def _timeouts(connect: float) -> ClientTimeout:
    return ClientTimeout(total=None, connect=connect, ceil_threshold=float("inf"))


class _MarkedBody(BytesPayload):
    """A body that knows whether it was asked for, and over which transport.

    aiohttp writes the request's head together with the first bytes of its body, so a body that
    was never asked for proves that nothing left.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type="application/json")
        self.asked_for = False
        self._is_built = False
        self._is_forbidden = False
        self._transport: asyncio.Transport | None = None

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if self.asked_for or self._is_forbidden:
            # A second sending would need a token and a signature of its own.
            raise RuntimeError("this request was written already, or given up")
        transport: asyncio.Transport | None = getattr(writer, "transport", None)
        if transport is not None and transport.is_closing():
            raise ConnectionResetError("the connection was closed before the request was written")
        if getattr(getattr(writer, "protocol", None), "should_close", False):
            raise ConnectionResetError("the connection holds a reply that nobody asked for")
        self.asked_for = True
        self._transport = transport
        await writer.write(self._value[:content_length])

    @property
    def size(self) -> int | None:
        """Asked for when aiohttp builds the request, before it waits for a reply."""
        self._is_built = True
        return super().size

    def was_passed_over(self) -> bool:
        """Whether a reply was there before the body was asked for; from now on it is not given.

        aiohttp takes a pooled connection on which a stray reply waits, and would read that as the
        answer to this request.
        """
        passed_over = self._is_built and not self.asked_for
        self._is_forbidden = passed_over
        return passed_over

    def reset(self) -> None:
        """Reset the connection that the body was written to: nothing queued is delivered."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        # What a transport raises that is closed already differs from loop to loop and with TLS;
        # there is nothing left to reset then.
        with suppress(Exception):
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with suppress(Exception):
            transport.abort()
