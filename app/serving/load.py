"""Loading, once: weights from disk to device, warmed up."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from app.engines.build import build, prepare_reference
from app.engines.cache import EngineCache
from app.engines.candidates import Candidate, candidates, choose, reference
from app.engines.engine import Crops, Engine, EngineError
from app.faces.detect import detect
from app.faces.eqface import EqFace, load_eqface
from app.faces.guard import Guard
from app.faces.parsing import FaceParser, load_parser, make_parser
from app.faces.restore import Restorer
from app.faces.upscale import Upscaler, make_upscaler
from app.settings import Settings
from app.threads import WatchedPool
from model.checkpoints.generator import is_onnx
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
)
from model.checkpoints.templates import landmark_template
from model.networks.retinaface import InBfloat16, load_detector
from model.networks.super_resolution import load_super_resolution
from model.state_dicts import WeightsError

log = logging.getLogger(__name__)


class DeviceError(ValueError):
    """The device asked for is not there."""


@dataclass(frozen=True)
class Loaded:
    restorer: Restorer
    detector: nn.Module
    """On the device of the first restorer."""
    max_batch: int
    max_wait: float
    """Seconds."""
    seconds_per_face: float
    """Seen once, warmed up: a first guess."""
    prepared: bool
    """Whether there were measurements to choose its engine by; PyTorch was taken where not."""
    upscalers: Mapping[int, Upscaler]
    """By the scale that they are for; none where there are no weights."""
    guard: Guard | None
    """None: every restored face is pasted."""
    parser: FaceParser | None
    """None: every face is pasted under an oval."""
    others: tuple[Restorer, ...] = ()
    """The same on the other GPUs."""

    @property
    def restorers(self) -> tuple[Restorer, ...]:
        return (self.restorer, *self.others)

    @property
    def calls(self) -> list[Restorer]:
        """Each restorer as often as it takes calls at a time: a worker each."""
        return [each for each in self.restorers for _ in range(each.engine.calls)]

    @property
    def threads(self) -> list[WatchedPool]:
        """Of the networks beside the generator that have one of their own."""
        parsing = [] if self.parser is None else [self.parser.thread]
        return [*parsing, *{id(u): u.thread for u in self.upscalers.values()}.values()]


def load(settings: Settings) -> Loaded:
    """Load generator and detector onto the devices and warm them up.

    Raises ValueError (CheckpointError, WeightsError, DeviceError, EngineError).
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
    restorers = [_restorer(engine, resolved) for engine in engines]
    commercial = not _is_academic(resolved)
    detector = find_detector(settings, devices[0], commercial=commercial)
    max_wait_ms = settings.max_wait_ms
    if max_wait_ms is None:
        max_wait_ms = 0.0 if devices[0].type == "cpu" else 5.0
    upscalers = find_upscalers(settings, devices[0], commercial=commercial)
    guard = find_guard(settings, devices[0], commercial=commercial)
    parser = find_parser(settings, devices[0], commercial=commercial)
    detect(detector, [np.zeros((64, 64, 3), np.uint8)], threshold=0.9, min_face=1)
    fitting = min(map(_warm_up, restorers))  # last, for it takes what memory there is
    seconds_per_face = min(_seconds(restorers[0]) for _ in range(3))
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


def _restorer(engine: Engine, resolved: Resolved) -> Restorer:
    template = landmark_template(resolved.template, engine.size)
    return Restorer(engine, resolved.name, resolved.licence, template)


