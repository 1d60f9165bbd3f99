"""The networks between client and exchange, as seconds drawn from a seed: one model each, which
`Route` follows in virtual time and `relay` in real time, over TCP on loopback."""

import asyncio
import random
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

Draw = Callable[[random.Random], float]
T = TypeVar("T")

_PIECE = 65536
_DRAWS = 10_001


def always(seconds: float) -> Draw:
    """The same each time."""
    return lambda chance: seconds


def between(least: float, most: float) -> Draw:
    """Evenly from `least` to `most`."""
    return lambda chance: chance.uniform(least, most)


def tailed(least: float, scale: float, shape: float, most: float) -> Draw:
    """`least` and a Pareto tail from nothing on: more than x on top with probability
    (1 + x / scale) ** -shape, and `most` on top at the most."""
    return lambda chance: least + min(most, scale * (chance.paretovariate(shape) - 1))


_at_once = always(0.0)


@dataclass(frozen=True, slots=True)
class Network:
    """What a request takes up and down, and what each new connection takes before it.

    Connections are kept alive, and as many are opened as there are requests at a time.
    """

    name: str
    words: str
    up: Draw
    down: Draw
    connect: Draw = _at_once

    @property
    def round_trip(self) -> float:
        """The median, over a connection that is open."""
        return _round_trip(self)


@cache
def _round_trip(network: Network) -> float:
    chance = random.Random(0)
    return statistics.median(network.up(chance) + network.down(chance) for _ in range(_DRAWS))


NEAR = Network("1 ms", "0.5 ms each way", always(0.0005), always(0.0005))
PLAIN = Network("80 ms", "40 ms each way", always(0.04), always(0.04))
JITTERED = Network(
    "jittered", "40 to 90 ms each way, evenly", between(0.04, 0.09), between(0.04, 0.09)
)
HEAVY = Network(
    "heavy-tailed",
    "40 ms each way and a Pareto tail: one in 30 takes over 100 ms more, up to 1 s",
    tailed(0.04, 0.012, 1.5, 1.0),
    tailed(0.04, 0.012, 1.5, 1.0),
)
COLD = Network(
    "cold",
    "40 ms each way, no connection open at first, and each takes 0.3 to 1 s to open",
    always(0.04),
    always(0.04),
    between(0.3, 1.0),
)
NETWORKS = (NEAR, PLAIN, JITTERED, HEAVY, COLD)


class Route:
    """Requests through a network on the loop's clock."""

    def __init__(self, network: Network, chance: random.Random) -> None:
        self._network = network
        self._chance = chance
        self._idle = 0

    async def carry(self, arrive: Callable[[], T]) -> T:
        """What `arrive` returns when the request is there, once that has come back."""
        network, chance = self._network, self._chance
        if self._idle:
            self._idle -= 1
        else:
            await asyncio.sleep(network.connect(chance))
        await asyncio.sleep(network.up(chance))
        reply = arrive()
        await asyncio.sleep(network.down(chance))
        self._idle += 1
        return reply


@asynccontextmanager
async def relay(url: str, network: Network, chance: random.Random) -> AsyncIterator[str]:
    """A base URL that leads to `url` through `network` while the block lasts."""
    host, _, port = url.removeprefix("http://").partition(":")
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.sleep(network.connect(chance))
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pass(reader, far_writer, network.up, chance))
                    group.create_task(_pass(far_reader, writer, network.down, chance))
            finally:
                far_writer.close()
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    delay: Draw,
    chance: random.Random,
) -> None:
    """In order, each piece on its own delay; a request or reply of ours is one piece."""
    # A connection may be reset at the end of a run.
    with suppress(ConnectionError):
        while piece := await reader.read(_PIECE):
            await asyncio.sleep(delay(chance))
            writer.write(piece)
    writer.close()
