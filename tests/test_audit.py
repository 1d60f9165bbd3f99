"""The audit log: what is on disk, when it is there, and what a bad disk may and may not do."""

import asyncio
import errno
import json
import math
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import htx_async.audit
import htx_async.calls.call
from htx_async import CancelError, Direction, HtxSession, InvalidRequest, Offset, RetryPolicy
from htx_async.audit import AuditLog
from htx_async.events import CallEnded, CallStarted, EndpointPaused, Event, Listener, WritesAhead
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import run, virtual_session

BTC = "BTC-USDT"
LONG = 20.0
"""Seconds: for what comes at once unless it never comes."""

FULL = "the audit log could not be written: No space left on device"
ACCESS_KEY = "canary-ACCESS-7f3a91"
SECRET_KEY = "canary-SECRET-0c55be"


class Disk:
    """What stands between the audit log at `path` and its disk."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.room: int | None = None
        self.sync_error: int | None = None
        self.writes = self.syncs = 0
        self.safe = ""
        self.reached = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self._write, self._fsync = os.write, os.fsync
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(os, "fsync", self.fsync)

    def write(self, descriptor: int, data: bytes) -> int:
        """`room`: bytes until it is full; the write that fills it falls short."""
        if not self._is_ours(descriptor):
            return self._write(descriptor, data)
        self.writes += 1
        if self.room is None:
            return self._write(descriptor, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = self._write(descriptor, data[: self.room])
        self.room -= done
        return done

    def fsync(self, descriptor: int) -> None:
        """Waits for `gate`; what was written before it began is `safe` then."""
        if not self._is_ours(descriptor):
            return self._fsync(descriptor)
        written = self.path.read_text()
        self.reached.set()
        assert self.gate.wait(LONG), "nobody released the disk"
        if self.sync_error is not None:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        self._fsync(descriptor)
        self.syncs += 1
        self.safe = written
        return None

    def _is_ours(self, descriptor: int) -> bool:
        return os.path.samestat(os.fstat(descriptor), os.stat(self.path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(path, monkeypatch)
    yield disk
    disk.gate.set()
    no_threads_left()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that wait for their record as long as a busy machine may need."""
    monkeypatch.setattr(htx_async.calls.call, "_TO_WRITE", LONG)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def mode(path: Path | str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def started(call: int, contract_code: str = BTC) -> CallStarted:
    return CallStarted(1.5, call, contract_code, False)


def kept(audit: AuditLog, call: int) -> str:
    """Tell of a call and wait until its record is safe or lost."""
    audit(started(call))
    return asyncio.run(asyncio.wait_for(audit.written(call), LONG))


def descriptors(path: Path) -> int:
    """How many descriptors of this process are open on `path`."""
    wanted, found = path.stat(), 0
    for descriptor in range(1024):
        with suppress(OSError):
            found += os.path.samestat(os.fstat(descriptor), wanted)
    return found


def writers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "htx-audit"]


def no_threads_left() -> None:
    for thread in writers():
        thread.join(LONG)
    assert not writers()


def python(script: str, *arguments: str) -> str:
    """What a Python of its own prints; it has to end by itself."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not done.stderr
    return done.stdout


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_a_new_file_is_the_owner_s_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode 0600 whatever the umask allows, and from its first moment: nothing is tightened."""
    monkeypatch.delattr(os, "fchmod")
    with umask(0), AuditLog(path):
        assert mode(path) == 0o600
        assert path.read_bytes() == b""


@pytest.mark.parametrize("before", [0o644, 0o660, 0o604])
def test_an_existing_file_is_tightened_and_appended_to(path: Path, before: int) -> None:
    """What others may touch becomes 0600; what is in it stays."""
    path.write_text('{"event":"older"}\n')
    path.chmod(before)
    with AuditLog(path) as audit:
        assert mode(path) == 0o600
        audit(started(1))
    assert [line["event"] for line in lines(path)] == ["older", "call_started"]


def test_a_private_file_keeps_its_mode(path: Path) -> None:
    """What only the owner may touch is left as it is."""
    path.touch()
    path.chmod(0o700)
    with AuditLog(path):
        assert mode(path) == 0o700


