"""One endpoint's tokens in the file that the processes of a host share."""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from htx_async.aio.tasks import own_task
from htx_async.aio.threads import in_thread
from htx_async.limits.host_file import HostFile
from htx_async.limits.host_records import Asked, User
from htx_async.limits.host_tokens import HostTokens
from htx_async.limits.shared_store import WITHIN, Rule, Taken, Unreachable

T = TypeVar("T")

_FRESH = 1.0
"""Seconds for which the number of those who share is believed."""

_SHORTEST, _LONGEST = 0.001, 0.01
"""Seconds between two tries for the lock."""

_GONE = "it is taken away again and again"
_HELD = "its lock was not free in time, for a process that was stopped while it held it, perhaps"


class HostLink:
    """The way to the file of the account that `key` stands for, for all who use it in this process:
    several endpoints, event loops and threads."""

    def __init__(self, key: str, path: str | None) -> None:
        self._made = partial(HostFile, key, path)
        self._file: HostFile | None = None
        self._user = _this_process()
        self._seen = 0.0
        self._others = (0, -_FRESH)

    def sharers(self) -> int:
        """How many processes share the file, as was seen of late."""
        others, at = self._others
        now = time.monotonic()
        if self._file is not None and now - at > _FRESH:
            others = self._file.peek(lambda tokens: tokens.others(self._user[0], now), others)
            self._others = (others, now)
        return others + 1

    async def run(self, change: Callable[[HostTokens], T]) -> tuple[T, float]:
        """What `change` makes of the tokens, and when; `Unreachable` when that cannot be done in
        time.

        The event loop waits neither for a lock nor for a disk: a lock is tried now and then, and
        what has to be opened is opened in a thread. The step itself is made here: in a thread it
        would keep the lock for as long as a busy loop lets no other thread run.
        """
        until, pause, problem = time.monotonic() + WITHIN, _SHORTEST, _GONE
        while True:
            is_late = time.monotonic() > until
            try:
                result, at, others = self._step(change)
            except FileNotFoundError:
                if not is_late:
                    await self._open()
            except BlockingIOError:
                problem = _HELD
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST)
            else:
                self._seen, self._others = max(self._seen, at), (others, at)
                return result, at
            if is_late:
                raise Unreachable(f"{self._where}: {problem}")

    def close(self) -> None:
        """Let go of the file until somebody needs it."""
        if self._file is not None:
            self._file.close()

    async def users(self) -> tuple[str, list[User], float]:
        """Where the file lies, who else uses it or has of late, and the time of its clock."""
        users, at = await self.run(
            lambda tokens: [user for name, user in tokens.users.items() if name != self._user[0]]
        )
        return "" if self._file is None else self._file.path, users, at

    async def are_there(self, mark: str) -> bool:
        """Whether processes that were started with this `MARK` use it or have of late, operators'
        commands aside."""
        users, _ = await self.run(lambda tokens: tokens.users)
        mine = (user for name, user in users.items() if name.startswith(f"{mark}."))
        return any(user.name not in _COMMANDS for user in mine)

    def _step(self, change: Callable[[HostTokens], T]) -> tuple[T, float, int]:
        name, pid, called = self._user

        def changed(tokens: HostTokens) -> tuple[T, float, int]:
            tokens.used_by(name, pid, called)
            return change(tokens), tokens.at, tokens.others(name, tokens.at)

        if self._file is None:
            raise FileNotFoundError
        return self._file.step(changed, self._seen)

    async def _open(self) -> None:
        def opened() -> HostFile:
            file = self._file or self._made()
            file.open()
            return file

        opening = own_task(in_thread(opened, "host limit"))
        try:
            # Not a timeout, which a busy machine lets come before an answer that is there.
            await asyncio.wait([opening], timeout=WITHIN)
            if not opening.done():
                raise Unreachable(f"{self._where}: the disk does not answer in time")
            self._file = opening.result()
        finally:
            opening.cancel()

    @property
    def _where(self) -> str:
        return "the host's file" if self._file is None else self._file.path


class HostStore:
    """See `SharedStore`."""

    answers_again = "the host's file can be used again"
    hastens = True

    def __init__(self, link: HostLink, asked: Asked) -> None:
        self._link = link
        self._asked = asked

    def sharers(self) -> int:
        """See `SharedStore`."""
        return self._link.sharers()

    async def join(self, token: str, *, was_away: bool, used: int, waiting: Sequence[str]) -> None:
        """See `SharedStore`."""
        await self._link.run(
            lambda tokens: tokens.join(self._asked, token, was_away, used, waiting)
        )

    async def take(self, token: str, *, urgent: bool) -> Taken:
        """See `SharedStore`. A process that was stopped meanwhile learns how long ago it was."""
        taken, at = await self._link.run(lambda tokens: tokens.take(self._asked, token, urgent))
        return Taken(taken.status, taken.wait - (time.monotonic() - at))

    async def settle(self, *tokens: str) -> None:
        """See `SharedStore`."""
        await self._link.run(lambda host: host.settle(self._asked, tokens))

    async def release(self, *tokens: str) -> None:
        """See `SharedStore`."""
        await self._link.run(lambda host: host.release(self._asked, tokens))

    async def pause(self, seconds: float) -> None:
        """See `SharedStore`."""
        await self._link.run(lambda tokens: tokens.pause(self._asked, seconds))

    async def tighten(self, rule: Rule) -> None:
        """See `SharedStore`."""
        await self._link.run(lambda tokens: tokens.tighten(self._asked, rule))

    async def loosen(self) -> None:
        """See `SharedStore`."""
        await self._link.run(lambda tokens: tokens.loosen(self._asked))

    async def shut(self, seconds: float, asked: float) -> None:
        """See `SharedStore`."""
        await self._link.run(lambda tokens: tokens.shut(self._asked, seconds, asked))

    async def open(self) -> None:
        """See `SharedStore`."""
        await self._link.run(lambda tokens: tokens.open(self._asked))


_KNOWN: dict[int, str] = {}
"""This process, and those that forked it: containers of one host may have equal process ids."""

MARK = "HTX_GUARD"
"""The variable by which a guard knows the processes of the command that it has started."""

_COMMANDS = ("htx_async", "htx-async")


def _this_process() -> tuple[str, int, str]:
    """A name of its own, its id, and what it is called: without arguments, which may be secret."""
    mark = os.environ.get(MARK, "")
    own = f"{mark}.{secrets.token_hex(4)}" if mark.isalnum() else secrets.token_hex(4)
    pid, program = os.getpid(), Path(sys.argv[0] if sys.argv else "python")
    called = program.parent.name if program.name == "__main__.py" else program.name
    return _KNOWN.setdefault(pid, own), pid, called[:40]
