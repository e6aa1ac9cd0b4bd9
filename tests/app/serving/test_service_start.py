"""States of a server that begins: it loads, and prepares another engine."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.engines.engine import EngineError
from app.serving import service
from app.serving.load import Loaded
from app.settings import Settings
from app.threads import in_daemon_thread
from tests.app.running import post, running, wait_for, with_restorer


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


def test_loading_that_fails_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Settings) -> Loaded:
        raise ValueError("no such weights")

    with running(monkeypatch, fail) as (client, ended):
        assert wait_for(client, "failed").status_code == 503
        assert ended.wait(10)
        assert "cannot start: no such weights" in caplog.text


def test_loading_has_the_processor_whatever_other_threads_have() -> None:
    """What one thread sets, PyTorch gives to those that begin later."""

    async def load_beside_others() -> int:
        torch.get_num_threads()  # the first look, too, takes what others have set
        torch.set_num_threads(3)
        await asyncio.to_thread(torch.set_num_threads, 1)
        return await in_daemon_thread(torch.get_num_threads, "loading")

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(asyncio.run, load_beside_others()).result(60) == 3


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
        while "staying with PyTorch" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert post(client, astronaut_png).status_code == 200
        assert not ended.is_set()
    assert ("it failed here" in caplog.text) == prepared
