"""A slower limit that the exchange told: for how long it is believed, and what ends it. Pure."""

from htx_async.exchange.endpoints import Limit
from htx_async.exchange.headers import PERIOD

BELIEVED = 60.0
"""Seconds for which a slower limit is believed after the last reply that named it."""

_SAME = 1e-9


class SlowerLimit:
    """The limit in force, where `own` is a limiter's own and `documented` that of its endpoint.
    Times are loop times, in seconds."""

    __slots__ = ("_documented", "_has_run_out", "_named", "_rate", "_told", "own", "until")

    def __init__(self, own: Limit, documented: Limit) -> None:
        self.own: Limit = own
        self._documented = documented
        self._told: Limit | None = None
        self._named = 0
        self._rate = 0.0
        self.until = 0.0
        """When the slower limit runs out."""
        self._has_run_out = False

    def limit(self, now: float) -> Limit:
        """The one in force."""
        if self._told is not None and self.until <= now:
            self._told, self._has_run_out = None, True
        return self._told or self.own

    def named(self, now: float) -> int:
        """How many replies have named the slower limit in force; 0: there is none."""
        return self._named if self._told is not None and now < self.until else 0

    def is_below_one_a_second(self, now: float) -> bool:
        """Whether it could keep even urgent callers waiting for longer than they have to."""
        per = self.limit(now).per
        return per > self.own.per and per > PERIOD

    def hear(self, rate: float, requests: float, now: float) -> Limit | None:
        """A reply names `requests` at `rate` a second; the limit in force, if that has changed it
        or is the first since a slower one ran out."""
        own, size = self.own, self.limit(now).size
        has_run_out, self._has_run_out = self._has_run_out, False
        if rate < own.rate * (1 - _SAME):
            # A short interval must not shorten the hold: the own period stays in force too.
            size = max(1, min(size, int(requests)))
            return self._believe(Limit(size, max(own.per, size / rate)), rate, now)
        alike = () if self._told is None else (own, self._documented)
        if is_undone := any(abs(rate / one.rate - 1) < _SAME for one in alike):
            self._told = None
        return own if is_undone or has_run_out else None

    def _believe(self, told: Limit, rate: float, now: float) -> Limit | None:
        if self._told is not None:
            ratio = told.rate / self._told.rate
            if ratio > 1 + _SAME or rate > self._rate * (1 + _SAME):
                return None
            if ratio > 1 - _SAME:
                self.until = now + BELIEVED
                self._named += 1
                return None
        self._told, self._named, self._rate, self.until = told, 1, rate, now + BELIEVED
        return told

    def carried_over(self, shift: float, now: float) -> "SlowerLimit":
        """The same by a clock that shows `shift` seconds more."""
        heir = SlowerLimit(self.own, self._documented)
        heir._told, heir._has_run_out = self._told, self._has_run_out
        heir._named, heir._rate = self._named, self._rate
        heir.until = min(self.until + shift, now + BELIEVED)
        return heir
