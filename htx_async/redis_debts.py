"""What Redis has to hear of, off the callers' path."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from htx_async.redis_store import RedisStore, Unreachable

Run = Callable[[Coroutine[Any, Any, None]], None]
"""Starts an errand that nobody waits for."""


class Debts:
    """Tokens that `store` does not know to be back; what it never hears of ends with its lease."""

    def __init__(self, store: RedisStore, run: Run) -> None:
        self._store = store
        self._run = run
        self._loop = asyncio.get_running_loop()
        self._owed: dict[str, float | None] = {}

    def owe(self, name: str, used: float | None) -> None:
        """Token `name` was used until loop time `used`, or not at all."""
        self._owed[name] = used

    def pay(self, per: float) -> None:
        """Tell of all; a token used longer ago than `per` seconds is back by now."""
        owed, self._owed = self._owed, {}
        for name, used in owed.items():
            self._run(self._pay(name, used, per))

    def say(self, errand: Coroutine[Any, Any, None]) -> None:
        """Something else, which is not worth a second try."""
        self._run(self._try(errand))

    async def _pay(self, name: str, used: float | None, per: float) -> None:
        is_back = used is None or self._loop.time() - used >= per
        try:
            await (self._store.release(name) if is_back else self._store.settle(name))
        except Unreachable:
            # Told when Redis answers again.
            self._owed[name] = used
        except asyncio.CancelledError:
            # Told with the next.
            self._owed[name] = used
            raise

    async def _try(self, errand: Coroutine[Any, Any, None]) -> None:
        with suppress(Unreachable):
            await errand
