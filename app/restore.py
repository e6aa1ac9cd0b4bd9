"""The network's step: a batch of aligned crops in, restored crops out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.photo import Pixels
from model.networks import FullGenerator

Crops = NDArray[np.uint8]
"""(N, size, size, 3) RGB."""


@dataclass(frozen=True)
class Restorer:
    """A generator that is ready to use, and what the service must know of it."""

    generator: FullGenerator
    name: str
    licence: str
    template: NDArray[np.float64]
    """(5, 2): where the landmarks lie in a crop."""

    @property
    def size(self) -> int:
        return self.generator.size

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    def __call__(self, crops: Crops) -> Crops:
        return restore(self.generator, crops)


@torch.inference_mode()
def restore(generator: FullGenerator, crops: Crops) -> Crops:
    """Restore (N, size, size, 3) RGB crops; same shape.

    8-bit levels cross the bus; scaling and rounding happen on the generator's device.
    Raises FloatingPointError when the network's output is not finite.
    """
    device = next(generator.parameters()).device
    x = torch.from_numpy(crops).to(device, non_blocking=True)
    x = x.permute(0, 3, 1, 2).float() / 127.5 - 1  # (N, 3, R, R), channels last in memory
    y: Tensor = generator(x)
    if not bool(torch.isfinite(y).all()):
        raise FloatingPointError("the network's output is not finite")
    levels = ((y.float() + 1) * 127.5).round().clamp(0, 255).byte()
    return np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())


def restore_all(restorer: Restorer, crops: list[Pixels], max_batch: int) -> list[Pixels]:
    """Restore any number of crops in batches, without a queue (command line)."""
    restored: list[Pixels] = []
    for start in range(0, len(crops), max_batch):
        restored.extend(restorer(np.stack(crops[start : start + max_batch])))
    return restored
