"""Real-ESRGAN's recipe: two passes of blur, resizing, noise and JPEG, with final ringing."""

from __future__ import annotations

import cv2
import numpy as np
from pydantic.dataclasses import dataclass

from model.data.degradation.kernels import KernelRanges, draw_final_sinc, draw_kernel
from model.data.degradation.operations import (
    RESIZE_MODES,
    FloatImage,
    add_gaussian_noise,
    add_poisson_noise,
    blur,
    jpeg,
    resize,
)
from model.data.degradation.ranges import (
    REFERENCE_SIZE,
    SETTINGS,
    OneOfThree,
    PositiveRange,
    Probability,
    Quality,
    Range,
    scale_range,
)


@dataclass(frozen=True, config=SETTINGS)
class FirstPass:
    """Ranges of the first pass."""

    blur_probability: Probability = 1.0
    sigma: PositiveRange = (0.2, 3)
    """Sigma of the blur in pixels, per axis."""
    resize_probabilities: OneOfThree = (0.2, 0.7, 0.1)
    """Probabilities of enlarging, shrinking, and neither."""
    factor: PositiveRange = (0.15, 1.5)
    """Smallest and largest factor of resizing, with 1 in between."""
    gaussian: Range = (1, 30)
    """Sigma in 8-bit levels."""
    poisson: Range = (0.05, 3)
    """Factor on the shot noise."""
    gaussian_probability: Probability = 0.5
    """Probability of Gaussian noise; otherwise Poisson noise."""
    grey_probability: Probability = 0.4
    """Probability of noise that is equal in all channels."""
    jpeg: Quality = (30, 95)


@dataclass(frozen=True, config=SETTINGS)
class SecondPass(FirstPass):
    """Ranges of the second pass, which is weaker."""

    blur_probability: Probability = 0.8
    sigma: PositiveRange = (0.2, 1.5)
    resize_probabilities: OneOfThree = (0.3, 0.4, 0.3)
    factor: PositiveRange = (0.3, 1.2)
    gaussian: Range = (1, 25)
    poisson: Range = (0.05, 2.5)


@dataclass(frozen=True, config=SETTINGS)
class RealEsrganRecipe:
    """Wang et al. 2021, "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure
    Synthetic Data", section 3.

    The ranges are those of xinntao/Real-ESRGAN, options/train_realesrgan_x4plus.yml, and the order
    of operations is that of basicsr/models/realesrgan_model.py.

    The published models enlarge by 2 or 4, and the second pass ends at that fraction of the size.
    Here the fraction is drawn (``scale``), because faces are restored at their own size, and the
    picture is then resized to its original size bilinearly, as aligned crops are sampled.  Two
    other differences: JPEG is the real codec instead of its differentiable imitation, and the input
    is not sharpened.

    The published ranges are for general pictures.  They are applied to faces of 512 px and scaled
    for other sizes (``ranges``).  Without scaling, faces of 256 px are often degraded beyond
    recognition, and those of 512 px hardly ever.
    """

    first: FirstPass = FirstPass()
    second: SecondPass = SecondPass()
    kernels: KernelRanges = KernelRanges()
    final_sinc_probability: Probability = 0.8
    sinc_first_probability: Probability = 0.5
    """Probability that the final sinc filter precedes the last JPEG instead of following it."""
    scale: PositiveRange = (1, 4)
    """How much smaller than the picture the second pass's result is; x4plus has (4, 4)."""

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape."""
        height, width = image.shape[:2]
        low = self._blur(image, self.first, height, rng)
        factor = _draw_factor(self.first, height, rng)
        low = resize(low, height * factor, width * factor, _draw_mode(rng))
        low = _add_noise(low, self.first, rng)
        low = jpeg(low, _draw_quality(self.first, rng))

        scale = rng.uniform(*scale_range(self.scale, height))
        low = self._blur(low, self.second, height, rng)
        factor = _draw_factor(self.second, height, rng) / scale
        low = resize(low, height * factor, width * factor, _draw_mode(rng))
        low = _add_noise(low, self.second, rng)
        # sinc filter, JPEG and then resizing would bend lines, so resizing stays next to the sinc
        # filter (as in basicsr)
        quality, mode = _draw_quality(self.second, rng), _draw_mode(rng)
        sinc_first = rng.random() < self.sinc_first_probability
        if not sinc_first:
            low = jpeg(low, quality)
        low = resize(low, height / scale, width / scale, mode)
        if rng.random() < self.final_sinc_probability:
            low = blur(low, draw_final_sinc(self.kernels, height, rng))
        if sinc_first:
            low = jpeg(low, quality)
        return resize(low, height, width, cv2.INTER_LINEAR)

    def _blur(
        self, image: FloatImage, ranges: FirstPass, size: int, rng: np.random.Generator
    ) -> FloatImage:
        if rng.random() >= ranges.blur_probability:
            return image
        return blur(image, draw_kernel(self.kernels, ranges.sigma, size, rng))


def _add_noise(image: FloatImage, ranges: FirstPass, rng: np.random.Generator) -> FloatImage:
    grey = rng.random() < ranges.grey_probability
    if rng.random() < ranges.gaussian_probability:
        return add_gaussian_noise(image, rng.uniform(*ranges.gaussian), rng, grey=grey)
    return add_poisson_noise(image, rng.uniform(*ranges.poisson), rng, grey=grey)


def _draw_factor(ranges: FirstPass, size: int, rng: np.random.Generator) -> float:
    smallest, largest = ranges.factor
    smallest = min(
        smallest * REFERENCE_SIZE / size, 1
    )  # scaled like a shrinking factor, whose inverse it is
    choices = (rng.uniform(1, largest), rng.uniform(smallest, 1), 1.0)
    return choices[int(rng.choice(3, p=ranges.resize_probabilities))]


def _draw_mode(rng: np.random.Generator) -> int:
    return int(rng.choice(RESIZE_MODES))


def _draw_quality(ranges: FirstPass, rng: np.random.Generator) -> int:
    return int(rng.integers(ranges.jpeg[0], ranges.jpeg[1], endpoint=True))
