"""Crops and resizes square pictures of faces, which may have a margin, to the network's size.

A margin is real picture on each side of the crop, given as a share of the crop's width: in a
picture of 400 px with a margin of 0.125, the crop is the middle 320 px.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Matrix = NDArray[np.float64]
"""(2, 3), an affine map of pixel coordinates (x, y); pixel centres are whole numbers."""


def crop_width(width: int, margin: float) -> float:
    """Width of the crop in a picture of ``width`` pixels."""
    return width / (1 + 2 * margin)


def centre_crop(picture: Picture, size: int, margin: float = 0.0) -> Picture:
    """Cut out the crop in the middle, and resize it to (size, size, 3).

    Larger crops are averaged over areas; smaller ones are enlarged with the cubic filter that the
    service uses for small faces.
    """
    width = picture.shape[0]
    border = round((width - crop_width(width, margin)) / 2)
    crop = picture[border : width - border, border : width - border]
    if crop.shape[0] == size:
        return np.ascontiguousarray(crop)
    if crop.shape[0] < size:
        scale = crop.shape[0] / size
        offset = scale / 2 - 0.5
        return sample(crop, np.array([[scale, 0, offset], [0, scale, offset]]), size)
    return np.asarray(cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def sample(picture: Picture, matrix: Matrix, size: int) -> Picture:
    """Sample (size, size, 3); ``matrix`` maps pixels of the result to pixels of ``picture``.

    Interpolation is cubic.  It would alias when reducing by 2 or more, so the picture is averaged
    over areas first in that case.
    """
    reduction = int(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if reduction > 1:
        width = round(picture.shape[0] / reduction)
        share = width / picture.shape[0]
        picture = np.asarray(
            cv2.resize(picture, (width, width), interpolation=cv2.INTER_AREA), dtype=np.uint8
        )
        offset = (matrix[:, 2] + 0.5) * share - 0.5
        matrix = np.column_stack([matrix[:, :2] * share, offset])
    sampled = cv2.warpAffine(
        picture,
        matrix,
        (size, size),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,  # for the filter at the outermost pixels
    )
    return np.asarray(sampled, dtype=np.uint8)
