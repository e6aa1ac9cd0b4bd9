"""Augmentation of high-quality faces: pose, background and colour.

The bundled data are a few hundred similar portraits; the world is not.  What is drawn here is
applied before degradation, so that both halves of a pair agree.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from model.degradation import FloatImage
from model.degradation.operations import LUMA, mix_channels


def augment(
    face: FloatImage, read_background: Callable[[], FloatImage], rng: np.random.Generator
) -> FloatImage:
    """Vary a face (R, R, 3), RGB in [0, 1].

    ``read_background`` returns any other picture of that shape, and is called if one is needed.
    """
    if rng.random() < 0.5:
        face = face[:, ::-1]
    if rng.random() < 0.35:
        face = replace_background(face, read_background(), rng)
    face = vary_pose(face, rng)
    face = vary_colour(face, rng)
    return np.ascontiguousarray(face)


def vary_pose(face: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Rotate (sigma 6 degrees), scale (0.8 to 1.3), shift (5%) and stretch (4%) the face."""
    size = face.shape[0]
    angle = np.deg2rad(rng.normal(0, 6))
    scale = np.exp(rng.uniform(np.log(0.8), np.log(1.3)))
    stretch = np.exp(rng.normal(0, 0.04))
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.array([[cos * stretch, -sin], [sin * stretch, cos]])
    centre = np.full(2, (size - 1) / 2)
    shift = centre - linear @ centre + rng.normal(0, 0.05, 2) * size
    matrix = np.column_stack([linear, shift])
    return cv2.warpAffine(
        face, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    ).clip(0, 1)


def replace_background(
    face: FloatImage, background: FloatImage, rng: np.random.Generator
) -> FloatImage:
    """Keep a soft ellipse around head and neck; the rest becomes another picture, or a gradient."""
    size = face.shape[0]
    if rng.random() < 0.6:
        zoom = rng.uniform(1, 3)
        matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(0, 360), zoom)
        matrix[:, 2] += rng.uniform(-0.5, 0.5, 2) * size * (zoom - 1)
        filling = cv2.warpAffine(
            background, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101
        )
        if rng.random() < 0.5:
            filling = cv2.GaussianBlur(filling, (0, 0), rng.uniform(0.5, 12))
    else:
        corners = rng.random((2, 2, 3), dtype=np.float32)
        filling = cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    distance = np.sqrt((x / 0.37) ** 2 + ((y - 0.02) / 0.48) ** 2)
    softness = rng.uniform(0.05, 0.3)
    keep = np.clip((1 - distance) / softness + 0.5, 0, 1)[..., None]
    replaced: FloatImage = keep * face + (1 - keep) * filling
    return replaced


def vary_colour(face: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Exposure, gamma, contrast, white balance, saturation; grey and faded photos now and then."""
    face = np.clip(face, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.25)))
    face = (face - 0.5) * np.float32(rng.uniform(0.6, 1.3)) + np.float32(rng.normal(0.5, 0.06))
    face = face * np.exp(rng.normal(0, 0.07, 3)).astype(np.float32)
    saturation = np.float32(0 if rng.random() < 0.15 else rng.uniform(0.4, 1.5))
    grey = mix_channels(face, LUMA)
    face = grey + saturation * (face - grey)
    if rng.random() < 0.08:  # sepia and other single tints, as paper ages
        face = grey * rng.uniform(0.7, 1.1, 3).astype(np.float32)
    if rng.random() < 0.1:  # faded: blacks are lifted
        lift = rng.uniform(0.02, 0.25, 3).astype(np.float32)
        face = lift + (1 - lift) * face
    return np.clip(face, 0, 1).astype(np.float32)
