"""One call: an intent carried through attempts to a report. The only loop that waits."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from htx_async.base_urls import BaseUrls, Itinerary
from htx_async.codes import ANY_KEY_FAULT, CLOCK_CODES, CodeClass, classify
from htx_async.exchange_time import ExchangeTime
from htx_async.headers import pause_after, pause_when_spent, told_limit
from htx_async.limits import CountsWaiters, Lease, RateLimiter
from htx_async.models import CancelAllTrailing
from htx_async.outcome import Reply, report_of
from htx_async.report import Attempt, CancelReport
from htx_async.retry import RetryPolicy
from htx_async.routes import v1
from htx_async.signing import Signer
from htx_async.terms import Verdict
from htx_async.timers import TimeLimit
from htx_async.transport import Sending, Transport
from htx_async.wall_clock import WallClock
from htx_async.wire import Answer, SendFailed, SignedRequest

_CLOCK_OFF = 120.0
"""Seconds between the exchange's time and ours from which a 403 may be the clock's fault."""

_CONNECT_ELSEWHERE = 1.0
"""Seconds to connect while another base URL is untried."""


@dataclass(frozen=True, slots=True, repr=False)
class Means:
    """What every call of a session works with."""

    signer: Signer
    limiter: RateLimiter
    transport: Transport
    base_urls: BaseUrls
    retry: RetryPolicy
    attempt_timeout: float
    clock: WallClock
    time: ExchangeTime
    pause: Callable[[str, float], None]
    tighten: Callable[[str, float, float], tuple[int, float] | None] | None


@dataclass(slots=True, repr=False)
class _Trial:
    """An attempt under way."""

    base_url: str
    started: datetime
    waited: float
    began: float
    signed: SignedRequest
    sending: Sending


class Call:
    """Carries `intent` through attempts, each with a token and a signature of its own.

    `within`: the caller's own deadline in seconds from now. Without it the call has `allowance`
    seconds from the earliest moment at which its turn could come.
    """

    __slots__ = (
        "_attempts",
        "_began",
        "_clock_was_set",
        "_deadline",
        "_ended_by",
        "_intent",
        "_itinerary",
        "_limit",
        "_loop",
        "_means",
        "_patience",
        "_replies",
        "_request",
        "_unset",
        "_waiting",
        "retry_after",
    )

    def __init__(
        self, means: Means, intent: CancelAllTrailing, within: float | None, allowance: float
    ) -> None:
        self._means = means
        self._intent = intent
        self._request = v1.request_for(intent)
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        start = self._began if within is not None else max(self._began, self._earliest())
        self._patience = allowance if within is None else within
        self._limit = TimeLimit(start + self._patience)
        self._deadline = self._limit.when
        self._itinerary: Itinerary | None = None
        self._attempts: list[Attempt] = []
        self._replies: list[Reply] = []
        self._waiting = False
        self._unset: _Trial | None = None
        self._clock_was_set = False
        self._ended_by = ""
        self.retry_after = 0.0
        """Seconds of the last pause that the exchange asked for."""

    async def run(self) -> CancelReport:
        """Attempt until the exchange has answered for good, the policy ends it, or time is up."""
        wait: float | None = 0.0
        try:
            with self._limit:
                while wait is not None:
                    if wait > 0:
                        await asyncio.sleep(wait)
                    if self._unset is not None and not await self._set_clock(self._unset):
                        break
                    turn = self._earliest()
                    if turn > self._deadline:
                        self._ended_by = self._too_late(turn)
                        break
                    wait = await self._attempt()
        except TimeoutError:
            self._ended_by = self._ended_by or f"the deadline of {self._patience:g} s passed"
        if self._clock_was_set:
            self._tell_skew()
        return report_of(
            self._intent,
            self._attempts,
            self._replies,
            elapsed=self._loop.time() - self._began,
            ended_by=self._ended_by,
        )

    def _tell_skew(self) -> None:
        last = self._attempts[-1]
        if not self._ended_by and last.verdict is Verdict.REFUSED:
            skew = self._means.clock.skew
            where = "behind" if skew > 0 else "ahead of"
            self._ended_by = (
                f"this machine's clock was {abs(skew):.1f} s {where} the exchange's; that was "
                "corrected for, and the call refused again"
            )

    def stop(self, reason: str) -> None:
        """End the call now; what was sent and not answered is reported as unknown."""
        self._ended_by = reason
        self._limit.expire()

    def endpoint_paused(self, path: str, until: float) -> None:
        """End the call if it waits for a token that now comes after its deadline."""
        if self._waiting and path == self._request.path and until > self._deadline:
            self.stop(self._too_late(until))

    async def _attempt(self) -> float | None:
        """One attempt; seconds until the next, or None."""
        trial: _Trial | None = None
        queued = self._loop.time()
        self._waiting = True
        try:
            async with self._means.limiter.take(self._request.path) as lease:
                self._waiting = False
                if self._would_be_cut_short():
                    lease.not_sent()
                    return None
                trial = self._begin(queued, lease)
                try:
                    answer = await trial.sending.answer(
                        self._means.attempt_timeout, self._time_to_connect()
                    )
                finally:
                    if not trial.sending.sent:
                        lease.not_sent()
        except SendFailed as failure:
            assert trial is not None  # noqa: S101 - only a begun attempt fails to send
            return self._failed(trial, failure)
        except BaseException:
            if trial is not None:
                self._interrupted(trial)
            raise
        finally:
            self._waiting = False
        return self._answered(trial, answer)

    def _would_be_cut_short(self) -> bool:
        """Whether a repeat would most likely end unknown, where a plain refusal is known now."""
        last = self._attempts[-1] if self._attempts else None
        if last is None or last.verdict is not Verdict.REFUSED:
            return False
        short = self._deadline - self._loop.time() < last.wire
        if short:
            self._ended_by = "less time was left than the last answer took"
        return short

    def _begin(self, queued: float, lease: Lease) -> _Trial:
        means = self._means
        try:
            began = self._loop.time()
            if self._itinerary is None:
                self._itinerary = means.base_urls.itinerary(began)
            base_url, started = self._itinerary.current, means.clock.now()
            signed = means.signer.sign(self._request, base_url, started)
            sending = means.transport.prepare(signed)
        except BaseException:
            lease.not_sent()
            raise
        return _Trial(base_url, started, began - queued, began, signed, sending)

    def _time_to_connect(self) -> float:
        untried = self._itinerary is not None and self._itinerary.untried
        timeout = self._means.attempt_timeout
        return min(timeout, _CONNECT_ELSEWHERE) if untried else timeout

    def _answered(self, trial: _Trial, answer: Answer) -> float | None:
        self._means.base_urls.note(trial.base_url, self._loop.time(), connected=True)
        reply = v1.read(answer, trial.signed.scrub)
        limit = self._tightened(answer.headers)
        paused = self._paused(answer, reply)
        attempt = self._record(trial, reply, answer.status, paused, limit)
        if reply.verdict is Verdict.REFUSED and self._doubts_clock(trial, reply):
            self._unset = trial
            return 0.0
        return self._next(attempt)

    def _tightened(self, headers: Mapping[str, str]) -> tuple[int, float] | None:
        told, tighten = told_limit(headers), self._means.tighten
        if told is None or tighten is None:
            return None
        return tighten(self._request.path, *told)

    def _paused(self, answer: Answer, reply: Reply) -> float:
        if (
            reply.verdict is Verdict.REFUSED
            and classify(reply.code, answer.status) is CodeClass.RATE_LIMITED
        ):
            length: float | None = pause_after(answer.headers, reply.ts)
            self.retry_after = length or 0.0
        else:
            length = pause_when_spent(answer.headers, reply.ts)
        if length:
            self._means.pause(self._request.path, length)
        return length or 0.0

    def _doubts_clock(self, trial: _Trial, reply: Reply) -> bool:
        """Whether a clock that is off may be the reason for this refusal, for the first time."""
        if self._clock_was_set or classify(reply.code) is not CodeClass.AUTH:
            return False
        if reply.code in CLOCK_CODES:
            return True
        age = (self._loop.time() - trial.began) / 2
        clock = self._means.clock
        off = 0.0 if reply.ts is None else clock.ahead(reply.ts, age) - clock.skew
        return reply.code == ANY_KEY_FAULT and abs(off) > _CLOCK_OFF

    async def _set_clock(self, trial: _Trial) -> bool:
        """Learn from the refusal, or else from the exchange's clock, how far ours is off."""
        self._unset, self._clock_was_set = None, True
        attempt, reply = self._attempts[-1], self._replies[-1]
        clock = self._means.clock
        if reply.ts is not None:
            skew: float | None = clock.ahead(reply.ts, attempt.wire / 2)
        else:
            skew = await self._means.time.skew(trial.base_url)
        if skew is None:
            self._ended_by = "the exchange's clock could not be read, to compare it with ours"
            return False
        clock.correct(skew)
        return True

    def _failed(self, trial: _Trial, failure: SendFailed) -> float | None:
        now = self._loop.time()
        self._means.base_urls.note(trial.base_url, now, connected=not failure.connecting)
        verdict = Verdict.UNKNOWN if failure.sent else Verdict.NOT_SENT
        return self._next(self._record(trial, Reply(verdict, message=failure.reason), None))

    def _interrupted(self, trial: _Trial) -> None:
        if trial.sending.sent:
            reply = Reply(Verdict.UNKNOWN, message="cut off before a complete answer")
        else:
            reply = Reply(Verdict.NOT_SENT, message="cut off before there was a connection")
        self._record(trial, reply, None)

    def _record(
        self,
        trial: _Trial,
        reply: Reply,
        status: int | None,
        paused: float = 0.0,
        limit: tuple[int, float] | None = None,
    ) -> Attempt:
        attempt = Attempt(
            number=len(self._attempts) + 1,
            base_url=trial.base_url,
            started=trial.started,
            waited=trial.waited,
            wire=self._loop.time() - trial.began,
            http_status=status,
            verdict=reply.verdict,
            code=reply.code,
            message=reply.message,
            sent=reply.verdict is not Verdict.NOT_SENT,
            paused=paused,
            limit=limit,
        )
        self._attempts.append(attempt)
        self._replies.append(reply)
        return attempt

    def _next(self, attempt: Attempt) -> float | None:
        """Seconds until the next attempt, at the base URL that it goes to."""
        assert self._itinerary is not None  # noqa: S101 - an attempt had a base URL
        verdict = attempt.verdict
        if verdict is Verdict.ACCEPTED:
            return None
        wait = self._means.retry.delay(
            verdict,
            attempt.code_class if verdict is Verdict.REFUSED else None,
            made=sum(attempt.verdict is verdict for attempt in self._attempts),
            untried=self._itinerary.untried,
        )
        if verdict in (Verdict.NOT_SENT, Verdict.UNKNOWN):
            self._itinerary.advance()
        return wait

    def _earliest(self) -> float:
        turn = self._means.limiter.earliest(self._request.path)
        return self._loop.time() if turn is None else turn

    def _too_late(self, turn: float) -> str:
        limiter, now = self._means.limiter, self._loop.time()
        queue = limiter.waiting(self._request.path) if isinstance(limiter, CountsWaiters) else None
        behind = "" if queue is None else f", with {queue} waiting"
        return (
            f"its turn comes in {turn - now:.2f} s at the earliest{behind}, and the deadline "
            f"in {max(0.0, self._deadline - now):.2f} s"
        )
