"""The heartbeat of an event loop, as whoever watches the process hears it."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator

import pytest

from htx_async import InvalidRequest, heartbeat
from tests.support.virtual import run


@pytest.fixture
def heard() -> Iterator[socket.socket]:
    """Where the guard, or systemd, listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.setblocking(False)
        listener.bind(f"\0htx_async-test-{os.getpid()}-{time.monotonic_ns()}")
        yield listener


@pytest.fixture
def watched(heard: socket.socket, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process, which is watched: a beat each second is enough."""
    address = heard.getsockname()
    monkeypatch.setenv("NOTIFY_SOCKET", address.replace(b"\0", b"@", 1).decode())
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    return monkeypatch


def messages(listener: socket.socket) -> list[str]:
    """All that has come."""
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


async def for_a_while(blocked: bool = False) -> None:
    async with heartbeat():
        for _ in range(0 if blocked else 19):
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("pid", ["", "own"])
def test_it_beats_twice_in_the_time_that_is_allowed(
    heard: socket.socket, watched: pytest.MonkeyPatch, pid: str
) -> None:
    """Ready, a beat at once and each half second, and stopping; a loop that is blocked does not
    beat, and neither does one whose block has ended."""
    if pid:
        watched.setenv("WATCHDOG_PID", str(os.getpid()))
    run(for_a_while())
    first, *beats, last = messages(heard)
    assert (first, last) == ("READY=1", "STOPPING=1")
    assert beats == ["WATCHDOG=1"] * 4
    run(for_a_while(blocked=True))
    assert messages(heard) == ["READY=1", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize("changed", [("NOTIFY_SOCKET", ""), ("WATCHDOG_PID", "1")])
def test_where_nobody_watches_this_process_it_does_nothing(
    heard: socket.socket, watched: pytest.MonkeyPatch, changed: tuple[str, str]
) -> None:
    """Without the variable, and where it is another process that is watched."""
    watched.setenv(*changed)
    run(for_a_while())
    assert messages(heard) == []


def test_without_an_interval_it_tells_without_beats(
    heard: socket.socket, watched: pytest.MonkeyPatch
) -> None:
    """As for a unit that is only to be waited for; an interval that is none is refused."""
    watched.delenv("WATCHDOG_USEC")
    run(for_a_while())
    assert messages(heard) == ["READY=1", "STOPPING=1"]
    for wrong in ("often", "0", "-1"):
        watched.setenv("WATCHDOG_USEC", wrong)
        with pytest.raises(InvalidRequest, match="microseconds"):
            run(for_a_while())


def test_a_watcher_that_is_gone_disturbs_nobody(
    heard: socket.socket, watched: pytest.MonkeyPatch
) -> None:
    """Nor does one that reads nothing: the block goes on."""
    heard.close()
    run(for_a_while())
