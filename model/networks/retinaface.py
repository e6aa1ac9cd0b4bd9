"""The face detector: RetinaFace (Deng et al., CVPR 2020), its weights, and what its outputs mean.

The network is facexlib's; how it is run is ours.
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

PADDING = 32  # to multiples of the largest stride
MEAN = (104, 117, 123)  # BGR, as the network takes it; subtracted
STRIDES_AND_ANCHORS = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
CANDIDATES = 5_000  # per image at most: the best
FAR = 1e6  # pixels
VOTE = 0.6  # intersection over union from which candidates agree on a face


class InBfloat16(nn.Module):
    """A network whose convolutions are computed in bfloat16; outputs are float32.

    Measured: landmarks move by 0.2% of the distance of the eyes, a tenth of what they do when the
    picture is turned or scaled; scores by 0.002; large pictures take little more than half as long
    on a processor that has instructions for it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(x.device.type, torch.bfloat16):
            outputs = self.network(x)
        return tuple(output.float() for output in outputs)


class Candidates(NamedTuple):
    """What the network takes for faces in an image, in its pixels; many overlap."""

    boxes: Floats  # (N, 4): x0 y0 x1 y1
    scores: Floats  # (N,)
    landmarks: Floats  # (N, 5, 2): x y

    def voted(self, best: int) -> tuple[Floats, Floats]:
        """Box (4,) and landmarks (5, 2) of a face: means over the candidates that agree with one.

        (Box voting; Gidaris & Komodakis, ICCV 2015.)  The noise of the landmarks is half of what
        one candidate's is.
        """
        box = self.boxes[best]
        both = intersection(box, self.boxes)
        votes = both >= VOTE * (area(box) + area(self.boxes) - both)
        return self.boxes[votes].mean(0), self.landmarks[votes].mean(0)


def load_detector(path: Path) -> nn.Module:
    """RetinaFace with the weights of a file, on the CPU, in evaluation mode, without gradients.

    Takes our ``.safetensors`` and the published ``.pth`` (keys may carry ``module.``), with a
    MobileNetV1 0.25 or a ResNet-50 as backbone.  Raises WeightsError.
    """
    state = read_tensors(path)
    if "body.stage1.0.0.weight" in state:
        network = "mobile0.25"
    elif "body.conv1.weight" in state:
        network = "resnet50"
    else:
        raise WeightsError(f"{path} holds no RetinaFace with a MobileNet 0.25 or a ResNet-50")
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
    """Make every batch norm part of the convolution before it: much less memory to go through."""
    before, convolution = "", None
    for name, child in list(network.named_children()):
        if isinstance(child, nn.BatchNorm2d) and convolution is not None:
            setattr(network, before, fuse_conv_bn_eval(convolution, child))
            setattr(network, name, nn.Identity())
        else:
            _fold_norms(child)
        before, convolution = name, child if isinstance(child, nn.Conv2d) else None


def padded_shape(image: Pixels) -> tuple[int, int]:
    """Height and width the network sees an image at."""
    height, width = image.shape[:2]
    return height + -height % PADDING, width + -width % PADDING


@torch.inference_mode()
def run(detector: nn.Module, images: Sequence[Pixels], threshold: float) -> Iterator[Candidates]:
    """Candidates scored ``threshold`` or more, for images (uint8 RGB) of one padded shape.

    Runs where the detector's parameters are.
    """
    height, width = padded_shape(images[0])
    padded = np.empty((len(images), height, width, 3), np.uint8)
    padded[:] = MEAN  # so that the network is given zeros there
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
    """From offsets in tenths of an anchor's side, and log sizes in fifths, to pixels.

    What is not finite, or FAR from any image, is dropped.
    """
    centres, sides = anchors[:, None, :2], anchors[:, None, 2:]
    offsets, log_sizes = regressed[:, None, :2], regressed[:, None, 2:]
    with np.errstate(over="ignore", invalid="ignore"):
        half_sizes = sides * np.exp(0.2 * log_sizes) / 2
        middle = centres + 0.1 * sides * offsets
        boxes = np.concatenate([middle - half_sizes, middle + half_sizes], 2)
        landmarks = centres + 0.1 * sides * points.reshape(-1, 5, 2)
        kept = (np.abs(boxes) < FAR).all((1, 2)) & (np.abs(landmarks) < FAR).all((1, 2))
    return Candidates(boxes[kept].reshape(-1, 4), scores[kept], landmarks[kept])


@lru_cache(maxsize=16)
def anchors(height: int, width: int) -> Floats:
    """Centre x, y and side of every anchor of a padded image, (N, 3), in the network's order."""
    levels = []
    for stride, sides in STRIDES_AND_ANCHORS:
        y, x, side = np.meshgrid(
            (np.arange(height // stride) + 0.5) * stride,
            (np.arange(width // stride) + 0.5) * stride,
            sides,
            indexing="ij",
        )
        levels.append(np.stack([x, y, side], -1).reshape(-1, 3))
    found = np.concatenate(levels).astype(np.float32)
    found.flags.writeable = False  # shared
    return found
