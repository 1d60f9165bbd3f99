"""A block that leaves no trailing orders behind, however it ends."""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from htx_async.aio.listeners import warn
from htx_async.aio.loop_binding import running_loop
from htx_async.aio.signals import between_steps
from htx_async.aio.tasks import Promise, outlast, own_task
from htx_async.cancel.mass import MassCancel
from htx_async.errors import InvalidRequest, MassCancelFailed
from htx_async.mass_report import MassCancelReport

_TO_END = 0.8
"""Seconds that a mass cancel which was told to stop gets for its report."""

_IN_USE: "set[CancelGuard]" = set()
"""Those whose blocks have not ended. A task that nobody holds any more, such as the one that a
`gather` has left behind, is garbage, and would be gone before the end of the loop cancels it."""

_LONG = 25.0
"""Seconds; many supervisors kill a process 30 s after they have told it to end, some after 10."""


def tell_if_long(needed: float, longest: float) -> None:
    """Warn whoever runs the process of a guard that needs so many seconds, `longest` at most."""
    if needed <= _LONG:
        return
    if longest < needed:
        then = f"its deadline of {longest:g} s ends it before: the rest will be told as not sent"
    else:
        then = (
            f"{math.ceil(longest)} s at most: let {math.ceil(longest) + 1} s pass between the "
            "signal that ends the process and the one that kills it"
        )
    warn("a guard needs about %d s to cancel its contracts; %s", math.ceil(needed), then)


