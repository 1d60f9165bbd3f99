"""When to try again, as a pure function of what happened so far."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from htx_async.checks import as_count, as_seconds
from htx_async.codes import CodeClass
from htx_async.errors import InvalidRequest
from htx_async.listeners import LEAVING, as_listener
from htx_async.terms import Verdict


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon an attempt is followed by another; the deadline ends them all.

    `attempts`: the most requests whose outcome stays unknown. `base`, `cap`: seconds; the n-th
    wait is drawn from 0 to min(cap, base * 2 ** (n - 1)), which is called full jitter.
    `repeat_unknown=False` ends a call at the first unknown outcome: a repeat would also take the
    trailing orders that were placed since, since the exchange knows no client order id for them.
    `random` returns a number from 0 to less than 1; it is the only chance in the whole package, and
    where it fails the whole wait is waited.

    Raises `InvalidRequest` for numbers that describe no policy.
    """

    attempts: int = 4
    base: float = 0.05
    cap: float = 2.0
    repeat_unknown: bool = True
    random: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def __post_init__(self) -> None:
        as_count("attempts", self.attempts)
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
    ) -> float | None:
        """Seconds to wait before the next attempt; None: stop and report.

        `made`: attempts so far that ended like this one, itself included. `untried`: a base URL
        is left that this round has not tried. A rate limit gives 0: its wait is the pause of the
        endpoint's bucket, and is not counted.
        """
        if verdict is Verdict.NOT_SENT:
            return 0.0 if untried else self._backoff(made)
        if verdict is Verdict.UNKNOWN:
            again = self.repeat_unknown and made < self.attempts
            return self._backoff(made) if again else None
        if verdict is Verdict.REFUSED and code_class is CodeClass.RATE_LIMITED:
            return 0.0
        if verdict is Verdict.REFUSED and code_class is CodeClass.RETRYABLE:
            return self._backoff(made)
        return None

    def _backoff(self, made: int) -> float:
        # 2 ** 60 times any base is beyond every cap; a larger exponent would only overflow.
        return self._drawn() * min(self.cap, self.base * 2.0 ** min(made - 1, 60))

    def _drawn(self) -> float:
        # What was sent before must not be lost to a traceback.
        try:
            number = float(self.random())
        except LEAVING:
            raise
        except BaseException:
            return 1.0
        return number if 0 <= number <= 1 else 1.0
