"""Signals: what Ctrl-C, SIGTERM and a closed terminal do to a command.

From the report on nothing heeds them any more: what has happened is told, and the exit code must
get out. They are ignored until the process is gone, since the interpreter ends after the command
does.
"""

import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from htx_async.cli.exit_codes import INTERRUPTED

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_STOPS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


def interruptible(command: Callable[[], object]) -> None:
    """Call `command`: a signal outside `running.run`, while arguments are read, help is printed or
    the rest is loaded, ends the process with one line; one that comes after it changes nothing."""
    # Not a context manager: what is raised while one is left does not reach its block.
    try:
        try:
            heed(_leave)
            command()
        finally:
            ignore_from_now_on()
    except BaseException:
        # After Ctrl-C whatever was being loaded may have raised instead; else it is not ours.
        if not _left:
            raise
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.write("Interrupted; nothing was sent.\n")
        raise _Left(INTERRUPTED) from None


def unless_left() -> None:
    """Raise again what a signal has raised where Python or a library lets no error out, such as in
    a destructor: a command that somebody has ended does not begin."""
    if _left:
        raise _Left(INTERRUPTED)


def raise_from_now_on() -> None:
    """Let the next signal raise `KeyboardInterrupt`, and all after it be ignored: one that comes
    while the first is being told would take the command's words and its exit code away."""
    heed(_raise)


def ignore_from_now_on() -> None:
    """Let signals change nothing until the process is gone; no way leads back."""
    heed(signal.SIG_IGN)


def heed(handler: Callable[[int, Any], object] | signal.Handlers) -> dict[signal.Signals, Any]:
    """Handle signals so from now on; how they were handled. What is ignored stays so: under
    nohup, behind a shell's "&", and once the report was given."""
    heeded = [one for one in _STOPS if signal.getsignal(one) is not signal.SIG_IGN]
    return {one: signal.signal(one, handler) for one in heeded}


def read_line() -> str:
    """The next line of stdin, of which nothing was read before. A signal ends the wait for it also
    when it comes just before that begins: a read that was not there yet is not interrupted, and
    nobody would heed the signal until a key is pressed."""
    # No objects that warn where a signal ends this before there is anybody to close them.
    woken, wakes = os.pipe()
    try:
        os.set_blocking(wakes, False)
        before = signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        try:
            # Where stdin is nothing to wait for, reading it says so.
            with suppress(OSError, ValueError, TypeError):
                select.select([sys.stdin, woken], [], [])
        finally:
            signal.set_wakeup_fd(before)
    finally:
        os.close(woken)
        os.close(wakes)
    return sys.stdin.readline()


class _Left(SystemExit):
    """An interrupt that typer does not take for its own, as it does `KeyboardInterrupt`."""


_left: list[int] = []
"""The signal that `_leave` was told of."""


def _raise(number: int, frame: object) -> None:
    ignore_from_now_on()
    raise KeyboardInterrupt


def _leave(number: int, frame: object) -> None:
    ignore_from_now_on()
    _left.append(number)
    raise _Left(INTERRUPTED)
