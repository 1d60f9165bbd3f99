"""An attempt under way, and how it goes on record."""

from datetime import datetime
from typing import NamedTuple

from htx_async.outcome import Reply
from htx_async.report import Attempt
from htx_async.terms import LimiterMode, Verdict
from htx_async.transport import Sending
from htx_async.wire import SignedRequest


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

    def attempt(self, number: int, now: float, reply: Reply, status: int | None) -> Attempt:
        """The record of it as attempt `number`, ended at loop time `now` by `reply`."""
        return Attempt.trusted(
            number=number,
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
        )
