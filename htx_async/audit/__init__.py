"""A record on disk of who cancelled what, why, and how it ended: `on_event=AuditLog(path)`.

One JSON object per line, in ASCII, appended; nothing secret is in it. Each line has

| field                | value                                                                   |
|----------------------|-------------------------------------------------------------------------|
| `utc`, `monotonic`   | when it happened: ISO 8601 with microseconds and offset; loop time in s |
| `event`              | the event's name, such as `call_started`, which is the intent           |
| `run`, `pid`, `host` | random, one for each `AuditLog`; the process; its machine               |
| `actor`, `reason`    | who and why, as given to the `AuditLog`, or null                        |

and the event's own fields under their names (`htx_async.events`), such as `call`, `contract_code`,
`direction`, `offset`, `urgent`; `attempt` and `report` are objects with the fields of `Attempt` and
`CancelReport`. Two events are the log's own: `lines_lost`, up to `lines` lines of this run are
missing before it; `file_gone`, `lines` lines of this run were in an earlier file that has no name
any more, deleted, or packed by whoever rotated it. What is no JSON is what a full or failing disk
left of a line.
"""

import asyncio
import os
import secrets
import socket
import threading
import weakref
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

from htx_async.audit.file import LogFile
from htx_async.audit.writer import Writer
from htx_async.calls.wall_clock import Clock, check_clock
from htx_async.errors import InvalidRequest
from htx_async.events import Event

_UNTOLD = "the audit log was told of no such call"
_A_MOMENT = 0.001
"""Seconds between looks whether a thread with nothing left to do has ended."""
_ELSEWHERE = "the audit log belongs to another process; open one in each process"


class AuditLog:
    """A listener that keeps an append-only record of a session's calls in the file `path`.

    `actor`: who acts, such as a strategy; `reason`: why. `now`: an aware datetime or Unix seconds.
    Opened here with mode 0600, so that a wrong path is told before anything is sent; a regular
    file that others may touch is tightened to that, and a link is not followed. Sessions, event
    loops and threads may share one log, and logs one file; a forked child needs a log of its own.
    What a relative `path` names is settled here.

    It follows its file: when another has the path, or none, as after `logrotate` with `create` or
    `nocreate`, the next lines go there, on disk like all others before their cancels are sent.
    Lines that are written in that moment may stand in both. A file that was deleted is made anew,
    and `problem` says so. Under `copytruncate` what is written between the copy and the cut is
    lost, and nobody notices: use `create`.

    One thread writes, so a slow or full disk never holds an event loop up. A cancel waits until its
    call's `call_started` is on disk, 50 ms at most, and goes all the same; the `warnings` of its
    report then say so. Lists do not wait. What comes while the disk is busy is written and synced
    in one piece. Lines that could not be written are counted, and the next ones that can begin
    with their number. Close it after its sessions; if that is forgotten, what is queued has 1 s
    when the interpreter ends.

    Raises `InvalidRequest` for a file that cannot be opened and for settings that cannot work.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        actor: str | None = None,
        reason: str | None = None,
        now: Clock = lambda: datetime.now(UTC),
    ) -> None:
        if not (isinstance(actor, str | None) and isinstance(reason, str | None)):
            raise InvalidRequest("actor and reason must be text, or None")
        check_clock(now)
        run, host = secrets.token_hex(8), socket.gethostname()
        who = {"run": run, "pid": os.getpid(), "host": host, "actor": actor, "reason": reason}
        self._writer = Writer(LogFile(path), who, now)
        # Whoever drops a log may be an event loop: nothing is waited for.
        weakref.finalize(self, self._writer.abandon).atexit = False

    def __call__(self, event: Event) -> None:
        """Put `event` on record; returns at once."""
        if not self._writer.is_elsewhere:
            self._writer.put(event)

    async def written(self, call: int) -> str:
        """Ends when the `CallStarted` of a call under way is on disk, with "", or why it is not."""
        if self._writer.is_elsewhere:
            return _ELSEWHERE
        start = self._writer.starts.get(call)
        return _UNTOLD if start is None else await _result_of(start)

    @property
    def problem(self) -> str:
        """What went wrong last and how many lines are missing, or were in a file that somebody
        deleted, or ""; those after `close` count."""
        return _ELSEWHERE if self._writer.is_elsewhere else self._writer.problem

    def close(self, timeout: float = 1.0) -> None:
        """Take no more, wait `timeout` seconds at most until all is on disk, and close the file.

        Safe to repeat. A disk that hangs longer is left to the thread, which closes the file when
        it can and does not keep the process; `problem` counts what is not on disk yet.
        """
        if not self._writer.is_elsewhere:
            self._writer.stop()
            self._writer.join(timeout)

    async def aclose(self, timeout: float = 1.0) -> None:  # noqa: ASYNC109 - the same as `close`
        """What `close` does, without blocking the event loop."""
        if not self._writer.is_elsewhere:
            self._writer.stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(timeout, threading.TIMEOUT_MAX)):
                    await _result_of(self._writer.ended)
                # It has nothing left to do but to end, and tells nobody when it has. To join it
                # would block the loop for as long as others have the CPU.
                while self._writer.is_running:  # noqa: ASYNC110 - see above
                    await asyncio.sleep(_A_MOMENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.aclose()


async def _result_of(future: Future[str]) -> str:
    """What the thread will say; whoever is cancelled here does not cancel it for others."""
    loop, settled = asyncio.get_running_loop(), asyncio.Event()

    def tell(_: Future[str]) -> None:
        # In a loop that was closed meanwhile nobody waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settled.set)

    if not future.done():
        future.add_done_callback(tell)
        await settled.wait()
    return future.result()
