"""The thread of an audit log, so that no disk holds up an event loop."""

import atexit
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Any

from htx_async.audit.file import FAILED, LogFile
from htx_async.audit.lines import line, line_of
from htx_async.calls.wall_clock import Clock, as_utc
from htx_async.events import CallEnded, CallStarted, Event

_MOST_WAITING = 50_000
"""Lines; half an hour of a disk that hangs, at the limit of one account."""

_AT_EXIT = 1.0
"""Seconds for what is still queued when the interpreter ends, all logs together."""

_Entry = tuple[Event, datetime, Future[str]]
"""An event, when it happened, and what comes of its line: "" or why it is not on disk."""

_RUNNING: "set[Writer]" = set()
"""Those with a thread, whose last lines are worth waiting for."""


class Writer:
    """What outlives a log that is dropped: its queue, its thread and its file."""

    def __init__(self, file: LogFile, who: Mapping[str, Any], now: Clock) -> None:
        self._file = file
        self._who = who
        self._now = now
        self._queue: queue.SimpleQueue[_Entry | None] = queue.SimpleQueue()
        # A daemon of our own: a disk that hangs must not keep the process, as an executor would.
        self._thread: threading.Thread | None = None
        self.starts: dict[int, Future[str]] = {}
        self.ended: Future[str] = Future()
        # Held for moments, and never while something is written.
        self._lock = threading.Lock()
        self._is_closed = False
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
            told += self._file.problems
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

    @property
    def is_running(self) -> bool:
        """Whether there is a thread that has not ended yet."""
        return self._thread is not None and self._thread.is_alive()

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
                return f"{FAILED}: {error}"
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
            lines = [line_of(event, utc, self._who) for event, utc, _ in entries]
            if untold:
                lines.insert(0, self._own("lines_lost", untold))
            if lines:
                missing, why = self._file.append(lines, partial(self._own, "file_gone"))
        except BaseException as error:
            # Whatever it is, the thread must live, and those who wait be told.
            missing, why = len(entries) + 1, f"{FAILED}: {type(error).__name__}"
        with self._lock:
            self._waiting -= len(entries)
            if missing <= len(entries):
                self._untold -= untold
            if missing and entries:
                self._miss(min(missing, len(entries)), why)
        for *_, kept in entries:
            kept.set_result(why)

    def _own(self, event: str, lines: int) -> bytes:
        when = (as_utc(self._now()), time.monotonic())
        return line(event, *when, self._who, {"lines": lines})

    def _end(self) -> None:
        if self._file.close():
            _RUNNING.discard(self)
            self.ended.set_result("")


@atexit.register
def _finish() -> None:
    until = time.monotonic() + _AT_EXIT
    running = [writer for writer in _RUNNING.copy() if not writer.is_elsewhere]
    for writer in running:
        writer.stop()
    for writer in running:
        writer.join(until - time.monotonic())
