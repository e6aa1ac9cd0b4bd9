"""The running service: what is loaded once, and the way of one request through it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from app.admission import Admission
from app.batch import FaceQueue, RestoredFace, Worker
from app.budget import PixelBudget, memory_bytes, pixels_by_memory
from app.cores import core_count
from app.deadline import Deadline
from app.errors import MemoryFull, NotServing
from app.load import Loaded, load
from app.log import ContextPool
from app.metrics import Metrics
from app.options import EnhanceOptions
from app.pace import Pace
from app.photo import Pixels
from app.pipeline import Enhanced, FoundFaces, find, finish, measure_work
from app.preparation import prepare_apart
from app.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

LOADING = "gpen-load"
"""The thread that loads."""
_UPLOADS_SHARE = 0.05  # of the memory: a body is there up to three times while its form is parsed
_WATCH_S = 0.5


class Status(StrEnum):
    STARTING = "starting"
    OK = "ok"
    DRAINING = "draining"
    FAILED = "failed"


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


class Service:
    """Loads in the background, so that ``/health`` answers from the first moment."""

    def __init__(
        self, settings: Settings, metrics: Metrics, on_failure: Callable[[], None]
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.admission = Admission(
            settings.max_requests_in_flight,
            settings.max_bytes_in_flight
            or max(settings.max_body_bytes, int(_UPLOADS_SHARE * memory_bytes())),
            Pace(0.0),  # learned when the models are loaded, and with every request
            parallel=core_count(),
        )
        self.budget = PixelBudget(
            settings.max_pixels_in_flight or pixels_by_memory(),
            retry_after=lambda: self.admission.pace.seconds,
        )
        metrics.watch_admission(self.admission)
        metrics.watch_pixels(lambda: self.budget.used, self.budget.limit)
        self.running: Running | None = None
        self._failed = False
        self._draining = False
        self._on_failure = on_failure
        self._finding = _pool("gpen-find")
        # of its own: photos that are nearly done, and hold most memory, do not wait for newcomers
        self._finishing = _pool("gpen-finish")
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def status(self) -> Status:
        if self._failed or (self.running is not None and not self.running.alive):
            return Status.FAILED
        if self._draining:
            return Status.DRAINING
        return Status.STARTING if self.running is None else Status.OK

    def drain(self) -> None:
        """From now on ``status`` is ``draining``; requests are still served."""
        self._draining = True

    def serving(self) -> Running:
        """What requests are served with.  Raises NotServing."""
        if self.running is None or self.status not in (Status.OK, Status.DRAINING):
            raise NotServing(f"The service is {self.status}.", retry_after=5)
        return self.running

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work) for work in (self._load(), self._watch())]

    async def stop(self) -> None:
        if self.running is not None:
            await asyncio.to_thread(self.running.stop)
        for task in self._tasks:
            task.cancel()
        for pool in (self._finding, self._finishing):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _watch(self) -> None:
        """A device that hangs raises nothing: only time tells."""
        limit = self.settings.worker_timeout_s
        while self.running is None or self.running.busy_seconds < limit:  # noqa: ASYNC110
            await asyncio.sleep(_WATCH_S)
        log.critical("the device has been at one batch for more than %g s", limit)
        self._failed = True
        self._on_failure()

    async def _load(self) -> None:
        start = time.perf_counter()
        try:
            loaded = await _in_daemon_thread(lambda: load(self.settings))
            self._run(loaded)
        except Exception as error:
            log.critical("cannot start: %s", error, exc_info=not isinstance(error, ValueError))
            self._failed = True
            self._on_failure()
            return
        log.info(
            "ready after %.1f s: %s on %s (licence: %s)",
            time.perf_counter() - start,
            loaded.restorer.name,
            loaded.restorer.engine.device,
            loaded.restorer.licence,
        )
        if not loaded.prepared and self.running is not None:
            await self._prepare(self.running)

    def _run(self, loaded: Loaded) -> None:
        self.admission.pace = Pace(loaded.seconds_per_face)
        queue = FaceQueue(
            self.settings.queue_faces,
            Pace(loaded.seconds_per_face),
            on_drop=self.metrics.dropped.inc,
        )
        self.metrics.watch_queue(lambda: len(queue), queue.limit)
        self.metrics.watch_devices([restorer.engine.device for restorer in loaded.restorers])
        size = loaded.restorer.size
        workers = tuple(
            Worker(
                restorer,
                queue,
                max_batch=loaded.max_batch,
                max_wait=loaded.max_wait,
                sample=np.zeros((1, size, size, 3), np.uint8),
                threads=max(1, torch.get_num_threads() // 2),  # the pools need cores, too
                side_by_side=len(loaded.calls),
                on_death=self._on_failure,
                on_batch=self.metrics.observe_batch,
            )
            for restorer in loaded.calls
        )
        for worker in workers:
            worker.start()
        self.running = Running(loaded, queue, workers)

    async def _prepare(self, running: Running) -> None:
        """Have the engine prepared that is the fastest on this machine, and go over to it."""
        if not await prepare_apart(self.settings):
            log.warning("no other engine could be prepared: PyTorch goes on")
            return
        try:
            loaded = await _in_daemon_thread(lambda: load(self.settings))
        except (ValueError, RuntimeError, ArithmeticError, OSError) as error:
            log.warning("the prepared engine cannot be used: %s; PyTorch goes on", error)
            return
        for worker, restorer in zip(running.workers, loaded.calls, strict=True):
            worker.use(restorer, loaded.max_batch)
        self.running = replace(running, loaded=loaded)
        engine = loaded.restorer.engine
        log.info("from now on %s restores, in %s", engine.name, engine.precision)

    async def enhance(self, data: bytes, options: EnhanceOptions, deadline: Deadline) -> Enhanced:
        """Restore a photo.  Raises ServiceError.

        When this is cancelled, so is what waits; what runs in a thread ends with its step if
        ``deadline`` is ended too.
        """
        running = self.serving()
        limits, loaded = self.settings.limits, running.loaded
        # by the header alone, so not behind the pool's long jobs: who is refused hears it soon
        pixels = await asyncio.to_thread(measure_work, data, options, limits)
        release = self.budget.take(pixels)
        finding = self._finding.submit(
            find, data, options, limits, loaded.detector, loaded.restorer, deadline
        )
        job: Future[Any] = finding
        try:
            found = await _outlived_by(finding)
            crops, found = await _restore(running.queue, found, deadline)
            upscaler = loaded.upscalers.get(options.upscale)
            job = finishing = self._finishing.submit(
                finish, found, crops, options, deadline, upscaler, loaded.guard, loaded.parser
            )
            enhanced = await _outlived_by(finishing)
        except (MemoryError, torch.OutOfMemoryError) as error:
            log.warning("out of memory: %s", error)
            raise MemoryFull("There is too little memory for this photo now.", 1) from error
        finally:
            # a thread goes on to the end of its step, and holds its photo that long
            job.add_done_callback(lambda _: release())
        self._count_faces(found, enhanced)
        return enhanced

    def _count_faces(self, found: FoundFaces, enhanced: Enhanced) -> None:
        if found.aligned:
            self.metrics.queue_seconds.observe(found.timings.queue)
        for report in enhanced.reports:
            self.metrics.faces.labels(report.reason or "restored").inc()


def _pool(name: str) -> ContextPool:
    """A photo a core: threads of threads would wait for each other, busily."""
    return ContextPool(core_count(), name, initializer=torch.set_num_threads, initargs=(1,))


async def _outlived_by(job: Future[T]) -> T:
    """Wait for a job, which goes on when nobody waits any more.

    Cancelled, it would stay in the pool's queue with its photo, uncounted; so it comes to its turn,
    and ends at its first look at the deadline.
    """
    future = asyncio.wrap_future(job)
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # has been seen
    return await asyncio.shield(future)


def _in_daemon_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Run in a thread that does not keep the process alive: a download may take very long."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    threads = torch.get_num_threads()  # a new thread begins with what any other has set last

    def settle(set_outcome: Callable[[], None]) -> None:
        if not future.done():
            set_outcome()

    def run() -> None:
        torch.set_num_threads(threads)
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  (it is the future's)
            outcome: Callable[[], None] = partial(future.set_exception, error)
        else:
            outcome = partial(future.set_result, result)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name=LOADING, daemon=True).start()
    return future


async def _restore(
    queue: FaceQueue, found: FoundFaces, deadline: Deadline
) -> tuple[list[Pixels], FoundFaces]:
    """Send the faces through the queue; the timings say how long they waited and took."""
    start = time.perf_counter()
    futures = queue.put(found.crops, deadline)
    try:
        faces: list[RestoredFace] = await asyncio.gather(*map(asyncio.wrap_future, futures))
    finally:
        for future in futures:
            future.cancel()  # those still waiting, when one failed or the caller gave up
    end = time.perf_counter()
    started = min((face.started for face in faces), default=start)
    timings = replace(found.timings, queue=started - start, restore=end - started)
    return [face.crop for face in faces], replace(found, timings=timings)
