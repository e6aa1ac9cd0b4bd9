"""Differentiable augmentation of what the discriminator sees (Zhao et al., NeurIPS 2020).

Small sets need it: without, the discriminator learns the faces by heart.  Unlike the published
code, what was drawn is a value, so that a restored face and its target can be varied alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Variation:
    """One row per sample."""

    brightness: Tensor  # (N, 1, 1, 1), added, pictures being in [-1, 1]
    saturation: Tensor  # (N, 1, 1, 1), factor
    contrast: Tensor  # (N, 1, 1, 1), factor
    shift: Tensor  # (N, 2), fraction of the size
    cutout: Tensor  # (N, 2), centre of a square of half the size, fraction of the size


def draw(n: int, device: torch.device) -> Variation:
    uniform = torch.rand(n, 7, device=device)
    column = uniform[:, :, None, None, None].unbind(dim=1)
    return Variation(
        brightness=column[0] - 0.5,
        saturation=column[1] * 2,
        contrast=column[2] + 0.5,
        shift=(uniform[:, 3:5] - 0.5) / 4,
        cutout=uniform[:, 5:7],
    )


def apply(x: Tensor, by: Variation) -> Tensor:
    """Vary (N, 3, R, R) in [-1, 1]; same shape."""
    x = x + by.brightness
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * by.saturation
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * by.contrast

    n, _, size, _ = x.shape
    identity = torch.eye(2, device=x.device).expand(n, 2, 2)
    theta = torch.cat([identity, by.shift[:, :, None] * 2], dim=2)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    # whole pixels: interpolation would blur what the discriminator is to judge
    grid = ((grid + 1) * size / 2 - 0.5).round().add(0.5).mul(2 / size).sub(1)
    x = F.grid_sample(x, grid.to(x.dtype), mode="nearest", align_corners=False)

    position = (torch.arange(size, device=x.device) + 0.5) / size
    inside = (position - by.cutout[:, :, None]).abs() < 0.25  # (N, 2, R)
    hole = inside[:, 0, :, None] & inside[:, 1, None, :]  # (N, R, R)
    return x * (~hole)[:, None]
