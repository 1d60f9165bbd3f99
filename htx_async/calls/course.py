"""Where and when one call goes next: its base URLs and its retry policy together."""

from collections.abc import Sequence

from htx_async.calls.base_urls import BaseUrls
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


class Course:
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
        self._hurries = hurries
        self._itinerary = base_urls.itinerary(now)
        self._retry = retry
        self._timeout = timeout
        self._persists = persists
        self._lost = lost

    @property
    def has_untried(self) -> bool:
        """Whether this round has a base URL left after the current one."""
        return self._itinerary.untried

    def begin(self, now: float) -> str:
        """The base URL of the attempt that begins now: what others learnt while it waited for
        its token counts."""
        return self._itinerary.choose(now)

    def follow(self, base_url: str, now: float) -> None:
        """The attempt that begins now goes to `base_url`: others have chosen it."""
        self._itinerary.follow(base_url, now)

    def to_answer(self) -> float:
        """Seconds for the attempt."""
        hurries = self._hurries and self.has_untried
        return min(self._timeout, _ANSWER_ELSEWHERE) if hurries else self._timeout

    def is_late(self, took: float) -> bool:
        """Whether an attempt without an answer, of so many seconds, was not given its full time:
        others may wait for its base URL."""
        return self.to_answer() <= took + _EARLY < self._timeout

    def to_connect(self) -> float:
        """Seconds for the connection."""
        return min(self._timeout, _CONNECT_ELSEWHERE) if self.has_untried else self._timeout

    def after(self, endings: Sequence[Heard], now: float, deadline: float) -> float | None:
        """Seconds until the next attempt, at the base URL that it goes to; None: no more."""
        last = endings[-1].attempt
        if last.verdict is Verdict.ACCEPTED:
            return None
        alike = [one.asked for one in endings if one.attempt.verdict is last.verdict]
        # Where nothing left this machine a worse host costs nothing either.
        is_lost = last.verdict is Verdict.UNKNOWN
        # The second attempt may stay; then each has its turn: what is worse may be well again.
        may_leave = not is_lost or len(alike) > 1 or self._itinerary.untried_no_worse
        elsewhere = self.has_untried and may_leave
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
        is_done_with = elsewhere or not self.has_untried
        if is_done_with and last.verdict in (Verdict.NOT_SENT, Verdict.UNKNOWN):
            self._itinerary.advance()
        return wait
