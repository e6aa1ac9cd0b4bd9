"""Loading, once: weights from disk to device, warmed up."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from app.decode import quieten_readers
from app.detect import detect, load_detector
from app.engines.build import build
from app.engines.cache import EngineCache
from app.engines.candidates import REFERENCE, Candidate, candidates, choose
from app.engines.engine import Crops, Engine, EngineError
from app.restore import Restorer
from app.retinaface import InBfloat16
from app.settings import Settings
from model.checkpoints import DETECTOR_MOBILENET, DETECTOR_RESNET50, CheckpointError
from model.hub import Resolved, find, resolve
from model.templates import landmark_template

log = logging.getLogger(__name__)


class DeviceError(ValueError):
    """The device asked for is not there."""


@dataclass(frozen=True)
class Loaded:
    restorer: Restorer
    detector: nn.Module
    max_batch: int
    max_wait: float
    """Seconds."""
    seconds_per_face: float
    """Seen once, warmed up: a first guess."""
    prepared: bool
    """Whether there were measurements to choose its engine by; PyTorch was taken where not."""


def load(settings: Settings) -> Loaded:
    """Load generator and detector onto the device and warm them up.

    Raises ValueError (CheckpointError, WeightsError, DetectorError, DeviceError, EngineError).
    """
    quieten_readers()
    device = choose_device(settings.device)
    resolved = resolve(settings.model, settings.weights_dir, settings.cache_dir)
    engine, prepared = _load_engine(resolved, device, settings)
    restorer = Restorer(
        engine,
        resolved.name,
        resolved.licence,
        landmark_template(resolved.template, engine.size),
    )
    log.info("model %s from %s (licence: %s)", resolved.name, resolved.path, resolved.licence)
    detector = find_detector(settings, device)
    max_wait_ms = settings.max_wait_ms
    if max_wait_ms is None:
        max_wait_ms = 0.0 if device.type == "cpu" else 5.0
    size = restorer.size
    black = np.zeros((1, size, size, 3), np.uint8)
    restorer(black)
    restorer(np.repeat(black, engine.batch, axis=0))
    seconds_per_face = min(_seconds(restorer, black) for _ in range(3))
    detect(detector, [np.zeros((64, 64, 3), np.uint8)], threshold=0.9, min_face=1)
    return Loaded(
        restorer,
        detector,
        settings.max_batch or engine.batch,
        max_wait_ms / 1000,
        seconds_per_face,
        prepared,
    )


def _load_engine(
    resolved: Resolved, device: torch.device, settings: Settings
) -> tuple[Engine, bool]:
    """The engine that measurements speak for, and True; PyTorch, and False, where there are none.

    Raises ValueError (WeightsError, EngineError).
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
            "when it was tried; the log of `gpen prepare` says how"
        )
    if chosen is not None:
        try:
            return build(Candidate(chosen.engine, chosen.precision), resolved.path, cache), True
        except RuntimeError as error:
            log.warning("%s cannot be read, and is made again: %s", cache.converted, error)
            cache.discard()
    return build(REFERENCE, resolved.path, cache), False


def _seconds(restorer: Restorer, crops: Crops) -> float:
    start = time.perf_counter()
    restorer(crops)
    return time.perf_counter() - start


def find_detector(settings: Settings, device: torch.device) -> nn.Module:
    """RetinaFace with ResNet-50 where it lies beside the official weights, else the bundled one.

    In bfloat16 where the device has it, and no other precision was asked for.
    Raises ValueError (CheckpointError, DetectorError).
    """
    for weights in (DETECTOR_RESNET50, DETECTOR_MOBILENET):
        path = find(weights, settings.weights_dir, settings.cache_dir)
        if path is not None:
            log.info("detector from %s", path)
            detector = load_detector(path).to(device)
            quick = settings.precision in ("auto", "bf16") and _has_quick_bfloat16(device)
            return InBfloat16(detector) if quick else detector
    raise CheckpointError(f"{DETECTOR_MOBILENET.file_name} is not in {settings.weights_dir}")


def _has_quick_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for it; elsewhere PyTorch emulates it, slowly."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def choose_device(name: str) -> torch.device:
    """``auto`` is the first GPU, or the CPU.  Raises DeviceError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"device {name}: PyTorch sees {torch.cuda.device_count()} GPUs")
    return device
