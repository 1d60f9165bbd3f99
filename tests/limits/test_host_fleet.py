"""Processes of one host that share a file, and what becomes of it when they are killed, stopped,
forked, or find no room.

Real processes, `tests/support/host_worker.py`, which say when they got each token. Bounds in
seconds have slack for one thing only: that a busy machine runs a process late.
"""

import asyncio
import json
import os
import random
import shutil
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from htx_async import LimiterMode
from tests.support.host_files import opened, step, tokens
from tests.support.tokens import busiest

pytestmark = [pytest.mark.slow, pytest.mark.long]

SHARED, OWN_SHARE = LimiterMode.SHARED, LimiterMode.OWN_SHARE
BOUND = 60.0
SLACK = 1.0
ROOT = Path(__file__).parents[2]


class Got(NamedTuple):
    """A token: when, whose it was, and what was said about that."""

    at: float
    mode: str
    warning: str


class Worker:
    """One process that takes tokens."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.got: list[Got] = []
        self._reading: asyncio.Task[None] | None = None

    async def is_ready(self) -> None:
        """Wait until it has opened its bucket."""
        assert self.process.stdout is not None
        assert await self.process.stdout.readline() == b"ready\n"

    def go(self) -> None:
        """Let its callers begin."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self._reading = asyncio.create_task(self._read())

    async def gets(self, count: int, mode: str = "") -> None:
        """Wait until it has got so many more, of `mode` if that is given."""
        begin = len(self.got)
        while sum(mode in ("", one.mode) for one in self.got[begin:]) < count:  # noqa: ASYNC110
            # They come from outside.
            await asyncio.sleep(0.01)

    async def end(self) -> list[Got]:
        """Let it come to its end, or see it dead; all that it got."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.process.wait()
        if self._reading is not None:
            await self._reading
        return self.got

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while (line := await self.process.stdout.readline()).endswith(b"\n"):
            self.got.append(Got(*json.loads(line)))


class Host:
    """Workers that end with the test, whatever happens."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self.path = path
        self._stack = stack

    async def python(self, *command: str, **settings: Any) -> asyncio.subprocess.Process:
        """A process of Python's."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *command), cwd=ROOT, stdin=pipe, stdout=pipe, **settings
        )
        self._stack.push_async_callback(_ended, process)
        return process

    async def worker(self, callers: int = 8, latency: float = 0.02, **given: Any) -> Worker:
        """One more, whose callers wait for `go`."""
        bucket = {"path": str(self.path), **given.pop("bucket", {})}
        told = json.dumps({"bucket": bucket, "callers": callers, "latency": latency, **given})
        return Worker(await self.python("-W", "error", "-m", "tests.support.host_worker", told))


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


@asynccontextmanager
async def host(path: Path) -> AsyncIterator[Host]:
    async with asyncio.timeout(BOUND), AsyncExitStack() as stack:
        yield Host(path, stack)


async def begin(*workers: Worker) -> None:
    """All callers at once."""
    await asyncio.gather(*(worker.is_ready() for worker in workers))
    for worker in workers:
        worker.go()


async def all_got(*workers: Worker) -> list[Got]:
    """What they got together, once each has come to its end."""
    return sorted(one for got in [await worker.end() for worker in workers] for one in got)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is in use."""
    return opened(tmp_path / "limit")


async def test_processes_keep_the_limit_together(path: Path) -> None:
    """Five in any second, all that the limit gives, a fair part for each; nobody goes alone."""
    async with host(path) as one:
        workers = [await one.worker() for _ in range(4)]
        await begin(*workers)
        began = time.monotonic()
        await asyncio.gather(*(worker.gets(4) for worker in workers))
        assert time.monotonic() - began < 4 * 1.1 + SLACK
        got = await all_got(*workers)
        assert busiest(each.at for each in got) <= 5
        assert {each.mode for each in got} == {SHARED}


