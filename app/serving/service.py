"""The running service: loads the models once, and takes each request through the pipeline."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

import torch

from app.cores import core_count
from app.deadline import Deadline
from app.errors import MemoryFull, NotServing, TooLarge
from app.faces.pipeline import Enhanced, FoundFaces, find, finish, measure_work
from app.imaging.photo import Pixels
from app.options import EnhanceOptions
from app.pace import Pace
from app.serving.admission import Admission, Visit
from app.serving.batch import FaceQueue, RestoredFace
from app.serving.budget import (
    pixels_alone_by_memory,
    pixels_by_memory,
    upload_bytes_by_memory,
)
from app.serving.decoders import decoder_pool
from app.serving.line import Line
from app.serving.load import Loaded, load
from app.serving.metrics import Metrics
from app.serving.preparation import prepare_apart
from app.serving.rehearsal import rehearse
from app.serving.running import Running, photos_at_once, run, worker_threads
from app.settings import Settings
from app.status import Status
from app.threads import WatchedPool, in_daemon_thread

log = logging.getLogger(__name__)

T = TypeVar("T")

LOADING = "gpen-load"
"""Name of the threads that load."""
_WATCH_S = 0.5


class Service:
    """Loads in the background, so that ``/health`` answers immediately."""

    def __init__(
        self, settings: Settings, metrics: Metrics, on_failure: Callable[[], None]
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        cores = core_count()
        most_pixels = settings.max_pixels_in_flight or pixels_by_memory()
        self.line = Line(
            settings.queue_faces,  # a waiting photo counts as one face
            most_pixels,
            readers=cores,
            at_once=0,  # until the models are loaded
            on_wait=metrics.wait_seconds.observe,
        )
        self._most_pixels_alone = max(most_pixels, pixels_alone_by_memory())
        self.admission = Admission(
            self.line,
            settings.max_requests_in_flight,
            settings.max_bytes_in_flight or max(settings.max_body_bytes, upload_bytes_by_memory()),
            parallel=cores,
        )
        metrics.watch_admission(self.admission)
        self.running: Running | None = None
        self._failed = False
        self._draining = False
        self._on_failure = on_failure
        # One photo per core: if each used several threads, they would contend for the cores.
        # Headers are read in a pool of their own, so that requests refused because of them are
        # refused quickly.  Photos are finished in another, so that they do not wait for new ones.
        self._measuring, self._finding, self._finishing = (
            WatchedPool(cores, f"gpen-{name}") for name in ("measure", "find", "finish")
        )
        self._decoders = decoder_pool(
            settings, cores, lambda reason: metrics.decoder_deaths.labels(reason).inc()
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def status(self) -> Status:
        if self._failed or (self.running is not None and not self.running.alive):
            return Status.FAILED
        if self._draining:
            return Status.DRAINING
        return Status.STARTING if self.running is None else Status.OK

    def drain(self) -> None:
        """Set ``status`` to ``draining``; requests are still served."""
        self._draining = True

    def serving(self) -> Running:
        """The loaded models.  Raises NotServing if requests cannot be served."""
        if self.running is None or self.status not in (Status.OK, Status.DRAINING):
            raise NotServing(f"The service is {self.status}.", random.uniform(3, 8))
        return self.running

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work) for work in (self._load(), self._watch())]

    async def stop(self) -> None:
        if self.running is not None:
            await asyncio.to_thread(self.running.stop)
        for task in self._tasks:
            task.cancel()
        for pool in (self._measuring, self._finding, self._finishing):
            pool.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._decoders.close)

    async def _watch(self) -> None:
        """Fail the service if native code hangs, which only its duration shows."""
        while (hanging := self._hanging()) is None:  # noqa: ASYNC110
            await asyncio.sleep(_WATCH_S)
        log.critical("%s", hanging)
        self._failed = True
        self._on_failure()

    def _hanging(self) -> str | None:
        """Say which work has taken so long that it must be hung; None if none has."""
        limit = self.settings.worker_timeout_s
        watched: list[tuple[str, float, float]] = [
            ("reading a header", self._measuring.busy_seconds, limit),
            ("finding the faces of a photo", self._finding.busy_seconds, limit),
            ("starting a decoder", self._decoders.failing_seconds, limit),
        ]
        # enlarging and parsing may use the rest of a deadline, and then finish their step
        longer = limit + self.settings.request_timeout_s
        watched.append(("finishing a photo", self._finishing.busy_seconds, longer))
        if self.running is not None:
            watched.append(("the device, with one batch,", self.running.busy_seconds, limit))
            watched += [
                (pool.name, pool.busy_seconds, longer) for pool in self.running.loaded.threads
            ]
        for what, seconds, most in watched:
            if seconds >= most:
                return f"{what} has taken more than {most:g} s"
        return None

    async def _load(self) -> None:
        start = time.perf_counter()
        try:
            loaded, _ = await asyncio.gather(
                in_daemon_thread(lambda: load(self.settings), LOADING),
                in_daemon_thread(self._decoders.start, LOADING),
            )
            cost = await in_daemon_thread(
                lambda: rehearse(
                    loaded, self.settings.limits, worker_threads(), self._decoders.decode
                ),
                LOADING,
            )
            self.admission.begin(cost)
            self._serve_with(self._run(loaded))
        except Exception as error:
            log.critical("cannot start: %s", error, exc_info=not isinstance(error, ValueError))
            self._failed = True
            self._on_failure()
            return
        log.info(
            "ready after %.1f s: %s on %s (licence: %s); a photo of a megapixel takes %.3f s",
            time.perf_counter() - start,
            loaded.restorer.name,
            loaded.restorer.engine.device,
            loaded.restorer.licence,
            cost.of(1_000_000),
        )
        if not loaded.prepared and self.running is not None:
            await self._prepare(self.running)

    def _run(self, loaded: Loaded) -> Running:
        metrics = self.metrics
        queue = FaceQueue(
            self.settings.queue_faces, Pace(loaded.seconds_per_face), metrics.dropped.inc
        )
        metrics.watch_queue(lambda: len(queue), queue.limit)
        metrics.watch_devices([restorer.engine.device for restorer in loaded.restorers])
        return run(loaded, queue, worker_threads(), self._on_failure, metrics.observe_batch)

    def _serve_with(self, running: Running) -> None:
        self.running = running
        self.line.at_once = photos_at_once(running.loaded, self.settings.queue_faces)
        self.metrics.report_restorer(running.loaded.restorer)

    async def _prepare(self, running: Running) -> None:
        """Find the fastest engine in a subprocess, then switch to it."""
        if not await prepare_apart(self.settings):
            log.warning("no other engine could be prepared: staying with PyTorch")
            return
        try:
            loaded = await in_daemon_thread(lambda: load(self.settings), LOADING)
        except (ValueError, RuntimeError, ArithmeticError, OSError) as error:
            log.warning("the prepared engine cannot be used: %s; staying with PyTorch", error)
            return
        for worker, restorer in zip(running.workers, loaded.calls, strict=True):
            worker.use(restorer, loaded.max_batch)
        self._serve_with(replace(running, loaded=loaded))
        engine = loaded.restorer.engine
        log.info("switched to %s with precision %s", engine.name, engine.precision)

    async def enhance(self, data: bytes, options: EnhanceOptions, visit: Visit) -> Enhanced:
        """Restore a photo.  Raises ServiceError.

        If this is cancelled, work that waits is cancelled, too.  Work in a thread finishes its
        current step, then stops if the visit's deadline has been ended.
        """
        running = self.serving()
        deadline, limits, loaded = visit.deadline, self.settings.limits, running.loaded
        pixels = await _shielded(
            self._measuring.submit(measure_work, data, options, limits, self._decoders.measure)
        )
        self._check_fits(pixels)
        visit.join(pixels, options.upscale)
        turn = await self.line.turn(pixels)
        finding = asyncio.wrap_future(
            self._finding.submit_timed(
                find,
                data,
                options,
                limits,
                loaded.detector,
                loaded.restorer,
                deadline,
                self._decoders.decode,
            )
        )
        finding.add_done_callback(lambda _: turn.read())
        job: asyncio.Future[Any] = finding
        try:
            reading = await _shielded(finding)
            crops, found = await _restore(running.queue, reading.result, deadline)
            upscaler = loaded.upscalers.get(options.upscale)
            job = finishing = asyncio.wrap_future(
                self._finishing.submit_timed(
                    finish, found, crops, options, deadline, upscaler, loaded.guard, loaded.parser
                )
            )
            finished = await _shielded(finishing)
        except (MemoryError, torch.OutOfMemoryError) as error:
            log.warning("out of memory: %s", error)
            raise MemoryFull("There is too little memory for this photo right now.", 1) from error
        finally:
            # a thread finishes its step, and holds its photo until then
            job.add_done_callback(lambda _: turn.end())
        enhanced = finished.result
        # a photo is restored or waits between the detection and the pasting of its faces
        timings = replace(
            enhanced.timings,
            wait=reading.began - visit.completed,
            queue=finished.began - reading.ended - found.timings.restore,
        )
        self.metrics.observe_photo(timings, enhanced.reports)
        return replace(enhanced, timings=timings)

    def _check_fits(self, pixels: int) -> None:
        """Raise TooLarge if not even an idle service has enough memory."""
        if pixels > self._most_pixels_alone:
            raise TooLarge(
                f"The result would have {pixels} pixels; this service has memory for "
                f"{self._most_pixels_alone}."
            )


async def _shielded(job: Future[T] | asyncio.Future[T]) -> T:
    """Wait for a job, without cancelling it if the wait is cancelled.

    A cancelled job would stay in the pool's queue with its photo, uncounted.  Instead it starts,
    and stops when it first checks the deadline.
    """
    future = asyncio.wrap_future(job) if isinstance(job, Future) else job
    # retrieves the exception, or asyncio would log it
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(future)


async def _restore(
    queue: FaceQueue, found: FoundFaces, deadline: Deadline
) -> tuple[list[Pixels], FoundFaces]:
    """Restore the faces through the queue; ``timings.restore`` begins with their first batch."""
    futures = queue.put(found.crops, deadline)
    try:
        faces: list[RestoredFace] = await asyncio.gather(*map(asyncio.wrap_future, futures))
    finally:
        for future in futures:
            future.cancel()  # those still waiting if one failed or the caller gave up
    end = time.perf_counter()
    started = min((face.started for face in faces), default=end)
    timings = replace(found.timings, restore=end - started)
    return [face.crop for face in faces], replace(found, timings=timings)
