"""One call: a job carried through attempts to an answer. The only loop that waits."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, NamedTuple, cast

from htx_async.base_urls import Itinerary
from htx_async.clock_check import ClockCheck
from htx_async.codes import CodeClass
from htx_async.headers import LONGEST_PAUSE, PERIOD
from htx_async.heed import asked_after, heeded
from htx_async.job import Job
from htx_async.limits import READS, CountsWaiters, Lease
from htx_async.means import Means
from htx_async.outcome import Reply
from htx_async.report import Attempt
from htx_async.terms import Verdict
from htx_async.timers import TimeLimit
from htx_async.trial import Trial
from htx_async.wall_clock import ClockFailed
from htx_async.wire import Answer, SendFailed

if TYPE_CHECKING:
    from htx_async.events import Teller

_CONNECT_ELSEWHERE = 1.0
"""Seconds to connect while another base URL is untried."""

_TO_WRITE = 0.05
"""Seconds, from the call's start, that the record of it may keep the first request back."""

NUMBERS = itertools.count(1)
"""Names calls in events."""


class Record(NamedTuple):
    """What a call came to. `spans`: loop times at which each attempt began and ended."""

    attempts: Sequence[Attempt]
    replies: Sequence[Reply]
    spans: Sequence[tuple[float, float]]
    elapsed: float
    ended_by: str
    warnings: tuple[str, ...]


