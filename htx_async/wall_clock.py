"""The wall clock, and how far it is off. Only signatures and reports ask it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_FIRST_YEAR = datetime(2013, 1, 1, tzinfo=UTC).timestamp() * 1000
_LAST_YEAR = datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000
"""Unix milliseconds; this machine's clock may show anything, the exchange's may not."""


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
        return self._read() + self._skew if self._skew else self._read()

    def ahead(self, ts: int, age: float) -> float | None:
        """Seconds by which the exchange is ahead of this machine, uncorrected.

        `ts`: the exchange's time in Unix milliseconds, taken `age` seconds ago; None when that is
        no time at which this exchange could answer.
        """
        if not _FIRST_YEAR <= ts < _LAST_YEAR:
            return None
        return ts / 1000 + age - self._read().timestamp()

    def correct(self, seconds: float) -> None:
        """Count the exchange as `seconds` ahead of this machine from now on."""
        self._skew = timedelta(seconds=seconds)

    def _read(self) -> datetime:
        moment = self._now()
        if isinstance(moment, datetime):
            return moment.astimezone(UTC)
        return datetime.fromtimestamp(moment, UTC)
