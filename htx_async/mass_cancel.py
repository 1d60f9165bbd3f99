"""Many contracts at once ("mass cancel", FIX 35=q): one call each, one account of all.

Every call queues for its first token before any of them can need a second, and the queue is first
in, first out: so every contract's first attempt goes before any repeat.
"""

import asyncio
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from htx_async.checks import listed, shown
from htx_async.errors import InvalidRequest
from htx_async.listeners import LEAVING, told
from htx_async.mass_report import MassCancelReport
from htx_async.models import CancelAllTrailing
from htx_async.outcome import merged, report_of
from htx_async.report import CancelReport
from htx_async.tasks import own_task
from htx_async.terms import MarginMode, Outcome

BETWEEN_ROUNDS = 1.2
"""Seconds: the exchange's own example shows 1.1 s between a cancel's reply and its effect."""

_TO_END = 1.0
"""Seconds that stopped calls and late callbacks get to come to their end."""

OnReport = Callable[[CancelReport], object]


class Carried(Protocol):
    """One call under way."""

    async def run(self) -> CancelReport:
        """The call's report, however it ends."""

    def report(self) -> CancelReport:
        """The account so far."""

    def stop(self, reason: str) -> None:
        """End the call now."""


def intents(
    contract_codes: Iterable[str],
    direction: object,
    offset: object,
    margin_mode: MarginMode = MarginMode.ISOLATED,
    as_intent: Callable[..., CancelAllTrailing] = CancelAllTrailing.checked,
) -> tuple[CancelAllTrailing, ...]:
    """One intent for each contract, duplicates once; `InvalidRequest` for what names none.

    A plain string is refused: its letters would be taken for contracts. `as_intent`: makes one.
    """
    if isinstance(contract_codes, str) or not isinstance(contract_codes, Iterable):
        kind = type(contract_codes).__name__
        raise InvalidRequest(f"contract_codes must be a sequence of contract codes, not {kind}")
    filters = (direction, offset, margin_mode)
    # The filters first: what is wrong with them is wrong with no contract.
    as_intent(_ANY_CONTRACT, *filters)
    checked, wrong = [], []
    for place, code in enumerate(contract_codes):
        try:
            checked.append(as_intent(code, *filters))
        except InvalidRequest as error:
            wrong.append(f"contract_codes[{place}], {shown(code)}: {error}")
    if wrong:
        raise InvalidRequest(listed(wrong))
    if not checked:
        raise InvalidRequest("contract_codes is empty; an empty list never means all contracts")
    return tuple({intent.instrument: intent for intent in checked}.values())


_ANY_CONTRACT = "BTC-USDT"


def nothing_sent(intents: Sequence[CancelAllTrailing], reason: str) -> MassCancelReport:
    """The account of a mass cancel that could not begin."""
    reports = [report_of(intent, (), (), elapsed=0.0, ended_by=reason) for intent in intents]
    return MassCancelReport(reports=tuple(reports), elapsed=0.0)


