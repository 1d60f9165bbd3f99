"""A scope and what goes on inside: both end together, and time given to one is given to all."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from htx_async.calls.default_deadline import DefaultDeadline
from htx_async.calls.scope import Scope
from htx_async.enums import Verdict
from htx_async.limits.slower_limit import BELIEVED
from htx_async.report import Attempt
from tests.support.virtual import run

DEFAULT = DefaultDeadline((10.0, 20.0), allowance=5.0, longest=3.0)
"""Until 15 s in all with answers at once; the last turn comes at 20 s when each takes 3 s."""


class Noted:
    """A part that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def hold_back(self, reason: str) -> None:
        self.told.append(("hold back", reason))

    def stop(self, reason: str) -> None:
        self.told.append(("stop", reason))

    def extend(self, deadline: float) -> None:
        self.told.append(("extend", deadline))


def answered(wire: float, status: int | None = 200) -> Attempt:
    """An attempt that was on the wire for so many seconds."""
    return Attempt(
        number=1,
        base_url="https://host.example",
        started=datetime(2026, 3, 1, 12, tzinfo=UTC),
        waited=0.0,
        wire=wire,
        http_status=status,
        verdict=Verdict.UNKNOWN if status is None else Verdict.ACCEPTED,
        code=None,
        message="",
        sent=True,
    )


def test_a_scope_is_the_callers_own_and_neither_urgent_nor_persistent_unless_said() -> None:
    """What is inside takes over all of it but the deadline's owner, and tells its own number."""
    scope = Scope(30.0, 12.0)
    assert (scope.is_own, scope.urgent, scope.persists, scope.reason) == (True, False, False, "")
    assert (scope.deadline, scope.patience) == (30.0, 12.0)
    inner = Scope(30.0, 12.0, is_own=False, urgent=True, persists=True, number=7).inner(number=0)
    assert (inner.urgent, inner.persists, inner.is_own, inner.number) == (True, True, True, 0)
    assert (inner.deadline, inner.patience) == (30.0, 12.0)


def test_calls_have_numbers_of_their_own() -> None:
    """Two scopes that were given none are told apart in events; one that was given one keeps it."""
    first, second = Scope(1.0, 1.0), Scope(1.0, 1.0)
    assert second.number > first.number
    assert Scope(1.0, 1.0, number=4).number == 4
    assert first.inner().number > second.number


@pytest.mark.parametrize(("asked", "until"), [(None, 10.0), (4.0, 4.0), (11.0, 10.0)])
def test_an_inner_scope_ends_with_its_outer_one_at_the_latest(
    asked: float | None, until: float
) -> None:
    """Less time may be given to a part of the work, never more."""
    assert Scope(10.0, 10.0).inner(asked).deadline == until


@pytest.mark.parametrize("how", ["hold_back", "stop"])
def test_what_goes_on_inside_ends_with_the_scope(how: str) -> None:
    """Every part is told why, those of an inner scope too, and no part that is over."""
    outer = Scope(10.0, 10.0)
    inner, parts = outer.inner(), (Noted(), Noted(), Noted())
    with outer.holding(inner), outer.holding(parts[0]), inner.holding(parts[1]):
        with outer.holding(parts[2]):
            pass
        getattr(outer, how)("the session was closed")
    told = [(how.replace("_", " "), "the session was closed")]
    assert [part.told for part in parts] == [told, told, []]
    assert (outer.reason, inner.reason) == ("the session was closed",) * 2


def test_the_first_reason_stays() -> None:
    """A call that is ended twice is told by what ended it."""
    scope = Scope(10.0, 10.0)
    scope.hold_back("first")
    scope.stop("second")
    assert scope.reason == "first"
    assert scope.inner().reason == "first"


def test_what_begins_in_a_scope_that_is_to_end_is_stopped_at_once() -> None:
    """It has sent nothing yet, so there is no answer to wait for."""
    scope, late, early = Scope(10.0, 10.0), Noted(), Noted()
    with scope.holding(early):
        assert early.told == []
        scope.hold_back("the deadline passed")
        with scope.holding(late):
            assert late.told == [("stop", "the deadline passed")]


def test_more_time_is_given_to_all_and_never_taken() -> None:
    """The patience that an account names grows by as much."""
    outer = Scope(10.0, 8.0)
    inner, part = outer.inner(4.0), Noted()
    with outer.holding(inner), inner.holding(part):
        for until in (3.0, 4.0, 10.0, 12.0, 11.0):
            outer.extend(until)
    assert (outer.deadline, outer.patience) == (12.0, 10.0)
    assert (inner.deadline, inner.patience) == (12.0, 16.0)
    assert part.told == [("extend", 12.0)]


