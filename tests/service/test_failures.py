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
from app.faces.restore import Restorer
from app.serving.service import LOADING
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


HANGS_TWICE = """
import threading, time
import app.faces.turned
detect, left = app.faces.turned.detect, threading.Semaphore(2)
def hanging(*arguments, **options):
    if threading.current_thread().name.startswith("gpen-find") and left.acquire(blocking=False):
        time.sleep(600)
    return detect(*arguments, **options)
app.faces.turned.detect = hanging
"""


def test_detection_that_hangs_ends_the_process(tmp_path: Path, astronaut_png: bytes) -> None:
    settings = {"GPEN_WORKER_TIMEOUT_S": "4", "GPEN_REQUEST_TIMEOUT_S": "2"}
    with (
        serving(tmp_path / "log", HANGS_TWICE, GPEN_MODEL="gpen-starter-256", **settings) as server,
        ThreadPoolExecutor(2) as pool,
    ):
        start = time.monotonic()
        poisoned = [pool.submit(enhance, server, astronaut_png) for _ in range(2)]
        assert {one.result().status_code for one in poisoned} == {504}
        assert server.process.wait(4 + 10 - (time.monotonic() - start)) == 1
    assert "finding the faces of a photo has taken more than 4 s" in server.log.read_text()
