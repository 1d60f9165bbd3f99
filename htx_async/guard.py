"""A block that leaves no trailing orders behind, however it ends."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from htx_async.mass_cancel import MassCancel
from htx_async.mass_report import MassCancelReport

_TO_END = 1.0
"""Seconds that a mass cancel which was told to stop gets for its account."""


class CancelGuard:
    """`async with htx.cancel_on_exit(...) as guard:`; see there.

    `begin` makes the mass cancel, `nothing_sent` the account of one that could not begin.
    """

    def __init__(
        self, begin: Callable[[], MassCancel], nothing_sent: Callable[[str], MassCancelReport]
    ) -> None:
        self._begin = begin
        self._nothing_sent = nothing_sent
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
            await self._cancel(was_cancelled=isinstance(exc, asyncio.CancelledError))
            if self.report is not None:
                self.report.raise_for_outcome()
        except asyncio.CancelledError as cancelled:
            # Without an exception of the block's own, this one goes on.
            (exc or cancelled).add_note(
                f"and cancelling the trailing orders was cut short: {self.report}"
            )
            if exc is None:
                raise
        except Exception as failure:
            if exc is None:
                raise
            exc.add_note(
                f"and the trailing orders were not all cancelled: {self.report} ({failure})"
            )

    async def _cancel(self, *, was_cancelled: bool) -> None:
        """Run the mass cancel, shielded from one cancellation; the next makes it tell and end."""
        try:
            running = self._begin()
        except Exception as error:
            self.report = self._nothing_sent(f"{type(error).__name__}: {error}")
            raise
        task = asyncio.create_task(running.run())
        try:
            cancelled = await self._outlast(task, running, 1 if was_cancelled else 0)
        finally:
            # A third cancellation ends even the wait; the account is true at any moment.
            self.report = running.report()
            task.cancel()
        if cancelled is not None:
            raise cancelled
        if task.done() and not task.cancelled():
            task.result()

    async def _outlast(
        self, task: asyncio.Task[MassCancelReport], running: MassCancel, cancellations: int
    ) -> asyncio.CancelledError | None:
        """Wait for `task`; the first cancellation that came in the meantime, to be raised later."""
        first = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                first, cancellations = first or error, cancellations + 1
                if cancellations > 1:
                    running.stop("its guard was cancelled a second time")
                    await asyncio.wait([task], timeout=_TO_END)
                    break
        return first
