"""Augmentation of high-quality faces before they are degraded.

The discriminator sees the results as real faces, so they must look real: they never reach beyond
the picture, are not enlarged more than necessary, and no colour is clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import cv2
import numpy as np

from model.data.crops import Matrix, Picture, crop_width, sample

AugmentationName = Literal["none", "flip", "strong"]
Augmentation = Callable[[Picture, np.random.Generator], Picture]
"""From a picture of a face to the target of the network."""

_GREY_PROBABILITY = 0.2
"""The published probability."""
_ANGLE = np.deg2rad(6)
_STRETCH = 0.02
"""Standard deviations of the angle, and of the logarithm of the ratio of stretching."""
_ZOOM = 1.25
"""Largest factor, in and out."""
_SHIFT = 0.08
"""Largest shift, as a share of the crop's width."""


def augmentation(name: AugmentationName, size: int, margin: float) -> Augmentation:
    """``strong`` takes pictures of any size with margin; the others take crops of ``size``."""
    match name:
        case "none":
            return leave
        case "flip":
            return flip
        case "strong":
            return partial(vary, size=size, margin=margin)


def leave(face: Picture, _rng: np.random.Generator) -> Picture:
    """No augmentation."""
    return face


def flip(face: Picture, rng: np.random.Generator) -> Picture:
    """The published augmentation: mirrored with probability 0.5, grey with probability 0.2."""
    if rng.random() < 0.5:
        face = np.asarray(cv2.flip(face, 1), dtype=np.uint8)
    return _grey(face) if rng.random() < _GREY_PROBABILITY else face


def vary(picture: Picture, rng: np.random.Generator, *, size: int, margin: float) -> Picture:
    """Vary pose and colours of a picture whose crop has this margin; returns (size, size, 3)."""
    window = draw_window(picture.shape[0], size, margin, rng)
    return vary_colour(sample(picture, window, size), rng)


def draw_window(width: int, size: int, margin: float, rng: np.random.Generator) -> Matrix:
    """Draw the part of a picture of ``width`` pixels that a face is sampled from.

    It is mirrored half of the time, and rotated, scaled, shifted and stretched a little.  Returns
    the map from pixels of the face, of ``size`` pixels, to pixels of the picture.  The window lies
    inside the picture, and is at least ``size`` wide if the crop is.  Without a margin there is
    room only for smaller windows, if the picture has enough pixels for them.
    """
    mirrored = rng.random() < 0.5
    drawn_angle, drawn_stretch = rng.normal(0, _ANGLE), rng.normal(0, _STRETCH)
    crop = crop_width(width, margin)
    smallest = max(crop / _ZOOM, min(crop, size))
    for share in (1, 0.5, 0.25, 0):  # with the last, the crop itself fits
        angle, stretch = share * drawn_angle, np.exp(share * drawn_stretch)
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        linear = turned * [stretch, 1 / stretch]
        reach = np.abs(linear).sum(axis=1)  # of a window of one pixel, to the right and down
        least, most = smallest * max(stretch, 1 / stretch), width / reach.max()
        if least <= most:
            break
    most = max(least, min(most, crop * _ZOOM))
    window = np.exp(rng.uniform(np.log(least), np.log(most)))
    room = np.minimum((width - window * reach) / 2, _SHIFT * crop).clip(0)
    centre = (width - 1) / 2 + room * rng.uniform(-1, 1, 2)
    linear = linear * window / size
    if mirrored:
        linear[:, 0] *= -1
    return np.column_stack([linear, centre - linear @ np.full(2, (size - 1) / 2)])


def vary_colour(face: Picture, rng: np.random.Generator) -> Picture:
    """Vary exposure, contrast, white balance and saturation; grey as often as in ``flip``.

    Black stays black, white stays white, and other levels stay between them.
    """
    exponents = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.04, 3))
    contrast, saturation = rng.uniform(-0.3, 0.3), rng.uniform(0.6, 1)
    grey = rng.random() < _GREY_PROBABILITY
    levels = np.linspace(0, 1, 256)[:, None] ** exponents
    levels += contrast * levels * (1 - levels) * (2 * levels - 1)
    face = np.asarray(cv2.LUT(face, np.rint(levels * 255).astype(np.uint8)[None]), dtype=np.uint8)
    if grey:
        return _grey(face)
    mixed = cv2.addWeighted(face, saturation, _grey(face), 1 - saturation, 0)
    return np.asarray(mixed, dtype=np.uint8)


def _grey(face: Picture) -> Picture:
    luma = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
