"""The client's door to HTTP: faults of every kind, byte by byte, and what is known afterwards."""

import asyncio
import base64
import gc
import hashlib
import hmac
import re
import socket
import ssl
import time
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from unittest.mock import Mock
from urllib.parse import unquote

import aiohttp
import pytest
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import CallbackResult, aioresponses
from yarl import URL

from htx_async import (
    CancelError,
    Credentials,
    HtxSession,
    InvalidRequest,
    NotSent,
    Outcome,
    OutcomeUnknown,
    RetryPolicy,
    SessionClosed,
    TokenBucket,
    Verdict,
)
from htx_async.exchange.messages import Answer, Request, SendFailed, SignedRequest
from htx_async.simulator import SimulatedExchange
from htx_async.transport.http import Transport
from htx_async.transport.marked_body import MarkedBody
from htx_async.transport.sending import Sending
from tests.support.bad_connections import (
    LOOPS,
    PATH,
    Resolver,
    bomb,
    gzipped,
    kept_alive_then,
    resets_on_sight,
    resolving,
    session,
)
from tests.support.fault_server import (
    OK,
    Connection,
    FaultServer,
    Script,
    answers,
    as_json,
    bounded,
    client_tls,
    closes_after_request,
    deaf,
    deaf_after_first_bytes,
    drips,
    reply,
    resets,
    resets_after_request,
    run_on,
    sends_then_closes,
    sends_then_resets,
    server_tls,
    shared_server_tls,
    silent,
)

QUERY = "AccessKeyId=a%2Fb%2Bc&Signature=x%2By%3D"
BODY = b'{"contract_code":"BTC-USDT"}'
LIMIT = 256 * 1024
BRIEF = 0.15
"""An attempt's time-out where the time-out is what is tested."""


def signed(url: str, body: bytes = BODY, query: str = QUERY) -> SignedRequest:
    """A request as the signer hands it over."""
    return SignedRequest(Request("POST", PATH, body), url, query, ())


class Sent:
    """One attempt over a transport of its own, unless `transport` is given."""

    def __init__(
        self,
        url: str,
        *,
        within: float = 5.0,
        connect: float = 5.0,
        http: aiohttp.ClientSession | None = None,
        tls: ssl.SSLContext | None = None,
        body: bytes = BODY,
        query: str = QUERY,
        transport: Transport | None = None,
    ) -> None:
        self._is_own = transport is None
        self._transport = transport or Transport(http, tls)
        self._limits = within, connect
        self.sending: Sending = self._transport.prepare(signed(url, body, query))

    async def answer(self) -> Answer:
        """The reply, or whatever `Sending.answer` raises."""
        try:
            return await self.sending.answer(*self._limits)
        finally:
            if self._is_own:
                await self._transport.aclose()

    async def failure(self) -> SendFailed:
        """How the attempt failed; nothing foreign may hang on that."""
        with pytest.raises(SendFailed) as caught:
            await self.answer()
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert caught.value.sent is self.sending.sent
        return caught.value


def facts(failure: SendFailed) -> tuple[bool, bool]:
    """`sent` and `connecting`."""
    return failure.sent, failure.connecting


NOT_SENT, UNREACHED, SENT = (False, False), (False, True), (True, False)


# --- what aiohttp says, in our words (no socket) -------------------------------------------------


class MockedResponse(aiohttp.ClientResponse):
    """aioresponses 0.7.9 builds responses as aiohttp did before 3.14: without `stream_writer`."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings, stream_writer=Mock(output_size=0))


def writer() -> Any:
    """A stream writer that swallows what it is given, over a transport without a socket."""
    made = Mock(spec=AbstractStreamWriter)
    made.transport.is_closing.return_value = False
    made.transport.get_extra_info.return_value = None
    return made


def replies(**settings: Any) -> Callable[..., Awaitable[CallbackResult]]:
    """Take the body, as a connection would, and answer."""

    async def callback(url: URL, **asked: Any) -> CallbackResult:
        await asked["data"].write_with_length(writer(), None)
        return CallbackResult(response_class=MockedResponse, **settings)

    return callback


ANY = re.compile(r"http://127\.0\.0\.1:1/.*")
HERE = "http://127.0.0.1:1"
KEY = ConnectionKey("127.0.0.1", 1, True, True, None, None, None)


@pytest.mark.parametrize("status", [200, 203, 400, 404, 429, 500, 502])
@bounded
async def test_status_headers_and_body_reach_the_answer(status: int) -> None:
    """Whatever the status, the answer holds it, the body's bytes and lower-case header names."""
    headers = {"X-Some-Header": "Value", "Retry-After": "1"}
    with aioresponses() as mocked:
        mocked.post(ANY, callback=replies(status=status, body=b"\xff{}", headers=headers))
        answer = await Sent(HERE).answer()
    assert (answer.status, answer.body) == (status, b"\xff{}")
    assert answer.headers["x-some-header"] == "Value"
    assert answer.headers["retry-after"] == "1"


@bounded
async def test_what_aiohttp_is_asked_for() -> None:
    """No redirects, no raising by status, no decompression, no middlewares, verified TLS."""
    with aioresponses() as mocked:
        mocked.post(ANY, callback=replies(body=b"{}"))
        await Sent(HERE).answer()
        ((call,),) = mocked.requests.values()
    asked = call.kwargs
    assert asked["allow_redirects"] is False
    assert asked["raise_for_status"] is False
    assert asked["auto_decompress"] is False
    assert tuple(asked["middlewares"]) == ()
    assert asked["ssl"] is True


