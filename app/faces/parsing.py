"""What of a restored crop is the person's, by ParseNet (Chen et al., *PSFR-GAN*, CVPR 2021).

The network is facexlib's.  Like facexlib and GPEN's own code, this parses the restored face: the
photo's may be too poor for it.
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
"""Width and height, in pixels, of the crops that it takes."""
_SHARE = 0.5  # of a deadline that parsing may take: enlarging, pasting and encoding follow


@dataclass(frozen=True, eq=False)
class FaceParser:
    """Runs where the network's parameters are.  Threads may share it, and take turns."""

    network: nn.Module
    """(1, 3, SIDE, SIDE) RGB in [-1, 1] -> scores (1, CLASSES, SIDE, SIDE), and a picture."""
    thread: WatchedPool = field(default_factory=lambda: WatchedPool(1, "gpen-parse"))
    """Which alone runs it, a crop at a time: that keeps a device busy, and takes memory enough."""
    seconds: float = 0.0
    """That a crop took, seen once: a first guess."""

    def masks(
        self, crops: Sequence[Pixels], template: NDArray[np.floating], deadline: Deadline = NEVER
    ) -> list[FloatMap]:
        """What is pasted of each crop, as ``app.faces.mask`` has it.

        ``crops``: restored ones, (S, S, 3) sRGB; ``template``: (5, 2), where their landmarks lie.
        Those that there is no time for get the oval.  Raises DeadlineExceeded.
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
            except TimeoutError:  # others had their turns
                work.cancel()
                break
            masks.append(parsed(classes, template, crop.shape[0]))
        if left := crops[len(masks) :]:
            log.info("%d of %d faces were not parsed, for want of time", len(left), len(crops))
            masks += [oval(template, left[0].shape[0])] * len(left)
        return masks

    def classes(self, crop: Pixels) -> NDArray[np.uint8]:
        """(SIDE, SIDE), each less than CLASSES, of a crop (S, S, 3); in the caller's thread."""
        classes: NDArray[np.uint8] = self.scores(crop).argmax(0).to(torch.uint8).cpu().numpy()
        return classes

    @torch.inference_mode()
    def scores(self, crop: Pixels) -> torch.Tensor:
        """(CLASSES, SIDE, SIDE), on the network's device, of a crop (S, S, 3)."""
        shrinks = crop.shape[0] > SIDE
        seen = cv2.resize(
            crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        weight = next(self.network.parameters())
        x = torch.from_numpy(seen).to(weight.device).permute(2, 0, 1)[None].float() / 127.5 - 1
        scores: torch.Tensor = self.network(x.to(weight.dtype))[0][0]
        return scores


def make_parser(network: nn.Module, threads: int) -> FaceParser:
    """Warm the network up where it is, and see how long it takes.

    ``threads``: how many it may use of the processor.  Raises WeightsError when its output is not
    finite.
    """
    thread = WatchedPool(1, "gpen-parse", threads)
    parser = FaceParser(network, thread)
    grey = np.full((SIDE, SIDE, 3), 128, np.uint8)
    for _ in range(2):
        start = time.perf_counter()
        scores = thread.submit(parser.scores, grey).result()
    if not scores.isfinite().all():
        raise WeightsError("the output of the network that parses faces is not finite")
    return replace(parser, seconds=time.perf_counter() - start)


def load_parser(path: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    """ParseNet of facexlib's ``parsing_parsenet.pth`` or GPEN's ``ParseNet-latest.pth``.

    Its normalisation is folded into the convolutions.  Raises WeightsError.
    """
    network = ParseNet(in_size=SIDE, out_size=SIDE, parsing_ch=CLASSES)
    try:
        network.load_state_dict(read_tensors(path))
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 300)
        raise WeightsError(f"{path} is not ParseNet's: {reason}") from error
    network.eval().requires_grad_(False)
    for layer in network.modules():
        if isinstance(layer, ConvLayer) and isinstance(norm := layer.norm.norm, nn.BatchNorm2d):
            layer.conv2d, layer.norm = fuse_conv_bn_eval(layer.conv2d, norm), nn.Identity()
    # channels last take less time on a CPU
    ready: nn.Module = network.to(device, dtype, memory_format=torch.channels_last)
    return ready
