"""What is looked at all the time while a server is under load: its health, and its memory."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.soak.client import Address, ask, message

_HEALTH = message("GET", "/health", headers={"Connection": "close"})
_PAUSE_S = 0.1
_MEMORY_PAUSE_S = 1.0
_SAMPLES = 5  # whose median is what the memory is at a time


def resident_mb(pid: int) -> float:
    """Memory of a process (MB), as the kernel counts it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise ProcessLookupError(f"process {pid} has no memory")


def processor_seconds(pid: int) -> float:
    """Processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Health:
    """What ``/health`` answered, and after how long."""

    seconds: list[float] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    @property
    def violations(self) -> list[str]:
        bad = [label for label in self.labels if label != "200"]
        return [f"/health: {len(bad)} of {len(self.labels)} not 200, as {bad[0]}"] if bad else []


@asynccontextmanager
async def watched_health(address: Address, health: Health | None = None) -> AsyncIterator[Health]:
    """Ask again and again, ten times a second at most; add to ``health``, if it is given."""
    health, done = (Health() if health is None else health), asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            answer = await ask(address, _HEALTH, 60)
            health.seconds.append(answer.seconds)
            health.labels.append(answer.label)
            await asyncio.sleep(_PAUSE_S)

    task = asyncio.create_task(watch())
    try:
        yield health
    finally:
        done.set()
        await task


@dataclass(frozen=True)
class MemorySample:
    seconds: float
    finished: int
    """Requests."""
    mb: float


@dataclass
class Memory:
    samples: list[MemorySample] = field(default_factory=list)

    def after(self, finished: int) -> float | None:
        """MB when so many requests were done: the median of some samples from then on."""
        first = [sample.mb for sample in self.samples if sample.finished >= finished][:_SAMPLES]
        return float(np.median(first)) if first else None

    @property
    def last(self) -> float | None:
        """MB at the end, likewise."""
        last = [sample.mb for sample in self.samples][-_SAMPLES:]
        return float(np.median(last)) if last else None

    @property
    def most(self) -> float | None:
        return max((sample.mb for sample in self.samples), default=None)


@asynccontextmanager
async def watched_memory(
    pid: int | None, finished: Callable[[], int] = lambda: 0, pause: float = _MEMORY_PAUSE_S
) -> AsyncIterator[Memory]:
    """Samples of a process's memory; none without a ``pid``."""
    memory, start = Memory(), time.perf_counter()

    async def watch(pid: int) -> None:
        while True:
            seconds = time.perf_counter() - start
            memory.samples.append(MemorySample(seconds, finished(), resident_mb(pid)))
            await asyncio.sleep(pause)

    task = None if pid is None else asyncio.create_task(watch(pid))
    try:
        yield memory
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()  # the process has gone: not to be passed over
