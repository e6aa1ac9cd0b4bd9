"""Pasting restored crops back into the photo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.deadline import NEVER, Deadline
from app.faces.align import AlignedFace, Matrix, bounds, compose, invert, warp
from app.faces.blend import close_up, confidence, original_weight
from app.faces.mask import SIDE, FloatMap, oval
from app.imaging.photo import DEPTHS, Levels

_BAND = 1 << 22  # pixels that are blended at a time, to bound the memory of float32 copies
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
    """Blend each face's restored crop into a copy of the (H, W, 3) photo.

    The crops have the photo's depth and colour space.  ``faces`` were aligned in a photo ``scale``
    times smaller.  ``strength``, 0 to 1, is the share of the restored face.  ``masks`` holds a mask
    of ``app.faces.mask`` per face; the default is ovals.  Pixels outside all masks do not change.
    Where masks overlap, the higher one is how much of the photo is replaced, and each face's weight
    falls with the distance from its middle, so that neighbours meet without a seam.  Raises
    DeadlineExceeded.
    """
    if not faces:
        return photo.copy()
    height, width = photo.shape[:2]
    if masks is None:
        masks = [oval(template, restored[0].shape[0])] * len(faces)
    # full-size maps are cheap: pages of zeros take no memory until they are written
    total = np.zeros((height, width, 3), np.float32)
    weight = np.zeros((height, width), np.float32)
    cover = np.zeros((height, width), np.float32)
    regions: list[_Region] = []
    for face, crop, mask in zip(faces, restored, masks, strict=True):
        layer = _layer(photo, face, crop, mask[..., 0], scale)
        trusted_mask = mask * np.array([confidence(face, template), 1], np.float32)
        for region in _bands(layer.region):
            deadline.check()
            pixels = _rendered(layer, photo, region)
            region_cover, claim = _masks(layer, trusted_mask, region)
            total[region] += cv2.multiply(pixels, _per_channel(claim), dtype=cv2.CV_32F)
            weight[region] += claim
            np.maximum(cover[region], region_cover, out=cover[region])
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
    """Blend an aligned picture, which is one square face, with its restored crop as a whole.

    Like :func:`paste` for a single face, without a mask.
    """
    cover = oval(template, restored.shape[0])[..., 0]
    layer = _layer(photo, face, restored, cover, scale)
    result = photo.copy()
    for region in _bands(layer.region):
        pixels = _rendered(layer, photo, region)
        change = cv2.subtract(pixels, photo[region], dtype=cv2.CV_32F)
        change = np.asarray(change, np.float32) * np.float32(strength)
        result[region] = cv2.add(photo[region], change, dtype=DEPTHS[photo.dtype])
    return result


@dataclass(frozen=True)
class _Layer:
    """A restored face, and the region of the photo that it covers."""

    region: _Region
    to_photo: Matrix
    """The map from the crop to the photo."""
    crop: Levels
    detail: tuple[Levels, FloatMap] | None
    """For a face that was shrunk: the original crop, and the share of the photo's finer detail."""


def _layer(photo: Levels, face: AlignedFace, crop: Levels, cover: FloatMap, scale: int) -> _Layer:
    height, width = photo.shape[:2]
    side = crop.shape[0]
    to_photo = _crop_to_photo(face.matrix, scale)
    x0, y0, x1, y1 = bounds(to_photo, (side, side), width, height)
    region = (slice(y0, y1), slice(x0, x1))
    detail = None
    if original_weight(face) > 0:
        to_crop = compose(invert(to_photo), np.array([[1.0, 0, x0], [0, 1, y0]]))
        crop, share = close_up(crop, face, photo[region], to_crop, cover)
        detail = face.crop, share
    return _Layer(region, to_photo, crop, detail)


def _bands(region: _Region) -> Iterator[_Region]:
    """Split a region into bands, one below the other.

    Shrinking a crop averages over areas, whose grid starts with the band, so bands of a shrunk crop
    would differ from the whole.  The regions of shrunk crops are too small to be split.
    """
    rows, columns = region
    step = max(1, _BAND // (columns.stop - columns.start))
    for top in range(rows.start, rows.stop, step):
        yield slice(top, min(top + step, rows.stop)), columns


def _rendered(layer: _Layer, photo: Levels, region: _Region) -> Levels:
    """A layer's pixels in its region or a part of it."""
    matrix, size = _onto(layer.to_photo, region)
    pixels = warp(layer.crop, matrix, size, border=cv2.BORDER_REPLICATE)
    if layer.detail is None:
        return pixels
    original, share = layer.detail
    coarse = warp(original, matrix, size, border=cv2.BORDER_REPLICATE)
    finer = cv2.subtract(photo[region], coarse, dtype=cv2.CV_32F)
    finer = cv2.multiply(finer, _per_channel(_warped(share, matrix, size)), dst=finer)
    return np.asarray(cv2.add(pixels, finer, dst=finer, dtype=cv2.CV_32F))


def _masks(layer: _Layer, mask: FloatMap, region: _Region) -> tuple[FloatMap, FloatMap]:
    """A mask's cover and claim in the layer's region or a part of it."""
    matrix, size = _onto(layer.to_photo, region)
    ratio = layer.crop.shape[0] / SIDE
    to_crop = np.array([[ratio, 0, ratio / 2 - 0.5], [0, ratio, ratio / 2 - 0.5]])
    cover, claim = cv2.split(_warped(mask, compose(matrix, to_crop), size))
    return np.asarray(cover, np.float32), np.asarray(claim, np.float32)


def _onto(matrix: Matrix, region: _Region) -> tuple[Matrix, tuple[int, int]]:
    """A map into the photo as a map into a region of it, and the region's width and height."""
    rows, columns = region
    moved = matrix - np.array([[0, 0, columns.start], [0, 0, rows.start]])
    return moved, (columns.stop - columns.start, rows.stop - rows.start)


def _blend(photo: Levels, total: FloatMap, weight: FloatMap, cover: FloatMap) -> Levels:
    """Return photo + (total / weight - photo) * cover, rounded; the exact photo where cover is 0.

    Uses OpenCV, because numpy is slow at broadcasting (H, W, 1) maps over (H, W, 3) pixels.
    """
    faces = cv2.divide(total, _per_channel(np.maximum(weight, np.float32(1e-6))))
    change = cv2.subtract(faces, photo, dst=faces, dtype=cv2.CV_32F)
    change = cv2.multiply(change, _per_channel(cover), dst=change)
    return np.asarray(cv2.add(photo, change, dtype=DEPTHS[photo.dtype]), photo.dtype)


def _per_channel(values: FloatMap) -> FloatMap:
    return np.asarray(cv2.merge((values, values, values)), dtype=np.float32)


def _crop_to_photo(matrix: Matrix, scale: int) -> Matrix:
    inverse = invert(matrix) * scale
    inverse[:, 2] += (scale - 1) / 2  # pixel centres are integers at both scales
    return inverse


def _warped(maps: FloatMap, matrix: Matrix, size: tuple[int, int]) -> FloatMap:
    """Maps of a crop, warped to a region; zero beyond the crop."""
    warped = cv2.warpAffine(
        maps, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(warped, dtype=np.float32)
