"""What the recipes' settings are made of, and how those in pixels follow the size of the picture.

The ranges of all recipes are written for a face of 512 px.  The same face at another size has each
of its features larger or smaller by ``size / 512``, and so is what hides them: blur, kernels and
shrinking factors.  Noise and JPEG are of single pixels and their values, and stay as they are.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

REFERENCE_SIZE = 512
"""Height in pixels of the crops that ranges are written for."""

SETTINGS = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Of all recipes: they can be set in a run's configuration."""


def _rises(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    if low > high:
        raise ValueError(f"begins at {low:g}, above its end {high:g}")
    return ends


def _is_odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(f"{size} is even: a kernel has a middle")
    return size


def _sum_to_one(probabilities: tuple[float, ...]) -> tuple[float, ...]:
    if not math.isclose(sum(probabilities), 1):
        raise ValueError(f"add up to {sum(probabilities):g} instead of 1")
    return probabilities


rises = AfterValidator(_rises)
_Percent = Annotated[int, Field(ge=0, le=100)]

Range = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], rises]
"""Both ends of what is drawn from uniformly."""
PositiveRange = Annotated[tuple[PositiveFloat, PositiveFloat], rises]
Quality = Annotated[tuple[_Percent, _Percent], rises]
"""The lowest and the highest quality of JPEG, both of them included."""
Probability = Annotated[float, Field(ge=0, le=1)]
OneOfThree = Annotated[tuple[Probability, Probability, Probability], AfterValidator(_sum_to_one)]
OneOfSix = Annotated[
    tuple[Probability, Probability, Probability, Probability, Probability, Probability],
    AfterValidator(_sum_to_one),
]
"""Probabilities of three things, or of six, one of which happens."""
KernelSize = Annotated[PositiveInt, AfterValidator(_is_odd)]
KernelSizes = Annotated[tuple[KernelSize, ...], Field(min_length=1)]


def scale_range(ends: tuple[float, float], size: int, *, power: float = 1) -> tuple[float, float]:
    """A range in pixels (of variances, in pixels to the ``power`` of 2), or of shrinking factors,
    for a picture of ``size`` pixels.

    Its upper end scales with ``size / 512``.  The lower end, where nearly nothing is done, stays,
    and the upper one is never below it.
    """
    low, high = ends
    return low, max(low, high * (size / REFERENCE_SIZE) ** power)


def scale_kernel(kernel_size: int, size: int) -> int:
    """The likewise scaled size of a kernel, which stays odd."""
    return 2 * round(kernel_size // 2 * size / REFERENCE_SIZE) + 1
