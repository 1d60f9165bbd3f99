"""Whether V5 agrees that there is nothing: v1 says so to accounts that have moved, too."""

import asyncio
import math
from collections.abc import Collection
from typing import NamedTuple

from htx_async.codes import NOT_ON_V5
from htx_async.generation import Generation
from htx_async.models import CancelAllTrailing
from htx_async.reading import Reading
from htx_async.terms import Verdict
from htx_async.timers import TimeLimit


class Opinion(NamedTuple):
    """`shows`: why the account must be on V5; `doubt`: why V5 could not be asked. Neither: it has
    no such order, or the account is not on V5."""

    shows: str = ""
    doubt: str = ""


_AGREES = Opinion()


class SecondOpinion:
    """Asks V5's list, once for each answer of v1 that proves nothing.

    That an account is not on V5 holds for all its contracts, so those who wait for one answer
    share the next, which was asked for after theirs.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._lock = asyncio.Lock()
        self._absent_at = -math.inf
        self._has_lists = False

    async def ask(
        self,
        wanted: CancelAllTrailing,
        reading: Reading,
        deadline: float,
        ids: Collection[str] | None = None,
    ) -> Opinion:
        """What V5 says, by loop time `deadline`; `reading` is one of V5's lists. `ids`: the orders
        asked for, if not all."""
        began = asyncio.get_running_loop().time()
        if self._has_lists:
            return await self._ask(wanted, reading, ids)
        try:
            with TimeLimit(deadline):
                await self._lock.acquire()
        except TimeoutError:
            return Opinion(doubt="the deadline came before V5 could be asked")
        try:
            return _AGREES if self._absent_at >= began else await self._ask(wanted, reading, ids)
        finally:
            self._lock.release()

    async def _ask(
        self, wanted: CancelAllTrailing, reading: Reading, ids: Collection[str] | None
    ) -> Opinion:
        began = asyncio.get_running_loop().time()
        rows = await reading.open(wanted)
        last = reading.attempts[-1] if reading.attempts else None
        self._has_lists = rows is not None
        if rows is not None:
            named = (row for row in rows if _may_be(wanted, row.contract_code))
            matching = (row for row in named if row.matches(wanted))
            is_there = any(ids is None or row.order_id in ids for row in matching)
            if is_there:
                return Opinion(shows="V5 lists orders that v1 does not know")
            self._generation.note("both list no such order, so either may be the account's own")
            return _AGREES
        if last is not None and last.verdict is Verdict.REFUSED and last.code in NOT_ON_V5:
            self._absent_at = began
            self._generation.note(f"V5 answered {last.code}, so the account is not on it")
            return _AGREES
        return Opinion(doubt=f"V5's list could not be read: {reading.problem}".rstrip("."))


def _may_be(wanted: CancelAllTrailing, contract_code: str) -> bool:
    # V5 does not tell the pair of a contract: its name begins with it.
    return wanted.pair is None or contract_code.upper().startswith(wanted.pair)
