"""What a session takes its tokens from: the account's limiter, a user's own, and the registry."""

import asyncio
import threading
import time
import uuid

import pytest
from aiolimiter import AsyncLimiter

from htx_async import InvalidRequest, RateLimiter, TokenBucket
from htx_async.limits import AccountLimiter, account_key, as_rate_limiter, shared_limiter
from tests.test_token_bucket import HOLD, busiest, now, queue_up
from tests.virtual import run

PATH = "/linear-swap-api/v1/swap_track_cancelall"


async def use(limiter: RateLimiter, endpoint: str = PATH, *, urgent: bool = False) -> float:
    async with limiter.take(endpoint, urgent=urgent):
        return now()


@pytest.mark.parametrize("make", [TokenBucket, AccountLimiter])
def test_every_limiter_of_ours_keeps_an_endpoint_at_five_a_second(
    make: type[TokenBucket | AccountLimiter],
) -> None:
    """Five in any second, first in, first out, with the queue's length told."""

    async def main() -> list[float]:
        limiter = make()
        tasks = [asyncio.ensure_future(use(limiter)) for _ in range(20)]
        await queue_up(20)
        assert limiter.waiting(PATH) == 15
        return await asyncio.gather(*tasks)

    granted = run(main())
    assert granted == sorted(granted)
    assert busiest(granted) == 5
    assert granted[-1] == pytest.approx(3 * HOLD, abs=0.01)


def test_an_account_keeps_72_trade_calls_in_any_three_seconds() -> None:
    """Over all endpoints together, however many there are."""

    async def main() -> list[float]:
        limiter = AccountLimiter()
        endpoints = [f"/endpoint/{number}" for number in range(40)]
        calls = [use(limiter, endpoint) for endpoint in endpoints for _ in range(5)]
        return await asyncio.gather(*calls)

    granted = run(main())
    assert len(granted) == 200
    assert busiest(granted, 3.0) <= 72


def test_a_caller_cancelled_at_the_account_budget_gives_its_endpoint_token_back() -> None:
    """The endpoint's token is not lost while its holder waits for the broader budget."""

    async def main() -> None:
        limiter = AccountLimiter()
        for number in range(36):
            await use(limiter, f"/endpoint/{number}")
        stuck = [asyncio.ensure_future(use(limiter)) for _ in range(5)]
        await queue_up(5)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
        assert limiter.earliest(PATH) == pytest.approx(now(), abs=1e-3)

    run(main())


def test_an_async_limiter_is_taken_as_it_is() -> None:
    """Its own pace rules; its queue cannot be told, and a pause still holds."""

    async def main() -> None:
        limiter = as_rate_limiter(AsyncLimiter(2, 1.0))
        assert limiter.earliest(PATH) is None
        assert await use(limiter) == pytest.approx(0, abs=1e-3)
        async with limiter.take(PATH) as lease:
            lease.not_sent()
        assert await use(limiter) == pytest.approx(0.5, abs=1e-3)
        limiter.pause(PATH, 4.0)
        limiter.pause(PATH, 1.0)
        assert limiter.earliest(PATH) == pytest.approx(4.5, abs=1e-3)
        assert await use(limiter) == pytest.approx(4.5, abs=1e-3)

    run(main())


def test_a_rate_limiter_of_ones_own_is_used_unchanged() -> None:
    """Whatever has take, pause and earliest is a limiter."""
    bucket = TokenBucket()
    assert as_rate_limiter(bucket) is bucket


def test_a_pause_of_an_async_limiter_that_grows_is_sat_out() -> None:
    """A longer pause stays in force, also for those who wait for the end of a shorter one."""

    async def main() -> float:
        limiter = as_rate_limiter(AsyncLimiter(5, 1.0))
        limiter.pause(PATH, 0.2)
        waiting = asyncio.ensure_future(use(limiter))
        await asyncio.sleep(0.1)
        limiter.pause(PATH, 1.0)
        return await waiting

    assert run(main()) == pytest.approx(1.1, abs=1e-3)


@pytest.mark.parametrize("limiter", [5, object(), AsyncLimiter, asyncio.Semaphore])
def test_anything_else_is_no_limiter(limiter: object) -> None:
    """A wrong limiter is told at once, not when the first call hangs on it."""
    with pytest.raises(InvalidRequest, match="limiter"):
        as_rate_limiter(limiter)  # type: ignore[arg-type]  # wrong on purpose


def test_one_account_has_one_limiter_and_another_account_another() -> None:
    """The exchange counts by account, and so do we."""
    one, other = account_key(uuid.uuid4().hex), account_key(uuid.uuid4().hex)

    async def main() -> None:
        assert shared_limiter(one) is shared_limiter(one)
        assert shared_limiter(one) is not shared_limiter(other)

    run(main())


def test_a_later_loop_inherits_the_tokens_of_a_closed_one() -> None:
    """Five calls, a new loop, five more: the second five wait; the account's budget is usable.
    What passes between the loops passes for the tokens, too."""
    account, began = account_key(uuid.uuid4().hex), time.monotonic()

    async def five() -> float:
        start = now()
        await asyncio.gather(*(use(shared_limiter(account)) for _ in range(5)))
        return now() - start

    assert run(five()) < 0.01
    waited = run(five())
    assert HOLD - (time.monotonic() - began) - 0.01 < waited < HOLD + 0.01


def test_a_second_live_loop_on_one_account_is_refused() -> None:
    """In a thread of its own it is as wrong as in the same one."""
    account = account_key(uuid.uuid4().hex)
    ready, done = threading.Event(), threading.Event()

    async def hold() -> None:
        await use(shared_limiter(account))
        ready.set()
        await asyncio.to_thread(done.wait, 10)

    thread = threading.Thread(target=asyncio.run, args=[hold()])
    thread.start()
    try:
        assert ready.wait(10)

        async def main() -> None:
            with pytest.raises(InvalidRequest, match="limiter="):
                shared_limiter(account)

        run(main())
    finally:
        done.set()
        thread.join()


def test_an_account_name_cannot_be_read_back() -> None:
    """Access keys serve as account names, so the registry keeps only a digest."""
    assert "my-access-key" not in account_key("my-access-key")
    assert account_key("a") != account_key("b")
