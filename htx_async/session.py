"""`HtxSession`: the calls of one account, and the lifetime of what they share."""

from __future__ import annotations

import math
import ssl as tls
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self, TypedDict, Unpack

from aiohttp import ClientSession
from aiolimiter import AsyncLimiter

from htx_async.arguments import as_instance, as_seconds, check_flags, check_line
from htx_async.calls.base_urls import BASE_URLS, BaseUrls
from htx_async.calls.emitter import Emitter
from htx_async.calls.generation import Generation
from htx_async.calls.opening import Opening
from htx_async.calls.resources import OnEvent, Resources, listeners
from htx_async.calls.retry import RetryPolicy
from htx_async.calls.scope import Scope
from htx_async.calls.wall_clock import WallClock
from htx_async.cancel.closing import CLOSED, Closing
from htx_async.cross import CrossMargin
from htx_async.enums import ApiGeneration, GenerationLike, MarginMode
from htx_async.errors import InvalidRequest
from htx_async.exchange.proxy import Proxy, as_proxy
from htx_async.exchange.signing import Credentials
from htx_async.limits.limiter import RateLimiter, as_limiter, check_lease
from htx_async.limits.registry import account_key, shared_limiter
from htx_async.margin_calls import MarginCalls
from htx_async.mass_report import MassCancelReport
from htx_async.report import Attempt, CancelReport, OrderError, WarmUp
from htx_async.transport.http import Transport

_DEFAULT_RETRY = RetryPolicy()


class SessionSettings(TypedDict, total=False):
    """What `HtxSession` takes by name, for those who keep it in a dictionary: see there."""

    base_urls: str | Iterable[str]
    account: str | None
    limiter: RateLimiter | AsyncLimiter | None
    retry: RetryPolicy
    deadline: float
    attempt_timeout: float
    http: ClientSession | None
    ssl: tls.SSLContext | None
    proxy: str | Proxy | None
    keep_warm: bool
    generation: GenerationLike
    on_event: OnEvent
    now: Callable[[], datetime | float]


