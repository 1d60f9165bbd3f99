"""The audit log's file is renamed, packed, deleted or torn: no line is lost in silence."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import htx_async.calls.call
from htx_async import HtxSession
from htx_async.audit import AuditLog
from htx_async.events import CallStarted
from htx_async.simulator import SimulatedExchange

BTC = "BTC-USDT"
LONG = 20.0
"""Seconds: for what comes at once unless it never comes."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def old(path: Path) -> Path:
    return path.with_name("audit.jsonl.1")


def renamed(path: Path) -> None:
    """As `logrotate` with `nocreate` leaves it."""
    path.rename(old(path))


def rotated(path: Path) -> None:
    """As with `create 0640`."""
    renamed(path)
    path.touch()
    path.chmod(0o640)


def packed(path: Path) -> None:
    """As with `create` and `compress`: the old file has no name any more."""
    rotated(path)
    old(path).unlink()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def told(path: Path) -> list[tuple[str, Any]]:
    """Each line's event, and its call or the number of lines that it tells of."""
    return [(line["event"], line.get("call", line.get("lines"))) for line in lines(path)]


def kept(audit: AuditLog, call: int) -> str:
    """Tell of a call and wait until its record is safe or lost."""
    audit(CallStarted(1.5, call, BTC, False))
    return asyncio.run(asyncio.wait_for(audit.written(call), LONG))


def start(call: int) -> tuple[str, Any]:
    return ("call_started", call)


