"""Faces of many requests -> batches for the one worker that runs the generator.

A bounded queue counted in faces, one thread that takes from it, and a future per face.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from app.errors import RestorationFailed, Unavailable
from app.photo import Pixels
from app.restore import Crops

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RestoredFace:
    crop: Pixels
    started: float
    """When its batch was formed, on :func:`time.perf_counter`'s clock."""


@dataclass(frozen=True)
class _Job:
    crop: Pixels
    future: Future[RestoredFace] = field(default_factory=Future)


class FaceQueue:
    """First come, first served among requests, but one face of each in turn.

    So a selfie behind a crowd waits for one batch, not for the crowd.  ``limit`` is in faces;
    ``on_drop`` is told how many cancelled ones were taken out.
    """

    def __init__(self, limit: int, on_drop: Callable[[int], None] = lambda _faces: None) -> None:
        self.limit = limit
        self._on_drop = on_drop
        self._requests: deque[deque[_Job]] = deque()
        self._faces = 0
        self._closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return self._faces

    def put(self, crops: Sequence[Pixels]) -> list[Future[RestoredFace]]:
        """Queue the faces of one request, all or none.  Raises Unavailable when they do not fit."""
        jobs = deque(_Job(crop) for crop in crops)
        with self._changed:
            if self._closed:
                raise Unavailable("The service is stopping.")
            if self._faces + len(jobs) > self.limit:
                self._drop_cancelled()
            if self._faces + len(jobs) > self.limit:
                raise Unavailable("Too many faces are waiting; try again.")
            futures = [job.future for job in jobs]
            if jobs:
                self._requests.append(jobs)
                self._faces += len(jobs)
                self._changed.notify()
        return futures

    def take(self, most: int, wait: float) -> list[_Job]:
        """Wait for a face, then up to ``wait`` seconds for ``most``; empty when closed.

        Faces whose future was cancelled meanwhile are dropped; the others are marked as running.
        """
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._faces or self._closed)
                self._changed.wait_for(lambda: self._faces >= most or self._closed, timeout=wait)
                batch = self._pop(most)
                if batch or self._closed:
                    return batch

    def _pop(self, most: int) -> list[_Job]:
        batch: list[_Job] = []
        while self._requests and len(batch) < most:
            jobs = self._requests.popleft()
            job = jobs.popleft()
            self._faces -= 1
            if jobs:
                self._requests.append(jobs)
            if job.future.set_running_or_notify_cancel():
                batch.append(job)
            else:
                self._on_drop(1)
        return batch

    def _drop_cancelled(self) -> None:
        waiting = (deque(j for j in jobs if not j.future.cancelled()) for jobs in self._requests)
        self._requests = deque(jobs for jobs in waiting if jobs)
        before, self._faces = self._faces, sum(map(len, self._requests))
        self._on_drop(before - self._faces)

    def close(self) -> None:
        """Refuse new faces; those that wait fail with Unavailable."""
        with self._changed:
            self._closed = True
            left = self._pop(self._faces)
            self._changed.notify_all()
        for job in left:
            job.future.set_exception(Unavailable("The service is stopping."))


class Worker:
    """The thread that runs the generator.

    ``restore`` is called with (N, size, size, 3), N at most ``max_batch``; ``on_death`` when the
    thread ends without having been stopped; ``on_batch`` with faces and seconds of each batch.
    """

    def __init__(
        self,
        restore: Callable[[Crops], Crops],
        queue: FaceQueue,
        *,
        max_batch: int,
        max_wait: float,
        on_death: Callable[[], None],
        on_batch: Callable[[int, float], None] = lambda _faces, _seconds: None,
    ) -> None:
        self._restore = restore
        self._queue = queue
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._on_death = on_death
        self._on_batch = on_batch
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="gpen-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch at hand, fail what waits, and end the thread."""
        self._stopping = True
        self._queue.close()
        self._thread.join()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            while batch := self._queue.take(self._max_batch, self._max_wait):
                self._serve(batch)
        finally:
            self._queue.close()  # whatever ended this thread, nobody waits for it in vain
            if not self._stopping:
                log.critical("the worker died")
                self._on_death()

    def _serve(self, batch: list[_Job]) -> None:
        """Every future of the batch ends here, in a result or an exception.

        The faces of a batch that fails are tried one by one, so that a bad one fails alone.
        """
        started = time.perf_counter()
        try:
            restored = self._restore(np.stack([job.crop for job in batch]))
            if len(restored) != len(batch):
                raise RuntimeError(f"{len(restored)} results for a batch of {len(batch)}")  # noqa: TRY301
        except Exception:
            log.exception("a batch of %d faces failed", len(batch))
            if len(batch) > 1:
                self._serve_one_by_one(batch)
            else:
                _fail(batch)
        except BaseException:  # the thread ends, its callers must not wait for it
            _fail(batch)
            raise
        else:
            seconds = time.perf_counter() - started
            log.debug("restored a batch of %d faces in %.0f ms", len(batch), seconds * 1000)
            self._on_batch(len(batch), seconds)
            for job, crop in zip(batch, restored, strict=True):
                job.future.set_result(RestoredFace(crop, started))

    def _serve_one_by_one(self, batch: list[_Job]) -> None:
        try:
            for job in batch:
                self._serve([job])
        finally:
            _fail(batch)  # those not reached, if the thread is ending


def _fail(batch: list[_Job]) -> None:
    """Give an exception to every face of the batch that has no result."""
    for job in batch:
        if not job.future.done():
            job.future.set_exception(RestorationFailed("A face could not be restored."))
