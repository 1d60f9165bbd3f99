"""`TimeLimit` in virtual time: exact, ended at will, and patient with a loop that was blocked;
`StallMeter`, which knows how long it was."""

import asyncio
from contextlib import suppress

import pytest

from htx_async.aio.timers import StallMeter, TimeLimit
from tests.support.stalls import stall
from tests.support.virtual import run

EXACT = 1e-3
GRACE = 0.02
BOUND = 1_000.0


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def test_the_limit_ends_its_block_at_the_moment_named() -> None:
    """A waiting block is ended by TimeoutError exactly at `when`."""

    async def main() -> None:
        limit = TimeLimit(now() + 1.5)
        with pytest.raises(TimeoutError), limit:
            await asyncio.sleep(BOUND)
        assert now() == pytest.approx(1.5, abs=EXACT)
        assert limit.when == pytest.approx(1.5, abs=EXACT)

    run(main())


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    """Nothing fires after the block, not even `on_expiry`."""

    async def main() -> list[str]:
        fired: list[str] = []
        with TimeLimit(now() + 1.0, lambda: fired.append("expired")):
            await asyncio.sleep(0.5)
        await asyncio.sleep(5.0)
        return fired

    assert run(main()) == []


def test_exceptions_of_the_block_pass_through() -> None:
    """What the block raises comes out as it is, a TimeoutError of its own included."""

    async def main() -> None:
        own = TimeoutError("own")
        for error in (LookupError("mine"), own):
            with pytest.raises(type(error)) as caught, TimeLimit(now() + 1.0):
                raise error
            assert caught.value is error

    run(main())


def test_on_expiry_runs_before_the_block_is_interrupted() -> None:
    """The block sees the interruption after `on_expiry` has run, and that runs once."""

    async def main() -> list[str]:
        order: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(BOUND)
            finally:
                order.append("interrupted")

        with pytest.raises(TimeoutError), TimeLimit(now() + 1.0, lambda: order.append("expiry")):
            await work()
        await asyncio.sleep(5.0)
        return order

    assert run(main()) == ["expiry", "interrupted"]


def test_expire_ends_the_block_at_once() -> None:
    """`expire()` from elsewhere ends the block at that moment, by TimeoutError."""

    async def main() -> None:
        limit = TimeLimit(now() + BOUND)
        asyncio.get_running_loop().call_later(0.25, limit.expire)
        with pytest.raises(TimeoutError), limit:
            await asyncio.sleep(2 * BOUND)
        assert now() == pytest.approx(0.25, abs=EXACT)

    run(main())


@pytest.mark.parametrize("times", [2, 5])
def test_expire_twice_is_once(times: int) -> None:
    """A second `expire()` adds nothing: one interruption, one `on_expiry`."""

    async def main() -> int:
        fired: list[float] = []
        limit = TimeLimit(now() + BOUND, lambda: fired.append(now()))
        for number in range(times):
            asyncio.get_running_loop().call_later(0.25 + number * 1e-4, limit.expire)
        with pytest.raises(TimeoutError), limit:
            await asyncio.sleep(2 * BOUND)
        await asyncio.sleep(1.0)
        return len(fired)

    assert run(main()) == 1


