"""How late a machine makes a test, so that what it measures is not taken for the client's."""

import asyncio
import time


class Gauge:
    """How late the machine makes this thread, not how late the thread makes itself: what a beat
    every few milliseconds is late by, less the CPU time that the thread used meanwhile."""

    _EVERY = 0.005
    _GRACE = 0.02

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost: list[tuple[float, float]] = []
        self._arm()

    def _arm(self) -> None:
        self._cpu = time.thread_time()
        self._due = self._loop.time() + self._EVERY
        self._handle = self._loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        self._lost.append((self._loop.time(), self._behind()))
        self._arm()

    def _behind(self) -> float:
        lost = self._loop.time() - self._due - (time.thread_time() - self._cpu)
        # A stall has calls wait a little longer for what came in meanwhile.
        return max(0.0, lost) + (self._GRACE if lost > self._GRACE else 0.0)

    def lost_since(self, moment: float) -> float:
        """Seconds that the machine took since `moment`."""
        return self._behind() + sum(lost for at, lost in self._lost if at >= moment)

    def stop(self) -> None:
        self._handle.cancel()
