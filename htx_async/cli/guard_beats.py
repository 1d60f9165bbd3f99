"""What a command tells its guard of itself, by systemd's notify protocol (`man 3 sd_notify`)."""

import asyncio
import os
import secrets
import socket
import struct
import sys
import tempfile
from contextlib import suppress
from typing import Self

from htx_async.notify import Watcher

FIRST = 60.0
"""Seconds after which it is told that a command has sent no beat."""

_LATE = 0.5
"""Seconds: whoever looks so much too late was stopped itself, and so perhaps was the command."""

_MOST = 8192
_SENDER = struct.Struct("3i")
_HANDED_ON = ("READY", "STATUS", "RELOADING", "STOPPING", "MONOTONIC_USEC", "EXTEND_TIMEOUT_USEC")
"""What is of use to whoever watches the guard; beats are its own, and so is the main process."""


class Beats:
    """Listens to the command; `silent` is set once beats have come, and then none for `heartbeat`
    seconds, or after it said that it stops for `grace` if that is longer.

    `outer`: who watches the guard itself, and gets what concerns him.
    """

    def __init__(self, heartbeat: float, grace: float, outer: Watcher | None) -> None:
        self.silent = asyncio.Event()
        self.have_come = False
        self._heartbeat, self._grace, self._outer = heartbeat, max(heartbeat, grace), outer
        self._allowed = heartbeat
        self._loop = asyncio.get_running_loop()
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if sys.platform == "linux":
            # Nothing on a disk that may be full or read-only. Anybody may write to it: who did is
            # told by the kernel.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self.address = f"@htx_async-guard-{os.getpid()}-{secrets.token_hex(8)}"
            self._socket.bind(f"\0{self.address[1:]}")
        else:
            self._folder = tempfile.TemporaryDirectory(prefix="htx_async-")
            self.address = f"{self._folder.name}/notify"
            self._socket.bind(self.address)
        self._loop.add_reader(self._socket, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._socket)
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """What the command has to know."""
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(round(self._heartbeat * 1e6))}

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while True:
                message, sent_by, _, _ = self._socket.recvmsg(_MOST, socket.CMSG_SPACE(12))
                if all(_is_ours(data) for _, _, data in sent_by):
                    self._take(message)

    def _take(self, message: bytes) -> None:
        lines = message.decode(errors="replace").splitlines()
        for line in lines:
            if line == "WATCHDOG=1":
                self._beat()
            elif line == "WATCHDOG=trigger":
                self.silent.set()
            elif line == "READY=1":
                self._allowed = self._heartbeat
                self._wait_anew()
            elif line == "STOPPING=1":
                self._allowed = self._grace
                self._last = self._loop.time()
        handed_on = [line for line in lines if line.partition("=")[0] in _HANDED_ON]
        if self._outer is not None and handed_on:
            self._outer.tell(*handed_on)

    def _beat(self) -> None:
        self.have_come, self._last = True, self._loop.time()
        if self._timer is None:
            self._wait()

    def _wait_anew(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._wait()

    def _wait(self) -> None:
        self._due = self._last + self._allowed
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        # What has come while this process was busy counts.
        self._read()
        now = self._loop.time()
        if now - self._due > _LATE:
            self._last = now
        if now < self._last + self._allowed:
            self._wait()
        else:
            self.silent.set()


def _is_ours(data: bytes) -> bool:
    return len(data) != _SENDER.size or _SENDER.unpack(data)[1] in (0, os.geteuid())
