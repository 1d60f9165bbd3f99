"""Both limits of one account: each endpoint's own, and the broad budgets beside them."""

import asyncio
import weakref

from aiolimiter import AsyncLimiter

from htx_async.exchange.endpoints import BUDGETS, Permission
from htx_async.limits.account_budget import AccountBudget
from htx_async.limits.token_bucket import TokenBucket

_REST = 75.0
"""Seconds after which nothing of a use is left: the longest hold, the longest pause, and a bit."""

_PUBLIC_PART = 20
"""Of the budget of public calls a session uses one part in so many."""


class AccountLimiter(TokenBucket):
    """Both limits of one account: each endpoint's own, and the total of its trade calls.

    `AccountBudget` keeps the second with a margin. Ordinary calls pass a smaller one before it, and
    a sixth is left to urgent ones. What is foreseen counts both.
    """

    def __init__(self) -> None:
        super().__init__()
        self._budget = AccountBudget()
        self._reads = reads_limiter()
        self.holders: weakref.WeakSet[object] = weakref.WeakSet()
        """The sessions that are open."""
        self._left: tuple[weakref.ref[asyncio.AbstractEventLoop], float] | None = None

    @property
    def reads(self) -> TokenBucket:
        """For the account's reads."""
        return self._reads

    def bind(self, *, take_over: bool = False) -> bool:
        """See `TokenBucket.bind`; reads and what is left of the budget come along."""
        has_moved = super().bind(take_over=take_over)
        if has_moved:
            self._reads.bind(take_over=take_over)
            # Whoever held it on a closed loop can use it no more.
            self.holders.clear()
        return has_moved

    def is_gone(self) -> bool:
        """Whether nobody has held it for so long that a new one would do as well; counts from the
        first time that it is asked."""
        loop = asyncio.get_running_loop()
        if self.holders:
            self._left = None
        elif self._left is None or self._left[0]() is not loop:
            self._left = (weakref.ref(loop), loop.time())
        return self._left is not None and loop.time() - self._left[1] > _REST


def reads_limiter() -> TokenBucket:
    """The total of an account's reads."""
    return TokenBucket(*BUDGETS[Permission.READ])


def public_budget() -> AsyncLimiter:
    """For a session's public calls: far below what is documented for one address."""
    size, per = BUDGETS[Permission.NONE]
    return AsyncLimiter(max(1, size // _PUBLIC_PART), per)