def test_what_is_no_regular_file_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode of a device is the system's business."""
    before, changed = mode("/dev/full"), list[object]()
    monkeypatch.setattr(os, "fchmod", lambda *arguments: changed.append(arguments))
    with AuditLog("/dev/full"):
        assert not changed
    assert mode("/dev/full") == before


def test_a_path_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    """`InvalidRequest` names the path, the reason and what to do, and leaves nothing open."""
    wrong: list[tuple[Path | str, str]] = [
        (tmp_path / "none" / "audit.jsonl", "No such file or directory"),
        (tmp_path, "Is a directory"),
        ("nul\0byte", "embedded null"),
    ]
    for path, why in wrong:
        with pytest.raises(InvalidRequest) as caught:
            AuditLog(path)
        text = str(caught.value)
        assert str(path) in text
        assert why in text
        assert "Nothing was sent. Name a file" in text
    assert descriptors(tmp_path) == 0


def test_a_pipe_that_nobody_reads_is_refused(tmp_path: Path) -> None:
    """Opening it does not wait for a reader that may never come."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InvalidRequest, match="pipe"):
        AuditLog(pipe)


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    """What somebody put a link to is neither written to nor changed."""
    other = tmp_path / "other"
    other.write_text("theirs")
    other.chmod(0o644)
    path.symlink_to(other)
    with pytest.raises(InvalidRequest, match="not a link"):
        AuditLog(path)
    assert (other.read_text(), mode(other)) == ("theirs", 0o644)


def test_a_file_that_cannot_be_tightened_is_not_used(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's readable file would show the record to others; its descriptor is closed."""

    def refused(descriptor: int, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    path.touch()
    path.chmod(0o644)
    monkeypatch.setattr(os, "fchmod", refused)
    with pytest.raises(InvalidRequest, match=r"Operation not permitted\. Nothing was sent"):
        AuditLog(path)
    assert descriptors(path) == 0


@pytest.mark.parametrize(
    "settings",
    [{"actor": 7}, {"reason": b"why"}, {"now": "noon"}, {"now": lambda: datetime(2026, 1, 1)}],
)
def test_settings_that_cannot_work_are_refused(path: Path, settings: dict[str, Any]) -> None:
    """Before the file is made."""
    with pytest.raises(InvalidRequest, match=f"{next(iter(settings))}"):
        AuditLog(path, **settings)
    assert not path.exists()


@pytest.mark.slow
def test_nobody_else_pays_for_it() -> None:
    """Neither the package nor a session with a listener loads it."""
    script = (
        "import sys, htx_async, htx_async.events\n"
        "htx_async.HtxSession(htx_async.Credentials('a', 'b'), on_event=print)\n"
        "print('htx_async.audit' in sys.modules)"
    )
    assert python(script) == "False\n"


def test_a_line_says_who_why_what_and_when(path: Path) -> None:
    """The intent in full: the fields that every line has, then the event's own."""
    summer = timezone(timedelta(hours=2))
    moment = datetime(2026, 3, 1, 14, 0, 0, 120, tzinfo=summer)
    event = CallStarted(17.25, 9, BTC, True, Direction.SELL, Offset.CLOSE)
    with AuditLog(path, actor="night desk", reason="halt", now=lambda: moment) as audit:
        audit(event)
    (line,) = lines(path)
    assert len(line.pop("run")) == 16
    assert list(line.items()) == [
        ("utc", "2026-03-01T12:00:00.000120+00:00"),
        ("monotonic", 17.25),
        ("event", "call_started"),
        ("pid", os.getpid()),
        ("host", socket.gethostname()),
        ("actor", "night desk"),
        ("reason", "halt"),
        ("call", 9),
        ("contract_code", BTC),
        ("urgent", True),
        ("direction", "sell"),
        ("offset", "close"),
        ("family", "trailing"),
    ]


def test_what_is_not_given_is_null(path: Path) -> None:
    """Actor, reason, and filters that take all; the time is now."""
    before = datetime.now(UTC)
    with AuditLog(path) as audit:
        audit(started(1))
    (line,) = lines(path)
    assert {line[name] for name in ("actor", "reason", "direction", "offset")} == {None}
    assert before <= datetime.fromisoformat(line["utc"]) <= datetime.now(UTC)


def test_foreign_text_cannot_break_a_line(path: Path) -> None:
    """Line ends of any script, terminal escapes and half a surrogate pair come back as given."""
    text = 'a\nb\r\u2028\u0085\x1b[2J\udc80"}\n{"event":"forged"}'
    with AuditLog(path, actor=text, reason=text) as audit:
        audit(started(1, text))
        audit(started(2, text))
    assert audit.problem == ""
    data = path.read_bytes()
    assert data.count(b"\n") == 2
    assert data.endswith(b"}\n")
    assert data.isascii()
    assert b"\x1b" not in data
    for line in lines(path):
        assert (line["actor"], line["reason"], line["contract_code"]) == (text, text, text)


async def test_every_attempt_and_outcome_is_on_record(
    exchange: SimulatedExchange, path: Path
) -> None:
    """A lost answer and the repeat that cleared it: two tokens, two attempts, one report."""
    exchange.place(BTC, "buy", "close", 2)
    exchange.lose_after_work()
    async with (
        AuditLog(path) as audit,
        HtxSession(
            exchange.credentials, base_urls=exchange.url, on_event=audit, generation="v1"
        ) as htx,
    ):
        report = await htx.cancel_all_trailing(BTC, "buy", "close")
    told = lines(path)
    attempt = ["token_granted", "attempt_ended"]
    assert [line["event"] for line in told] == ["call_started", *attempt * 2, "call_ended"]
    dumped = report.model_dump(mode="json")
    assert told[-1]["report"] == dumped
    assert [told[2]["attempt"], told[4]["attempt"]] == dumped["attempts"]
    assert [told[2]["attempt"]["verdict"], told[4]["attempt"]["code"]] == ["unknown", 1051]
    assert (told[0]["direction"], told[0]["offset"]) == ("buy", "close")
    assert len({(line["run"], line["call"]) for line in told}) == 1
    assert [line["monotonic"] for line in told] == sorted(line["monotonic"] for line in told)


def test_nothing_secret_is_on_record(path: Path) -> None:
    """Keys that the exchange echoes, signatures and queries stay out of the file."""

    async def main(audit: AuditLog) -> None:
        exchange = SimulatedExchange(access_key=ACCESS_KEY, secret_key=SECRET_KEY)
        exchange.refuse(1014, f"no contract for {ACCESS_KEY}", contract_code="C0-USDT")
        exchange.refuse(403, f"bad key {ACCESS_KEY}", contract_code="C1-USDT")
        exchange.malform(b"<html>" + ACCESS_KEY.encode(), status=500, contract_code="C2-USDT")
        exchange.lose_after_work(contract_code="C3-USDT")
        exchange.too_many(retry_after="1", contract_code="C4-USDT")
        # Not the account of another test, whose slower limit may just be undone.
        one: dict[str, Any] = {"account": "on record", "generation": "v1"}
        async with virtual_session(exchange, on_event=audit, **one) as htx:
            await htx.mass_cancel_trailing([f"C{number}-USDT" for number in range(6)])

    with AuditLog(path) as audit:
        run(main(audit))
    text = path.read_text()
    assert len({line["event"] for line in lines(path)}) == 6
    for secret in (ACCESS_KEY, SECRET_KEY, "Signature", "AccessKeyId"):
        assert secret not in text


async def test_other_listeners_hear_the_same(exchange: SimulatedExchange, path: Path) -> None:
    """In a sequence of listeners the log is one of them."""
    events: list[Event] = []
    async with AuditLog(path) as audit:
        listeners: list[Listener] = [audit, events.append]
        async with HtxSession(
            exchange.credentials, base_urls=exchange.url, on_event=listeners, generation="v1"
        ) as htx:
            await htx.cancel_all_trailing(BTC)
    assert [line["monotonic"] for line in lines(path)] == [event.at for event in events]
    assert len(events) == 4


@pytest.mark.usefixtures("patient")
async def test_the_intent_is_on_disk_before_the_first_byte(
    exchange: SimulatedExchange, disk: Disk
) -> None:
    """When a request arrives, its call's start is written and synced, however long that took."""
    seen: list[list[str]] = []

    def arrived() -> float:
        safe = [json.loads(line) for line in disk.safe.splitlines()]
        seen.append([line["contract_code"] for line in safe if line["event"] == "call_started"])
        return 0.0

    exchange.latency = arrived
    disk.gate.clear()
    async with (
        AuditLog(disk.path) as audit,
        HtxSession(
            exchange.credentials, base_urls=exchange.url, on_event=audit, generation="v1"
        ) as htx,
    ):
        call = asyncio.ensure_future(htx.cancel_all_trailing(BTC))
        await asyncio.to_thread(disk.reached.wait, LONG)
        asyncio.get_running_loop().call_later(0.02, disk.gate.set)
        report = await call
        await htx.cancel_all_trailing("ETH-USDT")
    assert report.warnings == ()
    assert seen == [[BTC], [BTC, "ETH-USDT"]]


@pytest.mark.parametrize("confirm", [False, True])
def test_a_list_of_the_whole_account_is_no_call_without_a_record(confirm: bool) -> None:
    """Many contracts share lists of the account, which are no calls of their own: nobody is asked
    for a record of them, and no report warns of one."""
    started: set[int] = set()
    asked: list[int] = []

    class Record:
        def __call__(self, event: Event) -> None:
            if isinstance(event, CallStarted):
                started.add(event.call)

        async def written(self, call: int) -> str:
            asked.append(call)
            return "" if call in started else "no such call"

    exchange = SimulatedExchange()
    codes = [f"C{number}-USDT" for number in range(8)]
    for code in codes[::2]:
        exchange.place(code, "sell", "close", 2)
    exchange.lose_after_work(contract_code=codes[0])

    async def main() -> None:
        async with virtual_session(exchange, on_event=Record(), generation="auto") as htx:
            report = await htx.mass_cancel_trailing(codes, confirm=confirm)
        assert report.is_clear
        assert report.warnings == ()

    run(main())
    assert set(asked) == started
    assert len(started) == len(codes)


async def test_a_late_disk_does_not_stop_a_call(exchange: SimulatedExchange, disk: Disk) -> None:
    """The call goes all the same, its report tells, and the event loop was free all the time."""
    ids = exchange.place(BTC, "buy", "close", 2)
    disk.gate.clear()
    async with AuditLog(disk.path) as audit:
        async with HtxSession(
            exchange.credentials, base_urls=exchange.url, on_event=audit, generation="v1"
        ) as htx:
            # The disk is released only behind this: a loop that waited for it would never end.
            report = await htx.cancel_all_trailing(BTC)
        assert set(report.successes) == set(ids)
        (warning,) = report.warnings
        assert "not safe yet" in warning
        assert warning in report.message
        assert audit.problem == ""
        disk.gate.set()
    assert audit.problem == ""
    told = lines(disk.path)
    assert [line["event"] for line in told][::3] == ["call_started", "call_ended"]
    assert told[-1]["report"]["warnings"] == [warning]


@pytest.mark.usefixtures("patient")
async def test_a_full_disk_does_not_stop_a_call(exchange: SimulatedExchange) -> None:
    """The report's warnings and message, and the log's problem, say what the disk said."""
    async with (
        AuditLog("/dev/full") as audit,
        HtxSession(
            exchange.credentials, base_urls=exchange.url, on_event=audit, generation="v1"
        ) as htx,
    ):
        report = await htx.cancel_all_trailing(BTC)
    assert report.warnings == (FULL,)
    assert FULL in report.message
    assert audit.problem == f"{FULL} (lines missing: 4)"


def test_it_is_a_listener_that_writes_ahead(path: Path) -> None:
    """What a session asks of a listener that keeps a record."""
    with AuditLog(path) as audit:
        assert isinstance(audit, WritesAhead)
        assert kept(audit, 1) == ""
        assert "no such call" in asyncio.run(audit.written(2))


def test_threads_with_loops_of_their_own_may_share_it(disk: Disk) -> None:
    """Each is told of its call in its own loop."""
    results: dict[int, str] = {}
    disk.gate.clear()
    with AuditLog(disk.path) as audit:
        threads = [
            threading.Thread(target=lambda call=call: results.update({call: kept(audit, call)}))
            for call in range(4)
        ]
        for thread in threads:
            thread.start()
        assert disk.reached.wait(LONG)
        disk.gate.set()
        for thread in threads:
            thread.join(LONG)
    assert results == dict.fromkeys(range(4), "")
    assert sorted(line["call"] for line in lines(disk.path)) == [0, 1, 2, 3]


def test_a_loop_that_was_closed_meanwhile_is_no_harm(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever gave up waiting is not woken, and the next line is written without a word."""
    disk.gate.clear()
    with AuditLog(disk.path) as audit:
        audit(started(1))
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(audit.written(1), 0.01))
        disk.gate.set()
        assert asyncio.run(audit.written(1)) == ""
        assert kept(audit, 2) == ""
    assert [line["call"] for line in lines(disk.path)] == [1, 2]
    assert not caplog.records


def test_a_call_that_is_over_leaves_nothing_behind(path: Path) -> None:
    """Ended, cancelled in the queue or on the wire: no call is remembered, waited for or not."""
    calls: set[int] = set()

    def note(event: Event) -> None:
        if isinstance(event, CallStarted | CallEnded):
            calls.add(event.call)

    async def main(audit: AuditLog) -> None:
        exchange = SimulatedExchange()
        async with virtual_session(exchange, on_event=[audit, note]) as htx:
            codes = [f"C{number}-USDT" for number in range(8)]
            tasks = [asyncio.ensure_future(htx.cancel_all_trailing(code)) for code in codes]
            await asyncio.sleep(0.06)
            for task in tasks[2:]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert len(calls) == 8
        for call in calls:
            assert "no such call" in await audit.written(call)

    with AuditLog(path) as audit:
        run(main(audit))


def test_many_calls_at_once_are_few_writes(disk: Disk) -> None:
    """What comes while the disk is busy is written and synced in one piece."""
    codes = [f"C{number}-USDT" for number in range(200)]

    async def main(audit: AuditLog) -> None:
        async with virtual_session(SimulatedExchange(), on_event=audit, generation="v1") as htx:
            report = await htx.mass_cancel_trailing(codes, look="none")
            assert report.is_clear

    disk.gate.clear()
    with AuditLog(disk.path) as audit:
        run(main(audit))
        disk.gate.set()
        audit.close(LONG)
    assert 1 <= disk.syncs <= 2
    assert disk.writes == disk.syncs
    told = lines(disk.path)
    assert [line["contract_code"] for line in told if line["event"] == "call_started"] == codes
    assert len([line for line in told if "call" in line]) == 800


def test_lines_that_were_lost_are_told_of(disk: Disk) -> None:
    """The first line behind a full disk has their number, once; what is lost stays a problem."""
    with AuditLog(disk.path) as audit:
        assert kept(audit, 1) == ""
        disk.room = 0
        assert kept(audit, 2) == kept(audit, 3) == FULL
        assert audit.problem == f"{FULL} (lines missing: 2)"
        disk.room = None
        assert kept(audit, 4) == kept(audit, 5) == ""
        assert audit.problem == f"{FULL} (lines missing: 2)"
    told = lines(disk.path)
    assert [line.get("call") for line in told] == [1, None, 4, 5]
    assert (told[1]["event"], told[1]["lines"]) == ("lines_lost", 2)
    assert told[1].keys() - {"lines"} == told[0].keys() & told[1].keys()
    assert told[1]["run"] == told[0]["run"]


def test_lost_lines_are_told_of_by_a_clock_in_seconds(disk: Disk) -> None:
    """`now=` may give Unix seconds there as anywhere."""
    with AuditLog(disk.path, now=lambda: 1_800_000_000.0) as audit:
        disk.room = 0
        assert kept(audit, 1) == FULL
        disk.room = None
        assert kept(audit, 2) == ""
    lost, line = lines(disk.path)
    assert (lost["event"], lost["utc"]) == ("lines_lost", line["utc"])


def test_a_clock_that_is_cancelled_does_not_end_the_record(disk: Disk) -> None:
    """In the thread that writes, too: what it could not put down is told, and it goes on."""
    told: list[Any] = [1_800_000_000.0] * 3

    def now() -> Any:
        if told:
            return told.pop()
        told.extend([1_800_000_000.0] * 9)
        raise asyncio.CancelledError

    with AuditLog(disk.path, now=now) as audit:
        disk.room = 0
        assert kept(audit, 1) == FULL
        disk.room = None
        assert "CancelledError" in kept(audit, 2)
        assert kept(audit, 3) == ""
    assert [line["event"] for line in lines(disk.path)] == ["lines_lost", "call_started"]


def test_lost_lines_are_told_of_at_the_end_too(disk: Disk) -> None:
    """A disk that recovered after the last event has their number when the log is closed."""
    with AuditLog(disk.path) as audit:
        disk.room = 0
        assert kept(audit, 1) == FULL
        disk.room = None
    assert [(line["event"], line["lines"]) for line in lines(disk.path)] == [("lines_lost", 1)]


@pytest.mark.parametrize("room", [0.01, 0.5, 1.5, 3.0, 20.0])
def test_a_disk_that_fills_up_in_a_batch(disk: Disk, room: float) -> None:
    """Room for so many of seven lines: those that are whole count as kept, the rest as lost, and
    what is left of a half line is closed off by a new one."""
    with AuditLog(disk.path) as audit:
        disk.gate.clear()
        audit(started(0))
        assert disk.reached.wait(LONG)
        for call in range(1, 8):
            audit(started(call))
        disk.room = math.ceil(room * len(disk.path.read_bytes()))
        disk.gate.set()
        assert asyncio.run(asyncio.wait_for(audit.written(7), LONG)) == (FULL if room < 7 else "")
        disk.room = None
        assert kept(audit, 8) == ""
    told = disk.path.read_text().splitlines()
    whole = [json.loads(line) for line in told if line.endswith("}")]
    assert len(told) - len(whole) == int(room % 1 > 0)
    fit = min(7, int(room))
    assert [line["call"] for line in whole if "call" in line] == [*range(fit + 1), 8]
    assert [line["lines"] for line in whole if "lines" in line] == [7 - fit] * (fit < 7)


def test_a_short_write_with_room_for_the_rest_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven bytes at a time, each line comes whole."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    with AuditLog(path) as audit:
        assert kept(audit, 1) == kept(audit, 2) == ""
    monkeypatch.undo()
    assert [line["call"] for line in lines(path)] == [1, 2]


def test_a_failed_sync_is_a_failure(disk: Disk) -> None:
    """What was written and not synced may be missing, and the next line says so."""
    why = f"the audit log could not be written: {os.strerror(errno.EIO)}"
    with AuditLog(disk.path) as audit:
        disk.sync_error = errno.EIO
        assert kept(audit, 1) == why
        disk.sync_error = None
        assert kept(audit, 2) == ""
        assert audit.problem == f"{why} (lines missing: 1)"
    assert [line["event"] for line in lines(disk.path)] == [
        "call_started",
        "lines_lost",
        "call_started",
    ]


def test_what_cannot_be_put_in_words_is_lost_and_told_of(path: Path) -> None:
    """The thread lives on, and so do the lines behind it."""
    with AuditLog(path) as audit:
        audit(object())  # type: ignore[arg-type]  # no event at all
        assert kept(audit, 1) in ("", "the audit log could not be written: TypeError")
        assert kept(audit, 2) == ""
        assert audit.problem.startswith("the audit log could not be written: TypeError")
    told = lines(path)
    assert told[0]["event"] == "lines_lost"
    assert told[-1]["call"] == 2


def test_a_clock_that_fails_is_the_listener_s_failure_alone(path: Path) -> None:
    """The event is not on record, nothing is remembered, and the next one is written."""
    # The first is asked for when the log is made.
    moments = iter([datetime.now(UTC), None, datetime.now(UTC)])

    def now() -> datetime:
        moment = next(moments)
        if moment is None:
            raise OverflowError("the clock")
        return moment

    with AuditLog(path, now=now) as audit:
        with pytest.raises(OverflowError):
            audit(started(1))
        assert "no such call" in asyncio.run(audit.written(1))
        audit(started(2))
    assert [line["call"] for line in lines(path)] == [2]


def test_a_disk_that_hangs_does_not_fill_the_memory(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind so many lines the next are counted as lost, and calls are told at once."""
    monkeypatch.setattr(htx_async.audit.writer, "_MOST_WAITING", 3)
    why = "the audit log has fallen behind: 3 lines wait for the disk"
    disk.gate.clear()
    with AuditLog(disk.path) as audit:
        for call in range(5):
            audit(started(call))
        assert asyncio.run(audit.written(4)) == why
        assert audit.problem == f"{why} (lines missing: 2)"
        disk.gate.set()
        assert asyncio.run(asyncio.wait_for(audit.written(2), LONG)) == ""
        assert kept(audit, 9) == ""
    told = lines(disk.path)
    assert [line["call"] for line in told if "call" in line] == [0, 1, 2, 9]
    assert [line["lines"] for line in told if "lines" in line] == [2]


def test_a_thread_that_cannot_be_had_is_told_of(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is lost, and the next event tries again."""

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with AuditLog(path) as audit:
        with monkeypatch.context() as crowded:
            crowded.setattr(threading.Thread, "start", refused)
            audit(started(1))
        why = "the audit log could not be written: can't start new thread"
        assert asyncio.run(audit.written(1)) == why
        assert kept(audit, 2) == ""
        assert audit.problem == f"{why} (lines missing: 1)"
    assert [line["event"] for line in lines(path)] == ["lines_lost", "call_started"]


def test_nothing_is_left_after_close(path: Path) -> None:
    """Neither thread nor descriptor, for a log that was used and for one that was not."""
    for used in (True, False):
        audit = AuditLog(path)
        assert descriptors(path) == 1
        assert not writers()
        if used:
            audit(started(1))
            assert [thread.daemon for thread in writers()] == [True]
        audit.close(LONG)
        assert (descriptors(path), writers()) == (0, [])
        audit.close()
    assert not htx_async.audit.writer._RUNNING
    assert len(lines(path)) == 1


async def test_nothing_is_left_after_aclose(path: Path) -> None:
    """The same from an event loop; what was queued is on disk."""
    async with AuditLog(path) as audit:
        audit(started(1))
        audit(EndpointPaused(2.0, "/path", 1.5))
    await audit.aclose(LONG)
    assert (descriptors(path), writers()) == (0, [])
    assert [line["event"] for line in lines(path)] == ["call_started", "endpoint_paused"]
    assert audit.problem == ""


def test_a_dropped_log_is_finished_without_waiting(disk: Disk) -> None:
    """Its thread writes what is queued, closes the file and ends; nobody waits for that."""
    AuditLog(disk.path)
    assert descriptors(disk.path) == 0
    disk.gate.clear()
    audit = AuditLog(disk.path)
    audit(started(1))
    assert disk.reached.wait(LONG)
    audit(started(2))
    del audit
    assert descriptors(disk.path) == 1
    disk.gate.set()
    no_threads_left()
    assert descriptors(disk.path) == 0
    assert [line["call"] for line in lines(disk.path)] == [1, 2]


def test_close_does_not_wait_for_a_disk_that_hangs(disk: Disk) -> None:
    """It tells what is not on disk, and leaves the descriptor to the thread that still needs it."""
    disk.gate.clear()
    audit = AuditLog(disk.path)
    audit(started(1))
    assert disk.reached.wait(LONG)
    audit(started(2))
    audit.close(timeout=0.01)
    assert audit.problem == "the disk is late (lines not yet written: 2)"
    assert descriptors(disk.path) == 1
    disk.gate.set()
    audit.close(LONG)
    assert audit.problem == ""
    assert descriptors(disk.path) == 0
    assert [line["call"] for line in lines(disk.path)] == [1, 2]


async def test_aclose_does_not_wait_for_a_disk_that_hangs(disk: Disk) -> None:
    """It ends at its time-out, and while it waits the event loop goes on."""
    disk.gate.clear()
    audit = AuditLog(disk.path)
    audit(started(1))
    await audit.aclose(timeout=0.01)
    assert audit.problem == "the disk is late (lines not yet written: 1)"
    # Only a loop that goes on releases the disk.
    asyncio.get_running_loop().call_later(0.01, disk.gate.set)
    await audit.aclose(LONG)
    assert audit.problem == ""
    assert (descriptors(disk.path), writers()) == (0, [])


async def test_aclose_waits_for_the_end_of_the_thread_without_blocking_the_loop(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has said that all is written, and has not ended: others have the CPU."""
    gate, end = threading.Event(), htx_async.audit.writer.Writer._end

    def late(self: htx_async.audit.writer.Writer) -> None:
        end(self)
        gate.wait(LONG)

    monkeypatch.setattr(htx_async.audit.writer.Writer, "_end", late)
    audit = AuditLog(path)
    audit(started(1))
    # Only a loop that goes on opens the gate.
    asyncio.get_running_loop().call_later(0.01, gate.set)
    await audit.aclose(LONG / 2)
    assert writers() == []


@pytest.mark.parametrize("used", [True, False])
def test_events_after_close_are_counted(path: Path, used: bool) -> None:
    """They are not written; a call that begins then is told so."""
    with AuditLog(path) as audit:
        if used:
            audit(started(1))
    assert kept(audit, 2) == "the audit log is closed"
    audit(EndpointPaused(2.0, "/path", 1.5))
    assert audit.problem == "the audit log is closed (lines missing: 2)"
    assert len(lines(path)) == int(used)
    assert not writers()


APPEND = """
import sys
from htx_async.audit import AuditLog
from htx_async.events import CallStarted

audit = AuditLog(sys.argv[1], reason="x" * 500)
for call in range(int(sys.argv[2])):
    audit(CallStarted(0.5, call, "BTC-USDT", False))
"""


@pytest.mark.slow
def test_the_last_lines_are_there_when_nobody_closes(path: Path) -> None:
    """The interpreter's end waits for what is queued."""
    assert python(APPEND, str(path), "400") == ""
    assert [line["call"] for line in lines(path)] == [*range(400)]


@pytest.mark.slow
def test_a_disk_that_hangs_does_not_keep_the_process(path: Path) -> None:
    """Two logs, neither of which is ever done: the interpreter ends all the same."""
    hang = (
        "import os, threading\n"
        "os.fsync = lambda descriptor: threading.Event().wait()\n"
        f"{APPEND}\n"
        "other = AuditLog(sys.argv[1])\n"
        "other(CallStarted(0.5, 1, 'BTC-USDT', False))\n"
        "print('ends')"
    )
    assert python(hang, str(path), "3") == "ends\n"


@pytest.mark.slow
def test_several_processes_may_share_a_file(path: Path) -> None:
    """Only whole lines, in each process in its order, told apart by `run`."""
    command = [sys.executable, "-c", APPEND, str(path), "300"]
    processes = [subprocess.Popen(command) for _ in range(2)]
    try:
        with AuditLog(path) as first, AuditLog(path) as second:
            for call in range(300):
                first(started(call))
                second(started(call))
        assert [process.wait(60) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    runs: dict[str, list[int]] = {}
    for line in lines(path):
        runs.setdefault(line["run"], []).append(line["call"])
    assert list(runs.values()) == [[*range(300)]] * 4
    assert len({line["pid"] for line in lines(path)}) == 3


FORK = """
import asyncio, os, sys
from htx_async.audit import AuditLog
from htx_async.events import CallStarted

audit = AuditLog(sys.argv[1])
audit(CallStarted(0.5, 1, "BTC-USDT", False))
unused = AuditLog(sys.argv[1])
child = os.fork()
audit(CallStarted(0.5, 2, "BTC-USDT", False))
unused(CallStarted(0.5, 3, "BTC-USDT", False))
if child == 0:
    with audit:
        print(audit.problem, asyncio.run(audit.written(2)), sep="\\n")
    asyncio.run(audit.aclose())
    audit = None
else:
    os.waitpid(child, 0)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_forked_child_writes_nothing(path: Path) -> None:
    """Neither its own events nor its parent's a second time; it is told why and can end."""
    told = "the audit log belongs to another process; open one in each process\n"
    assert python(FORK, str(path)) == told * 2
    assert sorted(line["call"] for line in lines(path)) == [1, 2, 3]


async def test_a_refused_call_and_its_cancelled_neighbour_are_on_record(
    exchange: SimulatedExchange, path: Path
) -> None:
    """A caller that gets an exception or nothing at all leaves its report in the log."""
    exchange.refuse(1014)
    policy = RetryPolicy(attempts=1)
    async with (
        AuditLog(path) as audit,
        HtxSession(
            exchange.credentials, base_urls=exchange.url, on_event=audit, retry=policy
        ) as htx,
    ):
        with pytest.raises(CancelError):
            await htx.cancel_all_trailing(BTC)
        exchange.late(LONG)
        doomed = asyncio.ensure_future(htx.cancel_all_trailing("ETH-USDT"))
        for _ in range(2000):
            if len(exchange.arrivals) == 2:
                break
            await asyncio.sleep(0.001)
        doomed.cancel()
        await asyncio.gather(doomed, return_exceptions=True)
    ended = [line["report"] for line in lines(path) if line["event"] == "call_ended"]
    assert [report["outcome"] for report in ended] == ["refused", "unknown"]
    assert ended[0]["attempts"][0]["code"] == 1014
