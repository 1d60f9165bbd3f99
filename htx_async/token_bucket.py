"""Five in any second: tokens that come back one period after their request was answered.

A token is taken before a request is signed and sent, and comes back `per` seconds after that
request was answered or has failed; there is no other refill. So, at any latency, two requests that
used one token lie more than `per` apart at the exchange, and no window of that length holds more
than `size` of them (README, "The limit, and why it holds"). A bucket keyed on send times cannot
promise that: latency may push the sends of two windows into one.
"""

import asyncio
import heapq
import math
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self

from htx_async.checks import as_count, as_seconds
from htx_async.errors import InvalidRequest
from htx_async.headers import LONGEST_PAUSE
from htx_async.line import Line, OnTurn
from htx_async.loop_binding import OTHER_LOOP, LoopBinding

_MARGIN = 0.002
"""Seconds added to every hold: loop timers were seen to fire up to 1.25 ms early (uvloop)."""

_SAME_RATE = 1e-9
_DUE = 1e-6
"""Seconds: a token due within this is due; loop clocks and sums of floats differ by less."""


class TokenBucket:
    """`size` requests in any `per` seconds at the exchange, for each endpoint by itself.

    First in, first out among equals; `urgent` callers go before all others. A waiter that is
    cancelled leaves nothing behind. `round_trip_floor` (seconds) shortens the hold after an
    answer by the time that uplink and downlink together take *at the very least*, a physical
    bound of the route; the smallest round trip ever seen is not one. It belongs to one event loop
    at a time and carries its tokens over from a closed loop to the next.

    Raises `InvalidRequest` for numbers that describe no bucket, and when used from a second loop
    while the first one lives.
    """

    tells_turns: Literal[True] = True

    def __init__(self, size: int = 5, per: float = 1.0, *, round_trip_floor: float = 0.0) -> None:
        self.size = as_count("size", size)
        self.per = as_seconds("per", per)
        self.round_trip_floor = as_seconds("round_trip_floor", round_trip_floor, least=0)
        if self.round_trip_floor >= self.per:
            raise InvalidRequest(f"round_trip_floor must be shorter than per ({self.per:g} s)")
        self._queues: dict[str, _Queue] = {}
        self._binding = LoopBinding()

    def take(
        self, endpoint: str, *, urgent: bool = False, on_turn: OnTurn | None = None
    ) -> "TakeToken":
        """See `RateLimiter.take`. `on_turn` hears the earliest loop time at which the turn of this
        waiter could come, whenever a pause or a slower limit has moved it."""
        return TakeToken(self._queue(endpoint), urgent, on_turn)

    def pause(self, endpoint: str, seconds: float) -> None:
        """See `RateLimiter.pause`."""
        self._queue(endpoint).pause(seconds)

    def earliest(self, endpoint: str, *, urgent: bool = False) -> float:
        """See `RateLimiter.earliest`."""
        return self._queue(endpoint).earliest(urgent)

    def foresee(
        self, endpoint: str, count: int, *, urgent: bool = False, round_trip: float = 0.0
    ) -> float:
        """`earliest` for the last of `count` callers that queue now, with answers that take
        `round_trip` seconds."""
        return self._queue(endpoint).earliest(urgent, count - 1, round_trip)

    def waiting(self, endpoint: str) -> int:
        """How many callers wait for `endpoint`."""
        return self._queue(endpoint).waiting()

    def tighten(self, endpoint: str, requests: float, seconds: float) -> tuple[int, float] | None:
        """Keep `endpoint` at `requests` per `seconds` from now on, if that is slower than now.

        The new size and period (seconds), or None when nothing changed: a faster rate is ignored,
        since the figure may be that of the whole account.
        """
        rate = as_seconds("requests", requests) / as_seconds("seconds", seconds)
        return self._queue(endpoint).tighten(rate, requests)

    def bind(self) -> bool:
        """Belong to the running loop from now on; True when tokens came over from a closed one."""
        return self.carry_over() is not None

    def carry_over(self, *, take_over: bool = False) -> float | None:
        """`bind`; the seconds by which this loop's clock is ahead of the one that the tokens came
        over from, or None when they were here already.

        `take_over`: from a loop that is still open, too; only when nobody uses the bucket there.
        """
        shift = self._binding.enter(take_over=take_over)
        if shift is not None:
            self._queues = {path: queue.carried_over(shift) for path, queue in self._queues.items()}
        return shift

    def _queue(self, endpoint: str) -> "_Queue":
        self.bind()
        queue = self._queues.get(endpoint)
        if queue is None:
            queue = self._queues[endpoint] = _Queue(self.size, self.per, self.round_trip_floor)
        return queue


