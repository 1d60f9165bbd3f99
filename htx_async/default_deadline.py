"""The deadline of many requests together, where the caller gave none."""

from collections.abc import Sequence
from typing import NamedTuple

from htx_async.limits import RateLimiter, foresee
from htx_async.report import Attempt

ROUND_TRIP = 0.5
"""Seconds that answers may take from the start; 0.3 is usual from far away."""


class DefaultDeadline(NamedTuple):
    """What the limit needs for the last of the requests, and `allowance` seconds more.

    A token comes back one second after its *answer*, so the limit needs the longer the slower
    answers are: the deadline counts with 0.5 s for each, and with what was seen where that is
    more, up to `longest`. `turns`: loop times at which the last one has its turn, with answers at
    once and answers that take `longest` seconds.
    """

    turns: tuple[float, float]
    allowance: float
    longest: float

    @classmethod
    def of(
        cls,
        limiter: RateLimiter,
        path: str,
        count: int,
        *,
        urgent: bool,
        allowance: float,
        longest: float,
    ) -> "DefaultDeadline":
        """For `count` requests that queue for `path` now."""
        at_once = foresee(limiter, path, count, urgent=urgent)
        at_last = foresee(limiter, path, count, urgent=urgent, round_trip=longest)
        return cls((at_once, at_last), allowance, longest)

    def until(self, round_trip: float = 0.0) -> float:
        """The loop time, where `round_trip` is the longest that was seen (seconds)."""
        at_once, at_last = self.turns
        trip = max(ROUND_TRIP, min(round_trip, self.longest))
        return at_once + trip / self.longest * (at_last - at_once) + self.allowance


def round_trip(attempts: Sequence[Attempt]) -> float:
    """The longest of those that were answered, in seconds; 0 where none was."""
    return max((a.wire for a in attempts if a.http_status is not None), default=0.0)
