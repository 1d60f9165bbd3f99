"""Whole lists of trailing orders, page by page; nothing is changed by it."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from htx_async.call import Call, Record
from htx_async.errors import ReadFailed
from htx_async.job import Job
from htx_async.means import Means
from htx_async.models import CancelAllTrailing
from htx_async.orders import Page, TrailingOrder
from htx_async.report import Attempt
from htx_async.routes import v1
from htx_async.telling import unread
from htx_async.terms import Verdict

_MOST_TRIES = 8
"""Readings of a list that changes between its pages, before it is given up."""

_MOST_PAGES = 200


class Moment(NamedTuple):
    """The exchange's own time in a reply, Unix milliseconds, and the loop times around it."""

    ts: int
    sent: float
    received: float


def moments(record: Record) -> list[Moment]:
    """Those of every reply that tells the time."""
    pairs = zip(record.replies, record.spans, strict=True)
    return [Moment(reply.ts, *span) for reply, span in pairs if reply.ts is not None]


def _is_whole(pages: Sequence[Page], rows: Collection[str]) -> bool:
    """Whether the pages hold as many orders as they say, each once."""
    total = pages[0].total
    is_steady = all(page.total == total for page in pages)
    is_all = total is None or len(rows) >= total
    return is_steady and is_all and len(rows) == sum(len(page.orders) for page in pages)


class Lists(Protocol):
    """The lists of one API generation."""

    def open_orders(self, wanted: CancelAllTrailing, page: str, /) -> Job:
        """One page of the open orders of a contract."""

    def history(self, wanted: CancelAllTrailing, page: str, /) -> Job:
        """One page of its orders that have ended."""


class Reading:
    """Reads lists until `deadline` (loop time); `stop` ends what is under way.

    `attempts`: every request so far. `moments`: of their replies. `problem`: why the last list
    could not be read.
    """

    def __init__(
        self,
        means: Means,
        deadline: float,
        *,
        urgent: bool = False,
        number: int | None = None,
        route: Lists = v1,
    ) -> None:
        self._means = means
        self._route = route
        self._deadline = deadline
        self._urgent = urgent
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._call: Call | None = None
        self._stopped_by = ""
        self._attempts: list[Attempt] = []
        self.moments: list[Moment] = []
        self.problem = ""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every request so far, numbered anew."""
        found = [*self._attempts, *(self._call.record().attempts if self._call else ())]
        return tuple(one.model_copy(update={"number": n}) for n, one in enumerate(found, 1))

    async def open(self, wanted: CancelAllTrailing) -> tuple[TrailingOrder, ...] | None:
        """The open orders of the contract that `wanted` names, whatever its filters."""
        before: set[str] | None = None
        for _ in range(_MOST_TRIES):
            pages = await self._pages(partial(self._route.open_orders, wanted))
            if pages is None:
                return None
            rows = {row.order_id: row for page in pages for row in page.orders}
            # An order that leaves moves the others up, past the end of a page already read; so a
            # list of several pages counts when it reads the same twice.
            if _is_whole(pages, rows) and (len(pages) == 1 or before == rows.keys()):
                return tuple(rows.values())
            before = set(rows)
        self.problem = "the list kept changing while it was read"
        return None

    async def history(
        self, wanted: CancelAllTrailing, since: float, ids: Collection[str] = ()
    ) -> tuple[TrailingOrder, ...] | None:
        """Ended orders of that contract: at least all that ended at `since` (Unix milliseconds)
        or later, and those of `ids` that ended at all."""
        missing = set(ids)

        def is_enough(page: Page) -> bool:
            missing.difference_update(row.order_id for row in page.orders)
            times = [row.update_time for row in page.orders if row.update_time is not None]
            is_sorted = len(times) == len(page.orders) and times == sorted(times, reverse=True)
            # Beyond a page that is older than `since` there is nothing newer, if sorted as asked.
            return is_sorted and not missing and bool(times) and times[-1] < since

        pages = await self._pages(partial(self._route.history, wanted), is_enough)
        if pages is None:
            return None
        return tuple({row.order_id: row for page in pages for row in page.orders}.values())

    def hold_back(self, reason: str) -> None:
        """Read no more; nothing is lost by it."""
        self.stop(reason)

    def stop(self, reason: str) -> None:
        """Read no more."""
        self._stopped_by = reason
        if self._call is not None:
            self._call.stop(reason)

    def failure(self, what: str) -> ReadFailed:
        """The exception that tells of the last list."""
        return ReadFailed(f"{what} could not be read: {self.problem}", self.attempts)

    async def _pages(
        self, make: Callable[[str], Job], is_enough: Callable[[Page], bool] = lambda page: False
    ) -> list[Page] | None:
        pages: list[Page] = []
        following = ""
        asked = {following}
        while len(pages) < _MOST_PAGES:
            page = await self._page(make(following))
            if page is None:
                return None
            pages.append(page)
            if not page.following or is_enough(page):
                return pages
            following = page.following
            if following in asked:
                self.problem = "the list goes round in circles"
                return None
            asked.add(following)
        self.problem = f"the list has more than {_MOST_PAGES} pages"
        return None

    async def _page(self, job: Job) -> Page | None:
        left = self._deadline - self._loop.time()
        call = Call(self._means, job, max(0.0, left), 0.0, urgent=self._urgent, number=self._number)
        self._call = call
        if self._stopped_by:
            call.stop(self._stopped_by)
        try:
            await call.run()
        finally:
            record = call.record()
            self._call = None
            self._attempts += record.attempts
            self.moments += moments(record)
        last = record.replies[-1] if record.replies else None
        if last is not None and last.verdict is Verdict.ACCEPTED and not self._stopped_by:
            page: Page = last.data
            return page
        self.problem = unread(record.attempts, record.ended_by)
        return None
