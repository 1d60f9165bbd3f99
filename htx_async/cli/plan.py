"""The plan for a mass cancel, as it is shown before anything is cancelled."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from htx_async.cli.intent import Intent, desk_of
from htx_async.enums import MarginMode
from htx_async.mass_report import MassCancelPlan
from htx_async.session import HtxSession

_ALLOWANCE = 10.0
"""Seconds for attempts and pauses beyond the plan, as for a session's single calls."""

_ROUND_TRIPS = 0.5
"""Seconds on top of each second of the plan, which reckons with answers that come at once."""


class Schedule(NamedTuple):
    """Contracts, seconds until the last call may leave, and seconds until the deadline."""

    contracts: int
    seconds: float
    deadline: float


class Plan(NamedTuple):
    """What `intent` comes to in each margin mode.

    `reading`, `blind`: seconds with and without a look at the open orders of all contracts, where
    these are meant. `limit`: whose tokens are taken; "" for this process's own.
    """

    intent: Intent
    base_urls: tuple[str, ...]
    limit: str
    by_margin: dict[MarginMode, MassCancelPlan]
    reading: float = 0.0
    blind: float = 0.0

    @property
    def schedule(self) -> Schedule:
        """How long it may take."""
        seconds = max(plan.seconds for plan in self._plans)
        # In the worst case every contract that was looked at has to be cancelled after all.
        longest = self.reading + self.blind if self.intent.is_all else seconds
        deadline = self.intent.deadline or longest * (1 + _ROUND_TRIPS) + _ALLOWANCE
        contracts = sum(len(plan.contract_codes) for plan in self._plans)
        return Schedule(contracts, seconds, deadline)

    def as_json(self) -> bytes:
        """One document; with both margin modes, one by the name of each in it."""
        whole = {margin.value: self._document(plan) for margin, plan in self.by_margin.items()}
        (first, *others) = whole.values()
        return json.dumps(whole if others else first, ensure_ascii=False).encode()

    def told(self, *, aside: bool) -> str:
        """The plan for a person, drawn for stdout, or for stderr if `aside`."""
        # Only here: whoever does not look at the plan does not wait for rich.
        from htx_async.cli.account import columns, drawn  # noqa: PLC0415 - see above

        return drawn([columns(self._rows())], sys.stderr if aside else sys.stdout)

    @property
    def _plans(self) -> Sequence[MassCancelPlan]:
        return tuple(self.by_margin.values())

    def _document(self, plan: MassCancelPlan) -> dict[str, Any]:
        intent = self.intent
        filters = {"direction": intent.direction, "offset": intent.offset}
        settings = {"until_clear": intent.until_clear, "confirm": intent.confirm}
        reached = {"deadline": self.schedule.deadline, "base_urls": self.base_urls}
        limit = {"limit": self.limit} if self.limit else {}
        return {**plan.model_dump(), **filters, **settings, **reached, **limit}

    def _rows(self) -> Iterator[tuple[str, str]]:
        intent, schedule = self.intent, self.schedule
        filters = [value.value for value in (intent.direction, intent.offset) if value is not None]
        margins = " and in ".join(f"{margin} margin" for margin in self.by_margin)
        yield "cancel", f"trailing orders in {margins}, {' and '.join(filters) or 'all'}"
        yield "contracts", self._contracts()
        yield "rounds", _ROUNDS if intent.until_clear else "one for each contract"
        yield from self._times()
        if intent.confirm:
            yield "confirm", "look at the exchange's lists until none of the orders is open"
        yield "deadline", f"{schedule.deadline:.1f} s from the start"
        yield "sent to", ", then ".join(self.base_urls)
        if self.limit:
            yield "limit", self.limit
        first, *others = (plan.untouched for plan in self._plans)
        left = (name for name in first if all(name in other for other in others))
        yield "untouched", ", ".join(left)

    def _contracts(self) -> str:
        if not self.intent.is_all:
            # They were named for all margin modes alike.
            codes = self._plans[0].contract_codes
            return f"{len(codes)}: {' '.join(codes)}"
        counts = (f"{len(plan.contract_codes)} in {m} margin" for m, plan in self.by_margin.items())
        return f"every one that the exchange lists: {', '.join(counts)}"

    def _times(self) -> Iterator[tuple[str, str]]:
        calls = sum(plan.calls for plan in self._plans)
        if not self.intent.is_all:
            seconds = self.schedule.seconds
            yield "calls", f"{calls}, more after lost answers; {seconds:.1f} s to the last"
            return
        if self.intent.blind:
            yield "calls", f"{calls}, more after lost answers; {self.blind:.1f} s to the last"
            yield "not blind", f"{_LOOK} would take {self.reading:.1f} s, and spare the others"
        else:
            reads = sum(plan.reads for plan in self._plans)
            yield "reads", f"{reads}, {self.reading:.1f} s for {_LOOK}"
            yield "calls", f"{calls} at most, only where orders are open"
            yield "blind", f"without that look {self.blind:.1f} s for all calls"


_LOOK = "a look at which contracts have orders"
_ROUNDS = (
    "until the exchange has nothing left, which also takes trailing orders placed meanwhile: for "
    "halted trading only"
)


async def planned(intent: Intent, htx: HtxSession, base_urls: tuple[str, ...], limit: str) -> Plan:
    """The plan; nothing is sent but for the public list, where all contracts are meant.

    Raises `ReadFailed` when that cannot be had.
    """
    if not intent.is_all:
        return Plan(intent, base_urls, limit, intent.plan(htx, blind=False))
    for margin in intent.margins:
        await desk_of(htx, margin).contracts()
    looking = intent.plan(htx, blind=False)
    reading = max(plan.seconds for plan in looking.values())
    blind = max(plan.blind_seconds or 0.0 for plan in looking.values())
    chosen = intent.plan(htx, blind=True) if intent.blind else looking
    return Plan(intent, base_urls, limit, chosen, reading, blind)
