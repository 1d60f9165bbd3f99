"""A heartbeat for whoever watches this process: `htx-async guard --heartbeat`, or systemd.

Both speak systemd's notify protocol (`man 3 sd_notify`, `man 3 sd_watchdog_enabled`), for which the
standard library is enough.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Self

from htx_async.errors import InvalidRequest

_BEAT = "WATCHDOG=1"


class Watcher:
    """Who listens at `address` (an abstract one begins with "@"). `interval`: seconds between two
    beats, None where nobody waits for them."""

    def __init__(self, address: str, interval: float | None) -> None:
        self.interval = interval
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of_this_process(cls, variables: Mapping[str, str] = os.environ) -> Self | None:
        """The one that the environment names, if it is this process that is watched.

        Raises `InvalidRequest` for an interval that is none.
        """
        address, watched = variables.get("NOTIFY_SOCKET", ""), variables.get("WATCHDOG_PID", "")
        if address[:1] not in ("@", "/") or not hasattr(socket, "AF_UNIX"):
            return None
        if watched not in ("", str(os.getpid())):
            return None
        return cls(address, _interval(variables.get("WATCHDOG_USEC", "")))

    def tell(self, *states: str) -> None:
        """Send them in one message; whoever does not listen any more, or not at present, does not
        hear them."""
        with suppress(OSError):
            self._socket.sendto("\n".join(states).encode(), self._address)

    def beat(self) -> None:
        """Now, and from now on from the running event loop, if anybody waits for that."""
        if self.interval is not None:
            self.tell(_BEAT)
            self._timer = asyncio.get_running_loop().call_later(self.interval, self.beat)

    def close(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()


def _interval(microseconds: str) -> float | None:
    if not microseconds:
        return None
    # Half of what is allowed, as sd_watchdog_enabled advises.
    with suppress(ValueError):
        if (number := int(microseconds)) > 0:
            return number / 2e6
    raise InvalidRequest("WATCHDOG_USEC must be a whole number of microseconds above 0")


@asynccontextmanager
async def heartbeat() -> AsyncIterator[None]:
    """A block during which the running event loop beats, so that one that is blocked is noticed.

    `async with htx_async.heartbeat():` around the whole work of the program: it tells whoever
    watches the process that it is ready, beats twice in the time that is allowed (WATCHDOG_USEC
    microseconds), and tells at the end that the process is about to stop, from when on nobody
    waits for beats. Under `htx-async guard --heartbeat SECONDS`, and for a unit of systemd with
    `WatchdogSec=`; where NOTIFY_SOCKET is not set, or WATCHDOG_PID names another process, it does
    nothing. No task of the loop: a shutdown that cancels every task does not end it before its
    block. Raises `InvalidRequest` for a WATCHDOG_USEC that is no number, before the block begins.
    """
    watcher = Watcher.of_this_process()
    if watcher is None:
        yield
        return
    try:
        watcher.tell("READY=1")
        watcher.beat()
        yield
    finally:
        watcher.tell("STOPPING=1")
        watcher.close()
