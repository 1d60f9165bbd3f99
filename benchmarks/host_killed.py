"""Sixteen processes that share a file of their host, each of which is killed at any moment, and
another one takes its place; part of `benchmarks.host`.

Every other one is killed while a request of its is under way, the rest as they start, open the
file, wait in line or do whatever they do. What is counted is what would arrive at an exchange, also
of those that died before. They are forked, since an interpreter takes most of their lives to start.
"""

import asyncio
import json
import os
import random
import signal
import time
from math import inf
from typing import NamedTuple

from benchmarks.exchanges import busiest_sliding
from htx_async import HostTokenBucket

PROCESSES, SECONDS = 16, 20.0
_CALLERS, _LATENCY, _LEASE = 3, 0.1, 1.0
_LIVES = (0.0, 4.0)
"""Seconds from the start of a process to its end."""

_LOOK = 0.005
_ACCOUNT = "benchmark"
_PATH = "/linear-swap-api/v1/swap_track_cancelall"


class Killed(NamedTuple):
    """The busiest second at the exchange, how many requests there were, how many processes died,
    and how many of these with a request under way, and with callers that waited."""

    busiest: int
    requests: int
    died: int
    holding: int
    waiting: int


async def _work(where: str, out: int) -> None:
    """One process, until it is killed: says when each request will arrive, and when it was
    answered."""
    chance = random.Random()

    def say(what: float | str | None) -> None:
        os.write(out, f"{json.dumps(what)}\n".encode())

    async def call(bucket: HostTokenBucket) -> None:
        while True:
            async with bucket.take(_PATH):
                say(time.monotonic() + chance.uniform(0, _LATENCY))
                await asyncio.sleep(_LATENCY)
                say(None)

    async with HostTokenBucket(_ACCOUNT, path=where, lease=_LEASE) as bucket:
        callers = [asyncio.create_task(call(bucket)) for _ in range(_CALLERS)]
        say("waits")
        await asyncio.wait(callers)


class _Life:
    """One process, from its start to its end. `is_struck`: with a request under way."""

    def __init__(self, where: str, chance: random.Random, *, is_struck: bool) -> None:
        self.arrivals: list[float] = []
        self.under_way = 0
        self.has_begun = False
        self.dies = inf if is_struck else time.monotonic() + chance.uniform(*_LIVES)
        self._chance, self._is_struck, self._rest = chance, is_struck, b""
        self._pipe, out = os.pipe()
        os.set_blocking(self._pipe, False)
        self._pid = os.fork()
        if not self._pid:
            try:
                asyncio.run(_work(where, out))
            finally:
                os._exit(1)
        os.close(out)

    def hear(self) -> None:
        """What it has said by now."""
        try:
            *lines, self._rest = (self._rest + os.read(self._pipe, 1 << 16)).split(b"\n")
        except BlockingIOError:
            return
        for said in map(json.loads, lines):
            self.has_begun = True
            if isinstance(said, float):
                self.arrivals.append(said)
                self.under_way += 1
                if self._is_struck and self.dies == inf:
                    self.dies = time.monotonic() + self._chance.uniform(0, _LATENCY / 2)
            elif said is None:
                self.under_way -= 1

    def end(self) -> None:
        """Kill it, and hear the rest."""
        os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        assert os.WIFSIGNALED(status), "it had ended by itself"
        self.hear()
        os.close(self._pipe)


def killed(where: str) -> Killed:
    """So many processes at a time, for so long."""
    chance, lives, until = random.Random(), list[_Life](), time.monotonic() + SECONDS

    def begun() -> _Life:
        lives.append(_Life(where, chance, is_struck=len(lives) % 2 == 0))
        return lives[-1]

    alive = [begun() for _ in range(PROCESSES)]
    while time.monotonic() < until:
        for place, life in enumerate(alive):
            life.hear()
            if life.dies <= time.monotonic():
                life.end()
                alive[place] = begun()
        time.sleep(_LOOK)
    for life in alive:
        life.end()
    arrivals = sorted(one for life in lives for one in life.arrivals)
    return Killed(
        busiest_sliding(arrivals),
        len(arrivals),
        len(lives),
        sum(life.under_way > 0 for life in lives),
        sum(life.has_begun and life.under_way < _CALLERS for life in lives),
    )