def test_expire_outside_of_the_block_is_harmless() -> None:
    """`expire()` before the block is entered or after it was left changes nothing."""

    async def main() -> None:
        fired: list[str] = []
        limit = TimeLimit(now() + 1.0, lambda: fired.append("expired"))
        limit.expire()
        with limit:
            await asyncio.sleep(0.5)
        limit.expire()
        await asyncio.sleep(5.0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert fired == []

    run(main())


def test_expire_after_a_time_out_is_harmless() -> None:
    """`expire()` on a limit that has timed out interrupts nobody."""

    async def main() -> None:
        limit = TimeLimit(now() + 0.5)
        with pytest.raises(TimeoutError), limit:
            await asyncio.sleep(BOUND)
        limit.expire()
        await asyncio.sleep(1.0)

    run(main())


def test_a_block_that_ends_in_the_turn_of_its_expiry_leaves_no_cancellation() -> None:
    """Expired by its own hand and left without waiting: no later await is interrupted."""

    async def main() -> None:
        limit = TimeLimit(now() + 1.0)
        with limit:
            limit.expire()
        await asyncio.sleep(1.0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main())


def test_cancellation_from_outside_propagates() -> None:
    """A cancelled task ends by CancelledError, not by TimeoutError, and `on_expiry` stays out."""

    async def main() -> None:
        fired: list[str] = []

        async def work() -> None:
            with TimeLimit(now() + 1.0, lambda: fired.append("expired")):
                await asyncio.sleep(BOUND)

        task = asyncio.create_task(work())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(2.0)
        assert fired == []

    run(main())


@pytest.mark.parametrize("cancel_first", [True, False])
def test_cancellation_wins_over_expiry(cancel_first: bool) -> None:
    """Cancelled and expired in the same turn: CancelledError comes out, in either order."""

    async def main() -> None:
        limit = TimeLimit(now() + BOUND)

        async def work() -> None:
            with limit:
                await asyncio.sleep(2 * BOUND)

        task = asyncio.create_task(work())
        await asyncio.sleep(0.5)
        if cancel_first:
            task.cancel()
        limit.expire()
        if not cancel_first:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_an_inner_limit_ends_only_the_inner_block() -> None:
    """The earlier, inner limit raises inside the outer block, which goes on and can still end."""

    async def main() -> None:
        async def work() -> None:
            with pytest.raises(TimeoutError), TimeLimit(now() + 1.0):
                await asyncio.sleep(BOUND)
            assert now() == pytest.approx(1.0, abs=EXACT)
            await asyncio.sleep(BOUND)

        with pytest.raises(TimeoutError), TimeLimit(now() + 2.0):
            await work()
        assert now() == pytest.approx(2.0, abs=EXACT)

    run(main())


def test_an_outer_limit_passes_through_the_inner_block() -> None:
    """The earlier, outer limit is a cancellation to the inner block, whose own stays quiet."""

    async def main() -> list[str]:
        seen: list[str] = []

        async def work() -> None:
            try:
                with TimeLimit(now() + 2.0, lambda: seen.append("inner expired")):
                    await asyncio.sleep(BOUND)
            except TimeoutError:
                seen.append("inner timed out")
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        with pytest.raises(TimeoutError), TimeLimit(now() + 1.0):
            await work()
        await asyncio.sleep(5.0)
        return seen

    assert run(main()) == ["cancelled"]


def test_cancellation_and_expiry_in_one_turn_are_both_accounted_for() -> None:
    """A task that survives both is not left with a cancellation that nobody asked for."""

    async def main() -> int:
        limit = TimeLimit(now() + BOUND)

        async def work() -> int:
            with suppress(asyncio.CancelledError), limit:
                await asyncio.sleep(2 * BOUND)
            task = asyncio.current_task()
            assert task is not None
            asked = task.cancelling()
            await asyncio.sleep(1.0)
            return asked

        task = asyncio.create_task(work())
        await asyncio.sleep(0.5)
        limit.expire()
        task.cancel()
        return await task

    assert run(main()) == 1


@pytest.mark.parametrize("moment", ["expire", "timer"])
def test_what_is_ready_when_the_limit_ends_its_block_is_not_half_delivered(moment: str) -> None:
    """A result and the end in one turn: either the value or TimeoutError, and no aftermath."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[str] = loop.create_future()
        limit = TimeLimit(now() + 1.0)

        def both() -> None:
            came.set_result("answer")
            limit.expire() if moment == "expire" else limit._fire()

        loop.call_later(0.5, both)
        with suppress(TimeoutError), limit:
            assert await came == "answer"
        await asyncio.sleep(5.0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main())


def test_two_limits_of_one_moment_end_both_blocks() -> None:
    """Nested limits that fall together still end by one TimeoutError, none left pending."""

    async def main() -> None:
        with pytest.raises(TimeoutError), TimeLimit(now() + 1.0), TimeLimit(now() + 1.0):
            await asyncio.sleep(BOUND)
        await asyncio.sleep(1.0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(main())


def test_a_stall_past_the_limit_leaves_time_to_read_what_came_in() -> None:
    """The loop was blocked beyond `when`: what is handled in the turns after it still counts."""

    async def main() -> str:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[str] = loop.create_future()

        def block_and_then_deliver() -> None:
            stall(7.0)
            loop.call_later(GRACE / 2, came.set_result, "answer")

        loop.call_later(0.5, block_and_then_deliver)
        with TimeLimit(now() + 1.0):
            return await came

    assert run(main()) == "answer"


def test_nested_limits_both_forgive_a_stall() -> None:
    """One stall beyond the attempt's and the call's limit ends neither."""

    async def main() -> str:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[str] = loop.create_future()

        def block_and_then_deliver() -> None:
            stall(7.0)
            loop.call_later(GRACE / 2, came.set_result, "answer")

        loop.call_later(0.5, block_and_then_deliver)
        with TimeLimit(now() + 2.0), TimeLimit(now() + 1.0):
            return await came

    assert run(main()) == "answer"


def test_one_stall_over_two_limits_costs_one_grace() -> None:
    """Neither takes the other's grace for a stall."""

    async def both() -> None:
        with TimeLimit(now() + 2.0):
            with suppress(TimeoutError), TimeLimit(now() + 1.0):
                await asyncio.sleep(BOUND)
            await asyncio.sleep(BOUND)

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.5, stall, 7.0)
        with pytest.raises(TimeoutError):
            await both()
        assert now() == pytest.approx(7.5 + GRACE, abs=2 * GRACE)

    run(main())


