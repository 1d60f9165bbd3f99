"""Where and when one call goes next: its base URLs and its retry policy together."""

from collections.abc import Sequence

from htx_async.calls.base_urls import BaseUrls, Itinerary
from htx_async.calls.in_flight import Heard
from htx_async.calls.retry import RetryPolicy
from htx_async.codes import BUSY
from htx_async.enums import Verdict

_CONNECT_ELSEWHERE = 1.0
"""Seconds to connect while another base URL is untried."""

_ANSWER_ELSEWHERE = 1.0
"""Seconds for an answer in which a read that hurries does not go to an untried base URL."""

_EARLY = 0.01
"""Seconds by which a timer may fire too soon."""


class Course(Itinerary):
    """The way of one call that starts at loop time `now`.

    `timeout`: seconds for one attempt. `hurries`: it goes elsewhere when an answer is late.
    `persists`, `lost`: see `Call`.
    """

    def __init__(
        self,
        base_urls: BaseUrls,
        retry: RetryPolicy,
        timeout: float,
        now: float,
        *,
        hurries: bool,
        persists: bool,
        lost: int,
    ) -> None:
        super().__init__(base_urls, now)
        self._hurries = hurries
        self._retry = retry
        self._timeout = timeout
        self._persists = persists
        self._lost = lost

    def for_one(self) -> tuple[float, float]:
        """Seconds for the attempt, and for its connection."""
        timeout = self._timeout
        if len(self._left) == 1:
            return timeout, timeout
        to_answer = min(timeout, _ANSWER_ELSEWHERE) if self._hurries else timeout
        return to_answer, min(timeout, _CONNECT_ELSEWHERE)

    def is_late(self, took: float) -> bool:
        """Whether an attempt without an answer, of so many seconds, was not given its full time:
        others may wait for its base URL."""
        return self.for_one()[0] <= took + _EARLY < self._timeout

    def after(self, endings: Sequence[Heard], deadline: float) -> float | None:
        """Seconds from the last ending until the next attempt, at the base URL that it goes to;
        None: no more."""
        last, now = endings[-1].attempt, endings[-1].answered
        if last.verdict is Verdict.ACCEPTED:
            return None
        alike = [one.asked for one in endings if one.attempt.verdict is last.verdict]
        # Where nothing left this machine a worse host costs nothing either.
        is_lost = last.verdict is Verdict.UNKNOWN
        # The second attempt may stay; then each has its turn: what is worse may be well again.
        may_leave = not is_lost or len(alike) > 1 or self.untried_no_worse
        elsewhere = self.untried and may_leave
        wait = self._retry.delay(
            last.verdict,
            last.code_class if last.verdict is Verdict.REFUSED else None,
            made=len(alike) + (self._lost if is_lost else 0),
            untried=elsewhere,
            since=now - alike[0],
            took=now - alike[-1],
            timed_out=last.http_status is None and last.wire >= self._timeout,
            is_busy=last.code in BUSY,
            within=deadline - alike[0],
            persists=self._persists,
        )
        is_done_with = elsewhere or not self.untried
        if is_done_with and last.verdict in (Verdict.NOT_SENT, Verdict.UNKNOWN):
            self.advance()
        return wait
