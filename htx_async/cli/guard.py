"""`htx-async guard`: the command that it starts dies, and its orders go."""

import asyncio
import logging
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from htx_async.arguments import as_seconds
from htx_async.cli.access import Access, Host, access, tell_of_urls
from htx_async.cli.aside import Aside
from htx_async.cli.cancel_all import check_record, with_actor
from htx_async.cli.contracts import STDIN, chosen
from htx_async.cli.exit_codes import NOT_FOUND, NOT_RUN, OF_SIGNAL, WRAPPER_FAILED
from htx_async.cli.given import Care, Course, Named, Orders, Reach, Record
from htx_async.cli.guard_account import Account, no_account
from htx_async.cli.guard_beats import Beats
from htx_async.cli.guard_rounds import Rounds
from htx_async.cli.guard_signals import Heard, Signals
from htx_async.cli.guard_watch import LISTED, Watch, Watched
from htx_async.cli.intent import Intent
from htx_async.cli.mass import recorded
from htx_async.cli.running import run
from htx_async.cli.streams import internal, is_terminal
from htx_async.errors import HtxError, InvalidRequest
from htx_async.limits.account_limiter import AccountLimiter
from htx_async.limits.beside import Beside
from htx_async.limits.host_limits import HostTokenBucket
from htx_async.limits.host_store import MARK
from htx_async.limits.limiter import BaseLimiter
from htx_async.notify import Watcher

if TYPE_CHECKING:
    from htx_async.audit import AuditLog

_LONG = 25.0
"""Seconds; many supervisors kill a process 30 s after they have told it to end, some after 10."""

_HOST_LIMIT = "HTX_HOST_LIMIT"

_ENDING = {getattr(signal, f"SIG{name}", None) for name in ("TERM", "INT", "HUP", "QUIT")}


class Asked(NamedTuple):
    """What is asked for, once it is certain that it makes sense."""

    command: Sequence[str]
    intent: Intent
    care: Care
    access: Access


def begin(asked: Callable[[], Asked], record: Record, *, as_json: bool) -> int:
    """The exit code, once the command has ended and the account is given."""
    # Before any thread is there, each of which would be handed signals.
    signals = Signals() if hasattr(signal, "pthread_sigmask") else None

    def work(runner: asyncio.Runner, aside: Aside) -> int:
        guard = _Guard(aside, as_json=as_json)
        try:
            if signals is None:
                raise InvalidRequest("there is no guard on this system")
            wanted = asked()
            check_record(record)
            # What the library logs is told in the report.
            logging.getLogger("htx_async").addHandler(logging.NullHandler())
            with recorded(with_actor(record), aside, dry_run=False) as log:
                return runner.run(guard.run(wanted, signals, log))
        except HtxError as error:
            problem = str(error).rstrip(".")
        except Exception as error:
            # A fault of ours: what was begun is ended, and the state of things told.
            problem = internal(error)
        return guard.failed(f"{problem}; {guard.state}.", WRAPPER_FAILED)

    return run(work)


def asked_for(
    command: Sequence[str], named: Named, orders: Orders, course: Course, care: Care, reach: Reach
) -> Asked:
    """Raises `InvalidRequest`."""
    if STDIN in named.sources:
        raise InvalidRequest("--contracts-from - takes stdin, which is the command's: name a file")
    deadline = course.deadline
    intent = Intent(
        contracts=chosen(named),
        margins=orders.margins,
        direction=orders.direction,
        offset=orders.offset,
        until_clear=False,
        confirm=bool(course.confirm),
        look=course.look,
        deadline=None if deadline is None else as_seconds("deadline", deadline),
    )
    if care.heartbeat is not None:
        as_seconds("heartbeat", care.heartbeat)
    as_seconds("grace", care.grace, least=0)
    return Asked(command, intent, care, access(reach))


