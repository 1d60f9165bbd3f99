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
    from redis.asyncio import Redis, RedisCluster
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import AuthenticationError, ResponseError
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'limits on Redis need {error.name}, not installed here: pip install "htx-async[redis]"',
        name=error.name,
    ) from None

try:
    from redis.driver_info import DriverInfo

    # Else each connection would look on the disk for what it says of itself, on the event loop.
    _INTRODUCTION: dict[str, Any] = {"driver_info": DriverInfo()}
except ModuleNotFoundError:
    # redis-py before 7 has looked when it was imported.
    _INTRODUCTION = {}

WITHIN = 0.25
"""Seconds that a caller waits for Redis; redis-py's own defaults are 5 to 60."""

_SCRIPT = files("htx_async").joinpath("redis_limits.lua").read_text("utf-8")
_MICRO = 1_000_000
_LONGEST_REASON = 120

GRANTED, ASK_AGAIN, TOO_LATE, FENCED = range(4)


_TO_CONNECT = 2.0
"""Seconds that a connection may take to be made, in the background: with the handshake and the
script it takes several round trips."""


class RunsScripts(Protocol):
    """What is used of redis-py's asyncio clients, `Redis` and `RedisCluster` alike."""

    def register_script(self, script: str) -> Any:
        """See redis-py."""

    def script_load(self, script: str) -> Awaitable[Any]:
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


def check_client(redis: object) -> None:
    """`InvalidRequest` for anything but a client of redis-py's asyncio side."""
    if not isinstance(redis, Redis | RedisCluster):
        raise InvalidRequest(
            f"redis must be a client of redis.asyncio, not {type(redis).__name__}; or use "
            "RedisTokenBucket.from_url(...)"
        )


def connect(url: str) -> "Redis":
    """A client that gives up in time; `InvalidRequest` for what is no Redis URL."""
    try:
        redis = Redis.from_url(
            url,
            socket_timeout=_TO_CONNECT,
            socket_connect_timeout=_TO_CONNECT,
            retry=Retry(NoBackoff(), 0),
            **_INTRODUCTION,
        )
        # Options of the URL are looked at only when a connection is built; nothing is sent here.
        redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # theirs
        return redis
    except (ValueError, TypeError, AttributeError):
        pass
    # Raised out here, and without the text: a URL may hold a password.
    raise InvalidRequest(
        "the Redis URL must read redis://host:port/number, rediss:// for TLS, or unix:///path"
    )


async def ping(redis: RunsScripts) -> float:
    """Seconds that Redis takes to answer; raises `Unreachable`."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await _by(began + _TO_CONNECT, redis.ping())
    return loop.time() - began


class RedisLink:
    """One client, kept connected: what a caller asks for may not wait for a connection."""

    def __init__(self, redis: RunsScripts) -> None:
        self._redis = redis
        self._script = redis.register_script(_SCRIPT)
        self._is_warm = False
        self._warming: asyncio.Task[None] | None = None

    async def run(self, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        """One call of the script; `Unreachable` when there is no answer in time."""
        until = asyncio.get_running_loop().time() + WITHIN
        if not self._is_warm:
            await self._warm_up(until)
        try:
            return await _by(until, self._script(keys, arguments))
        except Unreachable:
            self._is_warm = False
            raise

    async def aclose(self) -> None:
        """Leave nothing under way."""
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait([self._warming])

    async def _warm_up(self, until: float) -> None:
        # Goes on when its caller has given up, so that the next one finds a connection.
        if self._warming is None:
            self._warming = asyncio.create_task(self._connected())
            self._warming.add_done_callback(self._warmed)
        await _by(until, asyncio.shield(self._warming))

    async def _connected(self) -> None:
        until = asyncio.get_running_loop().time() + _TO_CONNECT
        await _by(until, self._redis.script_load(_SCRIPT))

    def _warmed(self, task: asyncio.Task[None]) -> None:
        self._warming = None
        self._is_warm = not task.cancelled() and task.exception() is None


class RedisStore:
    """The tokens of `endpoint` for the account that `key` stands for."""

    def __init__(
        self,
        link: RedisLink,
        key: str,
        endpoint: str,
        *,
        rules: tuple[Rule, Rule],
        ordinary: int,
        lease: float,
        probe: float,
    ) -> None:
        self._link = link
        # One hash tag, so that a cluster keeps them together.
        one, account = f"htx_async:{{{key}}}:{endpoint}", f"htx_async:{{{key}}}"
        self._keys = [one]
        self._keys += [f"{name}:{part}" for name in (one, account) for part in ("waiting", "back")]
        self._ordinary = ordinary
        self._lease = (_micro(lease), _micro(probe))
        self._rules = (*rules[0].arguments, *rules[1].arguments)
        self._seen = 0
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
        await self._say("settle", token)

    async def release(self, token: str) -> None:
        """The token was certainly not used."""
        await self._say("release", token)

    async def pause(self, seconds: float) -> None:
        """No token before then; a longer pause stays in force."""
        await self._say("pause", "", _micro(seconds))

    async def tighten(self, rule: Rule) -> None:
        """Keep to `rule` where it is slower than what is in force."""
        await self._say("tighten", "", *rule.arguments)

    async def _run(
        self, operation: str, token: str, *arguments: object, latest: bool = True
    ) -> Taken:
        sent = self._loop.time()
        until = 0 if self._ahead is None or not latest else _micro(sent + WITHIN + self._ahead)
        head = (operation, token, until, *self._lease, self._seen, *self._rules)
        reply = await self._link.run(self._keys, (*head, *arguments))
        try:
            status, wait, server = map(int, reply)
            taken = Taken(status, wait / _MICRO)
            # By the time of sending: a loop that was blocked reads an answer long after it came.
            self._ahead = server / _MICRO - sent
        except (TypeError, ValueError, OverflowError):
            raise Unreachable("Redis answered what no script of ours does") from None
        if operation == "take" and status != TOO_LATE:
            # What this very call has set as the time of the last take.
            self._seen = server
        return taken

    async def _say(self, operation: str, token: str, *arguments: object) -> None:
        """What has to be done, once more if it was thought to come too late."""
        for _ in range(2):
            taken = await self._run(operation, token, *arguments)
            if taken.status != TOO_LATE:
                return
        raise Unreachable("Redis' clock jumps")


async def _by(until: float, asked: Awaitable[Any]) -> Any:
    """The answer, by loop time `until`; every way to fail is `Unreachable`, with nothing secret."""
    try:
        with TimeLimit(until):
            return await asked
    except Unreachable:
        raise
    except Exception as error:
        # A client of the caller's may raise anything.
        reason = _in_words(error)
    raise Unreachable(reason)


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "Redis did not answer in time"
    if isinstance(error, AuthenticationError):
        return "Redis refused the name or the password"
    if isinstance(error, ResponseError):
        words = "".join(c for c in str(error) if c.isprintable())[:_LONGEST_REASON]
        return f'Redis refused, saying "{words}"'
    return f"Redis could not be reached ({type(error).__name__})"


def _micro(seconds: float) -> int:
    return round(seconds * _MICRO)
