"""Who waits for an endpoint's next token: urgent callers first, then first in, first out."""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator

OnTurn = Callable[[float], None]

_COMERS = itertools.count()
"""Numbers those who join, over all lines."""


class WaitingLine:
    """Those who wait on one event loop. Joining and leaving take the same time at any length."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._urgent: OrderedDict[asyncio.Future[None], tuple[int, OnTurn | None]] = OrderedDict()
        self._ordinary: OrderedDict[asyncio.Future[None], tuple[int, OnTurn | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._ordinary)

    def __iter__(self) -> Iterator[OnTurn | None]:
        """Whom to tell of a turn, from the head on."""
        return (on_turn for _, on_turn in [*self._urgent.values(), *self._ordinary.values()])

    @property
    def is_urgent(self) -> bool:
        """Whether the next one is urgent."""
        return bool(self._urgent)

    @property
    def head(self) -> tuple[bool, int]:
        """The place of the next one among the heads of several lines: the least goes first."""
        return not self._urgent, next(iter((self._urgent or self._ordinary).values()))[0]

    def ahead(self, urgent: bool) -> int:
        """How many go before one that joins now."""
        return len(self._urgent) + (0 if urgent else len(self._ordinary))

    def join(self, urgent: bool, on_turn: OnTurn | None) -> asyncio.Future[None]:
        """The future that is done when it is this one's turn."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        (self._urgent if urgent else self._ordinary)[waiter] = next(_COMERS), on_turn
        return waiter

    def leave(self, waiter: asyncio.Future[None]) -> bool:
        """`waiter` no longer waits; True when it had its turn already."""
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            return True
        self._urgent.pop(waiter, None)
        self._ordinary.pop(waiter, None)
        self._shrink()
        return False

    def call_next(self) -> asyncio.Future[None] | None:
        """Tell the head that it is its turn; None when it is gone, or nobody waits."""
        queue = self._urgent or self._ordinary
        if not queue:
            return None
        waiter, _ = queue.popitem(last=False)
        self._shrink()
        if waiter.done():
            return None
        waiter.set_result(None)
        return waiter

    def dismiss(self, error: Exception) -> None:
        """Nobody gets a turn any more: everybody's wait ends with `error`."""
        for queue in (self._urgent, self._ordinary):
            for waiter in queue:
                if not waiter.done():
                    waiter.set_exception(error)
            queue.clear()

    def _shrink(self) -> None:
        # An emptied dictionary keeps the table of its largest size until it is cleared.
        for queue in (self._urgent, self._ordinary):
            if not queue:
                queue.clear()
