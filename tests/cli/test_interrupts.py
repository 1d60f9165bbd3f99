"""Signals at the question, and what is read there."""

import _thread
import io
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from htx_async.cli.interrupts import read_line

_STEPS = 1_000_000
_PATIENCE = 10.0


class _Ended(Exception):
    """What the handler of these tests raises."""


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A stdin on which nothing was typed yet; where to type."""
    reader, writer = os.pipe()
    with os.fdopen(reader, encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield writer
        os.close(writer)


def _is_waiting() -> bool:
    """Whether this process's first thread is asleep in the kernel."""
    stat = Path(f"/proc/self/task/{os.getpid()}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "S"


def test_a_signal_that_came_just_before_the_wait_ends_it(keys: int) -> None:
    """Noted by the interpreter in the moment before the wait began, so that no call of the kernel
    is interrupted: it is heeded all the same, before anything is typed."""
    heeded, typed = threading.Event(), list[int]()

    def end(number: int, frame: object) -> None:
        heeded.set()
        raise _Ended

    def interrupt() -> None:
        for _ in range(_STEPS):
            if _is_waiting():
                break
        # As a signal is noted, without a signal that would interrupt what waits.
        _thread.interrupt_main(signal.SIGTERM)
        if not heeded.wait(_PATIENCE):
            typed.append(os.write(keys, b"y\n"))

    usual = signal.signal(signal.SIGTERM, end)
    other = threading.Thread(target=interrupt)
    try:
        other.start()
        with pytest.raises(_Ended):
            read_line()
    finally:
        other.join()
        signal.signal(signal.SIGTERM, usual)
    assert not typed
    assert signal.set_wakeup_fd(-1) == -1


def test_the_line_that_is_typed(keys: int) -> None:
    """A line, and then the end of it."""
    os.write(keys, b"yes\n")
    assert read_line() == "yes\n"


@pytest.mark.parametrize("text", ["y\n", ""])
def test_what_cannot_be_waited_for_is_read(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A stdin without a descriptor is read at once."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert read_line() == text
