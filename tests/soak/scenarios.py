"""The scenarios, each with a server of its own and the settings that it needs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import Field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tests.conftest import Server, serving_afresh
from tests.soak.client import Address
from tests.soak.drain import drain
from tests.soak.half_open import half_open
from tests.soak.huge_body import huge_body
from tests.soak.mixed import mixed
from tests.soak.overload import overload

MODEL = "gpen-starter-256"
OVERLOAD_DEADLINE_S = 6.0
HALF_OPEN_DEADLINE_S = 8.0
DRAIN_S = 5.0
_TRACES = ("Traceback", "Exception in", "Task exception was never retrieved")


def prepare() -> None:
    """Have the starter's engines ready, as they are from a service's second start on."""
    subprocess.run([sys.executable, "-m", "app.cli", "prepare", "--model", MODEL], check=True)


class Result(Protocol):
    """What every scenario returns: a dataclass with figures, and what should not have been."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def violations(self) -> list[str]: ...

    def text(self) -> str: ...


def run_mixed(requests: int, concurrency: int, url: str | None, pid: int | None) -> Result:
    """On a server of its own, or on one that runs already at ``url``, as process ``pid``."""
    if url is not None:
        return asyncio.run(mixed(Address.of(url), pid, requests=requests, concurrency=concurrency))
    return on_a_server(
        lambda server: mixed(
            Address.of(server.url), server.process.pid, requests=requests, concurrency=concurrency
        )
    )


def run_overload(seconds: float) -> Result:
    return on_a_server(
        lambda server: overload(
            Address.of(server.url),
            server.process.pid,
            deadline_s=OVERLOAD_DEADLINE_S,
            seconds=seconds,
        ),
        GPEN_REQUEST_TIMEOUT_S=str(OVERLOAD_DEADLINE_S),
    )


def run_half_open() -> Result:
    return on_a_server(
        lambda server: half_open(Address.of(server.url), deadline_s=HALF_OPEN_DEADLINE_S),
        GPEN_REQUEST_TIMEOUT_S=str(HALF_OPEN_DEADLINE_S),
    )


def run_huge_body() -> Result:
    return on_a_server(lambda server: huge_body(Address.of(server.url), server.process.pid))


def run_drain() -> Result:
    return on_a_server(
        lambda server: drain(Address.of(server.url), server.process, drain_s=DRAIN_S),
        GPEN_DRAIN_S=str(DRAIN_S),
    )


def on_a_server(scenario: Callable[[Server], Awaitable[Result]], **settings: str) -> Result:
    """Run a scenario on a new server; a stack trace in its log is a violation too."""

    async def run(server: Server) -> Result:
        return await scenario(server)

    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serving_afresh(log, GPEN_MODEL=MODEL, GPEN_LOG_LEVEL="info", **settings) as server:
            result = asyncio.run(run(server))
        result.violations.extend(traces(log))
        return result


def traces(log: Path) -> list[str]:
    """The last line of every stack trace in a server's log."""
    lines = log.read_text(errors="replace").splitlines()
    starts = [i for i, line in enumerate(lines) if any(trace in line for trace in _TRACES)]
    return [f"the server's log: {lines[i]} {_last_of_trace(lines[i + 1 :])}" for i in starts]


def _last_of_trace(lines: list[str]) -> str:
    return next((line for line in lines if line and not line.startswith((" ", "Traceback"))), "")
