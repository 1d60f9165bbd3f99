"""The file in which a host's processes share the tokens of an account: where it lies, its lock, and
how it is read and written so that whatever happens to it shows.

One line that says what the file is, with a checksum, and JSON behind it. Whoever holds the lock of
the file (`flock`) may change it; a process that dies lets go of it. What is torn by a kill in the
middle of writing, unlinked or replaced is begun anew. The only door to fcntl and pwd.
"""

import errno
import json
import os
import stat
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from htx_async.limits.host_tokens import HostTokens
from htx_async.limits.shared_store import Unreachable

try:
    import fcntl
    import pwd
except ModuleNotFoundError:
    # Not on Windows.
    IS_HERE = False
else:
    IS_HERE = True

T = TypeVar("T")

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a folder of one's own in it, which others cannot enter
_MAGIC = b"htx_async tokens of a host, version "
_VERSION = b"1"
_PAGE = 4096
_MOST = 1 << 20
_OF_A_GROUP = 0o660

_LEFT_ALONE = 60.0
"""Seconds after which a file of another machine or version is nobody's: those who use one write to
it far more often."""

_FRESH = 0.25
"""Seconds for which an opened file is used."""

_OPEN: set[int] = set()
"""Files that are open just now. A child that is forked shares their locks, and would keep one when
this process is killed."""


def _close_inherited() -> None:
    while _OPEN:
        with suppress(OSError):
            os.close(_OPEN.pop())


if IS_HERE:
    os.register_at_fork(after_in_child=_close_inherited)


def hold(file: int) -> bool:
    """Whether an open file is nobody else's, and is this process's own from now on until it is
    closed; of systems that know no such lock always."""
    if IS_HERE:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


class Clock(NamedTuple):
    """What tells whether a file's times are of this machine's clock: `boot` names the clock and its
    start, `since` is that start by the wall clock."""

    boot: str
    since: float

    @classmethod
    def of_this_machine(cls) -> "Clock":
        """Containers of one host have one clock, whatever they think that they are called. Where
        there is no id of the boot, the host's name stands for it, and a clock that went back for
        the boot."""
        boot = _read("/proc/sys/kernel/random/boot_id") or os.uname().nodename
        # A time namespace has a clock of its own.
        with suppress(OSError):
            boot += f" {os.stat('/proc/self/ns/time').st_ino}"
        up = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        return cls(boot, time.time() - time.clock_gettime(up))


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError):
        return ""


