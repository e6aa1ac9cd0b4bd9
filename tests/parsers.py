"""What stands for ParseNet: known classes, and seeded weights laid out as the published ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.faces.mask import CLASSES
from model import torchvision_compat  # noqa: F401  (before facexlib)

from facexlib.parsing.parsenet import ParseNet  # isort: skip

BACKGROUND, SKIN, NOSE, GLASSES, MOUTH, HAIR, HAT, EARRING, NECK, CLOTHES = (
    *(0, 1, 2, 3, 10),
    *(13, 14, 15, 17, 18),
)
Classes = NDArray[np.uint8]


def person(side: int = 512, *, at: float = 0.0) -> Classes:
    """(side, side): a head with hair, features, neck and clothes where templates have them.

    ``at``: so many sides to the right.
    """
    classes = np.zeros((side, side), np.uint8)

    def ellipse(x: float, y: float, width: float, height: float, kind: int) -> None:
        centre, axes = (round((x + at) * side), round(y * side)), (width, height)
        half = (round(axes[0] * side), round(axes[1] * side))
        cv2.ellipse(classes, centre, half, 0, 0, 360, kind, -1)

    ellipse(0.5, 1.05, 0.6, 0.15, CLOTHES)
    ellipse(0.5, 0.95, 0.12, 0.15, NECK)
    ellipse(0.5, 0.45, 0.36, 0.42, HAIR)
    ellipse(0.5, 0.57, 0.25, 0.34, SKIN)
    ellipse(0.5, 0.58, 0.04, 0.06, NOSE)
    ellipse(0.5, 0.72, 0.1, 0.03, MOUTH)
    return classes


class Known(nn.Module):
    """Gives the classes that it was told, or that a function makes of the crop that it sees."""

    def __init__(self, classes: Classes | Callable[[Tensor], Classes]) -> None:
        super().__init__()
        self.anywhere = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []
        self._classes = classes

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        self.seen.append(x)
        classes = self._classes(x) if callable(self._classes) else self._classes
        scores = nn.functional.one_hot(torch.from_numpy(classes).long(), CLASSES)
        return scores.permute(2, 0, 1)[None].float(), x


def seeded_parsenet() -> ParseNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ParseNet(in_size=512, out_size=512, parsing_ch=CLASSES)
    return network.eval().requires_grad_(False)


def normalised(network: ParseNet, x: Tensor) -> ParseNet:
    """By what it makes of a picture, as training does; then no class is everywhere in it."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    network.train()(x)
    return network.eval()


def seeing_skin(network: ParseNet) -> ParseNet:
    """Everywhere, whatever it is shown."""
    network.out_mask_conv.conv2d.bias[SKIN] = 1e6
    return network
