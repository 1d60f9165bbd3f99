"""Whether the exchange refuses the key: then the rest of a mass cancel need not be sent."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from htx_async.codes import ANY_KEY_FAULT, CLOCK_CODES, CodeClass
from htx_async.enums import Verdict
from htx_async.errors import HtxError
from htx_async.events import AttemptEnded, Event
from htx_async.report import Attempt, WarmUp

MOST = 5
"""Refusals in a row: as many as there are requests on their way before the first is answered."""

REFUSED = (
    f"the exchange refused the key {MOST} times in a row, so nothing more was sent; a key that it "
    "takes is needed first"
)

KEY_REFUSED = f"The exchange refused the key {MOST} times in a row: nothing more is sent."

_OFF = 120.0
"""Seconds from which a clock may be what is refused; the session corrects it, and asks again."""


class KeyRefusals:
    """A listener; `came` is set once `MOST` answers in a row have refused the key (signature,
    permission, key unknown), lists and cancels alike. What was not answered counts neither way."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self._clocks: Callable[[], Awaitable[Sequence[WarmUp]]] | None = None
        self._in_a_row: list[Attempt] = []
        self._asking: asyncio.Task[None] | None = None
        self._is_late = False

    def __call__(self, event: Event) -> None:
        """Count an answer."""
        if not isinstance(event, AttemptEnded):
            return
        attempt = event.attempt
        if attempt.verdict is Verdict.REFUSED and attempt.code_class is CodeClass.AUTH:
            if not self._is_late or attempt.number > 1:
                self._in_a_row.append(attempt)
        elif attempt.verdict in (Verdict.ACCEPTED, Verdict.REFUSED):
            self._in_a_row.clear()
        if len(self._in_a_row) >= MOST and self._asking is None and not self.came.is_set():
            self._weigh()

    def begin(self, clocks: Callable[[], Awaitable[Sequence[WarmUp]]]) -> None:
        """From now on `clocks` may be asked for the exchange's time."""
        self._clocks = clocks

    def end(self) -> None:
        """Nobody needs to know any more."""
        if self._asking is not None:
            self._asking.cancel()

    def _weigh(self) -> None:
        if self._is_late or not any(map(_may_be_the_clock, self._in_a_row)):
            self.came.set()
        else:
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        """A clock that is off is no fault of the key: its calls are made once more, and count
        then."""
        with suppress(HtxError):
            warm = [] if self._clocks is None else await self._clocks()
            told = [one.skew for one in warm if one.skew is not None]
            self._is_late = any(abs(skew) > _OFF for skew in told)
        if self._is_late:
            self._in_a_row.clear()
        self._asking = None
        if len(self._in_a_row) >= MOST:
            self.came.set()


def _may_be_the_clock(attempt: Attempt) -> bool:
    is_named = attempt.code == ANY_KEY_FAULT or attempt.code in CLOCK_CODES
    return attempt.number == 1 and is_named
