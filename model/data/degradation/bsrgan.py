"""BSRGAN's recipe: seven operations in random order, and a final JPEG."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from model import torchvision_compat  # noqa: F401  (before basicsr)
from model.data.degradation.camera import CameraRanges, through_camera
from model.data.degradation.operations import (
    RESIZE_MODES,
    FloatImage,
    add_gaussian_noise,
    blur,
    jpeg,
    mix_channels,
    resize,
)
from model.data.degradation.ranges import (
    SETTINGS,
    KernelSizes,
    OneOfThree,
    PositiveRange,
    Probability,
    Quality,
    rises,
    scale_kernel,
    scale_range,
)

from basicsr.data.degradations import bivariate_Gaussian  # isort: skip

NoiseKind = Literal["colour", "grey", "correlated"]
Step = Callable[[FloatImage], FloatImage]

NOISE_KINDS: tuple[NoiseKind, ...] = ("colour", "grey", "correlated")
_SHIFTED_SIZE = 25


@dataclass(frozen=True, config=SETTINGS)
class BsrganRecipe:
    """Zhang et al. 2021, "Designing a Practical Degradation Model for Deep Blind Image
    Super-Resolution", section 3; cszn/BSRGAN, utils/utils_blindsr.py (``degradation_bsrgan``).

    The published models enlarge by a fixed ``scale`` of 2 or 4.  Their low-quality halves are
    smaller by that scale, which also widens the blur.  Here the scale is drawn, because faces are
    restored at their own size: 1 is a face that fills its crop.  The picture is then resized to its
    original size bilinearly, as aligned crops are sampled.  The camera pipeline is an approximation
    (``model.data.degradation.camera``) and does not change the high-quality half.

    The published ranges are for general pictures, like Real-ESRGAN's, and are applied to faces of
    512 px.  For other sizes they are scaled (``ranges``): a face of 256 px has the scales 1 and 2.
    """

    scales: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (1, 2, 4)
    halved_probability: Probability = 0.25
    """Probability at scale 4 of halving first and continuing at scale 2."""
    kernel_sizes: KernelSizes = (7, 9, 11, 13, 15, 17, 19, 21, 23, 25)
    anisotropic_probability: Probability = 0.5
    isotropic: PositiveRange = (0.1, 2)
    """Sigma in pixels.  The upper end grows with the scale."""
    isotropic_growth: NonNegativeFloat = 0.2
    """Pixels per unit of scale, by which the upper end grows."""
    anisotropic: PositiveRange = (0.5, 4)
    """Variance in pixels squared, per axis.  The lower end is the paper's; in the code it is 0."""
    anisotropic_growth: NonNegativeFloat = 1
    """Pixels squared per unit of scale, by which the upper end grows."""
    resize_probability: Probability = 0.75
    """Probability of resizing; otherwise a shifted Gaussian, and every scale-th pixel."""
    resize: PositiveRange = (1, 2)
    """Shrinking factor; the upper end is multiplied by the scale."""
    shifted_sigma: PositiveRange = (0.1, 0.6)
    """Sigma in pixels; the upper end is multiplied by the scale."""
    noise: Annotated[tuple[NonNegativeInt, NonNegativeInt], rises] = (2, 25)
    """Sigma in 8-bit levels."""
    noise_probabilities: OneOfThree = (0.4, 0.4, 0.2)
    """Probabilities of ``NOISE_KINDS``."""
    jpeg: Quality = (30, 95)
    jpeg_probability: Probability = 0.9
    """Probability of the JPEG that is one of the seven operations."""
    camera_probability: Probability = 0.25
    camera: CameraRanges = CameraRanges()

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape."""
        height, width = image.shape[:2]
        drawn = int(rng.choice(self.scales))
        scale = round(scale_range((1, drawn), height)[1])
        low_size = (height / scale, width / scale)
        low = image
        if drawn == 4 and rng.random() < self.halved_probability:
            part = min(2, scale)
            low = resize(low, height / part, width / part, _draw_mode(rng))
            drawn, scale = 2, scale // part
        steps: list[Step] = [
            partial(self._downsample, drawn=drawn, scale=scale, size=height, rng=rng),
            lambda low: resize(low, *low_size, _draw_mode(rng)),
            partial(self._blur, drawn=drawn, size=height, rng=rng),
            partial(self._blur, drawn=drawn, size=height, rng=rng),
            partial(self._add_noise, rng=rng),
            partial(self._jpeg, probability=self.jpeg_probability, rng=rng),
            partial(self._camera, rng=rng),
        ]
        for index in _draw_order(len(steps), rng):
            low = steps[index](low)
        low = self._jpeg(low, 1, rng)
        return resize(low, height, width, cv2.INTER_LINEAR)

    def _blur(
        self, image: FloatImage, drawn: int, size: int, rng: np.random.Generator
    ) -> FloatImage:
        """Blur as at scale ``drawn``; ``size`` is the original picture's height in pixels."""
        kernel_size = scale_kernel(int(rng.choice(self.kernel_sizes)), size)
        if rng.random() < self.anisotropic_probability:
            lowest, highest = self.anisotropic
            ends = lowest, highest + self.anisotropic_growth * drawn
            sigma_x, sigma_y = np.sqrt(rng.uniform(*scale_range(ends, size, power=2), 2))
            theta = rng.uniform(0, np.pi)
            kernel = bivariate_Gaussian(kernel_size, sigma_x, sigma_y, theta, isotropic=False)
        else:
            lowest, highest = self.isotropic
            ends = lowest, highest + self.isotropic_growth * drawn
            kernel = bivariate_Gaussian(kernel_size, rng.uniform(*scale_range(ends, size)), 0, 0)
        return blur(image, np.asarray(kernel, dtype=np.float32))

    def _downsample(
        self, image: FloatImage, drawn: int, scale: int, size: int, rng: np.random.Generator
    ) -> FloatImage:
        """Shrink as at scale ``drawn``, which is ``scale`` for a picture of this ``size``."""
        height, width = image.shape[:2]
        if rng.random() < self.resize_probability:
            lowest, highest = self.resize
            factor = rng.uniform(*scale_range((lowest, highest * drawn), size))
            return resize(image, height / factor, width / factor, _draw_mode(rng))
        sigma = rng.uniform(self.shifted_sigma[0], self.shifted_sigma[1] * scale)
        # each pixel must represent a block of the same size, or the picture would shift
        rows, columns = (max(1, round(side / scale)) for side in (height, width))
        image = resize(image, rows * scale, columns * scale, cv2.INTER_LINEAR)
        return blur(image, shifted_gaussian(sigma, (scale - 1) / 2))[::scale, ::scale]

    def _add_noise(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        kind = NOISE_KINDS[int(rng.choice(len(NOISE_KINDS), p=self.noise_probabilities))]
        if kind == "correlated":
            return add_correlated_noise(image, self.noise[1], rng)
        sigma = int(rng.integers(*self.noise, endpoint=True))
        return add_gaussian_noise(image, sigma, rng, grey=kind == "grey")

    def _jpeg(self, image: FloatImage, probability: float, rng: np.random.Generator) -> FloatImage:
        if rng.random() >= probability:
            return image
        return jpeg(image, int(rng.integers(*self.jpeg, endpoint=True)))

    def _camera(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        if rng.random() >= self.camera_probability:
            return image
        return through_camera(np.clip(image, 0, 1), self.camera, rng)


def shifted_gaussian(sigma: float, shift: float) -> FloatImage:
    """A Gaussian kernel (25, 25) of sum 1, centred ``shift`` pixels to the right and down.

    If every n-th pixel is then sampled, a shift of (n - 1) / 2 puts each sample in the middle of
    the n x n block that it replaces.
    """
    axis = np.arange(_SHIFTED_SIZE) - _SHIFTED_SIZE // 2 - shift
    exponent = -((axis / sigma) ** 2) / 2
    profile = np.exp(
        exponent - exponent.max()
    )  # keeps a narrow kernel between pixels from vanishing
    kernel = np.outer(profile, profile)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def add_correlated_noise(image: FloatImage, sigma: float, rng: np.random.Generator) -> FloatImage:
    """Add noise that is correlated between channels, of up to ``sigma`` 8-bit levels; in [0, 1].

    Its covariance (section 3.3 of the paper) has random eigenvalues in a random basis, and its
    entries are made positive, after which a 3 x 3 matrix is still a covariance.
    """
    basis, _ = np.linalg.qr(rng.random((3, 3)))
    covariance = np.abs(basis.T @ np.diag(rng.random(3)) @ basis) * (sigma / 255) ** 2
    values, vectors = np.linalg.eigh(covariance)
    mixing = vectors * np.sqrt(np.clip(values, 0, None))
    noise = mix_channels(rng.standard_normal(image.shape, dtype=np.float32), mixing)
    noisy: FloatImage = np.clip(image + noise, 0, 1)
    return noisy


def _draw_order(count: int, rng: np.random.Generator) -> list[int]:
    """A random permutation in which 0, downsampling, precedes 1, the exact resize."""
    order = [int(index) for index in rng.permutation(count)]
    first, second = sorted((order.index(0), order.index(1)))
    order[first], order[second] = 0, 1
    return order


def _draw_mode(rng: np.random.Generator) -> int:
    return int(rng.choice(RESIZE_MODES))
