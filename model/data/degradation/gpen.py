"""GPEN's recipe: blur, shrink, noise, JPEG, and resizing to the original size."""

from __future__ import annotations

import cv2
import numpy as np
from pydantic.dataclasses import dataclass

from model import torchvision_compat  # noqa: F401  (before basicsr)
from model.data.degradation.operations import FloatImage, blur, jpeg
from model.data.degradation.ranges import (
    SETTINGS,
    KernelSize,
    PositiveRange,
    Probability,
    Quality,
    Range,
    scale_kernel,
    scale_range,
)

from basicsr.data.degradations import bivariate_Gaussian  # isort: skip


@dataclass(frozen=True, config=SETTINGS)
class GpenRecipe:
    """GPEN's degradation (Yang et al. 2021, section 3.3), with the ranges of its code.

    The ranges are those of yangxy/GPEN, training/data_loader/dataset_face.py, for crops of 512 px.
    For other sizes they are scaled (``ranges``).  Evaluation uses this recipe, so its draws and
    their order must not change.
    """

    kernel_size: KernelSize = 41
    anisotropic_probability: Probability = 0.5
    blur: PositiveRange = (0.1, 10)
    """Sigma in pixels, per axis."""
    shrink: PositiveRange = (0.8, 8)
    """Shrinking factor."""
    noise: Range = (0, 20)
    """Sigma in 8-bit levels."""
    jpeg: Quality = (60, 100)

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape."""
        height, width = image.shape[:2]
        low = blur(image, self._blur_kernel(height, rng))

        factor = rng.uniform(*scale_range(self.shrink, height))
        small = (max(1, round(width / factor)), max(1, round(height / factor)))
        low = np.asarray(cv2.resize(low, small, interpolation=cv2.INTER_LINEAR), dtype=np.float32)

        sigma = rng.uniform(*self.noise) / 255
        low += sigma * rng.standard_normal(low.shape, dtype=np.float32)

        quality = int(rng.integers(self.jpeg[0], self.jpeg[1], endpoint=True))
        low = jpeg(low, quality)
        resized = cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, dtype=np.float32)

    def _blur_kernel(self, size: int, rng: np.random.Generator) -> FloatImage:
        isotropic = rng.random() >= self.anisotropic_probability
        ends = scale_range(self.blur, size)
        sigma_x, sigma_y = rng.uniform(*ends), rng.uniform(*ends)
        theta = rng.uniform(-np.pi, np.pi)
        kernel_size = scale_kernel(self.kernel_size, size)
        kernel = bivariate_Gaussian(kernel_size, sigma_x, sigma_y, theta, isotropic=isotropic)
        return np.asarray(kernel, dtype=np.float32)


@dataclass(frozen=True, config=SETTINGS)
class LightRecipe(GpenRecipe):
    """Our weaker version, from which the network learns not to change a good photo."""

    blur: PositiveRange = (0.1, 3)
    shrink: PositiveRange = (0.8, 4)
    noise: Range = (0, 6)
    jpeg: Quality = (70, 100)
