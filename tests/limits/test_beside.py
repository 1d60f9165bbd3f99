"""What a guard may send beside a command that keeps the limit by itself."""

import asyncio
import itertools

import pytest

from htx_async.exchange.endpoints import READS
from htx_async.limits.account_limiter import AccountLimiter
from htx_async.limits.beside import Beside
from tests.support.virtual import run

pytestmark = pytest.mark.usefixtures("tasks")

PATH = "/linear-swap-api/v1/swap_track_cancelall"


async def taken(limiter: Beside, count: int, endpoint: str = PATH) -> list[float]:
    """When so many urgent callers that come at once have had their token."""
    loop = asyncio.get_running_loop()
    began, times = loop.time(), list[float]()

    async def one() -> None:
        async with limiter.take(endpoint, urgent=True):
            times.append(loop.time() - began)

    await asyncio.gather(*(one() for _ in range(count)))
    return times


def test_one_a_second_however_long_the_command_lives() -> None:
    """The one that five of its own leave, also after minutes, and for those who wait all along; of
    reads half."""

    async def main() -> None:
        beside = Beside(AccountLimiter())
        times = await taken(beside, 150)
        assert all(later - one > 1.0 for one, later in itertools.pairwise(times))
        assert times[-1] < 150 * 1.1
        assert beside.foresee(PATH, 10, urgent=True) > asyncio.get_running_loop().time() + 8.0
        reads = beside.reads
        assert isinstance(reads, Beside)
        assert sum(at < 3.0 for at in await taken(reads, 40, READS)) == 36
        beside.open()

    run(main())


def test_once_it_is_gone_all_tokens_can_be_had() -> None:
    """Those who wait need not wait any longer, and the limit holds for them as ever."""

    async def main() -> None:
        beside = Beside(AccountLimiter())
        asyncio.get_running_loop().call_later(2.5, beside.open)
        times = await taken(beside, 12)
        assert [round(at, 1) for at in times[:3]] == [0.0, 1.0, 2.0]
        assert sum(2.5 <= at < 2.6 for at in times) == 4
        assert max(sum(at <= one < at + 1.0 for one in times) for at in times) == 5

    run(main())


def test_a_token_that_was_not_used_goes_back() -> None:
    """The one of the few, too: the next caller waits for neither."""

    async def main() -> None:
        beside = Beside(AccountLimiter())
        async with beside.take(PATH, urgent=True) as lease:
            lease.not_sent()
        assert max(await taken(beside, 1)) < 0.1
        beside.open()

    run(main())
