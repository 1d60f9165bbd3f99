"""An account's open orders, on whichever generation of the API it is."""

from htx_async.codes import CodeClass
from htx_async.errors import ReadFailed
from htx_async.means import Means
from htx_async.models import CancelAllTrailing
from htx_async.orders import TrailingOrder
from htx_async.reading import Reading
from htx_async.report import Attempt
from htx_async.routes import v1, v5
from htx_async.terms import ApiGeneration, Verdict

_MOVED = (CodeClass.MIGRATED, CodeClass.RETIRED)


class OpenLists:
    """Reads until `deadline` (loop time); `stop` ends what is under way.

    An empty list of v1 proves nothing on an account that has moved, so V5 is asked before it is
    believed. `problem`: why the last list could not be read.
    """

    def __init__(
        self, means: Means, deadline: float, *, urgent: bool = False, number: int | None = None
    ) -> None:
        self._means = means
        self._deadline = deadline
        self._v1 = Reading(means, deadline, urgent=urgent, number=number, route=v1)
        self._v5 = Reading(means, deadline, urgent=urgent, number=number, route=v5)
        self.problem = ""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every request so far."""
        return (*self._v1.attempts, *self._v5.attempts)

    async def open(self, wanted: CancelAllTrailing) -> tuple[TrailingOrder, ...] | None:
        """Open orders of the contract that `wanted` names; None when they could not be read."""
        generation = self._means.generation
        if generation.current is ApiGeneration.V5:
            return await self._on_v5(wanted)
        rows = await self._v1.open(wanted)
        if not generation.is_auto or rows:
            self.problem = self._v1.problem
            return rows
        if rows is None:
            return await self._on_v5(wanted) if self._has_moved() else None
        opinion = await self._means.second_opinion.ask(wanted, self._v5, self._deadline)
        if opinion.shows:
            generation.switch(opinion.shows, self._means.tell)
            return await self._on_v5(wanted)
        self.problem = opinion.doubt
        return None if opinion.doubt else ()

    def hold_back(self, reason: str) -> None:
        """Read no more; nothing is lost by it."""
        self.stop(reason)

    def stop(self, reason: str) -> None:
        """Read no more."""
        self._v1.stop(reason)
        self._v5.stop(reason)

    def failure(self, what: str) -> ReadFailed:
        """The exception that tells of the last list."""
        return ReadFailed(f"{what} could not be read: {self.problem}", self.attempts)

    async def _on_v5(self, wanted: CancelAllTrailing) -> tuple[TrailingOrder, ...] | None:
        rows = await self._v5.open(wanted)
        self.problem = self._v5.problem
        return rows

    def _has_moved(self) -> bool:
        """Whether v1's refusal is one that only a moved account gets."""
        last = self._v1.attempts[-1] if self._v1.attempts else None
        self.problem = self._v1.problem
        refused = last is not None and last.verdict is Verdict.REFUSED
        if last is None or not refused or last.code_class not in _MOVED:
            return False
        self._means.generation.switch(f"v1 answered {last.code}", self._means.tell)
        return True
