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


def in_words(error: Exception) -> str:
    """What went wrong, as far as it can be told without a foreign word."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _refused_tunnel(error.status)
    words = next((text for kind, text in _WORDS if isinstance(error, kind)), None)
    reason = _reason(error)
    return f"{words or 'the connection failed'}{reason and f': {reason}'}"


def _refused_tunnel(status: int) -> str:
    why = " (it wants a name and a password)" if status == _PROXY_AUTHENTICATION else ""
    return f"the proxy refused a tunnel to the exchange, with HTTP {status}{why}"


_PROXY_AUTHENTICATION = 407


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
