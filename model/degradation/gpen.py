"""GPEN's recipe: blur -> shrink -> noise -> JPEG -> back to size."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from model import torchvision_compat  # noqa: F401  (before basicsr)
from model.degradation.operations import FloatImage, Range, jpeg

from basicsr.data.degradations import bivariate_Gaussian  # isort: skip


@dataclass(frozen=True)
class GpenRecipe:
    """Ranges of the authors' code: yangxy/GPEN, training/data_loader/degradations.py.

    (The paper's section 3.3 names the same operations.)  The evaluation's pairs are made with it:
    what is drawn, and in which order, does not change.
    """

    kernel_size: int = 41
    anisotropic_probability: float = 0.5
    blur: Range = (0.1, 10)
    """Sigma in pixels, per axis."""
    shrink: Range = (0.8, 8)
    """Factor."""
    noise: Range = (0, 20)
    """Sigma in 8-bit levels."""
    jpeg: tuple[int, int] = (60, 100)
    """Quality."""

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape."""
        height, width = image.shape[:2]
        low = cv2.filter2D(image, -1, self._blur_kernel(rng), borderType=cv2.BORDER_REFLECT_101)

        factor = rng.uniform(*self.shrink)
        small = (max(1, round(width / factor)), max(1, round(height / factor)))
        low = cv2.resize(low, small, interpolation=cv2.INTER_LINEAR)

        sigma = rng.uniform(*self.noise) / 255
        low = low + sigma * rng.standard_normal(low.shape, dtype=np.float32)

        quality = int(rng.integers(self.jpeg[0], self.jpeg[1], endpoint=True))
        low = jpeg(low, quality)
        low = cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(low, dtype=np.float32)

    def _blur_kernel(self, rng: np.random.Generator) -> FloatImage:
        isotropic = rng.random() >= self.anisotropic_probability
        sigma_x, sigma_y = rng.uniform(*self.blur), rng.uniform(*self.blur)
        theta = rng.uniform(-np.pi, np.pi)
        kernel = bivariate_Gaussian(self.kernel_size, sigma_x, sigma_y, theta, isotropic=isotropic)
        return np.asarray(kernel, dtype=np.float32)


LIGHT = GpenRecipe(kernel_size=21, blur=(0.1, 1.5), shrink=(0.8, 2), noise=(0, 6), jpeg=(70, 100))
"""Ours: teaches the network to leave a good photo alone."""
