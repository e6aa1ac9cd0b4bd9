"""A camera pipeline: a photo is converted to raw data, gets sensor noise, and is developed again.

It approximates the camera pipeline of Zhang et al. 2021 (BSRGAN, section 3.4), whose sensor data
and tone curves are not published.  Formulas and constants are those of Brooks et al. 2019,
"Unprocessing Images for Learned Raw Denoising", section 3 (google-research/unprocessing), with
bilinear demosaicing.  Unlike in their work, developing also inverts the brightening and the tone
curve, so that colours change only where they clip.  The remaining noise has the colours and the
grain of a cheap camera.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeFloat, PositiveFloat
from pydantic.dataclasses import dataclass

from model.data.degradation.operations import FloatImage, mix_channels
from model.data.degradation.ranges import SETTINGS, PositiveRange

_XYZ_TO_CAMERA = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
"""The colour matrices of four cameras, of which a random weighted mean is used."""
_RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_GAMMA = 2.2
_WHITE = 0.9
"""Level from which gains are inverted less and less, so that white stays white."""


@dataclass(frozen=True, config=SETTINGS)
class CameraRanges:
    """Brooks et al. 2019, sections 3.1 and 3.2; google-research/unprocessing/unprocess.py."""

    shot: PositiveRange = (1e-4, 0.012)
    """Variance of the shot noise at white, drawn uniformly on a logarithmic scale."""
    read: tuple[float, float] = (2.18, 1.2)
    """Slope and intercept of log(variance of the read noise) as a function of log(shot)."""
    read_spread: NonNegativeFloat = 0.26
    """Standard deviation around that line."""
    darkness: tuple[PositiveFloat, NonNegativeFloat] = (0.8, 0.1)
    """Mean and standard deviation of the inverse brightening factor."""
    red: PositiveRange = (1.9, 2.4)
    """The white balance's gain of red."""
    blue: PositiveRange = (1.5, 1.9)
    """The white balance's gain of blue."""


def through_camera(image: FloatImage, ranges: CameraRanges, rng: np.random.Generator) -> FloatImage:
    """Convert (H, W, 3) RGB in [0, 1] to noisy raw data, and back to the same shape and range."""
    to_camera = _draw_colour_matrix(rng)
    gains = _draw_gains(ranges, rng)
    shot = np.exp(rng.uniform(*np.log(ranges.shot)))
    slope, intercept = ranges.read
    read = np.exp(slope * np.log(shot) + intercept + rng.normal(0, ranges.read_spread))

    linear = cv2.pow(0.5 - np.sin(np.arcsin(1 - 2 * image) / 3), _GAMMA)
    linear = mix_channels(np.asarray(linear, dtype=np.float32), to_camera)
    raw = mosaic(np.clip(_undo_gains(linear, gains), 0, 1))
    variance = raw * np.float32(shot) + np.float32(read)
    raw += np.sqrt(variance) * rng.standard_normal(raw.shape, dtype=np.float32)

    linear = np.clip(demosaic(raw) * gains, 0, 1)
    linear = mix_channels(linear, np.linalg.inv(to_camera))
    developed = cv2.pow(np.clip(linear, 1e-8, 1), 1 / _GAMMA)
    toned: FloatImage = developed * developed * (3 - 2 * developed)
    return toned


def mosaic(image: FloatImage) -> FloatImage:
    """The raw data (H, W) of an RGGB sensor for a picture (H, W, 3)."""
    raw = image[..., 1].copy()
    raw[0::2, 0::2] = image[0::2, 0::2, 0]
    raw[1::2, 1::2] = image[1::2, 1::2, 2]
    return raw


def demosaic(raw: FloatImage) -> FloatImage:
    """Interpolate raw data bilinearly: (H, W) -> (H, W, 3)."""
    planes = np.zeros((*raw.shape, 3), dtype=np.float32)
    planes[0::2, 0::2, 0] = raw[0::2, 0::2]
    planes[0::2, 1::2, 1] = raw[0::2, 1::2]
    planes[1::2, 0::2, 1] = raw[1::2, 0::2]
    planes[1::2, 1::2, 2] = raw[1::2, 1::2]
    tent = np.array([0.5, 1, 0.5], dtype=np.float32)
    cross = np.array([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]], dtype=np.float32)
    border = cv2.BORDER_REFLECT_101  # continues the sensor's pattern
    full = cv2.sepFilter2D(planes, -1, tent, tent, borderType=border)
    full[..., 1] = cv2.filter2D(planes[..., 1], -1, cross, borderType=border)
    return np.asarray(full, dtype=np.float32)


def _draw_colour_matrix(rng: np.random.Generator) -> NDArray[np.float64]:
    """A matrix (3, 3) from RGB to the camera's colours, which maps grey to grey."""
    weights = rng.random(len(_XYZ_TO_CAMERA)) + 1e-8
    matrix = np.tensordot(weights / weights.sum(), _XYZ_TO_CAMERA, axes=1) @ _RGB_TO_XYZ
    normalised: NDArray[np.float64] = matrix / matrix.sum(1, keepdims=True)
    return normalised


def _draw_gains(ranges: CameraRanges, rng: np.random.Generator) -> FloatImage:
    """The gains (3,) of red, green and blue, from raw data to the picture."""
    brightening = 1 / max(0.3, rng.normal(*ranges.darkness))
    red, blue = rng.uniform(*ranges.red), rng.uniform(*ranges.blue)
    return np.array([red, 1, blue], dtype=np.float32) * np.float32(brightening)


def _undo_gains(linear: FloatImage, gains: FloatImage) -> FloatImage:
    """Divide by the gains, less where it is nearly white (Brooks et al., section 3.1)."""
    grey = linear.mean(axis=2, keepdims=True)
    mask = (np.maximum(grey - _WHITE, 0) / (1 - _WHITE)) ** 2
    darkened: FloatImage = linear * np.maximum(mask + (1 - mask) / gains, 1 / gains)
    return darkened
