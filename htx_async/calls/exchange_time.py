"""The exchange's clock, asked through its public call; asking also opens a connection."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from aiolimiter import AsyncLimiter

from htx_async.aio.tasks import own_task
from htx_async.calls.base_urls import BaseUrls
from htx_async.calls.wall_clock import ClockFailed, WallClock
from htx_async.exchange import v1
from htx_async.exchange.messages import SendFailed, unsigned
from htx_async.report import WarmUp
from htx_async.transport.http import Transport

T = TypeVar("T")

_NOTICEABLE = 1.0
"""Seconds of skew, beyond what the round trip leaves open, from which the clock is corrected."""


_TO_CONNECT = 0.9
"""Share of the time to connect in, so that a host which does not is told from a slow answer."""


class ExchangeTime:
    """Asks the base URLs for their time, within a public budget of its own."""

    def __init__(
        self,
        transport: Transport,
        base_urls: BaseUrls,
        clock: WallClock,
        budget: AsyncLimiter,
        timeout: float,
    ) -> None:
        self._transport = transport
        self._base_urls = base_urls
        self._clock = clock
        self._budget = budget
        self._timeout = timeout
        self._tasks: set[asyncio.Task[Any]] = set()
        self._next_use: asyncio.TimerHandle | None = None

    async def skew(self, base_url: str) -> float | None:
        """Seconds by which the exchange is ahead of this machine; None when it cannot be told."""
        with suppress(SendFailed):
            return (await self._ask(base_url))[0]
        return None

    async def warm_up(self) -> tuple[WarmUp, ...]:
        """Open a connection to each base URL, measure, and correct the clock if it is off."""
        urls = tuple(self._base_urls)
        tasks = [self._start(self._warm(url), own_task) for url in urls]
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
        results = [
            WarmUp(base_url=url, problem="the session was closed") if t.cancelled() else t.result()
            for url, t in zip(urls, tasks, strict=True)
        ]
        self._correct(results)
        return tuple(results)

    def keep_warm(self, every: float) -> None:
        """Use a connection every so many seconds, so that it is not closed for being idle."""
        loop = asyncio.get_running_loop()
        # A timer and short tasks: one that lasted would be over with whoever cancels all tasks.
        self._next_use = loop.call_later(every, self.keep_warm, every)
        now = loop.time()
        self._start(self._warm(self._base_urls.itinerary(now).choose(now)))

    def stop(self) -> None:
        """Ask nobody any more; a `warm_up` that waits tells of it."""
        if self._next_use is not None:
            self._next_use.cancel()
        for task in tuple(self._tasks):
            task.cancel()

    async def aclose(self) -> None:
        """The same, and wait until nothing is under way."""
        self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(
        self,
        work: Coroutine[Any, Any, T],
        task_of: Callable[[Coroutine[Any, Any, T]], asyncio.Task[T]] = asyncio.create_task,
    ) -> asyncio.Task[T]:
        task = task_of(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _warm(self, base_url: str) -> WarmUp:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            # The first opens the connection, the second measures what a warm one takes.
            await self._ask(base_url)
            skew, round_trip = await self._ask(base_url)
        except SendFailed as failure:
            if failure.is_of_host:
                took = loop.time() - began
                self._base_urls.note(base_url, loop.time(), answered=False, took=took)
            return WarmUp(base_url=base_url, problem=failure.reason)
        self._base_urls.note(base_url, loop.time(), answered=True, took=round_trip)
        return WarmUp(base_url=base_url, round_trip=round_trip, skew=skew)

    async def _ask(self, base_url: str) -> tuple[float, float]:
        """Skew and round trip in seconds; `SendFailed` when there is no believable answer."""
        await self._budget.acquire()
        loop = asyncio.get_running_loop()
        began = loop.time()
        sending = self._transport.prepare(unsigned(v1.TIME, base_url))
        answer = await sending.answer(self._timeout, self._timeout * _TO_CONNECT)
        round_trip = loop.time() - began
        ts = v1.read_time(answer)
        try:
            skew = None if ts is None else self._clock.ahead(ts, round_trip / 2)
        except ClockFailed as failure:
            raise SendFailed(failure.reason, sent=True) from None
        if skew is None:
            raise SendFailed(f"HTTP {answer.status}, and no time in the reply", sent=True)
        return skew, round_trip

    def _correct(self, results: list[WarmUp]) -> None:
        measured = [(r.skew, r.round_trip) for r in results if r.problem is None]
        for skew, round_trip in measured[:1]:
            if skew is not None and round_trip is not None:
                off = abs(skew - self._clock.skew)
                if off > _NOTICEABLE + round_trip / 2:
                    self._clock.correct(skew)
