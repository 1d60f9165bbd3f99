"""One request for several calls that wait for the same: it goes once, and each has its report."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import reduce
from typing import Protocol

from htx_async.calls.in_flight import InFlight, Sink
from htx_async.calls.scope import FIRST, Scope
from htx_async.calls.wall_clock import ClockFailed
from htx_async.exchange.messages import Answer, SendFailed
from htx_async.exchange.operation import Operation
from htx_async.limits.limiter import Lease


class Rider(Protocol):
    """A call that waits for a request, alone or with others. `sink`: where it files what it hears;
    `contracts`: as what; `changes`: what an answer has asked of those who come after it."""

    @property
    def operation(self) -> Operation: ...

    @property
    def scope(self) -> Scope: ...

    @property
    def path(self) -> str: ...

    @property
    def sink(self) -> Sink: ...

    @property
    def contracts(self) -> tuple[str, ...]: ...

    @property
    def changes(self) -> dict[str, object] | None: ...

    def rank(self) -> tuple[int, ...] | None:
        """See `Scope.rank`."""

    def turn_moved(self, turn: float) -> None:
        """The token that it waits for comes at loop time `turn` at the earliest."""

    def give_way(self) -> None:
        """It is to wait no longer: its account is elsewhere."""

    async def written(self, lease: Lease) -> None:
        """Wait, for a short while, until its record is safe."""

    def is_ready(self) -> bool:
        """Whether it still wants the request sent."""

    def launch(self, operation: Operation, lease: Lease, shared_by: tuple[int, ...]) -> InFlight:
        """Sign `operation`, which is to be sent for it and for others; raises `ClockFailed`."""

    def board(self, in_flight: InFlight, request: int | None, lease: Lease) -> int:
        """Its part in what another one has launched; the request's number among its own,
        `request` if that is given."""

    def fell(self, failure: SendFailed, *, is_first: bool) -> bool:
        """It failed so; whether it may be tried elsewhere at once."""

    def landed(self, answer: Answer, first: Rider) -> None:
        """It was answered; `first`: the one that was told before all others."""

    def clock_failed(self, reason: str) -> None:
        """Nothing can be signed."""

    def time_for_one(self) -> tuple[float, float]:
        """Seconds for an attempt, and for its connection."""

    def may_hold(self, since: float) -> bool:
        """Whether a token that was granted at loop time `since` may serve another attempt."""


class Bundle:
    """A request to be, and those who wait for it. `call`: the one that was there first, among whose
    requests it has its rank."""

    def __init__(self, rider: Rider) -> None:
        self.path = rider.path
        self.call = rider.scope.outermost
        self.operation = rider.operation
        self.begun_as = rider.operation.request
        """Of the one that was there first, whatever joined it."""
        self.riders: dict[Rider, asyncio.Future[Lease | None]] = {}
        self._is_urgent = rider.scope.urgent
        self._has_rank = rider.rank() is not None
        self._over: asyncio.Future[bool] | None = None
        self._carrier: asyncio.Task[object] | None = None
        self._lease: Lease | None = None

    @property
    def is_urgent(self) -> bool:
        """Whether any of them is."""
        urgent = [rider.scope.urgent for rider in self.riders]
        return any(urgent) if urgent else self._is_urgent

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for it who is not just about to leave."""
        return any(not future.done() for future in self.riders.values())

    def rank(self) -> tuple[int, ...] | None:
        """The least goes first; None: it goes in its place, since whoever was there first has no
        rank, or nobody is left who has."""
        ranks = [rank for rider in self.riders if (rank := rider.rank()) is not None]
        return min(ranks) if ranks and self._has_rank else None

    def goes_after(self, rider: Rider, rank: tuple[int, ...]) -> bool:
        """Whether `rider`, which has this rank, is to go before it."""
        own = self.rank()
        if own is None:
            return False
        is_same = self.call is rider.scope.outermost
        return own > rank if is_same else own[:1] > FIRST == rank[:1]

    def takes(self, rider: Rider) -> bool:
        """Whether it would do for `rider`, too."""
        return self.is_awaited and self.operation.merged(rider.operation) is not None

    def suits(self, rider: Rider) -> bool:
        """Whether it may still carry `rider`, beside whoever was there first."""
        first = next(iter(self.riders))
        return rider is first or first.operation.merged(rider.operation) is not None

    def add(self, rider: Rider) -> None:
        """`rider` waits for it from now on."""
        if self.riders:
            self.operation = self.operation.merged(rider.operation) or self.operation
        self.riders[rider] = asyncio.get_running_loop().create_future()

    def remove(self, rider: Rider) -> None:
        """`rider` waits no longer, whatever it has come to."""
        self._is_urgent = self.is_urgent
        if self.riders.pop(rider, None) is None:
            return
        if self.riders:
            self.operation = _merged(self.riders)
        elif self._lease is not None and self._over is not None:
            # Granted in the turn in which it left.
            self._lease.not_sent()
            self.end(answered=True)
        elif self._carrier is not None:
            self._carrier.cancel()

    def hand_over(self, rider: Rider, other: Bundle) -> None:
        """`rider` waits for `other` instead, and does not notice."""
        other.riders[rider] = self.riders.pop(rider)
        self.operation = _merged(self.riders)

    def turn_moved(self, turn: float) -> None:
        """Its turn comes at loop time `turn` at the earliest."""
        for rider in tuple(self.riders):
            rider.turn_moved(turn)

    def give_way(self) -> None:
        """Nobody is to wait for it any more."""
        for rider in tuple(self.riders):
            rider.give_way()

    def fail(self, error: Exception) -> None:
        """There is no token, nor will there be."""
        for future in self.riders.values():
            if not future.done():
                future.set_exception(error)

    async def go(self, lease: Lease) -> bool:
        """Use the token; whether the request was answered, or was not sent."""
        waiting = [future for future in self.riders.values() if not future.done()]
        if len(self.riders) > 1 and len(waiting) > 1:
            self._carrier = asyncio.current_task()
            return await self._carry(lease)
        if not waiting:
            lease.not_sent()
            return True
        # Alone it goes in the task of its caller, who is master of it.
        self._lease, self._over = lease, asyncio.get_running_loop().create_future()
        waiting[0].set_result(lease)
        return await self._over

    def end(self, *, answered: bool) -> None:
        """The request of the one that was alone is over."""
        if self._over is not None and not self._over.done():
            self._over.set_result(answered)

    async def _carry(self, lease: Lease) -> bool:
        in_flight = None
        try:
            for rider in tuple(self.riders):
                await rider.written(lease)
            since = asyncio.get_running_loop().time()
            while aboard := self._ready():
                first, *others = aboard
                numbers = dict.fromkeys(rider.scope.number for rider in aboard)
                in_flight = first.launch(_merged(aboard), lease, tuple(numbers) if others else ())
                _board(in_flight, first, others, lease)
                try:
                    answer = await in_flight.sending.answer(*first.time_for_one())
                except SendFailed as failure:
                    if not self._goes_on(aboard, failure, since):
                        return not failure.sent
                else:
                    self._landed(aboard, answer)
                    return True
            return True
        except ClockFailed as failure:
            for rider in tuple(self.riders):
                rider.clock_failed(failure.reason)
                self._release(rider)
            return True
        except Exception as error:
            # Each that rides along has it raised in its own call.
            self.fail(error)
            return in_flight is None
        finally:
            if in_flight is None or not in_flight.sending.sent:
                lease.not_sent()

    def _ready(self) -> list[Rider]:
        for rider in tuple(self.riders):
            if not rider.is_ready():
                self._release(rider)
        return list(self.riders)

    def _landed(self, aboard: Sequence[Rider], answer: Answer) -> None:
        here = [rider for rider in aboard if rider in self.riders]
        for rider in here:
            rider.landed(answer, here[0])
        for rider in here:
            self._release(rider)

    def _goes_on(self, aboard: Sequence[Rider], failure: SendFailed, since: float) -> bool:
        """Whether the same token serves those who are left for an attempt elsewhere."""
        here = [rider for rider in aboard if rider in self.riders]
        may_hold = not failure.sent and all(rider.may_hold(since) for rider in here)
        for number, rider in enumerate(here):
            if not rider.fell(failure, is_first=number == 0) or not may_hold:
                self._release(rider)
        return bool(self.riders)

    def _release(self, rider: Rider) -> None:
        """`rider` goes on by itself; it has its report."""
        future = self.riders.pop(rider)
        if not future.done():
            future.set_result(None)


def _merged(riders: Sequence[Rider] | dict[Rider, asyncio.Future[Lease | None]]) -> Operation:
    return reduce(
        lambda one, other: one.merged(other) or one, (rider.operation for rider in riders)
    )


def _board(in_flight: InFlight, first: Rider, others: Sequence[Rider], lease: Lease) -> None:
    """The others are told of the request that the first has begun. Those who file in the same place
    count it as one."""
    numbers = {id(first.sink): in_flight.request}
    for rider in others:
        numbers[id(rider.sink)] = rider.board(in_flight, numbers.get(id(rider.sink)), lease)
