"""Loading all networks from disk onto their devices, and warming them up."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from app.engines.build import build, build_reference
from app.engines.cache import EngineCache
from app.engines.candidates import Candidate, candidates, choose, reference
from app.engines.engine import Crops, Engine, EngineError
from app.faces.detect import detect
from app.faces.guard import Guard
from app.faces.parsing import FaceParser
from app.faces.restore import Restorer
from app.faces.upscale import Upscaler
from app.serving.networks import find_detector, find_guard, find_parser, find_upscalers
from app.settings import Settings
from app.threads import WatchedPool
from model.checkpoints.generator import is_onnx
from model.checkpoints.lookup import Resolved, resolve
from model.checkpoints.table import CHECKPOINTS
from model.checkpoints.templates import landmark_template

log = logging.getLogger(__name__)


class DeviceError(ValueError):
    """A device that this machine does not have."""


@dataclass(frozen=True)
class Loaded:
    restorer: Restorer
    detector: nn.Module
    """On the device of the first restorer."""
    max_batch: int
    max_wait: float
    """Seconds."""
    seconds_per_face: float
    """A first estimate, measured after warming up."""
    prepared: bool
    """Whether the engine was chosen by measurements; without any, it is the reference."""
    upscalers: Mapping[int, Upscaler]
    """By scale; empty if there are no weights for them."""
    guard: Guard | None
    """If None, every restored face is pasted."""
    parser: FaceParser | None
    """If None, every face is pasted with an oval mask."""
    others: tuple[Restorer, ...] = ()
    """The same generator on the other GPUs."""

    @property
    def restorers(self) -> tuple[Restorer, ...]:
        return (self.restorer, *self.others)

    @property
    def calls(self) -> list[Restorer]:
        """A restorer for each worker: each as many times as it takes calls in parallel."""
        return [each for each in self.restorers for _ in range(each.engine.calls)]

    @property
    def threads(self) -> list[WatchedPool]:
        """The threads of those networks beside the generator that have one of their own."""
        parsing = [] if self.parser is None else [self.parser.thread]
        return [*parsing, *{id(u): u.thread for u in self.upscalers.values()}.values()]


def load(settings: Settings) -> Loaded:
    """Load generator and detector onto the devices and warm them up.

    Networks whose licence forbids commercial use are loaded only beside such a generator.  Raises
    CheckpointError, WeightsError, DeviceError, EngineError, all of which are ValueErrors.
    """
    devices = choose_devices(settings.device)
    resolved = resolve(settings.model, settings.weights_dir, settings.cache_dir)
    if is_onnx(resolved.path):
        from app.engines.onnx_file import described  # noqa: PLC0415  (OpenVINO may be missing)

        resolved = described(resolved)
    log.info("model %s from %s (licence: %s)", resolved.name, resolved.path, resolved.licence)
    engines, prepared = zip(
        *(_load_engine(resolved, device, settings) for device in devices), strict=True
    )
    restorers = [
        Restorer(
            engine,
            resolved.name,
            resolved.licence,
            landmark_template(resolved.template, engine.size),
        )
        for engine in engines
    ]
    commercial = not _is_academic(resolved)
    detector = find_detector(settings, devices[0], commercial=commercial)
    max_wait_ms = settings.max_wait_ms
    if max_wait_ms is None:
        max_wait_ms = 0.0 if devices[0].type == "cpu" else 5.0
    upscalers = find_upscalers(settings, devices[0], commercial=commercial)
    guard = find_guard(settings, devices[0], commercial=commercial)
    parser = find_parser(settings, devices[0], commercial=commercial)
    detect(detector, [np.zeros((64, 64, 3), np.uint8)], threshold=0.9, min_face=1)
    fitting = min(map(_warm_up, restorers))  # last, because it uses all free memory
    seconds_per_face = min(_seconds_per_face(restorers[0]) for _ in range(3))
    return Loaded(
        restorers[0],
        detector,
        settings.max_batch or fitting,
        max_wait_ms / 1000,
        seconds_per_face,
        all(prepared),
        upscalers,
        guard,
        parser,
        tuple(restorers[1:]),
    )


def _warm_up(restorer: Restorer) -> int:
    """Restore ever larger batches of black pictures; returns the largest that fits in memory.

    Raises torch.OutOfMemoryError if not even one picture fits.
    """
    fitting = 0
    for size in restorer.engine.sizes:
        try:
            restorer(_black(restorer, size))
        except torch.OutOfMemoryError:
            if not fitting:
                raise
            torch.cuda.empty_cache()
            log.warning("%s has memory for %d faces at a time", restorer.engine.device, fitting)
            break
        fitting = size
    return fitting


def _black(restorer: Restorer, count: int) -> Crops:
    return np.zeros((count, restorer.size, restorer.size, 3), np.uint8)


def _load_engine(
    resolved: Resolved, device: torch.device, settings: Settings
) -> tuple[Engine, bool]:
    """The engine, and whether it was chosen by measurements; without any, it is the reference.

    Raises WeightsError, EngineError.
    """
    onnx = is_onnx(resolved.path)
    wanted = candidates(device, settings.engine, settings.precision, onnx=onnx)
    cache = EngineCache.of(resolved.path, settings.cache_dir, device)
    faithful = reference(device, onnx=onnx)
    if wanted == [faithful]:
        return build_reference(resolved.path, cache), True
    measurements = cache.measurements()
    chosen = choose(wanted, measurements)
    if chosen is None and measurements:
        raise EngineError(
            f"engine {settings.engine} with precision {settings.precision} failed on this machine "
            "when it was measured; the log of `gpen prepare` says how"
        )
    if chosen is not None:
        try:
            return build(Candidate(chosen.engine, chosen.precision), resolved.path, cache), True
        except RuntimeError as error:
            log.warning("%s cannot be read and will be converted again: %s", cache.converted, error)
            cache.discard()
    return build_reference(resolved.path, cache), False


def _seconds_per_face(restorer: Restorer) -> float:
    start = time.perf_counter()
    restorer(_black(restorer, 1))
    return time.perf_counter() - start


def _is_academic(generator: Resolved) -> bool:
    """Whether its licence is known to forbid commercial use."""
    return any(c.name == generator.name and not c.commercial for c in CHECKPOINTS)


def choose_devices(name: str) -> list[torch.device]:
    """The devices of the setting ``device``.  Raises DeviceError.

    ``cuda`` means all GPUs; ``auto`` does, too, or the CPU if there is no GPU.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return [torch.device("cpu")]
    index = None if name == "auto" else torch.device(name).index
    wanted = range(count) if index is None else [index]
    if not wanted or wanted[-1] >= count:
        raise DeviceError(f"device {name}: PyTorch sees {count} GPUs")
    return [torch.device("cuda", index) for index in wanted]
