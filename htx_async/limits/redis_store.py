"""One endpoint's tokens on a Redis server: each operation is one step of one script.

What the script promises stands in `redis_limits.lua`.
"""

import asyncio
import secrets
from collections.abc import Sequence

from htx_async.exchange.headers import LONGEST_PAUSE
from htx_async.limits.redis_link import NOT_OURS, TO_CONNECT, RedisLink, RunsScripts
from htx_async.limits.shared_store import TOO_LATE, Rule, Taken, Unreachable

_MICRO = 1_000_000


class RedisStore:
    """See `SharedStore`; the tokens of `endpoint` for the account that `key` stands for, which
    `share_of` processes use."""

    answers_again = "Redis answers again"
    hastens = False

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
        share_of: int = 1,
    ) -> None:
        self._share_of = share_of
        self._link = link
        # One hash tag, so that a cluster keeps them together.
        one, account = f"htx_async:{{{key}}}:{endpoint}", f"htx_async:{{{key}}}"
        self._keys = [one]
        self._keys += [f"{name}:{part}" for name in (one, account) for part in ("waiting", "back")]
        self._keys.append(f"{one}:asking")
        self._ordinary = ordinary
        self._lease = (_micro(lease), _micro(probe))
        self._rules = (*_arguments(rules[0]), *_arguments(rules[1]))
        self._seen = 0
        self._loop = asyncio.get_running_loop()
        self._ahead: float | None = None

    def sharers(self) -> int:
        """See `SharedStore`."""
        return self._share_of

    async def join(self, token: str, *, was_away: bool, used: int, waiting: Sequence[str]) -> None:
        """See `SharedStore`."""
        await self._say("join", token, int(was_away), used, *waiting)

    async def take(self, token: str, *, urgent: bool) -> Taken:
        """See `SharedStore`."""
        return await self._run("take", token, int(urgent), self._ordinary)

    async def settle(self, *tokens: str) -> None:
        """See `SharedStore`."""
        await self._say("settle", *tokens)

    async def release(self, *tokens: str) -> None:
        """See `SharedStore`."""
        await self._say("release", *tokens)

    async def pause(self, seconds: float) -> None:
        """See `SharedStore`."""
        await self._say("pause", "", _micro(seconds))

    async def tighten(self, rule: Rule) -> None:
        """See `SharedStore`."""
        await self._say("tighten", "", *_arguments(rule))

    async def loosen(self) -> None:
        """See `SharedStore`."""
        await self._say("loosen", "")

    async def shut(self, seconds: float, asked: float) -> None:
        """See `SharedStore`."""
        counts = max(seconds, asked) + LONGEST_PAUSE
        await self._say("shut", "", _micro(seconds), _micro(counts))

    async def open(self) -> None:
        """See `SharedStore`."""
        await self._say("open", "")

    async def _run(self, operation: str, token: str, *arguments: object) -> Taken:
        sent = self._loop.time()

        def made(until: float) -> Sequence[object]:
            nonlocal sent
            sent = self._loop.time()
            last = 0 if self._ahead is None else _micro(until + self._ahead)
            head = (operation, token, last, *self._lease, self._seen, *self._rules)
            return (*head, *arguments)

        reply = await self._link.run(self._keys, made)
        try:
            status, wait, server = map(int, reply)
            taken = Taken(status, wait / _MICRO)
            # By the time of sending: a loop that was blocked reads an answer long after it came.
            self._ahead = server / _MICRO - sent
        except (TypeError, ValueError, OverflowError):
            raise Unreachable(NOT_OURS) from None
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


async def try_out(redis: RunsScripts) -> float:
    """Take a token and give it back, under a name that is no account's; the seconds that Redis took
    to grant it. Raises `Unreachable`.

    A server that says PONG may refuse scripts or writes all the same.
    """
    loop, link = asyncio.get_running_loop(), RedisLink(redis)
    try:
        await link.connect(TO_CONNECT)
        one = Rule(1, 1.0)
        store = RedisStore(
            link, "trial", "trial", rules=(one, one), ordinary=1, lease=1.0, probe=0.0
        )
        token, began = secrets.token_hex(8), loop.time()
        await store.take(token, urgent=False)
        took = loop.time() - began
        await store.release(token)
        return took
    finally:
        await link.aclose()


def _arguments(rule: Rule) -> tuple[int, int]:
    """As the script takes them."""
    return rule.size, _micro(rule.per)


def _micro(seconds: float) -> int:
    return round(seconds * _MICRO)
