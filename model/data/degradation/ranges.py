"""Types of the recipes' settings, and the scaling of settings in pixels to the picture's size.

The ranges of all recipes are written for faces of 512 px.  In a face of another size, all features
are larger or smaller by ``size / 512``, so blur, kernels and shrinking factors are scaled by the
same factor.  Noise and JPEG act on single pixels and are not scaled.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

REFERENCE_SIZE = 512
"""Height in pixels of the crops that the ranges are written for."""

SETTINGS = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Pydantic's configuration of all recipes, which can be set in a run's configuration."""


def _rises(ends: tuple[float, float]) -> tuple[float, float]:
    low, high = ends
    if low > high:
        raise ValueError(f"the lower end {low:g} is above the upper end {high:g}")
    return ends


def _is_odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError(f"{size} is even, but the size of a kernel must be odd")
    return size


def _sum_to_one(probabilities: tuple[float, ...]) -> tuple[float, ...]:
    if not math.isclose(sum(probabilities), 1):
        raise ValueError(f"the probabilities add up to {sum(probabilities):g} instead of 1")
    return probabilities


rises = AfterValidator(_rises)
_Percent = Annotated[int, Field(ge=0, le=100)]

Range = Annotated[tuple[NonNegativeFloat, NonNegativeFloat], rises]
"""The ends of a uniform distribution."""
PositiveRange = Annotated[tuple[PositiveFloat, PositiveFloat], rises]
Quality = Annotated[tuple[_Percent, _Percent], rises]
"""The lowest and the highest quality of JPEG, both inclusive."""
Probability = Annotated[float, Field(ge=0, le=1)]
OneOfThree = Annotated[tuple[Probability, Probability, Probability], AfterValidator(_sum_to_one)]
OneOfSix = Annotated[
    tuple[Probability, Probability, Probability, Probability, Probability, Probability],
    AfterValidator(_sum_to_one),
]
"""Probabilities of three or six mutually exclusive choices, which add up to 1."""
KernelSize = Annotated[PositiveInt, AfterValidator(_is_odd)]
KernelSizes = Annotated[tuple[KernelSize, ...], Field(min_length=1)]


def scale_range(ends: tuple[float, float], size: int, *, power: float = 1) -> tuple[float, float]:
    """Scale a range in pixels, or of shrinking factors, to a picture of ``size`` pixels' height.

    ``power`` is 2 for variances, which are in pixels squared.  The upper end is multiplied by
    ``(size / 512) ** power`` but never falls below the lower end.  The lower end, at which almost
    nothing is done, does not change.
    """
    low, high = ends
    return low, max(low, high * (size / REFERENCE_SIZE) ** power)


def scale_kernel(kernel_size: int, size: int) -> int:
    """Scale the size of a kernel to a picture of ``size`` pixels' height; the result is odd."""
    return 2 * round(kernel_size // 2 * size / REFERENCE_SIZE) + 1
