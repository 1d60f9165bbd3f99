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
    Of those there may be no end while somebody keeps placing, so they come last.
    """

    are_steady = True
    """Rows keep their numbers, so none moves past the end of a page already read."""

    def __init__(self) -> None:
        self.problem = ""
        self._seen: set[int] = set()
        self._highest = -1
        self._ascends = True
        self._rises = False
        self._has_turned = False
        self._aside = ""
        self._from = ""

    @property
    def ascends(self) -> bool:
        """Whether its rows were seen to come in the order of their numbers, in which orders are
        placed (an inference from the one published example), or those that are left do."""
        is_last_leg = self._has_turned and not self._aside
        return len(self._seen) > 1 and (self._ascends or (is_last_leg and self._rises))

    def after(self, page: Page) -> str:
        """What to ask for after `page`; "" at the end, or where `problem` keeps from going on."""
        cursor, self._from = self._from, ""
        rows = [*dict.fromkeys(page.rows)]
        fresh = [row for row in rows if row not in self._seen]
        self._rises = bool(cursor and fresh) and min(fresh) > self._highest
        self._seen.update(fresh)
        if (page.orders or page.unread) and not rows:
            self.problem = "its rows have no numbers to go on from"
        elif fresh:
            self._note_order(rows)
            self._from = self._farthest(fresh, cursor)
            if self._rises and self._may_turn:
                self._aside, self._from = self._from, self._turn()
        elif self._may_turn:
            self._from = self._turn()
        elif self._aside:
            self._from, self._aside = self._aside, ""
        elif self._ascends and cursor and any(row < int(cursor) for row in rows):
            self.problem = "it begins anew instead of going on"
        return self._from

    @property
    def _may_turn(self) -> bool:
        return not self._ascends and not self._has_turned

    def _turn(self) -> str:
        """From the first row of all: newer ones may stand before the one that came last."""
        self._has_turned = True
        return f"{BACK}{min(self._seen)}"

    def _note_order(self, rows: Sequence[int]) -> None:
        for row in rows:
            # An inclusive cursor brings the last row once more.
            self._ascends &= row >= self._highest
            self._highest = max(row, self._highest)

    def _farthest(self, fresh: Sequence[int], cursor: str) -> str:
        if not cursor.startswith(BACK):
            return str(fresh[-1])
        start = int(cursor.removeprefix(BACK))
        return f"{BACK}{max(fresh, key=lambda row: abs(row - start))}"
