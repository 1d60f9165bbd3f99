"""How long a mass cancel takes, told before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from htx_async.calls.default_deadline import ROUND_TRIP
from htx_async.calls.resources import Resources
from htx_async.cancel.looks import TO_LOOK, usual_look
from htx_async.enums import ApiGeneration, Look
from htx_async.exchange import v1
from htx_async.exchange.endpoints import READS, limit_of
from htx_async.filters import OrderFilter
from htx_async.limits.limiter import BaseLimiter
from htx_async.limits.spared import SparedReads
from htx_async.limits.token_bucket import TokenBucket

BETWEEN_ROUNDS = 1.2
"""Seconds: the exchange's own example shows 1.1 s between a cancel's reply and its effect."""

_ON_V5 = 4
"""Answers that come one after the other for an order on V5: a list, its cancel, the list again, and
the history."""


class Forecast(NamedTuple):
    """`calls`: cancels at most, `reads`: lists at most, as far as nothing has to be repeated.
    `least_seconds`: where each answer is one that ends the matter, `seconds`: where every contract
    has orders, and answers take as long as they did, or half a second."""

    calls: int
    reads: int
    least_seconds: float
    seconds: float
    look: Look


def forecast(
    resources: Resources,
    path: str,
    wanted: Sequence[OrderFilter],
    lists: int,
    look: Look | None,
    *,
    rounds: int = 1,
    urgent: bool = False,
) -> Forecast:
    """Of `wanted`, one contract each, whose orders stand on so many `lists`, with `look` at them
    before; None: as usual."""
    contracts, path = len(wanted), resources.on_path(path)
    if look is None:
        look = usual_look(resources.trades, path, contracts, urgent=urgent)
    same = (resources.turns.same(v1.cancel_all(each).request) for each in wanted)
    alone = contracts - sum(one.done() for one in same)
    return _Reckoning(resources, path, contracts, alone, lists, look, rounds, urgent).forecast()


class _Reckoning(NamedTuple):
    """`path`: whose line the cancels stand in. `alone`: contracts for whose cancel nobody waits who
    would take it along."""

    resources: Resources
    path: str
    contracts: int
    alone: int
    lists: int
    look: Look
    rounds: int
    urgent: bool

    def forecast(self) -> Forecast:
        urls = self.resources.base_urls
        least = self._least(min(urls.shortest, urls.round_trip))
        most = self._most(max(urls.round_trip, ROUND_TRIP))
        calls = self.contracts * self.rounds
        return Forecast(calls, self._reads, least, max(least, most), self.look)

    @property
    def _is_v5(self) -> bool:
        return self.resources.generation.current is ApiGeneration.V5

    @property
    def _looks(self) -> int:
        """Lists that are read before; on V5 every cancel begins with one."""
        return 0 if self._is_v5 or self.look is Look.NONE else self.lists

    @property
    def _opinions(self) -> int:
        """Lists of V5: one of the account, and one of each contract, unless the first shows that it
        is of all."""
        if self._is_v5:
            return 1 + self.contracts * (not self.resources.v5.lists_all)
        if not self.resources.generation.is_auto:
            return 0
        return 1 + self.contracts

    @property
    def _reads(self) -> int:
        return self._looks + self._opinions

    def _least(self, trip: float) -> float:
        """Nothing is open, and V5 is one list away from saying so, or the first has shown orders of
        two contracts: then it is known to be of all."""
        if self._is_v5:
            return self._read(1, trip) + (not self.resources.v5.lists_all) * trip
        if self.look is Look.ONLY:
            return self._look(trip) + self.resources.generation.is_auto * trip
        if not self.alone:
            return trip
        # V5 need not be asked after the last one if that has orders.
        between = trip if self.resources.trades.waits_for_answers else 0.0
        last = self._turn(self.alone, between)
        # It goes where one of the first went, and only that one's token may wait for the look.
        first = self._turn((self.alone - 1) % self._size + 1, between)
        return max(0.0, min(TO_LOOK, self._look(trip, 1)) - first) + last + trip

    def _most(self, trip: float) -> float:
        """Every contract has orders, and has to be asked for by each generation."""
        looking = TO_LOOK if self._looks else 0.0
        if self.look is Look.ONLY:
            # One list of all contracts has them on several pages, which are read twice then.
            pages = -(-self.contracts // v1.PAGE_SIZE) if self._looks == 1 else 1
            looking = self._look(trip) + (2 * pages - 1 if pages > 1 else 0) * trip
        looking += trip * self._is_in_use(trip)
        last = self._turn(self.contracts * self.rounds, trip)
        if self.rounds > 1:
            # The second round begins that much after the first, however short the queue is, and
            # those who wait go in between, also before urgent ones.
            # What is refused for its rate goes behind them: where a limiter lets it come to that,
            # the last contract may be the last in its first round.
            again = 0 if self.resources.trades.waits_for_answers else self.contracts
            first = self._turn(self.contracts + again, trip)
            last = max(last, first + BETWEEN_ROUNDS + trip)
            last = max(last, self._replace(urgent=False)._turn(2 * self.contracts, trip))
        may_be_on_v5 = self._is_v5 or self.resources.generation.is_auto
        after = trip + self._read(self._opinions, trip) + may_be_on_v5 * _ON_V5 * trip
        return looking + last + after

    def _is_in_use(self, trip: float) -> bool:
        """Whether some token may come back a period after an answer that is still to come."""
        count = min(self.contracts, self._size)
        return self.resources.trades.waits_for_answers and self._turn(count, trip) > 0

    @property
    def _size(self) -> int:
        """Tokens of the path, as far as is known."""
        trades, path = self.resources.trades, self.path
        return (trades.limit(path) if isinstance(trades, TokenBucket) else limit_of(path)).size

    def _look(self, trip: float, most: int | None = None) -> float:
        """Until all lists that are read before are there, or so many."""
        count = self._looks if most is None else min(most, self._looks)
        return self._read(count, trip, SparedReads(self.resources.reads))

    def _read(self, count: int, trip: float, reads: BaseLimiter | None = None) -> float:
        """Until so many lists are there."""
        reads = self.resources.reads if reads is None else reads
        return self._until(reads, READS, count, trip) + trip if count else 0.0

    def _turn(self, count: int, trip: float) -> float:
        """Until the turn of the last of so many cancels."""
        return self._until(self.resources.trades, self.path, count, trip)

    def _until(self, limiter: BaseLimiter, path: str, count: int, trip: float) -> float:
        turn = limiter.foresee(path, count, urgent=self.urgent, round_trip=trip)
        return max(0.0, turn - asyncio.get_running_loop().time())
