"""Look-ups of host names that nobody else can end."""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

from aiohttp import TCPConnector, ThreadedResolver
from aiohttp.abc import ResolveResult

from htx_async.aio.tasks import own_task

_FRESH = 10.0
"""Seconds for which an answer serves, as aiohttp's own cache has it."""


class Connector(TCPConnector):
    """Makes as many connections as it is asked for, and ends its look-ups when it is closed."""

    def __init__(self) -> None:
        self._names = Names()
        super().__init__(limit=0, resolver=self._names, use_dns_cache=False)

    def close(self, **options: Any) -> Coroutine[Any, Any, None]:
        """See aiohttp."""
        self._names.end()
        return super().close(**options)


class Names(ThreadedResolver):
    """Asks the system, once at a time for each name.

    In place of aiohttp's cache: when its task is cancelled, as every task is at the end of
    `asyncio.run`, before it has begun, all later look-ups of that name wait for it for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[tuple[str, int, int], asyncio.Task[tuple[float, list[ResolveResult]]]]
        self._asked = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """See aiohttp."""
        key = (host, port, family)
        asked = self._asked.get(key)
        if asked is None or not _is_of_use(asked):
            asked = self._asked[key] = own_task(self._ask(host, port, family))
        # For all who wait for it: one that is interrupted does not end it.
        return list((await asyncio.shield(asked))[1])

    def end(self) -> None:
        """Ask no more."""
        for asked in self._asked.values():
            asked.cancel()
        self._asked.clear()

    async def _ask(
        self, host: str, port: int, family: socket.AddressFamily
    ) -> tuple[float, list[ResolveResult]]:
        found = await super().resolve(host, port, family)
        return asyncio.get_running_loop().time(), found


def _is_of_use(asked: "asyncio.Task[tuple[float, list[ResolveResult]]]") -> bool:
    if not asked.done():
        return True
    if asked.cancelled() or asked.exception() is not None:
        return False
    return asyncio.get_running_loop().time() - asked.result()[0] < _FRESH
