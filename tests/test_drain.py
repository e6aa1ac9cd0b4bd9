"""SIGTERM, as a supervisor sends it."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.conftest import serving


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
        ThreadPoolExecutor(4) as pool,
    ):
        before = [pool.submit(enhance, server.url, astronaut_png) for _ in range(8)]
        time.sleep(0.3)
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


@pytest.mark.parametrize("signals", [1, 2])
def test_ending_is_a_success(signals: int, tmp_path: Path) -> None:
    """A second signal does not wait for the rest of the drain."""
    drain_s = "0.5" if signals == 1 else "600"
    with serving(tmp_path / "log", GPEN_DRAIN_S=drain_s) as server:
        for _ in range(signals):
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        assert server.process.wait(30) == 0
