"""What a session can do with the trailing orders of one margin mode; the same for both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial

from htx_async.aio.listeners import as_listener
from htx_async.aio.tasks import Promise
from htx_async.arguments import as_seconds, check_flags
from htx_async.calls.contracts import listed
from htx_async.calls.scope import Scope
from htx_async.cancel.call_maker import CallMaker
from htx_async.cancel.guard import CancelGuard, UnderWay, tell_if_long
from htx_async.cancel.ledger import Intent
from htx_async.cancel.looks import as_look
from htx_async.cancel.mass import MassCancel, OnReport, intents, nothing_sent
from htx_async.cancel.planning import forecast
from htx_async.enums import AllContracts, DirectionLike, Look, LookLike, OffsetLike
from htx_async.errors import InvalidRequest
from htx_async.filters import OrderFilter
from htx_async.mass_report import MassCancelPlan, MassCancelReport, untouched
from htx_async.orders import TrailingOrder
from htx_async.report import CancelReport

_USUAL = 0.1
"""Seconds: a round trip with which a guard's need is reckoned."""


class MarginCalls(CallMaker):
    """The calls of one margin mode, whichever it is: an `HtxSession` for isolated margin, its
    `cross` for cross margin.

    For annotations of what works with either: `async def flat(orders: MarginCalls) -> None`.
    """

    def __init__(self, deadline: float) -> None:
        super().__init__(deadline)
        self.under_way: UnderWay = UnderWay()
        self._listed: tuple[str, ...] | None = None

    async def cancel_all_trailing(
        self,
        contract_code: str,
        direction: DirectionLike | None = None,
        offset: OffsetLike | None = None,
        *,
        deadline: float | None = None,
        urgent: bool = False,
        confirm: bool = False,
    ) -> CancelReport:
        """Cancel every trailing order of one contract that matches both filters.

        `direction` and `offset` are independent: both may be given, and None means all (HTX API
        docs, "[Isolated] Cancel All Trailing Orders"; the sentence there that only one may be
        filled in is a mistranslation, its own example sends both). An empty string is an error.
        `deadline`: seconds for queue, attempts and pauses together; the call fails as soon as its
        turn cannot come in time. `urgent`: goes before all others of the account in this process,
        and may use the share of the account's trade budget that is kept for it. A repeat after a
        lost answer also takes trailing orders that were placed meanwhile;
        `RetryPolicy(repeat_unknown=False)` forbids it. `confirm`: look at the list of open orders
        until none that matches is left, and once more 1.5 s after the call began, by when every
        order is assumed to be listed; where the deadline comes before, `confirmed` is None.

        Returns a report that is clear: the exchange took every cancel. That is not yet "gone", see
        `CancelReport`; and with an `offset`, `NOTHING_TO_CANCEL` says nothing about the orders of
        a one-way account, whose offset is "both". Everything else raises a `CancelError` with the
        report: `PartialCancel`, `NotSent`, `OutcomeUnknown`, `CancelRefused` and its kinds. Raises
        `InvalidRequest` or `SessionClosed` before anything is queued.
        """
        wanted = OrderFilter.checked(contract_code, direction, offset, self._margin_mode)
        return await self._cancel_all(Intent(wanted, confirm=confirm), deadline, urgent)

    async def open_trailing(
        self,
        contract_code: str,
        direction: DirectionLike | None = None,
        offset: OffsetLike | None = None,
        *,
        deadline: float | None = None,
    ) -> tuple[TrailingOrder, ...]:
        """The open trailing orders of one contract that match both filters, from all pages.

        An order whose offset is "both" (one-way accounts) matches every offset. `deadline`:
        seconds. Raises `ReadFailed`, `InvalidRequest` and `SessionClosed` (HTX API docs,
        "[Isolated] Current unfilled trailing order acquisition").
        """
        wanted = OrderFilter.checked(contract_code, direction, offset, self._margin_mode)
        return await self._open(wanted, deadline)

    async def trailing_history(
        self,
        contract_code: str,
        direction: DirectionLike | None = None,
        offset: OffsetLike | None = None,
        *,
        since: datetime | float | None = None,
        deadline: float | None = None,
    ) -> tuple[TrailingOrder, ...]:
        """The trailing orders of the last 90 days that have ended, the latest first.

        `since`: an aware datetime, or Unix seconds; only those that ended then or later. V5 is read
        in windows of 48 hours, eight at a time, whose times are assumed to be those at which orders
        ended: up to 46 lists, for which a slow connection needs a longer deadline. Filters,
        `deadline` and what it raises: as `open_trailing` (HTX API docs, "[Isolated] Get History
        Trailing Orders").
        """
        wanted = OrderFilter.checked(contract_code, direction, offset, self._margin_mode)
        return await self._history(wanted, since, deadline)

    async def cancel_trailing(
        self,
        contract_code: str,
        order_ids: Iterable[str],
        *,
        deadline: float | None = None,
        urgent: bool = False,
    ) -> CancelReport:
        """Cancel single trailing orders of one contract, any number of them, ten to a request.

        Ids are strings, as `TrailingOrder.order_id`. One that is not answered for ends
        `OutcomeUnknown`; a repeat reaches no order but these. `deadline` (seconds), `urgent`, what
        it returns and raises: as `cancel_all_trailing` (HTX API docs, "[Isolated] Cancel a Trailing
        Order").
        """
        wanted = OrderFilter.checked(contract_code, None, None, self._margin_mode)
        return await self._cancel_ids(wanted, order_ids, deadline, urgent)

    async def mass_cancel_trailing(
        self,
        contract_codes: Iterable[str] | AllContracts,
        direction: DirectionLike | None = None,
        offset: OffsetLike | None = None,
        *,
        deadline: float | None = None,
        until_clear: bool = False,
        urgent: bool = False,
        confirm: bool = False,
        look: LookLike | None = None,
        on_report: OnReport | None = None,
    ) -> MassCancelReport:
        """Cancel the trailing orders of many contracts together.

        Every contract's first attempt goes before any repeat. `deadline`: seconds for all; what
        cannot come in time ends `NOT_SENT` at once and the rest go on. Default: the time that the
        limit needs for this many at round trips of up to 0.5 s, and for whatever other sessions of
        the account in this process are about to send, plus the session's own and, where it may be
        on V5, the lists there; it grows with the longest round trip seen, up to what the session's
        `attempt_timeout` allows.
        `on_report`, plain or async, is called with each contract's report as it ends; what it
        raises is in `callback_errors`. `confirm`: see `cancel_all_trailing`.

        `look`: "first", the default for named contracts when there are more of them than free
        tokens: their open orders are read while they wait; contracts whose list shows matching
        orders go at once, the others when all lists are in, or 0.3 s after the start, each group in
        the order given. "only", the default for `ALL_CONTRACTS`, which is every contract of the
        exchange's public list: contracts are cancelled where their list shows matching orders, or
        could not be read; one that was only looked at is not `confirmed`, and an order that was
        placed in the last moment may not have been listed. "none": in the order given, and nothing
        is read before.

        `until_clear`, for halted trading only: each contract is cancelled again, 1.2 s or more
        between its rounds, until the exchange has nothing left; one that is still not clear at
        the deadline is `PARTIAL`. It also takes every trailing order placed meanwhile. An unknown
        outcome is repeated until the deadline: four times as ever, then once in 2 s at most; with
        `repeat_unknown=False` it ends that contract.

        Returns a report that has every contract and raises nothing about orders; its
        `raise_for_outcome()` does. Cancelling the task stops every call, tells the listener what
        is known, and goes on. Raises `InvalidRequest` for anything but `ALL_CONTRACTS` or a
        non-empty sequence of contract codes, `SessionClosed`, and `ReadFailed` when the list of
        all contracts cannot be had, before anything is queued.
        """
        if on_report is not None:
            as_listener("on_report", on_report, "one report", awaited=True)
        check_flags(until_clear=until_clear, urgent=urgent, confirm=confirm)
        latest = None if deadline is None else self._now() + as_seconds("deadline", deadline)
        is_all = isinstance(contract_codes, AllContracts)
        seen = as_look(look, is_all)
        if is_all:
            # The filters first: what is wrong with them needs no list to be told.
            OrderFilter.checked("BTC-USDT", direction, offset, self._margin_mode)
            await self._list_contracts(latest)
        filters = self._intents(contract_codes, direction, offset)
        wanted = [Intent(each, until_clear=until_clear, confirm=confirm) for each in filters]
        return await self._mass_cancel(
            wanted, latest, urgent=urgent, look=seen, on_report=on_report
        ).run()

    def plan(
        self,
        contract_codes: Iterable[str] | AllContracts,
        *,
        until_clear: bool = False,
        urgent: bool = False,
        look: LookLike | None = None,
    ) -> MassCancelPlan:
        """What `mass_cancel_trailing` would do: calls, seconds, and what it will not touch.

        Sends nothing. The seconds, from the least for an account with nothing open to the most,
        count what is queued now, and round trips as they were last. `until_clear`, `urgent` and
        `look`: as they would be given there. Needs a running event loop; raises what the mass
        cancel itself would raise for these contracts, and `InvalidRequest` for `ALL_CONTRACTS`
        before `contracts()` has read which these are.
        """
        check_flags(until_clear=until_clear, urgent=urgent)
        seen = as_look(look, isinstance(contract_codes, AllContracts))
        wanted = self._intents(contract_codes, None, None)
        resources, lists = self._ready(), self._reads(len(wanted))
        where, rounds = (resources, self._path, wanted, lists, seen), 1 + until_clear
        told = forecast(*where, rounds=rounds, urgent=urgent)
        return MassCancelPlan(
            contract_codes=tuple(intent.instrument for intent in wanted),
            margin_mode=self._margin_mode,
            untouched=untouched(self._margin_mode),
            **told._asdict(),
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
        contract_codes: Iterable[str] | AllContracts,
        direction: DirectionLike | None = None,
        offset: OffsetLike | None = None,
        *,
        deadline: float | None = None,
        until_clear: bool = False,
        confirm: bool = False,
        look: LookLike | None = None,
    ) -> CancelGuard:
        """A block after which these contracts are mass-cancelled, however it ends.

        `async with htx.cancel_on_exit(codes) as guard:`; return, exception, cancellation, Ctrl-C
        through `asyncio.run`. A guard that was entered is a promise that closing keeps: its mass
        cancel is urgent and ends with its work or at its own deadline, whoever is cancelled how
        often meanwhile; the cancellation that came first is delivered afterwards. `aclose()`,
        leaving the session and the end of the event loop wait for it, and begin it if the block
        has not ended: a block that goes on gets that report, with a warning. `guard.report` has
        it, `guard.stop()` ends it early. An exception of the block always wins, and what
        went wrong with the cancel becomes a note on it; else it is raised. SIGTERM is not an
        exception: turn it into a cancellation (docs/guard.md). `deadline`: seconds from when the
        mass cancel begins; default as for `mass_cancel_trailing`. A guard that needs more than 25 s
        says so on the logger "htx_async" when it is made, with the grace period to give the
        process. Raises `InvalidRequest` for contracts that `mass_cancel_trailing` would refuse,
        now rather than at the end, and `SessionClosed` at the latest on entering. An unknown
        outcome is repeated until the deadline, as under `until_clear` there. `look`: see there.
        `ALL_CONTRACTS`: those that `contracts()` has read last.
        """
        wanted = self._intents(contract_codes, direction, offset)
        check_flags(until_clear=until_clear, confirm=confirm)
        seen = as_look(look, isinstance(contract_codes, AllContracts))
        if deadline is not None:
            as_seconds("deadline", deadline)
        # What stands against asking the limiter now is told when the guard is entered, or works.
        with suppress(Exception):
            self._tell_if_long(len(wanted) * (2 if until_clear else 1), deadline)

        def begin() -> MassCancel:
            latest = None if deadline is None else self._now() + deadline
            each = [Intent(one, until_clear=until_clear, confirm=confirm) for one in wanted]
            # The block has ended: there is nothing left to do but this.
            return self._mass_cancel(each, latest, urgent=True, look=seen, is_promised=True)

        return CancelGuard(self._enter, begin, partial(nothing_sent, wanted))

    def _enter(self) -> Sequence[set[Promise]]:
        resources, guards = self._ready(), self.under_way.guards
        resources.transport.promise()
        promises = resources.trades.promises
        return [guards] if promises is None else [guards, promises]

    def _tell_if_long(self, calls: int, deadline: float | None) -> None:
        resources, path = self._ready(), self._path
        default = resources.default_deadline(path, calls, 0, True, self._deadline)
        longest = self._until(default.until())
        turn = resources.trades.foresee(path, calls, urgent=True, round_trip=_USUAL)
        needed = self._until(turn) + _USUAL
        tell_if_long(needed, longest if deadline is None else deadline)

    def _mass_cancel(
        self,
        wanted: Sequence[Intent],
        latest: float | None,
        *,
        urgent: bool,
        look: Look | None = None,
        on_report: OnReport | None = None,
        is_promised: bool = False,
    ) -> MassCancel:
        resources, now = self._ready(is_promised), self._now()
        if is_promised:
            # Calls of its own, which do not end with the others when the session is closed.
            resources = resources._replace(live=Scope(math.inf, math.inf))
        until = now + self._deadline if latest is None else latest
        persists = is_promised or wanted[0].until_clear
        scope = Scope(until, until - now, urgent=urgent, persists=persists)

        def set_deadline(running: MassCancel) -> None:
            if latest is None:
                reads = self._reads(len(wanted)) if running.look is Look.ONLY else 0
                calls = running.to_queue()
                time = resources.default_deadline(self._path, calls, reads, urgent, self._deadline)
                scope.grow(time, self._now())

        return MassCancel(
            resources,
            self._ledger(resources, wanted[0]),
            scope,
            wanted,
            until=set_deadline,
            look=look,
            on_report=on_report,
            path=resources.on_path(self._path),
            under_way=self.under_way.mass_cancels,
            is_promised=is_promised,
        )

    def _intents(
        self, contract_codes: Iterable[str] | AllContracts, direction: object, offset: object
    ) -> tuple[OrderFilter, ...]:
        filters = (direction, offset, self._margin_mode)
        if not isinstance(contract_codes, AllContracts):
            return intents(contract_codes, *filters)
        if self._listed is None:
            raise InvalidRequest(
                "which contracts ALL_CONTRACTS means is not known yet: await contracts() first"
            )
        return intents(self._listed, *filters, OrderFilter.listed)
