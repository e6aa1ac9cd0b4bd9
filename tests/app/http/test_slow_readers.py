"""Clients that take large answers slowly, or not at all: over sockets, with small buffers."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.app.http.test_gate import BOUNDARY, FORM, FORM_START, gauge, wait_until
from tests.client import enhance
from tests.conftest import Server, encode_png, serving

SIDE = 1000  # pixels; enlarged twice, an answer of nearly 12 MB
STALL_S = 5
PATIENCE = f"import app.http.connections; app.http.connections.STALL_S = {STALL_S}"
RATE = 60_000  # bytes a second
OK = 'gpen_requests_total{route="/enhance",status="200"}'
GONE = 'gpen_requests_total{route="/enhance",status="499"}'


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Little room for uploads, and little patience."""
    settings = {"GPEN_MAX_UPLOAD_MB": "4", "GPEN_MAX_MB_IN_FLIGHT": "5"}
    log = tmp_path_factory.mktemp("narrow") / "log"
    with serving(log, PATIENCE, GPEN_MODEL="gpen-starter-256", **settings) as running:
        yield running


@pytest.fixture(scope="module")
def noise() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    return encode_png(pixels)


@contextlib.contextmanager
def reading(server: Server, photo: bytes) -> Iterator[socket.socket]:
    """A connection on which a large answer has begun to come, and waits to be read."""
    host, port = server.url.removeprefix("http://").split(":")
    option = f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="upscale"\r\n\r\n2'
    body = FORM_START + photo + f"{option}\r\n--{BOUNDARY}--\r\n".encode()
    head = (
        f"POST /enhance HTTP/1.1\r\nHost: {host}\r\nContent-Type: {FORM}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        connection.settimeout(60)
        connection.connect((host, int(port)))
        connection.sendall(head.encode() + body)
        assert connection.recv(12).endswith(b" 200")
        yield connection


def test_uploads_do_not_wait_for_those_who_read_slowly(
    narrow: Server, noise: bytes, astronaut_png: bytes
) -> None:
    with reading(narrow, noise), reading(narrow, noise):
        assert gauge(narrow, "gpen_answer_bytes_in_flight") > 20_000_000
        assert gauge(narrow, "gpen_upload_bytes_in_flight") == 0
        assert enhance(narrow, astronaut_png).status_code == 200
    wait_until(narrow, "gpen_answer_bytes_in_flight", lambda n: n == 0)


@pytest.mark.long
def test_who_reads_slowly_but_steadily_is_not_cut_off(narrow: Server, noise: bytes) -> None:
    """Though the kernel asks for more only when a third of its buffer of megabytes is empty."""
    before = gauge(narrow, OK)
    with reading(narrow, noise) as connection:
        start, received = time.monotonic(), 0
        while (elapsed := time.monotonic() - start) < 12 * STALL_S:
            time.sleep(max(0.0, received / RATE - elapsed))
            piece = connection.recv(8192)
            assert piece
            received += len(piece)
        while piece := connection.recv(65536):  # and is done when it hurries
            received += len(piece)
    assert received > 10_000_000
    wait_until(narrow, OK, lambda n: n == before + 1)


def test_who_takes_nothing_is_cut_off_and_counted_as_gone(narrow: Server, noise: bytes) -> None:
    served, gone = gauge(narrow, OK), gauge(narrow, GONE)
    with reading(narrow, noise):
        wait_until(narrow, GONE, lambda n: n == gone + 1)
    assert gauge(narrow, OK) == served
    assert gauge(narrow, "gpen_answer_bytes_in_flight") == 0
    log = narrow.log.read_text()
    assert f"received next to nothing for {STALL_S} s was cut off" in log
    assert "/enhance 499" in log
