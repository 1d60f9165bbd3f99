"""What a guard cancels, twice: once when its command has ended, and once more when nothing of it
can be on its way any more."""

import asyncio
from contextlib import suppress
from itertools import compress

from htx_async.cancel.guard import CancelGuard
from htx_async.cli.access import Say
from htx_async.cli.intent import Intent, desk_of
from htx_async.cli.result import Result
from htx_async.codes import NO_SUCH_CONTRACT, CodeClass
from htx_async.enums import AllContracts, MarginMode
from htx_async.errors import HtxError, InvalidRequest, ReadFailed
from htx_async.margin_calls import MarginCalls
from htx_async.report_text import of_dated
from htx_async.session import HtxSession

_TO_LOOK = 5.0
"""Seconds for the look at keys and exchange before the command begins."""

_ANEW = 3600.0
"""Seconds after which the list of all contracts is read anew: others come in a long life."""

_NONE = HtxError("this round has no report")


class Rounds:
    """The mass cancels of `intent`, by promises of `htx` which nothing but `stop` ends early.
    `is_v1_given`: see `Result`."""

    def __init__(self, intent: Intent, htx: HtxSession, *, is_v1_given: bool = False) -> None:
        self._intent, self._htx, self._is_v1_given = intent, htx, is_v1_given
        self._running: list[CancelGuard] = []
        self.results: list[Result] = []

    async def prepare(self, say: Say) -> float:
        """Open connections, and look whether the keys open anything; the seconds that one round
        takes at most.

        Raises `HtxError` where no cancel could work: the exchange does not take the keys, or knows
        no contract of a name, or which contracts are all of them cannot be read. An exchange that
        is away is told only.
        """
        await self.list_contracts()
        plans = self._intent.plan(self._htx)
        looks = (self._look(margin, plan.contract_codes[0]) for margin, plan in plans.items())
        (_, *failures), doubts = await asyncio.gather(
            asyncio.gather(self._htx.warm_up(), *looks), self._doubts()
        )
        problems = [str(failure) for failure in failures if failure is not None]
        for problem in dict.fromkeys(problems + doubts):
            say(f"{problem} The command begins all the same.")
        return max(plan.seconds for plan in self._intent.plan(self._htx).values())

    async def list_contracts(self) -> None:
        """Read which contracts are all of them, where all are meant."""
        if self._intent.is_all:
            desks = (desk_of(self._htx, margin) for margin in self._intent.margins)
            await asyncio.gather(*(desk.contracts() for desk in desks))

    async def list_now_and_then(self) -> None:
        """`list_anew`, again and again."""
        while self._intent.is_all:
            await asyncio.sleep(_ANEW)
            await self.list_anew()

    async def list_anew(self) -> None:
        """`list_contracts`; what fails leaves the last list."""
        with suppress(HtxError):
            await self.list_contracts()

    async def cancel(self) -> None:
        """One round."""
        guards = {
            margin: self._guard(desk_of(self._htx, margin)) for margin in self._intent.margins
        }
        self._running = list(guards.values())
        ended = await asyncio.gather(*map(_over, self._running), return_exceptions=True)
        accounts = {margin: guard.report or _NONE for margin, guard in guards.items()}
        if any(guard.report is not None for guard in self._running):
            # What v1 has taken in a round shows that it has the account.
            is_unseen = self._is_v1_given and not any(r.whole.successes for r in self.results)
            result = Result(accounts, confirm=self._intent.confirm, is_v1_given=is_unseen)
            self.results.append(result)
        for one in ended:
            if one is not None:
                raise one

    def stop(self) -> None:
        """End the round that runs, within a second."""
        for guard in self._running:
            guard.stop()

    def _guard(self, desk: MarginCalls) -> CancelGuard:
        intent = self._intent
        return desk.cancel_on_exit(
            intent.contracts,
            intent.direction,
            intent.offset,
            deadline=intent.deadline,
            confirm=intent.confirm,
            look=intent.look,
        )

    async def _unlisted(self) -> list[str]:
        """Named contracts that stand on no public list of the margin modes; none where one cannot
        be read."""
        contracts = self._intent.contracts
        if isinstance(contracts, AllContracts):
            return []
        desks = (desk_of(self._htx, margin) for margin in self._intent.margins)
        try:
            async with asyncio.timeout(_TO_LOOK):
                lists = await asyncio.gather(*(desk.contracts() for desk in desks))
        except (TimeoutError, ReadFailed):
            return []
        return [code for code in contracts if not any(code in one for one in lists)]

    async def _doubts(self) -> list[str]:
        """What is not certain of contracts on no public list. `InvalidRequest` for those that the
        account's lists do not know either: no order of them could be placed, or cancelled."""
        unlisted = await self._unlisted()
        unknown = await asyncio.gather(*map(self._is_unknown, unlisted))
        if any(unknown):
            names, margins = [*compress(unlisted, unknown)], self._intent.margins
            told = f"no contract {', '.join(names)} in {' or '.join(margins)} margin"
            is_elsewhere = len(margins) == 1 and any(of_dated(code, *margins) for code in names)
            hint = " (dated futures exist in cross margin only)" if is_elsewhere else ""
            raise InvalidRequest(f"the exchange has {told}{hint}")
        return [f"{code} is not on the exchange's list of contracts." for code in unlisted]

    async def _is_unknown(self, code: str) -> bool:
        looks = (self._look(margin, code) for margin in self._intent.margins)
        failures = await asyncio.gather(*looks)
        return all(failure is not None and _knows_none(failure) for failure in failures)

    async def _look(self, margin: MarginMode, code: str) -> ReadFailed | None:
        try:
            await desk_of(self._htx, margin).open_trailing(code, deadline=_TO_LOOK)
        except ReadFailed as failure:
            if any(one.code_class is CodeClass.AUTH for one in failure.attempts):
                raise InvalidRequest(str(failure)) from None
            return failure
        return None


def _knows_none(failure: ReadFailed) -> bool:
    return any(one.code in NO_SUCH_CONTRACT for one in failure.attempts)


async def _over(guard: CancelGuard) -> None:
    """A block that has ended at once; what went wrong with the cancel stands in its report."""
    try:
        async with guard:
            pass
    except HtxError:
        if guard.report is None:
            raise
