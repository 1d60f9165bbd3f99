"""Nothing that the package does on an event loop blocks it: no file, no look-up, no sleep."""

import asyncio
import socket
import ssl
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from blockbuster import BlockBuster, BlockingError
from blockbuster.blockbuster import BlockBusterFunction

from htx_async import HostTokenBucket, HtxSession, Outcome, TokenBucket
from htx_async.audit import AuditLog
from htx_async.redis_limits import RedisTokenBucket
from htx_async.simulator import Request, SimulatedExchange
from tests.support.fault_server import Arrived, FaultServer, authority, echoes, reply, server_tls
from tests.support.host_files import locked
from tests.support.paths import ROOT
from tests.support.redis_server import RedisServer, Stored, running

ACCOUNT = "desk-7"
CODES = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
MORE = ("socket.getaddrinfo", "socket.gethostbyname", "os.open", "os.fsync", "os.fdatasync")
"""What blocks, too, and what blockbuster does not look for by itself."""


@contextmanager
def watched() -> Iterator[list[str]]:
    """Names of the calls that block a loop while the block lasts, each with where it came from.

    They are noted as they happen: whoever made the call may swallow the exception.
    """
    found: list[str] = []

    class Noted(BlockingError):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            found.append(f"{name}\n{''.join(traceback.format_stack(limit=12)[:-2])}")

    guard = BlockBuster()
    guard.functions |= {name: BlockBusterFunction(None, name) for name in MORE}
    with patch("blockbuster.blockbuster.BlockingError", Noted):
        guard.activate()
        try:
            yield found
        finally:
            guard.deactivate()


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(lambda: time.sleep(1e-6), id="sleep"),
        pytest.param(lambda: socket.getaddrinfo("localhost", 80), id="look-up"),
        pytest.param(lambda: Path(__file__).read_bytes(), id="file"),
    ],
)
async def test_what_a_listener_blocks_is_found(
    exchange: SimulatedExchange, block: Callable[[], object]
) -> None:
    """The watch works, even where the package swallows what a listener raises."""
    settings: dict[str, Any] = {"base_urls": exchange.url, "on_event": lambda event: block()}
    async with HtxSession(exchange.credentials, **settings) as htx:
        with watched() as found:
            await htx.cancel_all_trailing(CODES[0])
    assert found


def served(exchange: SimulatedExchange, arrived: Arrived) -> bytes:
    """The exchange's answer, as it goes over the wire."""
    headers = {name: values[0] for name, values in arrived.headers.items()}
    method = arrived.line.split(" ")[0]
    told = exchange.handle(Request(method, arrived.target, headers, arrived.body))
    return reply(told.body, told.status, **told.headers)


async def life(htx: HtxSession, exchange: SimulatedExchange) -> None:
    """Everything that a session can do, once."""
    exchange.place(CODES[0], "buy", "close", 3)
    exchange.bad_gateway()
    assert all(host.problem is None for host in await htx.warm_up())
    report = await htx.cancel_all_trailing(CODES[0], "buy", confirm=True)
    assert report.outcome is Outcome.CANCELLED
    assert len(report.attempts) == 2
    ids = exchange.place(CODES[1], "sell", "open", 2)
    await htx.open_trailing(CODES[1])
    await htx.cancel_trailing(CODES[1], ids)
    await htx.trailing_history(CODES[1])
    await htx.cross.cancel_all_trailing(CODES[2])
    await htx.contracts()
    exchange.place(CODES[2], "sell", "open", 2)
    async with htx.cancel_on_exit(CODES, confirm=True) as guard:
        await htx.mass_cancel_trailing(CODES[:2], confirm=True)
    assert guard.report is not None
    assert guard.report.is_clear
    assert not exchange.open_orders()


