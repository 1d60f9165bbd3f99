"""A network between client and exchange: a TCP relay on loopback that delays what passes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

_PIECE = 65536


@dataclass(frozen=True, slots=True)
class Network:
    """Seconds for each piece up and down, and once for each new connection."""

    name: str
    up: Callable[[], float] = lambda: 0.0
    down: Callable[[], float] = lambda: 0.0
    connect: float = 0.0


@asynccontextmanager
async def relay(url: str, network: Network) -> AsyncIterator[str]:
    """A base URL that leads to `url` through `network` while the block lasts."""
    host, _, port = url.removeprefix("http://").partition(":")
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.sleep(network.connect)
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_pass(reader, far_writer, network.up))
                    group.create_task(_pass(far_reader, writer, network.down))
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
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: Callable[[], float]
) -> None:
    """In order, each piece on its own delay; a request or reply of ours is one piece."""
    # A connection may be reset at the end of a run.
    with suppress(ConnectionError):
        while piece := await reader.read(_PIECE):
            await asyncio.sleep(delay())
            writer.write(piece)
    writer.close()
