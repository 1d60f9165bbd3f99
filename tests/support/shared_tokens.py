"""Limiters that share tokens on a real Redis server, and a crowd of callers."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from htx_async.enums import LimiterMode
from htx_async.limits.shared_limits import SharedTokenBucket
from htx_async.redis_limits import RedisTokenBucket
from tests.support.redis_server import PATH, RedisServer, Stored
from tests.support.tokens import now

PER = 0.25

SLACK = 1.0
"""Seconds that a busy machine may add to what is promised."""


class Fleet:
    """Buckets of one account; each is closed and looked after at the end of the test."""

    def __init__(self, server: RedisServer, stack: AsyncExitStack) -> None:
        self.account = uuid.uuid4().hex
        self.stored = Stored(server, self.account)
        self._server = server
        self._stack = stack

    async def bucket(self, url: str = "", **settings: Any) -> RedisTokenBucket:
        """One more process, with two tokens in a quarter of a second unless told otherwise."""
        settings = {"share_of": 2, "size": 2, "per": PER, **settings}
        made = RedisTokenBucket.from_url(url or self._server.url, self.account, **settings)
        return await self._stack.enter_async_context(made)


@asynccontextmanager
async def fleet(server: RedisServer, *, is_open: bool = True) -> AsyncIterator[Fleet]:
    """A fleet that leaves nothing behind."""
    async with AsyncExitStack() as stack:
        made = Fleet(server, stack)
        if is_open:
            made.stored.open()
        try:
            yield made
        except BaseException:
            await end_tasks()
            raise
    assert not [task for task in asyncio.all_tasks() if "htx_async" in str(task.get_coro())]


async def end_tasks() -> None:
    """A test that fails leaves no task whose error nobody has seen: the interpreter tells of such
    at a moment of its own, and Python 3.11 may fail to format the test's failure then."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def use(bucket: RedisTokenBucket, takes: float = 0.0, *, urgent: bool = False) -> float:
    """Hold a token for `takes` seconds; the loop time at which it was granted."""
    async with bucket.take(PATH, urgent=urgent):
        granted = now()
        if takes:
            await asyncio.sleep(takes)
    return granted


async def until(condition: Callable[[], object], every: float = 0.005) -> None:
    """Look until it is so, each turn of the loop with 0; the tests' own bound ends it."""
    while not condition():  # noqa: ASYNC110 - of another process, or of which nobody tells
        await asyncio.sleep(every)


class Modes:
    """Hears a bucket's changes of mode."""

    def __init__(self, bucket: SharedTokenBucket) -> None:
        self.heard: list[tuple[float, LimiterMode, str]] = []
        self.stop = bucket.hear(self._note)
        self._changed = asyncio.Event()

    def _note(self, endpoint: str, mode: LimiterMode, reason: str) -> None:
        assert endpoint == PATH
        assert reason
        self.heard.append((now(), mode, reason))
        self._changed.set()

    async def come_to(self, mode: LimiterMode) -> float:
        """Wait for a change to `mode`; when it was."""
        while not (self.heard and self.heard[-1][1] is mode):
            self._changed.clear()
            await self._changed.wait()
        return self.heard[-1][0]


class Crowd:
    """Callers who take one token after the other, and when they got them."""

    def __init__(self, *buckets: RedisTokenBucket, each: int = 3) -> None:
        self.granted: list[tuple[float, LimiterMode]] = []
        self._more = asyncio.Event()
        self._tasks = [asyncio.create_task(self._call(b)) for b in buckets for _ in range(each)]

    async def _call(self, bucket: RedisTokenBucket) -> None:
        while True:
            async with bucket.take(PATH) as token:
                self.granted.append((now(), token.mode))
                self._more.set()

    async def get(self, count: int, mode: LimiterMode) -> None:
        """Wait until they have got `count` more tokens of that mode."""
        wanted = count + sum(each is mode for _, each in self.granted)
        while sum(each is mode for _, each in self.granted) < wanted:
            self._more.clear()
            await self._more.wait()

    async def leave(self) -> list[tuple[float, LimiterMode]]:
        """Nobody wants any more; all that was granted."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return self.granted
