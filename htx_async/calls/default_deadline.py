"""The deadline of many requests together, where the caller gave none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from htx_async.exchange.endpoints import READS
from htx_async.limits.limiter import BaseLimiter
from htx_async.report import Attempt

ROUND_TRIP = 0.5
"""Seconds that answers may take from the start; 0.3 is usual from far away."""


_ON_V5 = 5
"""Answers that come one after the other where v1's is no answer: two pages of V5's list, a cancel,
the list again, and the history."""

_LISTS = 3
"""Pages that a look at one contract may take then: v1's list, and V5's to its empty page."""


class DefaultDeadline(NamedTuple):
    """What the limit needs for the last of the requests, and `allowance` seconds more.

    A token comes back one second after its *answer*, so the limit needs the longer the slower
    answers are: the deadline counts with 0.5 s for each, and with what was seen where that is
    more, up to `longest`. `turns`: loop times at which the last one has its turn, with answers at
    once and answers that take `longest` seconds. `steps`: how many answers may have to come one
    after the other from then on.
    """

    turns: tuple[float, float]
    allowance: float
    longest: float
    steps: int = 0

    @classmethod
    def of(
        cls,
        limiter: BaseLimiter,
        reads_limiter: BaseLimiter,
        path: str,
        calls: int,
        looks: int,
        *,
        urgent: bool,
        allowance: float,
        longest: float,
        may_be_on_v5: bool,
    ) -> DefaultDeadline:
        """For `calls` cancels that queue for `path` now, or once `looks` lists are read."""
        now, reads = asyncio.get_running_loop().time(), looks * (_LISTS if may_be_on_v5 else 1)

        def turn(round_trip: float) -> float:
            last = limiter.foresee(path, calls, urgent=urgent, round_trip=round_trip)
            if not reads:
                return last
            listed = reads_limiter.foresee(READS, reads, urgent=urgent, round_trip=round_trip)
            return last + max(0.0, listed - now)

        return cls((turn(0.0), turn(longest)), allowance, longest, _ON_V5 if may_be_on_v5 else 0)

    def until(self, round_trip: float = 0.0) -> float:
        """The loop time, where `round_trip` is the longest that was seen (seconds)."""
        at_once, at_last = self.turns
        trip = max(ROUND_TRIP, min(round_trip, self.longest))
        until_turn = at_once + trip / self.longest * (at_last - at_once)
        return until_turn + self.allowance + self.steps * trip


def round_trip(attempts: Sequence[Attempt]) -> float:
    """The longest of those that were answered, in seconds; 0 where none was."""
    return max((a.wire for a in attempts if a.http_status is not None), default=0.0)
