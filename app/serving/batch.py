"""Faces of many requests -> batches for the worker that runs the generator.

A bounded queue counted in faces, a thread that takes from it (on GPUs several), and a future per
face.
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
    """Decides between equal ranks."""
    crop: Pixels = field(compare=False)
    deadline: Deadline = field(compare=False)
    future: Future[RestoredFace] = field(default_factory=Future, compare=False)

    def settle_if_abandoned(self) -> bool:
        """Whether nobody waits for this face any more; its future is then done.

        Cancelled last: it may be so at any moment, in the line above too.
        """
        if self.deadline.passed and self.future.set_running_or_notify_cancel():
            self.future.set_exception(self.deadline.error())
            return True
        return self.future.cancelled()


class FaceQueue:
    """First come, first served; the faces of one photo count as coming one after the other.

    The n-th is ranked as if it had come n paces after its photo (a pace: the seconds a face takes).
    So a selfie does not wait for the crowd before it, nor the crowd for every selfie after it.
    ``limit`` is in faces; ``on_drop`` is told how many were taken out because nobody waits for
    them.
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

        Raises QueueFull when they do not fit, or could not be done in time; NotServing.
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
                self._changed.notify_all()  # they may be more than one worker takes
        return [job.future for job in jobs]

    def _check_pace(self, jobs: list[_Job], deadline: Deadline) -> None:
        if self._late(jobs, deadline) > 0:
            self._drop_abandoned()
        if (late := self._late(jobs, deadline)) > 0:
            raise QueueFull("More faces are waiting than can be restored in time.", late)

    def _late(self, jobs: list[_Job], deadline: Deadline) -> float:
        """By how many seconds these would miss their deadline for those that come before them."""
        before = sum(job < jobs[-1] for job in self._jobs)
        return (before + len(jobs)) * self.pace.seconds - deadline.remaining if before else 0.0

    def take(self, most: int, wait: float) -> list[_Job]:
        """Wait for a face, then up to ``wait`` seconds for ``most``; empty when closed.

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
        """Refuse new faces; those that wait fail with NotServing."""
        with self._changed:
            self._closed = True
            left = self._pop(len(self._jobs))
            self._changed.notify_all()
        for job in left:
            job.future.set_exception(NotServing("The service is stopping.", retry_after=1))


class Worker:
    """The thread that runs the generator.

    ``restore`` is called with (N, size, size, 3), N at most ``max_batch``.  When it fails the batch
    is split and tried again, down to single faces, so that a bad face fails alone, and a batch that
    is too large for the device's memory succeeds in parts.  When a single face fails, ``sample``, a
    batch of one, tells whether the face is to blame: if it fails too, the device is, and the thread
    ends.

    ``threads`` is how many cores it may use where the device is the CPU; ``side_by_side``, how many
    workers take from the queue.

    ``on_death`` is called when the thread ends though its queue is open; ``on_batch`` with faces
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
        """Finish the batch at hand, fail what waits, and end the thread."""
        self._queue.close()
        self._thread.join()

    def use(self, restore: Callable[[Crops], Crops], max_batch: int) -> None:
        """Restore by another function from the next batch on."""
        self._restore, self.max_batch = restore, max_batch

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def busy_seconds(self) -> float:
        """For how long the device has been at what it does now."""
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
            log.critical("the device does not restore even a black picture", exc_info=True)
        finally:
            self._queue.close()  # whatever ended this thread, nobody waits for it in vain
            _fail(batch, RestorationFailed("A face could not be restored."))
            if not closed:
                log.critical("the worker died")
                self._on_death()

    def _serve(self, batch: list[_Job]) -> None:
        """Give every future of the batch a result or an exception.  Raises if the device fails."""
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
        """The next batches are to fit at once."""
        torch.cuda.empty_cache()
        self.max_batch = min(self.max_batch, (failed + 1) // 2)
        log.warning("out of memory: batches have %d faces at most from now on", self.max_batch)


def _fail(batch: list[_Job], error: ServiceError) -> None:
    """Give an exception to every face of the batch that has no result."""
    for job in batch:
        if not job.future.done():
            job.future.set_exception(error)
