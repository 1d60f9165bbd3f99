"""The wall clock, and how far it is off. Only signatures and reports ask it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class WallClock:
    """`now` with a correction that is learned from the exchange's own times.

    `now` gives an aware datetime or Unix seconds. No wait ever depends on this clock.
    """

    def __init__(self, now: Callable[[], datetime | float]) -> None:
        self._now = now
        self._skew = timedelta()

    @property
    def skew(self) -> float:
        """Seconds by which the exchange is ahead, as far as it is corrected for."""
        return self._skew.total_seconds()

    def now(self) -> datetime:
        """UTC, corrected."""
        return self._read() + self._skew

    def ahead(self, ts: int, age: float) -> float:
        """Seconds by which the exchange is ahead of this machine, uncorrected.

        `ts`: the exchange's time in Unix milliseconds, taken `age` seconds ago.
        """
        return ts / 1000 + age - self._read().timestamp()

    def correct(self, seconds: float) -> None:
        """Count the exchange as `seconds` ahead of this machine from now on."""
        self._skew = timedelta(seconds=seconds)

    def _read(self) -> datetime:
        moment = self._now()
        if isinstance(moment, datetime):
            return moment.astimezone(UTC)
        return datetime.fromtimestamp(moment, UTC)
