"""The HTTP door: the only place in the package that loads `aiohttp.web`."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web

from htx_async.simulator.control import is_control
from htx_async.simulator.messages import NotServed, Reply, Request

_HOST = "127.0.0.1"


class Door:
    """Serves `handle` over HTTP on loopback, as each `Reply` says, and `control`, which is also
    told the peer's address, if there is one. It writes no access log: a signed URL is a credential.
    """

    def __init__(
        self,
        handle: Callable[[Request], Reply],
        control: Callable[[Request, str], Reply] | None = None,
    ) -> None:
        self._handle = handle
        self._control = control
        self._tasks: set[asyncio.Task[Any]] = set()
        # A client that has left is not waited for.
        self._server = web.Server(self._serve, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)

    async def open(self, port: int) -> str:
        """Start serving, on a free port if `port` is 0, and return the URL; OSError if it cannot be
        had.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, _HOST, port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        return f"http://{_HOST}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop at once: requests still waiting for their answer see the connection abort."""
        for site in self._runner.sites:
            await site.stop()
        for connection in self._server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._runner.cleanup()

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        self._tasks.add(http.task)
        http.task.add_done_callback(self._tasks.discard)
        body = await http.read()
        request = Request(http.method, http.raw_path, http.headers, body)
        try:
            if self._control is not None and is_control(request.path):
                reply = self._control(request, http.remote or "")
            else:
                reply = self._handle(request)
        except NotServed as error:
            return web.Response(status=501, text=f"The simulated exchange: {error}")
        if reply.delay > 0:
            await asyncio.sleep(reply.delay)
        if reply.fate == "truncated":
            return await _send_half(http, reply)
        if reply.fate == "dropped" and http.transport is not None:
            http.transport.abort()
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)


async def _send_half(http: web.BaseRequest, reply: Reply) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = len(reply.body)
    response.force_close()
    await response.prepare(http)
    await response.write(reply.body[: len(reply.body) // 2])
    if http.transport is not None:
        http.transport.close()
    return response
