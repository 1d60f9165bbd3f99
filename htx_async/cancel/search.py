"""How far one call of the user has looked for an order of its account on V5."""

import asyncio

_MOST_READS = 8
"""Requests for V5's orders in one call of the user, however many contracts it is for."""


class OrderSearch:
    """What is left to look at, once for all contracts of the call."""

    def __init__(self) -> None:
        self.asking = asyncio.Lock()
        self.left = _MOST_READS
        self.until: int | None = None
        """Where the next window of the history ends, Unix milliseconds; None: now."""
        self.by_code = False
        """Whether the history has to be asked for contract by contract."""
        self.has_listed = False
        self.looked: set[str | None] = set()
        """The contracts whose history was looked at to its end; None: that of all."""
        self.is_found = False

    def spend_a_list(self) -> None:
        """The list of open orders of every contract is looked at, by whoever it is."""
        if not self.has_listed:
            self.has_listed, self.left = True, self.left - 1
