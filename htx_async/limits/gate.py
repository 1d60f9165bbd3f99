"""What follows a refusal for a rate: nothing for a while, then one request that asks.

A half-open circuit: the others wait for the answer of the one that asks, so that a limit which
still holds is met once, not by everybody who waited. Pure; times are loop times in seconds.
"""

import math

from htx_async.exchange.headers import LONGEST_PAUSE, PERIOD


class Gate:
    """Whether an endpoint takes requests. Urgent callers do not wait for it to open: of all of them
    together one may ask each period."""

    __slots__ = ("_asking", "_forgotten_at", "_shut_until", "is_open", "urgent_at")

    def __init__(self) -> None:
        self.is_open = True
        self.urgent_at = -math.inf
        """When the next urgent caller may pass what holds others."""
        self._shut_until = -math.inf
        self._forgotten_at = -math.inf
        self._asking: set[object] = set()

    def shut(self, now: float, asked: float) -> float:
        """A request was refused: shut for the seconds `asked`, at least a period and 10 s at most.

        Returns for how long. What is under way was sent before, so its answers prove nothing.
        """
        seconds = closing(asked)
        self.is_open = False
        self._forgotten_at = max(self._forgotten_at, now + max(seconds, asked) + LONGEST_PAUSE)
        self._asking.clear()
        self._shut_until = max(self._shut_until, now + seconds)
        self.urgent_at = max(self.urgent_at, now + PERIOD)
        return seconds

    def learn(self, until: float) -> None:
        """Somebody else was refused: shut until then, if not for longer."""
        self.is_open = False
        self._shut_until = max(self._shut_until, until)
        self._forgotten_at = max(self._forgotten_at, until + LONGEST_PAUSE)

    def opens_at(self, urgent: bool) -> float:
        """When the next may go; `math.inf` while somebody asks."""
        if self.is_open:
            return -math.inf
        if urgent:
            return self.urgent_at
        return math.inf if self._asking else self._shut_until

    def earliest(self, urgent: bool, behind_urgent: bool) -> float:
        """The same if every answer came at once, and brought good news."""
        if self.is_open or self._asking:
            return -math.inf
        if urgent:
            return self.urgent_at
        return min(self._shut_until, self.urgent_at) if behind_urgent else self._shut_until

    def passed(self, caller: object, urgent: bool, now: float) -> None:
        """`caller` goes; while this is not open, it is one that asks."""
        if urgent or not self.is_open:
            self.urgent_at = now + PERIOD
        if not self.is_open:
            self._asking.add(caller)

    def answered(self, caller: object) -> None:
        """The request of `caller` was answered, and was not refused for its rate."""
        if caller in self._asking:
            self.is_open = True
            self._shut_until = -math.inf
            self._asking.clear()

    def forget(self, now: float) -> None:
        """Open when nobody has asked for long after the time that was asked for."""
        if not self.is_open and now >= self._forgotten_at and not self._asking:
            self.is_open = True
            self._shut_until = -math.inf

    def left(self, caller: object) -> None:
        """`caller` got no answer: the next may ask."""
        self._asking.discard(caller)

    def carried_over(self, shift: float, now: float) -> "Gate":
        """The same by a clock that shows `shift` seconds more; nobody asks there yet."""
        heir = Gate()
        heir.is_open = self.is_open
        heir._shut_until = min(self._shut_until + shift, now + LONGEST_PAUSE)
        heir._forgotten_at = heir._shut_until + LONGEST_PAUSE
        heir.urgent_at = min(self.urgent_at + shift, now + PERIOD)
        return heir


def closing(asked: float) -> float:
    """For how long a refusal that asks for `asked` seconds closes an endpoint."""
    return min(max(PERIOD, asked), LONGEST_PAUSE)
