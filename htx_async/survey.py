"""A look at the open orders first, so that only contracts which have some are cancelled."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from htx_async.cancel_all import CancelAll
from htx_async.means import Means
from htx_async.models import CancelAllTrailing
from htx_async.open_lists import OpenLists
from htx_async.orders import TrailingOrder
from htx_async.outcome import report_of
from htx_async.report import Attempt, CancelReport
from htx_async.tasks import own_task
from htx_async.terms import MarginMode, Outcome


class Found(NamedTuple):
    """Open orders; `rows` is None when they could not be read."""

    rows: tuple[TrailingOrder, ...] | None
    attempts: tuple[Attempt, ...]


class Looks(Protocol):
    """Finds the open orders that an intent may mean."""

    def __call__(self, wanted: CancelAllTrailing, lists: OpenLists) -> Awaitable[Found]:
        """With `lists`, or by what was read before."""

    def stop(self, reason: str) -> None:
        """End what `lists` does not."""


class OneByOne:
    """One list for each contract: isolated margin knows no other."""

    async def __call__(self, wanted: CancelAllTrailing, lists: OpenLists) -> Found:
        """See `Looks`."""
        rows = await lists.open(wanted)
        return Found(rows, lists.attempts)

    def stop(self, reason: str) -> None:
        """There is nothing else to end."""


class AtOnce:
    """One list for all contracts, as cross margin has it; read once, by whoever looks first."""

    def __init__(self, means: Means, deadline: float, *, urgent: bool) -> None:
        self._lists = OpenLists(means, deadline, urgent=urgent)
        self._task: asyncio.Task[tuple[TrailingOrder, ...] | None] | None = None

    async def __call__(self, wanted: CancelAllTrailing, lists: OpenLists) -> Found:
        """See `Looks`."""
        is_first = self._task is None
        if self._task is None:
            everything = CancelAllTrailing(margin_mode=MarginMode.CROSS)
            self._task = own_task(self._lists.open(everything))
        await asyncio.wait([self._task])
        rows = None if self._task.cancelled() else self._task.result()
        return Found(rows, self._lists.attempts if is_first else ())

    def stop(self, reason: str) -> None:
        """End the reading for all."""
        self._lists.stop(reason)


class LookFirst:
    """Carries `wanted` only if there is something to cancel, or if that could not be found out."""

    def __init__(
        self,
        means: Means,
        wanted: CancelAllTrailing,
        look: Looks,
        begin: Callable[[], CancelAll],
        *,
        deadline: float,
        urgent: bool,
    ) -> None:
        self._means = means
        self._wanted = wanted
        self._look = look
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._lists = OpenLists(means, deadline, urgent=urgent)
        self._found: Found | None = None
        self._cancel: CancelAll | None = None
        self._stopped_by = ""

    async def run(self) -> CancelReport:
        """The report of the cancel, or of a list that holds nothing to cancel."""
        self._means.live.add(self)
        try:
            self._found = await self._look(self._wanted, self._lists)
        finally:
            self._means.live.discard(self)
        if self._is_something_to_cancel():
            self._cancel = self._begin()
            await self._cancel.run()
        return self.report()

    def report(self) -> CancelReport:
        """The account so far."""
        looked = self._lists.attempts if self._found is None else self._found.attempts
        if self._cancel is not None:
            report = self._cancel.report()
            warnings = (*report.warnings, *self._warnings())
            update = {"reads": (*looked, *report.reads), "warnings": warnings}
            return report.model_copy(update=update)
        elapsed = self._loop.time() - self._began
        blank = report_of(self._wanted, (), (), elapsed=elapsed, ended_by=self._stopped_by)
        if self._found is None or self._found.rows is None or self._stopped_by:
            return blank.model_copy(update={"reads": looked})
        nothing = {"outcome": Outcome.NOTHING_TO_CANCEL, "confirmed": True, "ended_by": ""}
        return blank.model_copy(update={**nothing, "reads": looked})

    def hold_back(self, reason: str) -> None:
        """Look no more, and cancel nothing that was not begun."""
        self.stop(reason)

    def stop(self, reason: str) -> None:
        """End now."""
        self._stopped_by = reason
        self._lists.stop(reason)
        self._look.stop(reason)
        if self._cancel is not None:
            self._cancel.stop(reason)

    def _is_something_to_cancel(self) -> bool:
        if self._stopped_by or self._found is None:
            return False
        # A contract that could not be read is cancelled blind, never skipped.
        rows = self._found.rows
        return rows is None or any(row.matches(self._wanted) for row in rows)

    def _warnings(self) -> tuple[str, ...]:
        rows = None if self._found is None else self._found.rows
        if rows is None:
            return ("its open orders could not be read beforehand, so it was cancelled blind",)
        unsure = [row.order_id for row in rows if row.is_one_way and row.matches(self._wanted)]
        if self._wanted.offset is None or not unsure:
            return ()
        return (f"an offset filter is not sure to reach one-way orders: {', '.join(unsure)}",)
