"""The file of a host's processes: where it lies, who may have it, and what may happen to it."""

import errno
import os
import pwd
import random
import socket
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from htx_async.limits import host_file
from htx_async.limits.host_file import Clock, HostFile
from htx_async.limits.host_records import Token
from htx_async.limits.host_tokens import HostTokens
from htx_async.limits.shared_limits import PROBE
from htx_async.limits.shared_store import Unreachable
from tests.support.host_files import ACCOUNT, LONG_AGO, content, key_of, locked, opened, step

KEY = key_of(ACCOUNT)
FRESH, PATIENT = host_file._FRESH, 60.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may let time pass between two lines of a test."""
    monkeypatch.setattr(host_file, "_FRESH", PATIENT)


def began(tokens: HostTokens) -> float:
    return tokens.began


def is_known(path: Path, seen: float = 0.0) -> bool:
    """Whether what was in it is still believed, by somebody who asks it now."""
    return step(path, began, seen) == LONG_AGO


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is in use."""
    return opened(tmp_path / "limit")


def refused(path: Path) -> str:
    """Why a file cannot be used, once it is certain that it was left as it is."""
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(Unreachable) as caught:
        step(path, began)
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert str(path) in caught.value.reason
    return caught.value.reason


@pytest.mark.parametrize("variables", [{}, {"HOME": "/elsewhere", "TMPDIR": "/x", "USER": "x"}])
def test_the_usual_place_depends_on_no_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """A folder in shared memory that is this user's alone, else one in the home folder that the
    password database tells; the file's name gives nothing away."""
    for name in ("HOME", "TMPDIR", "USER", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    memory, home = tmp_path / "shm", tmp_path / "home"
    monkeypatch.setattr(host_file, "_SHARED_MEMORY", str(memory))
    monkeypatch.setattr(pwd, "getpwuid", lambda user: SimpleNamespace(pw_dir=str(home)))
    home.mkdir()
    first = HostFile(KEY, None)
    memory.mkdir()
    second = HostFile(KEY, None)
    folders = [home / ".htx_async", memory / f"htx_async-{os.geteuid()}"]
    for file, folder in zip((first, second), folders, strict=True):
        file.open()
        assert file.step(began, 0.0) > 0
        file.close()
        assert Path(file.path).parent == folder
        assert ACCOUNT not in file.path
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(Path(file.path).stat().st_mode) == 0o600


def test_without_any_place_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home, as in many a container, on a machine without shared memory."""
    monkeypatch.setattr(host_file, "_SHARED_MEMORY", str(tmp_path / "none"))

    def unknown(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(Unreachable, match="name a file by path="):
        HostFile(KEY, None)


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_a_folder_that_others_made_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Whoever could put a file there could let this process through or hold it up."""
    monkeypatch.setattr(host_file, "_SHARED_MEMORY", str(tmp_path))
    folder, other = tmp_path / f"htx_async-{os.geteuid()}", tmp_path / "other"
    other.mkdir(mode=0o700)
    if kind == "a link":
        folder.symlink_to(other)
    elif kind == "a file":
        folder.touch()
    else:
        folder.mkdir()
        folder.chmod(0o770)
    with pytest.raises(Unreachable, match=f"htx_async-{os.geteuid()}"):
        HostFile(KEY, None).open()
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("kind", ["open to others", "a link", "a pipe", "a folder"])
def test_a_file_that_is_not_this_users_alone_is_not_used_in_the_usual_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Nor is a link followed, or a pipe waited for."""
    monkeypatch.setattr(host_file, "_SHARED_MEMORY", str(tmp_path))
    folder = tmp_path / f"htx_async-{os.geteuid()}"
    folder.mkdir(mode=0o700)
    path, other = folder / KEY, tmp_path / "other"
    other.touch()
    if kind == "open to others":
        path.touch()
        path.chmod(0o640)
    elif kind == "a link":
        path.symlink_to(other)
    elif kind == "a pipe":
        os.mkfifo(path, 0o600)
    else:
        path.mkdir()
    with pytest.raises(Unreachable, match=KEY):
        HostFile(KEY, None).open()
    assert other.read_bytes() == b""


def test_a_named_place_is_for_users_of_one_group(tmp_path: Path) -> None:
    """Whatever the umask of the first is; a folder has one file for each account; no link is
    followed there either."""
    before = os.umask(0o077)
    try:
        opened(tmp_path / "limit")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "limit").stat().st_mode) == 0o660
    folder = tmp_path / "folder"
    folder.mkdir()
    for account in ("one", "another"):
        step(folder, began, account=account)
    assert {file.name for file in folder.iterdir()} == {key_of("one"), key_of("another")}
    (tmp_path / "link").symlink_to(tmp_path / "limit")
    assert "a link stands in its place" in refused(tmp_path / "link")


def test_what_is_no_file_of_ours_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    """Another program's, another account's, a socket, a missing folder: each says what it is."""
    other = tmp_path / "other"
    other.write_text("somebody's notes")
    assert "another program's file" in refused(other)
    other.write_bytes(path.read_bytes().replace(b"version 1", b"version 2"))
    assert "another version" in refused(other)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert refused(tmp_path / "socket")
    assert "No such file" in refused(tmp_path / "none" / "limit")
    with pytest.raises(Unreachable, match="used for another account"):
        step(path, began, account="another")
    assert is_known(path)


def test_a_file_that_nobody_has_used_for_long_is_everybodys(path: Path) -> None:
    """Of another version, or another machine: nothing of it counts, and it is begun anew."""
    old = path.read_bytes().replace(b"version 1", b"version 2")
    path.write_bytes(old)
    os.utime(path, (time.time() - 61, time.time() - 61))
    assert not is_known(path)


@pytest.mark.parametrize("left", [b"", b"\n" * 4096, b"\0" * 4096, b"htx_as"])
def test_what_is_left_of_a_file_is_begun_anew(path: Path, left: bytes) -> None:
    """Made and not written yet, or emptied by a crash of the machine."""
    path.write_bytes(left)
    assert not is_known(path)


def test_a_file_torn_anywhere_is_begun_anew(path: Path) -> None:
    """By a kill in the middle of writing: up to some byte it is new, from there on it is old."""
    chance = random.Random(20)

    def more(tokens: HostTokens) -> None:
        for number in range(chance.randrange(9)):
            tokens.tokens[f"x:{chance.randrange(99)}"] = Token("/e", number, 9e9)

    for _ in range(100):
        old = path.read_bytes()
        step(path, more)
        new = path.read_bytes()
        cut = chance.randrange(len(new))
        torn = new[:cut] + old[cut:]
        path.write_bytes(torn)
        assert is_known(path) == (torn.rstrip(b"\n") in (new.rstrip(b"\n"), old.rstrip(b"\n")))
        path.write_bytes(new)


def test_a_file_of_an_earlier_boot_is_begun_anew_and_one_of_another_machine_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the boot's id, and whether the file was written since this machine runs; a minute after
    its last use the other machine has it no more."""
    here = Clock.of_this_machine()

    def as_on(clock: Clock) -> None:
        monkeypatch.setattr(Clock, "of_this_machine", classmethod(lambda cls: clock))

    as_on(Clock("another boot", time.time() - 3600))
    assert "another machine" in refused(path)
    os.utime(path, (time.time() - 61, time.time() - 61))
    assert not is_known(path)
    opened(path)
    as_on(Clock(here.boot, time.time() + 1))
    assert not is_known(path)
    assert is_known(opened(path))


def test_an_old_copy_in_its_place_and_a_clock_that_went_back_are_noticed(path: Path) -> None:
    """By whoever has seen it newer; and by everybody where its time is still to come."""
    old = path.read_bytes()
    seen = step(path, lambda tokens: tokens.at)
    assert is_known(path, seen)
    path.write_bytes(old)
    assert not is_known(path, seen)

    def ahead(tokens: HostTokens) -> None:
        tokens.began, tokens.at = LONG_AGO, time.monotonic() + 100.0

    step(path, ahead)
    assert not is_known(path)


def test_a_file_that_was_taken_away_is_made_again(path: Path) -> None:
    """Unlinked, or moved: nobody goes on for long in the one that is gone."""
    file = HostFile(KEY, str(path))
    file.open()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        file.step(began, 0.0)
    file.open()
    assert file.step(began, 0.0) > 0
    opened(path)
    path.rename(path.with_suffix(".old"))
    file.open()
    assert file.step(began, 0.0) > 0
    assert content(path)["began"] > 0
    file.close()


def test_a_file_is_used_no_longer_than_a_new_one_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was moved away keeps its name's successor from no more than that."""
    assert FRESH <= PROBE
    file = HostFile(KEY, str(path))
    with pytest.raises(FileNotFoundError):
        file.step(began, 0.0)
    file.open()
    assert file.step(began, 0.0) == LONG_AGO
    later = time.monotonic() + PATIENT
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(FileNotFoundError):
        file.step(began, 0.0)
    file.close()


def test_who_has_the_lock_keeps_the_others_out_and_a_look_needs_none(path: Path) -> None:
    """Threads as well as processes; what a change raises lets go of it and writes nothing."""
    file = HostFile(KEY, str(path))
    assert file.peek(began, 7.0) == 7.0
    file.open()
    with locked(path):
        with pytest.raises(BlockingIOError):
            file.step(began, 0.0)
        assert file.peek(began, 7.0) == LONG_AGO
    before = path.read_bytes()

    def fail(tokens: HostTokens) -> None:
        with pytest.raises(BlockingIOError):
            step(path, began)
        with pytest.raises(BlockingIOError):
            file.step(began, 0.0)
        assert file.peek(began, 7.0) == 7.0
        raise KeyError

    with pytest.raises(KeyError):
        file.step(fail, 0.0)
    assert path.read_bytes() == before
    assert file.step(began, 0.0) == LONG_AGO
    file.close()
    file.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disk_that_takes_nothing_is_told_and_nothing_is_granted(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Full, read-only, forbidden or broken; what was in the file is still there if it has to grow
    first."""

    def many(tokens: HostTokens) -> None:
        tokens.tokens |= {f"x:{name}": Token("/e", 1.0, 9e9) for name in range(99)}

    def fail(*args: Any, **settings: Any) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite" if number in (errno.ENOSPC, errno.EIO) else "open", fail)
        with pytest.raises(Unreachable) as caught:
            step(path, many)
    assert caught.value.reason == f"{path}: {os.strerror(number)}"
    assert is_known(path)
    assert content(path)["tokens"] == {}


def test_writing_goes_on_where_it_was_cut_short(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write may take a part only, as on a disk that is filling up."""
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, what, at: pwrite(file, what[:100], at))
    assert is_known(path)
    assert is_known(path)


def test_no_descriptor_is_left_behind(path: Path, tmp_path: Path) -> None:
    """However a step ends, whether it is closed or forgotten, and where it cannot be opened."""
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        step(path, began)
        file = HostFile(KEY, str(path))
        file.open()
        file.open()
        del file
    with locked(path):
        for _ in range(20):
            with pytest.raises(BlockingIOError):
                step(path, began)
    path.write_bytes(b"foreign")
    for _ in range(20):
        with pytest.raises(Unreachable):
            step(path, began)
    (tmp_path / KEY).mkdir()
    for _ in range(20):
        with pytest.raises(Unreachable):
            step(tmp_path, began)
    assert len(os.listdir("/dev/fd")) == before
