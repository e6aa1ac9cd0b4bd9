"""Soft masks that say which part of a crop is pasted.

The mask is an oval around the face, placed by its landmarks, or the person's head if ParseNet has
parsed the crop.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.float32]

SIDE = 256
"""Pixels a side of a mask.  Masks are smooth, so the size of the crop does not matter."""

# The oval, in units of the distance from the eyes to the mouth, measured from between the eyes
# towards the chin.  Chosen by eye, so that hairline, ears and chin lie inside with little
# background.
_MIDDLE = 0.35
_HALF_HEIGHT = 1.7
_HALF_WIDTH = 1.45
_FEATHER = 0.36  # share of the oval's radius over which the mask fades out
_EDGE = 0.06  # share of the crop's side over which the mask fades out at the crop's border
_DOMINANCE = 0.35  # sigma, in radii of the oval, of a face's claim to pixels that faces share

# ParseNet's classes, as facexlib lists them: background, skin, nose, glasses, eyes, brows, ears,
# mouth and lips, hair, hat, earring, necklace, neck, clothes.  GPEN itself pastes these.
CLASSES = 19
_FACE = np.isin(np.arange(CLASSES), range(1, 13))
_PASTED = _FACE | np.isin(np.arange(CLASSES), (13, 15, 16, 17))
_SOFT = 0.125  # sigma of the blur of a parsed mask, in the unit above: as soft as the oval
_REACH = 2.5  # sigmas at which the blur ends, so that the mask is exactly 0 farther out
_MIN_FACE = 0.25  # share of the oval that must be face; with less, the parsing has failed


def oval(template: NDArray[np.floating], size: int) -> FloatMap:
    """An oval mask (SIDE, SIDE, 2) of cover and claim.

    The cover, 0 to 1, is how much of the photo is replaced: 1 over the face.  The claim, at least
    0, is the face's weight where several masks overlap.  Both are 0 at the border of the crop and
    outside the oval.  ``template``: (5, 2) landmarks in a crop of ``size`` pixels a side.

    The result is read-only: it is computed once for each template and size, and shared.
    """
    return _oval(tuple(map(tuple, template.tolist())), size)


@lru_cache(maxsize=8)
def _oval(landmarks: tuple[tuple[float, ...], ...], size: int) -> FloatMap:
    template = np.array(landmarks)
    position, distance = _positions(size), _distance(template, size)
    inside = np.minimum(position + 0.5, size - 0.5 - position) / (_EDGE * size)
    edge = np.minimum.outer(inside, inside)
    cover = _smooth((1 - distance) / _FEATHER) * _smooth(edge)
    claim = cover * (np.exp(-((distance / _DOMINANCE) ** 2) / 2) + 1e-4)
    mask = np.stack([cover, claim], axis=2).astype(np.float32)
    mask.flags.writeable = False
    return mask


def parsed(classes: NDArray[np.uint8], template: NDArray[np.floating], size: int) -> FloatMap:
    """A mask like that of :func:`oval`, which covers face, hair and neck as ParseNet sees them.

    Objects in front of the face are not covered.  Neither is what is not connected to it, such as
    another person's head, unless the two touch.  ``classes``: (N, N), each less than CLASSES, for
    the whole crop.  If hardly any of the oval is face, the parsing has failed, and the oval is
    returned.
    """
    fallback = oval(template, size)
    inside = fallback[..., 0] > 0.5
    face, pasted = (_shrunk(kind[classes]) for kind in (_FACE, _PASTED))
    count, components = cv2.connectedComponents((pasted > 0).astype(np.uint8))
    of_face = np.zeros(count, bool)
    of_face[components[inside & (face > 0)]] = True
    sigma = _SOFT * _unit(template) * SIDE / size
    cover = _softened(pasted * of_face[components], sigma)
    if np.mean(_softened(face * of_face[components], sigma)[inside] > 0.5) < _MIN_FACE:
        return fallback
    distance = _distance(template, size)
    # the mask is larger than the oval, and a claim as small as the oval's would be rounded away
    claim = cover * (np.exp(-((distance / _DOMINANCE) ** 2) / 2) + 1e-2)
    return np.stack([cover, claim], axis=2).astype(np.float32)


def _positions(size: int) -> NDArray[np.float64]:
    """(SIDE,): the positions of the mask's pixels along a side of the crop, in its pixels."""
    return np.asarray((np.arange(SIDE) + 0.5) * (size / SIDE) - 0.5, np.float64)


def _distance(template: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """(SIDE, SIDE): the distance from the oval's middle; 0 there and 1 at its border."""
    eyes, mouth = template[:2].mean(0), template[3:].mean(0)
    unit = _unit(template)
    down = (mouth - eyes) / unit
    position = _positions(size)
    x, y = np.meshgrid(position - eyes[0], position - eyes[1])
    along = (x * down[0] + y * down[1]) / unit - _MIDDLE
    across = (x * down[1] - y * down[0]) / unit
    distance: NDArray[np.float64] = np.hypot(along / _HALF_HEIGHT, across / _HALF_WIDTH)
    return distance


def _unit(template: NDArray[np.floating]) -> float:
    """The distance from the eyes to the mouth, in pixels of the crop."""
    return float(np.linalg.norm(template[3:].mean(0) - template[:2].mean(0)))


def _shrunk(selected: NDArray[np.bool_]) -> FloatMap:
    """(SIDE, SIDE): the share of each pixel's area that is selected."""
    return np.asarray(
        cv2.resize(selected.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    )


def _softened(mask: FloatMap, sigma: float) -> FloatMap:
    """The mask blurred, and 0 at the border of the crop."""
    reach = round(_REACH * sigma)
    framed = np.zeros_like(mask)
    interior = slice(reach + 1, -reach - 1)
    framed[interior, interior] = mask[interior, interior]
    soft = cv2.GaussianBlur(
        framed, (2 * reach + 1, 2 * reach + 1), sigma, borderType=cv2.BORDER_CONSTANT
    )
    return np.minimum(soft, np.float32(1))


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smootherstep: 0 up to 0, 1 from 1 on, with continuous slope, so that no edge is visible."""
    t = np.clip(values, 0, 1)
    smooth: NDArray[np.float64] = t**3 * (t * (6 * t - 15) + 10)
    return smooth
