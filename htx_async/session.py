"""`HtxSession`: the calls of one account, and the lifetime of what they share."""

from __future__ import annotations

import asyncio
import ssl as tls
import weakref
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

from aiohttp import ClientSession
from aiolimiter import AsyncLimiter

from htx_async.base_urls import BASE_URLS, BaseUrls
from htx_async.call import Call
from htx_async.checks import as_instance, as_seconds
from htx_async.errors import InvalidRequest, SessionClosed
from htx_async.exchange_time import ExchangeTime
from htx_async.guard import CancelGuard
from htx_async.limits import (
    RateLimiter,
    TellsTurns,
    Tightens,
    account_key,
    as_rate_limiter,
    check_lease,
    foresee,
    public_budget,
    shared_limiter,
)
from htx_async.mass_cancel import MassCancel, OnReport, intents, nothing_sent
from htx_async.mass_report import MassCancelPlan, MassCancelReport
from htx_async.means import LiveCalls, Means, OnEvent, hear_modes, listeners, teller
from htx_async.models import CancelAllTrailing
from htx_async.outcome import failure_of
from htx_async.report import CancelReport, WarmUp
from htx_async.retry import RetryPolicy
from htx_async.routes import v1
from htx_async.signing import Credentials, Signer
from htx_async.terms import Direction, Offset
from htx_async.transport import Transport
from htx_async.wall_clock import WallClock

_DEFAULT_RETRY = RetryPolicy()

_CLOSED = "the session was closed"

_ROUND_TRIP = 0.5
"""Seconds for each five calls of a mass cancel without a deadline; 0.3 is usual from far away."""

_WARM_EVERY = 10.0
"""Seconds; aiohttp closes what was idle for 15, and the exchange's own limit is unknown."""


