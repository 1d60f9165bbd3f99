"""Whether a refusal may be the fault of a clock that is off; asked once in a call."""

from htx_async.codes import ANY_KEY_FAULT, CLOCK_CODES
from htx_async.exchange_time import ExchangeTime
from htx_async.outcome import Reply
from htx_async.wall_clock import WallClock

_OFF = 120.0
"""Seconds between the exchange's time and ours from which a 403 may be the clock's fault."""


class ClockCheck:
    """Compares clocks after a refusal that a wrong one may cause, and corrects ours."""

    __slots__ = ("_clock", "_time", "was_made")

    def __init__(self, clock: WallClock, time: ExchangeTime) -> None:
        self._clock = clock
        self._time = time
        self.was_made = False

    def is_due(self, reply: Reply, age: float) -> bool:
        """Whether `reply`, which left the exchange `age` seconds ago, calls for a comparison."""
        if self.was_made or reply.code not in CLOCK_CODES | {ANY_KEY_FAULT}:
            return False
        if reply.code in CLOCK_CODES:
            return True
        off = 0.0 if reply.ts is None else self._clock.ahead(reply.ts, age) - self._clock.skew
        return abs(off) > _OFF

    async def make(self, reply: Reply, age: float, base_url: str) -> str:
        """Correct our clock by the reply's time, or by asking; what went wrong, else nothing."""
        self.was_made = True
        if reply.ts is not None:
            skew: float | None = self._clock.ahead(reply.ts, age)
        else:
            skew = await self._time.skew(base_url)
        if skew is None:
            return "the exchange's clock could not be read, to compare it with ours"
        self._clock.correct(skew)
        return ""

    def told(self) -> str:
        """What the comparison found, for a call that was refused again after it."""
        where = "behind" if self._clock.skew > 0 else "ahead of"
        return (
            f"this machine's clock was {abs(self._clock.skew):.1f} s {where} the exchange's; that "
            "was corrected for, and the call refused again"
        )
