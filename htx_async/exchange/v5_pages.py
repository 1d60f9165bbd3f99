"""The way through V5's lists, page by page. Pure.

In the one published example, of ordinary orders, `from` and `next` lead to rows with larger
numbers, the oldest first, and the row named is not among them (HTX V5 docs, "Current orders").
"""

from collections.abc import Sequence

from htx_async.exchange.models import Page

BACK = "-"
"""Before the row to go on from: towards the rows before it, `prev`."""


class Pages:
    """The way through one list of V5, which nobody says the length of: when it is complete is
    undocumented, and its pages may be shorter than asked for.

    It has ended when a page is empty, or when one asked for from the last row brings nothing new:
    in both directions where its rows do not ascend, since `next` may then lead back to newer ones.
    """

    are_steady = True
    """Rows keep their numbers, so none moves past the end of a page already read."""

    def __init__(self) -> None:
        self.problem = ""
        self._seen: set[int] = set()
        self._highest = -1
        self._ascends = True
        self._from = ""

    @property
    def ascends(self) -> bool:
        """Whether its rows were seen to come in the order of their numbers, in which orders are
        placed (an inference from the one published example)."""
        return self._ascends and len(self._seen) > 1

    def after(self, page: Page) -> str:
        """What to ask for after `page`; "" at the end, or where `problem` keeps from going on."""
        cursor, self._from = self._from, ""
        fresh = set(page.rows) - self._seen
        self._seen |= fresh
        if (page.orders or page.unread) and not page.rows:
            self.problem = "its rows have no numbers to go on from"
        elif fresh:
            self._note_order(page.rows)
            self._from = self._farthest(page, cursor)
        elif not self._ascends and not cursor.startswith(BACK):
            self._from = f"{BACK}{cursor}"
        elif self._ascends and cursor and any(row < int(cursor) for row in page.rows):
            self.problem = "it begins anew instead of going on"
        return self._from

    def _note_order(self, rows: Sequence[int]) -> None:
        for row in rows:
            # An inclusive cursor brings the last row once more.
            self._ascends &= row >= self._highest
            self._highest = max(row, self._highest)

    def _farthest(self, page: Page, cursor: str) -> str:
        if not cursor.startswith(BACK):
            return page.following
        start = int(cursor.removeprefix(BACK))
        return f"{BACK}{max(page.rows, key=lambda row: abs(row - start))}"