def test_a_default_deadline_grows_with_slow_answers() -> None:
    """From 15.83 s with answers of half a second to 25 s with those of three; a request without an
    answer, and a deadline that the caller named, change nothing."""
    scope = Scope(1.0, 1.0)
    scope.heard(answered(3.0))
    assert scope.deadline == 1.0
    scope.grow(DEFAULT, 2.0)
    assert (scope.deadline, scope.patience) == pytest.approx((16.667, 14.667), abs=0.001)
    inner = scope.inner(3.0)
    with scope.holding(inner):
        scope.heard(answered(3.0, None))
        assert scope.deadline == pytest.approx(16.667, abs=0.001)
        inner.heard(answered(3.0))
    assert (scope.deadline, scope.patience) == pytest.approx((25.0, 23.0))
    assert inner.deadline == pytest.approx(25.0)


def test_a_default_deadline_waits_for_a_turn_that_a_slower_limit_moves() -> None:
    """Until the turn and what is allowed after it, or, once the slower limit is believed no more,
    as long again as it had at first."""
    scope = Scope(1.0, 1.0)
    scope.grow(DEFAULT, 2.0)
    assert scope.waits(30.0, 2.0, 9, False)
    assert scope.deadline == pytest.approx(35.0)
    assert scope.inner().waits(1000.0, 4.0, 9, False)
    assert scope.deadline == pytest.approx(4.0 + BELIEVED + 14.667, abs=0.001)
    given = Scope(10.0, 8.0, allowance=2.0)
    assert given.waits(1000.0, 4.0, 9, False)
    assert given.deadline == pytest.approx(4.0 + BELIEVED + 8.0)


@pytest.mark.parametrize(
    ("named", "persists", "waits"), [(1, False, True), (2, False, False), (2, True, True)]
)
def test_a_deadline_of_the_callers_waits_while_one_reply_alone_named_the_limit(
    named: int, persists: bool, waits: bool
) -> None:
    """The next may undo it; what asks until its deadline waits until then. No time is added."""
    scope = Scope(10.0, 8.0)
    for one in (scope, scope.inner()):
        assert one.waits(30.0, 2.0, named, persists) is waits
        assert one.deadline == 10.0


def test_a_pause_ends_when_the_scope_does() -> None:
    """It is not begun where the deadline comes first, or where the scope is to end anyway."""

    async def main() -> list[tuple[bool, float]]:
        loop = asyncio.get_running_loop()
        scope, told = Scope(10.0, 10.0), []

        async def pause(seconds: float) -> None:
            told.append((await scope.pause(seconds), loop.time()))

        await pause(2.0)
        await pause(8.0)
        loop.call_later(1.5, scope.hold_back, "enough")
        await asyncio.gather(pause(5.0), pause(6.0))
        scope.stop("and again")
        await pause(1.0)
        return told

    ends = run(main())
    assert [went_on for went_on, _ in ends] == [True, False, False, False, False]
    assert [at for _, at in ends] == pytest.approx([2.0, 2.0, 3.5, 3.5, 3.5], abs=0.001)


def test_a_pause_until_the_very_deadline_is_not_begun() -> None:
    """Nothing could be sent after it."""

    async def main() -> tuple[bool, float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        return await Scope(began + 2.0, 2.0).pause(2.0), loop.time() - began

    assert run(main()) == (False, 0.0)


def test_a_wait_for_one_of_several_ends_with_the_first_or_with_the_scope() -> None:
    """At once where one has come or the scope is to end; when time is up, none has come."""

    async def main() -> list[tuple[bool, float]]:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1.0)
        told = []

        async def until(scope: Scope, *futures: asyncio.Future[None]) -> None:
            began = loop.time()
            told.append((await scope.until(*futures), loop.time() - began))

        done, never, soon = (loop.create_future() for _ in range(3))
        done.set_result(None)
        scope = Scope(loop.time() + 10.0, 10.0)
        await until(scope, never, done)
        loop.call_later(2.0, soon.set_result, None)
        await until(scope, never, soon)
        loop.call_later(3.0, scope.hold_back, "enough")
        await until(scope, never)
        for late in (scope, scope.inner()):
            await until(late, never)
            await until(late, done)
        await until(Scope(loop.time() + 0.5, 0.5), never)
        await until(Scope(loop.time() - 0.5, 0.5), never)
        return told

    ends = run(main())
    assert [has_come for has_come, _ in ends] == [True, True, *[False] * 7]
    at = [0.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0]
    assert [seconds for _, seconds in ends] == pytest.approx(at, abs=0.001)


def test_idle_is_when_the_last_part_is_over() -> None:
    """Of those, too, that begin while one waits; at once where nothing goes on."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        scope, at = Scope(10.0, 10.0), []

        async def work(begins: float, seconds: float) -> None:
            await asyncio.sleep(begins)
            with scope.holding(Noted()):
                await asyncio.sleep(seconds)

        async def idle() -> None:
            await scope.idle()
            at.append(loop.time())

        await idle()
        jobs = [asyncio.ensure_future(work(begins, 2.0)) for begins in (0.0, 1.0)]
        await asyncio.sleep(0.5)
        await idle()
        await asyncio.gather(*jobs, work(0.0, 1.0))
        await idle()
        return at

    assert run(main()) == pytest.approx([0.0, 3.0, 4.0], abs=0.001)
