"""Many contracts at once ("mass cancel", FIX 35=q): one call each, one account of all.

Every call queues for its first token before any of them can need a second, and the queue is first
in, first out: so every contract's first attempt goes before any repeat.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from htx_async.errors import InvalidRequest
from htx_async.mass_report import MassCancelReport
from htx_async.models import CancelAllTrailing
from htx_async.outcome import merged, report_of
from htx_async.report import CancelReport
from htx_async.terms import Outcome

BETWEEN_ROUNDS = 1.2
"""Seconds: the exchange's own example shows 1.1 s between a cancel's reply and its effect."""

_TO_END = 1.0
"""Seconds that stopped calls and late callbacks get to come to their end."""

OnReport = Callable[[CancelReport], object]


class Carried(Protocol):
    """One call under way."""

    async def run(self) -> CancelReport:
        """The call's report, however it ends."""

    def stop(self, reason: str) -> None:
        """End the call now."""


def intents(
    contract_codes: Iterable[str], direction: object, offset: object
) -> tuple[CancelAllTrailing, ...]:
    """One intent for each contract, duplicates once; `InvalidRequest` for what names none.

    A plain string is refused: its letters would be taken for contracts.
    """
    if isinstance(contract_codes, str) or not isinstance(contract_codes, Iterable):
        kind = type(contract_codes).__name__
        raise InvalidRequest(f"contract_codes must be a sequence of contract codes, not {kind}")
    checked = [CancelAllTrailing.checked(code, direction, offset) for code in contract_codes]
    if not checked:
        raise InvalidRequest("contract_codes is empty; an empty list never means all contracts")
    return tuple({intent.contract_code: intent for intent in checked}.values())


class MassCancel:
    """Carries `intents` together until all have ended, `deadline` (loop time) at the latest.

    `begin` makes the call for one intent. `until_clear`: call again for each contract until the
    exchange itself has nothing left.
    """

    def __init__(
        self,
        intents: Sequence[CancelAllTrailing],
        begin: Callable[[CancelAllTrailing], Carried],
        *,
        deadline: float,
        until_clear: bool,
        on_report: OnReport | None,
    ) -> None:
        self._intents = intents
        self._begin = begin
        self._deadline = deadline
        self._until_clear = until_clear
        self._on_report = on_report
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._carried: set[Carried] = set()
        self._reports: dict[str, CancelReport] = {}
        self._callback_errors: list[str] = []
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._reason = ""

    async def run(self) -> MassCancelReport:
        """One report for each contract. Cancelled, it stops every call first and then goes on."""
        tasks = [asyncio.create_task(self._one(intent)) for intent in self._intents]
        try:
            await asyncio.wait(tasks, timeout=self._deadline - self._loop.time() + _TO_END)
        except asyncio.CancelledError:
            self.stop("the mass cancel was cancelled")
            await asyncio.wait(tasks, timeout=_TO_END)
            raise
        finally:
            # Only a callback that does not end is left by now.
            await self._end(tasks)
        return self.report()

    def stop(self, reason: str) -> None:
        """End every call now: what was sent and not answered is unknown, the rest not sent."""
        self._reason = self._reason or reason
        if not self._stopped.done():
            self._stopped.set_result(None)
        for call in tuple(self._carried):
            call.stop(reason)

    def report(self) -> MassCancelReport:
        """The account so far; contracts without an end yet count as not sent."""
        reports = [
            self._reports.get(intent.contract_code) or self._not_sent(intent)
            for intent in self._intents
        ]
        return MassCancelReport(
            reports=tuple(reports),
            elapsed=self._loop.time() - self._began,
            callback_errors=tuple(self._callback_errors),
        )

    async def _one(self, intent: CancelAllTrailing) -> None:
        report = await (self._rounds(intent) if self._until_clear else self._round(intent))
        self._reports[intent.contract_code] = report
        if self._on_report is not None:
            await self._tell(self._on_report, report)

    async def _round(self, intent: CancelAllTrailing) -> CancelReport:
        if self._stopped.done():
            return self._not_sent(intent)
        call = self._begin(intent)
        self._carried.add(call)
        try:
            return await call.run()
        finally:
            self._carried.discard(call)

    async def _rounds(self, intent: CancelAllTrailing) -> CancelReport:
        rounds: list[CancelReport] = []
        began = self._loop.time()
        while True:
            rounds.append(await self._round(intent))
            again = rounds[-1].outcome in (Outcome.CANCELLED, Outcome.PARTIAL)
            in_time = self._loop.time() + BETWEEN_ROUNDS < self._deadline
            if not (again and in_time) or self._stopped.done():
                return merged(rounds, elapsed=self._loop.time() - began)
            await asyncio.wait([self._stopped], timeout=BETWEEN_ROUNDS)

    async def _tell(self, on_report: OnReport, report: CancelReport) -> None:
        try:
            result = on_report(report)
            if inspect.isawaitable(result):
                await _finished(result)
        except Exception as error:
            self._callback_errors.append(f"{report.contract_code}: {type(error).__name__}: {error}")

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task, intent in zip(tasks, self._intents, strict=True):
            if not task.done():
                task.cancel()
                if intent.contract_code in self._reports:
                    self._callback_errors.append(f"{intent.contract_code}: on_report did not end")
        await asyncio.gather(*tasks, return_exceptions=True)

    def _not_sent(self, intent: CancelAllTrailing) -> CancelReport:
        return report_of(intent, (), (), elapsed=0.0, ended_by=self._reason)


async def _finished(result: Awaitable[object]) -> None:
    await result
