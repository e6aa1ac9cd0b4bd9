"""Real-ESRGAN's blur kernels, with basicsr's formulas and draws from a given generator."""

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
"""The six kinds of kernel: the shape, and whether it is isotropic."""


@dataclass(frozen=True, config=SETTINGS)
class KernelRanges:
    """The ranges of Real-ESRGAN's kernels (Wang et al. 2021, section 4.1).

    Values are those of xinntao/Real-ESRGAN, options/train_realesrgan_x4plus.yml, and the cutoffs
    those of basicsr/data/realesrgan_dataset.py.
    """

    probabilities: OneOfSix = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    """Probabilities of ``SHAPES``."""
    sizes: KernelSizes = (7, 9, 11, 13, 15, 17, 19, 21)
    sinc_probability: Probability = 0.1
    """Probability of a sinc kernel instead."""
    generalized_beta: PositiveRange = (0.5, 4)
    plateau_beta: PositiveRange = (1, 2)
    cutoff: PositiveRange = (np.pi / 3, np.pi)
    """Cutoff of sinc kernels, in radians per pixel."""
    cutoff_of_large: PositiveRange = (np.pi / 5, np.pi)
    """Cutoff of sinc kernels of 13 pixels and more, except for the final one."""


def draw_kernel(
    ranges: KernelRanges, sigma: PositiveRange, picture: int, rng: np.random.Generator
) -> FloatImage:
    """A blur kernel (K, K) of sum 1, scaled to a picture of ``picture`` pixels' height.

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
    """The final sinc kernel (K, K), which imitates sharpening and resampling.

    It is scaled to a picture of ``picture`` pixels' height.
    """
    size = scale_kernel(int(rng.choice(ranges.sizes)), picture)
    return sinc_kernel(size, rng.uniform(*_scale_cutoff(ranges.cutoff, picture)))


def sinc_kernel(size: int, cutoff: float) -> FloatImage:
    """A circular low-pass filter (size, size) of sum 1, which causes ringing."""
    return np.asarray(circular_lowpass_kernel(cutoff, size), dtype=np.float32)


def _scale_cutoff(ends: PositiveRange, picture: int) -> tuple[float, float]:
    """Scale the range of cutoffs to the picture's height; the shortest wave is two pixels."""
    lowest, highest = ends
    return min(lowest * REFERENCE_SIZE / picture, highest), highest


def _draw_beta(ends: PositiveRange, rng: np.random.Generator) -> float:
    """Below and above 1 with equal probability, as in basicsr; half of all plateaus have beta 1."""
    lowest, highest = ends
    return rng.uniform(lowest, 1) if rng.random() < 0.5 else rng.uniform(1, highest)
