"""When the worker or its device is gone, the process says so and ends, for its supervisor."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.client import enhance
from tests.conftest import serving

SABOTAGE = """
import sys, threading, time
from app.restore import Restorer
from app.service import LOADING
def sabotaged(self, crops):
    if threading.current_thread().name == LOADING:
        return crops
    {}
Restorer.__call__ = sabotaged
"""


@pytest.mark.parametrize(
    "failure",
    ["raise RuntimeError('device lost')", "time.sleep(600)", "sys.exit()", "return None"],
    ids=["raises", "hangs", "ends", "returns nothing"],
)
def test_the_process_ends_within_five_seconds(
    failure: str, tmp_path: Path, astronaut_png: bytes
) -> None:
    worker_timeout_s = 2
    with (
        serving(
            tmp_path / "log",
            SABOTAGE.format(failure),
            GPEN_MODEL="gpen-starter-256",
            GPEN_WORKER_TIMEOUT_S=str(worker_timeout_s),
        ) as server,
        ThreadPoolExecutor(1) as pool,
    ):
        poisoned = pool.submit(enhance, server, astronaut_png)
        states = []
        deadline = time.monotonic() + 60
        while server.process.poll() is None:
            assert time.monotonic() < deadline, "it goes on"
            try:
                states.append(httpx2.get(f"{server.url}/health", timeout=10).json()["status"])
            except httpx2.TransportError:
                continue
            if states[-1] == "failed" and "failed" not in states[:-1]:
                failed = time.monotonic()
            time.sleep(0.05)
        assert "failed" in states
        assert time.monotonic() - failed < 5
        assert server.process.returncode == 1
        try:
            assert poisoned.result(30).status_code in {500, 503}
        except httpx2.TransportError:
            assert "sleep" in failure  # it was still waiting
