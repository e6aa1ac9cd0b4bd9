"""The service's stages as plain functions in one process: no HTTP, no queue, nobody waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from app.faces.pipeline import Enhanced, find, finish
from app.faces.restore import restore_all
from app.imaging.decode import decode
from app.options import EnhanceOptions
from app.serving.load import Loaded, load
from app.settings import Settings, read_settings
from tests.soak.scenarios import MODEL


@dataclass(frozen=True)
class Plain:
    """What ``gpen enhance`` works with; one photo at a time."""

    loaded: Loaded
    settings: Settings
    options: EnhanceOptions

    @classmethod
    def ready(cls) -> Plain:
        """With as many threads as PyTorch has here."""
        settings = read_settings(model=MODEL)
        return cls(load(settings), settings, EnhanceOptions.model_validate({}))

    def __call__(self, data: bytes) -> Enhanced:
        restorer, limits = self.loaded.restorer, self.settings.limits
        found = find(data, self.options, limits, self.loaded.detector, restorer, decode=decode)
        crops = restore_all(restorer, found.crops, self.loaded.max_batch)
        return finish(found, crops, self.options, guard=self.loaded.guard)


@dataclass(frozen=True)
class Workers:
    """Threads, each with models of its own: nothing is shared, so nobody waits for anybody."""

    executor: ThreadPoolExecutor
    plain: list[Plain]
    threads_each: int

    def photos(self, data: bytes, seconds: float) -> int:
        """How many photos are done within so many seconds."""
        end = time.perf_counter() + seconds

        def work(plain: Plain) -> int:
            torch.set_num_threads(self.threads_each)  # of this thread
            done = 0
            while time.perf_counter() < end:
                plain(data)
                done += time.perf_counter() <= end
            return done

        return sum(self.executor.map(work, self.plain))


@contextmanager
def workers(count: int, threads_each: int) -> Iterator[Workers]:
    """``count`` photos at a time, each by so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads_each)  # the engines take as many
    try:
        plain = [Plain.ready() for _ in range(count)]
    finally:
        torch.set_num_threads(before)
    with ThreadPoolExecutor(count) as executor:
        yield Workers(executor, plain, threads_each)
