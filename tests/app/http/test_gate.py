"""Before, while and after the body is read: over sockets, as no well-behaved client would do it."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path

import httpx2
import pytest

from tests.app.serving.test_metrics import values
from tests.client import assert_problem, enhance
from tests.conftest import Server, serving

DEADLINE_S = 2.0
BOUNDARY = "a"
FORM_START = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'.encode()
)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with narrow limits."""
    log = tmp_path_factory.mktemp("strict") / "log"
    with serving(
        log,
        GPEN_MODEL="gpen-starter-256",
        GPEN_REQUEST_TIMEOUT_S=str(DEADLINE_S),
        GPEN_MAX_UPLOAD_MB="1",
        GPEN_MAX_MB_IN_FLIGHT="2",
        GPEN_MAX_REQUESTS_IN_FLIGHT="20",
    ) as running:
        yield running


FORM = f"multipart/form-data; boundary={BOUNDARY}"


def connect(
    server: Server, length: int | None, *more: str, content_type: str = FORM
) -> socket.socket:
    """A connection on which the headers of a request have been sent; no length: in chunks."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    lines = [
        "POST /enhance HTTP/1.1",
        f"Host: {host}",
        f"Content-Type: {content_type}",
        body,
        *more,
    ]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return connection


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    connection.close()
    return received


def next_status(connection: socket.socket) -> int:
    """Read one answer, whole; the connection stays open."""
    response = HTTPResponse(connection)
    response.begin()
    response.read()
    response.close()
    return response.status


def gauge(server: Server, name: str) -> float:
    return values(httpx2.get(f"{server.url}/metrics", timeout=60).text)[name]


def wait_until(server: Server, name: str, wanted: Callable[[float], bool]) -> None:
    deadline = time.monotonic() + 20
    while not wanted(gauge(server, name)):
        assert time.monotonic() < deadline, f"{name} is {gauge(server, name)}"
        time.sleep(0.02)


@pytest.mark.parametrize("length", [100_000, None], ids=["declared", "chunked"])
def test_a_body_that_does_not_come_is_given_up_at_the_deadline(
    strict: Server, length: int | None
) -> None:
    start = time.monotonic()
    connection = connect(strict, length)
    connection.sendall(b"5\r\n--a\r\n\r\n" if length is None else FORM_START)
    told = answer(connection)
    assert told.startswith(b"HTTP/1.1 504 ")
    assert b"connection: close" in told.lower()
    assert DEADLINE_S <= time.monotonic() - start < DEADLINE_S + 4
    wait_until(strict, "gpen_requests_in_flight", lambda n: n == 0)


def test_a_caller_may_shorten_the_deadline_of_its_body(strict: Server) -> None:
    start = time.monotonic()
    assert answer(connect(strict, 9, "X-Request-Timeout: 0.2")).startswith(b"HTTP/1.1 504 ")
    assert time.monotonic() - start < DEADLINE_S


@pytest.mark.parametrize(
    ("length", "content_type", "timeout", "status"),
    [
        (3_000_000, FORM, "1", 413),
        (10, FORM, "nonsense", 422),
        (10, FORM, "0.0009", 422),
        (10, "text/plain", "1", 400),
        (10, "multipart/form-data", "1", 400),
    ],
    ids=["too long", "bad option", "less than a millisecond", "no form", "no boundary"],
)
def test_what_headers_say_is_judged_before_the_body(
    strict: Server, length: int, content_type: str, timeout: str, status: int
) -> None:
    """Nothing of the body is sent, and the client is not asked to."""
    more = f"X-Request-Timeout: {timeout}", "Expect: 100-continue"
    connection = connect(strict, length, *more, content_type=content_type)
    assert answer(connection).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_small_body_that_was_refused_leaves_the_connection_open(strict: Server) -> None:
    """So that an overload is not one of new connections, too."""
    with connect(strict, 30_000, content_type="text/plain") as connection:
        assert next_status(connection) == 400
        for _ in range(3):
            connection.sendall(bytes(10_000))
            time.sleep(0.05)
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert next_status(connection) == 200


def test_a_large_body_that_was_refused_closes_it(strict: Server) -> None:
    with connect(strict, 1_100_000) as connection:
        told = answer(connection)
        assert told.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in told.lower()


def test_an_endless_body_is_cut_off_and_the_client_hears_why(strict: Server) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with connect(strict, None) as connection:
        sent = 0
        with contextlib.suppress(OSError):  # reset, or a broken pipe
            while sent < 200_000_000:
                connection.sendall(chunk)
                sent += len(chunk)
        assert sent < 60_000_000
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_bytes_in_memory_are_bounded_whatever_was_declared(strict: Server) -> None:
    held = [connect(strict, 1_000_000) for _ in range(2)]
    for connection in held:
        connection.sendall(FORM_START + bytes(900_000))
    wait_until(strict, "gpen_upload_bytes_in_flight", lambda n: n > 1_800_000)
    refused = answer(connect(strict, 300_000, "Connection: close"))
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: " in refused.lower()
    for connection in held:
        assert answer(connection).startswith(b"HTTP/1.1 504 ")
    wait_until(strict, "gpen_upload_bytes_in_flight", lambda n: n == 0)


def test_requests_in_flight_are_bounded(strict: Server) -> None:
    connections = [connect(strict, 10) for _ in range(20)]
    wait_until(strict, "gpen_requests_in_flight", lambda n: n == 20)
    start = time.monotonic()
    refused = answer(connect(strict, 10, "Expect: 100-continue"))
    assert time.monotonic() - start < 2
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert httpx2.get(f"{strict.url}/health", timeout=10).status_code == 200
    for connection in connections:
        connection.close()
    wait_until(strict, "gpen_requests_in_flight", lambda n: n == 0)


def test_who_goes_away_while_waiting_costs_nothing_more(
    server: Server, astronaut_png: bytes
) -> None:
    """Faces of clients that left are not restored, and both are counted."""
    before = values(httpx2.get(f"{server.url}/metrics", timeout=60).text)
    gone = 'gpen_requests_total{route="/enhance",status="499"}'
    body = FORM_START + astronaut_png + f"\r\n--{BOUNDARY}--\r\n".encode()
    connections = [connect(server, len(body)) for _ in range(12)]
    for connection in connections:
        connection.sendall(body)
    wait_until(server, "gpen_requests_in_flight", lambda n: n == 12)
    for connection in connections:
        connection.close()
    wait_until(server, "gpen_requests_in_flight", lambda n: n == 0)
    wait_until(server, "gpen_pixels", lambda n: n == 0)
    after = values(httpx2.get(f"{server.url}/metrics", timeout=60).text)
    assert after[gone] - before.get(gone, 0) >= 10
    name = "gpen_batch_faces_sum"
    assert after[name] - before[name] <= 6
    assert enhance(server, astronaut_png).status_code == 200


def test_who_goes_away_in_the_middle_of_the_body_is_no_error(server: Server) -> None:
    for _ in range(5):
        connection = connect(server, 100_000)
        connection.sendall(FORM_START)
        connection.close()
    wait_until(server, "gpen_requests_in_flight", lambda n: n == 0)
    assert gauge(server, 'gpen_requests_total{route="/enhance",status="500"}') == 0
    assert "Traceback" not in server.log.read_text()


def test_a_crowd_of_clients_is_answered_in_time_or_refused_at_once(
    strict: Server, astronaut_png: bytes
) -> None:
    """Far more than two seconds of work at once, again and again until the pace is known."""
    with ThreadPoolExecutor(16) as pool:
        for _ in range(3):
            list(pool.map(lambda _: enhance(strict, astronaut_png), range(32)))
        answers = list(pool.map(lambda _: enhance(strict, astronaut_png), range(64)))
    statuses = [a.status_code for a in answers]
    assert set(statuses) <= {200, 503, 504}
    assert statuses.count(200) > 0
    assert statuses.count(503) > 0
    assert statuses.count(504) <= len(statuses) // 8
    for refused in answers:
        if refused.status_code == 503:
            assert_problem(refused, 503)
            assert int(refused.headers["retry-after"]) >= 1


def test_nothing_of_an_upload_is_written_to_disk(server: Server) -> None:
    open_files = Path(f"/proc/{server.process.pid}/fd")
    if not open_files.is_dir():
        pytest.skip("there is no /proc here")
    links = []
    with connect(server, 9_000_000) as connection:
        connection.sendall(FORM_START + bytes(5_000_000))
        wait_until(server, "gpen_upload_bytes_in_flight", lambda n: n > 4_900_000)
        for file in open_files.iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                links.append(str(file.readlink()))
    assert len(links) > 3
    assert not [link for link in links if "(deleted)" in link]
