"""Boxes, (..., 4): x0 y0 x1 y1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def sides(boxes: Floats) -> Floats:
    """Width and height: (..., 2)."""
    return boxes[..., 2:] - boxes[..., :2]


def area(boxes: Floats) -> Floats:
    """(...)."""
    area: Floats = sides(boxes).prod(-1)
    return area


def intersection(box: Floats, boxes: Floats) -> Floats:
    """Area that a box (4,) has in common with each of (..., 4)."""
    low, high = np.maximum(box[:2], boxes[..., :2]), np.minimum(box[2:], boxes[..., 2:])
    common: Floats = np.maximum(high - low, 0).prod(-1)
    return common
