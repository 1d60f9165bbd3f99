"""What users would pick instead, as each library offers it, set to five a second.

Those that wait do so themselves; those that only say no are asked by one caller at a time, who
waits as long as they say, or 20 ms where saying so would cost another trip to Redis. Each library
is loaded where it is installed, and there only.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

# ruff: noqa: PLC0415 - each in the environment that has it, see above

_RATE = 5
_KEY = "benchmark"
_BETWEEN_TRIES = 0.02
_LEAST_WAIT = 0.001
_PATIENCE = 3600.0

Take = Callable[[], AbstractAsyncContextManager[object]]
Wait = Callable[[], Awaitable[object]]


def as_take(wait: Wait) -> Take:
    """For a limiter that only lets callers pass, and never hears of the answer."""

    @asynccontextmanager
    async def take() -> AsyncIterator[None]:
        await wait()
        yield

    return take


def _aiolimiter(rate: float, period: float) -> Wait:
    from aiolimiter import AsyncLimiter

    return AsyncLimiter(rate, period).acquire


def _ccxt(**settings: object) -> Wait:
    """What stands before each request of ccxt's own class for this exchange."""
    from ccxt.async_support import htx  # type: ignore[import-not-found]  # another venv

    exchange = htx(settings)
    post = exchange.api["contract"]["private"]["post"]
    cost = post["linear-swap-api/v1/swap_track_cancelall"]
    return lambda: exchange.throttle(cost)


def _limits(strategy: str) -> Wait:
    from limits import RateLimitItemPerSecond  # type: ignore[import-not-found]  # another venv
    from limits.aio import strategies  # type: ignore[import-not-found]  # another venv
    from limits.aio.storage import MemoryStorage  # type: ignore[import-not-found]  # another venv

    limiter = getattr(strategies, strategy)(MemoryStorage())
    item, line = RateLimitItemPerSecond(_RATE), asyncio.Lock()

    async def wait() -> None:
        async with line:
            while not await limiter.hit(item, _KEY):
                reset = (await limiter.get_window_stats(item, _KEY)).reset_time
                await asyncio.sleep(max(_LEAST_WAIT, reset - time.time()))

    return wait


def _throttled(using: str, store: Any = None) -> Wait:
    from throttled.asyncio import (  # type: ignore[import-not-found]  # another venv
        MemoryStore,
        Throttled,
        rate_limiter,
    )

    throttle = Throttled(
        key=_KEY,
        timeout=_PATIENCE,
        using=using,
        quota=rate_limiter.per_sec(_RATE, burst=_RATE),
        store=store or MemoryStore(),
    )

    async def wait() -> None:
        while (await throttle.limit()).limited:
            pass

    return wait


IN_MEMORY: dict[str, Callable[[], Wait]] = {
    "aiolimiter (5, 1)": lambda: _aiolimiter(5, 1.0),
    "aiolimiter (1, 0.2)": lambda: _aiolimiter(1, 0.2),
    "ccxt": _ccxt,
    "ccxt, 200 ms": lambda: _ccxt(rateLimit=200),
    "ccxt, rolling window": lambda: _ccxt(
        rateLimit=200, rateLimiterAlgorithm="rollingWindow", rollingWindowSize=1000
    ),
    "limits, moving window": lambda: _limits("MovingWindowRateLimiter"),
    "limits, fixed window": lambda: _limits("FixedWindowRateLimiter"),
    "throttled-py, token bucket": lambda: _throttled("token_bucket"),
    "throttled-py, GCRA": lambda: _throttled("gcra"),
}
"""By name; each is made anew in the loop that it is used in."""


@asynccontextmanager
async def _limits_on_redis(url: str) -> AsyncIterator[Wait]:
    from limits import RateLimitItemPerSecond
    from limits.aio import strategies
    from limits.aio.storage import RedisStorage

    limiter = strategies.MovingWindowRateLimiter(
        RedisStorage(f"async+{url}", implementation="redispy")
    )
    item, line = RateLimitItemPerSecond(_RATE), asyncio.Lock()

    async def wait() -> None:
        async with line:
            while not await limiter.hit(item, _KEY):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(_BETWEEN_TRIES)

    yield wait


@asynccontextmanager
async def _pyrate_on_redis(url: str) -> AsyncIterator[Wait]:
    from pyrate_limiter import (  # type: ignore[import-not-found]  # another venv
        Duration,
        Limiter,
        Rate,
        RedisBucket,
    )
    from redis.asyncio import Redis

    async with Redis.from_url(url) as client:
        bucket = await RedisBucket.init([Rate(_RATE, Duration.SECOND)], client, _KEY)
        limiter = Limiter(bucket)
        yield lambda: limiter.try_acquire_async(_KEY)
        limiter.close()


@asynccontextmanager
async def _throttled_on_redis(url: str, using: str) -> AsyncIterator[Wait]:
    from throttled.asyncio import RedisStore

    yield _throttled(using, RedisStore(server=url))


ON_REDIS: dict[str, Callable[[str], AbstractAsyncContextManager[Wait]]] = {
    "limits, moving window": _limits_on_redis,
    "pyrate-limiter, bucket log": _pyrate_on_redis,
    "throttled-py, GCRA": lambda url: _throttled_on_redis(url, "gcra"),
    "throttled-py, token bucket": lambda url: _throttled_on_redis(url, "token_bucket"),
}
"""By name, over one server that the processes share."""
