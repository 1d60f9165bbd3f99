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
`CancelReport`. The log's own event, `lines_lost`, says that up to `lines` lines of this run are
missing before it. What is no JSON is what a full or failing disk left of a line.
"""

import asyncio
import atexit
import json
import os
import queue
import re
import secrets
import socket
import stat
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Self

from htx_async.calls.wall_clock import Clock, as_utc, check_clock
from htx_async.errors import InvalidRequest
from htx_async.events import CallEnded, CallStarted, Event
from htx_async.report import Attempt, CancelReport

# A link would have another file written to; a pipe that nobody reads would be waited for.
_MORE = ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | sum(getattr(os, name, 0) for name in _MORE)

_MOST_WAITING = 50_000
"""Lines; half an hour of a disk that hangs, at the limit of one account."""

_AT_EXIT = 1.0
"""Seconds for what is still queued when the interpreter ends, all logs together."""

_UNTOLD = "the audit log was told of no such call"
_FAILED = "the audit log could not be written"
_ELSEWHERE = "the audit log belongs to another process; open one in each process"

_Entry = tuple[Event, datetime, Future[str]]
"""An event, when it happened, and what comes of its line: "" or why it is not on disk."""

_RUNNING: "set[_Writer]" = set()
"""Those with a thread, whose last lines are worth waiting for."""


class AuditLog:
    """A listener that keeps an append-only record of a session's calls in the file `path`.

    `actor`: who acts, such as a strategy; `reason`: why. `now`: an aware datetime or Unix seconds.
    Opened here with mode 0600, so that a wrong path is told before anything is sent; a regular
    file that others may touch is tightened to that, and a link is not followed. Sessions, event
    loops and threads may share one log, and logs one file; a forked child needs a log of its own.

    One thread writes, so a slow or full disk never holds an event loop up. A call waits until its
    `call_started` is on disk, 50 ms at most, and goes all the same; the `warnings` of its report
    then say so. What comes while the disk is busy is written and synced in one piece. Lines that
    could not be written are counted, and the next ones that can begin with their number. Close it
    after its sessions; if that is forgotten, what is queued has 1 s when the interpreter ends.

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
        self._writer = _Writer(_opened(path), who, now)
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
        """What went wrong last and how many lines are missing, or ""; those after `close` count."""
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
                # It has nothing left to do but to end.
                self._writer.join(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.aclose()


def _opened(path: str | os.PathLike[str]) -> int:
    """A descriptor that appends to `path`, which nobody but its owner may touch."""
    try:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            mode = os.fstat(descriptor).st_mode
            if hasattr(os, "fchmod") and stat.S_ISREG(mode) and mode & 0o077:
                os.fchmod(descriptor, 0o600)
        except BaseException:  # Ctrl-C too: nobody else knows of the descriptor
            os.close(descriptor)
            raise
    except (OSError, ValueError, TypeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest(
            f"the audit log {path!s} cannot be opened: {why}. Nothing was sent. Name a file of "
            "this user's own, not a link, in a directory that exists and may be written to"
        ) from error
    return descriptor


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


class _Writer:
    """What outlives a log that is dropped: its queue, its thread and its file."""

    def __init__(self, descriptor: int, who: dict[str, Any], now: Clock) -> None:
        self._descriptor = descriptor
        self._who = who
        self._now = now
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        # A daemon of our own: a disk that hangs must not keep the process, as an executor would.
        self._thread: threading.Thread | None = None
        self.starts: dict[int, Future[str]] = {}
        self.ended: Future[str] = Future()
        # Held for moments, and never while something is written.
        self._lock = threading.Lock()
        self._is_closed = self._is_torn = False
        self._waiting = self._missing = self._untold = 0
        self._why = ""

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is a forked child, where a lock may be held for ever: asked before any."""
        return bool(self._who["pid"] != os.getpid())

    @property
    def problem(self) -> str:
        """See `AuditLog.problem`."""
        with self._lock:
            told = [f"{self._why} (lines missing: {self._missing})"] if self._missing else []
            if self._is_closed and self._waiting:
                told.append(f"the disk is late (lines not yet written: {self._waiting})")
            return "; ".join(told)

    def put(self, event: Event) -> None:
        """Queue the line of `event`, or count it as missing."""
        if isinstance(event, CallEnded):
            self.starts.pop(event.call, None)
        entry = (event, as_utc(self._now()), Future[str]())
        if isinstance(event, CallStarted):
            self.starts[event.call] = entry[2]
        with self._lock:
            if obstacle := self._obstacle():
                self._miss(1, obstacle)
                entry[2].set_result(obstacle)
            else:
                self._waiting += 1
                self._queue.put(entry)

    def stop(self) -> None:
        """Take no more; the thread ends when all is written."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            self.abandon()

    def abandon(self) -> None:
        """The same for a log that is gone; no lock, since whoever drops it may hold one."""
        if self._thread is None:
            self._end()
        else:
            self._queue.put(None)

    def join(self, timeout: float) -> None:
        """Wait until the thread is over, `timeout` seconds at most."""
        if self._thread is not None:
            self._thread.join(min(max(0.0, timeout), threading.TIMEOUT_MAX))

    def _obstacle(self) -> str:
        """Why no line can be taken; starts the thread. The lock is held."""
        if self._is_closed:
            return "the audit log is closed"
        if self._waiting >= _MOST_WAITING:
            return f"the audit log has fallen behind: {self._waiting} lines wait for the disk"
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="htx-audit", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                return f"{_FAILED}: {error}"
            self._thread = thread
            _RUNNING.add(self)
        return ""

    def _miss(self, lines: int, why: str) -> None:
        self._missing += lines
        self._untold += lines
        self._why = why

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch = [self._queue.get()]
            batch += [self._queue.get() for _ in range(self._queue.qsize())]
            is_open = None not in batch
            self._keep([entry for entry in batch if entry is not None])
        self._end()

    def _keep(self, entries: Sequence[_Entry]) -> None:
        untold, missing, why = self._untold, 0, ""
        try:
            lines = [self._line_of(event, utc) for event, utc, _ in entries]
            if untold:
                told = ("lines_lost", as_utc(self._now()), time.monotonic(), {"lines": untold})
                lines.insert(0, self._line(*told))
            if lines:
                missing, why = self._append(lines)
        except BaseException as error:
            # Whatever it is, the thread must live, and those who wait be told.
            missing, why = len(entries) + 1, f"{_FAILED}: {type(error).__name__}"
        with self._lock:
            self._waiting -= len(entries)
            if missing <= len(entries):
                self._untold -= untold
            if missing and entries:
                self._miss(min(missing, len(entries)), why)
        for *_, kept in entries:
            kept.set_result(why)

    def _append(self, lines: Sequence[bytes]) -> tuple[int, str]:
        """Write and sync; how many lines, from the end, may be missing, and why."""
        data = b"\n" * self._is_torn + b"".join(lines)
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except OSError as error:
            # What was written before a failed sync may never reach the disk.
            missing = bytes(left).count(b"\n") if left else len(lines)
            return missing, f"{_FAILED}: {error.strerror or error}"
        finally:
            # A write that fails has written nothing; one that falls short says so.
            if written := data[: len(data) - len(left)]:
                self._is_torn = not written.endswith(b"\n")
        return 0, ""

    def _line_of(self, event: Event, utc: datetime) -> bytes:
        own = {field.name: getattr(event, field.name) for field in fields(event)}
        name = re.sub(r"\B(?=[A-Z])", "_", type(event).__name__).lower()
        return self._line(name, utc, own.pop("at"), own)

    def _line(self, event: str, utc: datetime, at: float, own: dict[str, Any]) -> bytes:
        when = {"utc": utc.isoformat(timespec="microseconds"), "monotonic": at}
        line = {**when, "event": event, **self._who, **own}
        # All but ASCII is escaped: no foreign text can end a line or steer a terminal.
        return json.dumps(line, separators=(",", ":"), default=_plain).encode() + b"\n"

    def _end(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)
            _RUNNING.discard(self)
            self.ended.set_result("")


def _plain(value: object) -> object:
    if isinstance(value, Attempt | CancelReport):
        return value.model_dump(mode="json")
    return f"<{type(value).__name__}>"


@atexit.register
def _finish() -> None:
    until = time.monotonic() + _AT_EXIT
    running = [writer for writer in _RUNNING.copy() if not writer.is_elsewhere]
    for writer in running:
        writer.stop()
    for writer in running:
        writer.join(until - time.monotonic())
