"""The file of an audit log: appended to, synced, and told of what a bad disk left out."""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from htx_async.errors import InvalidRequest

FAILED = "the audit log could not be written"

# A link would have another file written to; a pipe that nobody reads would be waited for.
_MORE = ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | sum(getattr(os, name, 0) for name in _MORE)


class LogFile:
    """A file of this user's own. Raises `InvalidRequest` for what cannot be opened as one."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor = _opened(path)
        self._is_torn = False

    def append(self, lines: Sequence[bytes]) -> tuple[int, str]:
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
            return missing, f"{FAILED}: {error.strerror or error}"
        finally:
            # A write that fails has written nothing; one that falls short says so.
            if written := data[: len(data) - len(left)]:
                self._is_torn = not written.endswith(b"\n")
        return 0, ""

    def close(self) -> bool:
        """Whether it was open."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)
        return descriptor >= 0


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
