"""A limit's tokens: at most so many requests in any window of its length at the exchange."""

import heapq
import math

DUE = 1e-6
"""Seconds: a token due within this is due; loop clocks and sums of floats differ by less."""


class Window:
    """`size` tokens; one in use comes back `hold` seconds after its request has failed, or
    `answered` seconds after its answer. Times are loop times; idle tokens are only a number."""

    __slots__ = ("_in_use", "_returning", "answered", "hold", "size")

    def __init__(self, size: int, hold: float, answered: float) -> None:
        self.size: int = size
        self.hold: float = hold
        self.answered: float = answered
        self._in_use = 0
        self._returning: list[float] = []

    def resized(self, size: int, longer: float) -> "Window":
        """Another one for the same requests, each of which holds its token `longer` more."""
        heir = Window(size, self.hold + longer, self.answered + longer)
        heir._in_use = self._in_use
        heir._returning = [at + longer for at in self._returning]
        return heir

    def carried_over(self, shift: float, now: float) -> "Window":
        """The same by a clock that shows `shift` seconds more; what was in use counts as used just
        now."""
        heir, latest = Window(self.size, self.hold, self.answered), now + self.hold
        returning = [min(at + shift, latest) for at in tuple(self._returning)]
        heir._returning = sorted(returning + [latest] * self._in_use)
        return heir

    def take(self) -> None:
        """One more request has a token, whether there was one or not."""
        self._in_use += 1

    def give_back(self) -> None:
        """It was not used."""
        self._in_use -= 1

    def settle(self, now: float, answered: bool) -> None:
        """Its request was answered or has failed."""
        self._in_use -= 1
        heapq.heappush(self._returning, now + (self.answered if answered else self.hold))

    def opens_at(self, now: float) -> float:
        """When the next token can be had; `math.inf` when that takes an answer first."""
        returning = self._returning
        while returning and returning[0] <= now + DUE:
            heapq.heappop(returning)
        # More than one may be missing: a slower limit begins with more in use than it has.
        missing = self._in_use + len(returning) - self.size + 1
        if missing <= 0:
            return now
        if missing > len(returning):
            return math.inf
        return returning[0] if missing == 1 else heapq.nsmallest(missing, returning)[-1]

    def turns(self, now: float) -> list[float]:
        """When each token that is in use can be had again, in order, if every answer comes at
        once."""
        return sorted([*self._returning, *[now + self.answered] * self._in_use])

    def turn(self, ahead: int, turns: list[float], least: float, round_trip: float) -> float:
        """When one behind `ahead` others has a token, none before loop time `least`, which is not
        over yet, with answers that take `round_trip` seconds; `turns`: those of now."""
        rounds, place = divmod(ahead, self.size)
        # The idle ones go first; of more in use than there are, the first to return are none.
        place += len(turns) - self.size
        at = least if place < 0 else max(turns[place], least)
        return at + rounds * (self.answered + round_trip)

    def uses_by(self, at: float, now: float, round_trip: float) -> int:
        """How many requests this lets go until loop time `at`, starting from idle."""
        return self.size * (1 + max(0, math.floor((at - now) / (self.hold + round_trip))))
