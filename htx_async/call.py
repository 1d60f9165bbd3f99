"""One call: an intent carried through attempts to a report. The only loop that waits."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from htx_async.base_urls import BaseUrls, Itinerary
from htx_async.codes import CodeClass
from htx_async.limits import CountsWaiters, Lease, RateLimiter
from htx_async.models import CancelAllTrailing
from htx_async.outcome import Reply, report_of
from htx_async.report import Attempt, CancelReport
from htx_async.retry import RetryPolicy, pause_after
from htx_async.routes import v1
from htx_async.signing import Signer
from htx_async.terms import Verdict
from htx_async.timers import TimeLimit
from htx_async.transport import Sending, Transport
from htx_async.wire import Answer, SendFailed, SignedRequest

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
    now: Callable[[], datetime]
    pause: Callable[[str, float], None]


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
                    turn = self._earliest()
                    if turn > self._deadline:
                        self._ended_by = self._too_late(turn)
                        break
                    wait = await self._attempt()
        except TimeoutError:
            self._ended_by = self._ended_by or f"the deadline of {self._patience:g} s passed"
        return report_of(
            self._intent,
            self._attempts,
            self._replies,
            elapsed=self._loop.time() - self._began,
            ended_by=self._ended_by,
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
                answer = await self._answer(trial, lease)
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
            base_url, started = self._itinerary.current, means.now()
            signed = means.signer.sign(self._request, base_url, started)
            sending = means.transport.prepare(signed)
        except BaseException:
            lease.not_sent()
            raise
        return _Trial(base_url, started, began - queued, began, signed, sending)

    async def _answer(self, trial: _Trial, lease: Lease) -> Answer:
        timeout = self._means.attempt_timeout
        untried = self._itinerary is not None and self._itinerary.untried
        try:
            return await trial.sending.answer(
                timeout, min(timeout, _CONNECT_ELSEWHERE) if untried else timeout
            )
        except BaseException:
            if not trial.sending.sent:
                lease.not_sent()
            raise

    def _answered(self, trial: _Trial, answer: Answer) -> float | None:
        self._means.base_urls.note(trial.base_url, self._loop.time(), connected=True)
        reply = v1.read(answer, trial.signed.scrub)
        attempt = self._record(trial, reply, answer.status)
        if reply.verdict is Verdict.REFUSED and attempt.code_class is CodeClass.RATE_LIMITED:
            self.retry_after = pause_after(answer.headers, reply.ts)
            self._means.pause(self._request.path, self.retry_after)
        return self._next(attempt)

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

    def _record(self, trial: _Trial, reply: Reply, status: int | None) -> Attempt:
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
