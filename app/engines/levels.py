"""The generator from 8-bit pictures to 8-bit pictures, which is what every engine computes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.networks import FullGenerator
from model.networks.folded import FoldedGenerator

_HALF = 127.5


class LevelsToLevels(nn.Module):
    """(N, size, size, 3) uint8 RGB -> the same, and the mean (N,) of each output before rounding.

    Scaling and rounding happen on the device, so that only bytes cross the bus.  The mean shows
    whether the whole output was finite, which 8-bit levels cannot.
    """

    def __init__(self, generator: FullGenerator, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.generator = FoldedGenerator(generator, precision)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        x = crops.permute(0, 3, 1, 2).float() / _HALF - 1  # (N, 3, R, R), channels last in memory
        y = self.generator(x)
        levels = ((y + 1) * _HALF).round().clamp(0, 255).to(torch.uint8)
        return levels.permute(0, 2, 3, 1), y.mean(dim=(1, 2, 3))
