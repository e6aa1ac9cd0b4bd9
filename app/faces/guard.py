"""Checking that a restored face still looks like the face in the photo.

A good restoration adds fine detail.  It does not change what even a poor photo shows: the light and
shade over the face, and its colour.  The two crops are therefore compared after a blur so strong
that degradation and restoration hardly matter, while faces of different people still differ.  This
needs no weights, but sees only coarse differences.  If the weights of EQFace are on this machine,
its face recognition judges as well.

The limits were chosen on 304 training faces, each degraded by five recipes: those of
model/data/degradation and one with very strong blur.  They accept the original face, as the ideal
restoration, for all recipes except the last.  The tests measure on other people's faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from app.faces.eqface import EqFace
from app.imaging.photo import Pixels, is_black_and_white

Refusal = Literal["identity", "quality"]
"""``identity``: the result does not look like the face in the photo.  ``quality``: the face in the
photo is too poor to be recognised."""

FloatMap = NDArray[np.float32]

MAX_STRUCTURE = 0.38
MAX_TINT = 16.0
MAX_LIGHTNESS = 30.0
MAX_ROUGHNESS = 25.0

_THUMBNAIL = 32  # pixels a side
_BLUR = 2.5  # sigma, in pixels of the thumbnail
_MORE_BLUR = (2.0, 3.0, 4.0)  # sigmas of further blur that the photo may have
_NOISE = 3.0  # levels: weaker contrast is not the face's
_FINE = 2.0  # sigma, in pixels of a crop of 256 or more; less in smaller ones
# The face from brows to chin: centre x, y, half width and half height, as shares of the crop's
# side.  Both templates have the eyes at 0.47 of the height and the mouth at 0.72.
_OVAL = (0.5, 0.58, 0.25, 0.33)


@dataclass(frozen=True)
class Comparison:
    """How a restored crop differs from the original crop, inside the oval of the face."""

    structure: float
    """Standard deviation of the difference of the blurred lumas, relative to the original's: 0 if
    they are the same, 1 if one of them is flat, 2 if one is the other's negative."""
    tint: float
    """Root mean square of the difference of the blurred chromas (Cr, Cb), in levels."""
    lightness: float
    """Absolute difference of the mean lumas, in levels."""
    roughness: float
    """Standard deviation of the restored crop's fine luma detail, in levels."""
    roughness_before: float
    """The same of the original crop."""


@dataclass(frozen=True)
class Guard:
    """Keeps no state between calls, so threads may share it."""

    eqface: EqFace | None = None

    def refusals(
        self,
        before: Sequence[Pixels],
        after: Sequence[Pixels],
        template: NDArray[np.float64],
        *,
        grey: bool,
    ) -> list[Refusal | None]:
        """Why each restored crop must not be pasted, or None if it may be.

        ``before``, ``after``: aligned crops, (S, S, 3) sRGB; ``template``: (5, 2), where their
        landmarks lie; ``grey``: the photo is black and white, so chroma is not compared.
        """
        refusals: list[Refusal | None] = [
            None if looks_alike(compare(b, a), grey=grey or is_black_and_white(b)) else "identity"
            for b, a in zip(before, after, strict=True)
        ]
        passed = [i for i, refusal in enumerate(refusals) if refusal is None]
        if self.eqface is None or not passed:
            return refusals
        verdicts = self.eqface.judge(
            [before[i] for i in passed], [after[i] for i in passed], template
        )
        for i, verdict in zip(passed, verdicts, strict=True):
            refusals[i] = verdict
        return refusals


def looks_alike(comparison: Comparison, *, grey: bool = False) -> bool:
    """Whether a difference is within the limits of a restoration; ``grey`` ignores the chroma."""
    return (
        comparison.structure <= MAX_STRUCTURE
        and (grey or comparison.tint <= MAX_TINT)
        and comparison.lightness <= MAX_LIGHTNESS
        and comparison.roughness <= max(MAX_ROUGHNESS, comparison.roughness_before)
    )


def compare(before: Pixels, after: Pixels) -> Comparison:
    """Compare aligned crops, (S, S, 3) sRGB of any size S."""
    restored = _thumbnail(after)
    expected = _inside(_thumbnail(before), _BLUR)
    difference = _inside(restored, _BLUR) - expected
    expected_structure = _centred(expected[:, 0])
    luma = np.ascontiguousarray(restored[..., 0])
    # a photo with more blur than _BLUR lacks structure that a good restoration has
    blurs = (float(np.hypot(_BLUR, more)) for more in _MORE_BLUR)
    lumas = [difference[:, 0] + expected[:, 0], *(_inside(luma, blur) for blur in blurs)]
    deviation = min(_rms(_centred(values) - expected_structure) for values in lumas)
    return Comparison(
        structure=deviation / float(np.hypot(_rms(expected_structure), _NOISE)),
        tint=_rms(difference[:, 1:]) * 2**0.5,
        lightness=abs(float(difference[:, 0].mean())),
        roughness=_roughness(after),
        roughness_before=_roughness(before),
    )


def _thumbnail(crop: Pixels) -> FloatMap:
    """Luma and chroma (Y, Cr, Cb) of a crop shrunk to (32, 32, 3), 0 to 255."""
    small = cv2.resize(crop, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    scaled = small.astype(np.float32) / np.float32(255)
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2YCrCb) * 255, np.float32)


def _inside(thumbnail: FloatMap, sigma: float) -> FloatMap:
    """The pixels of the blurred thumbnail in the face's oval: (P, 3), or (P,) for one channel."""
    blurred: FloatMap = np.asarray(cv2.GaussianBlur(thumbnail, (0, 0), sigma), np.float32)
    return blurred[_oval(_THUMBNAIL) > 0]


def _roughness(crop: Pixels) -> float:
    sigma = _FINE * min(1.0, crop.shape[0] / 256)
    oval = _oval(crop.shape[0])
    x, y, width, height = cv2.boundingRect(oval)
    box = (slice(y, y + height), slice(x, x + width))
    luma = cv2.cvtColor(crop[box], cv2.COLOR_RGB2GRAY)
    detail = cv2.subtract(luma, cv2.GaussianBlur(luma, (0, 0), sigma), dtype=cv2.CV_32F)
    return float(cv2.norm(detail, cv2.NORM_L2, oval[box])) / float(cv2.countNonZero(oval) ** 0.5)


@lru_cache(maxsize=8)
def _oval(size: int) -> NDArray[np.uint8]:
    """(size, size): 1 inside the face's oval, else 0."""
    centre_x, centre_y, half_width, half_height = _OVAL
    position = (np.arange(size) + 0.5) / size
    x, y = (position - centre_x) / half_width, (position[:, None] - centre_y) / half_height
    oval = (x**2 + y**2 <= 1).astype(np.uint8)
    oval.flags.writeable = False  # cached and shared by all callers
    return oval


def _centred(values: FloatMap) -> FloatMap:
    centred: FloatMap = values - values.mean()
    return centred


def _rms(values: FloatMap) -> float:
    return float(np.sqrt(np.square(values).mean()))
