"""The face detector RetinaFace (Deng et al., CVPR 2020): its weights and its outputs.

The network is facexlib's.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from model import torchvision_compat  # noqa: F401  (before facexlib)
from model.boxes import Floats, area, intersection
from model.state_dicts import WeightsError, read_tensors

from facexlib.detection.retinaface import RetinaFace  # isort: skip

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB."""

PADDING = 32  # sides are padded to multiples of the largest stride
MEAN = (104, 117, 123)  # BGR, which is subtracted from the input
STRIDES_AND_ANCHORS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
CANDIDATES = 5_000  # maximum per image; the best are used
FAR = 1e6  # pixels from the image at which a candidate is dropped
VOTE = 0.6  # intersection over union from which candidates agree on a face


class InBfloat16(nn.Module):
    """A network whose convolutions are computed in bfloat16 and whose outputs are float32.

    Measured: landmarks move by 0.2% of the distance between the eyes, a tenth of how far they move
    when the picture is rotated or scaled.  Scores change by 0.002.  Large pictures take little more
    than half the time on a processor with bfloat16 instructions.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(x.device.type, torch.bfloat16):
            outputs = self.network(x)
        return tuple(output.float() for output in outputs)


class Candidates(NamedTuple):
    """Detections before suppression, many of which overlap, in pixels of the image."""

    boxes: Floats  # (N, 4): x0 y0 x1 y1
    scores: Floats  # (N,)
    landmarks: Floats  # (N, 5, 2): x y

    def voted(self, best: int) -> tuple[Floats, Floats]:
        """The mean box (4,) and landmarks (5, 2) of the candidates that agree with number ``best``.

        This is box voting (Gidaris & Komodakis, ICCV 2015), which halves the landmarks' noise.
        """
        box = self.boxes[best]
        overlap = intersection(box, self.boxes)
        votes = overlap >= VOTE * (area(box) + area(self.boxes) - overlap)
        return self.boxes[votes].mean(0), self.landmarks[votes].mean(0)


def load_detector(path: Path) -> nn.Module:
    """Load RetinaFace onto the CPU, in evaluation mode and without gradients.

    ``path`` is our ``.safetensors`` or a published ``.pth`` (keys may start with ``module.``), with
    MobileNetV1 0.25 or ResNet-50 as its backbone.  Raises WeightsError.
    """
    state = read_tensors(path)
    if "body.stage1.0.0.weight" in state:
        network = "mobile0.25"
    elif "body.conv1.weight" in state:
        network = "resnet50"
    else:
        raise WeightsError(f"{path} does not hold RetinaFace with MobileNet 0.25 or ResNet-50")
    with warnings.catch_warnings():
        # facexlib builds the ResNet-50 with an argument that torchvision has since renamed
        warnings.filterwarnings("ignore", ".*'pretrained'|.*weight enum", UserWarning)
        detector: nn.Module = RetinaFace(network, device="cpu")
    try:
        detector.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path}: {error}") from error
    detector.eval().requires_grad_(False)
    _fold_norms(detector)
    return detector


def _fold_norms(network: nn.Module) -> None:
    """Fold every batch norm into the convolution before it, which saves much memory traffic."""
    previous_name, convolution = "", None
    for name, child in list(network.named_children()):
        if isinstance(child, nn.BatchNorm2d) and convolution is not None:
            setattr(network, previous_name, fuse_conv_bn_eval(convolution, child))
            setattr(network, name, nn.Identity())
        else:
            _fold_norms(child)
        previous_name, convolution = name, child if isinstance(child, nn.Conv2d) else None


def padded_shape(image: Pixels) -> tuple[int, int]:
    """Height and width of an image after padding."""
    height, width = image.shape[:2]
    return height + -height % PADDING, width + -width % PADDING


@torch.inference_mode()
def run(detector: nn.Module, images: Sequence[Pixels], threshold: float) -> Iterator[Candidates]:
    """The candidates with a score of at least ``threshold`` (0 to 1), for each image.

    The images are (H, W, 3) uint8 RGB of the same padded shape.  Runs on the detector's device.
    """
    height, width = padded_shape(images[0])
    padded = np.empty((len(images), height, width, 3), np.uint8)
    padded[:] = MEAN  # becomes zero when the mean is subtracted
    for target, image in zip(padded, images, strict=True):
        target[: image.shape[0], : image.shape[1]] = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    device = next(detector.parameters()).device
    x = torch.from_numpy(padded).to(device).permute(0, 3, 1, 2).float()  # channels last in memory
    x -= torch.tensor(MEAN, device=device).view(3, 1, 1)
    regressed, confidences, points = detector(x)
    scores = confidences[..., 1].cpu().numpy()
    for i in range(len(images)):
        chosen = np.flatnonzero(scores[i] >= threshold)
        chosen = chosen[np.argsort(-scores[i, chosen], kind="stable")[:CANDIDATES]]
        on_device = torch.from_numpy(chosen).to(device)
        yield _decode(
            anchors(height, width)[chosen],
            scores[i, chosen],
            regressed[i, on_device].cpu().numpy(),
            points[i, on_device].cpu().numpy(),
        )


def _decode(anchors: Floats, scores: Floats, regressed: Floats, points: Floats) -> Candidates:
    """Convert offsets, in tenths of an anchor's side, and log sizes, in fifths, to pixels.

    Candidates that are not finite, or FAR from the image, are dropped.
    """
    centres, sides = anchors[:, None, :2], anchors[:, None, 2:]
    offsets, log_sizes = regressed[:, None, :2], regressed[:, None, 2:]
    with np.errstate(over="ignore", invalid="ignore"):
        half_sizes = sides * np.exp(0.2 * log_sizes) / 2
        middle = centres + 0.1 * sides * offsets
        boxes = np.concatenate([middle - half_sizes, middle + half_sizes], 2)
        landmarks = centres + 0.1 * sides * points.reshape(-1, 5, 2)
        valid = (np.abs(boxes) < FAR).all((1, 2)) & (np.abs(landmarks) < FAR).all((1, 2))
    return Candidates(boxes[valid].reshape(-1, 4), scores[valid], landmarks[valid])


@lru_cache(maxsize=16)
def anchors(height: int, width: int) -> Floats:
    """Centre x, y and side of all anchors of a padded image, (N, 3), in the network's order."""
    levels = []
    for stride, sides in STRIDES_AND_ANCHORS:
        y, x, side = np.meshgrid(
            (np.arange(height // stride) + 0.5) * stride,
            (np.arange(width // stride) + 0.5) * stride,
            sides,
            indexing="ij",
        )
        levels.append(np.stack([x, y, side], -1).reshape(-1, 3))
    anchors = np.concatenate(levels).astype(np.float32)
    anchors.flags.writeable = False  # cached and shared by all callers
    return anchors
