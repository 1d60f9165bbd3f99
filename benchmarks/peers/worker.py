"""One client in a process of its own, under orders from its input, a line of JSON each.

Says first which versions it runs. `{"base_url": ..., "order_id": ...}` opens the client there and
makes one call; `{"calls": ..., "in_flight": ...}` measures so many. Ends when its input closes.
Run by `benchmarks.peers.process` as `python -m benchmarks.peers.worker CLIENT LOOP`.
"""

import asyncio
import faulthandler
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any

from benchmarks.peers.clients import CLIENTS, Client

_MOST_SECONDS = 60.0

_STANDS_ON = {
    "floor": ("aiohttp",),
    "aiohttp": ("aiohttp", "pydantic"),
    "htx_async": ("htx-async", "aiohttp", "pydantic"),
    "httpx": ("httpx", "pydantic"),
    "ccxt_last": ("ccxt", "aiohttp"),
    "ccxt_newest": ("ccxt", "aiohttp"),
}


async def measure(client: Client, calls: int, in_flight: int) -> dict[str, Any]:
    """CPU seconds of this process, seconds in all, and those of each call."""
    left = iter(range(calls))
    waits: list[float] = []

    async def caller() -> None:
        for _ in left:
            start = time.perf_counter()
            await client.call()
            waits.append(time.perf_counter() - start)

    cpu, start = time.process_time(), time.perf_counter()
    if in_flight == 1:
        await caller()
    else:
        await asyncio.gather(*(caller() for _ in range(in_flight)))
    return {
        "cpu": time.process_time() - cpu,
        "seconds": time.perf_counter() - start,
        "waits": waits,
    }


def resident() -> float:
    """Megabytes of this process."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


class Worker:
    """Does what it is told, in one event loop."""

    def __init__(self, name: str) -> None:
        self._connect = CLIENTS[name]
        self._stack = AsyncExitStack()
        self._client: Client | None = None

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """The answer to one order."""
        if "base_url" in order:
            return {"taken": await self._open(**order)}
        assert self._client is not None
        return {**await measure(self._client, **order), "resident": resident()}

    async def close(self) -> None:
        """Close the client, if one is open."""
        await self._stack.aclose()

    async def _open(self, base_url: str, order_id: str) -> list[str]:
        await self.close()
        client = await self._stack.enter_async_context(self._connect(base_url, order_id))
        self._client = client
        return client.taken(await client.call())


def main() -> None:
    """Obey until the input ends; whoever hangs is ended."""
    name, loop = sys.argv[1:]
    factory = None
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415 - only where it is measured

        factory = uvloop.new_event_loop
    names = (*_STANDS_ON[name], *(("uvloop",) if factory else ()))
    print(json.dumps({one: version(one) for one in names}), flush=True)
    worker = Worker(name)
    with asyncio.Runner(loop_factory=factory) as runner:
        for line in sys.stdin:
            faulthandler.dump_traceback_later(_MOST_SECONDS, exit=True)
            print(json.dumps(runner.run(worker.obey(json.loads(line)))), flush=True)
            faulthandler.cancel_dump_traceback_later()
        runner.run(worker.close())


if __name__ == "__main__":
    main()
