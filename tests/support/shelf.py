"""A store of tokens on a real Redis server, by itself."""

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from htx_async.limits.redis_link import RedisLink
from htx_async.limits.redis_store import RedisStore
from htx_async.limits.shared_store import Rule, Taken
from tests.support.redis_server import PATH, RedisServer, Stored

PER = 100.0
LEASE = 500.0
PROBE = 20.0


def soon_after(seconds: float) -> Any:
    """A wait that began a moment ago, on a machine that may be busy."""
    return pytest.approx(seconds - 5.0, abs=5.0)


class Shelf(NamedTuple):
    """A store, and what its server holds of it."""

    store: RedisStore
    stored: Stored

    async def take(self, *names: str, urgent: bool = False) -> list[Taken]:
        return [await self.store.take(name, urgent=urgent) for name in names]


@asynccontextmanager
async def shelf(
    server: RedisServer,
    *,
    size: int = 2,
    per: float = PER,
    account: str = "",
    trade: Rule | None = None,
    ordinary: int = 60,
    is_open: bool = True,
    url: str = "",
    **settings: Any,
) -> AsyncIterator[Shelf]:
    stored = Stored(server, account or uuid.uuid4().hex)
    if is_open:
        stored.open()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Redis.from_url(url or server.url, **settings))
        link = RedisLink(client)
        stack.push_async_callback(link.aclose)
        rules = (Rule(size, per), trade or Rule(72, 3 * per))
        fixed: dict[str, Any] = {"ordinary": ordinary, "lease": LEASE, "probe": PROBE}
        yield Shelf(RedisStore(link, stored.key, PATH, rules=rules, **fixed), stored)