class MassCancel:
    """Carries `intents` together until all have ended.

    `begin` makes the call for one intent and a deadline (loop time). `until` tells that deadline
    once everybody else who was about to queue has queued. `until_clear`: call again for each
    contract until the exchange itself has nothing left. `others`: those that are under way; it is
    among them while it runs. `is_promised`: closing waits for it instead of holding it back.
    """

    def __init__(
        self,
        intents: Sequence[CancelAllTrailing],
        begin: Callable[[CancelAllTrailing, float], Carried],
        *,
        until: Callable[["MassCancel"], float],
        until_clear: bool,
        on_report: OnReport | None,
        others: "set[MassCancel]",
        is_promised: bool = False,
    ) -> None:
        self._intents = intents
        self._begin = begin
        self._until = until
        self._until_clear = until_clear
        self._on_report = on_report
        self._others = others
        self.is_promised = is_promised
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._deadline = math.inf
        self._rounds: dict[str, list[CancelReport]] = {i.instrument: [] for i in intents}
        self._live: dict[str, Carried] = {}
        self._spans: dict[str, tuple[float, float | None]] = {}
        self.unqueued = len(intents)
        """Contracts that have not come to queue yet."""
        self._callbacks: dict[asyncio.Task[None], str] = {}
        self._callback_errors: list[str] = []
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._reason = ""

    async def run(self) -> MassCancelReport:
        """One report for each contract. Cancelled, it stops every call first and then goes on;
        what else is raised inside a call comes out when all have ended."""
        self._others.add(self)
        try:
            return await self._run()
        finally:
            self._others.discard(self)

    async def _run(self) -> MassCancelReport:
        await asyncio.sleep(0)
        self._deadline = self._until(self)
        tasks = [own_task(self._carry(intent)) for intent in self._intents]
        try:
            await asyncio.wait(tasks)
            left = max(0.0, self._deadline - self._loop.time())
            await self._end_callbacks(left + _TO_END)
        except asyncio.CancelledError:
            self.stop("the mass cancel was cancelled")
            await asyncio.wait(tasks, timeout=_TO_END)
            await self._end_callbacks(_TO_END)
            raise
        finally:
            for task in (*tasks, *self._callbacks):
                task.cancel()
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                error.add_note(f"in a mass cancel of which this is known: {self.report()}")
                try:
                    raise error
                finally:
                    # Its traceback holds this frame.
                    del error, task, tasks
        return self.report()

    def hold_back(self, reason: str) -> None:
        """Begin no call from now on; those under way go on."""
        self._reason = self._reason or reason
        if not self._stopped.done():
            self._stopped.set_result(None)

    def stop(self, reason: str) -> None:
        """End every call now: what was sent and not answered is unknown, the rest not sent."""
        self.hold_back(reason)
        for call in tuple(self._live.values()):
            call.stop(reason)

    def report(self) -> MassCancelReport:
        """The account so far, true at any moment: requests on the wire count as unknown, and
        contracts that were not begun as not sent."""
        return MassCancelReport(
            reports=tuple(map(self._report_of, self._intents)),
            elapsed=self._loop.time() - self._began,
            callback_errors=tuple(self._callback_errors),
        )

    def _report_of(self, intent: CancelAllTrailing) -> CancelReport:
        rounds = [*self._rounds[intent.instrument]]
        call = self._live.get(intent.instrument)
        if call is not None:
            rounds.append(call.report())
        if not rounds:
            return report_of(intent, (), (), elapsed=0.0, ended_by=self._reason)
        if not self._until_clear:
            return rounds[0]
        began, ended = self._spans[intent.instrument]
        elapsed = (self._loop.time() if ended is None else ended) - began
        return merged(rounds, elapsed=elapsed, ended_by=self._reason)

    async def _carry(self, intent: CancelAllTrailing) -> None:
        self.unqueued -= 1
        began = self._loop.time()
        self._spans[intent.instrument] = (began, None)
        try:
            while await self._round(intent) and await self._comes_another():
                pass
        finally:
            self._spans[intent.instrument] = (began, self._loop.time())
        if self._on_report is not None:
            telling = self._tell(self._on_report, self._report_of(intent))
            task = asyncio.create_task(telling)
            self._callbacks[task] = intent.instrument

    async def _round(self, intent: CancelAllTrailing) -> bool:
        """One call for `intent`; whether there may be something left that another would reach."""
        if self._stopped.done():
            return False
        code = intent.instrument
        call = self._live[code] = self._begin(intent, self._deadline)
        report = await call.run()
        self._rounds[code].append(report)
        # Only after its report is kept, so that the account has no gap.
        del self._live[code]
        took = report.outcome in (Outcome.CANCELLED, Outcome.PARTIAL) or bool(report.errors)
        return self._until_clear and took

    async def _comes_another(self) -> bool:
        if self._stopped.done() or self._loop.time() + BETWEEN_ROUNDS >= self._deadline:
            return False
        await asyncio.wait([self._stopped], timeout=BETWEEN_ROUNDS)
        return not self._stopped.done()

    async def _tell(self, on_report: OnReport, report: CancelReport) -> None:
        try:
            result = on_report(report)
            if inspect.isawaitable(result):
                await result
        except LEAVING:
            raise
        except BaseException as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._callback_errors.append(f"{report.contract_code}: {told(error)}")

    async def _end_callbacks(self, within: float) -> None:
        """Callbacks have until the deadline and a moment; none holds up the account for longer."""
        if self._callbacks:
            _, late = await asyncio.wait(self._callbacks, timeout=within)
            for task in late:
                task.cancel()
            self._callback_errors += [
                f"{code}: on_report did not end"
                for task, code in self._callbacks.items()
                if task in late
            ]
            if late:
                await asyncio.wait(late, timeout=_TO_END)