class HtxSession(MarginCalls):
    """Cancels trailing orders on HTX USDT-M swaps within the exchange's limit: isolated margin, and
    cross margin under `cross`.

    * `base_urls`: https, or http to this machine; one string or several, tried in this order, those
      that gave no answer in the last 30 s at the end.
    * `account`: what the exchange counts by; sessions of one account and event loop share one
      limiter. Default: the access key; give two keys of one account the same name.
    * `limiter`: a `RateLimiter` (one that can do more derives from `BaseLimiter`) or an
      `aiolimiter.AsyncLimiter` in place of that shared one; with the latter the limit is kept only
      as far as it keeps it.
    * `retry`: see `RetryPolicy`.
    * `deadline`: seconds for a call that brings none of its own, counted from the earliest moment
      at which its turn could come.
    * `attempt_timeout`: seconds for one request.
    * `http`: an `aiohttp.ClientSession` of the caller's, used and never closed.
    * `ssl`: a context that verifies, in place of the system's authorities.
    * `proxy`: `http://host:port` or `https://host:port`, with `name:password@` if it wants them,
      through which the session's own connections go as tunnels, to https base URLs only.
    * `keep_warm`: use one connection every 10 s, so that it stays open.
    * `generation`: of the exchange's API, "v1", "v5", or "auto", which starts on v1, goes over to
      V5 when a reply shows that the account has moved, and back when V5 says that it is not there,
      and believes no "nothing to cancel" of v1 without V5's word.
    * `on_event`: one listener or several, called with each event of `htx_async.events` as it
      happens, on the event loop; plain functions, since none is awaited. What one raises is logged
      by name and changes nothing, but for `KeyboardInterrupt` and `SystemExit`, which end the
      program.
    * `now`: the wall clock, for signatures and reports only, as an aware datetime or as Unix
      seconds; asked once at once, and a call at which it fails later ends with its report.

    An async context manager; `aclose()` does what leaving it does. Raises `InvalidRequest` for
    settings that cannot work, before anything is sent, and on entering when a session that is open
    on another event loop uses the account's limiter.
    """

    _margin_mode = MarginMode.ISOLATED

    def __init__(
        self,
        credentials: Credentials,
        *,
        base_urls: str | Iterable[str] = BASE_URLS,
        account: str | None = None,
        limiter: RateLimiter | AsyncLimiter | None = None,
        retry: RetryPolicy = _DEFAULT_RETRY,
        deadline: float = 10.0,
        attempt_timeout: float = 3.0,
        http: ClientSession | None = None,
        ssl: tls.SSLContext | None = None,
        proxy: str | Proxy | None = None,
        keep_warm: bool = False,
        generation: GenerationLike = "auto",
        on_event: OnEvent = None,
        now: Callable[[], datetime | float] = lambda: datetime.now(UTC),
    ) -> None:
        way = as_proxy(proxy)
        # It may hold a password, and this frame stands in whatever is raised below.
        del proxy
        as_instance("credentials", credentials, Credentials)
        as_instance("retry", retry, RetryPolicy)
        check_flags(keep_warm=keep_warm)
        if account is not None and not (isinstance(account, str) and account):
            raise InvalidRequest("account must be a name, or None for the access key")
        super().__init__(as_seconds("deadline", deadline))
        own = None if limiter is None else as_limiter(limiter)
        named = account_key(account or credentials.access_key)
        if own is not None:
            own.for_account(named)
        timeout = as_seconds("attempt_timeout", attempt_timeout)
        check_lease(own, timeout)
        hosts, heard = BaseUrls(base_urls), listeners(on_event)
        self._generation = Generation(generation)
        live = Scope(math.inf, math.inf)
        self._opening = Opening(
            credentials,
            Transport(http, ssl, base_urls=hosts, proxy=way),
            hosts,
            lambda: shared_limiter(named, self) if own is None else own,
            retry,
            timeout,
            WallClock(now),
            self._generation,
            Emitter(heard) if heard else None,
            live,
            keep_warm=keep_warm,
        )
        self._cross = CrossMargin(self._deadline, self._ready)
        self._closing = Closing(self, (self.under_way, self._cross.under_way), live)
        # Reports are also given while the interpreter ends, which is too late to build them.
        for model in (OrderError, Attempt, CancelReport, MassCancelReport):
            model.model_rebuild()

    @classmethod
    def from_env(cls, **settings: Unpack[SessionSettings]) -> Self:
        """A session with `Credentials.from_env()`; `settings` as for the constructor, and where
        they are not given the generation from `HTX_GENERATION`, the base URLs from `HTX_BASE_URL`,
        the proxy from `HTX_PROXY`, and from `HTX_HOST_LIMIT` a `HostTokenBucket`: 1, or the
        absolute path of its file or folder."""
        # pydantic-settings is loaded only for those who ask the environment.
        from htx_async.exchange import environment  # noqa: PLC0415 - see above

        found = environment.read_settings()
        place = None if "limiter" in settings else environment.read_host_limit()
        if place is not None:
            # Only those who share through a file load what that takes.
            from htx_async.limits.host_limits import HostTokenBucket  # noqa: PLC0415 - see above

            found["limiter"] = HostTokenBucket(path=place or None)
        return cls(Credentials.from_env(), **{**found, **settings})

    @property
    def cross(self) -> CrossMargin:
        """The calls for cross margin; those of the session itself are for isolated margin."""
        return self._cross

    @property
    def generation(self) -> tuple[ApiGeneration, str]:
        """The generation of the API that calls go to now, and how that was found out."""
        return self._generation.current, self._generation.how

    async def __aenter__(self) -> Self:
        self._opening.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self, grace: float = 0.0, *, reason: str = CLOSED) -> None:
        """Carry out every guard that was entered, end every other call, and close the connections;
        safe to repeat.

        From its first moment nothing is sent but what those guards send, whether their blocks have
        ended or not: their mass cancels end with their work or at their own deadlines. Other calls
        that wait for a token raise `NotSent`; those on the wire have `grace` seconds for their
        answer and then raise `OutcomeUnknown`; later ones `SessionClosed`. Another mass cancel ends
        with a report of the same. `reason`: the `ended_by` of their reports, a line of text.
        Cancelled, it ends the grace, closes all the same, and is cancelled then. A session given as
        `http` stays open. Belongs in the session's own event loop, else `InvalidRequest`, unless
        that one is closed. In a forked child it leaves the parent's connections alone.
        """
        as_seconds("grace", grace, least=0)
        check_line("reason", reason)
        opening, resources = self._opening, self._opening.resources
        if resources is not None and not opening.is_at_home():
            await opening.forget(self)
            return
        opening.is_closed = True
        if resources is None:
            await opening.transport.aclose()
            return
        await self._closing.close(resources, grace, reason)

    async def warm_up(self) -> tuple[WarmUp, ...]:
        """Open a connection to each base URL, so that the urgent call is not the cold one.

        Through the exchange's public clock (HTX API docs, "Get current system timestamp"), twice
        for each base URL and within a budget of its own, never touching an order or a private
        limit; safe at any time. Measures round trip and skew, and corrects signatures for a clock
        that is more than a second off. Returns what each base URL answered, in their order; one
        that did not answer says why, and is tried last for the next 30 s. Raises `SessionClosed`.
        """
        return await self._ready().time.warm_up()

    def _ready(self, is_promised: bool = False) -> Resources:
        resources = self._opening.enter(is_promised)
        resources.transport.check_open()
        return resources