FAILURES: list[tuple[Exception, tuple[bool, bool]]] = [
    (aiohttp.ClientConnectorError(KEY, OSError(111, "refused")), UNREACHED),
    (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "unknown")), UNREACHED),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "alert")), UNREACHED),
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("unknown")), UNREACHED),
    (aiohttp.ConnectionTimeoutError("late"), UNREACHED),
    (TimeoutError(), UNREACHED),
    (aiohttp.ClientConnectionError("Connector is closed"), NOT_SENT),
    (aiohttp.ServerDisconnectedError(), NOT_SENT),
    (aiohttp.ClientOSError(32, "broken pipe"), NOT_SENT),
    (aiohttp.InvalidURL("http://127.0.0.1:1/?Signature=x"), NOT_SENT),
    (aiohttp.ClientPayloadError("short"), NOT_SENT),
    (OSError(24, "too many open files"), NOT_SENT),
    (ConnectionResetError(104, "reset"), NOT_SENT),
    (ValueError("?"), NOT_SENT),
]


@pytest.mark.parametrize(("error", "expected"), FAILURES, ids=lambda one: type(one).__name__)
@bounded
async def test_failures_before_the_body_was_asked_for(
    error: Exception, expected: tuple[bool, bool]
) -> None:
    """Each of aiohttp's exceptions is a `SendFailed` that knows that nothing left."""
    with aioresponses() as mocked:
        mocked.post(ANY, exception=error)
        assert facts(await Sent(HERE).failure()) == expected


@pytest.mark.parametrize("error", [error for error, _ in FAILURES], ids=lambda e: type(e).__name__)
@bounded
async def test_failures_after_the_body_was_asked_for(error: Exception) -> None:
    """The same exceptions mean that bytes may have left, once the body was asked for."""

    async def write(url: URL, **settings: Any) -> None:
        await settings["data"].write_with_length(writer(), None)
        raise error

    with aioresponses() as mocked:
        mocked.post(ANY, callback=write)
        assert facts(await Sent(HERE).failure()) == SENT


@pytest.mark.parametrize("error", [RuntimeError("?"), KeyError("?"), AssertionError("?")], ids=repr)
@bounded
async def test_any_exception_of_a_session_is_a_failed_sending(error: Exception) -> None:
    """A caller's session, connector or resolver may raise anything; ours alone comes out."""
    with aioresponses() as mocked:
        mocked.post(ANY, exception=error)
        assert (await Sent(HERE).failure()).sent is False


@bounded
async def test_a_request_is_written_once() -> None:
    """Asked for its body again, by whoever resends, the attempt fails instead."""

    async def twice(url: URL, **settings: Any) -> None:
        first, second = writer(), writer()
        await settings["data"].write_with_length(first, None)
        try:
            await settings["data"].write_with_length(second, None)
        except Exception as error:
            second.write.assert_not_called()
            raise aiohttp.ClientConnectionError("could not write") from error

    with aioresponses() as mocked:
        mocked.post(ANY, callback=twice)
        assert facts(await Sent(HERE).failure()) == SENT


# --- the connection is never made ----------------------------------------------------------------


@bounded
async def test_a_refused_connection() -> None:
    """Nobody listens: not sent, and the connection is to blame."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failure = await Sent(f"http://127.0.0.1:{taken.getsockname()[1]}").failure()
    assert facts(failure) == UNREACHED


@bounded
async def test_a_name_that_is_not_found() -> None:
    """The resolver fails: not sent, and the connection is to blame."""

    async def unknown() -> None:
        raise OSError(socket.EAI_NONAME, "Name or service not known")

    async with resolving(Resolver(1, unknown)) as http:
        assert facts(await Sent("http://api.example.test", http=http).failure()) == UNREACHED


@bounded
async def test_a_resolver_that_fails_in_its_own_way() -> None:
    """A caller's resolver raises something unusual: still our failure, and not sent."""

    async def broken() -> None:
        raise RuntimeError("cache is corrupt")

    async with resolving(Resolver(1, broken)) as http:
        assert (await Sent("http://api.example.test", http=http).failure()).sent is False


@pytest.mark.parametrize(("within", "connect"), [(5.0, BRIEF), (BRIEF, 5.0)])
@bounded
async def test_a_resolver_that_hangs(within: float, connect: float) -> None:
    """The name never resolves: not sent, when the time to connect or the attempt's is over."""

    async def hang() -> None:
        await asyncio.Event().wait()

    async with resolving(Resolver(1, hang)) as http:
        sent = Sent("http://api.example.test", http=http, within=within, connect=connect)
        began = time.monotonic()
        assert facts(await sent.failure()) == UNREACHED
    assert BRIEF * 0.9 <= time.monotonic() - began < 2.0


