"""The end of the server's listener."""

from __future__ import annotations

import socket
import sys
from http.client import HTTPConnection
from threading import Thread

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from app.http import server
from app.http.connections import TimedConnection
from app.http.server import LosslessServer


@pytest.fixture
def config() -> uvicorn.Config:
    return uvicorn.Config(
        PlainTextResponse("here"),
        port=0,
        http=TimedConnection,
        lifespan="off",
        log_config=None,
    )


def answered(connection: socket.socket) -> bytes:
    """The status line of the answer to a request."""
    connection.settimeout(10)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection.recv(15)


def test_who_waits_at_the_listener_is_answered(config: uvicorn.Config) -> None:
    listener = config.bind_socket()
    listener.listen()  # whoever comes before the server waits
    clients: list[socket.socket] = []

    class Ending(LosslessServer):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # the loop does not run between these and the end: nobody else accepts them
            clients.extend(socket.create_connection(listener.getsockname()) for _ in range(20))
            await super().shutdown(sockets)

    ending = Ending(config)
    running = Thread(target=ending.run, args=([listener],), daemon=True)
    running.start()
    ask_until_it_answers(listener.getsockname())
    ending.should_exit = True
    while len(clients) < 20:
        assert running.is_alive()
    assert [answered(client) for client in clients] == [b"HTTP/1.1 200 OK"] * 20
    for client in clients:
        client.close()
    running.join(10)
    assert not running.is_alive()


def ask_until_it_answers(address: tuple[str, int]) -> None:
    connection = HTTPConnection(*address, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"here"
    connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a socket filter of Linux")
def test_nobody_can_connect_between_the_last_one_and_the_end(
    config: uvicorn.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whom the kernel accepted then would be reset."""
    listener = config.bind_socket()
    listener.listen()  # whoever comes before the server waits
    address = listener.getsockname()
    take = server._waiting
    late: list[str] = []

    def take_and_connect(listener: socket.socket) -> list[socket.socket]:
        taken = take(listener)
        try:
            socket.create_connection(address, timeout=0.2).close()
            late.append("accepted")
        except TimeoutError:
            late.append("no answer")
        return taken

    monkeypatch.setattr(server, "_waiting", take_and_connect)
    ending = LosslessServer(config)
    running = Thread(target=ending.run, args=([listener],), daemon=True)
    running.start()
    ask_until_it_answers(address)
    ending.should_exit = True
    running.join(10)
    assert not running.is_alive()
    assert late == ["no answer"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
