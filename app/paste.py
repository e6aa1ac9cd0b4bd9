"""Restored crops -> back into the photo, each in its own region."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from app.align import AlignedFace, Matrix, bounds, invert, warp
from app.photo import Levels

FloatMap = NDArray[np.float32]
_DEPTHS = {np.dtype(np.uint8): cv2.CV_8U, np.dtype(np.uint16): cv2.CV_16U}

_INSET = 36 / 512
_SIGMA = 13 / 512
_DOMINANCE = (
    0.18  # sigma of the window by which overlapping faces share a pixel, of the crop's size
)


def paste(
    photo: Levels,
    faces: Sequence[AlignedFace],
    *,
    scale: int = 1,
    strength: float = 1.0,
) -> Levels:
    """Blend each face's ``crop`` into a copy of the photo, where its ``matrix`` says.

    The crops have the photo's depth and colours; the matrices belong to a photo ``scale`` times
    smaller.  Pixels outside of the faces' masks are those of the photo.  Where masks overlap, the
    higher one says how much of the photo is replaced, and each face weighs in by how near the pixel
    is to its middle, so that no seam lies between neighbours.
    """
    height, width = photo.shape[:2]
    # untouched pages of zeros cost nothing, so full-size maps are cheap
    total = np.zeros((height, width, 3), np.float32)
    weight = np.zeros((height, width), np.float32)
    cover = np.zeros((height, width), np.float32)
    regions = []
    for face in faces:
        to_photo = _crop_to_photo(face.matrix, scale)
        side = face.crop.shape[0]
        x0, y0, x1, y1 = bounds(to_photo, (side, side), width, height)
        region = (slice(y0, y1), slice(x0, x1))
        to_region = to_photo - np.array([[0, 0, x0], [0, 0, y0]])
        size = (x1 - x0, y1 - y0)
        pixels = warp(face.crop, to_region, size, border=cv2.BORDER_REPLICATE)
        mask, share = _warp_masks(_masks(side), to_region, size)
        total[region] += cv2.multiply(pixels, _per_channel(share), dtype=cv2.CV_32F)
        weight[region] += share
        np.maximum(cover[region], mask, out=cover[region])
        regions.append(region)

    result = photo.copy()
    for region in regions:
        amount = cover[region] * np.float32(strength)
        result[region] = _blend(photo[region], total[region], weight[region], amount)
    return result


def replace_whole(photo: Levels, crop: Levels, *, strength: float = 1.0) -> Levels:
    """Blend a square photo with the restored crop that shows all of it (aligned pictures)."""
    side = photo.shape[0]
    flags = cv2.INTER_CUBIC if side > crop.shape[0] else cv2.INTER_AREA
    resized = cv2.resize(crop, (side, side), interpolation=flags)
    blended = cv2.addWeighted(photo, 1 - strength, resized, strength, 0)
    return np.asarray(blended, dtype=photo.dtype)


def _blend(photo: Levels, total: FloatMap, weight: FloatMap, cover: FloatMap) -> Levels:
    """Blend: photo + (total / weight - photo) * cover, rounded; to the bit the photo at cover 0.

    OpenCV throughout: numpy is slow where a (H, W, 1) map meets (H, W, 3) pixels.
    """
    faces = cv2.divide(total, _per_channel(np.maximum(weight, np.float32(1e-6))))
    change = cv2.subtract(faces, photo, dst=faces, dtype=cv2.CV_32F)
    change = cv2.multiply(change, _per_channel(cover), dst=change)
    return np.asarray(cv2.add(photo, change, dtype=_DEPTHS[photo.dtype]), photo.dtype)


def _per_channel(values: FloatMap) -> FloatMap:
    return np.asarray(cv2.merge((values, values, values)), dtype=np.float32)


def _crop_to_photo(matrix: Matrix, scale: int) -> Matrix:
    inverse = invert(matrix) * scale
    inverse[:, 2] += (scale - 1) / 2  # pixel centres are whole numbers at both scales
    return inverse


def _warp_masks(
    masks: FloatMap, matrix: Matrix, size: tuple[int, int]
) -> tuple[FloatMap, FloatMap]:
    """Mask and share of a crop where its pixels will lie; zero beyond the crop."""
    warped = cv2.warpAffine(
        masks, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    mask, share = cv2.split(warped)
    return np.asarray(mask, dtype=np.float32), np.asarray(share, dtype=np.float32)


@lru_cache(maxsize=8)
def _masks(size: int) -> FloatMap:
    """(size, size, 2): a crop's soft mask, 1 inside and 0 at the border, and its share of a pixel.

    The mask is after facexlib's, a rectangle, blurred; here in proportion to the crop.
    """
    inset, sigma = _INSET * size, _SIGMA * size
    position = np.arange(size, dtype=np.float32)
    distance = np.minimum(position, size - 1 - position)
    inside = (distance >= inset).astype(np.float32)
    mask = cv2.GaussianBlur(np.outer(inside, inside), (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    mask = np.clip((mask - 0.01) / 0.98, 0, 1)
    middle = np.exp(-(((position / (size - 1) - 0.5) / _DOMINANCE) ** 2) / 2)
    share = mask * (np.outer(middle, middle) + np.float32(1e-4))
    return np.stack([mask, share], axis=2).astype(np.float32)
