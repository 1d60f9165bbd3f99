"""What stands between this machine and the exchange, step by step, before it is needed.

Asks public things, and at most some lists of open orders: no order is touched.
"""

import asyncio
import os
import socket
import ssl as tls
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias
from urllib.parse import urlsplit

from htx_async.aio.threads import in_thread
from htx_async.aio.timers import TimeLimit
from htx_async.arguments import as_seconds
from htx_async.calls.base_urls import BaseUrls
from htx_async.calls.exchange_time import ExchangeTime
from htx_async.calls.wall_clock import ClockFailed, WallClock
from htx_async.doctor.account import of_account
from htx_async.doctor.findings import Finding, in_words, of_keys, of_plain_http, of_proxy
from htx_async.enums import GenerationLike
from htx_async.exchange.endpoints import CANCEL_ALL, limit_of
from htx_async.exchange.proxy import Proxy, as_proxy
from htx_async.exchange.signing import Credentials
from htx_async.limits.account_limiter import public_budget
from htx_async.session import SessionSettings
from htx_async.transport.http import Transport

__all__ = ["MOST_SKEW", "Finding", "Reachable", "examine"]

MOST_SKEW = 5.0
"""Seconds by which a clock may be off. The exchange takes a Timestamp for five minutes (HTX API
docs, "Authentication"); a clock that NTP sets stays far below this, so more says that none does."""

_Address: TypeAlias = tuple[Any, ...]
_Found: TypeAlias = Sequence[tuple[int, int, int, str, _Address]]


class Reachable(Protocol):
    """A limiter that lives outside this process."""

    async def reach(self) -> str:
        """Where it is and that it answered, in a few words without anything secret.

        Takes nothing from the account's limit. Raises `HtxError` with the reason when it does not
        answer.
        """


async def examine(
    base_urls: Iterable[str],
    *,
    read_credentials: Callable[[], Credentials] = Credentials.from_env,
    limiter: Reachable | None = None,
    generation: GenerationLike | None = None,
    ssl: tls.SSLContext | None = None,
    proxy: str | Proxy | None = None,
    now: Callable[[], datetime | float] = lambda: datetime.now(UTC),
    timeout: float = 5.0,  # noqa: ASYNC109 - for each step; one around all would end the others
) -> tuple[Finding, ...]:
    """Look at keys, base URLs and limiter; all at once, and no longer than `timeout` a step.

    The findings come in this order: the keys; for each base URL its name, TLS and time, as far as
    each step let the next one begin, and by way of a `proxy` its time alone, which tells of the
    others; the proxy, or the variable that names one and is not used, if there is any; the limiter
    (these two and the keys alone, where a base URL of plain http may not go by way of the proxy);
    with a `generation` as for `HtxSession`, whether the exchange takes the keys, and, if it does,
    the generation that the account is on and its open orders, for which lists are read with the
    keys, one in each margin mode. `ssl`, `proxy` and `now` as for `HtxSession`. Keys are read and
    not used otherwise. A name look-up that hangs is left behind in a thread of its own, which keeps
    no process from ending.

    Raises `InvalidRequest` for settings that cannot work; what is merely out of order is a
    finding.
    """
    way = as_proxy(proxy)
    # It may hold a password, and this frame stands in whatever is raised below.
    del proxy
    as_seconds("timeout", timeout)
    urls = BaseUrls(base_urls)
    seen_in_the_clear = of_plain_http(way, urls)
    transport = Transport(None, ssl, base_urls=urls, proxy=None if seen_in_the_clear else way)
    clock = WallClock(now)
    context = ssl or tls.create_default_context()
    routes = [_Route(url, transport, clock, context, timeout, way) for url in urls]
    keys = of_keys(read_credentials)
    if seen_in_the_clear is not None:
        return (keys, seen_in_the_clear, await _limiter(limiter, timeout))
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(route.examine()) for route in routes]
            limit = group.create_task(_limiter(limiter, timeout))
    finally:
        await transport.aclose()
    found = [finding for task in tasks for finding in task.result()]
    reached = [finding.ok for finding in found if finding.subject.endswith(": time")]
    between = of_proxy(way, is_reached=sum(reached) == len(routes))
    told: list[Finding] = []
    if generation is not None and keys.ok and any(reached):
        settings = SessionSettings(
            base_urls=tuple(urls), generation=generation, ssl=ssl, proxy=way, now=now
        )
        told = await of_account(read_credentials(), settings, timeout)
    return (keys, *found, *filter(None, [between]), limit.result(), *told)


