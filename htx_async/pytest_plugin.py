"""Fixtures for a suite that tests a strategy: a simulated exchange, and a session of it.

pytest finds them as soon as the package is installed. They need pytest-asyncio, in its auto or
strict mode; a suite that asks for neither does not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from htx_async import HtxSession
    from htx_async.simulator import SimulatedExchange


def _ask_for_pytest_asyncio() -> None:
    pytest.fail(
        "The fixtures htx_exchange and htx_session are asynchronous and need pytest-asyncio: "
        "pip install pytest-asyncio",
        pytrace=False,
    )


def _fixture(function: Callable[..., AsyncIterator[object]]) -> Any:
    """An async fixture, or one that fails with what to install where none can be made."""
    try:
        import pytest_asyncio  # noqa: PLC0415 - an extra of the suite's, not of this package
    except ImportError:
        return pytest.fixture(_ask_for_pytest_asyncio)
    return pytest_asyncio.fixture(function)


# Imports stand inside the fixtures: every run of pytest loads this module.
@_fixture
async def htx_exchange() -> AsyncIterator[SimulatedExchange]:
    """A simulated exchange with keys of its own that serves HTTP on loopback."""
    from htx_async.simulator import SimulatedExchange  # noqa: PLC0415 - see above

    async with SimulatedExchange() as exchange:
        yield exchange


@_fixture
async def htx_session(htx_exchange: SimulatedExchange) -> AsyncIterator[HtxSession]:
    """An `HtxSession` of `htx_exchange`, closed before it."""
    from htx_async import HtxSession  # noqa: PLC0415 - see above

    async with HtxSession(htx_exchange.credentials, base_urls=htx_exchange.url) as session:
        yield session
