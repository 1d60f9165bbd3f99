"""How the exchange is reached, and whose tokens the requests take."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from htx_async.cli.given import Reach
from htx_async.enums import LimiterMode
from htx_async.errors import HtxError, InvalidRequest
from htx_async.exchange.signing import Credentials
from htx_async.session import HtxSession

if TYPE_CHECKING:
    from htx_async.audit import AuditLog
    from htx_async.redis_limits import RedisTokenBucket

Say = Callable[[str], object]


class Fleet(NamedTuple):
    """Tokens that several processes share: `url` of their Redis, which may hold a password,
    `share_of` processes, and the `account` that they give, by default the access key."""

    url: str
    share_of: int
    account: str | None

    def __repr__(self) -> str:
        return f"<Fleet of {self.share_of}>"

    @asynccontextmanager
    async def bucket(self, account: str, say: Say) -> AsyncIterator["RedisTokenBucket"]:
        """The tokens of `account`, for a block; `say` is told when Redis is lost or back.

        Raises `InvalidRequest` for a URL that is none, and where the extra is not installed.
        """
        try:
            # The extra may be missing, and only those who ask for it wait for it to be loaded.
            from htx_async.redis_limits import RedisTokenBucket  # noqa: PLC0415 - see above
        except ModuleNotFoundError as error:
            problem = str(error)
        else:
            settings = {"share_of": self.share_of}
            async with RedisTokenBucket.from_url(self.url, account, **settings) as bucket:
                bucket.hear(_listener(self.share_of, say))
                yield bucket
            return
        raise InvalidRequest(problem)


def _listener(share_of: int, say: Say) -> Callable[[str, LimiterMode, str], None]:
    """Tells of a change once, however many endpoints see it."""
    told = LimiterMode.SHARED

    def hear(endpoint: str, mode: LimiterMode, reason: str) -> None:
        nonlocal told
        if mode is told:
            return
        told = mode
        alone = f": going on with this process's own share, 1/{share_of} of the limit"
        say(f"{reason}{alone if mode is LimiterMode.OWN_SHARE else ''}.")

    return hear


class Access(NamedTuple):
    """Who asks, the exchange's base URLs, the fleet that this process belongs to, if any, and the
    generation of the API."""

    credentials: Credentials
    base_urls: tuple[str, ...]
    fleet: Fleet | None
    generation: str

    @asynccontextmanager
    async def session(
        self, say: Say, on_event: "AuditLog | None" = None
    ) -> AsyncIterator[HtxSession]:
        """A session for a block; `say` as for a fleet's tokens."""
        async with AsyncExitStack() as stack:
            limiter = None
            if self.fleet is not None:
                account = self.fleet.account or self.credentials.access_key
                limiter = await stack.enter_async_context(self.fleet.bucket(account, say))
            yield await stack.enter_async_context(self._session(limiter, on_event))

    def _session(
        self, limiter: "RedisTokenBucket | None", on_event: "AuditLog | None"
    ) -> HtxSession:
        # Not `HtxSession.from_env`: a file of keys may be a pipe, which can be read once.
        return HtxSession(
            self.credentials,
            base_urls=self.base_urls,
            limiter=limiter,
            on_event=on_event,
            generation=self.generation,
        )

    async def reach(self, say: Say) -> str:
        """Whose tokens the requests would take, and whether Redis answers; "" without one."""
        if self.fleet is None:
            return ""
        shared = f"shared on Redis, among {self.fleet.share_of} processes"
        async with self.fleet.bucket(ANY, say) as bucket:
            try:
                return f"{shared}; {await bucket.reach()}"
            except HtxError as error:
                return f"{shared}; but {error}, so that this one has its own share only"


_SHARE_OF = 5
"""Processes of a fleet where nothing else is said."""

ANY = "any"
"""Asking whether Redis answers takes no account's tokens."""


def access(reach: Reach) -> Access:
    """What a command's options say, with keys from the environment; raises `InvalidRequest`."""
    fleet = fleet_of(reach)
    return Access(Credentials.from_env(), tuple(reach.base_urls), fleet, reach.generation)


def fleet_of(reach: Reach) -> Fleet | None:
    """The fleet that a command's options name, if any.

    `InvalidRequest` where they describe one and do not say where it meets: this process would take
    the whole limit for itself.
    """
    if reach.redis is not None:
        return Fleet(reach.redis, reach.share_of or _SHARE_OF, reach.account)
    if reach.share_of is None and reach.account is None:
        return None
    given = "share-of" if reach.share_of is not None else "account"
    raise InvalidRequest(
        f"--{given} (or its variable) is about a fleet, and needs --redis or HTX_REDIS_URL: "
        "without it this process would take the whole limit"
    )
