"""What the exchange told one process of a fleet, and what the fleet hears of it."""

import asyncio
import math
from functools import partial

from htx_async.exchange.endpoints import READS, Limit, limit_of
from htx_async.exchange.headers import PERIOD
from htx_async.limits.gate import Gate
from htx_async.limits.shared_debts import Debts
from htx_async.limits.shared_store import MARGIN, Rule, SharedStore
from htx_async.limits.slower_limit import SlowerLimit
from htx_async.limits.token_bucket import TokenBucket

_REPEAT = 10.0
"""Seconds after which the store is told once more of a slower limit that replies repeat."""


class Share(TokenBucket):
    """What one of `share_of` processes may use whatever the others do."""

    def __init__(self, size: int | None, per: float, share_of: int) -> None:
        super().__init__(size, per)
        self._share_of = share_of

    def whole(self, endpoint: str) -> Limit:
        """What all of them may use together; a size that was named is none for reads."""
        return limit_of(READS) if endpoint == READS else super().limit(endpoint)

    def limit(self, endpoint: str) -> Limit:
        """See `TokenBucket.limit`."""
        return self.part(endpoint, self._share_of)

    def part(self, endpoint: str, processes: int) -> Limit:
        """What each of so many may use."""
        size, per = self.whole(endpoint)
        share = size // processes
        return Limit(share, per) if share else Limit(1, per * processes / size)


class ToldToFleet:
    """Pauses, refusals and slower limits of `endpoint`: what this process heard holds here at once,
    in the `share` that is its own for certain, and by `store` in every other process."""

    def __init__(
        self,
        endpoint: str,
        store: SharedStore,
        rule: Rule,
        share: Share,
        debts: Debts,
    ) -> None:
        self._endpoint = endpoint
        self._store = store
        self._own_rule = rule
        self._share = share
        self._debts = debts
        own = Limit(rule.size, rule.per - MARGIN)
        self._slower = SlowerLimit(own, limit_of(endpoint))
        self._own_share = share.limit(endpoint)
        self._fraction = self._own_share.rate / own.rate
        self._said_at = -math.inf
        self._gate = Gate()
        self._loop = asyncio.get_running_loop()
        self.paused_until: float = -math.inf
        """Until when nobody goes, urgent or not."""
        self.is_changed: bool = False
        """Whether the limit has changed since somebody looked."""

    @property
    def rule(self) -> Rule:
        """The limit in force."""
        limit = self._slower.limit(self._loop.time())
        if limit == self._slower.own:
            return self._own_rule
        return Rule(limit.size, limit.per + MARGIN)

    @property
    def slower_named(self) -> int:
        """See `SlowerLimit.named`."""
        return self._slower.named(self._loop.time())

    @property
    def urgent_may_pass(self) -> bool:
        """Whether what holds up ordinary callers does not hold up urgent ones for as long."""
        return not self._gate.is_open or self._slower.is_below_one_a_second(self._loop.time())

    def pause(self, seconds: float) -> None:
        """See `TokenBucket.pause`."""
        self.paused_until = max(self.paused_until, self._loop.time() + seconds)
        self._share.pause(self._endpoint, seconds)
        self._debts.say(partial(self._store.pause, seconds))

    def refused(self, seconds: float) -> float:
        """See `TokenBucket.refused`."""
        closed = self._gate.shut(self._loop.time(), seconds)
        self._share.refused(self._endpoint, seconds)
        self._debts.say(partial(self._store.shut, closed, seconds))
        return closed

    def tighten(self, rate: float, requests: float) -> tuple[int, float] | None:
        """See `TokenBucket.tighten`."""
        now, (size, per) = self._loop.time(), self._own_share
        was = self._slower.limit(now)
        told = self._slower.hear(rate, requests, now)
        limit = self._slower.limit(now)
        self.is_changed = self.is_changed or limit != was
        if limit != self._slower.own:
            self._share.tighten(self._endpoint, limit.rate * self._fraction * per, per)
            self.say_rule(again=limit != was)
        elif told is not None:
            self._share.tighten(self._endpoint, size, per)
            self._debts.say(self._store.loosen)
        return told

    def say_rule(self, *, again: bool) -> None:
        """Tell the store of a slower limit; `again`: even if that was done of late."""
        now, rule = self._loop.time(), self.rule
        if rule != self._own_rule and (again or now - self._said_at > _REPEAT):
            self._said_at = now
            self._debts.say(partial(self._store.tighten, rule))

    def learn(self, until: float) -> None:
        """Another process was refused; this one asks at loop time `until`."""
        if self._gate.is_open:
            self._gate.learn(until)

    def passed(self, name: str, urgent: bool) -> None:
        """Token `name` was handed out."""
        self._gate.passed(name, urgent, self._loop.time())

    def ended(self, name: str, *, answered: bool) -> bool:
        """Token `name` is back; whether that may let others go."""
        was_open = self._gate.is_open
        if answered:
            self._gate.answered(name)
        self._gate.left(name)
        if not was_open and self._gate.is_open:
            self._debts.say(self._store.open)
        return not was_open

    def held_until(self, urgent: bool) -> float:
        """Until when the next caller is held up; `math.inf`: until an answer."""
        self._gate.forget(self._loop.time())
        return max(self.paused_until, self._gate.opens_at(urgent))

    def turn(self, ahead: int, urgent: bool, reserved: float, behind_urgent: bool) -> float:
        """When one behind `ahead` others could go, if no other process took any. `reserved`: when
        the next token is."""
        now, (size, per) = self._loop.time(), self.rule
        least = max(now, self.paused_until, self._gate.earliest(urgent, behind_urgent))
        if urgent and not self._gate.is_open:
            return least + ahead // self._own_rule.size * self._own_rule.per
        turn = max(least, reserved) + ahead // size * per
        if urgent and self._slower.is_below_one_a_second(now):
            return min(turn, max(least, self._gate.urgent_at) + ahead * PERIOD)
        return turn

    def each(self, round_trip: float) -> float:
        """Seconds that one after another takes, if every process took its share all the time."""
        rule, own = self.rule, self._own_rule
        size, per = self._share.part(self._endpoint, self._store.sharers())
        slowness = own.size / rule.size * rule.per / own.per
        return (per * slowness + round_trip) / size
