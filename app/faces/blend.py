"""Fitting a restored crop to the photo: its colours, its detail, and how much of it is shown."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.faces.align import AlignedFace, Matrix, warp
from app.faces.mask import oval
from app.imaging.photo import DEPTHS, Levels, eight_bits, is_black_and_white

Floats = NDArray[np.float32]

_COARSE = 64  # pixels a side at which colours are compared
_COLOUR_SIGMA = 1 / 8  # as a share of the crop's side: more than blocks, stains and shadows measure

_BANDS = (1.0, 2.5, 5.0)  # sigmas, in pixels of the crop, at which its detail is split into bands
_NEIGHBOURHOOD = 3.0  # sigma, in pixels of the crop, over which a band's energy is averaged
_QUIET = 20  # percentile of the face's fine energy taken for noise: the skin between the features
_TEXTURE = 4.0  # standard deviation, in levels of 255, that is skin's texture and not noise

_TINY, _SMALL = 16.0, 32.0  # widths of faces, in pixels of the photo, between which strength grows
_MIN_STRENGTH = 0.5  # how much of a tiny face's restoration is shown
_FACE_WIDTH = 2.2  # in distances between the eyes


def colours_matched(
    restored: Sequence[Levels], originals: Sequence[Levels], template: NDArray[np.floating]
) -> list[Levels]:
    """Give restored crops the low frequencies of the originals, channel by channel.

    All crops are (size, size, 3) of one depth; ``template`` is where their (5, 2) landmarks lie.
    The background around a face does not affect its colour.
    """
    if not restored:
        return []
    cover = oval(template, restored[0].shape[0])[..., 0]
    weight = np.asarray(cv2.resize(cover, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA))
    weight = (weight + 1e-3).astype(np.float32)[..., None]
    total_weight = cv2.GaussianBlur(weight, (0, 0), _COLOUR_SIGMA * _COARSE)[..., None]
    matched = []
    for crop, original in zip(restored, originals, strict=True):
        difference = (_coarse(original) - _coarse(crop)) * weight
        blurred = _blurred(difference, _COLOUR_SIGMA * _COARSE)
        shift = cv2.resize((blurred / total_weight).astype(np.float32), crop.shape[1::-1])
        matched.append(np.asarray(cv2.add(crop, shift, dtype=DEPTHS[crop.dtype]), crop.dtype))
    return matched


def _coarse(crop: Levels) -> Floats:
    small = cv2.resize(crop, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def uncoloured(restored: Levels, original: Levels) -> Levels:
    """The restored crop, made grey if the original is black and white."""
    if is_black_and_white(original):
        grey = cv2.cvtColor(restored, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.merge((grey, grey, grey)), restored.dtype)
    return restored


def confidence(face: AlignedFace, template: NDArray[np.floating]) -> float:
    """How much of a face's restoration is shown, 0.5 to 1: less for tiny faces.

    Nearly all detail of a tiny face's restoration is invented.
    """
    eye_distance = float(np.linalg.norm(template[1] - template[0]))
    width = _FACE_WIDTH * eye_distance / face.scale
    return float(np.interp(width, (_TINY, _SMALL), (_MIN_STRENGTH, 1)))


def original_weight(face: AlignedFace) -> float:
    """The weight of the photo's detail, 0 to 1.

    0 where the crop has the photo's resolution or more, 1 where it has half of it or less.
    """
    return float(np.clip(1 / face.scale - 1, 0, 1))


def close_up(
    restored: Levels, face: AlignedFace, photo: Levels, matrix: Matrix, cover: Floats
) -> tuple[Levels, Floats]:
    """Put detail of the original back into a face that was shrunk to be restored.

    In each frequency band, the original's detail replaces the restored one where its energy, less
    that of noise, is higher (salience; Burt & Kolczynski, ICCV 1993).

    ``restored``: (size, size, 3), in the depth of the (H, W, 3) ``photo``, which may have been
    enlarged; ``matrix``: from the photo to the crop; ``cover``: (N, N), 0 to 1, where the face is.
    Returns the blended crop, and the share (size, size), 0 to 1, of detail finer than the crop that
    is to be taken from the photo.
    """
    weight = np.float32(original_weight(face))
    size = restored.shape[0]
    peak = np.iinfo(photo.dtype).max
    unit = np.float32(peak / 255)
    fine = _fine_energy(photo, matrix, size)
    inside = np.asarray(cv2.resize(cover, (size, size)), np.float32) > 0.5
    noise = max(0.0, float(np.percentile(fine[inside], _QUIET)) - _TEXTURE**2)
    share = np.clip(1 - noise / np.maximum(fine, 1e-3), 0, 1) * weight

    # white noise loses energy when shrinking averages over areas
    crop_noise = noise * min(face.scale, 1) ** 2
    blended = restored.astype(np.float32)
    original_rest, restored_rest = face.crop.astype(np.float32), blended.copy()
    for sigma in _BANDS:
        original_low, restored_low = _blurred(original_rest, sigma), _blurred(restored_rest, sigma)
        original_band, restored_band = original_rest - original_low, restored_rest - restored_low
        original_energy = np.maximum(_energy(original_band) / unit**2 - 2 * crop_noise, 0)
        restored_energy = _energy(restored_band) / unit**2
        contrast = (original_energy - restored_energy) / (original_energy + restored_energy + 1)
        salience = np.clip(1 + 4 * contrast, 0, 1) * weight
        blended += (original_band - restored_band) * salience[..., None]
        original_rest, restored_rest = original_low, restored_low
    return np.rint(np.clip(blended, 0, peak)).astype(photo.dtype), share.astype(np.float32)


def _fine_energy(photo: Levels, matrix: Matrix, size: int) -> Floats:
    """(size, size): variance of the photo's luma in each pixel of the crop, in levels of 255.

    Computed in 16-bit integers to save memory, since the face may fill a very large photo.
    """
    grey = eight_bits(np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)))
    mean, square = (
        warp(values, matrix, (size, size), border=cv2.BORDER_REFLECT_101).astype(np.float32)
        for values in (
            grey.astype(np.uint16) * 257,
            np.asarray(cv2.multiply(grey, grey, dtype=cv2.CV_16U)),
        )
    )
    return _blurred(np.maximum(square - (mean / 257) ** 2, 0), _NEIGHBOURHOOD)


def _energy(band: Floats) -> Floats:
    grey = np.asarray(cv2.cvtColor(band, cv2.COLOR_RGB2GRAY), np.float32)
    return _blurred(grey * grey, _NEIGHBOURHOOD)


def _blurred(values: Floats, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)
