"""Why a request did not end with a complete reply, in words that may be shown.

Foreign exceptions carry URLs and addresses in their texts, and a signed URL is a credential: what
is told here is our own text and the system's words for an error's number.
"""

import os
import re
import socket
import ssl as tls
import zlib

import aiohttp

from htx_async.aio.isolation import Withdrawn
from htx_async.exchange.proxy import Proxy

NO_CONNECTION = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)
"""What says that there was no connection to the exchange."""

_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorCertificateError, "the exchange's certificate was not accepted"),
    (aiohttp.ClientConnectorSSLError, "TLS with the exchange failed"),
    (aiohttp.ClientConnectorDNSError, "the host name was not found"),
    (aiohttp.ClientProxyConnectionError, "no connection to the proxy could be made"),
    (aiohttp.ClientConnectorError, "the connection could not be made"),
    (aiohttp.ServerDisconnectedError, "the exchange closed the connection without an answer"),
    (aiohttp.ClientPayloadError, "the answer was cut short"),
    (aiohttp.ClientResponseError, "the answer was not HTTP that can be read"),
    (ValueError, "the answer could not be decoded"),
    (zlib.error, "the answer could not be decoded"),
    (Withdrawn, "a name look-up or connection that it waited for was cancelled by others"),
)


_WORDS_OF_PROXY: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorCertificateError, "the certificate of the proxy {} was not accepted"),
    (aiohttp.ClientConnectorSSLError, "TLS with the proxy {} failed"),
    (aiohttp.ClientConnectorDNSError, "the host name of the proxy {} was not found"),
    (aiohttp.ClientProxyConnectionError, "no connection to the proxy {} could be made"),
)


def in_words(error: Exception, proxy: Proxy | None = None) -> str:
    """What went wrong, as far as it can be told without a foreign word. `proxy`: the one that is
    on the way."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return refused_tunnel(error.status, proxy)
    reason = _reason(error)
    because = reason and f": {reason}"
    if proxy is not None and _is_at(error, proxy):
        for kind, text in _WORDS_OF_PROXY:
            if isinstance(error, kind):
                return f"{text.format(proxy.url)}{because}"
    words = next((text for kind, text in _WORDS if isinstance(error, kind)), None)
    return f"{words or 'the connection failed'}{because}{by_way_of(proxy)}"


def by_way_of(proxy: Proxy | None) -> str:
    """What follows the words for a failure that may be the exchange's or the proxy's."""
    return "" if proxy is None else f", by way of the proxy {proxy.url}"


def _is_at(error: Exception, proxy: Proxy) -> bool:
    """Whether it was the proxy that could not be reached."""
    place = (getattr(error, "host", None), getattr(error, "port", None))
    return place == (proxy.host, proxy.port)


def is_unknown_to_proxy(error: Exception) -> bool:
    """Whether a proxy wants another name and password, or any."""
    refused = isinstance(error, aiohttp.ClientHttpProxyError)
    return refused and getattr(error, "status", 0) == PROXY_AUTHENTICATION


def refused_tunnel(status: int, proxy: Proxy | None) -> str:
    """The words for a proxy that answers a request for a tunnel with this HTTP status."""
    why = ""
    if status == PROXY_AUTHENTICATION:
        why = " (it wants a name and a password)"
        if proxy is not None and proxy.has_password:
            why = " (it does not take the name and password that it was given)"
        elif proxy is not None:
            why = f"{why[:-1]}: give them with its URL, http://name:password@host:port)"
    name = "the proxy" if proxy is None else f"the proxy {proxy.url}"
    return f"{name} refused a tunnel to the exchange, with HTTP {status}{why}"


PROXY_AUTHENTICATION = 407


def _reason(error: Exception) -> str:
    """The system's words for what an error carries; "" where it carries nothing."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, tls.SSLError):
        # None of them has to be there: what was not raised by OpenSSL has no reason.
        return str(getattr(cause, "verify_message", "") or getattr(cause, "reason", None) or "")
    if isinstance(cause, socket.gaierror):
        return _NO_NAME_SERVER if cause.errno == socket.EAI_AGAIN else ""
    if not isinstance(cause, OSError):
        return ""
    # A host with several addresses may fail at each in its own way, which only the text has.
    numbers = [cause.errno] if cause.errno else map(int, _NUMBER.findall(str(cause)))
    return ", ".join(dict.fromkeys(os.strerror(number) for number in numbers if number > 0))


_NO_NAME_SERVER = "no name server answers"
_NUMBER = re.compile(r"\[Errno (\d{1,4})\]")
