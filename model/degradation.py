"""Low-quality halves of training pairs: blur -> shrink -> noise -> JPEG -> back to size.

Ranges are those of the authors' training code (``gpen``); ``light`` is ours and teaches the network
to leave a good photo alone.  Kernels are basicsr's.  Every draw comes from the
generator passed in, so that a sample can be made again from its seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from model import torchvision_compat  # noqa: F401  (before basicsr)

from basicsr.data.degradations import bivariate_Gaussian  # isort: skip

FloatImage = NDArray[np.float32]
RecipeName = Literal["gpen", "light"]
Range = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """Ranges, each drawn from uniformly.

    blur: sigma in pixels, per axis; shrink: factor; noise: sigma in 8-bit levels; jpeg: quality.
    """

    kernel_size: int
    anisotropic_probability: float
    blur: Range
    shrink: Range
    noise: Range
    jpeg: tuple[int, int]


RECIPES: dict[RecipeName, Recipe] = {
    # yangxy/GPEN, training/data_loader/degradations.py
    "gpen": Recipe(41, 0.5, (0.1, 10), (0.8, 8), (0, 20), (60, 100)),
    "light": Recipe(21, 0.5, (0.1, 1.5), (0.8, 2), (0, 6), (70, 100)),
}


def degrade(image: FloatImage, recipe: Recipe, rng: np.random.Generator) -> FloatImage:
    """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape, rounded to 8-bit levels."""
    height, width = image.shape[:2]
    low = cv2.filter2D(image, -1, _blur_kernel(recipe, rng), borderType=cv2.BORDER_REFLECT_101)

    factor = rng.uniform(*recipe.shrink)
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    low = cv2.resize(low, small, interpolation=cv2.INTER_LINEAR)

    sigma = rng.uniform(*recipe.noise) / 255
    low = low + sigma * rng.standard_normal(low.shape, dtype=np.float32)

    quality = int(rng.integers(recipe.jpeg[0], recipe.jpeg[1], endpoint=True))
    low = _jpeg(low, quality)

    low = cv2.resize(low, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.round(np.clip(low, 0, 1) * 255).astype(np.float32) / np.float32(255)


def _jpeg(image: FloatImage, quality: int) -> FloatImage:
    """Through JPEG and back (basicsr's own passes floats, which OpenCV 4.14 warns about)."""
    levels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", levels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    return np.asarray(decoded, dtype=np.float32) / np.float32(255)


def _blur_kernel(recipe: Recipe, rng: np.random.Generator) -> FloatImage:
    isotropic = rng.random() >= recipe.anisotropic_probability
    sigma_x, sigma_y = rng.uniform(*recipe.blur), rng.uniform(*recipe.blur)
    theta = rng.uniform(-np.pi, np.pi)
    kernel = bivariate_Gaussian(recipe.kernel_size, sigma_x, sigma_y, theta, isotropic=isotropic)
    return np.asarray(kernel, dtype=np.float32)
