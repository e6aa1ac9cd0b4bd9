"""Connections on which no request comes are closed; those with one are not."""

import socket
import time

import pytest

from app.connections import HEADERS_S
from tests.app.test_gate import FORM_START, connect
from tests.conftest import Server

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


def address(server: Server) -> tuple[str, int]:
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


@pytest.mark.parametrize(
    "first", [b"", REQUEST, REQUEST + b"\r\n" + REQUEST], ids=["nothing", "headers", "the next"]
)
def test_who_does_not_finish_its_headers_is_closed(server: Server, first: bytes) -> None:
    start = time.monotonic()
    with socket.create_connection(address(server), timeout=HEADERS_S + 20) as connection:
        connection.sendall(first)
        if first.count(REQUEST) == 2:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.settimeout(1)
        while time.monotonic() - start < HEADERS_S + 20:
            try:
                if first:
                    connection.sendall(b"X")  # a byte now and then is not enough
                if connection.recv(65536) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    assert HEADERS_S - 1 < time.monotonic() - start < HEADERS_S + 5


def test_a_request_takes_its_time(server: Server) -> None:
    """The gate's deadline, which is later, is what counts for a body."""
    with connect(server, 1000) as connection:
        connection.sendall(FORM_START)
        connection.settimeout(HEADERS_S + 2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
