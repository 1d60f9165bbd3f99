"""A network before a server: it delays, throttles, swallows, cuts and resets."""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

_PIECE = 65536
_RESET = struct.pack("ii", 1, 0)


class Served(Protocol):
    """A server on 127.0.0.1."""

    @property
    def url(self) -> str:
        """Where it listens."""


class Proxy:
    """A TCP relay before a server.

    `up`, `down`: seconds that each piece takes. `rate`: bytes a second each way, None for all at
    once. `is_silent`: connections are accepted, and nothing comes through; `is_mute`: only the
    server's answers do not.
    """

    def __init__(self, server: Served) -> None:
        self._server = server
        self._listener: socket.socket | None = None
        self._relays: dict[asyncio.Task[None], tuple[socket.socket, socket.socket]] = {}
        self._changed = asyncio.Event()
        self.port = 0
        self.up = 0.0
        self.down = 0.0
        self.rate: int | None = None
        self.is_silent = False
        self.is_mute = False
        self.accepted = 0
        """Connections that were made."""
        self.delivered = 0
        """Pieces that have reached the server."""

    @property
    def url(self) -> str:
        """The server's URL, at the port where this listens."""
        return f"{urlsplit(self._server.url).scheme}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def open(self) -> None:
        """Take connections, at the port that it had before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self.release()

    def hold(self) -> None:
        """Let what connects wait, as behind a host that is slow to accept."""
        assert self._listener is not None
        asyncio.get_running_loop().remove_reader(self._listener)

    def release(self) -> None:
        """Take what waits, and all that comes."""
        assert self._listener is not None
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def refuse(self) -> None:
        """Take no connection any more, and cut those that there are."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self) -> None:
        """End every connection."""
        for relay in self._relays:
            relay.cancel()

    def reset(self) -> None:
        """End every connection with a reset."""
        for ends in self._relays.values():
            for sock in ends:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.cut()

    async def delivers(self, count: int) -> None:
        """Wait until the server has got `count` pieces in all."""
        while self.delivered < count:
            self._changed.clear()
            await self._changed.wait()

    def _accept(self, listener: socket.socket) -> None:
        near, far = listener.accept()[0], socket.socket()
        self.accepted += 1
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def end(task: asyncio.Task[None]) -> None:
            # A task that is cancelled before it has begun closes nothing by itself.
            del self._relays[task]
            near.close()
            far.close()

        task = asyncio.create_task(self._relay(near, far))
        self._relays[task] = (near, far)
        task.add_done_callback(end)

    async def _relay(self, near: socket.socket, far: socket.socket) -> None:
        port = urlsplit(self._server.url).port
        with suppress(OSError):
            await asyncio.get_running_loop().sock_connect(far, ("127.0.0.1", port))
            ways = [
                asyncio.create_task(self._pass(near, far, is_up=True)),
                asyncio.create_task(self._pass(far, near, is_up=False)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, source: socket.socket, sink: socket.socket, *, is_up: bool) -> None:
        loop = asyncio.get_running_loop()
        while piece := await loop.sock_recv(source, self._most()):
            if delay := self.up if is_up else self.down:
                await asyncio.sleep(delay)
            if self.rate is not None:
                await asyncio.sleep(len(piece) / self.rate)
            if not (self.is_silent or (self.is_mute and not is_up)):
                await loop.sock_sendall(sink, piece)
                self.delivered += is_up
                self._changed.set()

    def _most(self) -> int:
        return _PIECE if self.rate is None else max(1, self.rate // 10)
