"""The body of a request, which knows whether any of it has left."""

import asyncio
import socket
import struct
from contextlib import suppress

from aiohttp import BytesPayload
from aiohttp.abc import AbstractStreamWriter

_RESET = struct.pack("ii", 1, 0)


class MarkedBody(BytesPayload):
    """A body that knows whether it was asked for, and over which transport.

    aiohttp writes the request's head together with the first bytes of its body, so a body that
    was never asked for proves that nothing left.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type="application/json")
        self.asked_for = False
        self._is_built = False
        self._is_forbidden = False
        self._transport: asyncio.Transport | None = None

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if self.asked_for or self._is_forbidden:
            # A second sending would need a token and a signature of its own.
            raise RuntimeError("this request was written already, or given up")
        transport: asyncio.Transport | None = getattr(writer, "transport", None)
        if transport is not None and transport.is_closing():
            raise ConnectionResetError("the connection was closed before the request was written")
        if getattr(getattr(writer, "protocol", None), "should_close", False):
            raise ConnectionResetError("the connection holds a reply that nobody asked for")
        self.asked_for = True
        self._transport = transport
        await writer.write(self._value[:content_length])

    @property
    def size(self) -> int | None:
        """Asked for when aiohttp builds the request, before it waits for a reply."""
        self._is_built = True
        return super().size

    def forbid(self) -> None:
        """Do not give it from now on; what was given stays so."""
        self._is_forbidden = True

    def was_passed_over(self) -> bool:
        """Whether a reply was there before the body was asked for; from now on it is not given.

        aiohttp takes a pooled connection on which a stray reply waits, and would read that as the
        answer to this request.
        """
        passed_over = self._is_built and not self.asked_for
        if passed_over:
            self.forbid()
        return passed_over

    def reset(self) -> None:
        """Reset the connection that the body was written to: nothing queued is delivered."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        # What a transport raises that is closed already differs from loop to loop and with TLS;
        # there is nothing left to reset then.
        with suppress(Exception):
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with suppress(Exception):
            transport.abort()
