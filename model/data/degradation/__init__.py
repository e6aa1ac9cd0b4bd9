"""Degrading pictures, to make the low-quality halves of training pairs.

A recipe holds ranges, from which it draws the parameters of its operations.  All draws come from
the generator that is passed in and none from the global random state, so a seed reproduces a
sample.
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
    """A random degradation of pictures."""

    def apply(self, image: FloatImage, rng: np.random.Generator) -> FloatImage:
        """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape, unrounded."""


@dataclass(frozen=True, config=SETTINGS)
class Ranges:
    """The ranges of every recipe; the published ones by default."""

    gpen: GpenRecipe = GpenRecipe()
    light: LightRecipe = LightRecipe()
    realesrgan: RealEsrganRecipe = RealEsrganRecipe()
    bsrgan: BsrganRecipe = BsrganRecipe()

    def recipe(self, name: RecipeName) -> Recipe:
        """The recipe of this name."""
        recipe: Recipe = getattr(self, name)
        return recipe


PUBLISHED = Ranges()
RECIPES: dict[RecipeName, Recipe] = {name: PUBLISHED.recipe(name) for name in get_args(RecipeName)}
"""The recipes with the published ranges, which evaluation and validation use."""


def degrade(image: FloatImage, recipe: Recipe, rng: np.random.Generator) -> FloatImage:
    """Degrade (H, W, 3) RGB in [0, 1]; returns the same shape, rounded to 8-bit levels."""
    return to_float(to_8_bit(recipe.apply(image, rng)))
