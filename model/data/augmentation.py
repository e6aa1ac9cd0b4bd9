"""Augmentation of high-quality faces, before they are degraded: both halves of a pair agree.

What comes out is shown to the discriminator as real, and so it has to be: the pose never reaches
beyond the picture, no pixel is enlarged that need not be, and no colour is clipped.
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
"""From a picture of a face to what the network is to restore."""

_GREY_PROBABILITY = 0.2
"""As published."""
_ANGLE = np.deg2rad(6)
_STRETCH = 0.02
"""Standard deviations, of the rotation and of the logarithm of what width and height differ by."""
_ZOOM = 1.25
"""At most, in and out."""
_SHIFT = 0.08
"""At most, as a share of the crop's width."""


def augmentation(name: AugmentationName, size: int, margin: float) -> Augmentation:
    """``strong`` takes pictures of any size, with their margin; the others, crops of ``size``."""
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
    """As published: mirrored half of the time, and grey now and then."""
    if rng.random() < 0.5:
        face = np.asarray(cv2.flip(face, 1), dtype=np.uint8)
    return _grey(face) if rng.random() < _GREY_PROBABILITY else face


def vary(picture: Picture, rng: np.random.Generator, *, size: int, margin: float) -> Picture:
    """Another pose and other colours: (size, size, 3), of a picture whose crop has this margin."""
    window = draw_window(picture.shape[0], size, margin, rng)
    return vary_colour(sample(picture, window, size), rng)


def draw_window(width: int, size: int, margin: float, rng: np.random.Generator) -> Matrix:
    """Where in a picture of ``width`` pixels a face is taken from: mirrored half of the time,
    rotated, larger or smaller, shifted and stretched a little.

    Leads from the pixels of a face of ``size`` pixels to the picture's.  The window lies inside
    the picture, and is no narrower than ``size`` if the crop is not.  Without a margin, what fits
    is mostly a smaller window, where the picture has the pixels for one.
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
    """Other exposure, contrast, white balance and saturation; grey as often as ``flip``.

    Black stays black and white white, and what lies between stays between them.
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