class Call:
    """Carries `job` through attempts, each with a token and a signature of its own.

    `within`: the caller's own deadline in seconds from now. Without it the call has `allowance`
    seconds from the moment at which its turn is foreseen. `urgent`: goes before others.
    """

    def __init__(
        self,
        means: Means,
        job: Job,
        within: float | None,
        allowance: float,
        *,
        urgent: bool = False,
        number: int | None = None,
    ) -> None:
        self._means = means
        self._job = job
        self._urgent = urgent
        self.number = next(NUMBERS) if number is None else number
        self._lane = means.reads if job.is_read else means.trades
        self._budget = READS if job.is_read else job.request.path
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        turn = self._foreseen() if within is None else None
        start = self.began if turn is None else max(self.began, turn)
        self._may_be_late = within is not None
        self._patience = allowance if within is None else within
        first = self.began + means.attempt_timeout
        self._limit = TimeLimit(start + self._patience, first=first)
        self.deadline = self._limit.when
        self._itinerary: Itinerary | None = None
        self._attempts: list[Attempt] = []
        self._replies: list[Reply] = []
        self._spans: list[tuple[float, float]] = []
        self._trial: Trial | None = None
        self._is_stopped = False
        self._clock_check: ClockCheck | None = None
        self._is_check_due = False
        self._ended_by = ""
        self._warnings: tuple[str, ...] = ()

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
                    turn = self._earliest() if self._may_be_late else None
                    if turn is not None and turn > self.deadline:
                        self._ended_by = self._too_late(turn)
                        break
                    # An allowance counts from the first turn, so that one is never too late.
                    self._may_be_late = True
                    wait = await self._attempt()
        except TimeoutError:
            self._ended_by = self._ended_by or f"the deadline of {self._patience:.3g} s passed"

    def record(self) -> Record:
        """The account so far; a request that is on the wire counts as unknown."""
        attempts, replies, spans = self._attempts, self._replies, self._spans
        now, trial = self._loop.time(), self._trial
        if trial is not None:
            reply = trial.cut_off()
            attempts = [*attempts, trial.attempt(len(attempts) + 1, now, reply, None)]
            replies, spans = [*replies, reply], [*spans, (trial.began, now)]
        ended_by = self._ended_by or self._told_of_clock(attempts)
        return Record(attempts, replies, spans, now - self.began, ended_by, self._warnings)

    def _told_of_clock(self, attempts: Sequence[Attempt]) -> str:
        """What the comparison of clocks found, once the call was refused again after it."""
        check = self._clock_check
        if check is None or not check.was_made:
            return ""
        refused = [attempt.code_class is CodeClass.AUTH for attempt in attempts]
        return check.told() if refused[-1] and sum(refused) > 1 else ""

    def hold_back(self, reason: str) -> None:
        """Send nothing from now on: end now, or with the answer that is still to come."""
        if self._trial is None or not self._trial.sending.sent:
            self.stop(reason)
        else:
            self._ended_by, self._is_stopped = reason, True

    def stop(self, reason: str) -> None:
        """End the call now; what was sent and not answered is reported as unknown."""
        self._ended_by, self._is_stopped = reason, True
        self._limit.expire()

    def _turn_moved(self, turn: float) -> None:
        """End the call if the token that it waits for now comes after its deadline."""
        if turn > self.deadline:
            self.stop(self._too_late(turn))

    async def _attempt(self) -> float | None:
        """One attempt; seconds until the next, or None."""
        queued = self._loop.time()
        try:
            async with self._take() as lease:
                if self._means.tell is not None and not self._attempts:
                    await self._written(lease, self._means.tell)
                # A token may come in the very turn in which the call is stopped.
                if self._is_stopped or (self._attempts and self._would_be_cut_short()):
                    lease.not_sent()
                    return None
                trial = self._trial = self._begin(queued, lease)
                try:
                    answer = await trial.sending.answer(
                        self._means.attempt_timeout, self._time_to_connect(), self._limit
                    )
                finally:
                    if not trial.sending.sent:
                        lease.not_sent()
                # While it has its token: what it asks for holds before others hear of an answer.
                return self._answered(trial, answer)
        except ClockFailed as failure:
            # No byte of this attempt left; what was sent before is on record.
            self._ended_by = failure.reason
            return None
        except SendFailed as failure:
            assert self._trial is not None  # noqa: S101 - only a begun attempt fails to send
            return self._failed(self._trial, failure)
        except BaseException:
            if self._trial is not None:
                self._tell_attempt(self._record(self._trial, self._trial.cut_off(), None))
            raise

    async def _written(self, lease: Lease, tell: "Teller") -> None:
        """Wait, for a short while from the call's start, until listeners have its record safe."""
        try:
            self._warnings = await tell.written(self.number, self.began + _TO_WRITE)
        except BaseException:
            lease.not_sent()
            raise

    def _would_be_cut_short(self) -> bool:
        """Whether a repeat would most likely end unknown, where a plain refusal is known now."""
        last = self._attempts[-1]
        if last.verdict is not Verdict.REFUSED:
            return False
        short = self.deadline - self._loop.time() < last.wire
        if short:
            self._ended_by = "less time was left than the last answer took"
        return short

    def _begin(self, queued: float, lease: Lease) -> Trial:
        means = self._means
        try:
            began = self._loop.time()
            if self._itinerary is None:
                self._itinerary = means.base_urls.itinerary(began)
            base_url, started = self._itinerary.current, means.clock.now()
            signed = means.signer.sign(self._job.request, base_url, started)
            sending = means.transport.prepare(signed)
        except BaseException:
            lease.not_sent()
            raise
        if means.tell:
            code = self._job.about
            means.tell.token_granted(began, self.number, code, base_url, began - queued)
        mode = getattr(lease, "mode", None)
        return Trial(base_url, started, began - queued, began, signed, sending, mode)

    def _time_to_connect(self) -> float:
        untried = self._itinerary is not None and self._itinerary.untried
        timeout = self._means.attempt_timeout
        return min(timeout, _CONNECT_ELSEWHERE) if untried else timeout

    def _answered(self, trial: Trial, answer: Answer) -> float | None:
        self._means.base_urls.note(trial.base_url, self._loop.time(), connected=True)
        reply = self._job.read(answer, trial.signed.scrub)
        # On record before anything else happens to it.
        attempt = self._record(trial, reply, answer.status)
        now, tell = self._loop.time(), self._means.tell
        changes = heeded(self._lane, self._budget, answer, reply, now, tell)
        if changes:
            attempt = self._attempts[-1] = attempt.model_copy(update=changes)
        if self._means.tell:
            self._tell_attempt(attempt)
        if reply.verdict is Verdict.REFUSED:
            signed_at = trial.started.timestamp() + attempt.wire / 2
            self._is_check_due = self._check().is_due(reply, signed_at)
        if self._is_check_due:
            return 0.0
        wait = self._next(attempt)
        asked = asked_after(answer, reply)
        return wait if asked is None else self._told_to_wait(asked)

    def _told_to_wait(self, asked: float) -> float | None:
        """Seconds until this call may queue again; None if what is asked is beyond its deadline.

        The limiter holds up whoever queues for as long as an endpoint is closed. Of urgent calls it
        lets one ask each period, whichever was refused.
        """
        if self._urgent:
            return 0.0
        left = self.deadline - self._loop.time()
        if max(PERIOD, asked) > left:
            self._ended_by = f"it asks to wait {asked:g} s, and the deadline comes in {left:.2f} s"
            return None
        return asked if asked > LONGEST_PAUSE else 0.0

    def _check(self) -> ClockCheck:
        if self._clock_check is None:
            self._clock_check = ClockCheck(self._means.clock, self._means.time)
        return self._clock_check

    async def _check_clock(self) -> bool:
        self._is_check_due = False
        last, reply = self._attempts[-1], self._replies[-1]
        self._ended_by = await self._check().make(reply, last.wire / 2, last.base_url)
        return not self._ended_by

    def _failed(self, trial: Trial, failure: SendFailed) -> float | None:
        now = self._loop.time()
        self._means.base_urls.note(trial.base_url, now, connected=not failure.connecting)
        verdict = Verdict.UNKNOWN if failure.sent else Verdict.NOT_SENT
        attempt = self._record(trial, Reply(verdict, message=failure.reason), None)
        self._tell_attempt(attempt)
        return self._next(attempt)

    def _record(self, trial: Trial, reply: Reply, status: int | None) -> Attempt:
        now = self._loop.time()
        attempt = trial.attempt(len(self._attempts) + 1, now, reply, status)
        self._spans.append((trial.began, now))
        self._trial = None
        self._attempts.append(attempt)
        self._replies.append(reply)
        return attempt

    def _tell_attempt(self, attempt: Attempt) -> None:
        if tell := self._means.tell:
            code = self._job.about
            tell.attempt_ended(self._loop.time(), self.number, code, attempt)

    def _next(self, attempt: Attempt) -> float | None:
        """Seconds until the next attempt, at the base URL that it goes to."""
        assert self._itinerary is not None  # noqa: S101 - an attempt had a base URL
        verdict = attempt.verdict
        if verdict is Verdict.ACCEPTED:
            return None
        retry = self._means.retry_reads if self._job.may_repeat else self._means.retry
        wait = retry.delay(
            verdict,
            attempt.code_class if verdict is Verdict.REFUSED else None,
            made=sum(attempt.verdict is verdict for attempt in self._attempts),
            untried=self._itinerary.untried,
        )
        if verdict in (Verdict.NOT_SENT, Verdict.UNKNOWN):
            self._itinerary.advance()
        return wait

    def _take(self) -> AbstractAsyncContextManager[Lease]:
        take, path = self._lane.limiter.take, self._budget
        if not self._lane.tells_turns:
            return take(path, urgent=self._urgent)
        # The protocol does not ask for it, but this limiter has it.
        return cast("Callable[..., AbstractAsyncContextManager[Lease]]", take)(
            path, urgent=self._urgent, on_turn=self._turn_moved
        )

    def _earliest(self) -> float | None:
        return self._lane.limiter.earliest(self._budget, urgent=self._urgent)

    def _foreseen(self) -> float | None:
        foresee = self._lane.foresee
        return foresee(self._budget, 1, urgent=self._urgent) if foresee else self._earliest()

    def _too_late(self, turn: float) -> str:
        limiter, now = self._lane.limiter, self._loop.time()
        queue = limiter.waiting(self._budget) if isinstance(limiter, CountsWaiters) else None
        behind = "" if queue is None else f", with {queue} waiting"
        # A moment that is over by now is no negative time.
        turn, end = max(now, turn), max(now, self.deadline)
        return (
            f"its turn comes in {turn - now:.2f} s at the earliest{behind}, and the deadline "
            f"in {end - now:.2f} s"
        )
