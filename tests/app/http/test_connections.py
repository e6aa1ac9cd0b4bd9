"""Connections whose other end does nothing are closed; those with a request in time are not."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import pytest

from app.http.connections import HEADERS_S
from tests.app.http.test_gate import FORM, FORM_START, answer, connect
from tests.conftest import Server, serving
from tests.load.framing import KINDS, flooding, liveness

KEEP_ALIVE_S = 3
SHORT_STALL = "import app.http.connections; app.http.connections.STALL_S = 2"
REQUEST = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
REFUSED = (
    b"POST /enhance HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 30\r\n\r\n"
)
CHUNKED = (
    f"POST /enhance HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n"
    "Transfer-Encoding: chunked\r\n\r\n"
).encode()


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("impatient") / "log"
    with serving(log, SHORT_STALL, GPEN_KEEP_ALIVE_S=str(KEEP_ALIVE_S)) as running:
        yield running


def address(server: Server) -> tuple[str, int]:
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


@dataclass(frozen=True)
class Idler:
    """A client that sends something, then a byte now and then, and is closed after a time."""

    first: bytes
    trickle: bytes
    seconds: float


IDLERS = {
    "nothing": Idler(b"", b"", KEEP_ALIVE_S),
    "headers": Idler(REQUEST, b"X", HEADERS_S),  # a byte now and then is not enough
    "idle": Idler(REQUEST + b"\r\n", b"", KEEP_ALIVE_S),
    "the next headers": Idler(REQUEST + b"\r\n" + REQUEST, b"X", HEADERS_S),
    "no refused body": Idler(REFUSED, b"", KEEP_ALIVE_S),
    "a refused body": Idler(REFUSED, b"X", HEADERS_S),
    "idle after a refused body": Idler(REFUSED + bytes(30), b"", KEEP_ALIVE_S),
}


@pytest.fixture(scope="module")
def lasted(impatient: Server) -> dict[str, float]:
    """Seconds until each of the idlers, who came at the same time, was closed."""
    with ThreadPoolExecutor(len(IDLERS)) as pool:
        seconds = pool.map(partial(seconds_until_closed, impatient), IDLERS.values())
        return dict(zip(IDLERS, seconds, strict=True))


def seconds_until_closed(server: Server, idler: Idler) -> float:
    start = time.monotonic()
    with socket.create_connection(address(server), timeout=1) as connection:
        connection.sendall(idler.first)
        while time.monotonic() - start < idler.seconds + 20:
            with contextlib.suppress(TimeoutError):
                try:
                    connection.sendall(idler.trickle)
                    if connection.recv(65536) == b"":
                        break
                except ConnectionError:
                    break
    return time.monotonic() - start


@pytest.mark.parametrize("kind", list(IDLERS))
def test_who_does_nothing_is_closed(lasted: dict[str, float], kind: str) -> None:
    seconds = IDLERS[kind].seconds
    assert seconds - 1 < lasted[kind] < seconds + 5


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


@pytest.mark.parametrize(
    ("first", "endless"),
    [
        (b"", b"GET"),
        (b"GET /", b"path"),
        (REQUEST, b"X-Many: headers\r\n"),
        (REQUEST + b"X-Long: ", b"value"),
        (CHUNKED + b"0\r\n", b"X-Many: trailers\r\n"),
        (CHUNKED + b"0\r\nX-Long: ", b"trailer"),
        (CHUNKED + b"5;extension=", b"value"),
        (CHUNKED, REQUEST + b"\r\n"),
    ],
    ids=[
        *("method", "path", "headers", "header", "trailers", "trailer", "extension"),
        "no chunk",
    ],
)
def test_what_is_no_body_is_bounded(impatient: Server, first: bytes, endless: bytes) -> None:
    sent = 0
    connection = socket.create_connection(address(impatient), timeout=10)
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall(first)
        while sent < 20_000_000:
            sent += connection.send(endless * 2000)
    assert sent < 10_000_000  # most of it in the sockets' buffers
    assert httpx2.get(f"{impatient.url}/health").status_code == 200


def test_headers_that_come_at_once_are_bounded(impatient: Server) -> None:
    for size, status in ((60_000, b"200"), (100_000, b"400")):
        with socket.create_connection(address(impatient), timeout=10) as connection:
            connection.sendall(REQUEST + b"X-Long: " + b"x" * size + b"\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("first", "costly"),
    [
        (REQUEST, b"a:\r\n" * 101),
        (CHUNKED, b"1\r\nx\r\n" * 300),
        (CHUNKED, b"1;" + b"x" * 100 + b"\r\nx\r\n" * 300),
        (CHUNKED + b"0\r\n", b"a:b\r\n" * 101),
    ],
    ids=["headers", "chunks", "extensions", "trailers"],
)
def test_framing_that_costs_more_than_its_bytes_is_refused(
    impatient: Server, first: bytes, costly: bytes
) -> None:
    with socket.create_connection(address(impatient), timeout=10) as connection:
        connection.sendall(first + costly + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_chunks_of_a_usual_size_are_served(impatient: Server) -> None:
    """Small ones, too, if they hold more than their framing."""
    body = FORM_START + b"no picture" * 20_000 + b"\r\n--a--\r\n"
    with socket.create_connection(address(impatient), timeout=10) as connection:
        connection.sendall(CHUNKED)
        for start in range(0, len(body), 100):
            part = body[start : start + 100]
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 415 ")


@pytest.mark.long
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_probe_is_answered_within_a_second_beside_costly_framing(
    impatient: Server, kind: str
) -> None:
    for connections in (30, 60):
        with flooding(impatient.url, kind, connections):
            beside = liveness(impatient.url, 5)
        assert beside.worst < 1, f"{connections}: {beside}"
        assert beside.photos > 0


def test_requests_that_wait_on_a_connection_are_bounded(impatient: Server) -> None:
    first = REFUSED.replace(b"text/plain", FORM.encode())
    for requests, kept in ((16, True), (200, False)):
        with socket.create_connection(address(impatient), timeout=2) as connection:
            connection.sendall(first + bytes(29))
            time.sleep(0.2)
            connection.sendall(bytes(1) + (REQUEST + b"\r\n") * requests)
            received = b""
            with contextlib.suppress(ConnectionError, TimeoutError):
                while chunk := connection.recv(65536):
                    received += chunk
        assert (received.count(b"HTTP/1.1 200 ") == requests) == kept


def test_trailers_are_no_headers(impatient: Server) -> None:
    trailer = b"0\r\nX-Request-ID: mine\r\n\r\n"
    with socket.create_connection(address(impatient), timeout=10) as connection:
        connection.sendall(CHUNKED + b"1\r\nx\r\n" + trailer)
        told = connection.recv(65536)
    assert told.startswith(b"HTTP/1.1 4")
    assert b"mine" not in told


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_an_upgrade_that_is_not_to_be_had_does_no_harm(impatient: Server, protocol: str) -> None:
    """curl --http2 asks for one with every request."""
    upgrade = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": protocol, "HTTP2-Settings": "A"}
    for _ in range(2):
        answer = httpx2.post(f"{impatient.url}/enhance", files={"file": b"x"}, headers=upgrade)
        assert answer.json()["title"].startswith("Not a picture"), answer.text
        answer = httpx2.get(f"{impatient.url}/health/live", headers=upgrade)
        assert answer.status_code == 200


def test_the_end_while_loading_is_a_success(tmp_path: Path) -> None:
    """Whatever native code the loading thread is in."""
    sabotage = """
import app.serving.load, torch
def endless(settings):
    while True: torch.randn(500, 500) @ torch.randn(500, 500)
app.serving.load.load = endless
"""
    with serving(tmp_path / "log", sabotage, 503) as server:
        server.process.terminate()
        assert server.process.wait(20) == 0
    assert "terminate called" not in (tmp_path / "log").read_text()
