"""What a store of shared tokens has to hear of, off the callers' path."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from htx_async.aio.background import Background
from htx_async.limits.shared_store import SharedStore, Unreachable


class Debts:
    """Tokens that `store` does not know to be back; what it never hears of ends with its lease."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._owed: dict[str, float | None] = {}
        self._due: dict[str, float | None] = {}
        self._per = 0.0
        self._sayings: deque[Callable[[], Awaitable[None]]] = deque()
        self._telling = Background(self._tell)

    def owe(self, name: str, used: float | None) -> None:
        """Token `name` was used until loop time `used`, or not at all."""
        self._owed[name] = used

    def pay(self, per: float) -> None:
        """Tell of all; a token used longer ago than `per` seconds is back by now."""
        self._per = per
        self._due |= self._owed
        self._owed = {}
        self._telling.begin()

    def say(self, saying: Callable[[], Awaitable[None]]) -> None:
        """Something else, which is not worth a second try."""
        self._sayings.append(saying)
        self._telling.begin()

    async def told(self) -> None:
        """Wait until all is told, or the store could not be told."""
        await self._telling.over()

    async def stop(self) -> None:
        """Tell no more."""
        await self._telling.stop()

    async def _tell(self) -> None:
        while self._sayings or self._due:
            if self._due:
                await self._pay()
            else:
                with suppress(Unreachable):
                    await self._sayings[0]()
                self._sayings.popleft()

    async def _pay(self) -> None:
        due, long_ago = dict(self._due), self._loop.time() - self._per
        used = [name for name, at in due.items() if at is not None and at > long_ago]
        unused = [name for name in due if name not in used]
        try:
            if used:
                await self._store.settle(*used)
            if unused:
                await self._store.release(*unused)
        except Unreachable:
            # Told when it can be reached again.
            self._owed, self._due = self._due | self._owed, {}
        for name in due:
            self._due.pop(name, None)
