"""Many contracts at once ("mass cancel", FIX 35=q): one procedure each, one ledger of all.

Each contract that waits has a place in the limiter's line, and what goes is said when a token is
granted: first what was not sent before, of that what a list has shown, then in the order given. A
list counts so for all mass cancels of a session: what one has shown goes before what others guess.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from weakref import WeakKeyDictionary, WeakSet

from htx_async.aio.listeners import LEAVING, is_ending, told
from htx_async.aio.tasks import own_task
from htx_async.arguments import each_of
from htx_async.calls.resources import Resources
from htx_async.calls.scope import Scope
from htx_async.cancel import judge
from htx_async.cancel.account_lists import AccountLists
from htx_async.cancel.context import Context
from htx_async.cancel.ledger import ALL, Intent, Ledger, Round
from htx_async.cancel.looks import Looks, usual_look
from htx_async.cancel.planning import BETWEEN_ROUNDS
from htx_async.cancel.procedures import cancel_all, carry
from htx_async.codes import CodeClass
from htx_async.enums import Look, MarginMode, Verdict
from htx_async.filters import OrderFilter
from htx_async.mass_report import MassCancelReport
from htx_async.report import CancelReport

_AFTER_UNKNOWN = 2.0
"""Seconds between rounds where the last one left the outcome open."""

_TO_END = 1.0
"""Seconds that stopped calls and late callbacks get to come to their end."""

_FINAL = (CodeClass.AUTH, CodeClass.MIGRATED, CodeClass.RETIRED, CodeClass.NOT_RETRYABLE)

_ANY_CONTRACT = "BTC-USDT"

_RUNNING: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakSet[MassCancel]] = WeakKeyDictionary()

OnReport = Callable[[CancelReport], object]


def intents(
    contract_codes: Iterable[str],
    direction: object,
    offset: object,
    margin_mode: MarginMode = MarginMode.ISOLATED,
    as_intent: Callable[..., OrderFilter] = OrderFilter.checked,
) -> tuple[OrderFilter, ...]:
    """One intent for each contract, duplicates once; `InvalidRequest` for what names none.
    `as_intent`: makes one."""

    def of(code: str) -> OrderFilter:
        return as_intent(code, direction, offset, margin_mode)

    # The filters first: what is wrong with them is wrong with no contract.
    of(_ANY_CONTRACT)
    example = ': ["BTC-USDT"] for one, ALL_CONTRACTS for every one'
    checked = each_of("contract_codes", contract_codes, "contracts", example, of)
    return tuple({intent.instrument: intent for intent in checked}.values())


def nothing_sent(wanted: Sequence[OrderFilter], reason: str) -> MassCancelReport:
    """The report of a mass cancel that could not begin."""
    ledger = Ledger(0.0, None)
    states = (judge.states(Intent(each), ledger) for each in wanted)
    reports = [judge.report(known, 0.0, reason) for known in states]
    return MassCancelReport(reports=tuple(reports), elapsed=0.0)


class MassCancel:
    """Carries `intents` together until all have ended, on one ledger.

    `scope`: of all of them; its deadline is told by `until` once everybody else who was about to
    queue has queued. `path`: whose line its calls stand in. `under_way`: it is in there while it
    runs. `is_promised`: closing waits for it instead of holding it back. `look`: whether open
    orders are read before; None: first, if there are more contracts than free tokens.
    """

    def __init__(
        self,
        resources: Resources,
        ledger: Ledger,
        scope: Scope,
        intents: Sequence[Intent],
        *,
        until: Callable[[MassCancel], None],
        path: str,
        under_way: set[MassCancel],
        look: Look | None = None,
        on_report: OnReport | None = None,
        is_promised: bool = False,
    ) -> None:
        self.scope = scope
        self.is_promised = is_promised
        self._line = resources.trades, path
        self._resources = resources
        self._ledger = ledger
        self._intents = intents
        self._until = until
        self._under_way = under_way
        self._look = look
        self._on_report = on_report
        self._loop = asyncio.get_running_loop()
        self._contexts: dict[str, Context] = {}
        self._reports: dict[str, CancelReport] = {}
        self._carried_left = len(intents)
        self._has_begun: set[str] = set()
        self._has_queued: set[str] = set()
        self._looks: Looks
        self._are_final = asyncio.Event()
        self._callback_errors: list[str] = []

    async def run(self) -> MassCancelReport:
        """One report for each contract. Cancelled, it stops every call first and then goes on;
        what else is raised inside a call comes out when all have ended."""
        of_loop = _RUNNING.setdefault(self._loop, WeakSet())
        for running in (self._under_way, of_loop):
            running.add(self)
        try:
            return await self._run()
        finally:
            for running in (self._under_way, of_loop):
                running.discard(self)

    def to_queue(self) -> int:
        """Calls that are about to queue where this one's do: its own, and those of every other mass
        cancel of the loop that shares the limiter, whatever session it belongs to."""
        limiter, path = self._line
        alike = (o for o in _RUNNING[self._loop] if o._line[0] is limiter and o._line[1] == path)
        return sum(map(MassCancel._unqueued, alike))

    def _unqueued(self) -> int:
        left = (one for one in self._intents if one.filter.instrument not in self._has_queued)
        return sum(2 if one.until_clear else 1 for one in left)

    async def _run(self) -> MassCancelReport:
        await asyncio.sleep(0)
        self._until(self)
        everything = self._everything()
        lists = AccountLists(everything, self._contexts.values())
        for position, intent in enumerate(self._intents):
            contract, scope = intent.filter.instrument, self.scope.inner()
            scope.rank = partial(self._rank, contract, position)
            context = Context(self._resources, self._ledger, scope, intent)
            context.lists = lists
            self._contexts[contract] = context
        looks = self._looks = Looks(self.look, self._contexts, everything, lists)
        with self.scope.holding(everything.scope):
            looks.begin()
            try:
                return await self._carried()
            finally:
                looks.end()
                everything.scope.stop("the mass cancel is over")
                await looks.over()
                await lists.over()
                self._let_go()

    async def _carried(self) -> MassCancelReport:
        tasks = {own_task(self._carry(context)): code for code, context in self._contexts.items()}
        try:
            await self._are_final.wait()
            left = max(0.0, self.scope.deadline - self._loop.time())
            await self._end_callbacks(tasks, left + _TO_END)
        except asyncio.CancelledError:
            self.scope.stop("the mass cancel was cancelled")
            await self._end_callbacks(tasks, _TO_END)
            raise
        finally:
            for task in tasks:
                task.cancel()
        for task in tasks:
            is_over = task.done() and not task.cancelled()
            if is_over and (error := task.exception()) is not None:
                error.add_note(f"in a mass cancel of which this is known: {self.report()}")
                try:
                    raise error
                finally:
                    # Its traceback holds this frame.
                    del error, task, tasks
        return self.report()

    def report(self) -> MassCancelReport:
        """The report so far, true at any moment: requests on the wire count as unknown, and
        contracts that were not begun as not sent."""
        return MassCancelReport(
            reports=tuple(map(self._report_of, self._intents)),
            elapsed=self._loop.time() - self._ledger.began,
            callback_errors=tuple(self._callback_errors),
        )

    def _report_of(self, intent: Intent) -> CancelReport:
        if (done := self._reports.get(intent.filter.instrument)) is not None:
            return done
        begun = self._contexts.get(intent.filter.instrument)
        context = begun or Context(self._resources, self._ledger, self.scope, intent)
        return context.report()

    def _let_go(self) -> None:
        """What refers to this in a circle: whoever holds its report alone is not to hold more."""
        for context in self._contexts.values():
            context.scope.rank = context.lists = context.after_cancel = None

    @property
    def look(self) -> Look:
        """Whether open orders are read before."""
        if self._look is None:
            urgent = self.scope.urgent
            self._look = usual_look(*self._line, len(self._intents), urgent=urgent)
        return self._look

    def _everything(self) -> Context:
        """The account, in a scope of the whole call; contracts wait for its lists."""
        margin = self._intents[0].filter.margin_mode
        intent = Intent(OrderFilter(margin_mode=margin))
        hurried = self._resources._replace(hurries=True)
        return Context(hurried, self._ledger, self.scope.inner(), intent, ALL)

    def _rank(self, contract: str, position: int, is_repeat: bool) -> tuple[int, ...]:
        """First what was not sent before, of that what a list has shown, then as given."""
        is_again = is_repeat or contract in self._has_begun
        return 2 * is_again + (not self._looks.is_shown(contract)), position

    async def _carry(self, context: Context) -> None:
        try:
            with self.scope.holding(context.scope):
                report = self._reports[context.contract] = await self._rounds(context)
        finally:
            # What was about to queue for it has queued, or never will.
            self._has_queued.add(context.contract)
            self._carried_left -= 1
            if not self._carried_left:
                self._are_final.set()
        if self._on_report is not None:
            await self._tell(self._on_report, report)

    async def _rounds(self, context: Context) -> CancelReport:
        is_first, contract = True, context.contract
        while not self.scope.reason and await self._looks.lets(context, is_first=is_first):
            self._has_queued.add(contract)
            report = await carry(context, cancel_all)
            wait = _until_next_round(context)
            if not wait:
                return report
            if not await context.pause(wait):
                break
            is_first = False
            self._has_begun.add(contract)
            self._ledger.file(Round(context.contracts, context.now()))
        return context.report()

    async def _tell(self, on_report: OnReport, report: CancelReport) -> None:
        try:
            result = on_report(report)
            if inspect.isawaitable(result):
                await result
        except LEAVING:
            raise
        except BaseException as error:
            if is_ending():
                raise
            self._callback_errors.append(f"{report.contract_code}: {told(error)}")

    async def _end_callbacks(self, tasks: Mapping[asyncio.Task[None], str], within: float) -> None:
        """Callbacks have until the deadline and a moment; none holds up the account for longer."""
        ended, late = await asyncio.wait(tasks, timeout=within)
        for task in late:
            task.cancel()
        for task, code in tasks.items():
            if task in late:
                self._callback_errors.append(f"{code}: on_report did not end")
            elif task in ended and task.cancelled():
                # By itself: nobody else has hold of it.
                self._callback_errors.append(f"{code}: on_report cancelled its task")
        if late:
            await asyncio.wait(late, timeout=_TO_END)


def _until_next_round(context: Context) -> float:
    """Seconds until another round may reach what this one left; 0 when there is none."""
    known = context.states()
    last = next((one.attempt for one in reversed(known.cancels) if one.attempt.sent), None)
    is_done = known.is_clear and not known.has_taken
    if not context.intent.until_clear or is_done or last is None:
        return 0.0
    if last.verdict is Verdict.UNKNOWN or known.is_open_question:
        is_final = last.code_class in _FINAL and last.verdict is Verdict.REFUSED
        repeats = context.resources.retry.repeat_unknown
        return _AFTER_UNKNOWN if repeats and not is_final else 0.0
    is_told = last.verdict is Verdict.ACCEPTED or last.code_class is CodeClass.NOTHING_TO_CANCEL
    return BETWEEN_ROUNDS if is_told else 0.0
