"""The attempts of one call: signed and sent, and on record as they end."""

import asyncio
from collections.abc import Callable

from htx_async.aio.timers import TimeLimit
from htx_async.calls.course import Course
from htx_async.calls.heed import heeded
from htx_async.calls.in_flight import Heard, InFlight, Sink
from htx_async.calls.resources import Resources
from htx_async.calls.ride import Rider
from htx_async.calls.scope import Scope
from htx_async.enums import LimiterMode, Verdict
from htx_async.events import AttemptEnded, Event, TokenGranted
from htx_async.exchange.endpoints import READS
from htx_async.exchange.messages import Answer, SendFailed
from htx_async.exchange.operation import Operation, Reply
from htx_async.limits.limiter import Lease

_SILENT = 1.0
"""Seconds without an answer, cut off by the call's own deadline, that count as silence."""


class Attempts:
    """See `Call`, which says when there is another one. `changes`: what the last answer has asked
    of those who come after it."""

    changes: dict[str, object] | None = None
    warnings: tuple[str, ...] = ()
    _queued = 0.0
    _late: tuple[str, float] | None = None
    """The base URL that had a part of its time only for the last attempt, and how much."""

    def __init__(
        self,
        resources: Resources,
        operation: Operation,
        scope: Scope,
        sink: Sink,
        contracts: tuple[str, ...],
        *,
        persists: bool | None = None,
        lost: int = 0,
        may_move: bool = True,
    ) -> None:
        self._resources = resources
        self.operation = operation
        self.scope = scope
        self.sink = sink
        self.contracts = contracts
        self._persists = scope.persists if persists is None else persists
        self._may_move = may_move
        # An allowance counts from the first turn, so that one is never too late.
        self._may_be_late, scope.is_own = scope.is_own, True
        self.is_read = operation.is_read
        """Whether it changes nothing."""
        self._limiter = resources.reads if self.is_read else resources.trades
        self.path = READS if self.is_read else operation.request.path
        self._loop = asyncio.get_running_loop()
        self.began = self._loop.time()
        self._limit = TimeLimit(scope.deadline)
        retry = resources.retry_reads if operation.may_repeat else resources.retry
        self._course = Course(
            resources.base_urls,
            retry,
            resources.attempt_timeout,
            self.began,
            hurries=self.is_read and resources.hurries,
            persists=self._persists,
            lost=lost,
        )
        self.endings: list[Heard] = []
        self._in_flight: InFlight | None = None

    def launch(
        self, operation: Operation, lease: Lease, shared_by: tuple[int, ...] = ()
    ) -> InFlight:
        """See `Rider`."""
        resources, began = self._resources, self._loop.time()
        base_url, started = self._course.choose(began), resources.clock.now()
        signed = resources.signer.sign(operation.request, base_url, started)
        sending = resources.transport.prepare(signed)
        waited = began - self._queued
        self._emit(TokenGranted, began, base_url, waited)
        number = self.sink.begin(self.contracts, self._so_far)
        mode = self._mode(lease)
        is_mixed = operation.items and len({code for code, _ in operation.items}) > 1
        led_by = operation.items[0][0] if is_mixed else ""
        place = (number, self.operation, self.contracts, base_url, started, waited, began)
        self._in_flight = InFlight(*place, signed, sending, mode, shared_by, led_by)
        return self._in_flight

    def _mode(self, lease: Lease) -> LimiterMode | None:
        """Whose token it is; where it is no shared one though it should be, that is told."""
        told = getattr(lease, "mode", None)
        # A lease of a user's own may have anything under that name.
        mode = told if isinstance(told, LimiterMode) else None
        warning: str = getattr(lease, "warning", "") if mode is LimiterMode.OWN_SHARE else ""
        if warning and warning not in self.warnings:
            self.warnings += (warning,)
        return mode

    def board(self, in_flight: InFlight, request: int | None, lease: Lease) -> int:
        """See `Rider`."""
        self._mode(lease)
        self._course.follow(in_flight.base_url, in_flight.began)
        waited = in_flight.began - self._queued
        self._emit(TokenGranted, in_flight.began, in_flight.base_url, waited)
        number = self.sink.begin(self.contracts, self._so_far, request)
        self._in_flight = in_flight._replace(
            request=number, operation=self.operation, contracts=self.contracts, waited=waited
        )
        return number

    def _file(self, in_flight: InFlight, answer: Answer, first: Rider | None) -> Heard:
        """What was answered goes on record. `first`: the one that has heard the same answer before,
        and heeded it."""
        reply = self.operation.read(answer, in_flight.signed.scrub)
        # Only the exchange itself knows codes; a page without one is a gateway's.
        is_word = reply.verdict is not Verdict.UNKNOWN or reply.code is not None
        now = self._loop.time()
        if first is None:
            self._note(in_flight, now, answered=is_word)
            if self._late is not None:
                self._compare(*self._late, in_flight, now, answered=is_word)
        # On record before anything else happens to it.
        ending = self._record(in_flight, reply, answer.status, now)
        try:
            if first is None:
                emitter = self._resources.emitter
                self.changes = heeded(self._limiter, self.path, answer, reply, now, emitter)
            changes = self.changes if first is None else first.changes
            if changes:
                told = ending.attempt.model_copy(update=changes)
                self.endings[-1] = ending._replace(attempt=told)
        finally:
            self._heard()
        return ending

    def _file_failure(self, in_flight: InFlight, failure: SendFailed, *, is_first: bool) -> None:
        now = self._loop.time()
        took = now - in_flight.began
        if failure.sent and self._course.is_late(took):
            self._late = in_flight.base_url, took
        elif failure.is_of_host and is_first:
            self._note(in_flight, now, answered=False)
        verdict = Verdict.UNKNOWN if failure.sent else Verdict.NOT_SENT
        self._record(in_flight, Reply(verdict, message=failure.reason), None, now)
        self._heard()

    def _cut_off(self, in_flight: InFlight) -> None:
        now = self._loop.time()
        if in_flight.sending.sent and now >= self._limit.when and now - in_flight.began >= _SILENT:
            self._note(in_flight, now, answered=False)
        self._record(in_flight, in_flight.cut_off(), None, now)
        self._heard()

    def _record(self, in_flight: InFlight, reply: Reply, status: int | None, now: float) -> Heard:
        ending = in_flight.ending(len(self.endings) + 1, now, reply, status)
        self._in_flight = None
        self.endings.append(ending)
        return ending

    def _note(self, in_flight: InFlight, now: float, *, answered: bool) -> None:
        self._resources.base_urls.note(
            in_flight.base_url, now, answered=answered, took=now - in_flight.began
        )

    def _compare(
        self, late: str, took: float, in_flight: InFlight, now: float, *, answered: bool
    ) -> None:
        """Another base URL was late only: it counts as silent where this one is quicker."""
        if answered and now - in_flight.began < took:
            self._resources.base_urls.note(late, now, answered=False, took=took)
        self._late = None

    def _so_far(self) -> Heard:
        """What the last attempt comes to if it ends now."""
        in_flight = self._in_flight
        if in_flight is None:
            return self.endings[-1]
        return in_flight.ending(len(self.endings) + 1, self._loop.time(), in_flight.cut_off(), None)

    def _heard(self) -> None:
        """The last attempt goes on the ledger, and to the listeners."""
        ending = self.endings[-1]
        self.sink.heard(ending, self._so_far)
        self.scope.heard(ending.attempt)
        self._emit(AttemptEnded, ending.answered, ending.attempt)

    def _emit(self, kind: Callable[..., Event], at: float, *what: object) -> None:
        if emitter := self._resources.emitter:
            emitter.emit(kind(at, self.scope.number, self.operation.about, *what, self.contracts))