async def test_an_urgent_call_behind_busy_processes_gets_the_next_token(path: Path) -> None:
    """All tokens are out or reserved by others when it comes."""
    async with host(path) as one:
        workers = [await one.worker() for _ in range(4)]
        urgent = await one.worker(1, urgent=True)
        await urgent.is_ready()
        await begin(*workers)
        await workers[0].gets(2)
        asked = time.monotonic()
        urgent.go()
        await urgent.gets(1)
        # One period, a round trip of 20 ms, and what a busy machine adds.
        assert urgent.got[0].at - asked < 1.0 + 0.02 + 0.2 + SLACK
        got = await all_got(*workers, urgent)
        assert busiest(each.at for each in got) <= 5


async def test_processes_that_start_and_die_at_any_moment_never_make_a_sixth(path: Path) -> None:
    """SIGKILL, with and without tokens in hand, in the middle of whatever they do."""
    chance = random.Random(16)
    async with host(path) as one:
        workers = [await one.worker(3, 0.01, bucket={"lease": 1.0}) for _ in range(10)]
        await asyncio.gather(*(worker.is_ready() for worker in workers))
        alive = workers[:4]
        for worker in alive:
            worker.go()
        for worker in workers[4:]:
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            alive.pop(chance.randrange(len(alive))).process.kill()
            worker.go()
            alive.append(worker)
        await alive[0].gets(2)
        got = await all_got(*workers)
        assert len(got) > 10
        assert busiest(each.at for each in got) <= 5


HOLDER = """
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(file, fcntl.LOCK_EX)
if sys.argv[2] == "torn":
    content = os.pread(file, 9999, 0)
    os.pwrite(file, content[:80] + content[80:500].replace(b"1", b"2"), 0)
    os.kill(os.getpid(), 9)
print("locked", flush=True)
sys.stdin.read()
"""


async def test_a_process_stopped_with_the_lock_leaves_each_its_share(path: Path) -> None:
    """Together no more than before; once it is dead they share again."""
    async with host(path) as one:
        workers = [await one.worker(bucket={"share_of": 2}) for _ in range(2)]
        await begin(*workers)
        await workers[0].gets(2)
        stopped = await one.python("-c", HOLDER, str(path), "whole")
        assert stopped.stdout is not None
        assert await stopped.stdout.readline() == b"locked\n"
        os.kill(stopped.pid, 19)
        await asyncio.gather(*(worker.gets(2, OWN_SHARE) for worker in workers))
        stopped.kill()
        await asyncio.gather(*(worker.gets(2, SHARED) for worker in workers))
        got = await all_got(*workers)
        assert busiest(each.at for each in got) <= 5
        warnings = {each.warning for each in got if each.warning}
        assert all("its lock was not free" in warning for warning in warnings), warnings
        assert {each.mode for each in got if each.warning} == {OWN_SHARE}


async def test_a_process_killed_in_the_middle_of_writing_costs_a_period(path: Path) -> None:
    """The file is torn, and begun anew with every token just used; nobody goes alone."""
    async with host(path) as one:
        workers = [await one.worker() for _ in range(2)]
        await begin(*workers)
        await workers[0].gets(2)
        killed = await one.python("-c", HOLDER, str(path), "torn")
        assert await killed.wait() == -9
        at = time.monotonic()
        await asyncio.gather(*(worker.gets(2) for worker in workers))
        got = await all_got(*workers)
        assert busiest(each.at for each in got) <= 5
        assert min(each.at for each in got if each.at > at + 0.1) - at >= 1.0
        assert [each.warning for each in got if each.warning] == []


async def test_a_process_without_room_on_the_disk_goes_on_alone_and_says_so(
    tmp_path: Path,
) -> None:
    """A limit of the kernel's stands for the disk; another process finds nothing spoilt."""
    async with host(tmp_path / "limit") as one:
        worker = await one.worker(most=0)
        await begin(worker)
        await worker.gets(1)
        other = await one.worker()
        await begin(other)
        await other.gets(5)
        alone, shared = await worker.end(), await other.end()
        assert {each.mode for each in alone} == {OWN_SHARE}
        assert "File too large" in alone[0].warning
        assert {each.mode for each in shared} == {SHARED}


