"""An attempt under way, and how it goes on record."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, Protocol

from htx_async.enums import LimiterMode, Verdict
from htx_async.exchange.messages import SignedRequest
from htx_async.exchange.operation import Job, Reply
from htx_async.report import Attempt
from htx_async.transport.http import Sending


class Ending(NamedTuple):
    """One attempt with the reply that it came to, and the loop times at which it began and
    ended."""

    attempt: Attempt
    reply: Reply
    asked: float
    answered: float


class Trial(NamedTuple):
    """One attempt from its token to its end; times are loop times, in seconds."""

    base_url: str
    started: datetime
    waited: float
    began: float
    signed: SignedRequest
    sending: Sending
    limiter_mode: LimiterMode | None = None

    def cut_off(self) -> Reply:
        """What it proves if it ends now."""
        if self.sending.sent:
            return Reply(Verdict.UNKNOWN, message="cut off before a complete answer")
        return Reply(Verdict.NOT_SENT, message="cut off before there was a connection")

    def ending(
        self, request: int, number: int, now: float, reply: Reply, status: int | None
    ) -> Ending:
        """How it ended, as attempt `number`, at loop time `now` by `reply`; `request`: its number
        among the requests of the whole call."""
        attempt = Attempt(
            number=number,
            request=request,
            base_url=self.base_url,
            started=self.started,
            waited=self.waited,
            wire=now - self.began,
            http_status=status,
            verdict=reply.verdict,
            code=reply.code,
            message=reply.message,
            sent=reply.verdict is not Verdict.NOT_SENT,
            limiter_mode=self.limiter_mode,
            excerpt=reply.excerpt,
        )
        return Ending(attempt, reply, self.began, now)


class Sink(Protocol):
    """Where a call files what it hears; the number names one request. `contracts`: those that the
    call serves; none for the whole account."""

    contracts: tuple[str, ...]

    def begin(self, cut_off: Callable[[], Ending], job: Job) -> int:
        """A request goes out; `cut_off` tells what it comes to if it ends now."""

    def heard(self, number: int, job: Job, ending: Ending) -> None:
        """It came to its end."""
