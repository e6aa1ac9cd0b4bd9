"""A loaded service at work: the queue of faces, and the workers that take from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from app.cores import core_count
from app.pace import Pace
from app.serving.batch import FaceQueue, Worker
from app.serving.load import Loaded
from app.serving.metrics import Metrics
from app.settings import Settings


@dataclass(frozen=True)
class Running:
    """A loaded service with its workers."""

    loaded: Loaded
    queue: FaceQueue
    workers: tuple[Worker, ...]
    """As ``loaded.calls``."""

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
    loaded: Loaded, settings: Settings, metrics: Metrics, on_death: Callable[[], None]
) -> Running:
    """Start a worker for each call that the devices take at a time."""
    queue = FaceQueue(
        settings.queue_faces, Pace(loaded.seconds_per_face), on_drop=metrics.dropped.inc
    )
    metrics.watch_queue(lambda: len(queue), queue.limit)
    metrics.watch_devices([restorer.engine.device for restorer in loaded.restorers])
    size = loaded.restorer.size
    workers = tuple(
        Worker(
            restorer,
            queue,
            max_batch=loaded.max_batch,
            max_wait=loaded.max_wait,
            sample=np.zeros((1, size, size, 3), np.uint8),
            threads=worker_threads(),
            side_by_side=len(loaded.calls),
            on_death=on_death,
            on_batch=metrics.observe_batch,
        )
        for restorer in loaded.calls
    )
    for worker in workers:
        worker.start()
    return Running(loaded, queue, workers)


def worker_threads() -> int:
    """How many threads a worker may use where the device is the CPU: the pools need cores, too."""
    return max(1, torch.get_num_threads() // 2)


def photos_at_once(loaded: Loaded, queue_faces: int) -> int:
    """Photos at work that keep everything busy; more would wait where nobody counts them.

    One in each thread of the pools, and for each worker two batches of faces: the one that is
    restored, and the next.  Never so many that photos of one face do not fit into the queue.
    """
    on_cpu = loaded.restorer.engine.device == "cpu"  # where larger batches are hardly faster
    calls = len(loaded.calls)
    faces = 2 * calls * (1 if on_cpu else loaded.max_batch)
    return min(2 * core_count() + faces, calls + queue_faces)
