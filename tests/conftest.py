"""A real server, real pictures."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx2
import numpy as np
import pytest
import skimage
from numpy.typing import NDArray
from PIL import Image

from tests.forked import ForkedProcess, Process

pytest_plugins = ["tests.modelscope_stand_in"]

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared" / "data"
START_S = 120
END_S = 60.0


def pytest_configure() -> None:
    """Settings of all tests and of the processes that they start.

    What is not about engines takes the one that needs no preparing.  PyTorch computes with one
    thread: with more, tests that run side by side would wait for each other, busily.
    """
    os.environ |= {"GPEN_ENGINE": "torch", "GPEN_PRECISION": "fp32", "OMP_NUM_THREADS": "1"}


def pytest_unconfigure() -> None:
    """A process that does not come to its end after the last test shows where it hangs, and fails.

    The alarm is for what hangs in native code after Python has ended.
    """
    faulthandler.dump_traceback_later(END_S, exit=True, file=2)  # not what captures
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 2 * END_S)


@dataclass(frozen=True)
class Server:
    url: str
    process: Process
    log: Path


@contextlib.contextmanager
def serving(
    log: Path, sabotage: str = "", health: int = 200, /, **environment: str
) -> Iterator[Server]:
    """``gpen serve`` on a free port, stopped afterwards; forked, for it starts in half the time.

    ``sabotage`` is Python that runs before it; ``health`` is the status that is waited for.
    """
    port = free_port()
    process = ForkedProcess(_serve(port), sabotage, log, _environment(environment))
    with _until_the_end(Server(f"http://127.0.0.1:{port}", process, log), health) as server:
        yield server


@contextlib.contextmanager
def serving_afresh(
    log: Path, sabotage: str = "", checkout: Path = REPOSITORY, /, **environment: str
) -> Iterator[Server]:
    """The same in an interpreter of its own, which imports what it needs, as a user's does.

    ``checkout`` is the working copy of the repository that serves.
    """
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", f"{sabotage}\nfrom app.cli import main\nmain()"),
                *_serve(port),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=checkout,
            env=_environment(environment),
        )
    with _until_the_end(Server(f"http://127.0.0.1:{port}", process, log), 200) as server:
        yield server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _serve(port: int) -> list[str]:
    return ["serve", "--host", "127.0.0.1", "--port", str(port)]


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "GPEN_LOG_LEVEL": "debug", "GPEN_DRAIN_S": "0", **changes}


@contextlib.contextmanager
def _until_the_end(server: Server, health: int) -> Iterator[Server]:
    try:
        _wait_until_healthy(server, health)
        yield server
    finally:
        server.process.terminate()
        try:
            server.process.wait(20)
        except subprocess.TimeoutExpired:
            server.process.kill()
            raise


def _wait_until_healthy(server: Server, status: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"{server.url}/health").status_code == status:
                return
        time.sleep(0.2)
    pytest.fail(f"the server did not become healthy:\n{server.log.read_text()}")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service with the bundled weights."""
    log = tmp_path_factory.mktemp("server") / "log"
    settings = {"GPEN_REQUEST_TIMEOUT_S": "120", "GPEN_MAX_BATCH": "4"}
    with serving(log, GPEN_MODEL="gpen-starter-256", **settings) as running:
        yield running


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """(512, 512, 3) RGB, one face (NASA, public domain; from the installed package)."""
    path = Path(skimage.__file__).parent / "data" / "astronaut.png"
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="session")
def astronaut_png(astronaut: NDArray[np.uint8]) -> bytes:
    return encode_png(astronaut)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Path of a real picture that is not part of the repository; skips where it is not there."""

    def path(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"{name} is not here")
        return SHARED / name

    return path
