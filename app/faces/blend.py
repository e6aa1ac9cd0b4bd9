"""What of a restored crop the photo is to show: its colours, its detail, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from app.faces.align import AlignedFace, Matrix, warp
from app.faces.mask import oval
from app.imaging.photo import DEPTHS, Levels, eight_bits, is_black_and_white

Floats = NDArray[np.float32]

_COARSE = 64  # pixels a side of the pictures that colours are compared in
_COLOUR_SIGMA = 1 / 8  # of the crop's side: larger than blocks, stains and shadows

_BANDS = (1.0, 2.5, 5.0)  # sigmas, in pixels of the crop, that part the bands of its detail
_NEIGHBOURHOOD = 3.0  # sigma, in pixels of the crop, of what a band's energy is averaged over
_QUIET = 20  # percentile of the face's fine energy that is its noise: skin, between the features
_TEXTURE = 4.0  # levels of 255: what a quiet place may vary by and still be skin, not noise

_TINY, _SMALL = 16.0, 32.0  # widths, in pixels of the photo, from which restored faces count
_LEAST = 0.5  # of a tiny one's restoration that is shown
_WIDTH_OF_A_FACE = 2.2  # distances of the eyes


def colours_matched(
    restored: Sequence[Levels], originals: Sequence[Levels], template: NDArray[np.floating]
) -> list[Levels]:
    """Restored crops with the low frequencies, per channel, of those they were made from.

    All are (size, size, 3) of one depth; ``template`` is where their (5, 2) landmarks lie.  What
    lies about a face does not colour it.
    """
    if not restored:
        return []
    cover = oval(template, restored[0].shape[0])[..., 0]
    weight = np.asarray(cv2.resize(cover, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA))
    weight = (weight + 1e-3).astype(np.float32)[..., None]
    within = cv2.GaussianBlur(weight, (0, 0), _COLOUR_SIGMA * _COARSE)[..., None]
    matched = []
    for crop, original in zip(restored, originals, strict=True):
        change = (_coarse(original) - _coarse(crop)) * weight
        blurred = np.asarray(cv2.GaussianBlur(change, (0, 0), _COLOUR_SIGMA * _COARSE))
        shift = cv2.resize((blurred / within).astype(np.float32), crop.shape[1::-1])
        matched.append(np.asarray(cv2.add(crop, shift, dtype=DEPTHS[crop.dtype]), crop.dtype))
    return matched


def _coarse(crop: Levels) -> Floats:
    small = cv2.resize(crop, (_COARSE, _COARSE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def uncoloured(restored: Levels, original: Levels) -> Levels:
    """A restored crop as grey as the original."""
    if is_black_and_white(original):
        grey = cv2.cvtColor(restored, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.merge((grey, grey, grey)), restored.dtype)
    return restored


def confidence(face: AlignedFace, template: NDArray[np.floating]) -> float:
    """How much of a face's restoration is shown, 0 to 1: of a tiny face nearly all is invented."""
    eyes = float(np.linalg.norm(template[1] - template[0]))
    width = _WIDTH_OF_A_FACE * eyes / face.scale
    grown = float(np.clip((width - _TINY) / (_SMALL - _TINY), 0, 1))
    return _LEAST + (1 - _LEAST) * grown


def own_detail_counts(face: AlignedFace) -> float:
    """How much the photo's own detail counts, 0 to 1: the crop shows all of it, or half or less."""
    return float(np.clip(1 / face.scale - 1, 0, 1))


def close_up(
    restored: Levels, face: AlignedFace, photo: Levels, matrix: Matrix, cover: Floats
) -> tuple[Levels, Floats]:
    """For a face that was reduced to be restored: what to show of the crop, and of finer detail.

    Band by band the crop keeps the original's detail where that is more than the restored one's
    (salience: Burt & Kolczynski, ICCV 1993), less the noise that is in it.

    ``restored``: (size, size, 3) levels, as deep as the (H, W, 3) ``photo``, which may have been
    enlarged; ``matrix`` leads from it to the crop; ``cover``, (N, N), 0 to 1, says where the face
    is.  Returns the crop, and how much is kept, (size, size), 0 to 1, of what the photo shows
    beyond the original crop.
    """
    kept = own_detail_counts(face)
    size = restored.shape[:2]
    unit = np.float32(np.iinfo(photo.dtype).max / 255)
    fine = _fine_energy(photo, matrix, size[0])
    inside = np.asarray(cv2.resize(cover, size), np.float32) > 0.5
    noise = max(0.0, float(np.percentile(fine[inside], _QUIET)) - _TEXTURE**2)
    share = np.clip(1 - noise / np.maximum(fine, 1e-3), 0, 1) * np.float32(kept)

    # averaging over an area left this much of white noise in the crop
    left = noise * min(face.scale, 1) ** 2
    shown = restored.astype(np.float32)
    own, made = face.crop.astype(np.float32), shown.copy()
    for sigma in _BANDS:
        own_low, made_low = _blurred(own, sigma), _blurred(made, sigma)
        own_band, made_band = own - own_low, made - made_low
        there = np.maximum(_energy(own_band) / unit**2 - 2 * left, 0)
        now = _energy(made_band) / unit**2
        better = np.clip(1 + 4 * (there - now) / (there + now + 1), 0, 1) * np.float32(kept)
        shown += (own_band - made_band) * better[..., None]
        own, made = own_low, made_low
    peak = np.iinfo(photo.dtype).max
    return np.rint(np.clip(shown, 0, peak)).astype(photo.dtype), share.astype(np.float32)


def _fine_energy(photo: Levels, matrix: Matrix, size: int) -> Floats:
    """(size, size): the variance of the photo's luminance, in levels of 255, within each pixel.

    In whole numbers of 16 bits, because the face may fill a very large photo.
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
