"""A server on loopback that misbehaves byte by byte, and sees how its peer left.

It speaks through bare sockets, with TLS done in memory, so that a test decides about every byte
and tells a reset from a close and from TLS's goodbye. A script is a coroutine function that gets
the connection; when it returns, the connection is read until the peer ends it.
"""

import asyncio
import functools
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar

import pytest
import trustme

P = ParamSpec("P")
T = TypeVar("T")

BOUND = 30.0
"""Seconds after which a test is stuck."""

_PIECE = 65536
_RESET = struct.pack("ii", 1, 0)

End = Literal["reset", "fin", "tls failed", "ours"]


def bounded(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """`test` with an end, whatever happens."""

    @functools.wraps(test)
    async def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        async with asyncio.timeout(BOUND):
            return await test(*args, **kwargs)

    return inner


def run_on(loop: str, main: Coroutine[Any, Any, T], *, debug: bool = False) -> T:
    """Run `main` on a loop of its own, "asyncio" or "uvloop", with an end."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    if loop == "uvloop":
        try:
            uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
        except BaseException:
            main.close()
            raise
        factory = uvloop.new_event_loop

    async def alone() -> T:
        async with asyncio.timeout(BOUND):
            return await main

    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        return runner.run(alone())


@functools.cache
def authority() -> trustme.CA:
    """The certificate authority of these tests."""
    return trustme.CA()


def server_tls(*names: str, expired: bool = False, by: trustme.CA | None = None) -> ssl.SSLContext:
    """A server's context with a certificate for `names`, by default 127.0.0.1."""
    before, after = (2001, 2002) if expired else (2001, 2100)
    certificate = (by or authority()).issue_cert(
        *(names or ("127.0.0.1",)),
        not_before=datetime(before, 1, 1, tzinfo=UTC),
        not_after=datetime(after, 1, 1, tzinfo=UTC),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@functools.cache
def shared_server_tls() -> ssl.SSLContext:
    """One context for 127.0.0.1, made once."""
    return server_tls()


@functools.cache
def client_tls() -> ssl.SSLContext:
    """A client's context that trusts `authority()` alone, and verifies."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request as it came."""

    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.partition(b"\r\n")[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    @property
    def headers(self) -> dict[str, list[str]]:
        """Values by lower-case name; a header that comes twice has two."""
        found: dict[str, list[str]] = {}
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            if line:
                name, _, value = line.partition(":")
                found.setdefault(name.lower(), []).append(value.strip())
        return found


@dataclass(frozen=True, slots=True)
class Ending:
    """How the peer left: what it sent after the last request, and whether TLS said goodbye."""

    kind: End
    rest: bytes
    goodbye: bool
    at: float


class Connection:
    """One accepted connection, in the hands of a script."""

    def __init__(self, server: "FaultServer", sock: socket.socket) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._buffer = bytearray()
        self._closed = False
        self._goodbye = False
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.requests: list[Arrived] = []
        self.ended: asyncio.Future[Ending] = self._loop.create_future()
        self.arrived = asyncio.Event()
        """Set when a request has been read, or what `receive` asked for."""
        self.resume = asyncio.Event()
        """For scripts that wait until the test lets them go on."""

    async def request(self) -> Arrived:
        """Read one request to its end."""
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += await self._more()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        length = int(Arrived(head, b"").headers.get("content-length", ["0"])[0])
        self._buffer[:] = rest
        while len(self._buffer) < length:
            self._buffer += await self._more()
        request = Arrived(head, bytes(self._buffer[:length]))
        del self._buffer[:length]
        self.requests.append(request)
        self._server.requests.append(request)
        self.arrived.set()
        self._server.arrived.set()
        return request

    async def receive(self) -> bytes:
        """Whatever comes next; it does not count as a request."""
        data = await self._more()
        self.arrived.set()
        self._server.arrived.set()
        return data

    async def send(self, data: bytes) -> None:
        """Send all of `data`."""
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        await self._loop.sock_sendall(self._sock, data)

    def send_now(self, data: bytes) -> None:
        """Send `data`, which is short, without giving up control."""
        if self._tls is not None:
            self._tls.write(data)
            data = self._outgoing.read()
        assert self._sock.send(data) == len(data)

    def reset(self) -> None:
        """End the connection with a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()
        self._closed = True

    async def finish(self) -> None:
        """Say that nothing more will come, with TLS's goodbye if there is TLS."""
        if self._tls is not None:
            # Fails while the peer's own goodbye is outstanding: ours is written by then.
            with suppress(ssl.SSLWantReadError):
                self._tls.unwrap()
            await self._loop.sock_sendall(self._sock, self._outgoing.read())
        self._sock.shutdown(socket.SHUT_WR)

    async def serve(self, script: "Script") -> None:
        """Run `script`, then read until the peer is gone."""
        kind: End = "fin"
        try:
            if self._server.tls is not None:
                await self._shake_hands(self._server.tls)
            await script(self)
            while not self._closed:
                self._buffer += await self._more()
            kind = "ours"
        except (ConnectionResetError, BrokenPipeError):
            kind = "reset"
        except ssl.SSLError:
            kind = "tls failed"
        except EOFError:
            kind = "fin"
        finally:
            self._sock.close()
            end = Ending(kind, bytes(self._buffer), self._goodbye, self._loop.time())
            self.ended.set_result(end)

    async def _shake_hands(self, context: ssl.SSLContext) -> None:
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                self._incoming.write(await self._raw())
            else:
                break
        await self._flush()
        self._tls = tls

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._loop.sock_sendall(self._sock, self._outgoing.read())

    async def _raw(self) -> bytes:
        data = await self._loop.sock_recv(self._sock, _PIECE)
        if not data:
            raise EOFError
        return data

    async def _more(self) -> bytes:
        while self._tls is not None:
            if not self._goodbye:
                try:
                    data = self._tls.read(_PIECE)
                    if data:
                        return data
                    self._goodbye = True
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLZeroReturnError:
                    self._goodbye = True
            self._incoming.write(await self._raw())
        return await self._raw()


Script = Callable[[Connection], Awaitable[None]]


class FaultServer:
    """Listens on 127.0.0.1; connection number n gets script n, later ones the last.

    `received`: size of the receive buffer, for peers that must not be able to send much.
    """

    def __init__(
        self, *scripts: Script, tls: ssl.SSLContext | None = None, received: int | None = None
    ) -> None:
        self._scripts = scripts
        self._received = received
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self.tls = tls
        self.port = 0
        self.requests: list[Arrived] = []
        self.connections: list[Connection] = []
        self.accepted = asyncio.Event()
        self.arrived = asyncio.Event()

    @property
    def url(self) -> str:
        """The base URL, as https when there is TLS."""
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        listener = socket.socket()
        if self._received is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._received)
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        listener.setblocking(False)
        self._listener = listener
        self.port = listener.getsockname()[1]
        self._spawn(self._accept(listener))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert self._listener is not None
        self._listener.close()
        broken = [one for one in ended if isinstance(one, Exception)]
        if broken and error is None:
            raise broken[0]

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            script = self._scripts[min(len(self.connections), len(self._scripts) - 1)]
            connection = Connection(self, sock)
            self.connections.append(connection)
            self.accepted.set()
            self._spawn(connection.serve(script))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)


def reply(body: bytes = b"{}", status: int | str = 200, **headers: str) -> bytes:
    """A complete HTTP reply; `_` in a header's name stands for `-`, None of them is implied but
    Content-Length."""
    head = [f"HTTP/1.1 {status} Told" if isinstance(status, int) else f"HTTP/1.1 {status}"]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("Content-Length", str(len(body)))
    head += [f"{name}: {value}" for name, value in named.items()]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def as_json(document: object, status: int = 200, **headers: str) -> bytes:
    """A complete HTTP reply that holds `document`."""
    return reply(json.dumps(document).encode(), status, **headers)


OK = as_json({"status": "ok", "data": {"errors": [], "successes": "1,2"}, "ts": 1})


def answers(*replies: bytes) -> Script:
    """Answer request after request, the last reply again and again."""

    async def script(connection: Connection) -> None:
        for number in range(1_000_000):
            await connection.request()
            await connection.send(replies[min(number, len(replies) - 1)])

    return script


def echoes(made: Callable[[Arrived], bytes]) -> Script:
    """Answer each request with what `made` makes of it."""

    async def script(connection: Connection) -> None:
        while True:
            await connection.send(made(await connection.request()))

    return script


async def silent(connection: Connection) -> None:
    """Read one request and say nothing."""
    await connection.request()


async def deaf(connection: Connection) -> None:
    """Read nothing until the test says so."""
    await connection.resume.wait()


async def deaf_after_first_bytes(connection: Connection) -> None:
    """Read a little and then nothing until the test says so."""
    await connection.receive()
    await connection.resume.wait()


async def resets(connection: Connection) -> None:
    """Reset before anything was read."""
    connection.reset()


async def resets_after_request(connection: Connection) -> None:
    """Read one request and reset."""
    await connection.request()
    connection.reset()


async def closes_after_request(connection: Connection) -> None:
    """Read one request and close."""
    await connection.request()
    await connection.finish()


def sends_then_resets(data: bytes) -> Script:
    """Answer one request with `data`, then reset once the test says so."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(data)
        await connection.resume.wait()
        connection.reset()

    return script


def sends_then_closes(data: bytes) -> Script:
    """Answer one request with `data` and close."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(data)
        await connection.finish()

    return script


def drips(data: bytes, pace: float) -> Script:
    """Answer one request one byte every `pace` seconds."""

    async def script(connection: Connection) -> None:
        await connection.request()
        for byte in data:
            await connection.send(bytes([byte]))
            await asyncio.sleep(pace)

    return script


def sends_and_resets(data: bytes) -> Script:
    """Answer one request with `data` and reset at once."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(data)
        connection.reset()

    return script


def sends_and_waits(data: bytes) -> Script:
    """Answer one request with `data` and keep the connection open."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(data)

    return script


async def goes_on_and_on(connection: Connection) -> None:
    """An interim reply every second, and never another."""
    await connection.request()
    for _ in range(1_000):
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(1.0)
