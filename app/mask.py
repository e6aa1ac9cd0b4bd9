"""What of a crop is pasted: an oval about the face, soft, by where the landmarks lie."""

from __future__ import annotations

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


def oval(template: NDArray[np.floating], size: int) -> FloatMap:
    """(SIDE, SIDE, 2): how far a crop covers a pixel, 0 to 1, and how strong its claim to it is.

    ``template`` are the (5, 2) landmarks in a crop of ``size`` pixels a side.  Both are 0 at the
    border of the crop and beyond the oval; the first is 1 over the face.
    """
    eyes, mouth = template[:2].mean(0), template[3:].mean(0)
    unit = float(np.linalg.norm(mouth - eyes))
    down = (mouth - eyes) / unit
    position = (np.arange(SIDE) + 0.5) * (size / SIDE) - 0.5
    x, y = np.meshgrid(position - eyes[0], position - eyes[1])
    along = (x * down[0] + y * down[1]) / unit - _MIDDLE
    across = (x * down[1] - y * down[0]) / unit
    distance = np.hypot(along / _HALF_HEIGHT, across / _HALF_WIDTH)
    inside = np.minimum(position + 0.5, size - 0.5 - position) / (_EDGE * size)
    edge = np.minimum.outer(inside, inside)
    cover = _smooth((1 - distance) / _FEATHER) * _smooth(edge)
    claim = cover * (np.exp(-((distance / _DOMINANCE) ** 2) / 2) + 1e-4)
    return np.stack([cover, claim], axis=2).astype(np.float32)


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 up to 0, 1 from 1, and in between without a corner: no eye sees where it begins."""
    t = np.clip(values, 0, 1)
    smooth: NDArray[np.float64] = t**3 * (t * (6 * t - 15) + 10)
    return smooth
