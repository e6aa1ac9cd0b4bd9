"""Real-ESRGAN's blur kernels, drawn from our own generator; their formulas are basicsr's."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from model import torchvision_compat  # noqa: F401  (before basicsr)
from model.data.degradation.operations import FloatImage
from model.data.degradation.ranges import (
    REFERENCE_SIZE,
    SETTINGS,
    KernelSizes,
    OneOfSix,
    PositiveRange,
    Probability,
    scale_kernel,
    scale_range,
)

from basicsr.data.degradations import (  # isort: skip
    bivariate_Gaussian,
    bivariate_generalized_Gaussian,
    bivariate_plateau,
    circular_lowpass_kernel,
)

Shape = Literal["gaussian", "generalized", "plateau"]

SHAPES: tuple[tuple[Shape, bool], ...] = (
    ("gaussian", True),
    ("gaussian", False),
    ("generalized", True),
    ("generalized", False),
    ("plateau", True),
    ("plateau", False),
)
"""The six kinds: a shape, and whether it is isotropic."""


@dataclass(frozen=True, config=SETTINGS)
class KernelRanges:
    """Wang et al. 2021, Real-ESRGAN, section 4.1 and xinntao/Real-ESRGAN,
    options/train_realesrgan_x4plus.yml; the cutoffs: basicsr/data/realesrgan_dataset.py.
    """

    probabilities: OneOfSix = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    """Of the kinds in ``SHAPES``."""
    sizes: KernelSizes = (7, 9, 11, 13, 15, 17, 19, 21)
    sinc_probability: Probability = 0.1
    """Of a sinc kernel in place of any of the kinds."""
    generalized_beta: PositiveRange = (0.5, 4)
    plateau_beta: PositiveRange = (1, 2)
    cutoff: PositiveRange = (np.pi / 3, np.pi)
    """Of sinc kernels, in radians a pixel."""
    cutoff_of_large: PositiveRange = (np.pi / 5, np.pi)
    """Of those from 13 pixels on, the final one excepted."""


def draw_kernel(
    ranges: KernelRanges, sigma: PositiveRange, picture: int, rng: np.random.Generator
) -> FloatImage:
    """A blur kernel (K, K) of sum 1 for a picture of that height, to which all of it is scaled.

    ``sigma`` is in pixels, per axis.
    """
    drawn = int(rng.choice(ranges.sizes))
    size = scale_kernel(drawn, picture)
    if rng.random() < ranges.sinc_probability:
        cutoff = ranges.cutoff if drawn < 13 else ranges.cutoff_of_large
        return sinc_kernel(size, rng.uniform(*_scale_cutoff(cutoff, picture)))
    shape, isotropic = SHAPES[int(rng.choice(len(SHAPES), p=ranges.probabilities))]
    ends = scale_range(sigma, picture)
    sigma_x, sigma_y = rng.uniform(*ends), rng.uniform(*ends)
    theta = rng.uniform(-np.pi, np.pi)
    if shape == "gaussian":
        kernel = bivariate_Gaussian(size, sigma_x, sigma_y, theta, isotropic=isotropic)
    elif shape == "generalized":
        beta = _draw_beta(ranges.generalized_beta, rng)
        kernel = bivariate_generalized_Gaussian(
            size, sigma_x, sigma_y, theta, beta, isotropic=isotropic
        )
    else:
        beta = _draw_beta(ranges.plateau_beta, rng)
        kernel = bivariate_plateau(size, sigma_x, sigma_y, theta, beta, isotropic=isotropic)
    return np.asarray(kernel, dtype=np.float32)


def draw_final_sinc(ranges: KernelRanges, picture: int, rng: np.random.Generator) -> FloatImage:
    """The sinc kernel (K, K) that imitates sharpening and resampling after all else, scaled to a
    picture of that height.
    """
    size = scale_kernel(int(rng.choice(ranges.sizes)), picture)
    return sinc_kernel(size, rng.uniform(*_scale_cutoff(ranges.cutoff, picture)))


def sinc_kernel(size: int, cutoff: float) -> FloatImage:
    """A circular low-pass filter (size, size) of sum 1; it rings."""
    return np.asarray(circular_lowpass_kernel(cutoff, size), dtype=np.float32)


def _scale_cutoff(ends: PositiveRange, picture: int) -> tuple[float, float]:
    """Waves scale as pixels do; none is shorter than two pixels."""
    lowest, highest = ends
    return min(lowest * REFERENCE_SIZE / picture, highest), highest


def _draw_beta(ends: PositiveRange, rng: np.random.Generator) -> float:
    """Below 1 and above 1 equally often, as in basicsr (of plateaus, half have beta 1)."""
    lowest, highest = ends
    return rng.uniform(lowest, 1) if rng.random() < 0.5 else rng.uniform(1, highest)
