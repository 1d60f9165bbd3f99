"""Calls that wait for a token: by rank, and together where one request does for several.

What a token is used for is said when it is granted, not when its place in the limiter's line was
taken. So nobody is moved in that line, and any limiter will do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from htx_async.aio.tasks import own_task
from htx_async.calls.ride import Bundle, Rider
from htx_async.calls.scope import FIRST
from htx_async.enums import ApiGeneration
from htx_async.exchange.messages import Request
from htx_async.limits.limiter import BaseLimiter, Lease

_Stand = Callable[..., AbstractAsyncContextManager[Lease]]


class Turns:
    """Of one session: its cancels that wait for `limiter`.

    As many places in its line as there are requests to be, in the lines of their paths; those of
    one call of the user, such as a mass cancel, go by rank among each other. What has a `FIRST`
    rank goes before all that has another one, whatever calls they are of.
    """

    def __init__(self, limiter: BaseLimiter) -> None:
        self._limiter = limiter
        self._queues: dict[_Key, _Queue] = {}
        self._alike: dict[Request, Bundle] = {}
        self._joined: dict[Rider, Bundle] = {}
        self._hoped_for: WeakValueDictionary[Request, asyncio.Future[None]] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def lets_pass(self, rider: Rider, turn: float | None, now: float) -> bool:
        """Whether `rider`, whose turn comes at loop time `turn`, may go without a wait: it is alone
        in its call, has a free token, and nobody waits."""
        if rider.scope.rank is not None or turn is None:
            return False
        return turn <= now and not (self._queues and self._waiting(rider.path))

    def makes_room(self, rider: Rider, turn: float) -> bool:
        """Whether `rider` may get a token though the turn of another place, at loop time `turn`,
        comes too late for it: somebody who waits takes it along, or is to go after it and hears
        that it is too late for him."""
        if self._companion(rider) is not None:
            return True
        queue, rank = self._queues.get(_key(rider)), rider.rank()
        if queue is None or rank is None:
            return False
        last = next((one for one in reversed(queue.order()) if one.goes_after(rider, rank)), None)
        if last is not None:
            last.turn_moved(turn)
        return last is not None

    def same(self, request: Request) -> asyncio.Future[None]:
        """Done as soon as somebody waits for a token for the same: who comes then is taken along,
        and needs none."""
        future = self._hoped_for.get(request)
        if future is None or future.done():
            future = self._hoped_for[request] = asyncio.get_running_loop().create_future()
        if request in self._alike:
            future.set_result(None)
        return future

    def waiting(self, rider: Rider) -> Turn:
        """A block that begins when the request of `rider` may go."""
        return Turn(self, rider)

    def join(self, rider: Rider) -> asyncio.Future[Lease | None]:
        """Wait together with others, or in a place of its own, until `left`."""
        bundle = self._companion(rider)
        if bundle is None:
            bundle = Bundle(rider)
            self._alike.setdefault(bundle.begun_as, bundle)
            hoped_for = self._hoped_for.get(bundle.begun_as)
            if hoped_for is not None and not hoped_for.done():
                hoped_for.set_result(None)
            self._queue(bundle).bundles.append(bundle)
        was_urgent = bundle.is_urgent
        bundle.add(rider)
        self._joined[rider] = bundle
        try:
            self._move(bundle, was_urgent)
            self._queue(bundle).fit()
        except BaseException:
            # A limiter of a user's own may raise anything: nobody is left in a line for it.
            self.leave(rider)
            raise
        return bundle.riders[rider]

    def over(self, rider: Rider, *, answered: bool) -> None:
        """The request that `rider` had a token for by itself is over."""
        self._joined.pop(rider).end(answered=answered)

    def leave(self, rider: Rider) -> None:
        """`rider` no longer waits; what it waited in goes on for the others."""
        bundle = self._joined.pop(rider)
        queue, was_urgent = self._queues.get(_key(bundle)), bundle.is_urgent
        bundle.remove(rider)
        if queue is None or bundle not in queue.bundles:
            return
        if not bundle.riders:
            queue.bundles.remove(bundle)
            self.forget(bundle)
        else:
            self._move(bundle, was_urgent)
        queue.fit()

    def part(self, path: str) -> None:
        """Requests that were put together for `path` are no longer allowed as they are: those who
        wait there go alone."""
        for bundle in self._waiting(path):
            for rider in [one for one in bundle.riders if not bundle.suits(one)]:
                parted, was_urgent = Bundle(rider), bundle.is_urgent
                bundle.hand_over(rider, parted)
                self._joined[rider] = parted
                queue = self._queue(parted)
                queue.bundles.append(parted)
                queue.fit()
                self._move(bundle, was_urgent)

    def give_way(self, generation: ApiGeneration) -> None:
        """The account is on `generation`: what waits for the other one is not sent there."""
        for queue in tuple(self._queues.values()):
            for bundle in tuple(queue.bundles):
                if bundle.operation.generation is not generation:
                    bundle.give_way()

    async def idle(self) -> None:
        """Wait until every place is given back."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def begin(self, place: _Place) -> asyncio.Task[None]:
        """The task that waits in `place`, which ends with it."""
        task = own_task(place.run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def forget(self, bundle: Bundle) -> None:
        """Nobody joins it any more."""
        if self._alike.get(bundle.begun_as) is bundle:
            del self._alike[bundle.begun_as]

    def drop(self, queue: _Queue) -> None:
        """Nobody waits in it, nor for it."""
        self._queues.pop(queue.key, None)

    def _waiting(self, path: str) -> list[Bundle]:
        queues = [queue for (where, *_), queue in self._queues.items() if where == path]
        return [bundle for queue in queues for bundle in queue.bundles]

    def _companion(self, rider: Rider) -> Bundle | None:
        if rider.operation.items:
            found = self._waiting(rider.path)
        else:
            alike = self._alike.get(rider.operation.request)
            found = [] if alike is None else [alike]
        return next((one for one in found if one.takes(rider)), None)

    def _queue(self, bundle: Bundle) -> _Queue:
        key = _key(bundle)
        queue = self._queues.get(key)
        if queue is None:
            stand = partial(self._limiter.stand, bundle.path, urgent=bundle.is_urgent)
            queue = self._queues[key] = _Queue(self, key, stand)
        return queue

    def _move(self, bundle: Bundle, was_urgent: bool) -> None:
        """To the line where it belongs, when the first urgent one came or the last one left."""
        if bundle.is_urgent is not was_urgent:
            before = self._queues[bundle.path, was_urgent]
            before.bundles.remove(bundle)
            self._queue(bundle).bundles.append(bundle)
            self._queue(bundle).fit()
            before.fit()


_Key = tuple[str, bool]


def _key(one: Rider | Bundle) -> _Key:
    """The line in which it waits: of its path, and the urgent or the others."""
    return one.path, one.is_urgent if isinstance(one, Bundle) else one.scope.urgent


class Turn:
    """See `Turns.waiting`. `lease`: the token, or None where the request was carried for it."""

    __slots__ = ("_rider", "_turns", "lease")

    def __init__(self, turns: Turns, rider: Rider) -> None:
        self._turns = turns
        self._rider = rider
        self.lease: Lease | None = None

    async def __aenter__(self) -> Self:
        waiting = self._turns.join(self._rider)
        try:
            self.lease = await waiting
        except BaseException:
            # A cancellation or Ctrl-C, too: what it waited in goes on for the others.
            self._turns.leave(self._rider)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turns.over(self._rider, answered=exc_type is None)


class _Queue:
    """Requests to be, and their places in a limiter's line."""

    def __init__(self, turns: Turns, key: _Key, stand: _Stand) -> None:
        self.turns = turns
        self.key = key
        self.stand = stand
        self.bundles: list[Bundle] = []
        self.places: list[_Place] = []
        self._order: Sequence[Bundle] = ()

    def order(self) -> Sequence[Bundle]:
        """Who goes before whom, now: those that have a rank change places among each other."""
        if not self._order:
            line = self.bundles
            ranks = {one: rank for one in line if (rank := one.rank()) is not None}
            for call in {one.call for one in ranks}:
                own = [one for one in line if one in ranks and one.call is call]
                line = _changed(line, own, lambda one: ranks[one])
            ranked = [one for one in line if one in ranks]
            self._order = _changed(line, ranked, lambda one: ranks[one][:1] > FIRST)
            # Whoever tells all places of their turns asks once for each.
            asyncio.get_running_loop().call_soon(self._forget)
        return self._order

    def _forget(self) -> None:
        self._order = ()

    def fit(self) -> None:
        """As many places as requests; the newest is given back."""
        self._forget()
        while len(self.places) < len(self.bundles):
            self.places.append(_Place(self))
        while len(self.places) > len(self.bundles):
            self.places.pop().give_back()
        if not self.bundles:
            self.turns.drop(self)

    def granted(self, place: _Place) -> Bundle | None:
        """The one that goes now, and waits no longer."""
        if place not in self.places:
            return None
        self.places.remove(place)
        self._forget()
        first = next((one for one in self.order() if one.is_awaited), None)
        if first is not None:
            self.bundles.remove(first)
            self.turns.forget(first)
        self.fit()
        return first

    def turn_moved(self, place: _Place, turn: float) -> None:
        order = self.order()
        number = self.places.index(place) if place in self.places else len(order)
        if number < len(order):
            order[number].turn_moved(turn)


def _changed(
    line: Sequence[Bundle], some: Sequence[Bundle], key: Callable[[Bundle], Any]
) -> list[Bundle]:
    """`line`, with `some` of it, in the order of `key`, in the places that these have."""
    by_key, places = iter(sorted(some, key=key)), set(some)
    return [next(by_key) if one in places else one for one in line]


class _Unanswered(Exception):
    """The request that used the token had no answer."""


class _Place:
    """A place in a limiter's line, from now until the request that uses its token is over."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue
        self._has_begun = self._is_unwanted = False
        self._taking = queue.stand(on_turn=partial(queue.turn_moved, self))
        self._task = queue.turns.begin(self)

    def give_back(self) -> None:
        """Nobody waits in it any more."""
        self._is_unwanted = True
        # A task that has not begun would not even leave the line.
        if self._has_begun:
            self._task.cancel()

    async def run(self) -> None:
        self._has_begun = True
        if self._is_unwanted:
            self._task.cancel()
        try:
            async with self._taking as lease:
                await self._use(lease)
        except (_Unanswered, asyncio.CancelledError):
            pass
        except Exception as error:
            # The limiter's own.
            if (bundle := self._queue.granted(self)) is None:
                raise
            bundle.fail(error)

    async def _use(self, lease: Lease) -> None:
        try:
            # Who has hoped for the same comes in this turn of the loop.
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            lease.not_sent()
            raise
        bundle = self._queue.granted(self)
        if bundle is None:
            lease.not_sent()
        elif not await bundle.go(lease):
            raise _Unanswered
