"""The file of an audit log: appended to, synced, followed when it is rotated, and told of what a
bad disk left out."""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress

from htx_async.errors import InvalidRequest

FAILED = "the audit log could not be written"

# A link would have another file written to; a pipe that nobody reads would be waited for.
_MORE = ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | sum(getattr(os, name, 0) for name in _MORE)

_MOST_TRIES = 4
"""How often lines are written because of what became of their file in that moment."""


class LogFile:
    """A file of this user's own. Raises `InvalidRequest` for what cannot be opened as one."""

    _descriptor = -1
    _left = memoryview(b"")
    """Of what is being written, what is not written yet."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self._go_to(_opened(path))
            # Wherever the process goes later.
            self._path = os.path.abspath(path)
        except (OSError, ValueError, TypeError) as error:
            why = getattr(error, "strerror", None) or error
            raise InvalidRequest(
                f"the audit log {path!s} cannot be opened: {why}. Nothing was sent. Name a file of "
                "this user's own, not a link, in a directory that exists and may be written to"
            ) from error
        self._vanished = self._deleted = 0
        self._stuck = ""

    @property
    def problems(self) -> list[str]:
        """What became of the file against its owner's wish, in words."""
        told = [self._stuck] if self._stuck else []
        if self._deleted:
            told.append(
                "the audit log's file was deleted, and a new one begun (lines that were in it: "
                f"{self._deleted})"
            )
        return told

    def append(self, lines: Sequence[bytes], gone: Callable[[int], bytes]) -> tuple[int, str]:
        """Write and sync, in the file that has the path now; how many lines, from the end, may be
        missing, and why. `gone` makes the line for lines of ours that stand in no file any more.

        They are written once more when the file was moved in that moment, as whoever moved it may
        have packed it already, and when another process left half a line in their place.
        """
        batch, missing, why = list(lines), 0, ""
        self._left = memoryview(b"")
        try:
            self._follow()
            for _ in range(_MOST_TRIES):
                batch = [gone(self._vanished), *lines] if self._vanished else list(lines)
                is_whole = self._write(batch)
                if not self._follow() and is_whole:
                    break
            self._sync()
        except OSError as error:
            # What was written before a failed sync may never reach the disk.
            missing = bytes(self._left).count(b"\n") or len(batch)
            why = f"{FAILED}: {error.strerror or error}"
        if missing < len(batch):
            self._vanished = 0
            self._lines += len(batch) - missing
        return missing, why

    def close(self) -> bool:
        """Whether it was open."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)
        return descriptor >= 0

    def _follow(self) -> bool:
        """Go over to the file that has the path now, made where there is none; whether that is
        another. A file that was renamed is written to while it has no successor; `OSError` where
        lines would stand in no file."""
        mine = os.fstat(self._descriptor)
        with suppress(OSError):
            if os.path.samestat(mine, os.lstat(self._path)):
                self._stuck = ""
                return False
        is_gone = mine.st_nlink == 0
        # Where there is a successor already, whoever rotates has packed it.
        is_deleted = is_gone and not os.path.lexists(self._path)
        try:
            successor = _opened(self._path)
        except OSError as error:
            if is_gone:
                raise
            self._stuck = (
                "the audit log's file was renamed, and is written to under its new name, since "
                f"{self._path} cannot be opened: {error.strerror or error}"
            )
            return False
        self._vanished += self._lines * is_gone
        self._deleted += self._lines * is_deleted
        self._stuck = ""
        self.close()
        self._go_to(successor)
        return True

    def _go_to(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._lines, self._is_new, self._is_torn = 0, True, False

    def _write(self, lines: Sequence[bytes]) -> bool:
        """Whether they stand in one piece, behind whole lines; what is not written is left."""
        was_torn = self._is_torn
        data = b"\n" * was_torn + b"".join(lines)
        self._left, is_whole, end = memoryview(data), True, -1
        try:
            while self._left:
                done = os.write(self._descriptor, self._left)
                self._left = self._left[done:]
                if self._is_regular:
                    # Where an append ended is told; another process may have come before.
                    start = os.lseek(self._descriptor, 0, os.SEEK_CUR) - done
                    is_first = end < 0
                    is_whole &= was_torn or self._ends_at(start) if is_first else start == end
                    end = start + done
        finally:
            # A write that fails has written nothing; one that falls short says so.
            if written := data[: len(data) - len(self._left)]:
                self._is_torn = not written.endswith(b"\n")
        return is_whole

    def _ends_at(self, start: int) -> bool:
        """Whether a line ends there; asked once more is written, since others may be in the middle
        of theirs before."""
        os.lseek(self._descriptor, max(0, start - 1), os.SEEK_SET)
        return start == 0 or os.read(self._descriptor, 1) == b"\n"

    def _sync(self) -> None:
        os.fsync(self._descriptor)
        if self._is_new:
            # Its name is on disk only with its folder, which not every system can sync.
            with suppress(OSError):
                _sync_folder(os.path.dirname(self._path))
            self._is_new = False


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _opened(path: str | os.PathLike[str]) -> int:
    """A descriptor that appends to `path`, which nobody but its owner may touch."""
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISFIFO(mode):
            raise OSError(errno.EINVAL, "it is a pipe")
        if hasattr(os, "fchmod") and stat.S_ISREG(mode) and mode & 0o077:
            os.fchmod(descriptor, 0o600)
    except BaseException:  # Ctrl-C too: nobody else knows of the descriptor
        os.close(descriptor)
        raise
    return descriptor
