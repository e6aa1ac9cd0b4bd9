"""Low-quality halves of training pairs.

A recipe is ranges, as data, and what is drawn from them.  Every draw comes from the generator
passed in, and none touches the global random state: a sample can be made again from its seed.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import numpy as np
from pydantic.dataclasses import dataclass

from model.data.degradation.bsrgan import BsrganRecipe
from model.data.degradation.gpen import GpenRecipe, LightRecipe
from model.data.degradation.operations import FloatImage, to_8_bit, to_float
from model.data.degradation.ranges import SETTINGS
from model.data.degradation.realesrgan import RealEsrganRecipe

__all__ = [
    "PUBLISHED",
    "RECIPES",
    "FloatImage",
    "GpenRecipe",
    "LightRecipe",
    "Ranges",
    "Recipe",
    "RecipeName",
    "degrade",
]

RecipeName = Literal["gpen", "light", "realesrgan", "bsrgan"]


class Recipe(Protocol):
    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape, unrounded."""


@dataclass(frozen=True, config=SETTINGS)
class Ranges:
    """Every recipe with its ranges: the published ones, where nothing else is set."""

    gpen: GpenRecipe = GpenRecipe()
    light: LightRecipe = LightRecipe()
    realesrgan: RealEsrganRecipe = RealEsrganRecipe()
    bsrgan: BsrganRecipe = BsrganRecipe()

    def recipe(self, name: RecipeName) -> Recipe:
        recipe: Recipe = getattr(self, name)
        return recipe


PUBLISHED = Ranges()
RECIPES: dict[RecipeName, Recipe] = {name: PUBLISHED.recipe(name) for name in get_args(RecipeName)}
"""With the published ranges, as evaluation and validation take them."""


def degrade(image: FloatImage, recipe: Recipe, rng: np.random.Generator) -> FloatImage:
    """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape, rounded to 8-bit levels."""
    return to_float(to_8_bit(recipe.apply(image, rng)))
