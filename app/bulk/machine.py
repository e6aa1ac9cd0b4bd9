"""Restoring many photos on one machine: several at a time, whose faces share batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import torch

from app.bulk.files import write_whole
from app.bulk.gate import PixelGate
from app.bulk.origin import Origin
from app.bulk.outcome import Outcome, Problem, problem_of
from app.bulk.plan import FORMATS, Job
from app.cores import core_count
from app.deadline import NEVER
from app.errors import NotServing, UnsupportedPicture
from app.faces.pipeline import Decode, find, finish, measure_work
from app.faces.restore import restore_all
from app.imaging.photo import Pixels
from app.options import EnhanceOptions
from app.pace import Pace
from app.serving.batch import FaceQueue
from app.serving.budget import pixels_by_memory
from app.serving.decoders import decoder_pool
from app.serving.load import Loaded
from app.serving.running import run
from app.settings import Limits, Settings


class Machine:
    """Restores photos with loaded models; a context manager.  Thread-safe.

    ``cores`` is how many of the machine's cores it may use; it uses the same share of the memory.
    ``on_death`` is called when the device fails, after which photos raise NotServing.
    """

    def __init__(
        self,
        loaded: Loaded,
        settings: Settings,
        options: EnhanceOptions,
        cores: int,
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.options = options
        self.loaded = loaded
        self._cores = cores
        # enough photos to keep the cores busy, and enough that wait for their faces to fill a batch
        self._at_once = cores + loaded.max_batch * len(loaded.calls)
        share = min(1.0, cores / core_count())
        pixels = settings.max_pixels_in_flight or int(share * pixels_by_memory())
        self._gate = PixelGate(pixels)
        self._queue = FaceQueue(self._at_once * settings.max_faces, Pace(loaded.seconds_per_face))
        self._on_death = on_death
        self._pool = ThreadPoolExecutor(
            self._at_once, "gpen-photo", initializer=torch.set_num_threads, initargs=(1,)
        )
        self._decoders = decoder_pool(settings, cores)
        self._at_end = ExitStack()

    def __enter__(self) -> Self:
        """Raises DecodersError."""
        self._at_end.enter_context(self._decoders)
        threads = max(1, self._cores // 2)  # the pool needs cores, too
        running = run(self.loaded, self._queue, threads, self._on_death)
        self._at_end.callback(running.stop)
        self._at_end.callback(self._pool.shutdown, cancel_futures=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._at_end.close()

    def enhance_all(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Yield outcomes as photos are finished; ``jobs`` is consumed only as fast as they are.

        Raises NotServing if the device has failed.
        """
        running: set[Future[Outcome]] = set()
        try:
            for job in jobs:
                running.add(self._pool.submit(self._enhance, job))
                if len(running) > self._at_once:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            for future in running:
                future.cancel()

    def _enhance(self, job: Job) -> Outcome:
        if job.fault:
            return Outcome(job, 0, Problem("file", job.fault))
        try:
            origin = Origin.of(job.source)
            data = _read(job.source)
            options = named_format(self.options, job)
            limits, decoders = self.settings.limits, self._decoders
            with self._gate.hold(measure_work(data, options, limits, decoders.measure)):
                faces = enhance(
                    data,
                    job,
                    origin,
                    options,
                    self.loaded,
                    limits,
                    decoders.decode,
                    self._restore,
                )
        except NotServing:
            raise
        except Exception as error:  # noqa: BLE001  (a bug on one photo must not cost the others)
            return Outcome(job, 0, problem_of(error))
        return Outcome(job, faces)

    def _restore(self, crops: list[Pixels]) -> list[Pixels]:
        return [future.result().crop for future in self._queue.put(crops)]


def _read(photo: Path) -> bytes:
    if photo.exists() and not photo.is_file():  # a pipe may never end
        raise UnsupportedPicture("It is not a regular file.")
    return photo.read_bytes()


def enhance_alone(job: Job, loaded: Loaded, settings: Settings, options: EnhanceOptions) -> Outcome:
    """Restore one photo, with all cores of the machine."""

    def restore(crops: list[Pixels]) -> list[Pixels]:
        return restore_all(loaded.restorer, crops, loaded.max_batch)

    try:
        origin = Origin.of(job.source)
        data = job.source.read_bytes()
        with decoder_pool(settings.model_copy(update={"decoders": 1}), cores=1) as decoders:
            faces = enhance(
                data,
                job,
                origin,
                named_format(options, job),
                loaded,
                settings.limits,
                decoders.decode,
                restore,
            )
    except Exception as error:  # noqa: BLE001  (reported like any failure)
        return Outcome(job, 0, problem_of(error))
    return Outcome(job, faces)


def enhance(
    data: bytes,
    job: Job,
    origin: Origin,
    options: EnhanceOptions,
    loaded: Loaded,
    limits: Limits,
    decode: Decode,
    restore: Callable[[list[Pixels]], list[Pixels]],
) -> int:
    """Restore a photo's bytes and write its target; returns the number of faces restored.

    Raises ServiceError, OSError.
    """
    found = find(data, options, limits, loaded.detector, loaded.restorer, NEVER, decode)
    crops = restore(found.crops)
    upscaler = loaded.upscalers.get(options.upscale)
    enhanced = finish(found, crops, options, NEVER, upscaler, loaded.guard, loaded.parser)
    write_whole(job.target, enhanced.picture.data, origin)
    return sum(report.restored for report in enhanced.reports)


def named_format(options: EnhanceOptions, job: Job) -> EnhanceOptions:
    """The options with the format that the target's name implies, if they do not state one."""
    named = FORMATS.get(job.target.suffix.lower())
    if options.format != "same" or named is None:
        return options
    return options.model_copy(update={"format": named})