@bounded
async def test_a_black_hole_is_not_sent_once_the_time_to_connect_is_over() -> None:
    """The host takes no connection and refuses none: not sent once the time to connect is over."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listener, socket.socket() as one, socket.socket() as two:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        began = loop.time()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert facts(await Sent(url, connect=BRIEF).failure()) == UNREACHED
    assert loop.time() - began < 2.0


@pytest.mark.parametrize("script", [deaf, silent], ids=["deaf", "silent"])
@bounded
async def test_tls_that_is_never_agreed_on(script: Script) -> None:
    """A peer that takes the connection and never answers TLS: not sent in the time to connect."""

    async def reads(connection: Connection) -> None:
        await connection.receive()

    async with FaultServer(reads if script is silent else script) as server:
        url = server.url.replace("http:", "https:")
        assert facts(await Sent(url, connect=BRIEF, tls=client_tls()).failure()) == UNREACHED
        assert server.requests == []


@bounded
async def test_tls_that_answers_garbage() -> None:
    """A peer that speaks plain HTTP where TLS was meant: not sent."""

    async def plain(connection: Connection) -> None:
        await connection.receive()
        await connection.send(OK)

    async with FaultServer(plain) as server:
        url = server.url.replace("http:", "https:")
        assert facts(await Sent(url, tls=client_tls()).failure()) == UNREACHED


@pytest.mark.parametrize("kind", ["unknown authority", "wrong host", "expired"])
@bounded
async def test_certificates_that_are_not_accepted(kind: str) -> None:
    """Whatever is wrong with the certificate, not a byte of the request leaves."""
    context, trusted = {
        "unknown authority": (shared_server_tls(), None),
        "wrong host": (server_tls("127.0.0.2", "localhost"), client_tls()),
        "expired": (server_tls(expired=True), client_tls()),
    }[kind]
    async with FaultServer(answers(OK), tls=context) as server:
        assert facts(await Sent(server.url, tls=trusted).failure()) == UNREACHED
        assert server.requests == []


@bounded
async def test_a_certificate_that_is_accepted() -> None:
    """With the authority in `ssl=`, the reply arrives, which proves the tests above."""
    async with FaultServer(answers(OK), tls=shared_server_tls()) as server:
        assert (await Sent(server.url, tls=client_tls()).answer()).status == 200


# --- the connection is made, and no complete reply comes -----------------------------------------


@bounded
async def test_a_reset_before_the_request_is_read() -> None:
    """Accepted and reset: sent exactly if the body was asked for."""
    async with FaultServer(resets) as server:
        sent = Sent(server.url)
        failure = await sent.failure()
        assert failure.sent is sent.sending._body.asked_for
        assert failure.connecting is False


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    "script",
    [
        resets_after_request,
        closes_after_request,
        sends_then_closes(b"HTTP/1.1 200 OK\r\n"),
        sends_then_closes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        sends_then_closes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"),
        sends_then_closes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"),
        sends_then_closes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"),
        sends_then_closes(b"\x00\xff\x13garbage, and no end of line"),
        sends_then_closes(b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=[
        "reset",
        "closed",
        "head cut",
        "no body",
        "body cut",
        "chunks cut",
        "last chunk cut",
        "garbage",
        "only 100",
    ],
)
@bounded
async def test_a_reply_that_is_lost_or_cut(script: Script, tls: bool) -> None:
    """However the connection ends before the reply does, the request counts as sent."""
    async with FaultServer(script, tls=shared_server_tls() if tls else None) as server:
        sent = Sent(server.url, tls=client_tls() if tls else None)
        assert facts(await sent.failure()) == SENT
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"<html>no HTTP</html>\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 20_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}XX\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n",
    ],
    ids=[
        "ssh",
        "html",
        "status",
        "no colon",
        "negative length",
        "two lengths",
        "20 KB header",
        "chunk size",
        "chunk end",
        "second chunk",
    ],
)
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@LOOPS
def test_a_reply_that_is_not_http(loop: str, tls: bool, data: bytes) -> None:
    """A reply that cannot be parsed fails the attempt at once, though the peer keeps it open."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(data)

    async def main() -> None:
        async with FaultServer(script, tls=shared_server_tls() if tls else None) as server:
            failure = await Sent(server.url, tls=client_tls() if tls else None).failure()
            assert facts(failure) == SENT
            assert "within" not in failure.reason
            async with asyncio.timeout(2.0):
                assert (await server.connections[0].ended).rest == b""

    run_on(loop, main())


@bounded
async def test_a_reset_in_the_middle_of_a_reply() -> None:
    """Head and half of the body, then a reset: sent, and no part of it is an answer."""
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + b"{" * 2000
    async with FaultServer(sends_then_resets(data)) as server:
        task = asyncio.create_task(Sent(server.url).failure())
        await server.arrived.wait()
        server.connections[0].resume.set()
        assert facts(await task) == SENT


@pytest.mark.parametrize(
    "data",
    [OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n" * 500],
    ids=["length", "chunked"],
)
@bounded
async def test_a_reply_that_drips(data: bytes) -> None:
    """Byte after byte keeps nothing alive: the attempt's time is over when it is over."""
    async with FaultServer(drips(data, 0.02)) as server:
        began = time.monotonic()
        assert facts(await Sent(server.url, within=BRIEF).failure()) == SENT
        assert BRIEF * 0.9 <= time.monotonic() - began < 2.0
        assert (await server.connections[0].ended).kind == "reset"


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@bounded
async def test_silence_is_sent_once_the_attempts_time_is_over(tls: bool) -> None:
    """The request is read and nothing comes back: sent, once the attempt's time is over."""
    async with FaultServer(silent, tls=shared_server_tls() if tls else None) as server:
        sent = Sent(server.url, within=BRIEF, tls=client_tls() if tls else None)
        failure = await sent.failure()
        assert facts(failure) == SENT
        assert failure.reason == "no complete answer within 0.15 s"


@bounded
async def test_interim_replies_without_end() -> None:
    """A peer that only ever says 100 Continue does not outlast the attempt's time."""

    async def script(connection: Connection) -> None:
        await connection.request()
        while True:
            await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.01)

    async with FaultServer(script) as server:
        assert facts(await Sent(server.url, within=BRIEF).failure()) == SENT


# --- replies, and what is made of them -----------------------------------------------------------


@bounded
async def test_a_reply_in_pieces() -> None:
    """A reply that arrives byte by byte, but in time, is an answer."""
    async with FaultServer(drips(reply(b'{"status":"ok"}', X_A="b"), 0)) as server:
        answer = await Sent(server.url).answer()
    assert (answer.status, answer.body) == (200, b'{"status":"ok"}')
    assert answer.headers["x-a"] == "b"


