"""Whether a refusal may be the fault of a clock that is off; asked once in a call."""

from htx_async.calls.exchange_time import ExchangeTime
from htx_async.calls.wall_clock import ClockFailed, WallClock
from htx_async.codes import ANY_KEY_FAULT, CLOCK_CODES
from htx_async.exchange.operation import Reply

_OFF = 120.0
"""Seconds between the exchange's time and ours from which a 403 may be the clock's fault."""


class ClockCheck:
    """Compares clocks after a refusal that a wrong one may cause, and corrects ours."""

    __slots__ = ("_clock", "_time", "was_made")

    def __init__(self, clock: WallClock, time: ExchangeTime) -> None:
        self._clock = clock
        self._time = time
        self.was_made = False

    def is_due(self, reply: Reply, signed_at: float) -> bool:
        """Whether `reply` to a request of the time `signed_at` (Unix seconds, as it should have
        been when the reply left) calls for a comparison."""
        if self.was_made or reply.code not in CLOCK_CODES | {ANY_KEY_FAULT}:
            return False
        # Against the time that was signed: another call may have corrected the clock since.
        off = 0.0 if reply.ts is None else reply.ts / 1000 - signed_at
        return reply.code in CLOCK_CODES or abs(off) > _OFF

    async def make(self, reply: Reply, age: float, base_url: str) -> str:
        """Correct our clock by the time of `reply`, which is `age` seconds old, or by asking; what
        went wrong, else nothing."""
        self.was_made = True
        try:
            skew = None if reply.ts is None else self._clock.ahead(reply.ts, age)
        except ClockFailed as failure:
            return failure.reason
        if skew is None:
            skew = await self._time.skew(base_url)
        if skew is None:
            return "the exchange's clock could not be read, to compare it with ours"
        self._clock.correct(skew)
        return ""

    def told(self) -> str:
        """What the comparison found, for a call that was refused again after it."""
        skew = self._clock.skew
        if abs(skew) < 1:
            return f"this machine's clock is {abs(skew):.1f} s off, which is not the reason"
        where = "behind" if skew > 0 else "ahead of"
        return (
            f"this machine's clock was {abs(skew):.1f} s {where} the exchange's; that was "
            "corrected for, and the call refused again"
        )
