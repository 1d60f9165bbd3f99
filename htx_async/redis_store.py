"""One endpoint's tokens on a Redis server: each operation is one call of one script.

The only door to redis. What the script promises stands in `redis_limits.lua`.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

from htx_async.errors import InvalidRequest
from htx_async.timers import TimeLimit

try:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import AuthenticationError, ResponseError
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'limits on Redis need {error.name}, not installed here: pip install "htx-async[redis]"',
        name=error.name,
    ) from None

WITHIN = 0.25
"""Seconds that a caller waits for Redis; redis-py's own defaults are 5 to 60."""

_SCRIPT = files("htx_async").joinpath("redis_limits.lua").read_text("utf-8")
_MICRO = 1_000_000
_LONGEST_REASON = 120

GRANTED, ASK_AGAIN, TOO_LATE, FENCED = range(4)


class RunsScripts(Protocol):
    """What is used of redis-py's asyncio clients, `Redis` and `RedisCluster` alike."""

    def register_script(self, script: str) -> Any:
        """See redis-py."""

    def ping(self) -> Awaitable[Any]:
        """See redis-py."""

    async def aclose(self) -> None:
        """See redis-py."""


class Unreachable(Exception):
    """Redis did not do what it was asked for, or not in time: a signal between modules."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Taken(NamedTuple):
    """What `RedisStore.take` came to; `wait` in seconds from now."""

    status: int
    wait: float


class Rule(NamedTuple):
    """At most `size` requests in any `per` seconds."""

    size: int
    per: float

    @property
    def arguments(self) -> tuple[int, int]:
        """As the script takes them."""
        return self.size, _micro(self.per)


def connect(url: str) -> "Redis":
    """A client that gives up in time; `InvalidRequest` for what is no Redis URL."""
    try:
        return Redis.from_url(
            url,
            socket_timeout=WITHIN,
            socket_connect_timeout=WITHIN,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        pass
    # Raised out here, and without the text: a URL may hold a password.
    raise InvalidRequest(
        "the Redis URL must read redis://host:port/number, rediss:// for TLS, or unix:///path"
    )


async def ping(redis: RunsScripts) -> float:
    """Seconds that Redis takes to answer; raises `Unreachable`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await _within(redis.ping())
    return loop.time() - began


class RedisStore:
    """The tokens of `endpoint` for the account that `key` stands for."""

    def __init__(
        self,
        redis: RunsScripts,
        key: str,
        endpoint: str,
        *,
        rules: tuple[Rule, Rule],
        ordinary: int,
        lease: float,
        probe: float,
    ) -> None:
        self._script = redis.register_script(_SCRIPT)
        # One hash tag, so that a cluster keeps them together.
        one, account = f"htx_async:{{{key}}}:{endpoint}", f"htx_async:{{{key}}}"
        self._keys = [one]
        self._keys += [f"{name}:{part}" for name in (one, account) for part in ("waiting", "back")]
        self._ordinary = ordinary
        self._fixed = (_micro(lease), _micro(probe), *rules[0].arguments, *rules[1].arguments)
        self._loop = asyncio.get_running_loop()
        self._ahead: float | None = None

    async def join(self, token: str, *, was_away: bool, used: int, waiting: Sequence[str]) -> None:
        """Use this server from now on.

        `was_away`: this process did without it for a while. `used`: how many tokens of its own it
        used in the last period, apart from those that still wait for an answer.
        """
        await self._run("join", token, int(was_away), used, *waiting, latest=False)

    async def take(self, token: str, *, urgent: bool) -> Taken:
        """Grant or reserve a token; asked again for the same one, grant it when it is due."""
        return await self._run("take", token, int(urgent), self._ordinary)

    async def settle(self, token: str) -> None:
        """The request was answered or has failed: the token comes back one period from now."""
        await self._run("settle", token)

    async def release(self, token: str) -> None:
        """The token was certainly not used."""
        await self._run("release", token)

    async def pause(self, seconds: float) -> None:
        """No token before then; a longer pause stays in force."""
        await self._run("pause", "", _micro(seconds))

    async def tighten(self, rule: Rule) -> None:
        """Keep to `rule` where it is slower than what is in force."""
        await self._run("tighten", "", *rule.arguments)

    async def _run(
        self, operation: str, token: str, *arguments: object, latest: bool = True
    ) -> Taken:
        now = self._loop.time()
        until = 0 if self._ahead is None or not latest else _micro(now + WITHIN + self._ahead)
        reply = await _within(
            self._script(self._keys, (operation, token, until, *self._fixed, *arguments))
        )
        try:
            status, wait, server = map(int, reply)
        except (TypeError, ValueError):
            raise Unreachable("Redis answered what no script of ours does") from None
        self._ahead = server / _MICRO - self._loop.time()
        return Taken(status, wait / _MICRO)


async def _within(asked: Any) -> Any:
    """The answer, in time; every way to fail is `Unreachable`, with nothing secret in it."""
    try:
        with TimeLimit(asyncio.get_running_loop().time() + WITHIN):
            return await asked
    except Exception as error:
        # A client of the caller's may raise anything.
        reason = _in_words(error)
    raise Unreachable(reason)


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"Redis did not answer within {WITHIN:g} s"
    if isinstance(error, AuthenticationError):
        return "Redis refused the name or the password"
    if isinstance(error, ResponseError):
        words = "".join(c for c in str(error) if c.isprintable())[:_LONGEST_REASON]
        return f'Redis refused, saying "{words}"'
    return f"Redis could not be reached ({type(error).__name__})"


def _micro(seconds: float) -> int:
    return round(seconds * _MICRO)
