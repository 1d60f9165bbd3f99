"""Sessions of the transport over connections that fail, and resolvers of names."""

import gzip
import socket
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from htx_async import Credentials, HtxSession, RetryPolicy, TokenBucket
from tests.support.fault_server import OK, Connection, Script

PATH = "/linear-swap-api/v1/swap_track_cancelall"
LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class Resolver(AbstractResolver):
    """Every name is 127.0.0.1 at `port`, or whatever `act` does."""

    def __init__(self, port: int, act: Callable[[], Awaitable[None]] | None = None) -> None:
        self._port = port
        self._act = act
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if self._act is not None:
            await self._act()
        return [
            {
                "hostname": host,
                "host": "127.0.0.1",
                "port": self._port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        pass


def resolving(resolver: Resolver, **settings: Any) -> aiohttp.ClientSession:
    """A caller's session that asks `resolver`."""
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False)
    return aiohttp.ClientSession(connector=connector, **settings)


def gzipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def bomb(megabytes: int) -> bytes:
    """About a kilobyte for each megabyte that it expands to, in gzip's format."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = deflater.compress(bytes(1_000_000)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * megabytes + b"\x03\0" + bytes(8)


def kept_alive_then(end: Script) -> Script:
    """Answer the first request of a connection and meet the second with `end`."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await end(connection)

    return script


async def resets_on_sight(connection: Connection) -> None:
    await connection.receive()
    connection.reset()


def session(url: str, **settings: Any) -> HtxSession:
    """A session with keys of its own and no limit to speak of."""
    return HtxSession(
        settings.pop("credentials", Credentials("access-key", "secret-key")),
        **{
            "base_urls": url,
            "limiter": TokenBucket(1000),
            "retry": RetryPolicy(repeat_unknown=False),
            **settings,
        },
    )
