"""What the doctor finds on the way to the exchange, and that it leaves nothing behind."""

import asyncio
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from htx_async import Credentials, HtxError, InvalidRequest
from htx_async.doctor import MOST_SKEW, Finding, examine
from htx_async.exchange import v1
from htx_async.simulator import SimulatedExchange
from tests.support.fault_server import (
    BOUND,
    Arrived,
    Connection,
    FaultServer,
    Script,
    as_json,
    bounded,
    client_tls,
    deaf,
    echoes,
    run_on,
    server_tls,
    shared_server_tls,
)
from tests.support.virtual import run

CANARY = "canary-0123456789"
HOST = "exchange.test"
BRIEF = 0.2
NAMES = ("HTX_ACCESS_KEY", "HTX_SECRET_KEY", "HTX_ACCESS_KEY_FILE", "HTX_SECRET_KEY_FILE")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Lets look-ups that hang end with the test."""
    event = threading.Event()
    yield event
    event.set()


def keys() -> Credentials:
    return Credentials("access-key", "secret-key")


def tells_time(request: Arrived) -> bytes:
    return as_json({"status": "ok", "ts": int(time.time() * 1000)})


def resolve(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], list[tuple[str, int]]]) -> None:
    """Let `HOST` have the addresses that `answer` gives; every other name has its own."""
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != HOST:
            return real(host, *args, **kwargs)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)
            for address in answer()
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def about(findings: tuple[Finding, ...], step: str) -> Finding:
    (found,) = [finding for finding in findings if finding.subject.endswith(step)]
    return found


def looking_up() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "htx_async look-up"]


def steps(findings: tuple[Finding, ...]) -> list[tuple[str, bool]]:
    return [(finding.subject.rpartition(" ")[2], finding.ok) for finding in findings]


def has_advice_where_needed(findings: tuple[Finding, ...]) -> bool:
    return all(finding.told and finding.ok != bool(finding.advice) for finding in findings)


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """The block leaves no task behind."""
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() <= before


async def test_a_way_that_is_clear_is_found_clear(exchange: SimulatedExchange) -> None:
    """Keys, name, TLS, time and limiter, in that order, each with what was found."""
    findings = await examine([exchange.url], read_credentials=keys)
    assert [finding.subject for finding in findings] == [
        "keys",
        f"{exchange.url}: name",
        f"{exchange.url}: TLS",
        f"{exchange.url}: time",
        "limiter",
    ]
    assert all(finding.ok and not finding.advice for finding in findings)
    assert "HmacSHA256" in about(findings, "keys").told
    assert "needs no look-up" in about(findings, "name").told
    assert "plain http to 127.0.0.1 stays on this machine" in about(findings, "TLS").told
    assert "round trip" in about(findings, "time").told
    assert "other processes of the account know nothing" in about(findings, "limiter").told


async def test_no_order_is_touched_and_nothing_is_signed(exchange: SimulatedExchange) -> None:
    """The public clock alone is asked, without a query; keys are read and stay here."""
    exchange.place("BTC-USDT", "buy", "close", 1)
    async with FaultServer(echoes(tells_time)) as server:
        await examine([exchange.url, server.url], read_credentials=keys)
    assert {arrival.path for arrival in exchange.arrivals} == {v1.TIME.path}
    assert len(exchange.open_orders()) == 1
    assert {request.target for request in server.requests} == {v1.TIME.path}
    assert not any("access-key" in repr(request) for request in server.requests)


async def test_keys_that_are_missing_stop_nothing_else(exchange: SimulatedExchange) -> None:
    """What `Credentials.from_env` says is told, and the advice names the variables."""
    findings = await examine(exchange.url)
    missing = about(findings, "keys")
    assert not missing.ok
    assert "no keys: neither HTX_ACCESS_KEY nor HTX_SECRET_KEY is set" in missing.told
    assert all(name in missing.advice for name in NAMES)
    assert all(finding.ok for finding in findings[1:])


@pytest.mark.parametrize("kind", ["variable", "file", "reader"])
async def test_nothing_of_a_key_is_told(
    kind: str, refusing_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Malformed keys, unreadable files, a reader that raises its own: none of their words."""

    def raises() -> Credentials:
        raise OSError(CANARY)

    monkeypatch.setenv("HTX_ACCESS_KEY", f" {CANARY}")
    if kind == "file":
        monkeypatch.setenv("HTX_SECRET_KEY_FILE", str(tmp_path / CANARY))
    else:
        monkeypatch.setenv("HTX_SECRET_KEY", CANARY)
    reader = raises if kind == "reader" else Credentials.from_env
    findings = await examine([refusing_url], read_credentials=reader)
    assert not about(findings, "keys").ok
    assert CANARY not in repr(findings)


