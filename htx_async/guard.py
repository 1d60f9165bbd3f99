"""A block that leaves no trailing orders behind, however it ends."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from htx_async.errors import HtxError
from htx_async.mass_cancel import MassCancel
from htx_async.mass_report import MassCancelReport

_TO_END = 1.0
"""Seconds that a mass cancel which was told to stop gets for its account."""


class CancelGuard:
    """`async with htx.cancel_on_exit(...) as guard:`; see there."""

    def __init__(self, begin: Callable[[], MassCancel]) -> None:
        self._begin = begin
        self.report: MassCancelReport | None = None
        """The account of the mass cancel; None until the block has ended."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._cancel()
            if self.report is not None:
                self.report.raise_for_outcome()
        except HtxError as failure:
            if exc is None:
                raise
            exc.add_note(f"and the trailing orders were not all cancelled: {failure}")
        except asyncio.CancelledError:
            if exc is None:
                raise
            account = "" if self.report is None else f": {self.report}"
            exc.add_note(f"and cancelling the trailing orders was cut short{account}")

    async def _cancel(self) -> None:
        """Run the mass cancel shielded; a cancellation from outside makes it tell and end."""
        running = self._begin()
        task = asyncio.create_task(running.run())
        try:
            self.report = await asyncio.shield(task)
        except asyncio.CancelledError:
            running.stop("its guard was cancelled a second time")
            try:
                await asyncio.wait([task], timeout=_TO_END)
            finally:
                # A third cancellation ends even the wait; the account is true at any moment.
                self.report = running.report()
                task.cancel()
            raise
