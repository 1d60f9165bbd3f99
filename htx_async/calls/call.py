"""One call: an operation carried through attempts to an answer. The only loop that waits."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from htx_async.aio.timers import TimeLimit
from htx_async.calls.clock_check import ClockCheck
from htx_async.calls.course import Course
from htx_async.calls.heed import asked_after, heeded
from htx_async.calls.in_flight import Heard, InFlight, Sink
from htx_async.calls.resources import Resources
from htx_async.calls.scope import Scope
from htx_async.calls.wall_clock import ClockFailed
from htx_async.codes import CodeClass
from htx_async.enums import LimiterMode, Verdict
from htx_async.events import AttemptEnded, Event, TokenGranted
from htx_async.exchange.endpoints import READS
from htx_async.exchange.headers import LONGEST_PAUSE, PERIOD
from htx_async.exchange.messages import Answer, SendFailed
from htx_async.exchange.operation import Operation, Reply
from htx_async.limits.limiter import Lease

if TYPE_CHECKING:
    from htx_async.calls.emitter import Emitter

_SILENT = 1.0
"""Seconds without an answer, cut off by the call's own deadline, that count as silence."""

_TO_WRITE = 0.05
"""Seconds, from the call's start, that the record of it may keep the first request back."""


class Call:
    """Carries `operation` through attempts, each with a token and a signature of its own.

    `scope`: until when, and how urgently. `sink`: hears of each attempt, as one for `contracts`.
    `choose`: says, each time that a token is granted, which request uses it; it is one of the same
    path, or None, and then the token goes back and the call ends. `persists`: goes on to its
    deadline, not only to the policy's number of unknown outcomes. `lost`: how many outcomes of the
    same are unknown from calls before this one.
    """

    warnings: tuple[str, ...] = ()
    _is_stopped = False
    _clock_check: ClockCheck | None = None
    _is_check_due = False
    _ended_by = ""

    def __init__(
        self,
        resources: Resources,
        operation: Operation,
        scope: Scope,
        sink: Sink,
        contracts: tuple[str, ...],
        *,
        choose: Callable[[], Operation | None] | None = None,
        persists: bool | None = None,
        lost: int = 0,
    ) -> None:
        self._resources = resources
        self._operation = operation
        self._scope = scope
        self._sink = sink
        self._contracts = contracts
        self._choose = choose
        self._limiter = resources.reads if operation.is_read else resources.trades
        self._budget = READS if operation.is_read else operation.request.path
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        self._may_be_late = scope.is_own
        # An allowance counts from the first turn, so that one is never too late.
        scope.is_own = True
        self._limit = TimeLimit(scope.deadline)
        retry = resources.retry_reads if operation.may_repeat else resources.retry
        goes_on = self._persists = scope.persists if persists is None else persists
        hosts, longest = resources.base_urls, resources.attempt_timeout
        self._course = Course(hosts, retry, longest, self.began, persists=goes_on, lost=lost)
        self.endings: list[Heard] = []
        self._in_flight: InFlight | None = None

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing."""
        return self._operation.is_read

    @property
    def ended_by(self) -> str:
        """What ended it when the exchange did not."""
        return self._ended_by or self._told_of_clock()

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
                    turn = self._limiter.earliest(self._budget, urgent=self._scope.urgent)
                    if self._may_be_late and turn is not None and self._ends_before(turn):
                        self._ended_by = self._too_late(turn)
                        break
                    self._may_be_late = True
                    wait = await self._attempt()
        except TimeoutError:
            passed = f"the deadline of {self._scope.patience:.3g} s passed"
            self._ended_by = self._ended_by or passed

    def _told_of_clock(self) -> str:
        """What the comparison of clocks found, once the call was refused again after it."""
        check = self._clock_check
        if check is None or not check.was_made:
            return ""
        refused = [one.attempt.code_class is CodeClass.AUTH for one in self.endings]
        return check.told() if refused[-1] and sum(refused) > 1 else ""

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
        self._limit.expire()

    def extend(self, deadline: float) -> None:
        """End at loop time `deadline`, if that is later than before."""
        self._limit.when = max(self._limit.when, deadline)

    def _turn_moved(self, turn: float) -> None:
        """End the call if the token that it waits for now comes after its deadline."""
        if self._ends_before(turn):
            self.stop(self._too_late(turn))

    def _ends_before(self, turn: float) -> bool:
        """Whether a turn that comes at loop time `turn` at the earliest is too late for certain."""
        if turn <= self._limit.when:
            return False
        named, now = self._limiter.slower_named(self._budget), self._loop.time()
        return not named or not self._scope.waits(turn, now, named, self._persists)

    async def _attempt(self) -> float | None:
        """One token's attempts, as a rule one; seconds until the next token is wanted, or None."""
        queued = self._loop.time()
        try:
            async with self._take() as lease:
                try:
                    if self._resources.emitter is not None and not self.endings:
                        await self._written(self._resources.emitter)
                    result = await self._with_token(lease, queued)
                finally:
                    if self._in_flight is None or not self._in_flight.sending.sent:
                        lease.not_sent()
                # While it has its token: what it asks for holds before others hear of an answer.
                return self._answered(*result) if isinstance(result, tuple) else result
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

    async def _with_token(
        self, lease: Lease, queued: float
    ) -> tuple[InFlight, Answer] | float | None:
        """Send, elsewhere as long as nothing left this machine; without an answer the seconds
        until the next token is wanted, or None."""
        granted = self._loop.time()
        # A token may come in the very turn in which the call is stopped.
        while not self._is_stopped and not self._would_be_cut_short():
            if self._choose is not None:
                operation = self._choose()
                if operation is None:
                    break
                self._operation = operation
            in_flight = self._in_flight = self._begin(queued, lease)
            within, connect = self._resources.attempt_timeout, self._course.to_connect()
            try:
                return in_flight, await in_flight.sending.answer(within, connect)
            except SendFailed as failure:
                if failure.sent:
                    raise
                held = self._loop.time() - granted
                may_keep = self._course.has_untried and self._limiter.may_hold(held, within)
                wait = self._failed(in_flight, failure)
                if wait is None or not may_keep:
                    return wait
                queued = self._loop.time()
        return None

    def _cut_off(self, in_flight: InFlight) -> None:
        now = self._loop.time()
        if in_flight.sending.sent and now >= self._limit.when and now - in_flight.began >= _SILENT:
            self._note(in_flight, now, answered=False)
        self._record(in_flight, in_flight.cut_off(), None, now)
        self._heard()

    async def _written(self, emitter: "Emitter") -> None:
        """Wait, for a short while from the call's start, until listeners have its record safe."""
        self.warnings += await emitter.written(self._scope.number, self.began + _TO_WRITE)

    def _would_be_cut_short(self) -> bool:
        """Whether a repeat would most likely end unknown, where a plain refusal is known now."""
        if not self.endings or self.endings[-1].reply.verdict is not Verdict.REFUSED:
            return False
        short = self._limit.when - self._loop.time() < self.endings[-1].attempt.wire
        if short:
            self._ended_by = "less time was left than the last answer took"
        return short

    def _begin(self, queued: float, lease: Lease) -> InFlight:
        resources, began = self._resources, self._loop.time()
        base_url, started = self._course.begin(began), resources.clock.now()
        signed = resources.signer.sign(self._operation.request, base_url, started)
        sending = resources.transport.prepare(signed)
        self._emit(TokenGranted, began, base_url, began - queued)
        number = self._sink.begin(self._contracts, self._so_far)
        place = (number, self._operation, self._contracts, base_url)
        # A lease of a user's own may have anything under that name.
        told = getattr(lease, "mode", None)
        mode = told if isinstance(told, LimiterMode) else None
        if mode is LimiterMode.OWN_SHARE:
            self._warn(getattr(lease, "warning", ""))
        return InFlight(*place, started, began - queued, began, signed, sending, mode)

    def _warn(self, warning: str) -> None:
        if warning and warning not in self.warnings:
            self.warnings += (warning,)

    def _answered(self, in_flight: InFlight, answer: Answer) -> float | None:
        reply = self._operation.read(answer, in_flight.signed.scrub)
        # Only the exchange itself knows codes; a page without one is a gateway's.
        is_word = reply.verdict is not Verdict.UNKNOWN or reply.code is not None
        now = self._loop.time()
        self._note(in_flight, now, answered=is_word)
        # On record before anything else happens to it.
        ending = self._record(in_flight, reply, answer.status, now)
        try:
            emitter = self._resources.emitter
            changes = heeded(self._limiter, self._budget, answer, reply, now, emitter)
            if changes:
                told = ending.attempt.model_copy(update=changes)
                self.endings[-1] = ending._replace(attempt=told)
        finally:
            self._heard()
        if reply.verdict is Verdict.REFUSED:
            signed_at = in_flight.started.timestamp() + ending.attempt.wire / 2
            self._is_check_due = self._check().is_due(reply, signed_at)
        if self._is_check_due:
            return 0.0
        wait, asked = self._next(), asked_after(answer, reply)
        return wait if asked is None else self._told_to_wait(asked)

    def _told_to_wait(self, asked: float) -> float | None:
        """Seconds until this call may queue again; None if what is asked is beyond its deadline.

        The limiter holds up whoever queues for as long as an endpoint is closed. Of urgent calls it
        lets one ask each period, whichever was refused.
        """
        if self._scope.urgent:
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

    def _failed(self, in_flight: InFlight, failure: SendFailed) -> float | None:
        now = self._loop.time()
        if failure.is_of_host:
            self._note(in_flight, now, answered=False)
        verdict = Verdict.UNKNOWN if failure.sent else Verdict.NOT_SENT
        self._record(in_flight, Reply(verdict, message=failure.reason), None, now)
        self._heard()
        return self._next()

    def _record(self, in_flight: InFlight, reply: Reply, status: int | None, now: float) -> Heard:
        ending = in_flight.ending(len(self.endings) + 1, now, reply, status)
        self._in_flight = None
        self.endings.append(ending)
        return ending

    def _note(self, in_flight: InFlight, now: float, *, answered: bool) -> None:
        self._resources.base_urls.note(
            in_flight.base_url, now, answered=answered, took=now - in_flight.began
        )

    def _so_far(self) -> Heard:
        """What the last attempt comes to if it ends now."""
        in_flight = self._in_flight
        if in_flight is None:
            return self.endings[-1]
        return in_flight.ending(len(self.endings) + 1, self._loop.time(), in_flight.cut_off(), None)

    def _heard(self) -> None:
        """The last attempt goes on the ledger, and to the listeners."""
        ending = self.endings[-1]
        self._sink.heard(ending)
        self._scope.heard(ending.attempt)
        self._emit(AttemptEnded, ending.answered, ending.attempt)

    def _emit(self, kind: Callable[..., Event], at: float, *what: object) -> None:
        if emitter := self._resources.emitter:
            emitter.emit(
                kind(at, self._scope.number, self._operation.about, *what, self._contracts)
            )

    def _next(self) -> float | None:
        return self._course.after(self.endings, self._loop.time(), self._limit.when)

    def _take(self) -> AbstractAsyncContextManager[Lease]:
        urgent, on_turn = self._scope.urgent, self._turn_moved
        return self._limiter.take(self._budget, urgent=urgent, on_turn=on_turn)

    def _too_late(self, turn: float) -> str:
        queue, now = self._limiter.waiting(self._budget), self._loop.time()
        behind = "" if queue is None else f", with {queue} waiting"
        # A moment that is over by now is no negative time.
        turn, end = max(now, turn) - now, max(now, self._limit.when) - now
        told = f"its turn comes in {turn:.2f} s at the earliest{behind}"
        return f"{told}, and the deadline in {end:.2f} s"
