"""The account's broad budget: so many trade calls over all endpoints, with foresight.

`aiolimiter` keeps it; beside each of its limiters stands the same reckoning, by which callers know
when their turn comes. Whoever waits, waits in the line of its endpoint, without a token of it; of
several lines the urgent one goes first, then the one whose head came first.
"""

import asyncio
from typing import Protocol

from aiolimiter import AsyncLimiter

from htx_async.exchange.endpoints import BUDGETS, Limit, Permission
from htx_async.limits.waiting_line import WaitingLine
from htx_async.limits.window import DUE

_MOST_STEPS = 200


class Waits(Protocol):
    """One endpoint's line, which the budget may hold up."""

    line: WaitingLine

    def grant(self) -> None:
        """There may be room for the head of the line."""

    def uses_by(self, at: float, now: float, round_trip: float) -> int:
        """How many of the line could go until loop time `at`, by their endpoint's limit, with
        answers that take `round_trip` seconds."""


class _Meter:
    """An `AsyncLimiter`, and when it will let how many pass."""

    def __init__(self, limit: Limit) -> None:
        self.limiter = AsyncLimiter(*limit)
        self._limit = limit
        self._most, self._rate = limit.size, limit.rate
        self._empty_at = 0.0

    def ready(self, now: float, ahead: int) -> float:
        """When one more can pass after `ahead` others."""
        level = max(0.0, (self._empty_at - now) * self._rate)
        return now + max(0.0, level + ahead + 1 - self._most) / self._rate

    def take(self, now: float) -> None:
        self._empty_at = max(self._empty_at, now) + 1 / self._rate

    def carried_over(self, shift: float, now: float) -> "_Meter":
        heir = _Meter(self._limit)
        heir._empty_at = min(self._empty_at + shift, now + self._limit.per)
        # It has no word for this: what is left of the one before.
        heir.limiter._level = max(0.0, heir._empty_at - now) * self._rate
        heir.limiter._last_check = now
        return heir


def ordinary(limit: Limit) -> Limit:
    """What is not kept for urgent callers: five sixths."""
    return Limit(max(1, limit.size * 5 // 6), limit.per)


class AccountBudget:
    """The budget of one account on one event loop. Nothing is given back to it.

    Half of it passes at once; with the other half in the next period that makes all of it at most.
    """

    def __init__(self) -> None:
        whole = BUDGETS[Permission.TRADE]
        half = Limit(max(1, whole.size // 2), whole.per)
        self._all, self._ordinary = _Meter(half), _Meter(ordinary(half))
        self.lines: list[Waits] = []
        """Of all endpoints."""
        self._held_up: list[Waits] = []
        self._timer: asyncio.TimerHandle | None = None

    def carried_over(self, shift: float) -> "AccountBudget":
        """What is left of it on the running loop, whose clock shows `shift` seconds more."""
        heir, now = AccountBudget(), asyncio.get_running_loop().time()
        heir._all = self._all.carried_over(shift, now)
        heir._ordinary = self._ordinary.carried_over(shift, now)
        return heir

    def retire(self) -> None:
        """On the loop before: no timer any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ready(self, urgent: bool, now: float) -> float:
        """When it has room for one more."""
        ready = self._all.ready(now, 0)
        return ready if urgent else max(ready, self._ordinary.ready(now, 0))

    def take(self, urgent: bool, now: float) -> None:
        """One more goes."""
        self._all.take(now)
        if not urgent:
            self._ordinary.take(now)

    async def acquire(self, urgent: bool) -> None:
        """Count one that was let go. Waits only where clocks of both reckonings differ a little."""
        if not urgent:
            await self._ordinary.limiter.acquire()
        await self._all.limiter.acquire()

    def lets(self, line: Waits, urgent: bool, now: float) -> bool:
        """Whether the head of `line` may go; if not, the line hears when it may."""
        if self.ready(urgent, now) <= now + DUE:
            return True
        if line not in self._held_up:
            self._held_up.append(line)
        self._set_timer(now)
        return False

    def turn(
        self, line: Waits, ahead: int, urgent: bool, turn: float, now: float, round_trip: float
    ) -> float:
        """When one behind `ahead` others of `line` can go, whose endpoint lets it go at `turn`.

        Those of other lines who came before go before, as many as their endpoints let go by then
        with answers that take `round_trip` seconds.
        """
        if not ahead and self.ready(urgent, now) <= now:
            return turn
        own_urgent = ahead if urgent else line.line.ahead(True)
        for _ in range(_MOST_STEPS):
            urgents, ordinary = own_urgent, ahead - own_urgent
            for other in self.lines:
                if other is not line and other.line:
                    uses, first = other.uses_by(turn, now, round_trip), other.line.ahead(True)
                    urgents += min(uses, first)
                    ordinary += 0 if urgent else max(0, min(uses, len(other.line)) - first)
            ready = self._all.ready(now, urgents + ordinary)
            if not urgent:
                ready = max(ready, self._ordinary.ready(now, ordinary))
            if ready <= turn + DUE:
                break
            turn = ready
        return turn

    def _set_timer(self, now: float) -> None:
        self.retire()
        if self._held_up:
            is_urgent = any(line.line.is_urgent for line in self._held_up)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self.ready(is_urgent, now), self._due)

    def _due(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        self._held_up = [line for line in self._held_up if line.line]
        while self._held_up:
            line = min(self._held_up, key=lambda one: one.line.head)
            if self.ready(line.line.is_urgent, now) > now + DUE:
                break
            self._held_up.remove(line)
            line.grant()
            # A head that is gone takes nobody along: the line is held up no longer, or once more.
            self._held_up = [one for one in self._held_up if one.line]
        self._set_timer(now)
