"""Fixtures for a suite that tests a strategy: a simulated exchange, and a session of it.

pytest finds them as soon as the package is installed. Both are plain fixtures: they suit tests on
any event loop, of pytest-asyncio in whatever mode and scope, of anyio on asyncio, and of a test's
own `asyncio.run`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from htx_async import HtxSession
    from htx_async.simulator import SimulatedExchange


# Imports stand inside the fixtures: every run of pytest loads this module.
@pytest.fixture
def htx_exchange() -> Iterator[SimulatedExchange]:
    """A simulated exchange with keys of its own that serves HTTP on loopback, in a thread of its
    own: the test may ask it for anything, from wherever it runs."""
    from htx_async.simulator import SimulatedExchange  # noqa: PLC0415 - see above

    with SimulatedExchange() as exchange:
        yield exchange


@pytest.fixture
def htx_session(
    htx_exchange: SimulatedExchange, request: pytest.FixtureRequest
) -> Iterator[HtxSession]:
    """An `HtxSession` of `htx_exchange` for the event loop that uses it first. It is closed there:
    after the test, or when that loop ends before."""
    from htx_async.pytest_plugin.loops import SessionOfATest  # noqa: PLC0415 - see above

    with closing(SessionOfATest(htx_exchange, request)) as session:
        yield session
