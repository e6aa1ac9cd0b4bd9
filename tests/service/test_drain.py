"""SIGTERM, as a supervisor sends it."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import httpx2
import pytest

from tests.app.serving.test_metrics import values
from tests.conftest import Server, serving


def enhance(url: str, data: bytes) -> int | None:
    """Status, or None when the connection was refused (or closed before it was used)."""
    try:
        return httpx2.post(f"{url}/enhance", files={"file": data}, timeout=120).status_code
    except httpx2.ConnectError:
        return None


def test_drain_under_load(astronaut_png: bytes, tmp_path: Path) -> None:
    """Health turns at once, what comes in time is served, and the process ends well."""
    drain_s = 5.0
    settings = {"GPEN_DRAIN_S": str(drain_s), "GPEN_REQUEST_TIMEOUT_S": "120"}
    with (
        serving(tmp_path / "log", GPEN_MODEL="gpen-starter-256", **settings) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        before = [pool.submit(enhance, server.url, astronaut_png) for _ in range(8)]
        _wait_for_requests(server, 8)
        server.process.send_signal(signal.SIGTERM)
        start = time.monotonic()
        while (health := httpx2.get(f"{server.url}/health", timeout=60)).status_code == 200:
            assert time.monotonic() - start < 3
        assert (health.status_code, health.json()["status"]) == (503, "draining")
        assert httpx2.get(f"{server.url}/health/live", timeout=60).status_code == 200
        after: list[int | None] = []
        while (status := enhance(server.url, astronaut_png)) is not None:
            after.append(status)
        assert time.monotonic() - start >= drain_s
        assert server.process.wait(60) == 0
    assert [future.result() for future in before] == [200] * 8
    assert after
    assert set(after) == {200}


def _wait_for_requests(server: Server, count: int) -> None:
    """Until so many have come to ``/enhance``, answered or not."""
    answered = 'gpen_requests_total{route="/enhance",status="200"}'
    deadline = time.monotonic() + 60
    while True:
        metrics = values(httpx2.get(f"{server.url}/metrics", timeout=60).text)
        if metrics["gpen_requests_in_flight"] + metrics[answered] >= count:
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _keep_asking(url: str, end: threading.Event) -> tuple[int, list[str], list[str]]:
    """Requests on a connection that is kept: answers, what they say of it, and what went wrong.

    Until a new connection is refused, or reset before its first answer: any client tries that
    elsewhere.  (``tests/app/http/test_server.py`` says when it is not even reset.)
    """
    address = url.removeprefix("http://")
    answers = 0
    said: list[str] = []
    errors: list[str] = []
    while True:
        connection = HTTPConnection(address, timeout=30)
        try:
            connection.connect()
        except ConnectionRefusedError:
            return answers, said, errors
        with closing(connection):
            close = used = False
            while not close:
                signalled = end.is_set()
                try:
                    connection.request("GET", "/health/live")
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, HTTPException) as error:
                    if not used and type(error) is ConnectionResetError:  # nothing was read
                        return answers, said, errors
                    errors.append(repr(error))
                    break
                used = True
                answers += answer.status == 200
                close = answer.getheader("Connection") == "close"
                if signalled:
                    said.append(answer.getheader("Connection", "nothing"))


def test_clients_that_keep_their_connections_lose_nothing(tmp_path: Path) -> None:
    settings = {"GPEN_MODEL": "gpen-starter-256", "GPEN_DRAIN_S": "2", "GPEN_LOG_LEVEL": "info"}
    signalled = threading.Event()
    with serving(tmp_path / "log", **settings) as server, ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(_keep_asking, server.url, signalled) for _ in range(16)]
        time.sleep(1)
        server.process.send_signal(signal.SIGTERM)
        while httpx2.get(f"{server.url}/health", timeout=60).status_code == 200:
            time.sleep(0.01)
        signalled.set()
        results = [client.result() for client in clients]
        assert server.process.wait(60) == 0
    assert [error for _, _, errors in results for error in errors] == []
    assert all(answers > 10 for answers, _, _ in results)
    assert {header for _, said, _ in results for header in said} == {"close"}


def test_a_request_that_crosses_the_end_is_answered(tmp_path: Path) -> None:
    """On a connection that idles, which the server wants to close."""
    with serving(tmp_path / "log", GPEN_MODEL="gpen-starter-256", GPEN_DRAIN_S="0") as server:
        address = server.url.removeprefix("http://")
        with closing(HTTPConnection(address, timeout=30)) as connection:
            for _ in range(2):
                connection.request("GET", "/health/live")
                answer = connection.getresponse()
                assert answer.read()
                assert answer.status == 200
                if server.process.poll() is None and answer.getheader("Connection") != "close":
                    server.process.send_signal(signal.SIGTERM)
                    _wait_until_refused(address)
        assert answer.getheader("Connection") == "close"
        assert server.process.wait(30) == 0


def _wait_until_refused(address: str) -> None:
    with suppress(ConnectionRefusedError):
        while True:
            with closing(HTTPConnection(address, timeout=30)) as connection:
                connection.connect()
            time.sleep(0.01)


@pytest.mark.parametrize("signals", [1, 2])
def test_ending_is_a_success(signals: int, tmp_path: Path) -> None:
    """A second signal does not wait for the rest of the drain."""
    drain_s = "0.5" if signals == 1 else "600"
    with serving(tmp_path / "log", GPEN_DRAIN_S=drain_s) as server:
        for _ in range(signals):
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        assert server.process.wait(30) == 0
