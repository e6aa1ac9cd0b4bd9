"""Finds and loads the networks beside the generator that are on this machine.

Nothing is downloaded.  ``commercial`` allows only weights whose licence permits commercial use.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import nn

from app.faces.eqface import EqFace, load_eqface
from app.faces.guard import Guard
from app.faces.parsing import FaceParser, load_parser, make_parser
from app.faces.upscale import Upscaler, make_upscaler
from app.settings import Settings
from model.checkpoints.lookup import find_safe
from model.checkpoints.table import (
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
from model.networks.retinaface import InBfloat16, load_detector
from model.networks.super_resolution import load_super_resolution
from model.state_dicts import WeightsError

log = logging.getLogger(__name__)


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
    """The file, if it is on this machine and its licence permits its use."""
    path = find_safe(weights, settings.weights_dir, settings.cache_dir)
    if path is not None and commercial and not weights.commercial:
        log.info("%s is not used: the generator may be used commercially", weights.name)
        return None
    return path


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