FORKS = """
import asyncio, os, sys, threading, time
from htx_async import HostTokenBucket
from tests.support.host_files import ACCOUNT, PATH

bucket = HostTokenBucket(ACCOUNT, path=sys.argv[1])

async def work(count):
    async def call():
        async with bucket.take(PATH) as token:
            os.write(1, f"{os.getpid()} {time.monotonic()} {token.mode}\\n".encode())
    async with asyncio.timeout(30):
        await asyncio.gather(*(call() for _ in range(count)))

threads = [threading.Thread(target=asyncio.run, args=(work(4),)) for _ in range(3)]
for thread in threads:
    thread.start()
children = []
for _ in range(2):
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(work(3))
        finally:
            os._exit(0)
    children.append(child)
for thread in threads:
    thread.join()
for child in children:
    os.waitpid(child, 0)
"""


async def test_forked_children_and_threads_share_with_their_parent(path: Path) -> None:
    """One bucket, made before the fork: a child opens the file anew, in whatever state its parent's
    threads were."""
    async with host(path) as one:
        process = await one.python("-c", FORKS, str(path), env={**os.environ, "PYTHONPATH": "."})
        out, _ = await process.communicate()
        assert process.returncode == 0
        lines = [line.split() for line in out.decode().splitlines()]
        assert len(lines) == 3 * 4 + 2 * 3
        assert len({pid for pid, _, _ in lines}) == 3
        assert busiest(float(at) for _, at, _ in lines) <= 5
        assert {mode for _, _, mode in lines} == {SHARED}


INHERITS = """
import os, sys, time
from pathlib import Path
from tests.support.host_files import step

def fork(tokens):
    if os.fork() == 0:
        print("child", os.getpid(), flush=True)
        os.close(1)
        time.sleep(30)
        os._exit(0)
    time.sleep(30)

step(Path(sys.argv[1]), fork)
"""


async def test_a_child_keeps_no_lock_of_a_parent_that_was_killed(path: Path) -> None:
    """Forked by another thread just when its parent had the lock."""
    async with host(path) as one:
        process = await one.python("-c", INHERITS, str(path), env={**os.environ, "PYTHONPATH": "."})
        assert process.stdout is not None
        word, child = (await process.stdout.readline()).split()
        assert word == b"child"
        try:
            with pytest.raises(BlockingIOError):
                step(path, str)
            process.kill()
            await process.wait()
            assert step(path, lambda tokens: tokens.began) < 0
        finally:
            os.kill(int(child), 9)


MEETS = """
import asyncio, sys
from htx_async import HostTokenBucket

async def main():
    async with HostTokenBucket(sys.argv[1]) as bucket:
        print(await bucket.reach(), flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""


async def test_a_service_without_variables_and_a_login_shell_meet() -> None:
    """In the usual place, whatever the environment of either is."""
    account = f"a test's {uuid.uuid4().hex}"
    path = Path()
    async with host(path) as one:
        service = await one.python("-c", MEETS, account, env={})
        assert service.stdout is not None
        path = Path((await service.stdout.readline()).decode().partition(",")[0])
        try:
            pipe = asyncio.subprocess.PIPE
            shell = await asyncio.create_subprocess_exec(
                *(shutil.which("bash") or "sh", "-lc", 'exec "$0" -c "$1" "$2"'),
                *(sys.executable, MEETS, account),
                cwd=ROOT,
                stdin=pipe,
                stdout=pipe,
                env={**os.environ, "HOME": "/elsewhere", "TMPDIR": "/elsewhere", "LANG": "C"},
            )
            told, _ = await shell.communicate(b"\n")
            assert told.decode().partition(",")[0] == str(path)
            assert f"by {service.pid} (" in told.decode()
        finally:
            path.unlink()


async def test_a_process_that_ends_properly_delays_nobody(path: Path) -> None:
    """What it had reserved is free for the others at once."""
    async with host(path) as one:
        worker, other = await one.worker(), await one.worker()
        await begin(worker)
        await worker.gets(5)
        await worker.end()
        assert tokens(path) == []
        began = time.monotonic()
        await begin(other)
        await other.gets(5)
        assert time.monotonic() - began < 1.0 + SLACK
