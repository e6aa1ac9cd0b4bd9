"""Puts the faces of many requests into batches for the generator.

A bounded queue of faces, a thread that takes batches from it (several for GPUs), and a future for
each face.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import torch

from app.deadline import NEVER, Deadline
from app.engines.engine import Crops
from app.errors import MemoryFull, NotServing, QueueFull, RestorationFailed, ServiceError
from app.imaging.photo import Pixels
from app.pace import Pace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RestoredFace:
    crop: Pixels
    started: float
    """When its batch was formed, on :func:`time.perf_counter`'s clock."""


@dataclass(frozen=True, order=True)
class _Job:
    rank: float
    number: int
    """Orders jobs of equal rank."""
    crop: Pixels = field(compare=False)
    deadline: Deadline = field(compare=False)
    future: Future[RestoredFace] = field(default_factory=Future, compare=False)

    def settle_if_abandoned(self) -> bool:
        """Return whether nobody waits for this face any more; its future is then done.

        Cancellation is checked last, because it may happen at any moment, even in the line before.
        """
        if self.deadline.passed and self.future.set_running_or_notify_cancel():
            self.future.set_exception(self.deadline.error())
            return True
        return self.future.cancelled()


class FaceQueue:
    """First come, first served, as if the faces of one photo arrived one after the other.

    The n-th face is ranked as if it had arrived n times the pace after its photo (the pace is how
    many seconds a face takes).  So a photo of one face need not wait for the whole crowd before it,
    nor the crowd for every photo after it.  ``limit`` is in faces; ``on_drop`` is called with the
    number of faces that were removed because nobody waits for them.
    """

    def __init__(
        self, limit: int, pace: Pace, on_drop: Callable[[int], None] = lambda _faces: None
    ) -> None:
        self.limit = limit
        self.pace = pace
        self._on_drop = on_drop
        self._jobs: list[_Job] = []  # a heap
        self._numbers = itertools.count()
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._jobs)

    def put(
        self, crops: Sequence[Pixels], deadline: Deadline = NEVER
    ) -> list[Future[RestoredFace]]:
        """Queue the faces of one request, all or none.

        Raises QueueFull if they do not fit or could not be restored in time, and NotServing.
        """
        pace, now = self.pace.seconds, time.monotonic()
        jobs = [
            _Job(now + i * pace, next(self._numbers), crop, deadline)
            for i, crop in enumerate(crops)
        ]
        with self._changed:
            if self._closed:
                raise NotServing("The service is stopping.", retry_after=1)
            if len(self._jobs) + len(jobs) > self.limit:
                self._drop_abandoned()
            if (over := len(self._jobs) + len(jobs) - self.limit) > 0:
                raise QueueFull("Too many faces are waiting; try again.", over * pace)
            if jobs:
                self._check_pace(jobs, deadline)
                for job in jobs:
                    heapq.heappush(self._jobs, job)
                self._changed.notify_all()  # there may be enough for several workers
        return [job.future for job in jobs]

    def _check_pace(self, jobs: list[_Job], deadline: Deadline) -> None:
        if self._late(jobs, deadline) > 0:
            self._drop_abandoned()
        if (late := self._late(jobs, deadline)) > 0:
            raise QueueFull("More faces are waiting than can be restored in time.", late)

    def _late(self, jobs: list[_Job], deadline: Deadline) -> float:
        """By how many seconds these would miss their deadline because of the faces before them."""
        before = sum(job < jobs[-1] for job in self._jobs)
        return (before + len(jobs)) * self.pace.seconds - deadline.remaining if before else 0.0

    def take(self, most: int, wait: float) -> list[_Job]:
        """Wait for a face, then up to ``wait`` seconds for ``most``; returns [] when closed.

        Faces that nobody waits for any more are dropped; the others are marked as running.
        """
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._jobs or self._closed)
                self._changed.wait_for(lambda: len(self) >= most or self._closed, timeout=wait)
                batch = self._pop(most)
                if batch or self._closed:
                    return batch

    def _pop(self, most: int) -> list[_Job]:
        batch: list[_Job] = []
        while self._jobs and len(batch) < most:
            job = heapq.heappop(self._jobs)
            if job.settle_if_abandoned() or not job.future.set_running_or_notify_cancel():
                self._on_drop(1)
            else:
                batch.append(job)
        return batch

    def _drop_abandoned(self) -> None:
        waiting = [job for job in self._jobs if not job.settle_if_abandoned()]
        self._on_drop(len(self._jobs) - len(waiting))
        heapq.heapify(waiting)
        self._jobs = waiting

    def close(self) -> None:
        """Refuse new faces, and fail the waiting ones with NotServing."""
        with self._changed:
            self._closed = True
            waiting = self._pop(len(self._jobs))
            self._changed.notify_all()
        for job in waiting:
            job.future.set_exception(NotServing("The service is stopping.", retry_after=1))


