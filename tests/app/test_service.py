"""States that a healthy server does not show: starting, full, failed, and a bug."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from starlette.testclient import TestClient

from app import pipeline, service
from app.engines.engine import EngineError
from app.load import Loaded, load
from app.main import create_app
from app.settings import Settings
from tests.conftest import encode_png


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load(Settings(model="gpen-starter-256"))


class Restorer:
    """Everything of the real one, but the work is done by ``restore``."""

    def __init__(self, loaded: Loaded, restore: Callable[[Any], Any]) -> None:
        self._real, self._restore = loaded.restorer, restore

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def __call__(self, crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        result: NDArray[np.uint8] = self._restore(crops)
        return result


@contextmanager
def running(
    monkeypatch: pytest.MonkeyPatch, work: Callable[[Settings], Loaded], **settings: Any
) -> Iterator[tuple[TestClient, threading.Event]]:
    """The application with another ``load``, and an event: the process would have ended."""
    monkeypatch.setattr(service, "load", work)
    ended = threading.Event()
    app = create_app(Settings(model="gpen-starter-256", **settings), on_failure=ended.set)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client, ended


def with_restorer(loaded: Loaded, restore: Callable[[Any], Any]) -> Callable[[Settings], Loaded]:
    replaced: Any = Restorer(loaded, restore)
    return lambda _: replace(loaded, restorer=replaced, max_batch=2, max_wait=0)


def wait_for(client: TestClient, status: str) -> httpx2.Response:
    deadline = time.monotonic() + 30
    while (answer := client.get("/health")).json()["status"] != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)
    return answer


def post(client: TestClient, data: bytes) -> httpx2.Response:
    return client.post("/enhance", files={"file": data})


def test_while_loading_all_but_liveness_is_503(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut_png: bytes
) -> None:
    gate = threading.Event()

    def slow(_: Settings) -> Loaded:
        assert gate.wait(30)
        return loaded

    with running(monkeypatch, slow) as (client, ended):
        assert client.get("/health").status_code == 503
        assert client.get("/health").json()["status"] == "starting"
        assert client.get("/health/ready").status_code == 503
        assert client.get("/health/live").status_code == 200
        refused = post(client, astronaut_png)
        assert refused.status_code == 503
        assert refused.headers["retry-after"].isdecimal()
        gate.set()
        assert wait_for(client, "ok").status_code == 200
        assert post(client, astronaut_png).status_code == 200
        assert not ended.is_set()


def test_loading_that_never_ends_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded
) -> None:
    gate = threading.Event()

    def endless(_: Settings) -> Loaded:
        gate.wait(60)
        return loaded

    start = time.monotonic()
    with running(monkeypatch, endless):
        pass
    assert time.monotonic() - start < 10
    gate.set()


def test_goes_over_to_the_engine_that_was_prepared(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut_png: bytes
) -> None:
    calls: list[int] = []

    def noting(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        calls.append(len(crops))
        return crops

    async def prepare(_: Settings) -> bool:
        return True

    loads = iter([replace(loaded, prepared=False), with_restorer(loaded, noting)(Settings())])
    monkeypatch.setattr(service, "prepare_apart", prepare)
    with running(monkeypatch, lambda _: next(loads)) as (client, ended):
        wait_for(client, "ok")
        deadline = time.monotonic() + 10
        while not calls:
            assert post(client, astronaut_png).status_code == 200
            assert time.monotonic() < deadline
        assert not ended.is_set()


@pytest.mark.parametrize("prepared", [False, True])
def test_an_engine_that_cannot_be_prepared_or_used_leaves_pytorch(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    loaded: Loaded,
    astronaut_png: bytes,
    prepared: bool,
) -> None:
    loads = iter([replace(loaded, prepared=False)])

    def load_once(_: Settings) -> Loaded:
        for first in loads:
            return first
        raise EngineError("it failed here")

    async def prepare(_: Settings) -> bool:
        return prepared

    monkeypatch.setattr(service, "prepare_apart", prepare)
    with running(monkeypatch, load_once) as (client, ended):
        wait_for(client, "ok")
        deadline = time.monotonic() + 10
        while "PyTorch goes on" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert post(client, astronaut_png).status_code == 200
        assert not ended.is_set()
    assert ("it failed here" in caplog.text) == prepared


def test_loading_that_fails_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Settings) -> Loaded:
        raise ValueError("no such weights")

    with running(monkeypatch, fail) as (client, ended):
        assert wait_for(client, "failed").status_code == 503
        assert ended.wait(10)
        assert "cannot start: no such weights" in caplog.text


def test_a_bug_is_a_500_that_says_nothing_internal(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    loaded: Loaded,
    astronaut_png: bytes,
) -> None:
    def fail_on_faces(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if crops.any():
            raise RuntimeError("secret")
        return crops

    def fail(*_: Any) -> Any:
        raise RuntimeError("secret")

    with running(monkeypatch, with_restorer(loaded, fail_on_faces)) as (client, ended):
        wait_for(client, "ok")
        answer = post(client, astronaut_png)
        assert answer.status_code == 500
        assert answer.json()["title"] == "Restoration failed"
        monkeypatch.setattr(service, "finish", fail)
        monkeypatch.setattr(service, "_restore", fail)
        answer = post(client, astronaut_png)
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "secret" not in answer.text
        assert "RuntimeError: secret" in caplog.text
        assert not ended.is_set()


def test_a_full_queue_is_503_and_a_deadline_504(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut: NDArray[np.uint8]
) -> None:
    gate, entered = threading.Event(), threading.Event()

    def held(crops: Any) -> Any:
        entered.set()
        assert gate.wait(30)
        return crops

    one, two = encode_png(astronaut), encode_png(np.hstack([astronaut, astronaut]))
    limits = {"queue_faces": 2, "max_faces": 2, "request_timeout_s": 15}
    with running(monkeypatch, with_restorer(loaded, held), **limits) as (client, _):
        wait_for(client, "ok")
        statuses: list[int] = []
        crowd = [
            threading.Thread(target=lambda: statuses.append(post(client, two).status_code))
            for _ in range(2)
        ]
        crowd[0].start()
        assert entered.wait(10)
        crowd[1].start()
        deadline = time.monotonic() + 12
        while client.get("/health").json()["queue"]["faces"] < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        refused = post(client, one)
        assert refused.status_code == 503
        assert refused.headers["retry-after"].isdecimal()
        for thread in crowd:
            thread.join(30)
        assert statuses == [504, 504]
        gate.set()
        assert post(client, one).status_code == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_worker_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut_png: bytes
) -> None:
    def die(_: Any) -> Any:
        raise SystemExit

    with running(monkeypatch, with_restorer(loaded, die)) as (client, ended):
        wait_for(client, "ok")
        assert post(client, astronaut_png).status_code == 500
        assert ended.wait(10)
        assert wait_for(client, "failed").status_code == 503
        assert post(client, astronaut_png).status_code == 503


def test_a_device_that_fails_on_everything_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut_png: bytes
) -> None:
    def fail(_: Any) -> Any:
        raise torch.AcceleratorError("an illegal memory access was encountered")

    with running(monkeypatch, with_restorer(loaded, fail)) as (client, ended):
        wait_for(client, "ok")
        answer = post(client, astronaut_png)
        assert answer.status_code == 500
        assert "illegal" not in answer.text
        assert ended.wait(5)
        assert wait_for(client, "failed").status_code == 503


def test_a_device_that_hangs_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut_png: bytes
) -> None:
    gate = threading.Event()

    def hang(crops: Any) -> Any:
        gate.wait(60)
        return crops

    limits = {"worker_timeout_s": 2, "request_timeout_s": 1}
    with running(monkeypatch, with_restorer(loaded, hang), **limits) as (client, ended):
        wait_for(client, "ok")
        assert post(client, astronaut_png).status_code == 504
        assert ended.wait(2 + 5)
        assert client.get("/health").json()["status"] == "failed"
        refused = post(client, astronaut_png)
        assert (refused.status_code, refused.json()["title"]) == (503, "Not serving")
        gate.set()


def test_a_device_out_of_memory_goes_on_with_smaller_batches(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut: NDArray[np.uint8]
) -> None:
    sizes: list[int] = []

    def small(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        sizes.append(len(crops))
        if len(crops) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return crops

    crowd = encode_png(np.hstack([astronaut] * 3))
    with running(monkeypatch, with_restorer(loaded, small)) as (client, ended):
        wait_for(client, "ok")
        for _ in range(2):
            answer = post(client, crowd)
            assert answer.status_code == 200
            assert answer.headers["x-faces-restored"] == "3"
        assert sizes == [2, 1, 1, 1, 1, 1, 1]
        assert not ended.is_set()


def test_a_face_whose_result_is_no_picture_fails_alone(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut: NDArray[np.uint8]
) -> None:
    """As it is when a network overflows in half precision."""

    def overflow(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if any(crop.mean() > 190 for crop in crops):
            raise FloatingPointError("the network's output is not finite")
        return crops

    bright = encode_png((255 - (255 - astronaut.astype(int)) // 3).astype(np.uint8))
    with running(monkeypatch, with_restorer(loaded, overflow)) as (client, ended):
        wait_for(client, "ok")
        assert post(client, bright).status_code == 500
        assert post(client, encode_png(astronaut)).status_code == 200
        assert not ended.is_set()


def test_pixels_in_flight_are_bounded_and_held_until_the_thread_ends(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut_png: bytes
) -> None:
    gate, entered = threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:
        entered.set()
        assert gate.wait(30)
        return pipeline.finish(*arguments)

    monkeypatch.setattr(service, "finish", held)
    work = with_restorer(loaded, lambda crops: crops)
    settings = {"max_pixels_in_flight": 512 * 512 + 1, "request_timeout_s": 8}
    with running(monkeypatch, work, **settings) as (client, _):
        wait_for(client, "ok")
        statuses: list[int] = []
        first = threading.Thread(
            target=lambda: statuses.append(post(client, astronaut_png).status_code)
        )
        first.start()
        assert entered.wait(10)
        refused = post(client, astronaut_png)
        assert refused.status_code == 503
        assert "large photos" in refused.json()["detail"]
        first.join(20)
        assert statuses == [504]
        assert post(client, astronaut_png).status_code == 503  # its thread still holds the photo
        gate.set()
        deadline = time.monotonic() + 10
        while (answer := post(client, astronaut_png)).status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert answer.status_code == 200
        assert "gpen_pixels 0.0" in client.get("/metrics").text
