"""How the exchange is reached, and whose tokens the requests take."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

from htx_async.calls.base_urls import BASE_URLS
from htx_async.cli.given import Reach
from htx_async.enums import LimiterMode
from htx_async.errors import HtxError, InvalidRequest
from htx_async.events import Listener
from htx_async.exchange.proxy import Proxy, as_proxy
from htx_async.exchange.signing import Credentials
from htx_async.limits.host_file import IS_HERE
from htx_async.limits.host_limits import DEFAULT_SHARE_OF, HostTokenBucket
from htx_async.limits.limiter import BaseLimiter
from htx_async.session import HtxSession

if TYPE_CHECKING:
    from htx_async.enums import GenerationLike
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

    @property
    def told(self) -> str:
        """In words."""
        return f"shared on Redis, among {self.share_of} processes"

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


class Host(NamedTuple):
    """Tokens that the processes of this host share in a file: at `path`, None for the usual place;
    `share_of` and `account` as for a `Fleet`."""

    path: str | None
    share_of: int
    account: str | None

    @property
    def told(self) -> str:
        """In words."""
        return "shared with other processes of this host"

    @asynccontextmanager
    async def bucket(self, account: str, say: Say) -> AsyncIterator[HostTokenBucket]:
        """The tokens of `account`, for a block; `say` is told when the file is lost or back."""
        async with HostTokenBucket(account, path=self.path, share_of=self.share_of) as bucket:
            bucket.hear(_listener(self.share_of, say))
            yield bucket


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


_LONG_ENOUGH = 12
"""Characters of a key from which its last four may be shown."""


class Access(NamedTuple):
    """Who asks, the exchange's base URLs, the processes with which this one shares its limit, if
    any, the generation of the API, and the proxy on the way, if any."""

    credentials: Credentials
    base_urls: tuple[str, ...]
    fleet: Fleet | Host | None
    generation: str
    proxy: Proxy | None = None

    @property
    def key(self) -> str:
        """The last four characters of the access key, by which its owner knows it; "" of a short
        one, which they would give away."""
        key = self.credentials.access_key
        return key[-4:] if len(key) >= _LONG_ENOUGH else ""

    @property
    def is_v1_given(self) -> bool:
        """Whether V5 is not to be asked."""
        return self.generation == "v1"

    @property
    def account(self) -> str | None:
        """The name that was given to the account."""
        return None if self.fleet is None else self.fleet.account

    @asynccontextmanager
    async def session(self, say: Say, *on_event: Listener) -> AsyncIterator[HtxSession]:
        """A session for a block; `say` as for a fleet's tokens."""
        async with AsyncExitStack() as stack:
            limiter = None
            if self.fleet is not None:
                limiter = await stack.enter_async_context(self.bucket(self.fleet, say))
            yield await stack.enter_async_context(self.session_by(limiter, on_event))

    def bucket(
        self, fleet: Fleet | Host, say: Say
    ) -> AbstractAsyncContextManager["RedisTokenBucket | HostTokenBucket"]:
        """The tokens that `fleet` shares, for a block."""
        return fleet.bucket(fleet.account or self.credentials.access_key, say)

    def session_by(
        self,
        limiter: BaseLimiter | None,
        on_event: Sequence[Listener],
        *,
        keep_warm: bool = False,
    ) -> HtxSession:
        """A session that takes its tokens from `limiter`, or has its own."""
        # Not `HtxSession.from_env`: a file of keys may be a pipe, which can be read once.
        return HtxSession(
            self.credentials,
            base_urls=self.base_urls,
            limiter=limiter,
            on_event=on_event,
            keep_warm=keep_warm,
            proxy=self.proxy,
            # What is none of them the session refuses, in its own words.
            generation=cast("GenerationLike", self.generation),
        )

    async def reach(self, say: Say) -> str:
        """Whose tokens the requests would take, and whether these can be had; "" without any that
        are shared."""
        if self.fleet is None:
            return ""
        async with self.bucket(self.fleet, say) as bucket:
            try:
                return f"{self.fleet.told}; {await bucket.reach()}"
            except HtxError as error:
                return f"{self.fleet.told}; but {error}, so that this one has its own share only"


ANY = "any"
"""Where a limiter is only asked whether it answers, and no account is known."""


def access(reach: Reach) -> Access:
    """What a command's options say, with keys from the environment; raises `InvalidRequest`."""
    fleet = fleet_of(reach)
    return Access(
        Credentials.from_env(),
        tuple(reach.base_urls),
        fleet,
        reach.generation,
        as_proxy(reach.proxy),
    )


def tell_of_urls(base_urls: Sequence[str], say: Say) -> None:
    """Tell where requests go, where a variable was set that names no other base URLs: it counts as
    not set, and a script that sets it so may be broken."""
    named = os.environ.get("HTX_BASE_URL")
    if named is not None and not named.strip() and tuple(base_urls) == BASE_URLS:
        say(f"HTX_BASE_URL is set and empty, so requests go to {', then '.join(base_urls)}.")


def fleet_of(reach: Reach) -> Fleet | Host | None:
    """The processes with which a command shares its limit, by its options: those of this host
    unless something else is said.

    `InvalidRequest` where they describe some and do not say where to meet them: this process would
    take the whole limit for itself.
    """
    redis, share_of, account = reach.redis, reach.share_of, reach.account
    host_limit = reach.host_limit
    if redis is not None:
        return Fleet(redis, share_of or DEFAULT_SHARE_OF, account)
    # Only who asks the environment waits for pydantic-settings.
    from htx_async.exchange.environment import read_host_limit  # noqa: PLC0415 - see above

    place = read_host_limit(otherwise="" if IS_HERE or host_limit else None)
    if place is not None and host_limit is not False:
        return Host(place or None, share_of or DEFAULT_SHARE_OF, account)
    if host_limit:
        return Host(None, share_of or DEFAULT_SHARE_OF, account)
    if share_of is None and account is None:
        return None
    given = "share-of" if share_of is not None else "account"
    raise InvalidRequest(
        f"--{given} (or its variable) is about a fleet, and needs --redis or HTX_REDIS_URL: "
        "without it this process would take the whole limit"
    )
