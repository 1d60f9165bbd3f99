"""A session for whatever event loop a test has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

from htx_async.calls.resources import Resources
from htx_async.errors import InvalidRequest
from htx_async.session import HtxSession
from htx_async.simulator import SimulatedExchange

_TO_CLOSE = 10.0
"""Seconds for a session whose loop runs in another thread."""


class SessionOfATest(HtxSession):
    """Belongs to the event loop that uses it first, and is closed there: by `close`, or when that
    loop ends."""

    def __init__(self, exchange: SimulatedExchange, request: pytest.FixtureRequest) -> None:
        super().__init__(exchange.credentials, base_urls=exchange.url)
        self._request = request
        self._home: asyncio.AbstractEventLoop | None = None
        self._last_call = self._until_the_end()

    def close(self) -> None:
        """Close it in its loop, unless that one has done so."""
        home = self._home
        if home is None:
            return
        if home.is_closed():
            # One that ended without a word to what it ran.
            asyncio.run(self.aclose())
        elif home.is_running():
            asyncio.run_coroutine_threadsafe(self.aclose(), home).result(_TO_CLOSE)
        else:
            home.run_until_complete(self._last_call.aclose())

    def _ready(self, is_promised: bool = False) -> Resources:
        try:
            resources = super()._ready(is_promised)
        except InvalidRequest as error:
            raise InvalidRequest(f"{error}. {self._advice()}") from None
        if self._home is None:
            self._home = asyncio.get_running_loop()
            # Its first step makes it known to the loop, and waits for nothing.
            with suppress(StopIteration):
                self._last_call.__anext__().send(None)
        return resources

    async def _until_the_end(self) -> AsyncGenerator[None, None]:
        """Loops close the generators that are left when they end, and wait for them."""
        try:
            yield
        finally:
            await self.aclose()

    def _advice(self) -> str:
        if self._home is None:
            return 'htx_session needs asyncio; under anyio let anyio_backend return "asyncio"'
        scope = self._loop_scope()
        return (
            f"htx_session was used first by a fixture on another loop than this test, whose loop "
            f'scope is "{scope}": set asyncio_default_fixture_loop_scope = {scope}, or give that '
            f'fixture loop_scope="{scope}"'
        )

    def _loop_scope(self) -> str:
        """That of the test, as pytest-asyncio is told it."""
        marker = self._request.node.get_closest_marker("asyncio")
        scope = marker.kwargs.get("loop_scope") if marker else None
        with suppress(ValueError, KeyError):
            scope = scope or self._request.config.getini("asyncio_default_test_loop_scope")
        return str(scope or "function")
