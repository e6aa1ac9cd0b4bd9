"""A server that is full, late, or has a bug."""

import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app import pipeline, service
from app.load import Loaded
from tests.app.running import post, running, wait_for, with_restorer
from tests.conftest import encode_png


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