@bounded
async def test_a_reply_before_the_request_was_read() -> None:
    """An early reply, as a gateway sends it to a long request, is an answer."""

    async def early(connection: Connection) -> None:
        await connection.receive()
        await connection.send(reply(b"too large", 413))
        await connection.resume.wait()

    async with FaultServer(early, received=4096) as server:
        assert (await Sent(server.url, body=b"x" * 1_000_000).answer()).status == 413


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
@bounded
async def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is the answer, and the host that it names hears nothing."""
    async with FaultServer(answers(OK)) as other:
        told = reply(b"", status, Location=f"{other.url}/elsewhere")
        async with FaultServer(answers(told)) as server:
            answer = await Sent(server.url).answer()
            assert answer.status == status
            assert len(server.requests) == 1
        assert other.connections == []


def bare_deflated(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


@pytest.mark.parametrize("auto_decompress", [None, True, False])
@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzipped),
        ("GZip", gzipped),
        ("x-gzip", gzipped),
        ("deflate", zlib.compress),
        ("deflate", bare_deflated),
        ("identity", bytes),
        ("", bytes),
        ("deflate, gzip", lambda body: gzipped(zlib.compress(body))),
    ],
    ids=["gzip", "GZip", "x-gzip", "zlib", "bare deflate", "identity", "empty", "both"],
)
@bounded
async def test_content_codings_are_undone_though_none_was_asked_for(
    coding: str, encode: Callable[[bytes], bytes], auto_decompress: bool | None
) -> None:
    """gzip and deflate, in zlib's format or bare, are decoded though identity was asked for."""
    body = b'{"status":"ok"}' * 50
    data = reply(encode(body), Content_Encoding=coding)
    async with FaultServer(answers(data)) as server:
        if auto_decompress is None:
            assert (await Sent(server.url).answer()).body == body
        else:
            async with aiohttp.ClientSession(auto_decompress=auto_decompress) as http:
                assert (await Sent(server.url, http=http).answer()).body == body


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzipped(b"{}" * 500)[:-9]),
        ("gzip", gzipped(b"{}" * 500)[:-1]),
        ("gzip", gzipped(b"{}")[:5]),
        ("gzip", b""),
        ("gzip", b"{}"),
        ("gzip", gzipped(b"{}")[:-8] + b"\0" * 8),
        ("deflate", zlib.compress(b"{}" * 500)[:-5]),
        ("deflate", bare_deflated(b"{}" * 500)[:-2]),
        ("deflate", b""),
        ("deflate", b"{}"),
        ("br", b"{}"),
        ("zstd", b"{}"),
        ("compress", b"{}"),
        ("gzip, br", gzipped(b"{}")),
        ("*", b"{}"),
    ],
    ids=repr,
)
@bounded
async def test_bodies_that_cannot_be_decoded(coding: str, body: bytes) -> None:
    """A truncated or damaged coding, or one never asked for: sent, and no answer."""
    async with FaultServer(answers(reply(body, Content_Encoding=coding))) as server:
        assert facts(await Sent(server.url).failure()) == SENT


@bounded
async def test_a_compressed_body_with_a_tail_is_no_answer() -> None:
    """Bytes after the end of the compressed body: it is not what the peer meant to say."""
    data = gzipped(b'{"status":"ok"}') + gzipped(b',"and":"more"}')
    async with FaultServer(answers(reply(data, Content_Encoding="gzip"))) as server:
        assert facts(await Sent(server.url).failure()) == SENT


@pytest.mark.parametrize("coding", ["", "gzip", "br"])
@bounded
async def test_429_is_an_answer_whatever_its_body(coding: str) -> None:
    """HTTP 429 is refused whatever its body, so an undecodable or empty one hides it not."""
    data = reply(b"", 429, Content_Encoding=coding, Retry_After="1")
    async with FaultServer(answers(data)) as server:
        answer = await Sent(server.url).answer()
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")


@pytest.mark.parametrize("encode", [bytes, gzipped], ids=["plain", "gzip"])
@bounded
async def test_the_largest_body_is_read_and_one_byte_more_is_not(
    encode: Callable[[bytes], bytes],
) -> None:
    """256 KiB are read, one byte more is not."""
    coding = "gzip" if encode is gzipped else "identity"
    full, over = (reply(encode(b"x" * n), Content_Encoding=coding) for n in (LIMIT, LIMIT + 1))
    async with FaultServer(answers(full), answers(over)) as server:
        assert len((await Sent(server.url).answer()).body) == LIMIT
        assert facts(await Sent(server.url).failure()) == SENT


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("megabytes", [100, 500])
@bounded
async def test_a_gzip_bomb_is_given_up_on_and_costs_little(megabytes: int, tls: bool) -> None:
    """Half a megabyte that would expand to 500 is given up on, at the cost of little memory."""
    data = reply(bomb(megabytes), Content_Encoding="gzip")
    async with FaultServer(answers(data), tls=shared_server_tls() if tls else None) as server:
        trusted = client_tls() if tls else None
        tracemalloc.start()
        try:
            assert facts(await Sent(server.url, tls=trusted).failure()) == SENT
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 20_000_000