def _warm_up(restorer: Restorer) -> int:
    """Restore black pictures, ever more at a time; returns how many the device has memory for.

    Raises torch.OutOfMemoryError when it has none for one.
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
    """The engine that measurements speak for, and True; PyTorch, and False, where there are none.

    Raises ValueError (WeightsError, EngineError).
    """
    onnx = is_onnx(resolved.path)
    wanted = candidates(device, settings.engine, settings.precision, onnx=onnx)
    cache = EngineCache.of(resolved.path, settings.cache_dir, device)
    first = reference(device, onnx=onnx)
    if onnx:
        prepare_reference(resolved.path, cache)
    if wanted == [first]:
        return build(first, resolved.path, cache), True
    measurements = cache.measurements()
    chosen = choose(wanted, measurements)
    if chosen is None and measurements:
        raise EngineError(
            f"engine {settings.engine} with precision {settings.precision} failed on this machine "
            "when it was tried; the log of `gpen prepare` says how"
        )
    if chosen is not None:
        try:
            return build(Candidate(chosen.engine, chosen.precision), resolved.path, cache), True
        except RuntimeError as error:
            log.warning("%s cannot be read, and is made again: %s", cache.converted, error)
            cache.discard()
    return build(first, resolved.path, cache), False


def _seconds(restorer: Restorer) -> float:
    """That a face takes."""
    start = time.perf_counter()
    restorer(_black(restorer, 1))
    return time.perf_counter() - start


def find_detector(settings: Settings, device: torch.device, *, commercial: bool) -> nn.Module:
    """RetinaFace with ResNet-50 where it is on this machine, else the bundled one.

    ``commercial``: only one that may be used so.  In bfloat16 where the device has it, and no other
    precision was asked for.
    Raises ValueError (CheckpointError, WeightsError).
    """
    for weights in (DETECTOR_RESNET50, DETECTOR_MOBILENET):
        path = find_safe(weights, settings.weights_dir, settings.cache_dir)
        if path is not None and (weights.commercial or not commercial):
            log.info("detector from %s", path)
            detector = load_detector(path).to(device)
            quick = settings.precision in ("auto", "bf16") and _has_quick_bfloat16(device)
            return InBfloat16(detector) if quick else detector
    raise CheckpointError(f"{DETECTOR_MOBILENET.file_name} is not in {settings.weights_dir}")


def find_upscalers(
    settings: Settings, device: torch.device, *, commercial: bool
) -> dict[int, Upscaler]:
    """The networks on this machine that enlarge photos, by scale: 2 and 4, or neither.

    One made for the scale comes before one for the other.  ``commercial``: only those that may be
    used so.  Never waits for the network.  Raises WeightsError.
    """
    paths: dict[UpscalerFile, Path] = {}
    for weights in UPSCALERS:
        path = find_safe(weights, settings.weights_dir, settings.cache_dir)
        if path is not None and commercial and not weights.commercial:
            log.info("%s is not used: the generator may be used commercially", weights.name)
        elif path is not None:
            paths[weights] = path
    if not paths:
        return {}
    wanted = {
        scale: min(paths, key=lambda weights: weights.scale != scale)  # the first of equals
        for scale in (2, 4)
    }
    upscalers: dict[UpscalerFile, Upscaler] = {}
    for weights in set(wanted.values()):
        log.info("upscaler %s from %s (licence: %s)", weights.name, paths[weights], weights.licence)
        upscalers[weights] = _load_upscaler(weights.name, paths[weights], settings, device)
    return {scale: upscalers[weights] for scale, weights in wanted.items()}


def _load_upscaler(name: str, path: Path, settings: Settings, device: torch.device) -> Upscaler:
    quick = settings.precision in ("auto", "bf16") and _has_quick_bfloat16(device)
    network = load_super_resolution(path, torch.bfloat16 if quick else torch.float32).to(device)
    try:
        return make_upscaler(name, network, torch.get_num_threads())
    except FloatingPointError as error:
        raise WeightsError(f"{path}: {error}") from error


def find_guard(settings: Settings, device: torch.device, *, commercial: bool) -> Guard | None:
    """With EQFace where both its files are on this machine; none if settings want none.

    ``commercial``: without.  Never waits for the network.  Raises WeightsError.
    """
    if not settings.guard:
        return None
    files = [
        find_safe(weights, settings.weights_dir, settings.cache_dir)
        for weights in (EQFACE_BACKBONE, EQFACE_QUALITY)
    ]
    if commercial or files[0] is None or files[1] is None:
        return Guard()
    log.info("faces judged by %s and %s", *files)
    quick = settings.precision in ("auto", "bf16") and _has_quick_bfloat16(device)
    return Guard(EqFace(load_eqface(files[0], files[1], device), bfloat16=quick))


def find_parser(settings: Settings, device: torch.device, *, commercial: bool) -> FaceParser | None:
    """ParseNet where one of its files is on this machine, warmed up.

    ``commercial``: only one that may be used so.  Never waits for the network.  Raises
    WeightsError.
    """
    for weights in PARSERS:
        path = find_safe(weights, settings.weights_dir, settings.cache_dir)
        if path is not None and commercial and not weights.commercial:
            log.info("%s is not used: the generator may be used commercially", weights.name)
        elif path is not None:
            log.info("masks of faces by %s (licence: %s)", path, weights.licence)
            quick = settings.precision in ("auto", "bf16") and _has_quick_bfloat16(device)
            dtype = torch.bfloat16 if quick else torch.float32
            return make_parser(load_parser(path, device, dtype), torch.get_num_threads())
    return None


def _is_academic(generator: Resolved) -> bool:
    """Whether it is known not to be for commercial use."""
    return any(c.name == generator.name and not c.commercial for c in CHECKPOINTS)


def _has_quick_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for it; elsewhere PyTorch emulates it, slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def choose_devices(name: str) -> list[torch.device]:
    """``cuda`` is all GPUs; ``auto`` too, or the CPU where there is none.  Raises DeviceError."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not count):
        return [torch.device("cpu")]
    index = None if name == "auto" else torch.device(name).index
    wanted = range(count) if index is None else [index]
    if not wanted or wanted[-1] >= count:
        raise DeviceError(f"device {name}: PyTorch sees {count} GPUs")
    return [torch.device("cuda", index) for index in wanted]
