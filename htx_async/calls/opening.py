"""The one loop and process in which a session is used, and what its calls work with there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace

from htx_async.aio.loop_binding import running_loop
from htx_async.calls.base_urls import BaseUrls
from htx_async.calls.emitter import Emitter
from htx_async.calls.exchange_time import ExchangeTime
from htx_async.calls.generation import Generation, V5Traits
from htx_async.calls.resources import Resources, hear_modes
from htx_async.calls.retry import RetryPolicy
from htx_async.calls.scope import Scope
from htx_async.calls.turns import Turns
from htx_async.calls.wall_clock import WallClock
from htx_async.errors import InvalidRequest, SessionClosed
from htx_async.exchange.signing import Credentials, Signer
from htx_async.limits.account_limiter import public_budget, reads_limiter
from htx_async.limits.limiter import BaseLimiter, as_limiter
from htx_async.transport.http import Transport

_INHERITED: list[Transport] = []
"""Of a forking parent: as garbage they would take its sockets out of the epoll that both share."""

_WARM_EVERY = 10.0
"""Seconds; aiohttp closes what was idle for 15, and the exchange's own limit is unknown."""


class Opening:
    """Makes what calls work with on first use, when there is a running loop, and gives it out
    nowhere else. `limiter` gives the limiter then; `emitter` is None where nobody listens."""

    def __init__(
        self,
        credentials: Credentials,
        transport: Transport,
        base_urls: BaseUrls,
        limiter: Callable[[], BaseLimiter],
        retry: RetryPolicy,
        attempt_timeout: float,
        clock: WallClock,
        generation: Generation,
        emitter: Emitter | None,
        live: Scope,
        *,
        keep_warm: bool,
    ) -> None:
        self._credentials = credentials
        self.transport = transport
        self._base_urls = base_urls
        self._limiter = limiter
        self._retry = retry
        self._attempt_timeout = attempt_timeout
        self._clock = clock
        self._generation = generation
        self._emitter = emitter
        self._live = live
        self._keep_warm = keep_warm
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = 0
        self.resources: Resources | None = None
        """None before the first use."""
        self.is_closed = False

    def enter(self, is_promised: bool = False) -> Resources:
        """What calls work with, here and now. Raises `SessionClosed`, but not for what closing
        carries out, and `InvalidRequest` in another loop or process than at the first use."""
        if self.is_closed and not is_promised:
            raise SessionClosed("this session is closed, so nothing was sent; open a new one")
        if self.resources is None:
            self.resources = self._made()
        elif not self.is_at_home():
            raise InvalidRequest(self._elsewhere())
        return self.resources

    def _made(self) -> Resources:
        loop = running_loop()
        limiter, public = self._limiter(), public_budget()
        reads = limiter.reads
        settings = (self._clock, public, self._attempt_timeout)
        time = ExchangeTime(self.transport, self._base_urls, *settings)
        if self._keep_warm:
            time.keep_warm(_WARM_EVERY)
        self._loop, self._process = loop, os.getpid()
        return Resources(
            signer=Signer(self._credentials),
            trades=limiter,
            reads=reads_limiter() if reads is None else as_limiter(reads),
            turns=Turns(limiter),
            public=public,
            transport=self.transport,
            base_urls=self._base_urls,
            retry=self._retry,
            retry_reads=replace(self._retry, repeat_unknown=True),
            attempt_timeout=self._attempt_timeout,
            clock=self._clock,
            time=time,
            live=self._live,
            generation=self._generation,
            v5=V5Traits(),
            emitter=self._emitter,
            stop_hearing=hear_modes(limiter, self._emitter),
        )

    def is_at_home(self) -> bool:
        """Whether the process and the event loop are those of the first use."""
        return self._process == os.getpid() and self._loop is running_loop()

    def _elsewhere(self) -> str:
        if self._process != os.getpid():
            where = "the process that forked this one; open one session in each process"
        else:
            where = "another event loop; open one session in each loop"
        return f"nothing was sent: this session belongs to {where}, and close each where it is used"

    async def forget(self, session: object) -> None:
        """Close in the wrong place: what belongs to a living loop or process is not touched."""
        assert self._loop is not None  # noqa: S101 - else nothing was opened
        assert self.resources is not None  # noqa: S101 - as above
        if self._process != os.getpid():
            self.is_closed = True
            _INHERITED.append(self.transport)
            return
        if not self._loop.is_closed():
            raise InvalidRequest(self._elsewhere())
        self.is_closed = True
        self.resources.release(session)
        await self.transport.aclose()
