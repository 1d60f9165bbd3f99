"""Fixtures that several modules share."""

import gc
import socket
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from htx_async import HtxSession
from htx_async.simulator import SimulatedExchange


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, object, object]:
    """Show a failure without collecting garbage: a destructor that formats a traceback would parse
    source in the middle of pytest's parsing, which ends the process in Python 3.11."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    """A simulated exchange that serves HTTP on loopback."""
    async with SimulatedExchange() as simulated:
        yield simulated


@pytest.fixture
async def htx(exchange: SimulatedExchange) -> AsyncIterator[HtxSession]:
    """A session of that exchange, on v1: what is counted is that call alone."""
    settings: dict[str, Any] = {"base_urls": exchange.url, "generation": "v1"}
    async with HtxSession(exchange.credentials, **settings) as session:
        yield session


@pytest.fixture
def refusing_url() -> str:
    """A base URL on loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def black_hole_url() -> Iterator[str]:
    """A base URL on loopback whose connections are never made: the listener's queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            for filler in fillers:
                filler.close()