async def test_a_port_where_nobody_listens(refusing_url: str) -> None:
    """The system's own words and the port; no step after it."""
    async with nothing_left():
        findings = await examine([refusing_url], read_credentials=keys)
    refused = about(findings, "TLS")
    assert not refused.ok
    assert f"port {urlsplit(refusing_url).port}: Connection refused" in refused.told
    assert steps(findings) == [("keys", True), ("name", True), ("TLS", False), ("limiter", True)]
    assert has_advice_where_needed(findings)


async def test_a_black_hole_ends_in_a_finding(black_hole_url: str) -> None:
    """A connection that is never made takes the time that it was given, and no more."""
    findings = await examine([black_hole_url], read_credentials=keys, timeout=BRIEF)
    assert not about(findings, "TLS").ok
    assert about(findings, "TLS").told == "no connection within 0.2 s"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tls_that_verifies(loop: str) -> None:
    """The version and the address are told, and the exchange's time is asked over TLS."""

    async def main() -> None:
        async with FaultServer(echoes(tells_time), tls=shared_server_tls()) as server:
            findings = await examine([server.url], read_credentials=keys, ssl=client_tls())
            shaken, *others = [await connection.ended for connection in server.connections]
        assert all(finding.ok for finding in findings)
        assert about(findings, "TLS").told == "TLSv1.3 with 127.0.0.1; the certificate is valid"
        assert shaken.rest == b""
        assert len(others) == 1

    run_on(loop, main())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("kind", "why", "advice"),
    [
        ("unknown authority", "unable to get local issuer certificate", "CA certificates"),
        ("wrong host", "certificate is not valid for '127.0.0.1'", "another host answers"),
        ("expired", "certificate has expired", f"date ({datetime.now(UTC):%Y-%m}"),
    ],
)
def test_a_certificate_that_is_refused_says_why(
    loop: str, kind: str, why: str, advice: str
) -> None:
    """OpenSSL's reason, and what to do about this one; nothing is asked over such a connection."""
    context, trusted = {
        "unknown authority": (shared_server_tls(), None),
        "wrong host": (server_tls("127.0.0.2", "localhost"), client_tls()),
        "expired": (server_tls(expired=True), client_tls()),
    }[kind]

    async def main() -> None:
        async with FaultServer(echoes(tells_time), tls=context) as server:
            findings = await examine([server.url], read_credentials=keys, ssl=trusted)
        assert steps(findings)[2:] == [("TLS", False), ("limiter", True)]
        assert why in about(findings, "TLS").told
        assert advice in about(findings, "TLS").advice
        assert not server.requests

    run_on(loop, main())


async def says_hello(connection: Connection) -> None:
    """Speak something that is not TLS."""
    await connection.receive()
    await connection.send(b"220 mail.invalid ready\r\n")


async def resets_in_between(connection: Connection) -> None:
    """Reset when the other side has begun to speak."""
    await connection.receive()
    connection.reset()


