"""One limiter for each account of this process."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable

import pytest

from htx_async import Credentials, HostTokenBucket, HtxSession, InvalidRequest
from htx_async.limits.registry import Registry, account_key, shared_limiter
from htx_async.redis_limits import RedisTokenBucket
from tests.support.tokens import HOLD, Holder, now, use
from tests.support.virtual import run

pytestmark = pytest.mark.usefixtures("tasks")


def test_one_account_has_one_limiter_and_another_account_another() -> None:
    """The exchange counts by account, and so do we."""
    one, other = account_key(uuid.uuid4().hex), account_key(uuid.uuid4().hex)

    async def main() -> None:
        assert shared_limiter(one) is shared_limiter(one)
        assert shared_limiter(one) is not shared_limiter(other)

    run(main())


def test_an_account_that_nobody_holds_is_forgotten_and_no_other() -> None:
    """Neither one that is held nor the one that is asked for, however long it has rested."""
    accounts, holder = Registry(), Holder()

    async def main() -> None:
        first = {name: accounts.limiter(name) for name in ("asked", "left")}
        first["held"] = accounts.limiter("held", holder)
        accounts.limiter("asked")
        await asyncio.sleep(76.0)
        assert accounts.limiter("asked") is first["asked"]
        assert accounts.limiter("held") is first["held"]
        assert accounts.limiter("left") is not first["left"]

    run(main())


def test_a_thousand_accounts_come_and_go_and_few_are_looked_at_each_time() -> None:
    """Those that have gone are forgotten while others come: no more are kept than twice what came
    in the last minutes."""
    accounts = Registry()

    async def main() -> int:
        most = 0
        for number in range(1_000):
            accounts.limiter(f"account {number}")
            await asyncio.sleep(1.0)
            most = max(most, len(accounts))
        return most

    assert run(main()) < 200


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
    account, holder = account_key(uuid.uuid4().hex), Holder()
    ready, done = threading.Event(), threading.Event()

    async def hold() -> None:
        await use(shared_limiter(account, holder))
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


@pytest.mark.parametrize(
    "make",
    [
        lambda name: HtxSession(Credentials("access", "secret"), account=name),
        HostTokenBucket,
        lambda name: RedisTokenBucket.from_url("redis://127.0.0.1:1", name, share_of=2),
    ],
)
def test_a_name_that_is_no_text_is_refused(make: Callable[[str], object]) -> None:
    """An argument or a variable may hold bytes that are no UTF-8: said by each that takes a name,
    without the name, which may be a key."""
    with pytest.raises(InvalidRequest, match="account must be a name that can be") as caught:
        make("desk\udcff")
    assert caught.value.__context__ is None
