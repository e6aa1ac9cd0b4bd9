"""The hostile corpus over HTTP, several at a time: every file gets its answer, and nobody else
suffers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.client import TIMEOUT, assert_problem, enhance, pixels
from tests.conftest import Server
from tests.hostile import HostileFile, corpus

_AT_ONCE = 4
_MOST_SECONDS = 20  # of which most is waiting for the others


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=TIMEOUT) as client:
        yield client


def _sent(client: httpx2.Client, server: Server, file: HostileFile) -> httpx2.Response:
    upload = ("photo.jpg", file.data, file.content_type or "application/octet-stream")
    return client.post(f"{server.url}/enhance", files={"file": upload})


def _complaint(client: httpx2.Client, server: Server, file: HostileFile) -> str | None:
    """What is wrong with the answer to a file, if anything is."""
    start = time.perf_counter()
    try:
        response = _sent(client, server, file)
        status, seconds = response.status_code, time.perf_counter() - start
        assert status in file.statuses, f"{status}: {response.text[:200]}"
        assert seconds < _MOST_SECONDS, f"{seconds:.1f} s"
        if status == 200:
            with Image.open(BytesIO(response.content)) as image:
                image.load()
        else:
            assert_problem(response, status)
    except Exception as error:  # noqa: BLE001  (they are told together, each with its file's name)
        return f"{file.name}: {type(error).__name__}: {error}"
    return None


def test_hostile_files_get_their_answers_and_the_service_lives_on(
    server: Server, client: httpx2.Client, astronaut_png: bytes, astronaut: NDArray[np.uint8]
) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(lambda file: _complaint(client, server, file), corpus()))
    assert [complaint for complaint in answers if complaint] == []

    healthy = enhance(server, astronaut_png)
    assert pixels(healthy).shape == astronaut.shape
    assert healthy.headers["x-faces-restored"] == "1"
    health = client.get(f"{server.url}/health")
    assert health.status_code == 200
    assert health.json()["queue"]["faces"] == 0
    assert server.process.poll() is None


def test_a_healthy_photo_is_served_among_hostile_files(
    server: Server, client: httpx2.Client, astronaut_png: bytes
) -> None:
    worst = [file for file in corpus() if len(file.data) > 1_000_000]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        hostile = [pool.submit(_complaint, client, server, file) for file in worst]
        healthy = [enhance(server, astronaut_png) for _ in range(3)]
    assert [response.status_code for response in healthy] == [200] * 3
    assert [future.result() for future in hostile if future.result()] == []


def test_the_log_tells_no_bug(server: Server) -> None:
    """After all these: every refusal was foreseen."""
    log = server.log.read_text(errors="replace")
    assert "Traceback" not in log
    assert "internal" not in log