@pytest.mark.parametrize(
    ("script", "seconds", "told"),
    [
        (says_hello, BOUND, "but TLS failed: WRONG_VERSION_NUMBER"),
        (resets_in_between, BOUND, "but no TLS: Connection reset by peer"),
        (deaf, BRIEF, "but no TLS within 0.2 s"),
    ],
)
@bounded
async def test_a_port_that_speaks_no_tls(script: Script, seconds: float, told: str) -> None:
    """It is told apart from a port that takes no connection."""
    async with nothing_left(), FaultServer(script) as server:
        url = server.url.replace("http://", "https://")
        findings = await examine([url], read_credentials=keys, timeout=seconds)
        assert not about(findings, "TLS").ok
        assert about(findings, "TLS").told == f"connected to 127.0.0.1, {told}"
        assert has_advice_where_needed(findings)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "not known"),
        (UnicodeError("label empty or too long"), "this can be no host's name"),
    ],
)
async def test_a_name_that_is_not_found(
    error: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The resolver's reason; nothing is connected to."""

    def fails() -> list[tuple[str, int]]:
        raise error

    resolve(monkeypatch, fails)
    findings = await examine([f"https://{HOST}"], read_credentials=keys)
    assert steps(findings) == [("keys", True), ("name", False), ("limiter", True)]
    assert why in about(findings, "name").told
    assert has_advice_where_needed(findings)


def test_a_look_up_that_hangs_ends_in_a_finding_and_holds_up_no_process(
    monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    """It is left to a daemon thread, and what it finds later is nobody's."""

    def hangs() -> list[tuple[str, int]]:
        released.wait(BOUND)
        return [("127.0.0.1", 1)]

    resolve(monkeypatch, hangs)
    findings = run(examine([f"https://{HOST}"], read_credentials=keys, timeout=3.0))
    assert not about(findings, "name").ok
    assert about(findings, "name").told == "the look-up took longer than 3 s"
    left = looking_up()
    assert len(left) == 1
    assert all(thread.daemon for thread in left)
    released.set()
    for thread in left:
        thread.join(BOUND)
        assert not thread.is_alive()


@bounded
async def test_a_cancellation_leaves_a_look_up_behind_at_once(
    monkeypatch: pytest.MonkeyPatch, released: threading.Event
) -> None:
    """Nobody waits for it, and its late answer disturbs nothing."""
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def hangs() -> list[tuple[str, int]]:
        loop.call_soon_threadsafe(begun.set)
        released.wait(BOUND)
        return [("127.0.0.1", 1)]

    resolve(monkeypatch, hangs)
    work = asyncio.ensure_future(examine([f"https://{HOST}"], read_credentials=keys))
    await begun.wait()
    (thread,) = looking_up()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert thread.is_alive()
    released.set()
    await asyncio.to_thread(thread.join, BOUND)
    assert not thread.is_alive()


@bounded
async def test_base_urls_are_looked_at_together(
    refusing_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two look-ups that wait for each other both end; findings keep the order of the base URLs."""
    barrier = threading.Barrier(2, timeout=BOUND)
    port = urlsplit(refusing_url).port or 0

    def meets() -> list[tuple[str, int]]:
        barrier.wait()
        return [("127.0.0.1", port)]

    resolve(monkeypatch, meets)
    urls = [f"https://{HOST}", refusing_url, f"https://{HOST}:8443"]
    findings = await examine(urls, read_credentials=keys)
    names = [finding for finding in findings if finding.subject.endswith("name")]
    assert [finding.subject for finding in names] == [f"{url}: name" for url in urls]
    assert all(finding.ok for finding in names)


@bounded
async def test_the_next_address_is_tried_when_one_takes_no_connection(
    refusing_url: str, black_hole_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One refuses, one is a black hole, the third is told; each has its share of the time."""
    ports = [urlsplit(url).port or 0 for url in (refusing_url, black_hole_url)]
    context = server_tls(HOST)
    async with FaultServer(echoes(tells_time), tls=context) as server:
        addresses = [("127.0.0.1", port) for port in (*ports, server.port)]
        addresses[0] = ("127.0.0.2", ports[0])
        resolve(monkeypatch, lambda: addresses)
        url = f"https://{HOST}:{server.port}"
        findings = await examine([url], read_credentials=keys, ssl=client_tls(), timeout=2.0)
    assert about(findings, "name").told == "2 found: 127.0.0.2, 127.0.0.1"
    assert about(findings, "TLS").ok


@pytest.mark.parametrize(("off", "where"), [(-400.0, "behind"), (400.0, "ahead of")])
async def test_a_clock_that_is_off(off: float, where: str) -> None:
    """By how much and in which direction; the advice is NTP."""
    frozen = time.time()
    async with SimulatedExchange(now=lambda: frozen) as exact:
        findings = await examine([exact.url], read_credentials=keys, now=lambda: frozen + off)
    found = about(findings, "time")
    assert not found.ok
    told = re.search(r"clock ([0-9.]+) s (behind|ahead of) the exchange's$", found.told)
    assert told is not None
    assert float(told[1]) == pytest.approx(400.0, abs=2.0)
    assert told[2] == where
    assert "NTP" in found.advice
    assert "signatures" in found.advice


@pytest.mark.parametrize(("off", "ok"), [(-MOST_SKEW / 2, True), (-MOST_SKEW - 0.1, False)])
async def test_a_clock_may_be_a_little_off(off: float, ok: bool) -> None:
    """Far less than the exchange takes, and more than a clock that is set would show."""
    frozen = time.time()
    async with SimulatedExchange(now=lambda: frozen) as exact:
        findings = await examine([exact.url], read_credentials=keys, now=lambda: frozen + off)
    assert about(findings, "time").ok is ok


async def test_a_host_that_tells_no_time() -> None:
    """It is there and speaks HTTP, and is no exchange that works."""
    async with FaultServer(echoes(lambda request: as_json({}, status=502))) as server:
        findings = await examine([server.url], read_credentials=keys)
    assert steps(findings)[2:] == [("TLS", True), ("time", False), ("limiter", True)]
    assert "HTTP 502" in about(findings, "time").told
    assert has_advice_where_needed(findings)


class Remote:
    """A limiter outside this process, which does as told when it is asked."""

    def __init__(self, does: Callable[[], Any]) -> None:
        self.reach = does


async def answers_ok() -> str:
    return "Redis at 127.0.0.1:6379 answered in 1 ms"


async def is_down() -> str:
    raise HtxError("Redis at 127.0.0.1:6379 refused the connection")


async def leaks() -> str:
    raise ConnectionError(f"redis://:{CANARY}@127.0.0.1")


async def hangs_for_ever() -> str:
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return await never


@pytest.mark.parametrize(
    ("does", "ok", "told"),
    [
        (answers_ok, True, "Redis at 127.0.0.1:6379 answered in 1 ms"),
        (is_down, False, "Redis at 127.0.0.1:6379 refused the connection"),
        (leaks, False, "ConnectionError was raised"),
        (hangs_for_ever, False, "no answer within 0.2 s"),
    ],
)
async def test_a_limiter_outside_this_process(
    does: Callable[[], Any], ok: bool, told: str, refusing_url: str
) -> None:
    """Its own words, or the name alone of what is foreign; one that hangs is given up."""
    limiter = Remote(does)
    findings = await examine([refusing_url], read_credentials=keys, limiter=limiter, timeout=BRIEF)
    assert findings[-1][:3] == ("limiter", ok, told)
    assert has_advice_where_needed(findings)


@pytest.mark.parametrize("where", ["handshake", "time", "limiter"])
@bounded
async def test_a_cancellation_closes_everything(where: str) -> None:
    """Whatever is under way: no task is left, and the other side sees the connection end."""
    tls = shared_server_tls() if where == "time" else None

    async with nothing_left(), FaultServer(deaf, tls=tls) as server:
        url = server.url if where == "time" else server.url.replace("http://", "https://")
        limiter = Remote(hangs_for_ever) if where == "limiter" else None
        work = asyncio.ensure_future(
            examine([url], read_credentials=keys, ssl=client_tls(), limiter=limiter)
        )
        # With TLS the first connection was only for the handshake.
        for _ in range(2 if where == "time" else 1):
            await server.accepted.wait()
            server.accepted.clear()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        for connection in server.connections:
            connection.resume.set()
            assert (await connection.ended).kind in ("fin", "reset", "tls failed")


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout": 0},
        {"base_urls": ""},
        {"base_urls": "http://exchange.test"},
        {"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)},
    ],
)
async def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    """They are the caller's mistake, not a finding."""
    base_urls = settings.pop("base_urls", "https://127.0.0.1:1")
    with pytest.raises(InvalidRequest):
        await examine(base_urls, read_credentials=keys, **settings)
