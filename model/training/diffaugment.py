"""Differentiable augmentation of what the discriminator sees (Zhao et al., NeurIPS 2020).

Small data sets need it: without it, the discriminator memorises the faces.  Unlike in the published
code, the random parameters are a value, so that a restored face and its target can be augmented
equally.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Variation:
    """Random parameters, one row per sample, in the order of use."""

    brightness: Tensor  # (N, 1, 1, 1), added to pictures in [-1, 1]
    saturation: Tensor  # (N, 1, 1, 1), factor
    contrast: Tensor  # (N, 1, 1, 1), factor
    shift: Tensor  # (N, 2), from a pixel to its source, right and down; fraction of the size
    cutout: (
        Tensor  # (N, 2), centre of a square of half the size, down and right; fraction of the size
    )


def draw(n: int, device: torch.device, rng: torch.Generator) -> Variation:
    """Draw parameters for ``n`` samples from the published ranges.

    ``rng`` is a generator on the CPU, so that results do not depend on the device.
    """
    uniform = torch.rand(n, 7, generator=rng).to(device, non_blocking=True)
    column = uniform[:, :, None, None, None].unbind(dim=1)
    return Variation(
        brightness=column[0] - 0.5,
        saturation=column[1] * 2,
        contrast=column[2] + 0.5,
        shift=(uniform[:, 3:5] - 0.5) / 4,
        cutout=uniform[:, 5:7],
    )


def apply(x: Tensor, by: Variation) -> Tensor:
    """Augment (N, 3, R, R) in [-1, 1]; same shape.  Pixels shifted in or cut out are 0."""
    x = x + by.brightness
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * by.saturation
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * by.contrast

    n, channels, size, _ = x.shape
    pixel = torch.arange(size, device=x.device)
    # whole pixels, because interpolation would blur the pictures that D judges
    source = pixel + (by.shift * size).round().long()[:, :, None]  # (N, 2, R): column, row
    inside = (source >= 0) & (source < size)
    column, row = source.clamp(0, size - 1).unbind(dim=1)
    shape = (n, channels, size, size)
    # not ``grid_sample``, which lacks the second derivative that R1 needs
    x = x.gather(3, column[:, None, None].expand(shape))
    x = x.gather(2, row[:, None, :, None].expand(shape))

    cut = ((pixel + 0.5) / size - by.cutout[:, :, None]).abs() < 0.25  # (N, 2, R): row, column
    hole = cut[:, 0, :, None] & cut[:, 1, None, :]  # (N, R, R)
    shown = inside[:, 1, :, None] & inside[:, 0, None, :] & ~hole
    return x * shown[:, None]
