"""Restored crops -> back into the photo, each in its own region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.deadline import NEVER, Deadline
from app.faces.align import AlignedFace, Matrix, bounds, compose, invert, warp
from app.faces.blend import close_up, confidence, own_detail_counts
from app.faces.mask import SIDE, FloatMap, oval
from app.imaging.photo import DEPTHS, Levels

_BAND = 1 << 22  # pixels that are worked on at once: in floating point they are many bytes
_Region = tuple[slice, slice]


def paste(
    photo: Levels,
    faces: Sequence[AlignedFace],
    restored: Sequence[Levels],
    template: NDArray[np.floating],
    *,
    scale: int = 1,
    strength: float = 1.0,
    masks: Sequence[FloatMap] | None = None,
    deadline: Deadline = NEVER,
) -> Levels:
    """Blend each face's restored crop into a copy of the photo, where its ``matrix`` says.

    The crops have the photo's depth and colours; the matrices belong to a photo ``scale`` times
    smaller.  ``masks`` are those of ``app.faces.mask``, one a face; without, all are ovals.  Pixels
    outside of them are those of the photo.  Where they overlap, the higher one says how much of the
    photo is replaced, and each face weighs in by how near the pixel is to its middle, so that no
    seam lies between neighbours.  Raises DeadlineExceeded.
    """
    if not faces:
        return photo.copy()
    height, width = photo.shape[:2]
    if masks is None:
        masks = [oval(template, restored[0].shape[0])] * len(faces)
    # untouched pages of zeros cost nothing, so full-size maps are cheap
    total = np.zeros((height, width, 3), np.float32)
    weight = np.zeros((height, width), np.float32)
    cover = np.zeros((height, width), np.float32)
    regions: list[_Region] = []
    for face, crop, own_masks in zip(faces, restored, masks, strict=True):
        layer = _layer(photo, face, crop, own_masks[..., 0], scale)
        trust = np.array([confidence(face, template), 1], np.float32)
        for region in _bands(layer.region):
            deadline.check()
            pixels = _seen(layer, photo, region)
            mask, share = _masks(layer, own_masks * trust, region)
            total[region] += cv2.multiply(pixels, _per_channel(share), dtype=cv2.CV_32F)
            weight[region] += share
            np.maximum(cover[region], mask, out=cover[region])
            regions.append(region)

    result = photo.copy()
    for region in regions:
        deadline.check()
        amount = cover[region] * np.float32(strength)
        result[region] = _blend(photo[region], total[region], weight[region], amount)
    return result


def replace_whole(
    photo: Levels,
    face: AlignedFace,
    restored: Levels,
    template: NDArray[np.floating],
    *,
    scale: int = 1,
    strength: float = 1.0,
) -> Levels:
    """Blend a square photo with the restored crop that shows all of it (aligned pictures)."""
    cover = oval(template, restored.shape[0])[..., 0]
    layer = _layer(photo, face, restored, cover, scale)
    result = photo.copy()
    for region in _bands(layer.region):
        shown = _seen(layer, photo, region)
        change = cv2.subtract(shown, photo[region], dtype=cv2.CV_32F)
        change = np.asarray(change, np.float32) * np.float32(strength)
        result[region] = cv2.add(photo[region], change, dtype=DEPTHS[photo.dtype])
    return result


@dataclass(frozen=True)
class _Layer:
    """A restored face over its region of the photo."""

    region: _Region
    to_photo: Matrix
    """Crop -> photo."""
    crop: Levels
    detail: tuple[Levels, FloatMap] | None
    """Of a reduced face: the crop as it was, and how much of what the photo adds to it is kept."""


def _layer(photo: Levels, face: AlignedFace, crop: Levels, cover: FloatMap, scale: int) -> _Layer:
    height, width = photo.shape[:2]
    side = crop.shape[0]
    to_photo = _crop_to_photo(face.matrix, scale)
    x0, y0, x1, y1 = bounds(to_photo, (side, side), width, height)
    region = (slice(y0, y1), slice(x0, x1))
    detail = None
    if own_detail_counts(face) > 0:
        to_crop = compose(invert(to_photo), np.array([[1.0, 0, x0], [0, 1, y0]]))
        crop, kept = close_up(crop, face, photo[region], to_crop, cover)
        detail = face.crop, kept
    return _Layer(region, to_photo, crop, detail)


def _bands(region: _Region) -> Iterator[_Region]:
    """A region in parts, one below the other.

    Crops larger than what they become are averaged over areas, whose grid begins with the part: the
    regions of those are never so large.
    """
    rows, columns = region
    step = max(1, _BAND // (columns.stop - columns.start))
    for top in range(rows.start, rows.stop, step):
        yield slice(top, min(top + step, rows.stop)), columns


def _seen(layer: _Layer, photo: Levels, region: _Region) -> Levels:
    """What a layer shows in (a part of) its region."""
    matrix, size = _onto(layer.to_photo, region)
    pixels = warp(layer.crop, matrix, size, border=cv2.BORDER_REPLICATE)
    if layer.detail is None:
        return pixels
    own, kept = layer.detail
    coarse = warp(own, matrix, size, border=cv2.BORDER_REPLICATE)
    finer = cv2.subtract(photo[region], coarse, dtype=cv2.CV_32F)
    finer = cv2.multiply(finer, _per_channel(_warped(kept, matrix, size)), dst=finer)
    return np.asarray(cv2.add(pixels, finer, dst=finer, dtype=cv2.CV_32F))


def _masks(layer: _Layer, masks: FloatMap, region: _Region) -> tuple[FloatMap, FloatMap]:
    """A layer's mask in (a part of) its region, and its share of each pixel."""
    matrix, size = _onto(layer.to_photo, region)
    ratio = layer.crop.shape[0] / SIDE
    to_crop = np.array([[ratio, 0, ratio / 2 - 0.5], [0, ratio, ratio / 2 - 0.5]])
    mask, share = cv2.split(_warped(masks, compose(matrix, to_crop), size))
    return np.asarray(mask, np.float32), np.asarray(share, np.float32)


