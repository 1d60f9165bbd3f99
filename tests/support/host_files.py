"""The file that a host's processes share, as tests prepare it and look into it."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from htx_async.limits.host_file import HostFile
from htx_async.limits.host_tokens import HostTokens
from htx_async.limits.registry import account_key

T = TypeVar("T")

PATH = "/linear-swap-api/v1/swap_track_cancelall"
ACCOUNT = "desk-7"
LONG_AGO = -1e6


def key_of(account: str) -> str:
    """Under which the file of `account` is known."""
    return account_key(account)[:32]


def opened(path: Path, account: str = ACCOUNT) -> Path:
    """A file that was used a long time ago, so that no token counts as just used."""

    def age(tokens: Any) -> None:
        tokens.began = LONG_AGO

    step(path, age, account=account)
    return path


def step(
    path: Path, change: Callable[[HostTokens], T], seen: float = 0.0, account: str = ACCOUNT
) -> T:
    """One step of a process that has just begun."""
    file = HostFile(key_of(account), str(path))
    try:
        # A busy machine may let too much time pass after it was opened.
        for _ in range(50):
            file.open()
            with suppress(FileNotFoundError):
                return file.step(change, seen)
    finally:
        file.close()
    raise AssertionError


def content(path: Path) -> dict[str, Any]:
    """What stands in it; nothing while it is only made."""
    body = path.read_bytes().partition(b"\n")[2].strip()
    return dict(json.loads(body)) if body else {"tokens": {}, "endpoints": {}}


def tokens(path: Path, *, out: bool = True) -> list[str]:
    """The names of those that wait for an answer, or of those that come back."""
    found = content(path)["tokens"]
    return [name for name, one in found.items() if (one["answered"] is None) is out]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """As if a process were stopped with the lock in its hand."""
    file = os.open(path, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(file)


def remove(path: Path) -> None:
    """Unlink it."""
    path.unlink()


def spoil(path: Path) -> None:
    """Put another program's in its place."""
    path.write_bytes(b"somebody's notes")


def files_in(folder: Path) -> list[Path]:
    """Files, and no folders, in it and below it."""
    return [file for file in folder.rglob("*") if file.is_file()]


def used_by_another(path: Path, account: str = ACCOUNT) -> None:
    """A process of another container, say, uses it just now."""
    step(path, lambda tokens: tokens.used_by("it", 7, "bot.py"), account=account)
