"""Real-ESRGAN's recipe: blur, resizing, noise and JPEG, twice, with ringing at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from model.degradation.kernels import KernelRanges, draw_final_sinc, draw_kernel
from model.degradation.operations import (
    RESIZE_MODES,
    FloatImage,
    Range,
    add_gaussian_noise,
    add_poisson_noise,
    blur,
    jpeg,
    resize,
)


@dataclass(frozen=True)
class Pass:
    """Ranges of one pass."""

    blur_probability: float
    sigma: Range
    """Of the blur, in pixels, per axis."""
    resize_probabilities: tuple[float, float, float]
    """Of larger, smaller, and neither."""
    factor: Range
    """Smallest and largest, with 1 between them."""
    gaussian: Range
    """Sigma in 8-bit levels."""
    poisson: Range
    """Multiple of the shot noise."""
    gaussian_probability: float = 0.5
    """Poisson noise otherwise."""
    grey_probability: float = 0.4
    """Of noise that is the same in all channels."""
    jpeg: tuple[int, int] = (30, 95)
    """Quality."""


FIRST = Pass(1.0, (0.2, 3), (0.2, 0.7, 0.1), (0.15, 1.5), (1, 30), (0.05, 3))
SECOND = Pass(0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5))


@dataclass(frozen=True)
class RealEsrganRecipe:
    """Wang et al. 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure
    Synthetic Data", section 3; the ranges of xinntao/Real-ESRGAN,
    options/train_realesrgan_x4plus.yml, the order of basicsr/models/realesrgan_model.py.

    Published models enlarge by 2 or 4, and the second pass ends at that fraction of the size.
    Faces are restored at their own size: the fraction is drawn (``scale``), and the picture brought
    back to its size bilinearly, as aligned crops are sampled.  Otherwise it differs in this: JPEG
    is the codec itself instead of its differentiable imitation, and the input is not sharpened.
    """

    first: Pass = FIRST
    second: Pass = SECOND
    kernels: KernelRanges = field(default_factory=KernelRanges)
    final_sinc_probability: float = 0.8
    sinc_first_probability: float = 0.5
    """Of the final sinc filter coming before the last JPEG instead of after it."""
    scale: Range = (1, 4)
    """By how much the second pass' end is smaller than the picture; x4plus is (4, 4)."""

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape."""
        height, width = image.shape[:2]
        low = self._blur(image, self.first, rng)
        factor = _draw_factor(self.first, rng)
        low = resize(low, height * factor, width * factor, _draw_mode(rng))
        low = _add_noise(low, self.first, rng)
        low = jpeg(low, _draw_quality(self.first, rng))

        scale = rng.uniform(*self.scale)
        low = self._blur(low, self.second, rng)
        factor = _draw_factor(self.second, rng) / scale
        low = resize(low, height * factor, width * factor, _draw_mode(rng))
        low = _add_noise(low, self.second, rng)
        # sinc filter, JPEG and then resizing would draw twisted lines: resizing stays with the
        # sinc filter (basicsr)
        quality, mode = _draw_quality(self.second, rng), _draw_mode(rng)
        sinc_first = rng.random() < self.sinc_first_probability
        if not sinc_first:
            low = jpeg(low, quality)
        low = resize(low, height / scale, width / scale, mode)
        if rng.random() < self.final_sinc_probability:
            low = blur(low, draw_final_sinc(self.kernels, rng))
        if sinc_first:
            low = jpeg(low, quality)
        return resize(low, height, width, cv2.INTER_LINEAR)

    def _blur(self, image: FloatImage, ranges: Pass, rng: np.random.Generator) -> FloatImage:
        if rng.random() >= ranges.blur_probability:
            return image
        return blur(image, draw_kernel(self.kernels, ranges.sigma, rng))


def _add_noise(image: FloatImage, ranges: Pass, rng: np.random.Generator) -> FloatImage:
    grey = rng.random() < ranges.grey_probability
    if rng.random() < ranges.gaussian_probability:
        return add_gaussian_noise(image, rng.uniform(*ranges.gaussian), rng, grey=grey)
    return add_poisson_noise(image, rng.uniform(*ranges.poisson), rng, grey=grey)


def _draw_factor(ranges: Pass, rng: np.random.Generator) -> float:
    smallest, largest = ranges.factor
    choices = (rng.uniform(1, largest), rng.uniform(smallest, 1), 1.0)
    return choices[int(rng.choice(3, p=ranges.resize_probabilities))]


def _draw_mode(rng: np.random.Generator) -> int:
    return int(rng.choice(RESIZE_MODES))


def _draw_quality(ranges: Pass, rng: np.random.Generator) -> int:
    return int(rng.integers(ranges.jpeg[0], ranges.jpeg[1], endpoint=True))
