"""``gpen serve`` forked from a process that has imported it.

Importing PyTorch and the application takes seconds of processor time, and dozens of tests need a
server with settings of their own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["app.cli", "app.main"])


class Process(Protocol):
    """What :class:`subprocess.Popen` and :class:`ForkedProcess` have in common."""

    pid: int

    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        ...

    def send_signal(self, number: int, /) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class ForkedProcess:
    """The command ``gpen`` with these arguments; ``sabotage`` is Python that runs before it."""

    def __init__(
        self, arguments: Sequence[str], sabotage: str, log: Path, environment: Mapping[str, str]
    ) -> None:
        # a daemon, so that pytest ends it rather than waiting for it
        self._process = _CONTEXT.Process(
            target=_run, args=([*arguments], sabotage, log, {**environment}), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("gpen", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int, /) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(arguments: list[str], sabotage: str, log: Path, environment: dict[str, str]) -> None:
    from app.cli import main

    with log.open("wb") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["gpen", *arguments]
    exec(sabotage, {})
    main()
