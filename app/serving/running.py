"""Loaded models at work: the queue of faces, and the workers that take from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from app.cores import core_count
from app.serving.batch import FaceQueue, Worker
from app.serving.load import Loaded


@dataclass(frozen=True)
class Running:
    """Loaded models and their workers."""

    loaded: Loaded
    queue: FaceQueue
    workers: tuple[Worker, ...]
    """One for each of ``loaded.calls``."""

    @property
    def alive(self) -> bool:
        return all(worker.alive for worker in self.workers)

    @property
    def busy_seconds(self) -> float:
        return max(worker.busy_seconds for worker in self.workers)

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()


def run(
    loaded: Loaded,
    queue: FaceQueue,
    threads: int,
    on_death: Callable[[], None],
    on_batch: Callable[[int, float], None] = lambda _faces, _seconds: None,
) -> Running:
    """Start a worker for each of ``loaded.calls``; for the rest see :class:`Worker`."""
    size = loaded.restorer.size
    workers = tuple(
        Worker(
            restorer,
            queue,
            max_batch=loaded.max_batch,
            max_wait=loaded.max_wait,
            sample=np.zeros((1, size, size, 3), np.uint8),
            threads=threads,
            side_by_side=len(loaded.calls),
            on_death=on_death,
            on_batch=on_batch,
        )
        for restorer in loaded.calls
    )
    for worker in workers:
        worker.start()
    return Running(loaded, queue, workers)


def worker_threads() -> int:
    """How many CPU threads a worker may use: half of them, because the pools need cores, too."""
    return max(1, torch.get_num_threads() // 2)


def photos_at_once(loaded: Loaded, queue_faces: int) -> int:
    """How many photos to work on at a time: as many as keep all threads and workers busy.

    That is one photo for each thread of the pools, and two batches of faces for each worker, one
    being restored and the next.  It is limited so that photos of one face each fit into the queue.
    """
    on_cpu = loaded.restorer.engine.device == "cpu"  # where larger batches are hardly faster
    calls = len(loaded.calls)
    faces = 2 * calls * (1 if on_cpu else loaded.max_batch)
    return min(2 * core_count() + faces, calls + queue_faces)
