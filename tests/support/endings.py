"""The report of a call, whether it is returned or raised."""

from collections.abc import Awaitable

from htx_async import CancelError, CancelReport, Outcome, PartialCancel


async def ending(call: Awaitable[CancelReport]) -> CancelReport:
    """The report of a call, however it ends."""
    try:
        return await call
    except CancelError as error:
        assert isinstance(error, PartialCancel) == (error.report.outcome is Outcome.PARTIAL)  # noqa: PT017 - either end is right
        return error.report
