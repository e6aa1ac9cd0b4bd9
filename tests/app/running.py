"""The application in this process, with another ``load`` or restorer than the real one."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from app.main import create_app
from app.serving import service
from app.serving.admission import Cost
from app.serving.load import Loaded
from app.settings import Settings
from tests.decoders import decoders


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
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Settings], Loaded],
    pool: Any = lambda *_: decoders,
    **settings: Any,
) -> Iterator[tuple[TestClient, threading.Event]]:
    """The application with another ``load``, and an event: the process would have ended."""
    monkeypatch.setattr(service, "load", work)
    monkeypatch.setattr(service, "decoder_pool", pool)
    monkeypatch.setattr(service, "rehearse", lambda *_: Cost(0.05, 0.05))
    ended = threading.Event()
    app = create_app(Settings(model="gpen-starter-256", **settings), on_failure=ended.set)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client, ended


def with_restorer(loaded: Loaded, restore: Callable[[Any], Any]) -> Callable[[Settings], Loaded]:
    """Without the guard, as what tests make of faces need not look like them."""
    replaced: Any = Restorer(loaded, restore)
    return lambda _: replace(loaded, restorer=replaced, max_batch=2, max_wait=0, guard=None)


def wait_for(client: TestClient, status: str) -> httpx2.Response:
    deadline = time.monotonic() + 30
    while (answer := client.get("/health")).json()["status"] != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.02)
    return answer


def post(client: TestClient, data: bytes, headers: dict[str, str] | None = None) -> httpx2.Response:
    return client.post("/enhance", files={"file": data}, headers=headers)
