"""A loop that is blocked for a while."""

import asyncio

from tests.support.virtual import VirtualLoop


def stall(seconds: float) -> None:
    """Let `seconds` pass while nothing else can run."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop._instant.now += seconds
