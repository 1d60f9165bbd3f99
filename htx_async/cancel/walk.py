"""The way through one list of orders, page by page, until it is known to be whole. Pure."""

from __future__ import annotations

from collections.abc import Callable

from htx_async.exchange import v1, v5
from htx_async.exchange.models import Page
from htx_async.orders import TrailingOrder

_MOST_TRIES = 8
"""Readings of a list that changes between its pages, before it is given up."""

_MOST_PAGES = 200

IsEnough = Callable[[Page, bool], bool]
"""Whether no more is wanted after a page; the second: whether later rows were placed later."""


OnPage = Callable[[Page], object]
"""What hears of each page while the rest of the list is still to come."""


Pages = v1.Pages | v5.Pages
"""The rules of one generation, which ask for nothing twice. `are_steady`: once is enough, however
many pages there are. `problem`: why it cannot be gone on with. `ascends`: what comes later was
placed later."""


class Walk:
    """`following`: what to ask for next. It is over when `is_whole`, or there is a `problem`."""

    def __init__(self, pages: Callable[[], Pages], is_enough: IsEnough | None = None) -> None:
        self._new_pages = pages
        self._is_enough = is_enough
        self._tries = 0
        self._before: set[str] | None = None
        self.is_whole = False
        self.problem = ""
        self._begin()

    def _begin(self) -> None:
        self._rules = self._new_pages()
        self._read: list[Page] = []
        self._unread = 0
        self.following = ""

    @property
    def is_first(self) -> bool:
        """Whether the next page is the first of a reading."""
        return not self._read

    def feed(self, page: Page) -> None:
        """`page` is what `following` asked for."""
        self._read.append(page)
        self._unread += page.unread
        following = self._rules.after(page)
        if self._is_enough is not None and self._is_enough(page, self._rules.ascends):
            self._end()
        elif self._rules.problem:
            self.problem = self._rules.problem
        elif not following:
            self._end()
        elif len(self._read) >= _MOST_PAGES:
            self.problem = f"the list has more than {_MOST_PAGES} pages"
        else:
            self.following = following

    def rows(self) -> tuple[TrailingOrder, ...]:
        """Every row that was read, once."""
        return tuple({row.order_id: row for page in self._read for row in page.orders}.values())

    def _end(self) -> None:
        if self._unread:
            self.problem = f"{self._unread} of its rows could not be read"
            return
        rows = {row.order_id for row in self.rows()}
        is_once = self._rules.are_steady or self._is_enough is not None
        # What changes while it is read counts when it reads the same twice.
        is_alike = len(self._read) == 1 or self._before == rows
        if is_once or (is_alike and self._holds_all(rows)):
            self.is_whole = True
            return
        self._tries += 1
        if self._tries >= _MOST_TRIES:
            self.problem = "the list kept changing while it was read"
            return
        self._before = rows
        self._begin()

    def _holds_all(self, rows: set[str]) -> bool:
        """Whether the pages hold as many orders as they say, each once."""
        total = self._read[0].total
        is_steady = all(page.total == total for page in self._read)
        is_all = total is None or len(rows) >= total
        return is_steady and is_all and len(rows) == sum(len(page.orders) for page in self._read)