class _Queue:
    """One endpoint's tokens and those who wait for them. Idle tokens are only a number."""

    def __init__(self, size: int, per: float, floor: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._size = size
        self._per = per
        self._floor = floor
        self._hold = per + _MARGIN
        self._hold_answered = self._hold - floor
        self._in_use = 0
        self._returning: list[float] = []
        self._paused_until = -math.inf
        self._line = Line()
        self._timer: asyncio.TimerHandle | None = None
        self._is_retired = False

    def carried_over(self, shift: float) -> "_Queue":
        """The same tokens on the running loop, whose clock shows `shift` seconds more.

        What was in use on the loop before counts as used just now, and this queue gives nothing
        any more.
        """
        self._is_retired = True
        heir = _Queue(self._size, self._per, self._floor)
        now = heir._loop.time()
        latest = now + self._hold
        returning = [min(at + shift, latest) for at in tuple(self._returning)]
        heir._returning = sorted(returning + [latest] * self._in_use)
        heir._paused_until = min(self._paused_until + shift, now + LONGEST_PAUSE)
        # A loop that is closed, or closes just now, runs no timer any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._retire)
        return heir

    def _retire(self) -> None:
        """On the loop before: no timer, and no wait without an end."""
        self._line.dismiss(InvalidRequest(OTHER_LOOP))
        self._set_timer(None)

    def tighten(self, rate: float, requests: float) -> tuple[int, float] | None:
        if rate >= self._size / self._per * (1 - _SAME_RATE):
            return None
        size = max(1, min(self._size, int(requests)))
        # A short interval must not shorten the hold: the documented second stays in force too.
        longer = max(0.0, size / rate - self._per)
        self._size, self._per = size, self._per + longer
        self._hold += longer
        self._hold_answered += longer
        # Tokens on their way back belong to requests that the slower limit counts too.
        self._returning = [at + longer for at in self._returning]
        self._grant()
        self._announce()
        return self._size, self._per

    def waiting(self) -> int:
        return len(self._line)

    def pause(self, length: float) -> None:
        # Told in a reply: it took its part of the floor, and the next request takes the other.
        length = max(0.0, as_seconds("pause", length, least=0) - self._floor)
        until = self._loop.time() + length
        is_felt = until > max(self._paused_until, min(self._first_turns()))
        self._paused_until = max(self._paused_until, until)
        self._grant()
        if is_felt:
            self._announce()

    def earliest(self, urgent: bool, behind: int = 0, round_trip: float = 0.0) -> float:
        return self._turn(behind + self._line.ahead(urgent), self._first_turns(), round_trip)

    def _announce(self) -> None:
        """Tell those who wait, and asked for it, when their turn can come now."""
        first = self._first_turns()
        for ahead, on_turn in enumerate(self._line):
            if on_turn is not None:
                on_turn(self._turn(ahead, first))

    def _first_turns(self) -> list[float]:
        """When each of the next `size` tokens can be had, if every answer comes at once."""
        now = self._loop.time()
        idle = [now] * (self._size - self._in_use - len(self._returning))
        returning = [max(now, at) for at in self._returning]
        in_use = [now + self._hold_answered] * self._in_use
        # A limit that was just tightened leaves more tokens out than it has: the last ones count.
        return sorted([*idle, *returning, *in_use])[-self._size :]

    def _turn(self, ahead: int, first: list[float], round_trip: float = 0.0) -> float:
        rounds, place = divmod(ahead, self._size)
        later = rounds * (self._hold_answered + round_trip)
        return max(first[place], self._paused_until) + later

    def try_take(self, urgent: bool, on_turn: OnTurn | None) -> asyncio.Future[None] | None:
        """None when a token was taken at once, else the future that will bring one."""
        if self._is_retired:
            raise InvalidRequest(OTHER_LOOP)
        if not self._line.ahead(urgent) and self._free(self._loop.time()):
            self._in_use += 1
            return None
        waiter = self._line.join(urgent, on_turn)
        self._grant()
        return waiter

    def abandon(self, waiter: asyncio.Future[None]) -> None:
        """The caller no longer waits; a token that it was just given goes to the next."""
        if self._line.leave(waiter):
            self.give_back()
        else:
            self._grant()

    def give_back(self) -> None:
        self._in_use -= 1
        self._grant()

    def settle(self, answered: bool) -> None:
        self._in_use -= 1
        hold = self._hold_answered if answered else self._hold
        heapq.heappush(self._returning, self._loop.time() + hold)
        self._grant()

    def _free(self, now: float) -> bool:
        while self._returning and self._returning[0] <= now + _DUE:
            heapq.heappop(self._returning)
        in_use = self._in_use + len(self._returning)
        return in_use < self._size and self._paused_until <= now + _DUE

    def _grant(self) -> None:
        """Hand free tokens to those who wait, then set the timer for the next one."""
        now = self._loop.time()
        while self._line and self._free(now):
            if self._line.call_next():
                self._in_use += 1
        wanted = self._line and (self._returning or self._paused_until > now)
        # During a pause tokens may lie idle: then its end is all that the next caller waits for.
        is_idle = self._in_use + len(self._returning) < self._size
        next_token = self._returning[0] if self._returning and not is_idle else now
        self._set_timer(max(next_token, self._paused_until) if wanted else None)

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

    __slots__ = ("_held", "_on_turn", "_queue", "_urgent")

    def __init__(self, queue: _Queue, urgent: bool, on_turn: OnTurn | None) -> None:
        self._queue = queue
        self._urgent = urgent
        self._on_turn = on_turn
        self._held = False

    async def __aenter__(self) -> Self:
        waiter = self._queue.try_take(self._urgent, self._on_turn)
        if waiter is not None:
            try:
                await waiter
            except BaseException:
                self._queue.abandon(waiter)
                raise
        self._held = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._held:
            self._held = False
            self._queue.settle(answered=exc_type is None)

    def not_sent(self) -> None:
        """See `Lease.not_sent`."""
        if self._held:
            self._held = False
            self._queue.give_back()
