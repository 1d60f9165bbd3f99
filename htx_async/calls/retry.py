"""When to try again, as a pure function of what happened so far."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from htx_async.aio.listeners import LEAVING, as_listener
from htx_async.arguments import as_count, as_seconds, check_flags
from htx_async.codes import CodeClass
from htx_async.enums import Verdict
from htx_async.errors import InvalidRequest

_BUSY = (1.0, 1.2)
"""Seconds after "system busy": the exchange asks not to repeat cancels while it lasts (HTX API
docs, "FAQ Order and Trade" Q1). A short deadline does not make them shorter."""

_WHOLE = 2.5
"""Deadlines shorter than so many `cap` shorten the waits before the first four requests."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon an attempt is followed by another; the deadline ends them all.

    `attempts`: the most requests whose outcome stays unknown, unless a call goes on to its
    deadline. `base`, `cap`: seconds. Requests that reached the exchange, or may have: the second
    goes at once to another base URL, else `base` * 2 to 4 after the first; the third `base` * 8 to
    16 after that; the fourth `cap` * 1.1 to 2 after the first; others `cap` * 1.05 to 1.5 after
    the one before. By default: 0.1 to 0.2 s, 0.4 to 0.8 s, 2.2 to 4 s, and 2.1 to 3 s. A deadline
    of less than 2.5 `cap` shortens the first three in proportion; what a request itself took
    counts, and a time-out is followed at once. "System busy" (1004) waits a second at least, by
    any deadline. Where nothing left this machine, the other base URLs come at once; then the wait
    doubles from `base` * 2 to 4 up to `cap`.

    `repeat_unknown=False` ends a call at the first unknown outcome: a repeat would also take the
    trailing orders that were placed since, since the exchange knows no client order id for them.
    `random` returns a number from 0 to less than 1, by which waits are drawn; where it fails the
    longest wait is waited.

    Raises `InvalidRequest` for settings that describe no policy.
    """

    attempts: int = 4
    base: float = 0.05
    cap: float = 2.0
    repeat_unknown: bool = True
    random: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def __post_init__(self) -> None:
        as_count("attempts", self.attempts)
        check_flags(repeat_unknown=self.repeat_unknown)
        as_listener("random", self.random, "nothing and returns a number")
        if as_seconds("base", self.base) > as_seconds("cap", self.cap):
            raise InvalidRequest(f"base ({self.base:g} s) is longer than cap ({self.cap:g} s)")

    def delay(
        self,
        verdict: Verdict,
        code_class: CodeClass | None = None,
        *,
        made: int = 1,
        untried: bool = False,
        since: float = 0.0,
        took: float = 0.0,
        timed_out: bool = False,
        is_busy: bool = False,
        within: float = math.inf,
        persists: bool = False,
    ) -> float | None:
        """Seconds to wait before the next attempt; None: stop and report.

        `made`: attempts so far that ended like this one, itself included. `since`, `took`: seconds
        since the first of them began, and since the last did. `untried`: a base URL is left that
        this round has not tried. `timed_out`: the last one had no answer in its time. `is_busy`:
        the exchange said so. `within`: seconds that the call has in all. `persists`: unknown
        outcomes are repeated until the deadline. A rate limit gives 0: its wait is the pause of
        the endpoint's bucket, and is not counted.
        """
        if verdict is Verdict.NOT_SENT:
            return 0.0 if untried or timed_out else self._backoff(made, took)
        if verdict is Verdict.REFUSED and code_class is CodeClass.RATE_LIMITED:
            return 0.0
        if verdict is Verdict.UNKNOWN:
            if not (self.repeat_unknown and (persists or made < self.attempts)):
                return None
        elif verdict is not Verdict.REFUSED or code_class is not CodeClass.RETRYABLE:
            return None
        if is_busy:
            return max(self._drawn(*_BUSY), self._scheduled(made, since, took, within))
        if made == 1 and untried and verdict is Verdict.UNKNOWN:
            return 0.0
        return self._scheduled(made, since, took, within, timed_out)

    def _scheduled(
        self, made: int, since: float, took: float, within: float, timed_out: bool = False
    ) -> float:
        scale = min(1.0, within / (_WHOLE * self.cap))
        if made > 3:
            # A little more than `cap`, for the way there may be shorter the next time.
            least, most, past = 1.05 * self.cap, 1.5 * self.cap, took
        elif made == 3:
            least, most, past = 1.1 * self.cap * scale, 2 * self.cap * scale, since
        else:
            most = scale * min(self.cap, self.base * 4**made)
            least, past = 0.0 if timed_out else most / 2, took
        return max(0.0, (least if timed_out else self._drawn(least, most)) - past)

    def _backoff(self, made: int, took: float) -> float:
        # 2 ** 60 times any base is beyond every cap; a larger exponent would only overflow.
        most = min(self.cap, self.base * 2.0 ** min(made + 1, 60))
        return max(0.0, self._drawn(most / 2, most) - took)

    def _drawn(self, least: float, most: float) -> float:
        return least + self._chance() * (most - least)

    def _chance(self) -> float:
        # What was sent before must not be lost to a traceback.
        try:
            number = float(self.random())
        except LEAVING:
            raise
        except BaseException:
            # A user's own function, whatever it raises: the longest wait is always right.
            return 1.0
        return number if 0 <= number <= 1 else 1.0
