"""What the operator asks for, and the plan for it."""

import json
import sys
from typing import NamedTuple

from htx_async.mass_report import MassCancelPlan
from htx_async.session import HtxSession
from htx_async.terms import Direction, Offset

_ALLOWANCE = 10.0
"""Seconds for attempts and pauses beyond the plan, as for a session's single calls."""

_ROUND_TRIPS = 0.5
"""Seconds on top of each second of the plan, which reckons with answers that come at once."""


class Schedule(NamedTuple):
    """Contracts, seconds until the last call may leave, and seconds until the deadline."""

    contracts: int
    seconds: float
    deadline: float


class Intent(NamedTuple):
    """A mass cancel that is asked for. `deadline`: seconds, None for what the plan needs."""

    contracts: tuple[str, ...]
    direction: Direction | None
    offset: Offset | None
    until_clear: bool
    deadline: float | None
    base_urls: tuple[str, ...]

    async def plan(self, htx: HtxSession) -> MassCancelPlan:
        """What would be sent; nothing is."""
        return htx.plan(self.contracts, until_clear=self.until_clear)

    def schedule(self, plan: MassCancelPlan) -> Schedule:
        """How long it may take."""
        deadline = self.deadline or plan.seconds * (1 + _ROUND_TRIPS) + _ALLOWANCE
        return Schedule(len(plan.contract_codes), plan.seconds, deadline)

    def as_json(self, plan: MassCancelPlan) -> bytes:
        """The plan with its filters and deadline, as one document."""
        filters = {"direction": self.direction, "offset": self.offset}
        times = {"until_clear": self.until_clear, "deadline": self.schedule(plan).deadline}
        whole = {**plan.model_dump(), **filters, **times, "base_urls": self.base_urls}
        return json.dumps(whole, ensure_ascii=False).encode()

    def told(self, plan: MassCancelPlan, *, aside: bool) -> str:
        """The plan for a person, drawn for stdout, or for stderr if `aside`."""
        # Only here: whoever does not look at the plan does not wait for rich.
        from htx_async.cli.account import columns, drawn  # noqa: PLC0415 - see above

        schedule = self.schedule(plan)
        filters = [value.value for value in (self.direction, self.offset) if value is not None]
        rounds = (
            "until the exchange has nothing left, which also takes trailing orders placed "
            "meanwhile: for halted trading only"
        )
        rows = [
            ("cancel", f"trailing orders in isolated margin, {' and '.join(filters) or 'all'}"),
            ("contracts", f"{schedule.contracts}: {' '.join(plan.contract_codes)}"),
            ("rounds", rounds if self.until_clear else "one for each contract"),
            ("calls", f"{plan.calls}, more after lost answers; {plan.seconds:.1f} s to the last"),
            ("deadline", f"{schedule.deadline:.1f} s from the start"),
            ("sent to", ", then ".join(self.base_urls)),
            ("untouched", ", ".join(plan.untouched)),
        ]
        return drawn([columns(rows)], sys.stderr if aside else sys.stdout)