def test_after_a_stall_the_limit_waits_no_longer_than_its_grace() -> None:
    """When nothing came in during the stall, the block ends 20 ms after it."""

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.5, stall, 7.0)
        with pytest.raises(TimeoutError), TimeLimit(now() + 1.0):
            await asyncio.sleep(BOUND)
        assert now() == pytest.approx(7.5 + GRACE, abs=EXACT)

    run(main())


def test_a_timer_a_little_late_is_not_a_stall() -> None:
    """A limit that fires less than 20 ms late ends its block at once."""

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.995, stall, 0.015)
        with pytest.raises(TimeoutError), TimeLimit(now() + 1.0):
            await asyncio.sleep(BOUND)
        assert now() == pytest.approx(1.01, abs=EXACT)

    run(main())


def test_a_loop_that_never_stops_stalling_is_not_waited_for() -> None:
    """Stall upon stall re-arms the limit a bounded number of times, then it ends the block."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        stalls = 0

        def again() -> None:
            nonlocal stalls
            stalls += 1
            stall(0.5)
            if stalls < 100:
                loop.call_soon(again)

        loop.call_later(0.9, again)
        with pytest.raises(TimeoutError), TimeLimit(now() + 1.0):
            await asyncio.sleep(BOUND)
        return stalls

    assert run(main()) <= 30


def test_a_moment_in_the_past_ends_the_block_within_the_grace() -> None:
    """A limit that is over when its block is entered lets it wait 20 ms at most."""

    async def main() -> None:
        await asyncio.sleep(5.0)
        with pytest.raises(TimeoutError), TimeLimit(1.0):
            await asyncio.sleep(BOUND)
        assert now() <= 5.0 + GRACE + EXACT

    run(main())


def test_expire_ends_a_block_in_its_grace() -> None:
    """`expire()` does not wait for a limit that was re-armed after a stall."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        limit = TimeLimit(now() + 1.0)

        def block() -> None:
            stall(7.0)
            loop.call_later(GRACE / 4, limit.expire)

        loop.call_later(0.5, block)
        with pytest.raises(TimeoutError), limit:
            await asyncio.sleep(BOUND)
        assert now() < 7.5 + GRACE / 2

    run(main())


def test_a_stall_excuses_all_who_were_under_way_and_nobody_else() -> None:
    """One meter for all: who began before the loop was blocked is excused, who began after it is
    not, although the beat that tells of it comes later still."""

    async def main() -> None:
        meter = StallMeter()
        early = meter.begin()
        await asyncio.sleep(0.35)
        assert not meter.is_excuse(early)
        stall(0.5)
        late = meter.begin()
        await asyncio.sleep(0.35)
        assert meter.is_excuse(early)
        assert not meter.is_excuse(late)
        meter.end()
        meter.end()

    run(main())


def test_short_stalls_add_up_while_somebody_wants_to_know() -> None:
    """Three stalls of 0.2 s are a good part of a second; nobody waits in the pause after them, so
    that what blocks the loop then is not counted, and the meter lets the loop rest."""

    async def main() -> None:
        meter = StallMeter()
        begun = meter.begin()
        for _ in range(3):
            stall(0.2)
            await asyncio.sleep(0.15)
        assert meter.is_excuse(begun)
        meter.end()
        await asyncio.sleep(0.2)
        stall(5.0)
        again = meter.begin()
        await asyncio.sleep(0.25)
        assert not meter.is_excuse(again)
        meter.end()

    run(main())
