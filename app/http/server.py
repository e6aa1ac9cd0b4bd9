"""uvicorn's server, but nobody who has connected is lost when it ends."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import uvicorn


class LosslessServer(uvicorn.Server):
    """Closes its listener without resetting those who have connected to it.

    The system accepts connections for a listener, and resets those that nobody has taken from it
    when it is closed; their clients may have sent a request already.  So the last ones are taken,
    and each has a moment for its request (:meth:`app.http.connections.TimedConnection.shutdown`).
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
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


def _waiting(listener: socket.socket) -> list[socket.socket]:
    """The connections that wait at a listener, which does not block."""
    connections = []
    with suppress(BlockingIOError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            connections.append(connection)
    return connections
