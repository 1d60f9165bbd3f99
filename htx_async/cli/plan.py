"""The plan for a mass cancel, as it is shown before anything is cancelled."""

import sys
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, NamedTuple

from htx_async.cli.access import Access
from htx_async.cli.intent import Intent, desk_of
from htx_async.cli.streams import json_of
from htx_async.cli.words import visible
from htx_async.cli.wrapping import columns
from htx_async.enums import Look, MarginMode
from htx_async.mass_report import MassCancelPlan
from htx_async.session import HtxSession

_ALLOWANCE = 10.0
"""Seconds for attempts and pauses beyond the plan, as for a session's single calls."""

_LONGER = 2.0


class Schedule(NamedTuple):
    """Contracts, seconds that it takes at least, and seconds until the deadline."""

    contracts: int
    seconds: float
    deadline: float


class Plan(NamedTuple):
    """What `intent` comes to in each margin mode.

    `limit`: whose tokens are taken; "" for this process's own. `key`, `account`, `generation`: see
    `Access`.
    """

    intent: Intent
    base_urls: tuple[str, ...]
    limit: str
    key: str
    account: str | None
    generation: str
    by_margin: dict[MarginMode, MassCancelPlan]

    @property
    def schedule(self) -> Schedule:
        """How long it may take."""
        deadline = self.intent.deadline or self._usual_deadline
        contracts = sum(len(plan.contract_codes) for plan in self._plans)
        least = max(plan.least_seconds for plan in self._plans)
        return Schedule(contracts, least, deadline)

    @property
    def longer_deadline(self) -> float:
        """For once more, where this one was too short; seconds."""
        return max(_LONGER * self.schedule.deadline, ceil(self._usual_deadline))

    @property
    def _usual_deadline(self) -> float:
        return self._most + _ALLOWANCE

    @property
    def _most(self) -> float:
        return max(plan.seconds for plan in self._plans)

    def as_json(self) -> bytes:
        """One document; with both margin modes, one by the name of each in it."""
        whole = {margin.value: self._document(plan) for margin, plan in self.by_margin.items()}
        (first, *others) = whole.values()
        return json_of(whole if others else first)

    def told(self, *, aside: bool) -> str:
        """The plan for a person, drawn for stdout, or for stderr if `aside`."""
        return columns([*self._rows()], sys.stderr if aside else sys.stdout)

    @property
    def _plans(self) -> Sequence[MassCancelPlan]:
        return tuple(self.by_margin.values())

    def _document(self, plan: MassCancelPlan) -> dict[str, Any]:
        intent = self.intent
        filters = {"direction": intent.direction, "offset": intent.offset}
        settings = {"until_clear": intent.until_clear, "confirm": intent.confirm}
        reached = {"deadline": self.schedule.deadline, "base_urls": self.base_urls}
        limit = {"limit": self.limit} if self.limit else {}
        who = {"key_ends_in": self.key, "account": self.account, "generation": self.generation}
        return {**plan.model_dump(), **filters, **settings, **reached, **who, **limit}

    def _rows(self) -> Iterator[tuple[str, str]]:
        intent, schedule = self.intent, self.schedule
        filters = [value.value for value in (intent.direction, intent.offset) if value is not None]
        margins = " and in ".join(f"{margin} margin" for margin in self.by_margin)
        yield "cancel", f"trailing orders in {margins}, {' and '.join(filters) or 'all'}"
        yield "contracts", self._contracts()
        yield "key", f"ends in {self.key}" if self.key else "too short to show a part of it"
        if self.account is not None:
            yield "account", visible(self.account)
        if self.generation in _GIVEN:
            yield "api", _GIVEN[self.generation]
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
        calls, reads = (
            sum(getattr(plan, name) for plan in self._plans) for name in ("calls", "reads")
        )
        look = self._plans[0].look
        yield "look", _LOOKS[look]
        if reads:
            yield "reads", f"{reads} at most"
        at_most = " at most, only where orders are open" if look is Look.ONLY else ""
        yield "calls", f"{calls}{at_most}, more after lost answers"
        least = self.schedule.seconds
        yield "time", f"{least:.1f} s if nothing is open, {self._most:.1f} s at most"


_LOOKS = {
    Look.FIRST: "at open orders meanwhile: contracts that have some go first",
    Look.ONLY: "at open orders before: contracts that have none are not cancelled",
    Look.NONE: "none: in the order given",
}
_GIVEN = {
    "v1": "v1 alone, as it was given: of an account that has moved to V5 nothing is seen there",
    "v5": "v5 alone, as it was given: of an account that is on v1 nothing is seen there",
}
_ROUNDS = (
    "until the exchange has nothing left, which also takes trailing orders placed meanwhile: for "
    "halted trading only"
)


async def planned(intent: Intent, htx: HtxSession, access: Access, limit: str) -> Plan:
    """The plan; nothing is sent but for the public list, where all contracts are meant.

    Raises `ReadFailed` when that cannot be had.
    """
    if intent.is_all:
        for margin in intent.margins:
            await desk_of(htx, margin).contracts()
    who = (access.key, access.account, access.generation)
    return Plan(intent, access.base_urls, limit, *who, intent.plan(htx))
