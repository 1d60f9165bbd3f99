"""What the operator asks for, and what becomes of it in one margin mode or in both."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple, TypeGuard

from htx_async.cli.result import Found
from htx_async.cross import CrossMargin
from htx_async.enums import AllContracts, Direction, Look, MarginMode, Offset
from htx_async.errors import HtxError
from htx_async.margin_calls import MarginCalls
from htx_async.mass_report import MassCancelPlan, MassCancelReport
from htx_async.report import CancelReport
from htx_async.session import HtxSession

_NOTE = "in a mass cancel"
"""How the note begins that a mass cancel leaves on what ends it."""


class Intent(NamedTuple):
    """A mass cancel that is asked for. `deadline`: seconds, None for what the plan needs."""

    contracts: tuple[str, ...] | AllContracts
    margins: tuple[MarginMode, ...]
    direction: Direction | None
    offset: Offset | None
    until_clear: bool
    confirm: bool
    look: Look | None
    deadline: float | None

    @property
    def is_all(self) -> bool:
        """Whether every contract that the exchange lists is meant."""
        return isinstance(self.contracts, AllContracts)

    def plan(self, htx: HtxSession) -> dict[MarginMode, MassCancelPlan]:
        """What would be sent in each margin mode; of all contracts once their list was read."""
        return {
            one: desk_of(htx, one).plan(
                self.contracts, until_clear=self.until_clear, look=self.look
            )
            for one in self.margins
        }

    async def carry_out(
        self, htx: HtxSession, deadline: float, on_report: Callable[[CancelReport], object] | None
    ) -> dict[MarginMode, Found]:
        """The reports; margin modes do not wait for each other.

        Raises what ends one of them in the middle, with notes of what is known.
        """
        begun = [self._begin(desk_of(htx, one), deadline, on_report) for one in self.margins]
        ended = await asyncio.gather(*begun, return_exceptions=True)
        found: list[Found] = []
        for one in ended:
            if isinstance(one, MassCancelReport) or _is_not_begun(one):
                found.append(one)
                continue
            for other in ended:
                if isinstance(other, MassCancelReport):
                    one.add_note(f"{_NOTE} in the other margin mode: {other}")
            raise one
        return dict(zip(self.margins, found, strict=True))

    async def _begin(
        self,
        margin_calls: MarginCalls,
        deadline: float,
        on_report: Callable[[CancelReport], object] | None,
    ) -> MassCancelReport:
        return await margin_calls.mass_cancel_trailing(
            self.contracts,
            self.direction,
            self.offset,
            deadline=deadline,
            until_clear=self.until_clear,
            confirm=self.confirm,
            look=self.look,
            on_report=on_report,
        )


def desk_of(htx: HtxSession, margin: MarginMode) -> HtxSession | CrossMargin:
    """The calls of a margin mode."""
    return htx.cross if margin is MarginMode.CROSS else htx


def known(error: BaseException) -> list[str]:
    """What is known of mass cancels that an error ended.

    Nothing else that hangs on it, for a foreign exception may hold a URL.
    """
    return [note for note in getattr(error, "__notes__", ()) if note.startswith(_NOTE)]


def _is_not_begun(error: BaseException) -> TypeGuard[HtxError]:
    """Whether it was raised before anything was queued."""
    return isinstance(error, HtxError) and not known(error)
