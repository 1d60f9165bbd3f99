"""Serving HTTP while a block lasts, on the loop that runs or on one in a thread of its own."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

from htx_async.simulator.door import Door
from htx_async.simulator.holdings import Holdings, loop_time
from htx_async.simulator.messages import Reply, Request
from htx_async.simulator.threads import LoopThread, one_at_a_time


@one_at_a_time
class Serving(Holdings, ABC):
    """A part of `SimulatedExchange`."""

    _port: int
    _control: Callable[[Request, str], Reply] | None
    _door: Door | None = None
    _thread: LoopThread | None = None
    _url = ""

    @abstractmethod
    def handle(self, request: Request) -> Reply:
        """Do everything that `request` causes, at once, and return what its sender is to see."""

    async def __aenter__(self) -> Self:
        if self._door is not None:
            raise RuntimeError("this exchange is already open")
        self._door = Door(self.handle, self._control)
        try:
            self._url = await self._door.open(self._port)
        except BaseException:
            # A cancellation too: it can be opened once more.
            self._door = None
            raise
        return self

    async def __aexit__(self, *failure: object) -> None:
        door, self._door, self._url = self._door, None, ""
        if door is not None:
            await door.close()

    def __enter__(self) -> Self:
        thread = LoopThread("htx-exchange")
        try:
            thread.run(self.__aenter__())
        except BaseException:
            # Ctrl-C too: no thread is left that nobody ends.
            thread.close()
            raise
        self._thread = thread
        if self._clock is loop_time:
            # Whose loop that would be depends on who asks.
            self._clock = time.monotonic
        return self

    def __exit__(self, *failure: object) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.run(self.__aexit__())
            thread.close()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`, without a slash; RuntimeError outside of its block."""
        if not self._url:
            raise RuntimeError("the exchange is closed: it serves inside `with` or `async with`")
        return self._url
