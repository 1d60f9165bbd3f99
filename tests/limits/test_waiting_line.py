"""The line of those who wait for an endpoint's next token."""

import asyncio
import sys

import pytest

from htx_async.limits.waiting_line import WaitingLine
from tests.support.virtual import run

pytestmark = pytest.mark.usefixtures("tasks")


def told(_: float) -> None:
    """Hears of a turn."""


def test_urgent_ones_go_first_and_equals_in_the_order_of_their_coming() -> None:
    """Whoever joins, the head is the first of the urgent ones, then the first of the rest."""

    async def main() -> None:
        line = WaitingLine()
        ordinary = [line.join(False, None) for _ in range(2)]
        urgent = [line.join(True, None) for _ in range(2)]
        called = []
        while line:
            assert line.is_urgent == bool(len(line) > 2)
            assert line.call_next()
            called += [one for one in (*ordinary, *urgent) if one.done() and one not in called]
        assert called == [*urgent, *ordinary]
        assert not line.call_next()

    run(main())


def test_a_line_knows_its_length_and_who_would_go_before_a_newcomer() -> None:
    """An urgent newcomer has only the urgent ones before it."""

    async def main() -> None:
        line = WaitingLine()
        assert (len(line), line.ahead(True), line.ahead(False), line.is_urgent) == (0, 0, 0, False)
        waiters = [line.join(urgent, None) for urgent in (False, True, False)]
        assert (len(line), line.ahead(True), line.ahead(False), line.is_urgent) == (3, 1, 3, True)
        assert not line.leave(waiters[1])
        assert (len(line), line.ahead(True), line.ahead(False), line.is_urgent) == (2, 0, 2, False)

    run(main())


def test_those_who_are_told_of_turns_come_in_the_order_of_the_line() -> None:
    """Also while one of them leaves because of what it was just told."""

    async def main() -> None:
        line = WaitingLine()
        line.join(False, None)
        leaving = line.join(False, told)
        line.join(True, told)
        seen = []
        for on_turn in line:
            line.leave(leaving)
            seen.append(on_turn)
        assert seen == [told, None, told]
        assert len(line) == 2

    run(main())


def test_leaving_tells_whether_the_turn_had_come() -> None:
    """Only a waiter that was called has something to pass on."""

    async def main() -> None:
        line = WaitingLine()
        called, cancelled, dismissed, waiting = (line.join(False, None) for _ in range(4))
        assert line.call_next()
        cancelled.cancel()
        dismissed.set_exception(ValueError())
        left = [line.leave(one) for one in (called, cancelled, dismissed, waiting)]
        assert left == [True, False, False, False]
        assert not line

    run(main())


def test_one_that_is_gone_gets_no_turn() -> None:
    """A waiter that was cancelled and has not left yet is passed over, and only it."""

    async def main() -> None:
        line = WaitingLine()
        gone, present = line.join(False, None), line.join(False, None)
        gone.cancel()
        assert not line.call_next()
        assert line.call_next()
        assert present.done()
        assert not line

    run(main())


def test_everybody_who_is_dismissed_hears_why() -> None:
    """The error ends every wait that had not ended by itself, and the line is empty."""

    async def main() -> None:
        line = WaitingLine()
        gone = line.join(True, None)
        gone.cancel()
        waiters = [line.join(urgent, None) for urgent in (True, False)]
        line.dismiss(KeyError("closed"))
        assert not line
        for waiter in waiters:
            with pytest.raises(KeyError, match="closed"):
                await waiter

    run(main())


@pytest.mark.parametrize("way", ["called", "left"])
def test_a_line_that_was_long_keeps_nothing(way: str) -> None:
    """An emptied dictionary would keep its table; the memory of ten thousand comes back."""

    async def main() -> None:
        line = WaitingLine()
        empty = sys.getsizeof(line._ordinary)
        waiters = [line.join(False, None) for _ in range(10_000)]
        assert sys.getsizeof(line._ordinary) > 100 * empty
        for waiter in waiters:
            if way == "called":
                assert line.call_next()
            else:
                line.leave(waiter)
        assert sys.getsizeof(line._ordinary) == empty
        await asyncio.gather(*(one for one in waiters if one.done()))

    run(main())
