"""What the exchange's own times, as its replies tell them, prove of when a call began. Pure.

A reply's time was told after its request was sent and before it was answered, which makes two
bounds of any other moment of ours. Clocks of the exchange may be wrong, and not all alike. A reply
that could not be believed tells no time either: a gateway that says "busy" may say what it keeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

from htx_async.calls.in_flight import Heard
from htx_async.enums import Verdict
from htx_async.exchange.operation import Kind


class Times:
    """Of a call that `began`, and of its `horizon`, loop times, by what it has `heard`."""

    def __init__(self, heard: Sequence[Heard], began: float, horizon: float) -> None:
        self._heard = heard
        believed = [one for one in heard if one.reply.verdict is not Verdict.UNKNOWN]
        # Times are told in whole milliseconds, cut off.
        told = [(one.reply.ts, one.asked, one.answered) for one in believed]
        known = [(ts, asked, answered) for ts, asked, answered in told if ts is not None]
        self._upper = sorted(ts + 1 - 1000 * (asked - horizon) for ts, asked, _ in known)
        lower = [ts - 1000 * (answered - horizon) for ts, _, answered in known]
        self.do_agree = not known or max(lower) <= self._upper[0]
        """Whether no reply tells a time that another one contradicts."""
        self.earliest = max((one - 1 - 1000 * (horizon - began) for one in lower), default=0.0)
        """Unix milliseconds at the exchange at which the call had certainly not begun."""

    @cached_property
    def latest(self) -> float:
        """Unix milliseconds at the exchange, which the horizon comes no later than. What one reply
        says alone is not certain; where they contradict each other the most cautious one holds."""
        if len(self._upper) < 2 or self._is_clock_wrong:
            return math.inf
        return self._upper[1] if self.do_agree else self._upper[-1]

    @cached_property
    def since(self) -> float:
        """Unix milliseconds from which on what has ended did so in this call, or just before it;
        infinity where no reply tells its time, or not by the clock of orders."""
        return math.inf if not self.earliest or self._is_clock_wrong else self.earliest

    @cached_property
    def _is_clock_wrong(self) -> bool:
        """Whether a list has orders that were placed after the time at which it says it was made:
        then the clock of replies is not that of orders."""
        lists = (one.reply for one in self._heard if one.kind is Kind.OPEN)
        told = [reply for reply in lists if reply.data is not None]
        rows = ((row.created_at or 0, reply.ts) for reply in told for row in reply.data.orders)
        return any(ts is not None and placed > ts + 1 for placed, ts in rows)
