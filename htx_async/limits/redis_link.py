"""A Redis server and the script on it: one connection, kept ready, for whoever asks.

The only door to redis.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from htx_async.aio.background import Background
from htx_async.aio.timers import TimeLimit
from htx_async.errors import InvalidRequest
from htx_async.limits.shared_store import WITHIN, Unreachable

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
    import redis.driver_info  # noqa: F401 - only whether it is there

    # Each of redis-py's greetings costs a round trip before the first token, and the plain protocol
    # needs none; saying what it is called, it would even look on the disk, on the event loop.
    _BRIEFLY: dict[str, Any] = {"protocol": 2, "driver_info": None}
except ModuleNotFoundError:
    # redis-py before 7.
    _BRIEFLY = {"protocol": 2, "lib_name": None, "lib_version": None}

# A caller waits as long again where a connection has to be made first; redis-py's own defaults are
# 5 to 60 s.
TO_CONNECT = 2.0
"""Seconds that a connection may take to be made, in the background: with the handshake and the
script it takes several round trips."""

_SCRIPT = files("htx_async.limits").joinpath("redis_limits.lua").read_text("utf-8")

_MANY = f"""
local function step(KEYS, ARGV)
{_SCRIPT}
end

local replies, key, argument = {{}}, 1, 1
while key <= #KEYS do
  local count = tonumber(ARGV[argument])
  local keys, arguments = {{unpack(KEYS, key, key + 5)}}, {{}}
  for i = 1, count do
    arguments[i] = ARGV[argument + i]
  end
  replies[#replies + 1] = step(keys, arguments)
  key, argument = key + 6, argument + count + 1
end
return #replies == 1 and replies[1] or replies
"""
"""One step after the other: all that is asked while an answer is on its way goes with the next
round trip. A pipeline would do, but clusters know none for scripts."""

_MOST_AT_ONCE = 50
_LONGEST_REASON = 120
_WHERE = re.compile(r"^Error running script \(call to \w+\): (@\w+: ?\d+: )*-?")
"""What a server before 7 says ahead of its reason."""


class RunsScripts(Protocol):
    """What is used of redis-py's asyncio clients, `Redis` and `RedisCluster` alike."""

    def register_script(self, script: str) -> Any:
        """See redis-py."""

    def script_load(self, script: str) -> Awaitable[Any]:
        """See redis-py."""

    async def aclose(self) -> None:
        """See redis-py."""


class _Cut(Unreachable):
    """There is no connection, or not any more."""


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
        if not _is_cut_short(url):
            redis = Redis.from_url(
                url,
                socket_timeout=TO_CONNECT,
                socket_connect_timeout=TO_CONNECT,
                retry=Retry(NoBackoff(), 0),
                **_BRIEFLY,
            )
            # Options of the URL are looked at only when a connection is built; nothing is sent.
            redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # theirs
            return redis
    except (ValueError, TypeError, AttributeError):
        pass
    # Raised out here, and without the text, in this frame too: a URL may hold a password.
    hint = f"; {_QUOTE}" if isinstance(url, str) and "@" in url else ""
    del url
    raise InvalidRequest(
        "the Redis URL must read redis://host:port/number, rediss:// for TLS, or unix:///path"
        + hint
    )


_QUOTE = (
    "a name or password in it that holds / ? # % @ : or [ has to be percent-encoded, as by "
    'urllib.parse.quote(password, safe="")'
)


def _is_cut_short(url: str) -> bool:
    """Whether a / ? or # of a password ends the host, and the rest would be a path, an option or
    nothing: redis-py would look for a host of the password's first part."""
    parts = urlsplit(url)
    # The path of a socket may hold anything, once the password is over.
    is_path = parts.scheme == "unix" and (not parts.netloc or "@" in parts.netloc)
    rest = [option.partition("=")[0] for option in parts.query.split("&")]
    rest += [] if is_path else [parts.path]
    return bool(parts.fragment) or any("@" in part for part in rest)


class _Asked(NamedTuple):
    """One step, and where its answer goes."""

    keys: Sequence[str]
    arguments: "Arguments"
    answer: asyncio.Future[Any]


Arguments = Callable[[float], Sequence[object]]
"""A step's arguments, made when it is sent, from the loop time at which it will be given up."""


class RedisLink:
    """One client, kept connected: what a caller asks for may not wait for a connection.

    Whatever is asked may be asked again on a fresh connection, so each step must be such that twice
    is as good as once. A client that `is_own` is closed with the link, or where its event loop ends
    in good order, as `asyncio.run` does it.
    """

    def __init__(self, redis: RunsScripts, *, is_own: bool = False) -> None:
        self._redis = redis
        self._end = self._closing() if is_own else None
        self._script = redis.register_script(_MANY)
        self._loop = asyncio.get_running_loop()
        self._is_warm = False
        self._is_watched = False
        self._failure = ""
        self._asked: list[_Asked] = []
        self._warming = Background(self._warm_up)
        self._sending = Background(self._send)

    async def run(self, keys: Sequence[str], arguments: Arguments) -> Any:
        """What one step answers; `Unreachable` when there is no answer in time."""
        if not self._is_warm:
            await self.connect(WITHIN)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._asked.append(_Asked(keys, arguments, answer))
        self._sending.begin()
        return await answer

    async def connect(self, within: float) -> None:
        """Be ready for steps within so many seconds, or raise `Unreachable`.

        Goes on when its caller has given up, so that the next one finds a connection.
        """
        if self._end is not None and not self._is_watched:
            self._is_watched = True
            # From its first step on the loop knows of it.
            await anext(self._end)
        self._warming.begin()
        await _by(self._loop.time() + within, self._warming.over())
        if not self._is_warm:
            raise Unreachable(self._failure)

    async def aclose(self) -> None:
        """Leave nothing under way."""
        await self._warming.stop()
        await self._sending.stop()
        self._fail("the limiter was closed")
        if self._end is not None:
            await self._end.aclose()

    async def _closing(self) -> AsyncGenerator[None, None]:
        """A loop's end closes generators too; a connection that outlives it cannot be closed."""
        try:
            yield
        finally:
            await self._redis.aclose()

    async def _warm_up(self) -> None:
        try:
            await _by(self._loop.time() + TO_CONNECT, self._redis.script_load(_MANY))
        except Unreachable as failure:
            self._is_warm, self._failure = False, failure.reason
        else:
            self._is_warm = True

    async def _send(self) -> None:
        while self._asked:
            batch = [one for one in self._asked if not one.answer.done()][:_MOST_AT_ONCE]
            try:
                replies = await self._carried_out(batch) if batch else []
            except Unreachable as failure:
                # Those who asked meanwhile would find out no better.
                self._is_warm, self._failure = False, failure.reason
                self._fail(failure.reason)
                return
            for one, reply in zip(batch, replies, strict=True):
                if not one.answer.done():
                    one.answer.set_result(reply)
            self._asked = [one for one in self._asked if not one.answer.done()]

    async def _carried_out(self, batch: Sequence[_Asked]) -> Sequence[Any]:
        until = self._loop.time() + WITHIN
        try:
            replies = await self._ask(batch, until)
        except _Cut:
            # Closed while it lay idle, perhaps: nobody is told of that before the next command.
            replies = await self._ask(batch, until + WITHIN)
        if len(batch) == 1:
            return [replies]
        if not (isinstance(replies, list) and len(replies) == len(batch)):
            raise Unreachable(NOT_OURS)
        return replies

    async def _ask(self, batch: Sequence[_Asked], until: float) -> Any:
        keys = [key for one in batch for key in one.keys]
        arguments: list[object] = []
        for one in batch:
            own = one.arguments(until)
            arguments += (len(own), *own)
        return await _by(until, self._script(keys, arguments))

    def _fail(self, reason: str) -> None:
        asked, self._asked = self._asked, []
        for one in asked:
            if not one.answer.done():
                # As garbage of a loop that was closed there is nobody left to tell.
                with suppress(RuntimeError):
                    one.answer.set_exception(Unreachable(reason))


NOT_OURS = "Redis answered what no script of ours does"


async def _by(until: float, asked: Awaitable[Any]) -> Any:
    """The answer, by loop time `until`; every way to fail is `Unreachable`, with nothing secret."""
    try:
        with TimeLimit(until):
            return await asked
    except Unreachable:
        raise
    except Exception as error:
        # A client of the caller's may raise anything.
        # A connection that is gone shows in many ways: Python 3.13.0 raises an AttributeError.
        is_told = isinstance(error, TimeoutError | AuthenticationError | ResponseError)
        failure = (Unreachable if is_told else _Cut)(_in_words(error))
    raise failure


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "Redis did not answer in time"
    if isinstance(error, AuthenticationError):
        return f"Redis refused the name or the password (in a URL, {_QUOTE})"
    if isinstance(error, ResponseError):
        words = "".join(c for c in str(error) if c.isprintable())
        words = _WHERE.sub("", words)[:_LONGEST_REASON].rstrip()
        return f'Redis refused, saying "{words}"'
    return f"Redis could not be reached ({type(error).__name__})"