@bounded
async def test_a_body_without_end() -> None:
    """A peer that never stops sending is reset after 256 KiB, not read until the time is over."""

    async def endless(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await connection.send(bytes(10_000))

    async with FaultServer(endless) as server:
        failure = await Sent(server.url).failure()
        assert facts(failure) == SENT
        assert "within" not in failure.reason
        assert (await server.connections[0].ended).kind == "reset"


# --- one request on the wire ---------------------------------------------------------------------


@pytest.mark.parametrize("callers", [False, True], ids=["own", "callers"])
@pytest.mark.parametrize("end", [closes_after_request, resets_after_request, resets_on_sight])
@bounded
async def test_a_kept_connection_that_ends_is_not_sent_over_again(
    end: Script, callers: bool
) -> None:
    """The connection goes down under the second request, which is not sent once more."""
    async with FaultServer(kept_alive_then(end), answers(OK)) as server:
        http = aiohttp.ClientSession() if callers else None
        transport = Transport(http, None)
        try:
            await Sent(server.url, transport=transport).answer()
            failure = await Sent(server.url, transport=transport).failure()
            assert facts(failure) == SENT
            assert len(server.connections) == 1
            assert (await Sent(server.url, transport=transport).answer()).status == 200
            assert len(server.connections) == 2
        finally:
            await transport.aclose()
            if http is not None:
                await http.close()


@pytest.mark.parametrize("callers", [False, True], ids=["own", "callers"])
@pytest.mark.parametrize("end", [closes_after_request, resets_after_request, resets_on_sight])
@bounded
async def test_a_get_is_not_sent_over_again_either(end: Script, callers: bool) -> None:
    """aiohttp repeats a GET by itself when a kept connection has died: ours arrives once."""
    async with FaultServer(kept_alive_then(end), answers(OK)) as server:
        get = SignedRequest(Request("GET", "/v5/algo/order/opens"), server.url, QUERY, ())
        http = aiohttp.ClientSession() if callers else None
        transport = Transport(http, None)
        try:
            await transport.prepare(get).answer(5.0, 5.0)
            sending = transport.prepare(get)
            with pytest.raises(SendFailed) as caught:
                await sending.answer(5.0, 5.0)
            assert facts(caught.value) == SENT
            assert sum(len(c.requests) for c in server.connections[1:]) == 0
            assert (await transport.prepare(get).answer(5.0, 5.0)).status == 200
            assert server.requests[-1].line == f"GET /v5/algo/order/opens?{QUERY} HTTP/1.1"
        finally:
            await transport.aclose()
            if http is not None:
                await http.close()


@bounded
async def test_a_callers_middlewares_are_passed_by() -> None:
    """A retrying middleware on a caller's session neither resends nor sees the request."""
    seen: list[str] = []

    async def again(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        seen.append(str(request.url))
        response = await handler(request)
        return response if response.status < 500 else await handler(request)

    async with (
        FaultServer(answers(reply(b"", 503))) as server,
        aiohttp.ClientSession(middlewares=(again,)) as http,
    ):
        assert (await Sent(server.url, http=http).answer()).status == 503
        assert len(server.requests) == 1
    assert seen == []


@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@bounded
async def test_a_reply_that_nobody_asked_for_answers_no_later_request(
    tls: bool, late: bool
) -> None:
    """An extra reply on a kept connection is never taken for the answer to the next request."""
    stray, second = as_json({"reply": "stray"}), as_json({"reply": "second"})
    told = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK if late else OK + stray)
        if late:
            await connection.resume.wait()
            await connection.send(stray)
        told.set()
        await connection.request()
        await connection.send(second)

    async with FaultServer(
        script, answers(second), tls=shared_server_tls() if tls else None
    ) as server:
        transport = Transport(None, client_tls() if tls else None)
        try:
            await Sent(server.url, transport=transport).answer()
            server.connections[0].resume.set()
            await told.wait()
            for _ in range(10):
                await asyncio.sleep(0)
            try:
                answer = await Sent(server.url, transport=transport).answer()
            except SendFailed:
                pass
            else:
                assert answer.body == b'{"reply": "second"}'
        finally:
            await transport.aclose()


@bounded
async def test_a_connection_closed_while_idle_is_not_used() -> None:
    """The peer closed between two requests: the second goes over a new connection and arrives."""

    async def once(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.finish()

    async with FaultServer(once, answers(OK)) as server:
        transport = Transport(None, None)
        try:
            await Sent(server.url, transport=transport).answer()
            await server.connections[0].ended
            assert (await Sent(server.url, transport=transport).answer()).status == 200
        finally:
            await transport.aclose()
        assert len(server.requests) == 2


# --- reset, not closed ---------------------------------------------------------------------------


def small_buffer(info: Any) -> socket.socket:
    """A socket whose send buffer is small, so that bytes queue up in the event loop too."""
    made = socket.socket(info[0], info[1], info[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return made


@pytest.mark.parametrize("peer", ["silent", "deaf"])
@pytest.mark.parametrize("callers", [False, True], ids=["own", "callers"])
@pytest.mark.parametrize("by", ["time-out", "cancellation"])
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@LOOPS
def test_an_attempt_that_is_given_up_resets_its_connection(
    loop: str, tls: bool, by: str, callers: bool, peer: str
) -> None:
    """The peer sees a reset at once: no close, no goodbye, no further byte, nothing queued."""
    body = BODY if peer == "silent" else b"x" * 1_000_000

    async def attempt(server: FaultServer, http: aiohttp.ClientSession | None) -> None:
        within = BRIEF if by == "time-out" else 60.0
        sent = Sent(
            server.url, within=within, http=http, tls=client_tls() if tls else None, body=body
        )
        task = asyncio.create_task(sent.answer())
        await server.arrived.wait()
        if by == "cancellation":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with pytest.raises(SendFailed):
                await task
        assert sent.sending.sent
        server.connections[0].resume.set()
        async with asyncio.timeout(2.0):
            end = await server.connections[0].ended
        assert end.kind == "reset"
        assert not end.goodbye
        if peer == "silent":
            assert end.rest == b""
        else:
            assert len(end.rest) < len(body)

    async def main() -> None:
        async with FaultServer(
            silent if peer == "silent" else deaf_after_first_bytes,
            tls=shared_server_tls() if tls else None,
            received=None if peer == "silent" else 4096,
        ) as server:
            if not callers:
                await attempt(server, None)
                return
            connector = aiohttp.TCPConnector(socket_factory=small_buffer)
            async with aiohttp.ClientSession(connector=connector) as http:
                await attempt(server, http)

    run_on(loop, main())


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@LOOPS
def test_a_connection_given_up_is_not_used_again(loop: str, tls: bool) -> None:
    """After a time-out the next request goes over a connection of its own."""

    async def main() -> None:
        async with FaultServer(
            silent, answers(OK), tls=shared_server_tls() if tls else None
        ) as server:
            transport = Transport(None, client_tls() if tls else None)
            try:
                await Sent(server.url, transport=transport, within=BRIEF).failure()
                assert (await Sent(server.url, transport=transport).answer()).body
            finally:
                await transport.aclose()
            assert [len(one.requests) for one in server.connections] == [1, 1]

    run_on(loop, main())


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@LOOPS
def test_a_kept_connection_serves_request_after_request(loop: str, tls: bool) -> None:
    """Complete replies leave the connection alone: three requests, one connection."""

    async def main() -> None:
        async with FaultServer(answers(OK), tls=shared_server_tls() if tls else None) as server:
            transport = Transport(None, client_tls() if tls else None)
            try:
                for _ in range(3):
                    assert (await Sent(server.url, transport=transport).answer()).status == 200
            finally:
                await transport.aclose()
            assert len(server.connections) == 1

    run_on(loop, main())


@bounded
async def test_cancellation_before_the_request_is_written() -> None:
    """Cancelled while connecting: CancelledError, not sent, and the peer hears nothing."""
    async with FaultServer(answers(OK)) as server:
        reached = asyncio.Event()

        async def hang() -> None:
            reached.set()
            await asyncio.Event().wait()

        async with resolving(Resolver(server.port, hang)) as http:
            sent = Sent("http://api.example.test", http=http)
            task = asyncio.create_task(sent.answer())
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert sent.sending.sent is False
        assert server.connections == []


@pytest.mark.parametrize("turns", range(12))
@bounded
async def test_cancellation_at_any_turn_tells_the_truth(turns: int) -> None:
    """Cancelled after any number of loop turns: `sent` is True whenever a byte arrived."""
    async with FaultServer(silent) as server:
        transport = Transport(None, None)
        sent = Sent(server.url, transport=transport)
        task = asyncio.create_task(sent.answer())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        known = sent.sending.sent
        await transport.aclose()
        for connection in server.connections:
            await connection.ended
        assert known or not server.requests
        assert sent.sending.sent is known


@pytest.mark.parametrize("whose", ["own", "callers"])
@bounded
async def test_a_session_closed_on_the_wire(whose: str) -> None:
    """Own or the caller's, an HTTP session closed under a request makes it a failed one, sent."""
    async with FaultServer(silent) as server:
        http = aiohttp.ClientSession() if whose == "callers" else None
        transport = Transport(http, None)
        task = asyncio.create_task(Sent(server.url, transport=transport).failure())
        await server.arrived.wait()
        await (transport.aclose() if http is None else http.close())
        assert (await task).sent is True


# --- a loop that was blocked ---------------------------------------------------------------------


def answers_and_blocks(seconds: float) -> Script:
    """Answer one request and, before anybody can read the answer, block the loop."""

    async def script(connection: Connection) -> None:
        await connection.request()
        connection.send_now(OK)
        # The subject: nothing runs while the answer lies in the socket.
        time.sleep(seconds)  # noqa: ASYNC251 - the subject of these tests

    return script


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@LOOPS
def test_an_answer_that_waited_for_a_blocked_loop_is_an_answer(loop: str, tls: bool) -> None:
    """Blocked longer than the attempt's time-out and the call's deadline: no false time-out."""

    async def main() -> None:
        async with FaultServer(
            answers_and_blocks(0.3), tls=shared_server_tls() if tls else None
        ) as server:
            async with session(
                server.url, ssl=client_tls() if tls else None, attempt_timeout=0.1
            ) as htx:
                report = await htx.cancel_all_trailing("BTC-USDT", deadline=0.2)
            assert report.outcome is Outcome.CANCELLED
            assert len(report.attempts) == 1

    run_on(loop, main())


@bounded
async def test_silence_behind_a_blocked_loop_is_a_time_out() -> None:
    """Blocked beyond the time-out with no answer in the socket: the attempt ends soon after."""

    async def script(connection: Connection) -> None:
        await connection.request()
        time.sleep(0.2)  # noqa: ASYNC251 - the subject of this test

    async with FaultServer(script) as server:
        assert facts(await Sent(server.url, within=0.1).failure()) == SENT


# --- what stays ----------------------------------------------------------------------------------


async def cancelled_on_the_wire(htx: HtxSession, server: FaultServer) -> None:
    call = asyncio.create_task(htx.cancel_all_trailing("BTC-USDT"))
    await server.arrived.wait()
    call.cancel()
    await asyncio.wait([call])


async def to_its_end(htx: HtxSession, server: FaultServer) -> None:
    with suppress(CancelError):
        await htx.cancel_all_trailing("BTC-USDT", deadline=0.3)


LEFT: dict[str, tuple[Script, Callable[[HtxSession, FaultServer], Awaitable[None]]]] = {
    "answered": (answers(OK), to_its_end),
    "silent": (silent, to_its_end),
    "cancelled": (silent, cancelled_on_the_wire),
    "reset": (resets_after_request, to_its_end),
    "closed": (closes_after_request, to_its_end),
    "reset on accept": (resets, to_its_end),
    "cut short": (sends_then_closes(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), to_its_end),
    "reset in the middle": (
        sends_then_resets(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
        to_its_end,
    ),
    "not HTTP": (answers(b"\x00\xff not HTTP\r\n\r\n"), to_its_end),
    "too large": (answers(reply(bytes(300_000))), to_its_end),
    "not decodable": (answers(reply(b"{}", Content_Encoding="gzip")), to_its_end),
    "redirect": (answers(reply(b"", 302, Location="http://127.0.0.1:1/")), to_its_end),
}


@pytest.mark.parametrize("callers", [False, True], ids=["own", "callers"])
@pytest.mark.parametrize("kind", LEFT)
@bounded
async def test_no_signed_request_outlives_its_call(kind: str, callers: bool) -> None:
    """Without the garbage collector: none hangs in a cycle of exceptions and frames once the call
    has ended and the session was closed."""
    script, left = LEFT[kind]
    http = aiohttp.ClientSession() if callers else None

    def alive() -> int:
        return sum(type(one) is SignedRequest for one in gc.get_objects())

    gc.collect()
    # What is there already need not be looked through.
    gc.freeze()
    before = alive()
    gc.disable()
    try:
        async with FaultServer(script) as server:
            repeated = RetryPolicy(repeat_unknown=True, attempts=2, base=0.001)
            brief = {"attempt_timeout": 0.1, "retry": repeated, "generation": "v1"}
            async with session(server.url, http=http, **brief) as htx:
                await left(htx, server)
        after = alive()
    finally:
        gc.enable()
        if http is not None:
            await http.close()
    assert after == before


# --- a caller's session, and what it may not change ----------------------------------------------


@bounded
async def test_a_callers_session_is_used_and_never_closed() -> None:
    """It carries the request, and after `aclose()` it still works."""
    async with FaultServer(answers(OK)) as server, aiohttp.ClientSession() as http:
        async with session(server.url, http=http) as htx:
            await htx.cancel_all_trailing("BTC-USDT")
        assert not http.closed
        async with http.post(server.url) as response:
            assert response.status == 200


@bounded
async def test_own_connections_are_closed() -> None:
    """`aclose()` closes what the session opened, and only once."""
    async with FaultServer(answers(OK)) as server:
        htx = session(server.url)
        await htx.cancel_all_trailing("BTC-USDT")
        await htx.aclose()
        await htx.aclose()
        assert (await server.connections[0].ended).kind in ("fin", "reset")


@bounded
async def test_a_callers_session_that_trusts_the_environment_is_refused() -> None:
    """`trust_env=True` would send signed requests to proxies that the environment names."""
    async with aiohttp.ClientSession(trust_env=True) as http:
        with pytest.raises(InvalidRequest, match="trust_env"):
            session("https://127.0.0.1:1", http=http)


@bounded
async def test_the_environments_proxies_and_passwords_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Neither http_proxy nor .netrc reaches our requests."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password something\n")
    async with FaultServer(answers(OK)) as proxy, FaultServer(answers(OK)) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NETRC", str(netrc))
        async with session(server.url) as htx:
            await htx.cancel_all_trailing("BTC-USDT")
        assert proxy.connections == []
        assert "authorization" not in server.requests[0].headers


@bounded
async def test_a_callers_session_that_is_closed() -> None:
    """A closed `http` is SessionClosed, with nothing foreign on it, and the token is free again."""
    http = aiohttp.ClientSession()
    await http.close()
    async with session("http://127.0.0.1:1", http=http, limiter=TokenBucket(1, 60.0)) as htx:
        for _ in range(3):
            with pytest.raises(SessionClosed) as caught:
                await htx.cancel_all_trailing("BTC-USDT")
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@bounded
async def test_a_callers_connector_cannot_switch_verification_off(warm: bool) -> None:
    """ssl=False on the connector is not ours, nor is a connection that was opened under it."""
    async with FaultServer(answers(OK), tls=shared_server_tls()) as server:
        connector = aiohttp.TCPConnector(ssl=False)
        async with aiohttp.ClientSession(connector=connector) as http:
            if warm:
                async with http.post(server.url) as response:
                    assert response.status == 200
                server.requests.clear()
            assert facts(await Sent(server.url, http=http).failure()) == UNREACHED
            assert server.requests == []


async def refuse_all(response: aiohttp.ClientResponse) -> None:
    raise RuntimeError("not wanted")


@pytest.mark.parametrize(
    "settings",
    [
        {"raise_for_status": True},
        {"raise_for_status": refuse_all},
        {"auto_decompress": False},
        {"timeout": aiohttp.ClientTimeout(total=1e-9, sock_read=1e-9)},
        {"headers": {"User-Agent": "mine", "X-Mine": "1"}},
        {"headers": {"accept-encoding": "gzip, br", "content-type": "text/xml", "accept": "a/b"}},
        {"skip_auto_headers": ["Content-Type", "User-Agent", "Host"]},
        {"cookies": {"mine": "1"}},
        {"base_url": "http://elsewhere.example/"},
        {"version": aiohttp.HttpVersion10},
        {"connector_owner": False},
        {"requote_redirect_url": True},
    ],
    ids=lambda settings: repr(settings).partition(" at 0x")[0][:60],
)
@pytest.mark.parametrize("status", [200, 400])
@bounded
async def test_settings_of_a_callers_session_do_not_break_ours(
    settings: dict[str, Any], status: int
) -> None:
    """Whatever is set on the session, our request goes out as ours and the reply comes in."""
    connector = aiohttp.TCPConnector()
    async with FaultServer(answers(reply(b"{}", status))) as server:
        async with aiohttp.ClientSession(connector=connector, **settings) as http:
            answer = await Sent(server.url, http=http, within=1.0).answer()
        await connector.close()
        assert (answer.status, answer.body) == (status, b"{}")
        (request,) = server.requests
    assert request.target == f"{PATH}?{QUERY}"
    assert request.body == BODY
    assert request.headers["host"] == [f"127.0.0.1:{server.port}"]
    assert request.headers["accept-encoding"] == ["identity"]
    assert request.headers["content-type"] == ["application/json"]
    assert request.headers["content-length"] == [str(len(BODY))]
    assert not {"transfer-encoding", "content-encoding", "expect"} & set(request.headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "3"},
        {"host": "elsewhere.example"},
        {"Expect": "100-continue"},
        {"content-encoding": "deflate"},
        {"Transfer-Encoding": "chunked"},
    ],
    ids=lambda headers: next(iter(headers)),
)
@bounded
async def test_default_headers_that_change_what_is_sent_are_refused(
    headers: dict[str, str],
) -> None:
    """Headers that frame a message, name its host or hold its body back make a session unfit."""
    async with aiohttp.ClientSession(headers=headers) as http:
        with pytest.raises(InvalidRequest, match="(?i)" + next(iter(headers))):
            session("https://127.0.0.1:1", http=http)


def not_verifying(**settings: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    for name, value in settings.items():
        setattr(context, name, value)
    return context


@pytest.mark.parametrize(
    "context",
    [
        not_verifying(),
        not_verifying(verify_mode=ssl.CERT_NONE),
        not_verifying(verify_mode=ssl.CERT_OPTIONAL),
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
        False,
        True,
        "/etc/ssl/certs",
        aiohttp.Fingerprint(bytes(32)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_context_that_does_not_verify_is_refused(context: Any) -> None:
    """`ssl=` takes a context that verifies certificate and host name, and nothing else."""
    with pytest.raises(InvalidRequest, match="ssl"):
        session("https://127.0.0.1:1", ssl=context)


@pytest.mark.parametrize("callers", [False, True], ids=["own", "callers"])
@bounded
async def test_the_systems_authorities_decide_without_a_context(callers: bool) -> None:
    """Without `ssl=`, a certificate of an authority of our own is refused on either session."""
    async with FaultServer(answers(OK), tls=shared_server_tls()) as server:
        http = aiohttp.ClientSession() if callers else None
        assert facts(await Sent(server.url, http=http).failure()) == UNREACHED
        if http is not None:
            await http.close()
        assert server.requests == []


# --- what is on the wire -------------------------------------------------------------------------


@pytest.mark.parametrize("callers", [False, True], ids=["own", "callers"])
@bounded
async def test_the_request_on_the_wire(callers: bool) -> None:
    """Line, query, headers and body are exactly ours, and nothing is added."""
    query = "AccessKeyId=%41%2f%7E~%2B%20x&Timestamp=1%3A2&Signature=a%2Bb%2F%3D%e4%bd%a0%25"
    async with FaultServer(answers(OK)) as server:
        http = aiohttp.ClientSession() if callers else None
        await Sent(server.url, http=http, query=query).answer()
        if http is not None:
            await http.close()
        (request,) = server.requests
    assert request.line == f"POST {PATH}?{query} HTTP/1.1"
    assert request.body == BODY
    headers = request.headers
    assert headers.pop("accept") in (["*/*"], ["application/json"])
    assert headers == {
        "host": [f"127.0.0.1:{server.port}"],
        "accept-encoding": ["identity"],
        "content-type": ["application/json"],
        "user-agent": ["htx_async"],
        "content-length": [str(len(BODY))],
    }


@pytest.mark.parametrize(
    ("base_url", "names"),
    [("https://api.hbdm.com", "api.hbdm.com"), ("https://api.hbdm.com:8443", "api.hbdm.com:8443")],
)
@bounded
async def test_the_host_header_is_the_host_that_was_signed(base_url: str, names: str) -> None:
    """The signature, taken over the Host header as it came, is right; default ports stay out."""
    async with FaultServer(answers(OK), tls=server_tls("api.hbdm.com")) as server:
        async with (
            resolving(Resolver(server.port)) as http,
            session(
                base_url,
                http=http,
                ssl=client_tls(),
                credentials=Credentials("ab/c+d", "secret"),
            ) as htx,
        ):
            report = await htx.cancel_all_trailing("BTC-USDT", "buy", "close")
        assert report.outcome is Outcome.CANCELLED
        (request,) = server.requests
    assert request.headers["host"] == [names]
    query, _, signature = request.query.rpartition("&Signature=")
    text = f"POST\n{names}\n{PATH}\n{query}".encode()
    digest = base64.b64encode(hmac.new(b"secret", text, hashlib.sha256).digest()).decode()
    assert unquote(signature) == digest
    assert "AccessKeyId=ab%2Fc%2Bd&" in query
    assert request.body == b'{"contract_code":"BTC-USDT","direction":"buy","offset":"close"}'


# --- a whole call over each fault ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (resets_after_request, "reset"),
        (closes_after_request, "closed"),
        (silent, "silent"),
        (answers(reply(b"<html>", 502)), "502"),
        (answers(reply(b"<html>")), "HTML"),
        (answers(reply(b"")), "empty"),
        (answers(reply(b"", 302, Location="http://127.0.0.1:1/")), "redirect"),
        (answers(reply(b"{}", Content_Encoding="br")), "br"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
@bounded
async def test_a_call_without_a_believable_answer_is_unknown(script: Script, reason: str) -> None:
    """Each of these ends in OutcomeUnknown after exactly one request, with no foreign cause."""
    async with FaultServer(script) as server:
        async with session(server.url, attempt_timeout=BRIEF) as htx:
            with pytest.raises(OutcomeUnknown) as caught:
                await htx.cancel_all_trailing("BTC-USDT")
        assert len(server.requests) == 1
    (attempt,) = caught.value.report.attempts
    assert (attempt.verdict, attempt.sent) == (Verdict.UNKNOWN, True)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@bounded
async def test_a_call_that_cannot_connect_is_not_sent() -> None:
    """Refused until the deadline: NotSent, each attempt not sent, and no foreign cause."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with session(f"http://127.0.0.1:{taken.getsockname()[1]}", deadline=0.2) as htx:
            with pytest.raises(NotSent) as caught:
                await htx.cancel_all_trailing("BTC-USDT")
    assert caught.value.report.attempts
    assert {one.sent for one in caught.value.report.attempts} == {False}
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@bounded
async def test_a_request_held_back_as_it_is_about_to_be_written_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session is closed between the connection and the first byte: nothing leaves any more, so
    nothing is unknown."""
    written, closing = MarkedBody.write_with_length, list[asyncio.Task[None]]()

    async def closes(
        self: MarkedBody, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        closing.append(asyncio.create_task(htx.aclose(grace=5)))
        await asyncio.sleep(0)
        await written(self, writer, content_length)

    monkeypatch.setattr(MarkedBody, "write_with_length", closes)
    async with FaultServer(answers(OK)) as server, session(server.url) as htx:
        with pytest.raises(NotSent) as caught:
            await htx.cancel_all_trailing("BTC-USDT")
        await asyncio.gather(*closing)
        assert server.requests == []
    assert [one.verdict for one in caught.value.report.attempts] == [Verdict.NOT_SENT]


@bounded
async def test_an_unusual_error_of_a_callers_session_is_a_cancel_error() -> None:
    """A caller's resolver that raises anything ends the call with a report, not with its error."""

    async def broken() -> None:
        raise RuntimeError("cache is corrupt")

    async with (
        resolving(Resolver(1, broken)) as http,
        session("https://api.example.test", http=http, deadline=0.2) as htx,
    ):
        with pytest.raises(NotSent):
            await htx.cancel_all_trailing("BTC-USDT")


@LOOPS
def test_a_call_to_the_simulated_exchange(loop: str) -> None:
    """Signed and sent over both kinds of loop, a call is accepted by the exchange's own check."""

    async def main() -> None:
        async with SimulatedExchange() as exchange:
            ids = exchange.place("BTC-USDT", "buy", "close", 3)
            async with session(exchange.url, credentials=exchange.credentials) as htx:
                report = await htx.cancel_all_trailing("BTC-USDT")
            assert report.successes == ids

    run_on(loop, main())
