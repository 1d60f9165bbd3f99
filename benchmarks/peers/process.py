"""The processes in which the clients run, seen from the one that compares them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

_ROOT = Path(__file__).parent.parent.parent
_TO_END = 10.0


class Peer(NamedTuple):
    """A client, the environment that it is installed in (none: this one), and its name for
    readers; `{}` in it is the version of the library that it is named after."""

    client: str
    venv: str | None
    label: str
    library: str = ""

    def __str__(self) -> str:
        """What it is called while its version is not known."""
        return f"{self.client} in {self.venv}" if self.venv else self.client

    @property
    def python(self) -> str:
        """The interpreter of its environment."""
        return str(_ROOT / self.venv / "bin" / "python") if self.venv else sys.executable


FLOOR = Peer("floor", None, "bare aiohttp, signed beforehand")
BY_HAND = Peer("aiohttp", None, "aiohttp, signing and pydantic by hand")
OURS = Peer("htx_async", None, "htx_async")
HTTPX = Peer("httpx", ".venv-bench", "httpx {}, signing and pydantic by hand", "httpx")
CCXT_LAST = Peer("ccxt_last", ".venv-bench", "ccxt {}", "ccxt")
CCXT_NEWEST = Peer("ccxt_newest", ".venv-bench-ccxt", "ccxt {}, one order, on V5", "ccxt")

PEERS = (FLOOR, BY_HAND, OURS, HTTPX, CCXT_LAST, CCXT_NEWEST)


class Missing(Exception):
    """A peer that cannot run here, and why."""


class Process:
    """A worker that is waiting for orders."""

    def __init__(self, worker: "subprocess.Popen[str]") -> None:
        self._worker = worker
        self.versions: dict[str, str] = self._heard()

    def ask(self, **order: Any) -> dict[str, Any]:
        """Give one order, and wait for its answer."""
        assert self._worker.stdin is not None
        try:
            self._worker.stdin.write(json.dumps(order) + "\n")
            self._worker.stdin.flush()
        except BrokenPipeError:
            pass
        return self._heard()

    def _heard(self) -> dict[str, Any]:
        assert self._worker.stdout is not None
        line = self._worker.stdout.readline()
        if not line:
            _, problem = self._worker.communicate(timeout=_TO_END)
            lines = problem.strip().splitlines() or ["it ended without a word"]
            raise Missing(lines[-1][:160])
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def process(peer: Peer, loop: str) -> Iterator[Process]:
    """A worker for `peer` on `loop` while the block lasts; Missing if there can be none."""
    if not Path(peer.python).exists():
        raise Missing("not installed here (make bench sets it up)")
    command = [peer.python, "-m", "benchmarks.peers.worker", peer.client, loop]
    pipe = subprocess.PIPE
    worker = subprocess.Popen(command, cwd=_ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield Process(worker)
        worker.communicate(timeout=_TO_END)
    finally:
        worker.kill()
        worker.communicate()
