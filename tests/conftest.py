"""Fixtures that several modules share."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings

import tests.support.figures  # noqa: F401 - before any test asks for a limit
from htx_async import HtxSession
from htx_async.simulator import SimulatedExchange

# How long an example takes says something of the machine, not of the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure() -> None:
    """Let children end by Ctrl-C and a closed terminal, though this process may have been told to
    ignore both, as by nohup or behind a shell's "&": what is ignored stays so in every child."""
    # No command of a test takes tokens from the machine's own file, which tests side by side share.
    os.environ["HTX_HOST_LIMIT"] = "0"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # A handler is not passed on, and this one goes on ignoring it.
        signal.signal(signal.SIGHUP, lambda number, frame: None)
    mock.patch.object(subprocess.Popen, "__init__", _started).start()


_popen = subprocess.Popen.__init__
_quick: list[str] = []
"""The test that runs, unless it is marked as slow."""


def _started(process: subprocess.Popen[Any], *args: Any, **settings: Any) -> None:
    if _quick:
        raise RuntimeError(f"{_quick[0]} starts a process: mark it with pytest.mark.slow")
    _popen(process, *args, **settings)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Hold `make fast` to its word: only what is marked as slow starts processes, Redis servers
    among them."""
    _quick[:] = [] if item.get_closest_marker("slow") else [item.nodeid]
    try:
        return (yield)
    finally:
        _quick.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, object, object]:
    """Show a failure without collecting garbage: a destructor that formats a traceback would parse
    source in the middle of pytest's parsing, which ends the process in Python 3.11."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the shares that tests recorded as [part, whole]: no false "clear" is worth little where
    nothing is called clear."""
    shares: dict[str, list[int]] = {}
    for result in terminalreporter.getreports("passed"):
        for name, counts in result.user_properties:
            shares[name] = [a + b for a, b in zip(shares.get(name, [0, 0]), counts, strict=True)]
    for name, (part, whole) in sorted(shares.items()):
        terminalreporter.write_line(f"{name}: {part} of {whole} ({part / whole:.1%})")


_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """A command that a test runs in this process ignores signals from its account on, for good: and
    what is ignored is ignored by the children of later tests, too."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


_TASKS = ["lazy", "eager"] if hasattr(asyncio, "eager_task_factory") else None


@pytest.fixture(params=_TASKS)
def tasks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How every event loop that the test makes begins its tasks: "lazy", as asyncio does by itself,
    or "eager", at once; each in turn where this Python has both.

    For a whole module: `pytestmark = pytest.mark.usefixtures("tasks")`.
    """
    kind = str(getattr(request, "param", "lazy"))
    if kind == "eager":
        monkeypatch.setattr(asyncio.BaseEventLoop, "__init__", _init_eager)
    return kind


_init_loop = asyncio.BaseEventLoop.__init__


def _init_eager(loop: asyncio.BaseEventLoop) -> None:
    _init_loop(loop)
    # Not in Python 3.11, for which the types are checked.
    loop.set_task_factory(vars(asyncio)["eager_task_factory"])


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
def refusing_url() -> Iterator[str]:
    """A base URL on loopback where nobody listens, and nobody else can meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What lasts longest comes first; the others keep the order that was drawn."""
    items.sort(key=lambda item: item.get_closest_marker("early") is None)


def pytest_collection_finish() -> None:
    """What every test needs is here by now and stays: no collection of garbage, of which there are
    many, has to look at it again."""
    gc.collect()
    gc.freeze()
