"""Connections whose other end does nothing are closed; those with a request in time are not."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app.connections import HEADERS_S
from tests.app.test_gate import FORM_START, answer, connect
from tests.conftest import Server, serving

KEEP_ALIVE_S = 3
SHORT_STALL = "import app.connections; app.connections.STALL_S = 2"
REQUEST = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("impatient") / "log"
    with serving(log, SHORT_STALL, GPEN_KEEP_ALIVE_S=str(KEEP_ALIVE_S)) as running:
        yield running


def address(server: Server) -> tuple[str, int]:
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


@pytest.mark.parametrize(
    ("first", "trickle", "seconds"),
    [
        (b"", b"", KEEP_ALIVE_S),
        (REQUEST, b"X", HEADERS_S),  # a byte now and then is not enough
        (REQUEST + b"\r\n", b"", KEEP_ALIVE_S),
        (REQUEST + b"\r\n" + REQUEST, b"X", HEADERS_S),
    ],
    ids=["nothing", "headers", "idle", "the next headers"],
)
def test_who_does_nothing_is_closed(
    impatient: Server, first: bytes, trickle: bytes, seconds: float
) -> None:
    start = time.monotonic()
    with socket.create_connection(address(impatient), timeout=1) as connection:
        connection.sendall(first)
        while time.monotonic() - start < seconds + 20:
            with contextlib.suppress(TimeoutError):
                try:
                    connection.sendall(trickle)
                    if connection.recv(65536) == b"":
                        break
                except ConnectionError:
                    break
    assert seconds - 1 < time.monotonic() - start < seconds + 5


def test_a_body_has_the_time_of_its_deadline(impatient: Server) -> None:
    with connect(impatient, 1000) as connection:
        connection.sendall(FORM_START)
        connection.settimeout(KEEP_ALIVE_S + 2)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_who_does_not_take_its_answers_is_cut_off(impatient: Server) -> None:
    """Else each would hold an answer in memory for ever."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(address(impatient))
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 600)
        time.sleep(8)
        received = 0
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65536):
                received += len(chunk)
        whole = len(httpx2.get(f"{impatient.url}/openapi.json").content) * 600
        assert received < whole


def test_nonsense_after_an_answer_does_not_fill_the_log(impatient: Server) -> None:
    connection = connect(impatient, None, content_type="text/plain")
    connection.sendall(b"no chunk\r\n" * 10)
    with contextlib.suppress(ConnectionError):
        answer(connection)
    time.sleep(0.5)
    assert "Traceback" not in impatient.log.read_text()


def test_the_end_while_loading_is_a_success(tmp_path: Path) -> None:
    """Whatever native code the loading thread is in."""
    sabotage = """
import app.load, torch
def endless(settings):
    while True: torch.randn(500, 500) @ torch.randn(500, 500)
app.load.load = endless
"""
    with serving(tmp_path / "log", sabotage, 503) as server:
        server.process.terminate()
        assert server.process.wait(20) == 0
    assert "terminate called" not in (tmp_path / "log").read_text()