class _Guard:
    """One guard, from its options to the report."""

    def __init__(self, aside: Aside, *, as_json: bool) -> None:
        self._aside = aside
        self._as_json = as_json
        self.state = "the command was not started"

    def say(self, text: str) -> None:
        """One line on stderr, between those of the command."""
        self._aside.say(f"guard: {text}")

    def failed(self, problem: str, code: int) -> int:
        """`code`, once it is told why there is no account."""
        self.say(problem)
        if self._as_json:
            self._aside.draw(lambda: f"{no_account(problem, code)}\n")
        return code

    async def run(self, asked: Asked, signals: Signals, log: "AuditLog | None") -> int:
        """The exit code; raises `HtxError` for what stands against a start."""
        mark = secrets.token_hex(4)
        tell_of_urls(asked.access.base_urls, self.say)
        async with AsyncExitStack() as stack:
            limiter, shares = await self._limiter(asked.access, mark, stack)
            beside = Beside(limiter)
            session = asked.access.session_by(beside, [] if log is None else [log], keep_warm=True)
            htx = await stack.enter_async_context(session)
            rounds = Rounds(asked.intent, htx, is_v1_given=asked.access.is_v1_given)
            preparing = asyncio.create_task(rounds.prepare(self.say))
            ear = _Ear(preparing)
            signals.listen(ear)
            await asyncio.wait([preparing])
            if ear.ended_by:
                return self.failed(f"Interrupted; {self.state}.", OF_SIGNAL + ear.ended_by)
            self._tell_if_long(asked.care.grace, await preparing)
            return await self._guarded(asked, mark, shares, (rounds, beside, signals), ear)

    async def _limiter(
        self, access: Access, mark: str, stack: AsyncExitStack
    ) -> tuple[BaseLimiter, Callable[[], Awaitable[bool]]]:
        """Whose tokens the cancels take, and what tells whether the command takes them, too."""
        if access.fleet is None:
            return AccountLimiter(), partial(_always, False)
        limiter = await stack.enter_async_context(access.bucket(access.fleet, self.say))
        if isinstance(limiter, HostTokenBucket):
            return limiter, partial(limiter.is_used_by, mark)
        # Nobody sees who shares on Redis: whoever names one says that all do.
        return limiter, partial(_always, True)

    def _tell_if_long(self, grace: float, seconds: float) -> None:
        cancel = 2 * seconds + LISTED
        if grace + cancel > _LONG:
            self.say(
                f"let {ceil(grace + cancel)} s pass between a signal that ends this process and "
                f"one that kills it: {grace:g} s for the command to end (--grace), and "
                f"{ceil(cancel)} s for two rounds of cancels."
            )

    async def _guarded(
        self,
        asked: Asked,
        mark: str,
        shares: Callable[[], Awaitable[bool]],
        means: tuple[Rounds, Beside, Signals],
        ear: "_Ear",
    ) -> int:
        care, outer = asked.care, Watcher.of_this_process()
        with ExitStack() as stack:
            beats = None
            if outer is not None:
                stack.callback(outer.close)
                outer.beat()
            if care.heartbeat is not None:
                beats = stack.enter_context(Beats(care.heartbeat, care.grace, outer))
            environment = _environment(mark, asked.access, beats)
            own_group = not any(map(is_terminal, (sys.stdin, sys.stdout, sys.stderr)))
            settings = (own_group, care.only_failure, care.grace, shares)
            try:
                watch = Watch(Watched(asked.command, environment, *settings), *means, self.say)
            except OSError as error:
                code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN
                name = asked.command[0] or "''"
                return self.failed(f"{name}: {error.strerror}; {self.state}.", code)
            ear.hear = watch.hear
            self.state = "the command was started: look at the exchange now"
            account = await watch.account(beats)
        self._tell(account)
        return account.exit_code

    def _tell(self, account: Account) -> None:
        if self._as_json:
            self._aside.draw(lambda: f"{account.as_json()}\n")
            return
        for line in account.lines():
            self.say(line)


class _Ear:
    """Hears signals: while the command is not there, the first that ends a process ends the
    preparations."""

    def __init__(self, preparing: asyncio.Task[float]) -> None:
        self._preparing = preparing
        self.ended_by = 0
        self.hear = self._first

    def __call__(self, heard: Heard) -> None:
        self.hear(heard)

    def _first(self, heard: Heard) -> None:
        if heard.number in _ENDING:
            self.ended_by = self.ended_by or heard.number
            self._preparing.cancel()


async def _always(answer: bool) -> bool:
    return answer


def _environment(mark: str, access: Access, beats: Beats | None) -> dict[str, str]:
    """The command's: it is asked to share, to be known in the host's file, and to beat."""
    known = {**os.environ, MARK: mark}
    if isinstance(access.fleet, Host) and known.get(_HOST_LIMIT, "") in ("", "0"):
        known[_HOST_LIMIT] = "1"
    if beats is not None or known.get("WATCHDOG_PID") == str(os.getpid()):
        # Those of whoever watches this process, which beats for itself.
        for name in ("WATCHDOG_PID", "WATCHDOG_USEC"):
            known.pop(name, None)
    return known | ({} if beats is None else beats.environment)
