"""A company's proxy: it opens tunnels on `CONNECT`, if it likes who asks, and notes what it saw."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from htx_async.simulator import SimulatedExchange
from tests.support.fault_server import server_tls

NAME, PASSWORD = "desk name", "canary/proxy:password"
USER_INFO = "desk%20name:canary%2Fproxy%3Apassword"


class Asked(NamedTuple):
    """One request to the proxy itself."""

    method: str
    target: str
    headers: Mapping[str, str]


class _Relay:
    """A server on 127.0.0.1 whose connections end with it, `seen`: all bytes that came to it."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.seen = bytearray()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._served, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        """One connection."""
        raise NotImplementedError

    async def relay(
        self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter, port: int
    ) -> None:
        """Pass on what comes from either side until one of them has ended."""
        far, to_far = await asyncio.open_connection("127.0.0.1", port)
        ways = [
            asyncio.create_task(self._pass(near, to_far)),
            asyncio.create_task(self._pass(far, to_near)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            to_far.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    def _served(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        async def serve() -> None:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self.serve(near, to_near)
                await to_near.drain()

        task = asyncio.create_task(serve())
        self._tasks.add(task)

        def end(task: asyncio.Task[None]) -> None:
            # A task that is cancelled before it has begun closes nothing by itself.
            self._tasks.discard(task)
            to_near.close()

        task.add_done_callback(end)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                self.seen += piece
                writer.write(piece)
                await writer.drain()


class ConnectProxy(_Relay):
    """`ports`: where the tunnel to each host leads, whatever port of it is asked for; others get
    502.

    `wants_password`: of `NAME`; else 407. `status`: answers every tunnel with it. `is_rude`: closes
    connections without a word. `tls`: its own, for an https proxy. `asked`: who wanted what.
    """

    def __init__(
        self,
        ports: Mapping[str, int],
        *,
        wants_password: bool = False,
        status: int = 200,
        is_rude: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls)
        self.ports = ports
        self.status = status
        self.asked: list[Asked] = []
        self._wants_password = wants_password
        self._is_rude = is_rude

    @property
    def url(self) -> str:
        """Without a password."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url_with_password(self) -> str:
        """With the right one."""
        return self.url.replace("//", f"//{USER_INFO}@")

    async def serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        """What is asked first, and then the tunnel."""
        head = await near.readexactly(1)
        if not head.isalpha():
            to_near.write(b"HTTP/1.1 400 No HTTP\r\n\r\n")
            return
        head += await near.readuntil(b"\r\n\r\n")
        self.seen += head
        line, *rows = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        pairs = (row.partition(":") for row in rows if row)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.asked.append(Asked(method, target, headers))
        if self._is_rude:
            return
        host = target.rpartition(":")[0]
        status = self._answer(method, host, headers)
        to_near.write(f"HTTP/1.1 {status} Answer\r\n\r\n".encode())
        if status == _OK:
            await self.relay(near, to_near, self.ports[host])

    def _answer(self, method: str, host: str, headers: Mapping[str, str]) -> int:
        pair = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
        if self._wants_password and headers.get("proxy-authorization") != f"Basic {pair}":
            return 407
        if method != "CONNECT":
            return 405
        return self.status if host in self.ports else 502


_OK = 200


class _Front(_Relay):
    """TLS before the exchange's plain HTTP."""

    def __init__(self, exchange: SimulatedExchange, *names: str) -> None:
        super().__init__(server_tls(*names))
        self._exchange = exchange

    async def serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        """All of it to the exchange."""
        await self.relay(near, to_near, urlsplit(self._exchange.url).port or 0)


@asynccontextmanager
async def behind_a_proxy(
    exchange: SimulatedExchange, *names: str, **settings: Any
) -> AsyncIterator[ConnectProxy]:
    """A proxy whose tunnels to each of `names` lead to the exchange, over TLS."""
    async with (
        _Front(exchange, *names) as front,
        ConnectProxy(dict.fromkeys(names, front.port), **settings) as proxy,
    ):
        yield proxy