class HtxSession:
    """Cancels trailing orders on HTX USDT-M swaps, isolated margin, within the exchange's limit.

    `base_urls`: https, or http to this machine; one string or several, tried in this order.
    `account`: what the exchange counts by; sessions of one account and event loop share one
    limiter. Default: the access key; give two keys of one account the same name. `limiter`: a
    `RateLimiter` or an `aiolimiter.AsyncLimiter` in place of that shared one; with the latter the
    limit is kept only as far as it keeps it. `retry`: see `RetryPolicy`. `deadline`: seconds for a
    call that brings none of its own, counted from the earliest moment at which its turn could
    come. `attempt_timeout`: seconds for one request. `http`: an `aiohttp.ClientSession` of the
    caller's, used and never closed. `ssl`: a context that verifies, in place of the system's
    authorities. `keep_warm`: use one connection every 10 s, so that it stays open. `on_event`:
    one listener or several, called with each event of `htx_async.events` as it happens, on the
    event loop; what one raises is logged by name and changes nothing. `now`: the wall clock, for
    signatures and reports only, as an aware datetime or as Unix seconds.

    An async context manager; `aclose()` does what leaving it does. Raises `InvalidRequest` for
    settings that cannot work, before anything is sent, and on entering when another event loop
    that is still open uses the account's limiter.
    """

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
        keep_warm: bool = False,
        on_event: OnEvent = None,
        now: Callable[[], datetime | float] = lambda: datetime.now(UTC),
    ) -> None:
        as_instance("credentials", credentials, Credentials)
        as_instance("retry", retry, RetryPolicy)
        if not callable(now):
            raise InvalidRequest(f"now must be a function such as time.time, not {now!r}")
        if account is not None and not (isinstance(account, str) and account):
            raise InvalidRequest("account must be a name, or None for the access key")
        self._credentials = credentials
        self._base_urls = BaseUrls(base_urls)
        self._account = account_key(account or credentials.access_key)
        self._limiter = None if limiter is None else as_rate_limiter(limiter)
        self._retry = retry
        self._deadline = as_seconds("deadline", deadline)
        self._attempt_timeout = as_seconds("attempt_timeout", attempt_timeout)
        check_lease(self._limiter, self._attempt_timeout)
        self._transport = Transport(http, ssl, plain=self._base_urls.any_plain)
        self._clock = WallClock(now)
        self._keep_warm = keep_warm
        self._loop: asyncio.AbstractEventLoop | None = None
        self._means: Means | None = None
        self._live = LiveCalls()
        self._mass_cancels: weakref.WeakSet[MassCancel] = weakref.WeakSet()
        self._listeners = listeners(on_event)
        self._closed = False

    @classmethod
    def from_env(cls, **settings: Any) -> Self:
        """A session with `Credentials.from_env()`; `settings` as for the constructor."""
        return cls(Credentials.from_env(), **settings)

    async def __aenter__(self) -> Self:
        self._opened()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self, grace: float = 0.0) -> None:
        """End every call and close the connections; safe to repeat.

        Nothing is sent from now on. Calls that wait for a token raise `NotSent`; calls on the wire
        have `grace` seconds for their answer and then raise `OutcomeUnknown`; later ones
        `SessionClosed`. A mass cancel ends with an account of the same. A session given as `http`
        stays open.
        """
        as_seconds("grace", grace, least=0)
        self._closed = True
        if self._means is not None:
            await self._means.time.aclose()
        for mass_cancel in tuple(self._mass_cancels):
            mass_cancel.hold_back(_CLOSED)
        try:
            await self._live.stop(_CLOSED, grace)
        finally:
            if self._means is not None:
                await self._means.let_go()
            await self._transport.aclose()

    async def cancel_all_trailing(
        self,
        contract_code: str,
        direction: Direction | str | None = None,
        offset: Offset | str | None = None,
        *,
        deadline: float | None = None,
        urgent: bool = False,
    ) -> CancelReport:
        """Cancel every trailing order of one contract, isolated margin, that matches both filters.

        `direction` and `offset` are independent: both may be given, and None means all (HTX API
        docs, "[Isolated] Cancel All Trailing Orders"; the sentence there that only one may be
        filled in is a mistranslation, its own example sends both). An empty string is an error.
        `deadline`: seconds for queue, attempts and pauses together; the call fails as soon as its
        turn cannot come in time. `urgent`: goes before all others of the account in this process,
        and may use the share of the account's trade budget that is kept for it. A repeat after a
        lost answer also takes trailing orders that were placed meanwhile;
        `RetryPolicy(repeat_unknown=False)` forbids it.

        Returns a report that is clear: the exchange took every cancel. That is not yet "gone", see
        `CancelReport`; and with an `offset`, `NOTHING_TO_CANCEL` says nothing about the orders of
        a one-way account, whose offset is "both". Everything else raises a `CancelError` with the
        report: `PartialCancel`, `NotSent`, `OutcomeUnknown`, `CancelRefused` and its kinds. Raises
        `InvalidRequest` or `SessionClosed` before anything is queued.
        """
        intent = CancelAllTrailing.checked(contract_code, direction, offset)
        within = None if deadline is None else as_seconds("deadline", deadline)
        call = Call(self._ready(), intent, within, self._deadline, urgent=urgent)
        report = await call.run()
        failure = failure_of(report)
        if failure is None:
            return report
        try:
            raise failure
        finally:
            # The exception's traceback holds this frame: do not hold the exception in turn.
            del failure

    async def mass_cancel_trailing(
        self,
        contract_codes: Iterable[str],
        direction: Direction | str | None = None,
        offset: Offset | str | None = None,
        *,
        deadline: float | None = None,
        until_clear: bool = False,
        urgent: bool = False,
        on_report: OnReport | None = None,
    ) -> MassCancelReport:
        """Cancel the trailing orders of many contracts together, in the order given.

        Every contract's first attempt goes before any repeat. `deadline`: seconds for all; what
        cannot come in time ends `NOT_SENT` at once and the rest go on. Default: the time that the
        limit needs for this many at round trips of up to 0.5 s, plus the session's own.
        `on_report`, plain or async, is called with each contract's report as it ends; what it
        raises is in `callback_errors`.

        `until_clear`, for halted trading only: each contract is cancelled again, 1.2 s or more
        between its rounds, until the exchange has nothing left; one that is still not clear at
        the deadline is `PARTIAL`. It also takes every trailing order placed meanwhile.

        Returns a report that accounts for every contract and raises nothing about orders; its
        `raise_for_outcome()` does. Cancelling the task stops every call, tells the listener what
        is known, and goes on. Raises `InvalidRequest` for anything but a non-empty sequence of
        contract codes, and `SessionClosed`, before anything is queued.
        """
        wanted = intents(contract_codes, direction, offset)
        return await self._mass_cancel(
            wanted, deadline, until_clear=until_clear, urgent=urgent, on_report=on_report
        ).run()

    def plan(
        self, contract_codes: Iterable[str], *, until_clear: bool = False, urgent: bool = False
    ) -> MassCancelPlan:
        """What `mass_cancel_trailing` would do: calls, seconds, and what it will not touch.

        Sends nothing. The seconds count what is queued now. Needs a running event loop; raises
        what the mass cancel itself would raise for these contracts.
        """
        wanted = intents(contract_codes, None, None)
        calls = len(wanted) * (2 if until_clear else 1)
        turn = foresee(self._ready().limiter, v1.CANCEL_ALL_TRAILING, calls, urgent=urgent)
        return MassCancelPlan(
            contract_codes=tuple(intent.contract_code for intent in wanted),
            calls=calls,
            seconds=max(0.0, turn - asyncio.get_running_loop().time()),
        )

    def cancel_on_exit(
        self,
        contract_codes: Iterable[str],
        direction: Direction | str | None = None,
        offset: Offset | str | None = None,
        *,
        deadline: float | None = None,
        until_clear: bool = False,
    ) -> CancelGuard:
        """A block after which these contracts are mass-cancelled, however it ends.

        `async with htx.cancel_on_exit(codes) as guard:`; return, exception, cancellation, Ctrl-C
        through `asyncio.run`. The mass cancel is urgent, shielded from cancellation, and has its
        own deadline; `guard.report` has its account. An exception of the block always wins, and
        what went wrong with the cancel becomes a note on it; else it is raised. A second
        cancellation ends the guard's work promptly, with an account of what was done. SIGTERM is
        not an exception: turn it into a cancellation (README). Raises `InvalidRequest` for
        contracts that `mass_cancel_trailing` would refuse, now rather than at the end.
        """
        wanted = intents(contract_codes, direction, offset)
        if deadline is not None:
            as_seconds("deadline", deadline)
        begin = partial(self._mass_cancel, wanted, deadline, until_clear=until_clear, urgent=True)
        return CancelGuard(begin, partial(nothing_sent, wanted))

    async def warm_up(self) -> tuple[WarmUp, ...]:
        """Open a connection to each base URL, so that the urgent call is not the cold one.

        Through the exchange's public clock (HTX API docs, "Get current system timestamp"), twice
        for each base URL and within a budget of its own, never touching an order or a private
        limit; safe at any time. Measures round trip and skew, and corrects signatures for a clock
        that is more than a second off. Returns what each base URL answered, in their order; one
        that did not answer says why, and is tried last for the next 30 s. Raises `SessionClosed`.
        """
        return await self._ready().time.warm_up()

    def _ready(self) -> Means:
        means = self._opened()
        self._transport.check_open()
        return means

    def _opened(self) -> Means:
        """What calls work with; made on first use, when there is a running loop."""
        if self._closed:
            raise SessionClosed("this session is closed, so nothing was sent; open a new one")
        loop = asyncio.get_running_loop()
        if self._means is None:
            limiter = self._limiter or shared_limiter(self._account)
            tell = teller(self._listeners)
            settings = (self._clock, public_budget(), self._attempt_timeout)
            time = ExchangeTime(self._transport, self._base_urls, *settings)
            if self._keep_warm:
                time.keep_warm(_WARM_EVERY)
            self._loop = loop
            self._means = Means(
                signer=Signer(self._credentials),
                limiter=limiter,
                transport=self._transport,
                base_urls=self._base_urls,
                retry=self._retry,
                attempt_timeout=self._attempt_timeout,
                clock=self._clock,
                time=time,
                live=self._live,
                tighten=limiter.tighten if isinstance(limiter, Tightens) else None,
                tells_turns=isinstance(limiter, TellsTurns),
                tell=tell,
                stop_hearing=hear_modes(limiter, tell),
            )
        elif self._loop is not loop:
            raise InvalidRequest(
                "this session belongs to another event loop; open one session in each loop"
            )
        return self._means

    def _mass_cancel(
        self,
        wanted: Sequence[CancelAllTrailing],
        deadline: float | None,
        *,
        until_clear: bool,
        urgent: bool,
        on_report: OnReport | None = None,
    ) -> MassCancel:
        means, loop = self._ready(), asyncio.get_running_loop()
        latest = None if deadline is None else loop.time() + as_seconds("deadline", deadline)

        def until() -> float:
            if latest is not None:
                return latest
            path, calls = v1.CANCEL_ALL_TRAILING, len(wanted) * (2 if until_clear else 1)
            # Those of other mass cancels stand in no queue yet, but will before these.
            calls += sum(o.unqueued for o in self._mass_cancels if o is not running)
            turn = foresee(means.limiter, path, calls, urgent=urgent, round_trip=_ROUND_TRIP)
            return turn + self._deadline

        def begin(intent: CancelAllTrailing, deadline: float) -> Call:
            left = deadline - loop.time()
            return Call(means, intent, left, self._deadline, urgent=urgent)

        running = MassCancel(
            wanted, begin, until=until, until_clear=until_clear, on_report=on_report
        )
        self._mass_cancels.add(running)
        return running
