"""Parsing restored faces with ParseNet (Chen et al., *PSFR-GAN*, CVPR 2021), to make masks.

The network is facexlib's.  As in facexlib and in GPEN's code, the restored face is parsed, because
the face in the photo may be too poor.
"""

from __future__ import annotations

import logging
import math
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from app.deadline import NEVER, Deadline
from app.faces.mask import CLASSES, FloatMap, oval, parsed
from app.imaging.photo import Pixels
from app.threads import WatchedPool
from model import torchvision_compat  # noqa: F401  (before facexlib)
from model.state_dicts import WeightsError, read_tensors

from facexlib.parsing.parsenet import ConvLayer, ParseNet  # isort: skip

log = logging.getLogger(__name__)

SIDE = 512
"""Width and height of the network's input, in pixels."""
_SHARE = 0.5  # share of the remaining time for parsing; enlarging, pasting and encoding follow


@dataclass(frozen=True, eq=False)
class FaceParser:
    """ParseNet and the thread that runs it on the network's device.  Threads may share it."""

    network: nn.Module
    """(1, 3, SIDE, SIDE) RGB in [-1, 1] -> scores (1, CLASSES, SIDE, SIDE), and a picture."""
    thread: WatchedPool = field(default_factory=lambda: WatchedPool(1, "gpen-parse"))
    """Faces are parsed one at a time, across all requests: one crop keeps a device busy, and more
    would take more memory."""
    seconds: float = 0.0
    """How long a crop took at start, as a first estimate."""

    def masks(
        self, crops: Sequence[Pixels], template: NDArray[np.floating], deadline: Deadline = NEVER
    ) -> list[FloatMap]:
        """A mask of ``app.faces.mask`` for each crop.

        ``crops``: restored crops, (S, S, 3) sRGB; ``template``: (5, 2), where their landmarks lie.
        Crops that there is too little time to parse get the oval.  Raises DeadlineExceeded.
        """
        masks: list[FloatMap] = []
        start, limit = time.perf_counter(), _SHARE * deadline.remaining
        for crop in crops:
            deadline.check()
            spent = time.perf_counter() - start
            if spent + (spent / len(masks) if masks else self.seconds) > limit:
                break
            work = self.thread.submit(self.classes, crop)
            try:
                classes = work.result(None if math.isinf(limit) else limit - spent)
            except TimeoutError:  # other requests were parsed first
                work.cancel()
                break
            masks.append(parsed(classes, template, crop.shape[0]))
        if unparsed := len(crops) - len(masks):
            log.info("%d of %d faces were not parsed in time", unparsed, len(crops))
            masks += [oval(template, crops[0].shape[0])] * unparsed
        return masks

    def classes(self, crop: Pixels) -> NDArray[np.uint8]:
        """The class of each pixel, (SIDE, SIDE), for a crop (S, S, 3); in the caller's thread."""
        classes: NDArray[np.uint8] = self.scores(crop).argmax(0).to(torch.uint8).cpu().numpy()
        return classes

    @torch.inference_mode()
    def scores(self, crop: Pixels) -> torch.Tensor:
        """Scores (CLASSES, SIDE, SIDE), on the network's device, for a crop (S, S, 3)."""
        interpolation = cv2.INTER_AREA if crop.shape[0] > SIDE else cv2.INTER_LINEAR
        resized = cv2.resize(crop, (SIDE, SIDE), interpolation=interpolation)
        weight = next(self.network.parameters())
        x = torch.from_numpy(resized).to(weight.device).permute(2, 0, 1)[None].float() / 127.5 - 1
        scores: torch.Tensor = self.network(x.to(weight.dtype))[0][0]
        return scores


def make_parser(network: nn.Module, threads: int) -> FaceParser:
    """Warm the network up on its device, and measure how long a crop takes.

    ``threads``: how many CPU threads it may use.  Raises WeightsError if its output is not finite.
    """
    thread = WatchedPool(1, "gpen-parse", threads)
    parser = FaceParser(network, thread)
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    for _ in range(2):
        start = time.perf_counter()
        scores = thread.submit(parser.scores, grey).result()
    if not scores.isfinite().all():
        raise WeightsError("the output of the face parsing network is not finite")
    return replace(parser, seconds=time.perf_counter() - start)


def load_parser(path: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Load facexlib's ``parsing_parsenet.pth`` or GPEN's ``ParseNet-latest.pth``.

    Batch norms are folded into the convolutions.  Raises WeightsError.
    """
    network = ParseNet(in_size=SIDE, out_size=SIDE, parsing_ch=CLASSES)
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 300)
        raise WeightsError(f"{path} does not hold ParseNet: {reason}") from error
    network.eval().requires_grad_(False)
    for layer in network.modules():
        if isinstance(layer, ConvLayer) and isinstance(norm := layer.norm.norm, nn.BatchNorm2d):
            layer.conv2d, layer.norm = fuse_conv_bn_eval(layer.conv2d, norm), nn.Identity()
    # channels last is faster on a CPU
    ready: nn.Module = network.to(device, dtype, memory_format=torch.channels_last)
    return ready
