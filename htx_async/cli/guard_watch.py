"""A command under guard, from its start until nothing of it is left to cancel."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from htx_async.cli.access import Say
from htx_async.cli.guard_account import Account, Ended
from htx_async.cli.guard_beats import FIRST, Beats
from htx_async.cli.guard_process import Process
from htx_async.cli.guard_rounds import Rounds
from htx_async.cli.guard_signals import Heard, Signals
from htx_async.cli.streams import internal
from htx_async.exchange.endpoints import TRAILING
from htx_async.limits.beside import ON_THEIR_WAY, Beside

LISTED = 1.5
"""Seconds from when nothing of a command is on its way until all that it placed is listed, as is
assumed of the exchange's lists everywhere here."""

_LOOK_AT_FILE = 20.0
"""Seconds between two looks at who shares the limit; the file tells of the last minute."""

_ROUNDS = 2

_UNDER_WAY = "its orders are being cancelled"
"""Said before anything is known of that."""


class Watched(NamedTuple):
    """What is watched how. `environment`: of the command. `only_failure`: a command that ended well
    leaves its orders. `shares`: whether the command shares the limit, as far as can be seen."""

    command: Sequence[str]
    environment: Mapping[str, str]
    own_group: bool
    only_failure: bool
    grace: float
    shares: Callable[[], Awaitable[bool]]


class Watch:
    """From here on signals are the command's; none of them ends the cancel, but for a second
    Ctrl-C while it runs."""

    def __init__(
        self, watched: Watched, rounds: Rounds, beside: Beside, signals: Signals, say: Say
    ) -> None:
        self._watched, self._rounds, self._beside, self._say = watched, rounds, beside, say
        self._is_cancelling = self._was_silent = self._shares = False
        self._asked: Counter[int] = Counter()
        self._cut_short = asyncio.Event()
        self._insisting: asyncio.Task[None] | None = None
        self._left: tuple[str, ...] = ()
        self._problem = ""
        self._beside_it: list[asyncio.Task[None]] = []
        self._process = Process(
            watched.command, watched.environment, signals, own_group=watched.own_group
        )

    def hear(self, heard: Heard) -> None:
        """What becomes of a signal."""
        number, process = heard.number, self._process
        if number == signal.SIGCHLD:
            process.reap()
            return
        # The terminal has sent it to the command as well, which is in its foreground.
        if not (heard.by_terminal and not process.own_group):
            process.send(number)
        if number == signal.SIGTERM and not self._is_cancelling:
            self._insist()
        elif self._is_cancelling and number in (signal.SIGINT, signal.SIGTERM):
            self._go_on(number)

    async def account(self, beats: Beats | None) -> Account:
        """Watch it until it ends or is silent, then cancel, unless that is not wanted."""
        self._begin(self._look_at_file())
        self._begin(self._rounds.list_now_and_then())
        try:
            await self._watch(beats)
            if not self._ended_well():
                await self._cancel()
        except Exception as error:
            # Whatever it is, the command reports it.
            self._failed(error)
        finally:
            for task in self._beside_it:
                task.cancel()
        process, rounds = self._process, self._rounds
        name = self._watched.command[0]
        ended = Ended(name, process.pid, process.code, self._was_silent, self._left)
        is_cut_short = self._cut_short.is_set() and len(rounds.results) < _ROUNDS
        return Account(ended, tuple(rounds.results), self._shares, is_cut_short, self._problem)

    async def _watch(self, beats: Beats | None) -> None:
        ends = [asyncio.create_task(self._process.ended.wait())]
        if beats is not None:
            self._begin(self._tell_of_no_beat(beats))
            ends.append(asyncio.create_task(beats.silent.wait()))
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        self._was_silent = not self._process.ended.is_set()
        for one in ends:
            one.cancel()

    def _ended_well(self) -> bool:
        return self._watched.only_failure and self._process.code == 0

    async def _cancel(self) -> None:
        self._is_cancelling = True
        self._begin(self._look_at_file())
        if self._was_silent:
            self._say(f"the command's beats have stopped: {_UNDER_WAY}; SIGTERM to it.")
            self._process.send(signal.SIGTERM)
            # One that is stopped would not hear of it.
            self._process.send(signal.SIGCONT)
            self._insist()
        else:
            self._say(f"the command {self._how_it_ended()}: {_UNDER_WAY}.")
        over = asyncio.create_task(self._over())
        await self._round()
        await self._wait_until(await over)
        if not self._cut_short.is_set():
            await self._round()

    async def _round(self) -> None:
        try:
            await self._rounds.cancel()
        except Exception as error:
            # The other round is still to come.
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._problem = self._problem or internal(error)

    def _how_it_ended(self) -> str:
        code = self._process.code or 0
        return f"was ended by signal {-code}" if code < 0 else f"ended with {code}"

    async def _over(self) -> float:
        """When the second round may begin: `LISTED` after the last of the command is gone, or once
        it is no longer waited for."""
        process = self._process
        if self._insisting is not None:
            await asyncio.wait([self._insisting])
        died = process.died or time.monotonic()
        gone = await process.gone(died + self._watched.grace - time.monotonic())
        if gone is None:
            self._left = tuple(process.left())
            return max(died + LISTED, time.monotonic())
        asyncio.get_running_loop().call_later(TRAILING.per + ON_THEIR_WAY, self._beside.open)
        return gone + LISTED

    async def _wait_until(self, moment: float) -> None:
        listing = self._begin(self._rounds.list_anew())
        waiting = asyncio.create_task(self._cut_short.wait())
        await asyncio.wait([waiting], timeout=max(0.0, moment - time.monotonic()))
        waiting.cancel()
        listing.cancel()

    def _insist(self) -> None:
        """SIGTERM was sent: what does not end by it is killed after the grace."""
        if self._insisting is None:
            self._insisting = self._begin(self._kill_if_it_lives())

    async def _kill_if_it_lives(self) -> None:
        process, grace = self._process, self._watched.grace
        if await process.gone(grace) is None:
            left = process.left()
            live, them = ("live", "them") if len(left) > 1 else ("lives", "it")
            self._say(f"{', '.join(left)} {live} on {grace:g} s after SIGTERM; SIGKILL to {them}.")
            process.send(signal.SIGKILL)
            # One that waits for a disk may outlast that, too.
            await process.gone(max(1.0, grace))

    def _go_on(self, number: int) -> None:
        """Somebody wants the guard to end; only a second Ctrl-C does that."""
        self._asked[number] += 1
        if number == signal.SIGINT and self._asked[number] > 1:
            self._rounds.stop()
            self._cut_short.set()
        elif self._asked[number] == 1:
            self._say("orders are being cancelled, and that goes on; a second Ctrl-C ends it.")

    async def _look_at_file(self) -> None:
        while not self._shares:
            if await self._watched.shares():
                self._shares = True
                self._beside.open()
                return
            await asyncio.sleep(_LOOK_AT_FILE)

    async def _tell_of_no_beat(self, beats: Beats) -> None:
        await asyncio.sleep(FIRST)
        if not beats.have_come:
            self._say(f"no beat has come for {FIRST:g} s: a hang would not be noticed.")

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        # Nobody waits for it, and what fails beside the cancel does not disturb it.
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._beside_it.append(task)
        return task
