"""Until when a piece of work goes on, how urgently, and whether it is to end before its time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from htx_async.calls.default_deadline import DefaultDeadline
from htx_async.limits.slower_limit import BELIEVED
from htx_async.report import Attempt

NUMBERS = itertools.count(1)
"""Names calls in events."""

FIRST = (0,)
"""See `Scope.rank`."""


class Part(Protocol):
    """What goes on inside of a scope: a request, or an inner scope."""

    def hold_back(self, reason: str) -> None:
        """Send nothing from now on; end with the answer that is still to come, if there is one."""

    def stop(self, reason: str) -> None:
        """End now."""

    def extend(self, deadline: float) -> None:
        """Have time until loop time `deadline`, if that is later than before."""


class Scope:
    """Deadline, stop, hold back, urgency and number of a call; what is inside obeys the same.

    `deadline`: loop time. `patience`: the seconds that the caller gave, for the report.
    `is_own`: the deadline is the caller's, so that a turn which comes too late ends the call at
    once. `persists`: unknown outcomes are asked for again until the deadline. `number`: of the call
    in events. `allowance`: the seconds that a default deadline has from the last turn on. An inner
    scope, `inner()`, ends with its outer one.
    """

    reason = ""
    """Why it is to end before its time; "" as long as it is not."""
    rank: Callable[[bool], tuple[int, ...]] | None = None
    """Where what is inside stands among what waits in the same outermost scope, asked when a token
    is granted, with whether it is a repeat: the least goes first. One that begins with `FIRST` goes
    before those of other calls that do not. None: in the order in which it came."""
    _default: DefaultDeadline | None = None
    _outer: Scope | None = None
    _ending: asyncio.Future[None] | None = None
    _idle: asyncio.Future[None] | None = None

    def __init__(
        self,
        deadline: float,
        patience: float,
        *,
        is_own: bool = True,
        urgent: bool = False,
        persists: bool = False,
        number: int | None = None,
        allowance: float | None = None,
    ) -> None:
        self.deadline = deadline
        self.patience = patience
        self.is_own = is_own
        self.urgent = urgent
        self.persists = persists
        self.number = next(NUMBERS) if number is None else number
        self._allowance = allowance
        self._full = patience
        self._parts: dict[Part, None] = {}

    def inner(self, deadline: float | None = None, *, number: int | None = None) -> Scope:
        """A scope for a part of the work, until loop time `deadline` or the same."""
        until = self.deadline if deadline is None else min(deadline, self.deadline)
        scope = Scope(
            until, self.patience, urgent=self.urgent, persists=self.persists, number=number
        )
        scope._outer = self
        scope.reason = self.reason
        return scope

    @property
    def outermost(self) -> Scope:
        """That of the user's whole call."""
        return self if self._outer is None else self._outer.outermost

    def hold(self, part: Part) -> None:
        """`part` goes on until it is let go, and ends with the scope."""
        self._parts[part] = None
        if self.reason:
            part.stop(self.reason)

    def let_go(self, part: Part) -> None:
        """`part` is over."""
        del self._parts[part]
        if not self._parts and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    @contextmanager
    def holding(self, part: Part) -> Iterator[None]:
        """`part` goes on for the block, and ends with the scope."""
        self.hold(part)
        try:
            yield
        finally:
            self.let_go(part)

    async def idle(self) -> None:
        """Wait until nothing goes on inside."""
        while self._parts:
            self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    def hold_back(self, reason: str) -> None:
        """Send nothing from now on; what is on the wire may still be answered."""
        self._end(reason)
        for part in tuple(self._parts):
            part.hold_back(reason)

    def stop(self, reason: str) -> None:
        """End everything inside now; what was sent and not answered is unknown."""
        self._end(reason)
        for part in tuple(self._parts):
            part.stop(reason)

    def extend(self, deadline: float) -> None:
        """Give everything inside time until loop time `deadline`, if that is later."""
        if deadline > self.deadline:
            self.patience += deadline - self.deadline
            self.deadline = deadline
            for part in tuple(self._parts):
                part.extend(deadline)

    def grow(self, default: DefaultDeadline, now: float) -> None:
        """Have the time that `default` gives, from loop time `now`, and more with slow answers."""
        self._default = default
        self.deadline = default.until()
        self.patience = self._full = self.deadline - now
        self._allowance = default.allowance

    def waits(self, turn: float, now: float, named: int, persists: bool) -> bool:
        """Whether to wait for a turn that a slower limit moves beyond the deadline, to `turn`.

        The next reply can undo that. So a default deadline moves, to what the limit needs, or needs
        again once the slower one is believed no more; what `persists` waits until its deadline, and
        others do so while one reply alone has named it (`named`: how many have).
        """
        if self._outer is not None:
            return self._outer.waits(turn, now, named, persists)
        if self._allowance is not None:
            self.extend(min(turn + self._allowance, now + BELIEVED + self._full))
            return True
        return persists or named == 1

    def heard(self, attempt: Attempt) -> None:
        """An attempt was answered: slow answers ask for a longer default deadline."""
        if self._outer is not None:
            self._outer.heard(attempt)
        elif self._default is not None and attempt.http_status is not None:
            self.extend(self._default.until(attempt.wire))

    async def pause(self, seconds: float) -> bool:
        """Wait; False as soon as it is to end, and at once when the deadline would come first."""
        loop = asyncio.get_running_loop()
        if self.reason or loop.time() + seconds >= self.deadline:
            return False
        if self._ending is None:
            self._ending = loop.create_future()
        await asyncio.wait([self._ending], timeout=seconds)
        return not self.reason

    async def until(self, *futures: asyncio.Future[Any]) -> bool:
        """Wait for the first of them; False when it is to end before, or time is up."""
        loop = asyncio.get_running_loop()
        if self.reason or any(future.done() for future in futures):
            return not self.reason
        if self._ending is None:
            self._ending = loop.create_future()
        left = max(0.0, self.deadline - loop.time())
        waited: list[asyncio.Future[Any]] = [self._ending, *futures]
        await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        return not self.reason and any(future.done() for future in futures)

    def _end(self, reason: str) -> None:
        self.reason = self.reason or reason
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(None)
