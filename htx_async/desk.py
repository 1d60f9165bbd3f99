"""What a session can do with the trailing orders of one margin mode; the same for both."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import ClassVar

from htx_async.cancel_all import CancelAll
from htx_async.cancel_by_ids import CancelByIds, checked_ids
from htx_async.checks import as_seconds, running_loop
from htx_async.contracts import listed
from htx_async.errors import InvalidRequest
from htx_async.guard import USUAL, CancelGuard, UnderWay, tell_if_long
from htx_async.limits import READS, foresee
from htx_async.listeners import as_listener
from htx_async.mass_cancel import (
    BETWEEN_ROUNDS,
    Carried,
    MassCancel,
    OnReport,
    intents,
    nothing_sent,
)
from htx_async.mass_report import MassCancelPlan, MassCancelReport, untouched
from htx_async.means import LiveCalls, Means
from htx_async.models import CancelAllTrailing
from htx_async.open_lists import OpenLists
from htx_async.orders import TrailingOrder
from htx_async.outcome import failure_of
from htx_async.reading import Reading
from htx_async.report import CancelReport
from htx_async.routes import v1, v5
from htx_async.survey import AtOnce, LookFirst, Looks, OneByOne
from htx_async.terms import AllContracts, ApiGeneration, Direction, MarginMode, Offset

_ROUND_TRIP = 0.5
"""Seconds for each five calls of a mass cancel without a deadline; 0.3 is usual from far away."""


class Desk(ABC):
    """The calls that read alike in isolated and in cross margin."""

    _margin_mode: ClassVar[MarginMode]

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self.under_way = UnderWay()
        self._listed: tuple[str, ...] | None = None

    @abstractmethod
    def _ready(self, is_promised: bool = False) -> Means:
        """What calls work with; raises `SessionClosed`, but not for what closing carries out."""

    async def mass_cancel_trailing(
        self,
        contract_codes: Iterable[str] | AllContracts,
        direction: Direction | str | None = None,
        offset: Offset | str | None = None,
        *,
        deadline: float | None = None,
        until_clear: bool = False,
        urgent: bool = False,
        confirm: bool = False,
        blind: bool = False,
        on_report: OnReport | None = None,
    ) -> MassCancelReport:
        """Cancel the trailing orders of many contracts together, in the order given.

        Every contract's first attempt goes before any repeat. `deadline`: seconds for all; what
        cannot come in time ends `NOT_SENT` at once and the rest go on. Default: the time that the
        limit needs for this many at round trips of up to 0.5 s, plus the session's own.
        `on_report`, plain or async, is called with each contract's report as it ends; what it
        raises is in `callback_errors`. `confirm`: see `cancel_all_trailing`.

        `ALL_CONTRACTS`: every contract of the exchange's public list. Open orders are read first,
        and only contracts that have matching ones are cancelled; one that could not be read is
        cancelled all the same. `blind` skips the reading.

        `until_clear`, for halted trading only: each contract is cancelled again, 1.2 s or more
        between its rounds, until the exchange has nothing left; one that is still not clear at
        the deadline is `PARTIAL`. It also takes every trailing order placed meanwhile.

        Returns a report that accounts for every contract and raises nothing about orders; its
        `raise_for_outcome()` does. Cancelling the task stops every call, tells the listener what
        is known, and goes on. Raises `InvalidRequest` for anything but `ALL_CONTRACTS` or a
        non-empty sequence of contract codes, `SessionClosed`, and `ReadFailed` when the list of
        all contracts cannot be had, before anything is queued.
        """
        if on_report is not None:
            as_listener("on_report", on_report, "one report", awaited=True)
        latest = None if deadline is None else self._now() + as_seconds("deadline", deadline)
        is_all = isinstance(contract_codes, AllContracts)
        if is_all:
            # The filters first: what is wrong with them needs no list to be told.
            CancelAllTrailing.checked("BTC-USDT", direction, offset, self._margin_mode)
            await self._list_contracts(latest)
        wanted = self._intents(contract_codes, direction, offset)
        return await self._mass_cancel(
            wanted,
            latest,
            until_clear=until_clear,
            urgent=urgent,
            confirm=confirm,
            look_first=is_all and not blind,
            on_report=on_report,
        ).run()

    def plan(
        self,
        contract_codes: Iterable[str] | AllContracts,
        *,
        until_clear: bool = False,
        urgent: bool = False,
        blind: bool = False,
    ) -> MassCancelPlan:
        """What `mass_cancel_trailing` would do: calls, seconds, and what it will not touch.

        Sends nothing. The seconds count what is queued now. Needs a running event loop; raises
        what the mass cancel itself would raise for these contracts, and `InvalidRequest` for
        `ALL_CONTRACTS` before `contracts()` has read which these are.
        """
        is_all = isinstance(contract_codes, AllContracts)
        wanted = self._intents(contract_codes, None, None)
        means, calls = self._ready(), len(wanted) * (2 if until_clear else 1)
        seconds = self._last_of(calls, urgent)
        if until_clear:
            # The second round begins that much after the first, however short the queue is.
            seconds = max(seconds, self._last_of(len(wanted), urgent) + BETWEEN_ROUNDS)
        reads = 0 if blind or not is_all else self._reads(len(wanted))
        reading = self._until(foresee(means.reads.limiter, READS, max(1, reads), urgent=urgent))
        return MassCancelPlan(
            contract_codes=tuple(intent.instrument for intent in wanted),
            calls=calls,
            seconds=reading if reads else seconds,
            reads=reads,
            blind_seconds=seconds if is_all else None,
            margin_mode=self._margin_mode,
            untouched=untouched(self._margin_mode),
        )

    async def contracts(self) -> tuple[str, ...]:
        """Codes of all contracts that can have orders of this margin mode, as the exchange's
        public list has them now (HTX API docs, "Query Swap Info").

        Raises `ReadFailed` and `SessionClosed`.
        """
        return await self._list_contracts(None)

    async def _list_contracts(self, latest: float | None) -> tuple[str, ...]:
        until = self._now() + self._deadline if latest is None else latest
        self._listed = await listed(self._ready(), self._margin_mode, until)
        return self._listed

    def cancel_on_exit(
        self,
        contract_codes: Iterable[str],
        direction: Direction | str | None = None,
        offset: Offset | str | None = None,
        *,
        deadline: float | None = None,
        until_clear: bool = False,
        confirm: bool = False,
    ) -> CancelGuard:
        """A block after which these contracts are mass-cancelled, however it ends.

        `async with htx.cancel_on_exit(codes) as guard:`; return, exception, cancellation, Ctrl-C
        through `asyncio.run`. A guard that was entered is a promise that closing keeps: its mass
        cancel is urgent and ends with its work or at its own deadline, whoever is cancelled how
        often; the first cancellation is delivered afterwards. `aclose()`, leaving the session and
        the end of the event loop wait for it, and begin it if the block has not ended: a block
        that goes on gets that account, with a warning. `guard.report` has the account, and
        `guard.stop()` ends it early. An exception of the block wins, and what went wrong with the
        cancel becomes a note on it; else it is raised. SIGTERM is no exception: turn it into a
        cancellation (README). `deadline`: seconds from the beginning of the mass cancel. A guard
        that needs more than 25 s says so on the logger "htx_async" when it is made. Raises
        `InvalidRequest` for what `mass_cancel_trailing` would refuse, now rather than at the end,
        and `SessionClosed` on entering.
        """
        wanted = intents(contract_codes, direction, offset, self._margin_mode)
        if deadline is not None:
            as_seconds("deadline", deadline)
        # What stands against asking the limiter now is told when the guard is entered, or works.
        with suppress(Exception):
            self._tell_if_long(len(wanted) * (2 if until_clear else 1), deadline)

        def begin() -> MassCancel:
            latest = None if deadline is None else self._now() + deadline
            how = partial(self._mass_cancel, until_clear=until_clear, confirm=confirm)
            return how(wanted, latest, urgent=True, is_promised=True)

        return CancelGuard(self.under_way.guards, self._ready, begin, partial(nothing_sent, wanted))

    def _tell_if_long(self, calls: int, deadline: float | None) -> None:
        limiter = self._ready().trades.limiter
        turn = partial(foresee, limiter, self._path, calls, urgent=True)
        longest = self._until(turn(round_trip=_ROUND_TRIP)) + self._deadline
        needed = self._until(turn(round_trip=USUAL)) + USUAL
        tell_if_long(needed, longest if deadline is None else deadline)

    def _mass_cancel(
        self,
        wanted: Sequence[CancelAllTrailing],
        latest: float | None,
        *,
        until_clear: bool,
        urgent: bool,
        confirm: bool = False,
        look_first: bool = False,
        on_report: OnReport | None = None,
        is_promised: bool = False,
    ) -> MassCancel:
        means = self._ready(is_promised)
        if is_promised:
            # Calls of its own, which do not end with the others when the session is closed.
            means = means._replace(live=LiveCalls())
        looks: list[Looks] = []

        def until(running: MassCancel) -> float:
            if latest is not None:
                return latest
            calls = len(wanted) * (2 if until_clear else 1)
            # Those of other mass cancels stand in no queue yet, but will before these.
            calls += sum(o.unqueued for o in self.under_way.mass_cancels if o is not running)
            limiter = means.trades.limiter
            turn = foresee(limiter, self._path, calls, urgent=urgent, round_trip=_ROUND_TRIP)
            return turn + self._deadline

        def begin(intent: CancelAllTrailing, deadline: float) -> Carried:
            def cancel() -> CancelAll:
                left = max(0.0, deadline - self._now())
                settings = (means, intent, left, self._deadline)
                return CancelAll(*settings, urgent=urgent, confirm=confirm)

            if not look_first:
                return cancel()
            # Half of the time is for the cancels, should the lists not come.
            half = (self._now() + deadline) / 2
            if not looks:
                looks.append(self._looks(means, half, urgent))
            return LookFirst(means, intent, looks[0], cancel, deadline=half, urgent=urgent)

        return MassCancel(
            wanted,
            begin,
            until=until,
            until_clear=until_clear,
            on_report=on_report,
            others=self.under_way.mass_cancels,
            is_promised=is_promised,
        )

    async def _cancel_all(
        self, intent: CancelAllTrailing, deadline: float | None, urgent: bool, confirm: bool
    ) -> CancelReport:
        within = None if deadline is None else as_seconds("deadline", deadline)
        settings = (self._ready(), intent, within, self._deadline)
        return _clear(await CancelAll(*settings, urgent=urgent, confirm=confirm).run())

    async def _cancel_ids(
        self,
        wanted: CancelAllTrailing,
        order_ids: Iterable[str],
        deadline: float | None,
        urgent: bool,
    ) -> CancelReport:
        ids = checked_ids(order_ids)
        within = None if deadline is None else as_seconds("deadline", deadline)
        settings = (self._ready(), wanted, ids, within, self._deadline)
        return _clear(await CancelByIds(*settings, urgent=urgent).run())

    async def _open(
        self, wanted: CancelAllTrailing, deadline: float | None
    ) -> tuple[TrailingOrder, ...]:
        lists = OpenLists(self._ready(), self._until_when(deadline))
        with self._ready().live.during(lists):
            rows = await lists.open(wanted)
        if rows is None:
            raise lists.failure(f"{wanted.instrument}'s open trailing orders")
        return tuple(row for row in rows if row.matches(wanted))

    async def _history(
        self, wanted: CancelAllTrailing, deadline: float | None
    ) -> tuple[TrailingOrder, ...]:
        means = self._ready()
        is_v5 = means.generation.current is ApiGeneration.V5
        reading = Reading(means, self._until_when(deadline), route=v5 if is_v5 else v1)
        with means.live.during(reading):
            rows = await reading.history(wanted, -math.inf)
        if rows is None:
            raise reading.failure(f"{wanted.instrument}'s ended trailing orders")
        return tuple(row for row in rows if row.matches(wanted))

    def _until_when(self, deadline: float | None) -> float:
        if deadline is not None:
            return self._now() + as_seconds("deadline", deadline)
        # As for a cancel: from the earliest moment at which its turn could come.
        turn = self._ready().reads.limiter.earliest(READS)
        return max(self._now(), turn or 0.0) + self._deadline

    def _intents(
        self, contract_codes: Iterable[str] | AllContracts, direction: object, offset: object
    ) -> tuple[CancelAllTrailing, ...]:
        filters = (direction, offset, self._margin_mode)
        if not isinstance(contract_codes, AllContracts):
            return intents(contract_codes, *filters)
        if self._listed is None:
            raise InvalidRequest(
                "which contracts ALL_CONTRACTS means is not known yet: await contracts() first"
            )
        return intents(self._listed, *filters, CancelAllTrailing.listed)

    def _last_of(self, calls: int, urgent: bool) -> float:
        """Seconds until the last of so many calls has its turn."""
        limiter = self._ready().trades.limiter
        return self._until(foresee(limiter, self._path, calls, urgent=urgent))

    def _reads(self, contracts: int) -> int:
        return 1 if self._margin_mode is MarginMode.CROSS else contracts

    def _looks(self, means: Means, deadline: float, urgent: bool) -> Looks:
        if self._margin_mode is MarginMode.CROSS:
            return AtOnce(means, deadline, urgent=urgent)
        return OneByOne()

    @property
    def _path(self) -> str:
        return v1.CANCEL_ALL.path(self._margin_mode)

    def _now(self) -> float:
        return running_loop().time()

    def _until(self, turn: float) -> float:
        return max(0.0, turn - self._now())


def _clear(report: CancelReport) -> CancelReport:
    """`report`, or the exception that belongs to it."""
    failure = failure_of(report)
    if failure is None:
        return report
    try:
        raise failure
    finally:
        # The exception's traceback holds this frame: do not hold the exception in turn.
        del failure
