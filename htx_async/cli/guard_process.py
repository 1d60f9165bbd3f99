"""The command that a guard watches, and the processes that it leaves behind."""

import asyncio
import errno
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from htx_async.cli.guard_signals import Signals
from htx_async.cli.words import visible

_LOOK = 0.05
"""Seconds between two looks at the processes that a command has left behind."""

_SHELL = "/bin/sh"

_OF_PYTHON = ("SIGPIPE", "SIGXFSZ")
"""What Python ignores by itself."""


class Process:
    """Started from here, with this process's own streams. `own_group`: in a process group of its
    own, all of which gets what is sent to it, and is waited for.

    Raises OSError where it cannot be run.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        signals: Signals,
        *,
        own_group: bool,
    ) -> None:
        if not command[0]:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self.own_group = own_group
        self.code: int | None = None
        """Its exit code, or the number of the signal that ended it with a minus."""
        self.died = 0.0
        """When, by the monotonic clock."""
        self.ended = asyncio.Event()
        settings: dict[str, Any] = {"setpgroup": 0} if own_group else {}
        settings["setsigmask"] = signals.usual
        settings["setsigdef"] = [getattr(signal, n) for n in _OF_PYTHON if hasattr(signal, n)]
        try:
            self.pid = os.posix_spawnp(command[0], list(command), environment, **settings)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without "#!": a shell and `timeout` run it by sh, as execvp does.
            path = shutil.which(command[0]) or command[0]
            by_shell = ["sh", path, *command[1:]]
            self.pid = os.posix_spawn(_SHELL, by_shell, environment, **settings)

    def reap(self) -> None:
        """Take note of every process that has ended: of this one, and, where a guard is the first
        process of a container, of those that nobody else waits for."""
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self.pid:
                    self.code = os.waitstatus_to_exitcode(found[1])
                    self.died = time.monotonic()
                    self.ended.set()

    def send(self, number: int) -> None:
        """A signal for it: for its group where that is its own, and it is in there."""
        with suppress(ProcessLookupError, PermissionError):
            if self.code is None and not (self.own_group and os.getpgid(self.pid) == self.pid):
                os.kill(self.pid, number)
        if self.own_group:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def left(self) -> list[str]:
        """What lives of it and of its group, in words; a process of which nobody has taken note yet
        that it has ended does not."""
        others = self._others() if self.own_group else {}
        if self.code is None:
            others.setdefault(self.pid, f"process {self.pid}")
        return list(others.values())

    def _others(self) -> dict[int, str]:
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return {}
        except PermissionError:
            # One of another user's is there.
            pass
        if not Path("/proc/self/stat").exists():
            return {0: f"a process of group {self.pid}"}
        return _members(self.pid)

    async def gone(self, within: float) -> float | None:
        """When the last of it was gone; None after `within` seconds."""
        until = time.monotonic() + within
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self.ended.wait()
        # Nobody tells of the end of a process that is not one's own child.
        while self.left():
            if time.monotonic() >= until:
                return None
            await asyncio.sleep(_LOOK)
        return time.monotonic()


def _members(group: int) -> dict[int, str]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                head, _, tail = (folder / "stat").read_text(errors="replace").rpartition(")")
                state, _, of_group, *_ = tail.split()
                if int(of_group) == group and state not in "ZX":
                    name = visible(head.partition("(")[2])
                    found[int(folder.name)] = f"process {folder.name} ({name})"
    return found
