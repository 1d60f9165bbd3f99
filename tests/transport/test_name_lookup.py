"""Look-ups of host names: once at a time, for all who wait, whoever is interrupted."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from htx_async.transport.name_lookup import Names
from tests.support.virtual import run


def now() -> float:
    return asyncio.get_running_loop().time()


def asking(ask: Callable[[], Any]) -> list[float]:
    """When the running loop is asked for addresses, from now on; `ask` answers."""
    loop, asked = asyncio.get_running_loop(), []

    async def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        asked.append(now())
        await ask()
        address = ("127.0.0.1", port)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", address)]

    loop.getaddrinfo = getaddrinfo  # type: ignore[assignment]  # the system's own, for this loop
    return asked


def test_those_who_wait_share_one_look_up_that_none_of_them_ends() -> None:
    """Nor does whoever cancels every task; the answer then serves for ten seconds."""

    async def main() -> None:
        names, asked = Names(), asking(lambda: asyncio.sleep(1))
        waiting = [asyncio.create_task(names.resolve("api.test", 443)) for _ in range(3)]
        for _ in range(2):
            await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task(), waiting[-1]}:
                task.cancel()
        (found,) = await waiting[-1]
        assert (found["host"], found["port"]) == ("127.0.0.1", 443)
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.sleep(8.9)
        await names.resolve("api.test", 443)
        assert len(asked) == 1
        await asyncio.sleep(2)
        await names.resolve("api.test", 443)
        await names.resolve("other.test", 443)
        assert len(asked) == 3

    run(main())


def test_a_look_up_that_failed_is_made_again() -> None:
    """For the next who asks."""

    async def main() -> None:
        fails = True

        async def ask() -> None:
            if fails:
                raise socket.gaierror(socket.EAI_AGAIN, "try again")

        names, asked = Names(), asking(ask)
        with pytest.raises(socket.gaierror):
            await names.resolve("api.test", 443)
        fails = False
        assert await names.resolve("api.test", 443)
        assert len(asked) == 2

    run(main())


def test_closing_ends_what_is_asked() -> None:
    """Who waits hears that it was cancelled, and nothing is left."""

    async def main() -> None:
        names = Names()
        asking(lambda: asyncio.sleep(60))
        waiting = asyncio.create_task(names.resolve("api.test", 443))
        await asyncio.sleep(0.1)
        names.end()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main())
