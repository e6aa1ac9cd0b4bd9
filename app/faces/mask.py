"""What of a crop is pasted, softly: an oval about the face, by where the landmarks lie.

Or, where a network has parsed the crop, what it takes for the person's head.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.float32]

SIDE = 256
"""Masks have this many pixels a side, whatever the crop: they are smooth."""

# In distances of the mouth from the eyes, from between the eyes towards the chin; chosen by
# eye, so that hairline, ears and chin lie within and little of what is about them.
_MIDDLE = 0.35
_HALF_HEIGHT = 1.7
_HALF_WIDTH = 1.45
_FEATHER = 0.36  # of the way from the middle, the last part, over which the mask fades
_EDGE = 0.06  # of the crop's side: nothing is sharp where a crop ends
_DOMINANCE = 0.35  # sigma of a face's claim to a pixel that another one covers, too, of the oval

# ParseNet's classes, as facexlib lists them: background, skin, nose, glasses, eyes, brows, ears,
# mouth and lips, hair, hat, earring, necklace, neck, clothes.  GPEN itself pastes these.
CLASSES = 19
_FACE = np.isin(np.arange(CLASSES), range(1, 13))
_PASTED = _FACE | np.isin(np.arange(CLASSES), (13, 15, 16, 17))
_SOFT = 0.125  # sigma at the border of what was parsed, in the unit above: as soft as the oval
_REACH = 2.5  # sigmas that it reaches: farther out a mask is 0 to the bit
_LEAST_FACE = 0.25  # of the oval that a face fills; less, and the crop was not understood


def oval(template: NDArray[np.floating], size: int) -> FloatMap:
    """(SIDE, SIDE, 2): how far a crop covers a pixel, 0 to 1, and how strong its claim to it is.

    ``template`` are the (5, 2) landmarks in a crop of ``size`` pixels a side.  Both are 0 at the
    border of the crop and beyond the oval; the first is 1 over the face.
    """
    position, distance = _positions(size), _distance(template, size)
    inside = np.minimum(position + 0.5, size - 0.5 - position) / (_EDGE * size)
    edge = np.minimum.outer(inside, inside)
    cover = _smooth((1 - distance) / _FEATHER) * _smooth(edge)
    claim = cover * (np.exp(-((distance / _DOMINANCE) ** 2) / 2) + 1e-4)
    return np.stack([cover, claim], axis=2).astype(np.float32)


def parsed(classes: NDArray[np.uint8], template: NDArray[np.floating], size: int) -> FloatMap:
    """As :func:`oval`, but of a crop that ParseNet has parsed: face, hair and neck are covered.

    What hides the face is not, nor is what does not hang together with it, as the next one's head
    unless the two touch.
    ``classes`` are (N, N), each less than CLASSES, of the whole crop.  Where hardly any of the oval
    is a face, the parsing has failed, and the mask is the oval.
    """
    whole = oval(template, size)
    inside = whole[..., 0] > 0.5
    face, pasted = (_reduced(kind[classes]) for kind in (_FACE, _PASTED))
    count, parts = cv2.connectedComponents((pasted > 0).astype(np.uint8))
    own = np.zeros(count, bool)
    own[parts[inside & (face > 0)]] = True
    sigma = _SOFT * _unit(template) * SIDE / size
    cover = _softened(pasted * own[parts], sigma)
    if np.mean(_softened(face * own[parts], sigma)[inside] > 0.5) < _LEAST_FACE:
        return whole
    distance = _distance(template, size)
    # it reaches farther than the oval, where so small a claim must not be lost to rounding
    claim = cover * (np.exp(-((distance / _DOMINANCE) ** 2) / 2) + 1e-2)
    return np.stack([cover, claim], axis=2).astype(np.float32)


def _positions(size: int) -> NDArray[np.float64]:
    """Of the mask's pixels along a side of the crop."""
    return np.asarray((np.arange(SIDE) + 0.5) * (size / SIDE) - 0.5, np.float64)


def _distance(template: NDArray[np.floating], size: int) -> NDArray[np.float64]:
    """(SIDE, SIDE): from the middle of the oval, 0, over its border, 1."""
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
    """From the eyes to the mouth, in pixels of the crop."""
    return float(np.linalg.norm(template[3:].mean(0) - template[:2].mean(0)))


def _reduced(there: NDArray[np.bool_]) -> FloatMap:
    """(SIDE, SIDE): how much of each pixel is there."""
    return np.asarray(
        cv2.resize(there.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    )


def _softened(mask: FloatMap, sigma: float) -> FloatMap:
    """Blurred, and 0 at the border of the crop."""
    reach = round(_REACH * sigma)
    kept = np.zeros_like(mask)
    within = slice(reach + 1, -reach - 1)
    kept[within, within] = mask[within, within]
    soft = cv2.GaussianBlur(
        kept, (2 * reach + 1, 2 * reach + 1), sigma, borderType=cv2.BORDER_CONSTANT
    )
    return np.minimum(soft, np.float32(1))


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 up to 0, 1 from 1, and in between without a corner: no eye sees where it begins."""
    t = np.clip(values, 0, 1)
    smooth: NDArray[np.float64] = t**3 * (t * (6 * t - 15) + 10)
    return smooth
