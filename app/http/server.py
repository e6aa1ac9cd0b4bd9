"""uvicorn's server, but nobody who has connected is lost when it ends."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys
from contextlib import suppress

import uvicorn

_SO_ATTACH_FILTER = 26  # Linux; Python has no name for it
_BPF_RETURN = 0x06


class LosslessServer(uvicorn.Server):
    """Closes its listener without resetting those who have connected to it.

    The kernel accepts connections for a listener before the server does, and resets those that wait
    there when the listener is closed, although their clients may have sent a request.  So the
    listener first stops accepting, then the waiting connections are taken, and each has a moment
    for its request (:meth:`app.http.connections.TimedConnection.shutdown`).
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or []:
            _accept_no_more(listener)
        last = [connection for listener in sockets or [] for connection in _waiting(listener)]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in last:
            with suppress(OSError):  # it has gone already
                await loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


def _accept_no_more(listener: socket.socket) -> None:
    """Make the kernel drop what arrives at a listener, on Linux; elsewhere do nothing.

    Whoever connects from now on gets no answer, tries again after a second, and is refused, since
    the listener is closed by then.  A shorter backlog would not do: the kernel still accepts one.
    """
    if sys.platform != "linux":
        return
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RETURN, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(drop_all))  # struct sock_fprog
    with suppress(OSError):  # a sandbox may forbid it: then a connection may still be reset
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _waiting(listener: socket.socket) -> list[socket.socket]:
    """The connections that wait at a listener, which does not block."""
    connections = []
    with suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            connections.append(connection)
    return connections
