"""What the headers of a reply ask of a client. Pure.

`ratelimit-*`: HTX API docs, "API Rate Limit Illustration", and recorded replies; no reply with
`Retry-After` was seen, but HTTP 429 comes with it elsewhere.
"""

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

PERIOD = 1.0
"""Seconds: the pause when a reply names none, and between urgent callers that ask meanwhile."""

LONGEST_PAUSE = 10.0
"""Seconds; an endpoint is closed for this long at most, whatever a reply asks for."""

LONGEST_ASKED = 3600.0
"""Seconds; what a reply asks for beyond this is taken for a mistake: the longest ban that is
documented lasts 30 minutes (HTX API docs, "API Limitation on Order Cancellation Ratio")."""

_LONGEST_INTERVAL = 60.0
"""Seconds; every interval seen was 1 or 3. A longer one than this is taken for a mistake."""


def pause_after(headers: Mapping[str, str], ts: int | None) -> float:
    """Seconds that a rate-limited reply asks to wait.

    `ratelimit-reset` is an absolute time in Unix milliseconds (seen in recorded replies; HTX API
    docs, "API Rate Limit Illustration"), so the reply's own `ts` is taken off, never this
    machine's clock. Else `Retry-After`, in seconds or as a date. Either is believed from 0 to
    an hour. A reset in less than a period asks for no more than every refusal costs, so
    `Retry-After` is heard besides. Without either, one period.
    """
    reset = _believed(_until_reset(headers, ts), LONGEST_ASKED)
    if reset is not None and reset >= PERIOD:
        return reset
    later = _believed(_retry_after(headers), LONGEST_ASKED)
    asked = [seconds for seconds in (reset, later) if seconds is not None]
    return max(asked, default=PERIOD)


def pause_when_spent(headers: Mapping[str, str], ts: int | None) -> float | None:
    """Seconds until the reset when a reply says that no request is left; None: go on.

    Nothing was refused, so a reset is believed up to 10 s only."""
    if headers.get("ratelimit-remaining") != "0":
        return None
    return _believed(_until_reset(headers, ts), LONGEST_PAUSE)


def told_limit(headers: Mapping[str, str]) -> tuple[float, float] | None:
    """The limit that a reply names: requests, and the seconds that they are for.

    None unless both are positive finite numbers, and both the seconds and the time for a single
    request are believable.
    """
    return _limit(headers.get("ratelimit-limit"), headers.get("ratelimit-interval"))


@lru_cache(maxsize=16)
def _limit(requests: str | None, milliseconds: str | None) -> tuple[float, float] | None:
    count, interval = _number(requests), _number(milliseconds)
    if count is None or interval is None:
        return None
    seconds = interval / 1000
    if count <= 0 or not 0 < seconds <= _LONGEST_INTERVAL:
        return None
    return (count, seconds) if seconds / count <= _LONGEST_INTERVAL else None


def _believed(seconds: float | None, longest: float) -> float | None:
    return seconds if seconds is not None and 0 <= seconds <= longest else None


def _until_reset(headers: Mapping[str, str], ts: int | None) -> float | None:
    reset = _number(headers.get("ratelimit-reset"))
    return None if reset is None or ts is None else (reset - ts) / 1000


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
