"""The wall clock, and how far it is off. Only signatures and reports ask it."""

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from htx_async.aio.listeners import LEAVING
from htx_async.arguments import shown
from htx_async.errors import InvalidRequest

_FIRST_YEAR = datetime(2013, 1, 1, tzinfo=UTC).timestamp() * 1000
_LAST_YEAR = datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000
"""Unix milliseconds; this machine's clock may show anything, the exchange's may not."""


Clock = Callable[[], datetime | float]
"""What tells the time: an aware datetime, or Unix seconds."""


class ClockFailed(Exception):
    """The clock gave no time: a signal between modules, never a user's error.

    `reason` is our own text, with nothing secret.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WallClock:
    """`now` with a correction that is learned from the exchange's own times.

    `now` gives an aware datetime or Unix seconds. No wait ever depends on this clock. Raises
    `InvalidRequest` if `now` cannot tell the time already; whatever asks later raises
    `ClockFailed` when it cannot.
    """

    def __init__(self, now: Clock) -> None:
        check_clock(now)
        self._now = now
        self._skew = timedelta()

    @property
    def skew(self) -> float:
        """Seconds by which the exchange is ahead, as far as it is corrected for."""
        return self._skew.total_seconds()

    def now(self) -> datetime:
        """UTC, corrected."""
        return _told(self._now, self._skew)

    def ahead(self, ts: int, age: float) -> float | None:
        """Seconds by which the exchange is ahead of this machine, uncorrected.

        `ts`: the exchange's time in Unix milliseconds, taken `age` seconds ago; None when that is
        no time at which this exchange could answer.
        """
        if not _FIRST_YEAR <= ts < _LAST_YEAR:
            return None
        return ts / 1000 + age - _told(self._now).timestamp()

    def correct(self, seconds: float) -> None:
        """Count the exchange as `seconds` ahead of this machine from now on."""
        self._skew = timedelta(seconds=seconds)


def check_clock(now: object) -> None:
    """`InvalidRequest` unless `now` is a function that tells the time."""
    if not callable(now):
        raise InvalidRequest(f"now must be a function such as time.time, not {shown(now)}")
    problem = ""
    try:
        _told(now)
    except ClockFailed as failure:
        problem = failure.reason
    if problem:
        raise InvalidRequest(f"{problem}; nothing was sent")


def as_utc(moment: object) -> datetime:
    """An aware datetime or Unix seconds, in UTC; `ValueError` for anything else."""
    try:
        if isinstance(moment, datetime):
            if moment.utcoffset() is not None:
                return _plain(moment.astimezone(UTC))
        elif isinstance(moment, int | float) and not isinstance(moment, bool):
            return datetime.fromtimestamp(moment, UTC)
        elif inspect.iscoroutine(moment):
            moment.close()
    except LEAVING:
        raise
    except BaseException as error:
        # No calendar has that day, or foreign code fails, by a cancelled future's result too.
        del error
    raise ValueError("neither an aware datetime nor a time in Unix seconds")


def as_moment(name: str, value: object) -> datetime:
    """`value` in UTC; `InvalidRequest` for what is no time."""
    try:
        return as_utc(value)
    except ValueError as error:
        raise InvalidRequest(f"{name} must be a time, not {shown(value)}: {error}") from None


def _plain(moment: datetime) -> datetime:
    """The same of Python's own type: what is asked of a foreign one later may fail then."""
    return datetime.combine(datetime.date(moment), datetime.time(moment), UTC)


def _told(now: Callable[[], object], skew: timedelta = timedelta()) -> datetime:
    try:
        moment = now()
    except LEAVING:
        raise
    except BaseException as error:
        problem = f"raised {type(error).__name__}"
    else:
        try:
            if type(moment) is not datetime or moment.tzinfo is not UTC:
                moment = as_utc(moment)
            return moment + skew
        except (ValueError, OverflowError):
            problem = f"gave {shown(moment)}, neither an aware datetime nor Unix seconds"
    # Raised out here, so that no foreign exception hangs on it.
    raise ClockFailed(f"the clock given as now= {problem}")
