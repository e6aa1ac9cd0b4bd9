"""Low-quality halves of training pairs.

A recipe is ranges, as data, and what is drawn from them.  Every draw comes from the generator
passed in, and none touches the global random state: a sample can be made again from its seed.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from model.degradation.bsrgan import BsrganRecipe
from model.degradation.gpen import LIGHT, GpenRecipe
from model.degradation.operations import FloatImage
from model.degradation.realesrgan import RealEsrganRecipe

__all__ = ["RECIPES", "FloatImage", "Recipe", "RecipeName", "degrade"]

RecipeName = Literal["gpen", "light", "realesrgan", "bsrgan"]


class Recipe(Protocol):
    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape, unrounded."""


RECIPES: dict[RecipeName, Recipe] = {
    "gpen": GpenRecipe(),
    "light": LIGHT,
    "realesrgan": RealEsrganRecipe(),
    "bsrgan": BsrganRecipe(),
}


def degrade(image: FloatImage, recipe: Recipe, rng: np.random.Generator) -> FloatImage:
    """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape, rounded to 8-bit levels."""
    low = recipe.apply(image, rng)
    return np.round(np.clip(low, 0, 1) * 255).astype(np.float32) / np.float32(255)