class CancelGuard:
    """`async with htx.cancel_on_exit(...) as guard:`; see there.

    `enter`: raises what stands against entering; gives where the guard stands from then until its
    work is done, so that closing finds it. `begin` makes the mass cancel, `nothing_sent` the
    report of one that could not begin.
    """

    def __init__(
        self,
        enter: Callable[[], Sequence[set[Promise]]],
        begin: Callable[[], MassCancel],
        nothing_sent: Callable[[str], MassCancelReport],
    ) -> None:
        self._enter = enter
        self._places: Sequence[set[Promise]] = ()
        self._begin = begin
        self._nothing_sent = nothing_sent
        self._is_in_use = False
        self._reset()

    def _reset(self) -> None:
        self._work: asyncio.Task[None] | None = None
        self._stopped: asyncio.Future[None] | None = None
        self._running: MassCancel | None = None
        self._told: MassCancelReport | None = None
        self._failure: BaseException | None = None
        self._early = ""
        self._is_logged = False

    @property
    def report(self) -> MassCancelReport | None:
        """The report of the mass cancel, true at any moment: None until it has begun, which is
        when the block has ended, or the session is closed before that."""
        told = self._told
        if told is None and self._running is not None:
            told = self._running.report()
        return told.warned(self._early) if told is not None and self._early else told

    def stop(self) -> None:
        """End the mass cancel now; its report is there within 1 s.

        What was sent and not answered is unknown then, the rest not sent. For the second signal of
        a person who does not want to wait: before the mass cancel has begun it does nothing, so
        that two signals at once do not leave every order open. Not from another thread.
        """
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)

    async def __aenter__(self) -> Self:
        if self._is_in_use:
            raise InvalidRequest("this guard guards a block already; make one for each block")
        self._loop, self._block = running_loop(), asyncio.current_task()
        self._places = self._enter()
        self._reset()
        self._is_in_use = True
        for place in self._places:
            place.add(self)
        # What a loop left behind that was closed meanwhile has nobody to end it.
        _IN_USE.difference_update([guard for guard in _IN_USE if guard._loop.is_closed()])
        _IN_USE.add(self)
        self._last_call = self._at_the_end_of_the_loop()
        # Waits for nothing: its first step makes it known to the loop.
        await anext(self._last_call)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        cancelled = None
        try:
            cancelled = await outlast(self.begin())
        except InvalidRequest as error:
            self._fail(error)
        self._is_in_use, self._block = False, None
        _IN_USE.discard(self)
        # It may be what waits for this guard's work at this moment.
        with suppress(RuntimeError):
            await self._last_call.aclose()
        try:
            failure = self._failed()
            raised = exc or cancelled
            if self._early:
                warn("%s", self._early)
            if raised is None:
                if failure is not None:
                    raise failure
                return
            if failure is not None:
                raised.add_note(f"and {self._shortfall()}: {self.report} ({failure})")
            elif self._early:
                raised.add_note(f"and {self._early}")
            if exc is None:
                raise raised
        finally:
            # Their tracebacks hold this frame.
            failure = raised = cancelled = exc = None

    def begin(self, closing: str = "") -> asyncio.Task[None]:
        """Begin the mass cancel, if that was not done; the task that carries it, to be waited for.

        `closing`: why it begins before the block has ended.
        """
        if self._work is None:
            if closing:
                self._early = (
                    "this guard began its mass cancel before its block had ended, because "
                    f"{closing}: what the block has placed since is not covered"
                )
            self._stopped = running_loop().create_future()
            self._work = own_task(self._carry(self._stopped))
        return self._work

    async def _carry(self, stopped: asyncio.Future[None]) -> None:
        try:
            self._running = self._begin()
            with between_steps():
                await self._run(self._running, stopped)
        except Exception as error:
            # Raised where the block ends, unless the block's own exception is.
            self._fail(error)
        finally:
            for place in self._places:
                place.discard(self)
        if self._early and self._is_in_use and self._told is not None and not self._told.is_clear:
            # The block may run for hours before it hears of it.
            self._log_before_the_end()

    def _fail(self, error: Exception) -> None:
        self._told = self._nothing_sent(f"{type(error).__name__}: {error}")
        self._failure = error

    async def _run(self, running: MassCancel, stopped: asyncio.Future[None]) -> None:
        work = own_task(running.run())
        either: list[asyncio.Future[Any]] = [work, stopped]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            running.scope.stop("its guard was told to stop")
            await asyncio.wait([work], timeout=_TO_END)
        self._told = running.report()
        if not work.done():
            # Its calls are over; what does not let go of them is no part of the account.
            work.cancel()
        else:
            self._failure = work.exception()

    def _shortfall(self) -> str:
        if self._stopped is not None and self._stopped.done():
            return "cancelling the trailing orders was cut short"
        return "the trailing orders were not all cancelled"

    def _failed(self) -> BaseException | None:
        failure, self._failure = self._failure, None
        if failure is None and self._told is not None:
            try:
                self._told.raise_for_outcome()
            except MassCancelFailed as error:
                return error
        return failure

    async def _at_the_end_of_the_loop(self) -> AsyncGenerator[None, None]:
        """Loops close the generators that are left when they end, after they have cancelled all
        tasks, and wait for them: for a guard whose block nobody will end."""
        try:
            yield
        finally:
            if self._is_in_use:
                _IN_USE.discard(self)
                await outlast(self.begin("the event loop came to its end"))
                # Its block may never get the report.
                self._log_before_the_end()

    def _log_before_the_end(self) -> None:
        if not self._is_logged:
            self._is_logged = True
            warn("a guard whose block has not ended: %s", self.report)


class UnderWay:
    """The guards of one margin mode, from their entering until their work is done, and its mass
    cancels."""

    def __init__(self) -> None:
        self.guards: set[Promise] = set()
        self.mass_cancels: set[MassCancel] = set()

    def close(self, why: str) -> None:
        """Begin what guards promised, and let no other mass cancel begin a call."""
        for guard in tuple(self.guards):
            guard.begin(why)
        for mass_cancel in tuple(self.mass_cancels):
            if not mass_cancel.is_promised:
                mass_cancel.scope.hold_back(why)

    async def promises_kept(self) -> None:
        """Wait until the mass cancel of every guard is over."""
        if self.guards:
            await asyncio.wait([guard.begin() for guard in self.guards])
