"""One endpoint's tokens, and those who wait for them; see `token_bucket`."""

import asyncio
import math
from contextlib import suppress
from types import TracebackType
from typing import Self

from htx_async.aio.loop_binding import OTHER_LOOP
from htx_async.arguments import as_seconds
from htx_async.errors import InvalidRequest
from htx_async.exchange.endpoints import Limit
from htx_async.exchange.headers import LONGEST_PAUSE, PERIOD
from htx_async.limits.account_budget import AccountBudget
from htx_async.limits.gate import Gate
from htx_async.limits.slower_limit import SlowerLimit
from htx_async.limits.waiting_line import OnTurn, WaitingLine
from htx_async.limits.window import DUE, Window

_MARGIN = 0.002
"""Seconds added to every hold: loop timers were seen to fire up to 1.25 ms early (uvloop)."""

_SLOW = 0.5
"""Seconds for which callers on other endpoints may wait for their answers, where nobody may be
turned away for the room that they take."""


class TokenQueue:
    """One endpoint's tokens and those who wait for them.

    The limit itself binds everybody. What the exchange told beyond it, a slower limit or a refusal,
    binds ordinary callers, and of the urgent ones together all but one each period.
    """

    def __init__(
        self, own: Limit, documented: Limit, floor: float, budget: AccountBudget | None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._settings = (own, documented, floor)
        self._floor = floor
        self._limit = Window(own.size, own.per + _MARGIN, own.per + _MARGIN - floor)
        self._slower = SlowerLimit(own, documented)
        self._slow: Window | None = None
        self._gate = Gate()
        self._paused_until = -math.inf
        self.line: WaitingLine = WaitingLine()
        self._timer: asyncio.TimerHandle | None = None
        self._is_retired = False
        self.budget = budget
        if budget is not None:
            budget.lines.append(self)

    def carried_over(self, shift: float, budget: AccountBudget | None) -> "TokenQueue":
        """The same tokens on the running loop, whose clock shows `shift` seconds more.

        What was in use on the loop before counts as used just now, and this queue gives nothing
        any more.
        """
        self._is_retired = True
        heir = TokenQueue(*self._settings, budget)
        now = heir._loop.time()
        heir._limit = self._limit.carried_over(shift, now)
        heir._slower = self._slower.carried_over(shift, now)
        heir._slow = None if self._slow is None else self._slow.carried_over(shift, now)
        heir._gate = self._gate.carried_over(shift, now)
        heir._paused_until = min(self._paused_until + shift, now + LONGEST_PAUSE)
        # A loop that is closed, or closes just now, runs no timer any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._retire)
        return heir

    def _retire(self) -> None:
        """On the loop before: no timer, and no wait without an end."""
        self.line.dismiss(InvalidRequest(OTHER_LOOP))
        self._set_timer(None)
        if self.budget is not None:
            self.budget.retire()

    def tighten(self, rate: float, requests: float) -> tuple[int, float] | None:
        now = self._loop.time()
        self._forget(now)
        was, named = self._slower.limit(now), self._slower.named(now)
        told = self._slower.hear(rate, requests, now)
        size, per = self._slower.limit(now)
        if (size, per) == was:
            if self._slower.named(now) > named:
                # Believed for longer, and by those too who had doubts.
                self._announce()
            return told
        if (size, per) == self._slower.own:
            self._slow = None
        else:
            # Tokens on their way back belong to requests that the slower limit counts too.
            self._slow = (self._slow or self._limit).resized(size, per - was[1])
            self._gate.urgent_at = max(self._gate.urgent_at, now + PERIOD)
        self._moved()
        return told

    def slower_named(self) -> int:
        return self._slower.named(self._loop.time())

    def _forget(self, now: float) -> None:
        if self._slow is not None and self._slower.limit(now) == self._slower.own:
            self._slow = None
        if not self._gate.is_open:
            self._gate.forget(now)

    def pause(self, length: float) -> None:
        # Told in a reply: it took its part of the floor, and the next request takes the other.
        length = max(0.0, as_seconds("pause", length, least=0) - self._floor)
        now = self._loop.time()
        until = now + length
        first = self._limit.turn(0, self._limit.turns(now), now, 0.0)
        is_felt = until > max(self._paused_until, first)
        self._paused_until = max(self._paused_until, until)
        self._grant()
        if is_felt:
            self._announce()

    def refused(self, seconds: float) -> float:
        seconds = self._gate.shut(self._loop.time(), as_seconds("seconds", seconds, least=0))
        self._moved()
        return seconds

    def earliest(self, urgent: bool) -> float:
        """No turn comes before."""
        return self._foreseen(urgent, 0, 0.0, _SLOW)

    def foresee(self, urgent: bool, behind: int, round_trip: float) -> float:
        """Hardly a turn comes after, as far as it lies with those who wait now."""
        return self._foreseen(urgent, behind, round_trip, 0.0)

    def _foreseen(self, urgent: bool, behind: int, round_trip: float, others: float) -> float:
        now = self._loop.time()
        self._forget(now)
        ahead = behind + self.line.ahead(urgent)
        if not ahead and self._opens_at(urgent, now) <= now:
            turn = now
        else:
            turn = self._turn(ahead, urgent, now, *self._turns(now), round_trip)
        if self.budget is None:
            return turn
        return self.budget.turn(self, ahead, urgent, turn, now, others)

    def uses_by(self, at: float, now: float, round_trip: float) -> int:
        """How many of its line could go until loop time `at`."""
        if self._paused_until > now or not self._gate.is_open:
            return 0
        return (self._slow or self._limit).uses_by(at, now, round_trip)

    def _moved(self) -> None:
        self._grant()
        self._announce()

    def _announce(self) -> None:
        """Tell those who wait, and asked for it, when their turn can come now."""
        now = self._loop.time()
        turns, urgents = self._turns(now), self.line.ahead(True)
        for ahead, on_turn in enumerate(self.line):
            if on_turn is not None:
                on_turn(self._turn(ahead, ahead < urgents, now, *turns))

    def _turns(self, now: float) -> tuple[list[float], list[float]]:
        return self._limit.turns(now), [] if self._slow is None else self._slow.turns(now)

    def _turn(
        self,
        ahead: int,
        urgent: bool,
        now: float,
        turns: list[float],
        slow_turns: list[float],
        round_trip: float = 0.0,
    ) -> float:
        gate = self._gate
        least = max(now, self._paused_until, gate.earliest(urgent, self.line.is_urgent))
        turn = self._limit.turn(ahead, turns, least, round_trip)
        if self._slow is None or (urgent and not gate.is_open):
            return turn
        slow = self._slow.turn(ahead, slow_turns, least, round_trip)
        if urgent and self._slower.is_below_one_a_second(now):
            slow = min(slow, max(now, gate.urgent_at) + ahead * PERIOD)
        return max(turn, slow)

    def try_take(self, urgent: bool, on_turn: OnTurn | None) -> asyncio.Future[None] | None:
        """None when a token was taken at once, else the future that will bring one."""
        if self._is_retired:
            raise InvalidRequest(OTHER_LOOP)
        now = self._loop.time()
        self._forget(now)
        if self._gate.is_open and not self.line.ahead(urgent) and self._lets(urgent, now):
            self._passed(None, urgent, now)
            return None
        waiter = self.line.join(urgent, on_turn)
        self._grant()
        return waiter

    def _lets(self, urgent: bool, now: float) -> bool:
        is_open = self._opens_at(urgent, now) <= now + DUE
        return is_open and (self.budget is None or self.budget.ready(urgent, now) <= now + DUE)

    def _passed(self, caller: object, urgent: bool, now: float) -> None:
        self._limit.take()
        if self._slow is not None:
            self._slow.take()
        if self.budget is not None:
            self.budget.take(urgent, now)
        self._gate.passed(caller, urgent, now)

    def abandon(self, waiter: asyncio.Future[None]) -> None:
        """The caller no longer waits; a token that it was just given goes to the next."""
        if self.line.leave(waiter):
            self.give_back(waiter)
        else:
            self._grant()

    def give_back(self, caller: object) -> None:
        self._limit.give_back()
        if self._slow is not None:
            self._slow.give_back()
        self._gate.left(caller)
        self._grant()

    def settle(self, caller: object, answered: bool) -> None:
        now = self._loop.time()
        self._limit.settle(now, answered)
        if self._slow is not None:
            self._slow.settle(now, answered)
        if answered:
            self._gate.answered(caller)
        else:
            self._gate.left(caller)
        self._grant()

    def _opens_at(self, urgent: bool, now: float) -> float:
        """When the next caller may go, the account's budget apart; `math.inf`: after an answer."""
        at, gate = max(self._limit.opens_at(now), self._paused_until), self._gate
        if self._slow is None or (urgent and not gate.is_open):
            return at if gate.is_open else max(at, gate.opens_at(urgent))
        slow = self._slow.opens_at(now)
        if urgent and self._slower.is_below_one_a_second(now):
            slow = min(slow, gate.urgent_at)
        return max(at, slow, gate.opens_at(urgent))

    def grant(self) -> None:
        """The account's budget has room for one more, or had when somebody else took it."""
        self._grant()

    def _grant(self) -> None:
        """Hand free tokens to those who wait, then set the timer for the next one."""
        now = self._loop.time()
        self._forget(now)
        wanted: float | None = None
        while self.line:
            urgent = self.line.is_urgent
            at = self._opens_at(urgent, now)
            if at > now + DUE:
                wanted = at
                break
            if self.budget is not None and not self.budget.lets(self, urgent, now):
                # It calls when it has room.
                break
            if (waiter := self.line.call_next()) is not None:
                self._passed(waiter, urgent, now)
        if wanted is not None and self._slow is not None:
            wanted = min(wanted, self._slower.until)
        self._set_timer(None if wanted == math.inf else wanted)

    def _set_timer(self, at: float | None) -> None:
        if self._timer is not None:
            if self._timer.when() == at:
                return
            self._timer.cancel()
        self._timer = None if at is None else self._loop.call_at(at, self._due)

    def _due(self) -> None:
        self._timer = None
        self._grant()


class TakeToken:
    """Waits for one token of one queue and holds it for a block."""

    __slots__ = ("_held", "_on_turn", "_queue", "_stands", "_urgent", "_waiter")

    def __init__(self, queue: TokenQueue, urgent: bool, on_turn: OnTurn | None) -> None:
        self._queue = queue
        self._urgent = urgent
        self._on_turn = on_turn
        self._waiter: asyncio.Future[None] | None = None
        self._stands = self._held = False

    def stand(self) -> Self:
        """See `BaseLimiter.stand`."""
        self._waiter = self._queue.try_take(self._urgent, self._on_turn)
        self._stands = True
        return self

    async def __aenter__(self) -> Self:
        waiter = (self if self._stands else self.stand())._waiter
        self._stands = False
        if waiter is not None:
            try:
                await waiter
            except BaseException:
                self._queue.abandon(waiter)
                raise
        self._held = True
        if self._queue.budget is not None:
            try:
                await self._queue.budget.acquire(self._urgent)
            except BaseException:
                self.not_sent()
                raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._held:
            self._held = False
            self._queue.settle(self._waiter, answered=exc_type is None)

    def not_sent(self) -> None:
        """See `Lease.not_sent`."""
        if self._held:
            self._held = False
            self._queue.give_back(self._waiter)
