"""What a server does when its worker or its device fails."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.cores import core_count
from app.errors import MemoryFull
from app.serving import service
from app.serving.load import Loaded
from app.settings import Settings
from tests.app.running import post, running, wait_for, with_restorer
from tests.conftest import encode_png


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


@pytest.mark.parametrize("step", ["measure_work", "find", "finish"])
def test_a_step_that_hangs_ends_the_process(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    loaded: Loaded,
    astronaut_png: bytes,
    step: str,
) -> None:
    """In every thread of its pool: without a watch, each later request would be a 504 for ever."""
    gate = threading.Event()

    def hang(*_: Any) -> Any:
        gate.wait(60)
        raise RuntimeError

    limits = {"worker_timeout_s": 2, "request_timeout_s": 1}
    with running(monkeypatch, with_restorer(loaded, lambda c: c), **limits) as (client, ended):
        wait_for(client, "ok")
        monkeypatch.setattr(service, step, hang)
        with ThreadPoolExecutor(core_count()) as pool:
            crowd = [pool.submit(post, client, astronaut_png) for _ in range(core_count())]
        assert {one.result().status_code for one in crowd} == {504}
        assert ended.wait(3 + 5)
        assert client.get("/health/ready").json()["status"] == "failed"
        assert post(client, astronaut_png).json()["title"] == "Not serving"
        assert "has taken more than" in caplog.text
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


def test_every_device_takes_faces_from_the_queue(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut: NDArray[np.uint8]
) -> None:
    both = threading.Barrier(2)
    used: set[int] = set()

    def on_device(number: int) -> Any:
        def restore(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
            if crops.any():
                used.add(number)
                both.wait(10)  # the one waits until the other has faces, too
            return crops

        return with_restorer(loaded, restore)(Settings()).restorer

    first, second = on_device(0), on_device(1)
    work = replace(loaded, restorer=first, others=(second,), max_batch=1, max_wait=0)
    crowd = encode_png(np.hstack([astronaut] * 2))
    with running(monkeypatch, lambda _: work) as (client, ended):
        wait_for(client, "ok")
        answer = post(client, crowd)
        assert (answer.status_code, answer.headers["x-faces-restored"]) == (200, "2")
        assert used == {0, 1}
        assert client.get("/health").json()["device"] == "cpu, cpu"
    assert not ended.is_set()


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_too_little_memory_for_a_photo_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, astronaut_png: bytes, error: type[Exception]
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error("no memory")

    with running(monkeypatch, lambda _: loaded) as (client, ended):
        wait_for(client, "ok")
        monkeypatch.setattr("app.faces.turned.detect", fail)
        answer = post(client, astronaut_png)
        assert (answer.status_code, answer.json()["title"]) == (503, MemoryFull.title)
        assert answer.headers["Retry-After"] == "1"
    assert not ended.is_set()
