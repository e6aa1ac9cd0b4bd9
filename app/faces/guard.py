"""Whether a restored face still looks like the one in the photo.

A restoration adds fine detail and leaves alone what the photo shows well: light and shade over the
face, and its colour.  So both crops are compared after a blur so strong that degradation and
restoration hardly matter, while the faces of two people differ.  It takes no weights, and sees no
finer difference than that; where ModelScope's face recognition is at hand, it is asked, too.

The limits were chosen on 304 training faces, each degraded by five recipes (model/data/degradation,
and one of very strong blur), so that the original itself, the best restoration there is, passes as
a result of any but the last recipe; the tests measure on other people's faces.
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
"""``identity``: the result does not look like the face in the photo.  ``quality``: that face is too
poor to be recognised."""

FloatMap = NDArray[np.float32]

MOST_STRUCTURE = 0.38
MOST_TINT = 16.0
MOST_LIGHTNESS = 30.0
MOST_ROUGHNESS = 25.0

_THUMBNAIL = 32  # pixels a side
_BLUR = 2.5  # sigma, in pixels of the thumbnail
_MORE_BLUR = (2.0, 3.0, 4.0)  # what a photo may lack beside
_NOISE = 3.0  # levels: contrast below is not the face's
_FINE = 2.0  # sigma: pixels of the crop, less in one smaller than 256
# of the crop's sides; both templates have the eyes at 0.47 of its height and the mouth at 0.72
_OVAL = (0.5, 0.58, 0.25, 0.33)  # centre x, y, half width and height: brows to chin


@dataclass(frozen=True)
class Comparison:
    """How a restored crop differs from what it was made of, inside the oval of the face."""

    structure: float
    """Of the blurred luma, less its mean: the difference's deviation over the photo's (0: the same;
    1: one is flat; 2: one is the other's negative)."""
    tint: float
    """Of the blurred chroma (Cr, Cb): root mean square, in levels."""
    lightness: float
    """Of the mean luma: in levels, at least 0."""
    roughness: float
    """Of the restored crop's luma, less itself blurred a little: deviation, in levels."""
    roughness_before: float


@dataclass(frozen=True)
class Guard:
    """Keeps nothing between calls, so threads may share it."""

    eqface: EqFace | None = None

    def refusals(
        self,
        before: Sequence[Pixels],
        after: Sequence[Pixels],
        template: NDArray[np.float64],
        *,
        grey: bool,
    ) -> list[Refusal | None]:
        """Why each restored crop is not to be pasted, or None.

        ``before``, ``after``: aligned crops, (S, S, 3) sRGB; ``template``: (5, 2), where their
        landmarks lie; ``grey``: the photo has no colours, and gets none.
        """
        refusals: list[Refusal | None] = [
            None if looks_alike(compare(b, a), grey=grey or is_black_and_white(b)) else "identity"
            for b, a in zip(before, after, strict=True)
        ]
        asked = [i for i, refusal in enumerate(refusals) if refusal is None]
        if self.eqface is None or not asked:
            return refusals
        verdicts = self.eqface.judge(
            [before[i] for i in asked], [after[i] for i in asked], template
        )
        for i, verdict in zip(asked, verdicts, strict=True):
            refusals[i] = verdict
        return refusals


def looks_alike(comparison: Comparison, *, grey: bool = False) -> bool:
    """Whether a difference is what restoring may make; ``grey``: chroma does not matter."""
    return (
        comparison.structure <= MOST_STRUCTURE
        and (grey or comparison.tint <= MOST_TINT)
        and comparison.lightness <= MOST_LIGHTNESS
        and comparison.roughness <= max(MOST_ROUGHNESS, comparison.roughness_before)
    )


def compare(before: Pixels, after: Pixels) -> Comparison:
    """Compare aligned crops, (S, S, 3) sRGB of any size S."""
    seen, made = _thumbnail(before), _thumbnail(after)
    expected = _inside(seen, _BLUR)
    difference = _inside(made, _BLUR) - expected
    shades = _centred(expected[:, 0])
    luma = np.ascontiguousarray(made[..., 0])
    # a photo blurred harder than that lacks structure which a good restoration has
    blurs = (float(np.hypot(_BLUR, more)) for more in _MORE_BLUR)
    results = [difference[:, 0] + expected[:, 0], *(_inside(luma, blur) for blur in blurs)]
    unlike = min(_rms(_centred(result) - shades) for result in results)
    return Comparison(
        structure=unlike / float(np.hypot(_rms(shades), _NOISE)),
        tint=_rms(difference[:, 1:]) * 2**0.5,
        lightness=abs(float(difference[:, 0].mean())),
        roughness=_roughness(after),
        roughness_before=_roughness(before),
    )


def _thumbnail(crop: Pixels) -> FloatMap:
    """Luma and chroma, (32, 32, 3), 0 to 255."""
    small = cv2.resize(crop, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    scaled = small.astype(np.float32) / np.float32(255)
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_RGB2YCrCb) * 255, np.float32)


def _inside(thumbnail: FloatMap, sigma: float) -> FloatMap:
    """Blurred: pixels of the face's oval, (P, 3), or (P,) of a single channel."""
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
    """(size, size): 1 where the face is, else 0."""
    centre_x, centre_y, half_width, half_height = _OVAL
    position = (np.arange(size) + 0.5) / size
    x, y = (position - centre_x) / half_width, (position[:, None] - centre_y) / half_height
    oval = (x**2 + y**2 <= 1).astype(np.uint8)
    oval.flags.writeable = False  # shared
    return oval


def _centred(values: FloatMap) -> FloatMap:
    centred: FloatMap = values - values.mean()
    return centred


def _rms(values: FloatMap) -> float:
    return float(np.sqrt(np.square(values).mean()))