async def _limiter(limiter: Reachable | None, seconds: float) -> Finding:
    if limiter is None:
        size, per = limit_of(CANCEL_ALL.path())
        return Finding("limiter", True, f"{size} cancel-alls in any {per:g} s, {_IN_MEMORY}")
    try:
        with _within(seconds):
            return Finding("limiter", True, await limiter.reach())
    except TimeoutError:
        told = f"no answer within {seconds:g} s"
    except Exception as error:
        told = in_words(error)
    return Finding("limiter", False, told, _NO_LIMITER)


_IN_MEMORY = (
    "counted in the memory of this process; other processes of the account know nothing of it, so "
    "run one for each account, or give all of them one shared limiter"
)
_NO_LIMITER = (
    "start what it lives in, or check its address, its password, and whether that may run scripts "
    "and write there; of a file, its folder, its owner and the disk; until then, cancel from one "
    "process with a limiter in memory"
)


class _Route:
    """The way to one base URL: each step is made if the one before went well."""

    def __init__(
        self,
        url: str,
        transport: Transport,
        clock: WallClock,
        context: tls.SSLContext,
        timeout: float,
        proxy: Proxy | None,
    ) -> None:
        parts = urlsplit(url)
        self._url = url
        self._host = parts.hostname or ""
        self._context = context if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._context else 80)
        self._transport = transport
        self._clock = clock
        self._timeout = timeout
        self._proxy = proxy
        self._findings: list[Finding] = []

    async def examine(self) -> list[Finding]:
        """The findings of each step that was made."""
        if self._proxy is not None:
            await self._ask_time()
            return self._findings
        found = await self._look_up()
        if found and await self._connect(found):
            await self._ask_time()
        return self._findings

    def _note(self, step: str, told: str, advice: str = "") -> bool:
        """Put down what a step found; it went well when there is no advice."""
        ok = not advice
        self._findings.append(Finding(f"{self._url}: {step}", ok, told, advice))
        return ok

    async def _look_up(self) -> _Found:
        try:
            with _within(self._timeout):
                found = await _looked_up(self._host, self._port)
        except TimeoutError:
            self._note("name", f"the look-up took longer than {self._timeout:g} s", _CHECK_NAME)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "this can be no host's name"
            self._note("name", f"the look-up failed: {reason}", _CHECK_NAME)
        else:
            addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
            told = f"{len(addresses)} found: {', '.join(addresses)}"
            literal = addresses == [self._host]
            self._note("name", "an address, which needs no look-up" if literal else told)
            return found
        return []

    async def _connect(self, found: _Found) -> bool:
        until = asyncio.get_running_loop().time() + self._timeout
        try:
            connection, address = await _connection(found, until)
        except TimeoutError:
            return self._note("TLS", f"no connection within {self._timeout:g} s", _CHECK_NETWORK)
        except OSError as error:
            told = f"no connection to port {self._port}: {_reason(error)}"
            return self._note("TLS", told, _CHECK_NETWORK)
        try:
            return await self._shake_hands(connection, until, address)
        finally:
            connection.close()

    async def _shake_hands(self, connection: socket.socket, until: float, address: str) -> bool:
        if self._context is None:
            return self._note("TLS", f"none, since plain http to {address} stays on this machine")
        try:
            with TimeLimit(until):
                version = await _handshake(connection, self._context, self._host)
        except tls.SSLCertVerificationError as refusal:
            told = f"the certificate was not accepted: {refusal.verify_message}"
            return self._note("TLS", told, self._about_certificate(refusal.verify_code))
        except tls.SSLError as error:
            told = f"connected to {address}, but TLS failed: {error.reason or 'no reason given'}"
        except TimeoutError:
            told = f"connected to {address}, but no TLS within {self._timeout:g} s"
        except OSError as error:
            told = f"connected to {address}, but no TLS: {_reason(error)}"
        else:
            return self._note("TLS", f"{version} with {address}; the certificate is valid")
        return self._note("TLS", told, _CHECK_TLS)

    def _about_certificate(self, code: int) -> str:
        if code in _WRONG_DATE:
            return f"check this machine's date ({self._today()}); {_DO_NOT_TRUST}"
        return _CHECK_HOST if code in _WRONG_HOST else _CHECK_AUTHORITY

    def _today(self) -> str:
        try:
            return f"{self._clock.now():%Y-%m-%d}"
        except ClockFailed as failure:
            return failure.reason

    async def _ask_time(self) -> bool:
        # Warming up asks twice, and a budget of its own lets nobody wait beyond his time.
        each, budget = self._timeout / 2, public_budget()
        time = ExchangeTime(self._transport, BaseUrls(self._url), self._clock, budget, each)
        try:
            (warm,) = await time.warm_up()
        finally:
            await time.aclose()
        if warm.round_trip is None or warm.skew is None:
            advice = _CHECK_SERVICE if self._proxy is None else _CHECK_WAY
            return self._note("time", warm.problem or "no time in the reply", advice)
        where = "behind" if warm.skew >= 0 else "ahead of"
        told = (
            f"round trip {warm.round_trip * 1000:.0f} ms, clock {abs(warm.skew):.2f} s {where} "
            "the exchange's"
        )
        return self._note("time", told, _SET_CLOCK if abs(warm.skew) > MOST_SKEW else "")


