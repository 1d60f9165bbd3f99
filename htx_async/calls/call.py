"""One call: an operation carried through attempts to an answer. The only loop that waits."""

import asyncio
import math

from htx_async.calls.attempts import Attempts
from htx_async.calls.clock_check import ClockCheck
from htx_async.calls.heed import asked_after
from htx_async.calls.in_flight import InFlight
from htx_async.calls.ride import Rider
from htx_async.calls.wall_clock import ClockFailed
from htx_async.codes import CodeClass
from htx_async.enums import Verdict
from htx_async.exchange.headers import LONGEST_PAUSE, PERIOD
from htx_async.exchange.messages import Answer, SendFailed
from htx_async.exchange.models import Page
from htx_async.exchange.operation import Reply
from htx_async.limits.limiter import Lease
from htx_async.report_text import unread

_TO_WRITE = 0.05
"""Seconds, from the call's start, that the record of it may keep the first request back."""


class Call(Attempts):
    """Carries `operation` through attempts, each with a token and a signature of its own.

    `scope`: until when, and how urgently. `sink`: hears of each attempt, as one for
    `contracts`. `persists`: goes on to its deadline, not only to the policy's number of unknown
    outcomes. `lost`: how many outcomes of the same are unknown from calls before this one.
    `may_move`: it may be asked elsewhere as well.
    """

    _is_stopped = False
    _clock_check: ClockCheck | None = None
    _is_check_due = False
    _ended_by = ""
    _wait: float | None = None
    """What an attempt came to that was made for several calls: seconds until the next one."""

    @property
    def ended_by(self) -> str:
        """What ended it when the exchange did not."""
        check = self._clock_check
        if self._ended_by or check is None or not check.was_made:
            return self._ended_by
        # What the comparison of clocks found, once the call was refused again after it.
        refused = [one.attempt.code_class is CodeClass.AUTH for one in self.endings]
        return check.told() if refused[-1] and sum(refused) > 1 else ""

    @property
    def reply(self) -> Reply | None:
        """The last one."""
        return self.endings[-1].reply if self.endings else None

    @property
    def problem(self) -> str:
        """Why there is none to go by."""
        return unread([one.attempt for one in self.endings], self.ended_by)

    @property
    def page(self) -> Page | None:
        """What a read was made for; None when it was not had."""
        reply = self.reply
        return reply.data if reply is not None and reply.verdict is Verdict.ACCEPTED else None

    async def run(self) -> None:
        """Attempt until the exchange has answered for good, the policy ends it, or time is up."""
        wait: float | None = 0.0
        try:
            with self._limit:
                while wait is not None and not self._is_stopped:
                    if wait > 0:
                        await asyncio.sleep(wait)
                    if self._is_check_due and not await self._check_clock():
                        break
                    turn = self._limiter.earliest(self.path, urgent=self.scope.urgent)
                    if turn is not None and self._is_too_late(turn):
                        self._ended_by = self._too_late(turn)
                        break
                    self._may_be_late = True
                    wait = await self._attempt(turn)
        except TimeoutError:
            if not self._is_stopped:
                passed = f"the deadline of {self.scope.patience:.3g} s passed"
                self._ended_by = self._ended_by or passed

    def hold_back(self, reason: str) -> None:
        """Send nothing from now on: end now, or with the answer that is still to come."""
        if self.is_read or self._in_flight is None or not self._in_flight.sending.sent:
            # Nothing is lost with a list.
            self.stop(reason)
        else:
            self._ended_by, self._is_stopped = reason, True

    def stop(self, reason: str) -> None:
        """End the call now; what was sent and not answered is reported as unknown."""
        self._ended_by, self._is_stopped = reason, True
        if self._in_flight is not None and not self._in_flight.shared_by:
            self._in_flight.sending.withdraw()
        self._limit.expire()

    def extend(self, deadline: float) -> None:
        """End at loop time `deadline`, if that is later than before."""
        self._limit.when = max(self._limit.when, deadline)

    def turn_moved(self, turn: float) -> None:
        """End the call if the token that it waits for now comes after its deadline."""
        if self._ends_before(turn):
            self.stop(self._too_late(turn))

    def give_way(self) -> None:
        """Stop waiting: the account turned out to be elsewhere, where it is asked instead."""
        if self._may_move:
            self._is_stopped = True
            self._limit.expire()

    def rank(self) -> tuple[int, ...] | None:
        """See `Rider`."""
        own = self.scope.rank
        return None if own is None else own(bool(self.endings))

    def _is_too_late(self, turn: float) -> bool:
        """Whether a place that is taken now comes too late for it, and none of others is free."""
        if not self._may_be_late or not self._ends_before(turn):
            return False
        return self.is_read or not self._resources.turns.makes_room(self, turn)

    def _ends_before(self, turn: float) -> bool:
        """Whether a turn that comes at loop time `turn` at the earliest is too late for certain."""
        if turn <= self._limit.when:
            return False
        named, now = self._limiter.slower_named(self.path), self._loop.time()
        return not named or not self.scope.waits(turn, now, named, self._persists)

    async def _attempt(self, turn: float | None) -> float | None:
        """One token's attempts, as a rule one; seconds until the next token is wanted, or None.
        `turn`: when it could come."""
        self._queued = self._loop.time()
        turns = self._resources.turns
        try:
            if self.is_read or turns.lets_pass(self, turn, self._queued):
                urgent, on_turn = self.scope.urgent, self.turn_moved
                async with self._limiter.take(self.path, urgent=urgent, on_turn=on_turn) as lease:
                    return await self._use(lease)
            async with turns.waiting(self) as waited:
                return self._wait if waited.lease is None else await self._use(waited.lease)
        except ClockFailed as failure:
            # No byte of this attempt left; what was sent before is on record.
            self._ended_by = failure.reason
            return None
        except SendFailed as failure:
            assert self._in_flight is not None  # noqa: S101 - only a begun attempt fails to send
            return self._failed(self._in_flight, failure)
        except BaseException:
            # A cancellation or Ctrl-C while the request was on the wire: it may have been carried
            # out, and goes on record as that before it leaves.
            if self._in_flight is not None:
                self._cut_off(self._in_flight)
            raise

    async def _use(self, lease: Lease) -> float | None:
        """Send, elsewhere as long as nothing left this machine; the seconds until the next token
        is wanted, or None."""
        if self._resources.emitter is not None:
            await self.written(lease)
        since, answer = math.inf, None
        try:
            # A token may come in the very turn in which the call is stopped.
            while self.is_ready():
                in_flight = self.launch(self.operation, lease)
                since = min(since, in_flight.began)
                try:
                    answer = await in_flight.sending.answer(*self._course.for_one())
                    break
                except SendFailed as failure:
                    if failure.sent:
                        raise
                    may_keep = self.may_hold(since)
                    wait = self._failed(in_flight, failure)
                    if wait is None or not may_keep:
                        return wait
                    self._queued = self._loop.time()
        finally:
            if self._in_flight is None or not self._in_flight.sending.sent:
                lease.not_sent()
        if answer is None or self._in_flight is None:
            return None
        # While it has its token: what it asks for holds before others hear of an answer.
        return self._answered(self._in_flight, answer)

    def is_ready(self) -> bool:
        """See `Rider`."""
        self._wait = None
        return not self._is_stopped and not (self.endings and self._would_be_cut_short())

    def time_for_one(self) -> tuple[float, float]:
        """See `Rider`."""
        return self._course.for_one()

    def may_hold(self, since: float) -> bool:
        """See `Rider`."""
        held = self._loop.time() - since
        return self._course.untried and self._limiter.may_hold(
            held, self._resources.attempt_timeout
        )

    async def written(self, lease: Lease) -> None:
        """Wait, for a short while from the call's start, until listeners have its record safe.

        A list changes nothing, and one that serves a whole account is no call of its own.
        """
        emitter = self._resources.emitter
        if emitter is None or self.endings or self.is_read:
            return
        try:
            self.warnings += await emitter.written(self.scope.number, self.began + _TO_WRITE)
        except BaseException:
            # Cancelled before a byte left: the token goes back.
            lease.not_sent()
            raise

    def _would_be_cut_short(self) -> bool:
        """Whether a repeat would most likely end unknown, where a plain refusal is known now."""
        if self.endings[-1].reply.verdict is not Verdict.REFUSED:
            return False
        short = self._limit.when - self._loop.time() < self.endings[-1].attempt.wire
        if short:
            self._ended_by = "less time was left than the last answer took"
        return short

    def fell(self, failure: SendFailed, *, is_first: bool) -> bool:
        """See `Rider`."""
        assert self._in_flight is not None  # noqa: S101 - it is on board
        self._wait = self._failed(self._in_flight, failure, is_first=is_first)
        return self._wait is not None

    def landed(self, answer: Answer, first: Rider) -> None:
        """See `Rider`."""
        assert self._in_flight is not None  # noqa: S101 - it is on board
        self._wait = self._answered(self._in_flight, answer, None if first is self else first)

    def clock_failed(self, reason: str) -> None:
        """See `Rider`."""
        self._ended_by = reason

    def _answered(
        self, in_flight: InFlight, answer: Answer, first: Rider | None = None
    ) -> float | None:
        ending = self._file(in_flight, answer, first)
        reply = ending.reply
        if reply.verdict is Verdict.REFUSED:
            signed_at = in_flight.started.timestamp() + ending.attempt.wire / 2
            self._is_check_due = self._check().is_due(reply, signed_at)
            if self._is_check_due:
                return 0.0
            if (asked := asked_after(answer, reply)) is not None:
                return self._told_to_wait(asked)
        return self._next()

    def _told_to_wait(self, asked: float) -> float | None:
        """Seconds until this call may queue again; None if what is asked is beyond its deadline.

        The limiter holds up whoever queues for as long as an endpoint is closed. Of urgent calls it
        lets one ask each period, whichever was refused.
        """
        if self.scope.urgent:
            return 0.0
        left = self._limit.when - self._loop.time()
        if max(PERIOD, asked) > left:
            self._ended_by = f"it asks to wait {asked:g} s, and the deadline comes in {left:.2f} s"
            return None
        return asked if asked > LONGEST_PAUSE else 0.0

    def _check(self) -> ClockCheck:
        if self._clock_check is None:
            self._clock_check = ClockCheck(self._resources.clock, self._resources.time)
        return self._clock_check

    async def _check_clock(self) -> bool:
        self._is_check_due = False
        last, reply = self.endings[-1].attempt, self.endings[-1].reply
        self._ended_by = await self._check().make(reply, last.wire / 2, last.base_url)
        return not self._ended_by

    def _failed(
        self, in_flight: InFlight, failure: SendFailed, *, is_first: bool = True
    ) -> float | None:
        self._file_failure(in_flight, failure, is_first=is_first)
        if failure.is_final:
            self._ended_by = self._ended_by or failure.reason
            return None
        return self._next()

    def _next(self) -> float | None:
        return self._course.after(self.endings, self._limit.when)

    def _too_late(self, turn: float) -> str:
        queue, now = self._limiter.waiting(self.path), self._loop.time()
        behind = "" if queue is None else f", with {queue} waiting"
        # A moment that is over by now is no negative time.
        turn, end = max(now, turn) - now, max(now, self._limit.when) - now
        told = f"its turn comes in {turn:.2f} s at the earliest{behind}"
        return f"{told}, and the deadline in {end:.2f} s"
