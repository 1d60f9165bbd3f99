"""A loopback server in a process of its own: as little work as HTTP allows, so that the client's
cost shows. Prints its port, then answers every request on v1 with the documented cancel-all reply,
and on V5 with that of a cancel by id, until its input closes."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen

_BODY = (
    b'{"status":"ok","data":{"errors":[],"successes":"826054603831312384,826054608491184128,'
    b'826054686706565120"},"ts":1616988392280}'
)
_V5_BODY = (
    b'{"code":200,"data":[{"algo_client_order_id":null,"code":200,"message":"Success",'
    b'"algo_id":"1512889773167009792"}],"message":"Success","ts":1737103890390}'
)
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain;charset=UTF-8\r\nratelimit-limit: 5\r\n"
    b"ratelimit-interval: 1000\r\nratelimit-remaining: 4\r\nratelimit-reset: 1616988393280\r\n"
    b"Content-Length: %d\r\n\r\n%s"
)
_REPLY = _HEAD % (len(_BODY), _BODY)
_V5_REPLY = _HEAD % (len(_V5_BODY), _V5_BODY)


class _Answering(asyncio.Protocol):
    """Answers when a whole request is in; clients send one after the other."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(body) >= int(length or 0):
            self._buffer = b""
            self._transport.write(_V5_REPLY if head.startswith(b"POST /v5/") else _REPLY)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Answering, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


@contextmanager
def serving() -> Iterator[str]:
    """The base URL of such a server while the block lasts.

    Client and server run on a core of their own where there are two, as an exchange does: on one
    core they take turns, and the scheduler's choice would decide which figure comes out.
    """
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    with Popen([sys.executable, "-m", "benchmarks.server"], stdin=PIPE, stdout=PIPE) as process:
        os.sched_setaffinity(0, {cores[0]})
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            os.sched_setaffinity(0, set(cores))
            process.stdin.close()


if __name__ == "__main__":
    asyncio.run(_serve())