class Worker:
    """The thread that runs the generator.

    ``restore`` is called with (N, size, size, 3) crops, N at most ``max_batch``.  If it fails, the
    batch is split and tried again, down to single faces, so that only the bad face fails, and a
    batch that is too large for the device's memory succeeds in parts.  If a single face fails,
    ``sample``, a batch of one, is restored: if that fails too, the device is to blame and the
    thread ends.

    ``threads`` is how many threads it may use on a CPU; ``side_by_side`` is how many workers take
    from the queue.

    ``on_death`` is called if the thread ends while its queue is open, ``on_batch`` with the faces
    and seconds of each batch.
    """

    def __init__(
        self,
        restore: Callable[[Crops], Crops],
        queue: FaceQueue,
        *,
        max_batch: int,
        max_wait: float,
        sample: Crops,
        threads: int = 1,
        side_by_side: int = 1,
        on_death: Callable[[], None],
        on_batch: Callable[[int, float], None] = lambda _faces, _seconds: None,
    ) -> None:
        self.max_batch = max_batch
        self._restore = restore
        self._queue = queue
        self._max_wait = max_wait
        self._sample = sample
        self._threads = threads
        self._side_by_side = side_by_side
        self._on_death = on_death
        self._on_batch = on_batch
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="gpen-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the current batch, fail the waiting faces, and end the thread."""
        self._queue.close()
        self._thread.join()

    def use(self, restore: Callable[[Crops], Crops], max_batch: int) -> None:
        """Use another function from the next batch on."""
        self._restore, self.max_batch = restore, max_batch

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def busy_seconds(self) -> float:
        """How long the current batch has been running; 0 if there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # of this thread
        batch: list[_Job] = []
        closed = False
        try:
            while batch := self._queue.take(self.max_batch, self._max_wait):
                self._serve(batch)
                self._busy_since = None
            closed = True
        except Exception:
            log.critical("the device cannot restore even a black picture", exc_info=True)
        finally:
            self._queue.close()  # whatever ended this thread, nobody must wait for it
            _fail(batch, RestorationFailed("A face could not be restored."))
            if not closed:
                log.critical("the worker died")
                self._on_death()

    def _serve(self, batch: list[_Job]) -> None:
        """Give each future of the batch a result or an exception.  Raises if the device fails."""
        started = time.perf_counter()
        try:
            restored = self._call(np.stack([job.crop for job in batch]))
        except torch.OutOfMemoryError:
            self._make_smaller(len(batch))
            error = MemoryFull("The device has too little memory for a face.", retry_after=1)
            self._split(batch, error)
        except Exception:
            log.exception("a batch of %d faces failed", len(batch))
            if len(batch) == 1:
                self._call(self._sample)
            self._split(batch, RestorationFailed("A face could not be restored."))
        else:
            seconds = time.perf_counter() - started
            log.debug("restored a batch of %d faces in %.0f ms", len(batch), seconds * 1000)
            self._queue.pace.note(seconds / len(batch) / self._side_by_side)
            self._on_batch(len(batch), seconds)
            for job, crop in zip(batch, restored, strict=True):
                job.future.set_result(RestoredFace(crop, started))

    def _call(self, crops: Crops) -> Crops:
        self._busy_since = time.monotonic()
        restored = self._restore(crops)
        if len(restored) != len(crops):
            raise RuntimeError(f"{len(restored)} results for a batch of {len(crops)}")
        return restored

    def _split(self, batch: list[_Job], error: ServiceError) -> None:
        if len(batch) == 1:
            _fail(batch, error)
            return
        middle = len(batch) // 2
        self._serve(batch[:middle])
        self._serve(batch[middle:])

    def _make_smaller(self, failed: int) -> None:
        """Reduce the size of later batches, so that they fit."""
        torch.cuda.empty_cache()
        self.max_batch = min(self.max_batch, (failed + 1) // 2)
        log.warning("out of memory: batches have at most %d faces from now on", self.max_batch)


def _fail(batch: list[_Job], error: ServiceError) -> None:
    """Fail every face of the batch that has no result yet."""
    for job in batch:
        if not job.future.done():
            job.future.set_exception(error)
