"""Loading all networks from disk onto their devices, and warming them up."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from app.engines.build import build
from app.engines.cache import EngineCache
from app.engines.candidates import REFERENCE, Candidate, candidates, choose
from app.engines.engine import Crops, Engine, EngineError
from app.faces.detect import detect
from app.faces.eqface import EqFace, load_eqface
from app.faces.guard import Guard
from app.faces.parsing import FaceParser, load_parser, make_parser
from app.faces.restore import Restorer
from app.faces.upscale import Upscaler, make_upscaler
from app.settings import Settings
from app.threads import WatchedPool
from model.checkpoints.lookup import Resolved, find_safe, resolve
from model.checkpoints.table import (
    CHECKPOINTS,
    DETECTOR_MOBILENET,
    DETECTOR_RESNET50,
    EQFACE_BACKBONE,
    EQFACE_QUALITY,
    PARSERS,
    UPSCALERS,
    CheckpointError,
    UpscalerFile,
    WeightsFile,
)
from model.checkpoints.templates import landmark_template
from model.networks.retinaface import InBfloat16, load_detector
from model.networks.super_resolution import load_super_resolution
from model.state_dicts import WeightsError

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
    """Whether the engine was chosen by measurements; without any, it is PyTorch."""
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
    """The engine, and whether it was chosen by measurements; without any, it is PyTorch.

    Raises WeightsError, EngineError.
    """
    wanted = candidates(device, settings.engine, settings.precision)
    cache = EngineCache.of(resolved.path, settings.cache_dir, device)
    if wanted == [REFERENCE]:
        return build(REFERENCE, resolved.path, cache), True
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
    return build(REFERENCE, resolved.path, cache), False


def _seconds_per_face(restorer: Restorer) -> float:
    start = time.perf_counter()
    restorer(_black(restorer, 1))
    return time.perf_counter() - start


def find_detector(settings: Settings, device: torch.device, *, commercial: bool) -> nn.Module:
    """RetinaFace with ResNet-50 if it is on this machine, else the bundled one.

    Raises CheckpointError, WeightsError.
    """
    for weights in (DETECTOR_RESNET50, DETECTOR_MOBILENET):
        path = _usable(weights, settings, commercial=commercial)
        if path is not None:
            log.info("detector from %s", path)
            detector = load_detector(path).to(device)
            return InBfloat16(detector) if _dtype(settings, device) != torch.float32 else detector
    raise CheckpointError(f"{DETECTOR_MOBILENET.file_name} is not in {settings.weights_dir}")


def find_upscalers(
    settings: Settings, device: torch.device, *, commercial: bool
) -> dict[int, Upscaler]:
    """The networks on this machine that enlarge photos, by scale: 2 and 4, or neither.

    A network trained for the scale is preferred to one for the other scale.  Raises WeightsError.
    """
    paths = {
        weights: path
        for weights in UPSCALERS
        if (path := _usable(weights, settings, commercial=commercial)) is not None
    }
    if not paths:
        return {}
    wanted = {
        scale: min(paths, key=lambda weights: weights.scale != scale)  # the first of equals
        for scale in (2, 4)
    }
    upscalers: dict[UpscalerFile, Upscaler] = {}
    for weights in set(wanted.values()):
        path = paths[weights]
        log.info("upscaler %s from %s (licence: %s)", weights.name, path, weights.licence)
        network = load_super_resolution(path, _dtype(settings, device)).to(device)
        try:
            upscalers[weights] = make_upscaler(weights.name, network, torch.get_num_threads())
        except FloatingPointError as error:
            raise WeightsError(f"{path}: {error}") from error
    return {scale: upscalers[weights] for scale, weights in wanted.items()}


def find_guard(settings: Settings, device: torch.device, *, commercial: bool) -> Guard | None:
    """A guard, with EQFace if both of its files are on this machine; None if it is turned off.

    Raises WeightsError.
    """
    if not settings.guard:
        return None
    backbone, quality = (
        _usable(weights, settings, commercial=commercial)
        for weights in (EQFACE_BACKBONE, EQFACE_QUALITY)
    )
    if backbone is None or quality is None:
        return Guard()
    log.info("faces judged by %s and %s", backbone, quality)
    in_bfloat16 = _dtype(settings, device) == torch.bfloat16
    return Guard(EqFace(load_eqface(backbone, quality, device), bfloat16=in_bfloat16))


def find_parser(settings: Settings, device: torch.device, *, commercial: bool) -> FaceParser | None:
    """ParseNet, warmed up, if one of its files is on this machine.  Raises WeightsError."""
    for weights in PARSERS:
        path = _usable(weights, settings, commercial=commercial)
        if path is not None:
            log.info("masks of faces by %s (licence: %s)", path, weights.licence)
            network = load_parser(path, device, _dtype(settings, device))
            return make_parser(network, torch.get_num_threads())
    return None


def _usable(weights: WeightsFile, settings: Settings, *, commercial: bool) -> Path | None:
    """The file, if it is on this machine and, where ``commercial`` is set, its licence allows that.

    Never downloads anything.
    """
    path = find_safe(weights, settings.weights_dir, settings.cache_dir)
    if path is not None and commercial and not weights.commercial:
        log.info("%s is not used: the generator may be used commercially", weights.name)
        return None
    return path


def _is_academic(generator: Resolved) -> bool:
    """Whether its licence is known to forbid commercial use."""
    return any(c.name == generator.name and not c.commercial for c in CHECKPOINTS)


def _dtype(settings: Settings, device: torch.device) -> torch.dtype:
    """What the networks beside the generator compute in: bfloat16 if it is fast and allowed."""
    if settings.precision in ("auto", "bf16") and _has_fast_bfloat16(device):
        return torch.bfloat16
    return torch.float32


def _has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device has bfloat16 instructions; without, PyTorch emulates them slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


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
