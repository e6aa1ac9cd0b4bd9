"""The running service: what is loaded once, and the way of one request through it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

from app.batch import FaceQueue, RestoredFace, Worker
from app.budget import PixelBudget, pixels_by_memory
from app.errors import DeadlineExceeded, Unavailable
from app.load import Loaded, load
from app.metrics import Metrics
from app.options import EnhanceOptions
from app.photo import Pixels
from app.pipeline import Enhanced, FoundFaces, find, finish, measure_work
from app.settings import Settings

log = logging.getLogger(__name__)


class Status(StrEnum):
    STARTING = "starting"
    OK = "ok"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True)
class Running:
    """A loaded service with its worker."""

    loaded: Loaded
    queue: FaceQueue
    worker: Worker


class Service:
    """Loads in the background, so that ``/health`` answers from the first moment."""

    def __init__(
        self, settings: Settings, metrics: Metrics, on_failure: Callable[[], None]
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.budget = PixelBudget(settings.max_pixels_in_flight or pixels_by_memory())
        metrics.watch_pixels(lambda: self.budget.used, self.budget.limit)
        self.running: Running | None = None
        self._failed = False
        self._draining = False
        self._on_failure = on_failure
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="gpen-cpu")
        self._loading: asyncio.Task[None] | None = None

    @property
    def status(self) -> Status:
        if self._failed or (self.running is not None and not self.running.worker.alive):
            return Status.FAILED
        if self._draining:
            return Status.DRAINING
        return Status.STARTING if self.running is None else Status.OK

    def drain(self) -> None:
        """From now on ``status`` is ``draining``; requests are still served."""
        self._draining = True

    def start(self) -> None:
        self._loading = asyncio.get_running_loop().create_task(self._load())

    async def stop(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
        if self.running is not None:
            await asyncio.to_thread(self.running.worker.stop)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _load(self) -> None:
        start = time.perf_counter()
        try:
            loaded = await _in_daemon_thread(lambda: load(self.settings))
        except Exception as error:
            log.critical("cannot start: %s", error, exc_info=not isinstance(error, ValueError))
            self._failed = True
            self._on_failure()
            return
        queue = FaceQueue(self.settings.queue_faces, on_drop=self.metrics.dropped.inc)
        self.metrics.watch_queue(queue.__len__, queue.limit)
        worker = Worker(
            loaded.restorer,
            queue,
            max_batch=loaded.max_batch,
            max_wait=loaded.max_wait,
            on_death=self._on_failure,
            on_batch=self.metrics.observe_batch,
        )
        worker.start()
        self.running = Running(loaded, queue, worker)
        log.info(
            "ready after %.1f s: %s on %s (licence: %s)",
            time.perf_counter() - start,
            loaded.restorer.name,
            loaded.restorer.device,
            loaded.restorer.licence,
        )

    async def enhance(self, data: bytes, options: EnhanceOptions, seconds: float) -> Enhanced:
        """Restore a photo.  Raises ServiceError, DeadlineExceeded after ``seconds``."""
        if self.running is None or self.status not in (Status.OK, Status.DRAINING):
            raise Unavailable(f"The service is {self.status}.", retry_after=5)
        try:
            async with asyncio.timeout(seconds):
                return await self._enhance(self.running, data, options)
        except TimeoutError as error:
            raise DeadlineExceeded(f"Not done within {seconds:g} s.") from error

    async def _enhance(self, running: Running, data: bytes, options: EnhanceOptions) -> Enhanced:
        limits, loaded = self.settings.limits, running.loaded
        job: Future[Any] = self._pool.submit(measure_work, data, options, limits)
        release = self.budget.take(await asyncio.wrap_future(job))
        try:
            job = self._pool.submit(find, data, options, limits, loaded.detector, loaded.restorer)
            crops, found = await _restore(running.queue, await asyncio.wrap_future(job))
            self._count_faces(found)
            job = self._pool.submit(finish, found, crops, options)
            return await asyncio.wrap_future(job)
        finally:
            # a thread goes on to its end, and holds its photo, when nobody waits any more
            job.add_done_callback(lambda _: release())

    def _count_faces(self, found: FoundFaces) -> None:
        if found.aligned:
            self.metrics.queue_seconds.observe(found.timings.queue)
        for report in found.reports:
            self.metrics.faces.labels(report.reason or "restored").inc()


def _in_daemon_thread(work: Callable[[], Loaded]) -> asyncio.Future[Loaded]:
    """Run in a thread that does not keep the process alive: a download may take very long."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Loaded] = loop.create_future()

    def settle(set_outcome: Callable[[], None]) -> None:
        if not future.done():
            set_outcome()

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  (it is the future's)
            outcome: Callable[[], None] = partial(future.set_exception, error)
        else:
            outcome = partial(future.set_result, result)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name="gpen-load", daemon=True).start()
    return future


async def _restore(queue: FaceQueue, found: FoundFaces) -> tuple[list[Pixels], FoundFaces]:
    """Send the faces through the queue; the timings say how long they waited and took."""
    start = time.perf_counter()
    futures = queue.put(found.crops)
    try:
        faces: list[RestoredFace] = await asyncio.gather(*map(asyncio.wrap_future, futures))
    finally:
        for future in futures:
            future.cancel()  # those still waiting, when one failed or the caller gave up
    end = time.perf_counter()
    started = min((face.started for face in faces), default=start)
    timings = replace(found.timings, queue=started - start, restore=end - started)
    return [face.crop for face in faces], replace(found, timings=timings)
