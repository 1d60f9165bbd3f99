"""Why there was no reply, in the system's words and never in foreign ones."""

import errno
import os
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from htx_async import Credentials, HtxSession, NotSent, OutcomeUnknown, RetryPolicy
from htx_async.report_text import CUT_OFF
from htx_async.simulator import SimulatedExchange
from htx_async.transport.failures import in_words
from tests.support.fault_server import (
    FaultServer,
    bounded,
    echoes,
    reply,
    resets_after_request,
    server_tls,
    silent,
)

BTC = "BTC-USDT"
KEYS = Credentials("canary-access-4711", "canary-secret-4711")
KEY: Any = ConnectionKey("secret.invalid", 1, True, True, None, None, None)


async def told(url: str, **settings: Any) -> tuple[Exception, str]:
    """How a call of this base URL ends, and what is told of its last attempt that was not cut off
    by the deadline."""
    usual: dict[str, Any] = {"base_urls": url, "retry": RetryPolicy(repeat_unknown=False)}
    async with HtxSession(KEYS, deadline=0.3, generation="v1", **(usual | settings)) as htx:
        with pytest.raises((NotSent, OutcomeUnknown)) as caught:
            await htx.cancel_all_trailing(BTC)
    messages = [attempt.message for attempt in caught.value.report.attempts]
    message = next(one for one in reversed(messages) if one != CUT_OFF)
    assert message in str(caught.value)
    assert "canary" not in str(caught.value)
    return caught.value, message


@bounded
async def test_a_refused_connection_says_so(refusing_url: str) -> None:
    """Where nobody listens it is "Connection refused", and nothing was sent."""
    error, message = await told(refusing_url)
    assert isinstance(error, NotSent)
    assert message == "the connection could not be made: Connection refused"


@bounded
async def test_a_reset_connection_says_so() -> None:
    """A request that was reset away is unknown, and why is told."""
    async with FaultServer(resets_after_request) as server:
        error, message = await told(server.url)
    assert isinstance(error, OutcomeUnknown)
    assert message == "the connection failed: Connection reset by peer"


def test_a_host_that_fails_at_each_address_in_its_own_way() -> None:
    """Each reason is told once, and no address."""
    parts = (101, "::1"), (111, "127.0.0.1"), (111, "127.0.0.2")
    text = ", ".join(f"[Errno {number}] Connect call failed ('{to}', 1)" for number, to in parts)
    error = aiohttp.ClientConnectorError(KEY, OSError(f"Multiple exceptions: {text}"))
    assert in_words(error) == (
        "the connection could not be made: Network is unreachable, Connection refused"
    )


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "with HTTP 403"),
        (407, "with HTTP 407 (it wants a name and a password)"),
        (502, "with HTTP 502"),
    ],
)
@bounded
async def test_a_proxy_that_refuses_its_tunnel_is_told_as_that(status: int, words: str) -> None:
    """Not as an answer of the exchange that cannot be read; nothing was sent, and the next base URL
    is tried at once."""
    page = echoes(lambda arrived: reply(b"<html>no</html>", status))
    async with FaultServer(page) as server, SimulatedExchange() as exchange:
        async with aiohttp.ClientSession(proxy=server.url) as http:
            error, message = await told("https://secret.invalid", http=http)
            both = ("https://one.invalid", "https://two.invalid")
            two, _ = await told("", base_urls=both, http=http)
        assert exchange.arrivals == ()
    assert isinstance(error, NotSent)
    assert message == f"the proxy refused a tunnel to the exchange, {words}"
    assert isinstance(two, NotSent)
    asked = [attempt.base_url for attempt in two.report.attempts[:2]]
    assert asked == list(both)


@bounded
async def test_a_proxy_that_is_not_there_is_told_as_that(refusing_url: str) -> None:
    """It is the proxy that refuses the connection, not the exchange."""
    async with aiohttp.ClientSession(proxy=refusing_url) as http:
        error, message = await told("https://secret.invalid", http=http)
    assert isinstance(error, NotSent)
    assert message == "no connection to the proxy could be made: Connection refused"


@bounded
async def test_a_certificate_that_is_not_accepted_says_why() -> None:
    """In OpenSSL's words for it."""
    async with FaultServer(silent, tls=server_tls("localhost", expired=True)) as server:
        url = f"https://localhost:{server.port}"
        _, message = await told(url)
    assert message.startswith("the exchange's certificate was not accepted: ")
    assert "certificate" in message.partition(": ")[2]


SECRET = "https://h/?AccessKeyId=a&Signature=canary"

FOREIGN: list[Exception] = [
    *(OSError(number, SECRET) for number in (0, -2, 1, 99999, errno.EHOSTUNREACH)),
    OSError(SECRET),
    OSError(f"Multiple exceptions: [Errno 101] {SECRET}, [Errno 99999999999] x, [Errno x]"),
    ConnectionResetError(SECRET),
    ssl.SSLError(1, SECRET),
    ValueError(SECRET),
    RuntimeError(SECRET),
    socket.gaierror(socket.EAI_AGAIN, SECRET),
    socket.gaierror(socket.EAI_NONAME, SECRET),
]


@pytest.mark.parametrize("foreign", FOREIGN, ids=repr)
def test_no_foreign_word_is_told(foreign: Exception) -> None:
    """Whatever text an exception carries, by itself or in one of aiohttp's."""
    errors = [foreign]
    if isinstance(foreign, OSError):
        errors += [
            aiohttp.ClientConnectorError(KEY, foreign),
            aiohttp.ClientConnectorDNSError(KEY, foreign),
            aiohttp.ClientProxyConnectionError(KEY, foreign),
            aiohttp.ClientOSError(*foreign.args),
        ]
    for error in errors:
        words = in_words(error)
        assert "canary" not in words
        assert "secret" not in words
        assert words
        assert not words.endswith((": ", ","))


def test_name_servers_that_do_not_answer_are_told_from_names_that_are_none() -> None:
    """The one passes, the other is a typing mistake."""
    silent = aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_AGAIN, "x"))
    unknown = aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_NONAME, "x"))
    assert in_words(silent) == "the host name was not found: no name server answers"
    assert in_words(unknown) == "the host name was not found"
    assert os.strerror(errno.ENETUNREACH) in in_words(OSError(errno.ENETUNREACH, "x"))