_CHECK_NAME = "check how the base URL is spelled, and this machine's name servers"
_CHECK_NETWORK = "check host and port, this machine's network, and the firewalls in between"
_CHECK_TLS = "check that this host and port speak https, and what stands in between"
_CHECK_HOST = (
    "another host answers for this name: check the base URL, the name servers and the hosts file; "
    "send no orders or cancels there"
)
_DO_NOT_TRUST = "if it is right, send nothing there until the host has another certificate"
_CHECK_AUTHORITY = (
    "somebody in between may be reading along, such as a company's proxy; if the authority is your "
    "own, name its file by the variable SSL_CERT_FILE, or give it by ssl= in Python; if this "
    "machine knows none, install its CA certificates"
)
_CHECK_SERVICE = (
    "the host is there but does not tell its time: try again, and put another base URL first "
    "until it does"
)
_CHECK_WAY = (
    "do what is said of the proxy below; if it reaches other hosts, put another base URL first"
)
_SET_CLOCK = (
    "set this machine's clock by NTP; the SDK corrects its own signatures for it, nothing else "
    "here does"
)

_WRONG_DATE = frozenset({9, 10})
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""

_WRONG_HOST = frozenset({62, 64})
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


def _within(seconds: float) -> TimeLimit:
    return TimeLimit(asyncio.get_running_loop().time() + seconds)


async def _looked_up(host: str, port: int) -> _Found:
    """The addresses of `host`."""

    def look_up() -> _Found:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    return await in_thread(look_up, "look-up")


async def _connection(found: _Found, until: float) -> tuple[socket.socket, str]:
    """A connection, and the first address that took one; each has its share of the time."""
    loop = asyncio.get_running_loop()
    failure: OSError = TimeoutError()
    for number, (family, kind, protocol, _, address) in enumerate(found):
        share = (until - loop.time()) / (len(found) - number)
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            with _within(share):
                await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            # Out of time, cancelled, Ctrl-C: nobody else holds the socket.
            connection.close()
            raise
        else:
            return connection, str(address[0])
    raise failure


async def _handshake(connection: socket.socket, context: tls.SSLContext, host: str) -> str:
    """The version of TLS that was agreed upon; the connection is closed then."""
    _, writer = await asyncio.open_connection(sock=connection, ssl=context, server_hostname=host)
    version = writer.get_extra_info("ssl_object").version()
    # A goodbye would have to be waited for.
    writer.transport.abort()
    await writer.wait_closed()
    return str(version)


def _reason(error: OSError) -> str:
    """In the system's words; asyncio's own hold an address once more, or none."""
    return os.strerror(error.errno) if error.errno else "the connection was closed"
