"""When to try again, as a pure function of what happened so far."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from htx_async.checks import count, seconds
from htx_async.codes import CodeClass
from htx_async.errors import InvalidRequest
from htx_async.terms import Verdict

PERIOD = 1.0
"""Seconds: the window of the trailing endpoints' limit, and the pause when a reply names none."""

LONGEST_PAUSE = 10.0
"""Seconds; a pause that a reply asks for is believed up to this."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon an attempt is followed by another; the deadline ends them all.

    `attempts`: the most requests whose outcome stays unknown. `base`, `cap`: seconds; the n-th
    wait is drawn from 0 to min(cap, base * 2 ** (n - 1)), which is called full jitter.
    `repeat_unknown=False` ends a call at the first unknown outcome: a repeat would also take the
    trailing orders that were placed since, since the exchange knows no client order id for them.
    `random` returns a number from 0 to less than 1; it is the only chance in the whole package.

    Raises `InvalidRequest` for numbers that describe no policy.
    """

    attempts: int = 4
    base: float = 0.05
    cap: float = 2.0
    repeat_unknown: bool = True
    random: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def __post_init__(self) -> None:
        count("attempts", self.attempts)
        if seconds("base", self.base) > seconds("cap", self.cap):
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
        return self.random() * min(self.cap, self.base * 2.0 ** min(made - 1, 60))


def pause_after(headers: Mapping[str, str], ts: int | None) -> float:
    """Seconds for which an endpoint is paused after a rate-limited reply.

    `ratelimit-reset` is an absolute time in Unix milliseconds (seen in recorded replies; HTX API
    docs, "API Rate Limit Illustration"), so the reply's own `ts` is taken off, never this
    machine's clock. Else `Retry-After`, in seconds or as a date. Either is believed from 0 to
    10 s; else one period.
    """
    reset = _number(headers.get("ratelimit-reset"))
    if reset is not None and ts is not None:
        until_reset = (reset - ts) / 1000
        if 0 <= until_reset <= LONGEST_PAUSE:
            return until_reset
    asked = _retry_after(headers)
    return asked if asked is not None and 0 <= asked <= LONGEST_PAUSE else PERIOD


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after")
    if text is None:
        return None
    number = _number(text)
    if number is not None:
        return number
    # A date counts from the reply's own Date header, so that this machine's clock has no say.
    until, sent = _date(text), _date(headers.get("date"))
    return None if until is None or sent is None else until - sent


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _date(text: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