@pytest.mark.parametrize("rotate", [renamed, rotated])
def test_it_goes_on_in_the_new_file(path: Path, rotate: Callable[[Path], None]) -> None:
    """After a rename, with a successor or without; the old file has its lines, nobody but the owner
    may touch the new one, and nothing is told to be wrong."""
    with AuditLog(path) as audit:
        assert kept(audit, 1) == ""
        rotate(path)
        assert kept(audit, 2) == kept(audit, 3) == audit.problem == ""
    assert (told(old(path)), told(path)) == ([start(1)], [start(2), start(3)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_relative_path_is_where_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the process changes its folder."""
    monkeypatch.chdir(path.parent)
    with AuditLog(path.name) as audit:
        assert kept(audit, 1) == ""
        monkeypatch.chdir("/")
        renamed(path)
        assert kept(audit, 2) == ""
    assert told(path) == [start(2)]


def test_a_packed_file_is_told_of_and_is_no_problem(path: Path) -> None:
    """Its lines stand under no name that this process could look at; the successor says how many,
    first of all."""
    with AuditLog(path) as audit:
        assert kept(audit, 1) == kept(audit, 2) == ""
        packed(path)
        assert kept(audit, 3) == audit.problem == ""
    assert told(path) == [("file_gone", 2), start(3)]
    assert lines(path)[0].keys() - {"lines"} == lines(path)[1].keys() & lines(path)[0].keys()


def test_a_deleted_file_is_made_anew_and_told_of(path: Path) -> None:
    """In its first line, and as the log's problem; a second time, too."""
    with AuditLog(path) as audit:
        assert kept(audit, 1) == kept(audit, 2) == ""
        path.unlink()
        assert kept(audit, 3) == ""
        why = "the audit log's file was deleted, and a new one begun (lines that were in it: {})"
        assert audit.problem == why.format(2)
        assert told(path) == [("file_gone", 2), start(3)]
        path.unlink()
        assert kept(audit, 4) == ""
        assert audit.problem == why.format(4)
    assert told(path) == [("file_gone", 2), start(4)]


def test_a_folder_that_is_gone_loses_lines_and_says_so(path: Path) -> None:
    """Nothing is written into a file without a name; when the folder is back it is told."""
    path.parent.joinpath("logs").mkdir()
    path = path.parent / "logs" / path.name
    with AuditLog(path) as audit:
        assert kept(audit, 1) == ""
        path.unlink()
        path.parent.rmdir()
        why = "the audit log could not be written: No such file or directory"
        assert kept(audit, 2) == why
        assert audit.problem == f"{why} (lines missing: 1)"
        path.parent.mkdir()
        assert kept(audit, 3) == ""
    assert told(path) == [("file_gone", 1), ("lines_lost", 1), start(3)]


def test_a_successor_that_cannot_be_used_leaves_the_renamed_file(path: Path) -> None:
    """A link in its place is not followed: lines go on where they were, and that is a problem until
    a file is there."""
    with AuditLog(path) as audit:
        assert kept(audit, 1) == ""
        renamed(path)
        path.symlink_to(path.with_name("theirs"))
        assert kept(audit, 2) == ""
        assert "is written to under its new name" in audit.problem
        assert str(path) in audit.problem
        path.unlink()
        assert kept(audit, 3) == audit.problem == ""
    assert (told(old(path)), told(path)) == ([start(1), start(2)], [start(3)])
    assert not path.with_name("theirs").exists()


@pytest.mark.parametrize("rotate", [rotated, packed, renamed])
def test_a_file_that_is_moved_at_the_last_moment_loses_nothing(
    path: Path, rotate: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its name and the writing: the lines are in the successor, too."""
    write = os.write

    def late(descriptor: int, data: bytes) -> int:
        if path.exists() and path.stat().st_size and not old(path).exists():
            monkeypatch.setattr(os, "write", write)
            rotate(path)
        return write(descriptor, data)

    with AuditLog(path) as audit:
        assert kept(audit, 1) == ""
        monkeypatch.setattr(os, "write", late)
        assert kept(audit, 2) == audit.problem == ""
    assert told(path)[-1] == start(2)
    if rotate is not packed:
        assert told(old(path)) == [start(1), start(2)]


def test_half_a_line_of_a_process_that_died_spoils_no_other(path: Path) -> None:
    """What follows on it stands once more, in a line of its own."""
    path.write_text('{"event":"older"}\n{"event":"ha')
    with AuditLog(path) as audit:
        assert kept(audit, 1) == kept(audit, 2) == audit.problem == ""
    first, torn, *rest = path.read_text().splitlines()
    assert json.loads(first)["event"] == "older"
    with pytest.raises(ValueError, match="delimiter"):
        json.loads(torn)
    assert [json.loads(line)["call"] for line in rest] == [1, 2]


async def test_each_call_is_on_disk_before_it_is_sent_whatever_is_done_to_the_file(
    exchange: SimulatedExchange, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a request arrives, a file of this log's that is there has its call's start: renamed,
    packed, deleted, by turns, before each call."""
    monkeypatch.setattr(htx_async.calls.call, "_TO_WRITE", LONG)
    done: list[tuple[str, bool]] = []
    codes = [f"C{number}-USDT" for number in range(6)]

    def arrived() -> float:
        there = [line for file in path.parent.iterdir() for line in lines(file)]
        started = {line["contract_code"] for line in there if line["event"] == "call_started"}
        code = codes[len(done)]
        done.append((code, code in started))
        return 0.0

    exchange.latency = arrived
    async with (
        AuditLog(path) as audit,
        HtxSession(
            exchange.credentials, base_urls=exchange.url, on_event=audit, generation="v1"
        ) as htx,
    ):
        ways: list[Callable[[Path], None]] = [renamed, rotated, packed, Path.unlink]
        for code, change in zip(codes, (*ways, renamed, rotated), strict=True):
            change(path)
            report = await htx.cancel_all_trailing(code)
            assert report.warnings == ()
    assert done == [(code, True) for code in codes]


WORKER = """
import asyncio, os, resource, sys
from htx_async.audit import AuditLog
from htx_async.events import CallStarted

path, name, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
if room:
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

async def main():
    async with AuditLog(path, actor=name, reason="x" * 300) as audit:
        for call in range(120):
            audit(CallStarted(0.5, call, "BTC-USDT", False))
            if call % 3 == 0:
                await audit.written(call)
            if call % 40 == 39:
                try:
                    os.rename(path, f"{path}.{name}.{call}")
                except FileNotFoundError:
                    pass
    print(audit.problem)

asyncio.run(main())
"""


@pytest.mark.slow
def test_processes_that_share_a_file_while_it_is_rotated_and_full(path: Path) -> None:
    """Three write, and rotate, side by side; to one of them every file is full after 20 kB. The
    lines of the others are all there, whole; its own are there, or told as lost."""
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), name, str(room)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, room in {"first": 0, "second": 0, "short": 20_000}.items()
    }
    try:
        problems = {name: one.communicate(timeout=60)[0].strip() for name, one in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    assert {process.returncode for process in processes.values()} == {0}
    seen: dict[str, Counter[int]] = {name: Counter() for name in processes}
    lost = 0
    for file in path.parent.iterdir():
        for text in file.read_bytes().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if line["event"] == "lines_lost":
                assert line["actor"] == "short"
                lost += line["lines"]
            else:
                seen[line["actor"]][line["call"]] += 1
    for name in ("first", "second"):
        assert set(seen[name]) == set(range(120))
        assert problems[name] == ""
    missing = set(range(120)) - set(seen["short"])
    # What is lost at the very end is in the problem only.
    assert len(missing) <= lost or "lines missing" in problems["short"]
