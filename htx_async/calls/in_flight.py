"""An attempt under way, and how it goes on record."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, Protocol

from htx_async.attempt import class_of
from htx_async.enums import ApiGeneration, LimiterMode, Verdict
from htx_async.exchange.messages import SignedRequest
from htx_async.exchange.operation import Kind, Operation, Reply
from htx_async.report import Attempt
from htx_async.report_text import CUT_OFF
from htx_async.transport.sending import Sending


class Heard(NamedTuple):
    """One attempt at one request: what it came to, and the loop times at which it began and ended.

    `request`: its number in the call of the user, the same for every contract that it served.
    `contracts`: those; none for the whole account. `order_ids`: those that it names; none for all
    of a contract. `led_by`: the contract of the first order of a request that named orders of
    several contracts; "" for any other.
    """

    request: int
    kind: Kind
    generation: ApiGeneration
    contracts: tuple[str, ...]
    order_ids: tuple[str, ...]
    attempt: Attempt
    reply: Reply
    asked: float
    answered: float
    led_by: str = ""


class InFlight(NamedTuple):
    """One attempt from its token to its end; times are loop times, in seconds. `request`: its
    number among those of the whole call."""

    request: int
    operation: Operation
    contracts: tuple[str, ...]
    base_url: str
    started: datetime
    waited: float
    began: float
    signed: SignedRequest
    sending: Sending
    limiter_mode: LimiterMode | None = None
    shared_by: tuple[int, ...] = ()
    led_by: str = ""

    def cut_off(self) -> Reply:
        """What it proves if it ends now."""
        if self.sending.sent:
            return Reply(Verdict.UNKNOWN, message="cut off before a complete answer")
        return Reply(Verdict.NOT_SENT, message=CUT_OFF)

    def ending(self, number: int, now: float, reply: Reply, status: int | None) -> Heard:
        """How it ended, as attempt `number`, at loop time `now` by `reply`."""
        operation, request = self.operation, self.request
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
            code_class=class_of(reply.verdict, reply.code, status),
            shared_by=self.shared_by,
        )
        place = (request, operation.kind, operation.generation, self.contracts, operation.order_ids)
        return Heard(*place, attempt, reply, self.began, now, self.led_by)


class Sink(Protocol):
    """Where a call files what it hears."""

    def begin(
        self, contracts: tuple[str, ...], cut_off: Callable[[], Heard], number: int | None = None
    ) -> int:
        """The number of one more request, for `contracts`; `cut_off` tells what it comes to if it
        ends now. `number`: of one that goes for other contracts, too."""

    def heard(self, fact: Heard, cut_off: Callable[[], Heard]) -> None:
        """What was begun with `cut_off` came to its end."""