async def test_a_session_never_blocks_its_loop(tmp_path: Path) -> None:
    """Name look-up, cold TLS, retries, audit log, confirmation, guard and close, all of them."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(tls)
    exchange = SimulatedExchange(limit=10_000)
    # Opening its file is the one thing that it does at once, on making it.
    audit = AuditLog(tmp_path / "audit.jsonl")
    settings: dict[str, Any] = {"limiter": TokenBucket(10_000), "generation": "v1", "ssl": tls}
    answer = echoes(partial(served, exchange))
    async with FaultServer(answer, tls=server_tls("localhost")) as server:
        settings |= {"base_urls": f"https://localhost:{server.port}", "keep_warm": True}
        with watched() as found:
            async with audit, HtxSession(exchange.credentials, on_event=audit, **settings) as htx:
                await life(htx, exchange)
    assert not found, "\n".join(found)
    assert not audit.problem


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """A server whose tokens for the cancels can be had at once."""
    with running() as started:
        Stored(started, ACCOUNT).open()
        yield started


@pytest.mark.slow
async def test_a_fleet_on_redis_never_blocks_its_loop(redis_server: RedisServer) -> None:
    """Connections to a real Redis and tokens from it, for cancels and reads on V5."""
    exchange = SimulatedExchange(limit=10_000, account="v5")
    rate: dict[str, Any] = {"share_of": 2, "size": 1000, "per": 0.05}
    async with exchange:
        settings: dict[str, Any] = {"base_urls": exchange.url}
        with watched() as found:
            bucket = RedisTokenBucket.from_url(redis_server.url, ACCOUNT, **rate)
            settings["limiter"] = bucket
            async with bucket, HtxSession(exchange.credentials, **settings) as htx:
                exchange.place(CODES[0], "buy", "close", 3)
                report = await htx.cancel_all_trailing(CODES[0])
                assert report.outcome is Outcome.CANCELLED
    assert not found, "\n".join(found)


async def test_a_file_that_a_host_shares_never_blocks_a_loop(tmp_path: Path) -> None:
    """Made, found, and locked by somebody else for a moment."""
    exchange = SimulatedExchange(limit=10_000, account="v5")
    path = tmp_path / "limit"
    async with exchange:
        settings: dict[str, Any] = {"base_urls": exchange.url}
        with watched() as found:
            bucket = HostTokenBucket(ACCOUNT, path=path, size=1000, per=0.05)
            settings["limiter"] = bucket
            async with bucket, HtxSession(exchange.credentials, **settings) as htx:
                exchange.place(CODES[0], "buy", "close", 3)
                report = await htx.cancel_all_trailing(CODES[0], urgent=True)
                assert report.outcome is Outcome.CANCELLED
                lock = locked(path)
                await asyncio.to_thread(lock.__enter__)
                calling = asyncio.create_task(htx.open_trailing(CODES[0]))
                await asyncio.sleep(0.1)
                lock.__exit__(None, None, None)
                assert await calling == ()
    assert not found, "\n".join(found)


COLD = """
import asyncio
import sys

from blockbuster import blockbuster_ctx

from htx_async import Credentials, HtxSession

credentials = Credentials(*sys.argv[2:])
heard = []


async def main(url):
    with blockbuster_ctx():
        async with HtxSession(credentials, base_urls=url, on_event=heard.append) as htx:
            report = await htx.cancel_all_trailing("BTC-USDT", confirm=True)
    print(report.outcome, len(heard))


asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.slow
async def test_the_first_call_of_a_process_never_blocks_its_loop() -> None:
    """What is loaded or built on first use is there before the loop runs."""
    keys = "an-access-key", "a-secret-key"
    exchange = SimulatedExchange(access_key=keys[0], secret_key=keys[1])
    exchange.place(CODES[0], "buy", "close", 2)
    async with exchange:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", COLD, exchange.url, *keys),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        told, errors = await asyncio.wait_for(process.communicate(), 60.0)
    assert process.returncode == 0, errors.decode()
    outcome, heard = told.decode().split()
    assert (outcome, int(heard) > 3) == ("cancelled", True)