class HostFile:
    """The file of the account that `key` stands for: at `path`, or in it where that is a folder; by
    default in a folder of this user's own, found without any environment variable.

    `open` may wait for a disk, and belongs into a thread; the rest never waits. What was opened is
    used for a quarter of a second at most, so that a file which was moved away is noticed before
    the one that was begun in its place lets anybody through.
    """

    _file: int | None = None

    def __init__(self, key: str, path: str | None) -> None:
        self._key = key
        self._folder, self._name = _place(key) if path is None else _named(path, key)
        self._is_own = path is None
        self._clock = Clock.of_this_machine()
        # One opened file has one lock, which says nothing between threads that use it.
        self._mutex = threading.Lock()
        self._process = os.getpid()
        self._opened = 0.0

    @property
    def path(self) -> str:
        """Where it lies."""
        return os.path.join(self._folder, self._name)

    def open(self) -> None:
        """Open the file anew, and make it where there is none; `Unreachable` with what stands
        against it."""
        try:
            file = self._open()
        except OSError as error:
            raise Unreachable(self._told(error)) from None
        with self._mutex:
            self._close()
            self._file, self._opened = file, time.monotonic()
            _OPEN.add(file)

    def close(self) -> None:
        """Let go of it until it is opened once more."""
        with self._mutex:
            self._close()

    def __del__(self) -> None:
        self._close()

    def step(self, change: Callable[[HostTokens], T], seen: float) -> T:
        """What `change` makes of the tokens, once it is written. `seen`: the latest time that the
        caller has seen in it.

        Raises `FileNotFoundError` where it has to be opened first, `BlockingIOError` while somebody
        else has the lock, and `Unreachable` with what stands against it.
        """
        if not self._mutex.acquire(blocking=False):
            raise BlockingIOError
        try:
            file = self._file
            if file is None or time.monotonic() - self._opened > _FRESH:
                raise FileNotFoundError
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                if not os.fstat(file).st_nlink:
                    raise FileNotFoundError
                return self._change(file, change, seen)
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)
        except (BlockingIOError, FileNotFoundError):
            raise
        except OSError as error:
            raise Unreachable(self._told(error)) from None
        finally:
            self._mutex.release()

    def peek(self, read: Callable[[HostTokens], T], default: T) -> T:
        """What `read` finds in the file, without its lock; `default` where nothing can be read."""
        if not self._mutex.acquire(blocking=False):
            return default
        try:
            if self._file is None:
                return default
            content, written = os.pread(self._file, _MOST, 0), os.fstat(self._file).st_mtime
            tokens = self._parsed(content, written, 0.0, time.monotonic())
            return default if tokens is None else read(tokens)
        except (OSError, Unreachable):
            return default
        finally:
            self._mutex.release()

    def _close(self) -> None:
        file, self._file = self._file, None
        # In a child it was closed at the fork, and its number may be another file's by now.
        if file is not None and self._process == os.getpid():
            _OPEN.discard(file)
            os.close(file)

    def _change(self, file: int, change: Callable[[HostTokens], T], seen: float) -> T:
        found, now = os.fstat(file), time.monotonic()
        content = os.pread(file, min(found.st_size, _MOST), 0)
        tokens = self._parsed(content, found.st_mtime, seen, now) or HostTokens(now)
        tokens.at = now
        result = change(tokens)
        _write(file, self._content(tokens), min(found.st_size, _MOST))
        return result

    def _parsed(self, content: bytes, written: float, seen: float, now: float) -> HostTokens | None:
        """What stands in the file; None where that cannot be known any more, if it is this
        account's on this machine."""
        if not content.strip(b"\0\n") or _MAGIC.startswith(content):
            return None
        if not content.startswith(_MAGIC):
            raise Unreachable(f"{self.path} is another program's file, and was left as it is")
        head, _, body = content.rstrip(b"\n").partition(b"\n")
        version, _, checksum = head.removeprefix(_MAGIC).partition(b", checksum ")
        is_left = abs(time.time() - written) > _LEFT_ALONE
        if version != _VERSION and not is_left:
            raise Unreachable(f"{self.path} is used by another version of htx_async")
        if version != _VERSION or checksum != _checksum(body):
            return None
        try:
            whole = json.loads(body)
            account, boot, tokens = whole["account"], whole["boot"], HostTokens.of(whole)
        except (KeyError, TypeError, ValueError):
            return None
        if account != self._key:
            raise Unreachable(f"{self.path} is used for another account: name one file for each")
        if boot != self._clock.boot and written > self._clock.since and not is_left:
            raise Unreachable(f"{self.path} is used by another machine, whose clock differs")
        # An earlier boot, a clock that went back, or an old copy in its place.
        return tokens if boot == self._clock.boot and seen <= tokens.at <= now else None

    def _content(self, tokens: HostTokens) -> bytes:
        whole = {"account": self._key, "boot": self._clock.boot} | tokens.content()
        body = json.dumps(whole).encode()
        return b"".join((_MAGIC, _VERSION, b", checksum ", _checksum(body), b"\n", body))

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        folder = self._open_folder()
        try:
            mode = 0o600 if self._is_own else _OF_A_GROUP
            file = os.open(self._name, flags, mode, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            self._check(file, stat.S_ISREG, self.path, "is no plain file")
            if not self._is_own and not os.fstat(file).st_size:
                # For users of one group, whatever the umask of the first of them is.
                with suppress(OSError):
                    os.fchmod(file, _OF_A_GROUP)
        except BaseException:
            os.close(file)
            raise
        return file

    def _open_folder(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if not self._is_own:
            return os.open(self._folder, flags)
        with suppress(FileExistsError):
            os.mkdir(self._folder, 0o700)
        folder = os.open(self._folder, flags | os.O_NOFOLLOW)
        try:
            self._check(folder, stat.S_ISDIR, self._folder, "is no folder")
        except BaseException:
            os.close(folder)
            raise
        return folder

    def _check(self, file: int, is_kind: Callable[[int], bool], path: str, told: str) -> None:
        found = os.fstat(file)
        if not is_kind(found.st_mode):
            raise Unreachable(f"{path} {told}")
        if self._is_own and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
            raise Unreachable(f"{path} is not this user's alone (chmod go= would do, if it is)")

    def _told(self, error: OSError) -> str:
        return f"{self.path}: {_WORDS.get(error.errno or 0) or error.strerror or 'not usable'}"


_WORDS = {errno.ELOOP: "a link stands in its place, and was not followed"}


def _place(key: str) -> tuple[str, str]:
    """Where a service, a cron job and a login shell of one user meet."""
    if not IS_HERE:
        raise Unreachable("there is no flock on this system")
    user = os.geteuid()
    if os.path.isdir(_SHARED_MEMORY):
        return f"{_SHARED_MEMORY}/htx_async-{user}", key
    try:
        home = pwd.getpwuid(user).pw_dir
    except KeyError:
        raise Unreachable(f"user {user} has no home folder; name a file by path=") from None
    return os.path.join(home, ".htx_async"), key


def _named(path: str, key: str) -> tuple[str, str]:
    return (path, key) if os.path.isdir(path) else os.path.split(path)


def _checksum(body: bytes) -> bytes:
    return f"{zlib.crc32(body):08x}".encode()


def _write(file: int, content: bytes, size: int) -> None:
    """Write all of `content` and fill the rest of the file with empty lines.

    What a full disk has no room for fails before anything is written over.
    """
    whole = max(-(-len(content) // _PAGE) * _PAGE, size)
    if whole > size:
        _write_at(file, b"\n" * (whole - size), size)
    _write_at(file, content.ljust(whole, b"\n"), 0)


def _write_at(file: int, content: bytes, at: int) -> None:
    written = os.pwrite(file, content, at)
    if written < len(content):
        # The rest says why.
        _write_at(file, content[written:], at + written)