def _onto(matrix: Matrix, region: _Region) -> tuple[Matrix, tuple[int, int]]:
    """A map into the photo as one into a region of it; the region's width and height."""
    rows, columns = region
    moved = matrix - np.array([[0, 0, columns.start], [0, 0, rows.start]])
    return moved, (columns.stop - columns.start, rows.stop - rows.start)


def _blend(photo: Levels, total: FloatMap, weight: FloatMap, cover: FloatMap) -> Levels:
    """Blend: photo + (total / weight - photo) * cover, rounded; to the bit the photo at cover 0.

    OpenCV throughout: numpy is slow where a (H, W, 1) map meets (H, W, 3) pixels.
    """
    faces = cv2.divide(total, _per_channel(np.maximum(weight, np.float32(1e-6))))
    change = cv2.subtract(faces, photo, dst=faces, dtype=cv2.CV_32F)
    change = cv2.multiply(change, _per_channel(cover), dst=change)
    return np.asarray(cv2.add(photo, change, dtype=DEPTHS[photo.dtype]), photo.dtype)


def _per_channel(values: FloatMap) -> FloatMap:
    return np.asarray(cv2.merge((values, values, values)), dtype=np.float32)


def _crop_to_photo(matrix: Matrix, scale: int) -> Matrix:
    inverse = invert(matrix) * scale
    inverse[:, 2] += (scale - 1) / 2  # pixel centres are whole numbers at both scales
    return inverse


def _warped(maps: FloatMap, matrix: Matrix, size: tuple[int, int]) -> FloatMap:
    """Smooth maps of a crop where its pixels will lie; zero beyond."""
    warped = cv2.warpAffine(
        maps, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(warped, dtype=np.float32)
