"""Which event loop runs here, which one something belongs to, and what passes between clocks."""

import asyncio
import os
import threading
import time
import weakref

from htx_async.errors import InvalidRequest

OTHER_LOOP = (
    "another event loop that is still open uses this account's limiter; two loops cannot share its "
    "tokens. Run both on one loop, close the other, or give each a fixed part of the account's "
    "five a second with limiter=, as TokenBucket(4) there and TokenBucket(1) for a watchdog "
    "here, or let both share them on Redis with limiter=RedisTokenBucket(...)"
)
_OTHER_PROCESS = (
    "the process that forked this one uses this account's limiter; two processes cannot share its "
    "tokens. Give each one made after the fork: limiter=HostTokenBucket() or "
    "RedisTokenBucket(...), which share them, or a fixed part of the account's limit, such as "
    "limiter=TokenBucket(2)"
)


def running_loop() -> asyncio.AbstractEventLoop:
    """The event loop that runs here; `InvalidRequest` where there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    # Raised out here: asyncio's own words do not help. A forked child has no running loop either.
    raise InvalidRequest(
        "no event loop of this process runs here, so nothing was sent; call from a coroutine under "
        "asyncio.run(...), and after a fork open a session of the child's own there"
    )


class LoopBinding:
    """Remembers which event loop something belongs to, and how far loops' clocks lie apart."""

    def __init__(self) -> None:
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self._process = 0
        self._offset = 0.0
        self._lock = threading.Lock()

    def is_here(self) -> bool:
        """Whether it is bound to the loop that runs here."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        return self._loop is not None and self._loop() is loop and self._process == os.getpid()

    def enter(self, *, take_over: bool = False) -> float | None:
        """Bind to the running loop; the seconds its clock is ahead of its predecessor's.

        None when nothing changed. Raises `InvalidRequest` when the predecessor is still open in
        the process that forked this one, or, without `take_over`, in this process.
        """
        if self.is_here():
            return None
        loop, process = running_loop(), os.getpid()
        with self._lock:
            before = None if self._loop is None else self._loop()
            if before is not None and not before.is_closed():
                if self._process != process:
                    raise InvalidRequest(_OTHER_PROCESS)
                if not take_over:
                    raise InvalidRequest(OTHER_LOOP)
            first = self._loop is None
            offset = loop.time() - time.monotonic()
            shift = offset - self._offset
            self._loop, self._process, self._offset = weakref.ref(loop), process, offset
            return None if first else shift
