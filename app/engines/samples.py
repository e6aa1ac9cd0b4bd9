"""The bundled sample photo, and the sample faces on which engines are compared."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from app.engines.engine import Crops

PHOTO = Path(__file__).with_name("astronaut.jpg")
"""A portrait of 512x512 pixels (NASA, public domain)."""
_FACE = (96, 0, 352, 256)  # left, upper, right, lower


def sample_crops(size: int) -> Crops:
    """(4, size, size, 3): a face unchanged, blurred and noisy, dark and grey, in coarse blocks."""
    with Image.open(PHOTO) as photo:
        cropped = photo.crop(_FACE)
    face = np.asarray(cropped.resize((size, size), Image.Resampling.LANCZOS))
    noise = np.random.default_rng(0).normal(0, 15, face.shape)
    blurred = cv2.GaussianBlur(face, (0, 0), size / 64) + noise
    grey = np.repeat(face.mean(axis=2, keepdims=True), 3, axis=2) * 0.4
    coarse = Image.fromarray(face).resize((16, 16), Image.Resampling.BOX)
    blocks = np.asarray(coarse.resize((size, size), Image.Resampling.NEAREST))
    return np.stack([face, blurred, grey, blocks]).round().clip(0, 255).astype(np.uint8)
