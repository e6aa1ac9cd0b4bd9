"""Photos to measure with, made of the astronaut (NASA, public domain)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import skimage
from PIL import Image

from app.imaging.photo import Pixels
from tests.soak.photos import encoded

WIDTH, HEIGHT = 5312, 2272  # 12 megapixels
FACES = 29
_HEAD = (slice(0, 256), slice(96, 352))
_COLUMNS = 10
_SIDE = 340  # pixels of a head, on average


def portrait() -> bytes:
    """A JPEG of 512x512 pixels with one face."""
    return encoded(_astronaut(), "JPEG")


def crowd(faces: int = FACES, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A JPEG with so many faces, in rows, on a background with some grain."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 190, (height // 64, width // 64, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    picture += rng.integers(-6, 7, picture.shape, dtype=np.int16)
    pixels = picture.clip(0, 255).astype(np.uint8)
    head = np.ascontiguousarray(_astronaut()[_HEAD])
    rows = -(-faces // _COLUMNS)
    for i in range(faces):
        row, column = divmod(i, _COLUMNS)
        side = int(_SIDE * width / WIDTH * rng.uniform(0.8, 1.2))
        y = (2 * row + 1) * height // (2 * rows) - side // 2
        x = (2 * column + 1) * width // (2 * _COLUMNS) - side // 2
        pixels[y : y + side, x : x + side] = cv2.resize(
            head[:, :: 1 - 2 * (i % 2)], (side, side), interpolation=cv2.INTER_AREA
        )
    return encoded(pixels, "JPEG")


def _astronaut() -> Pixels:
    with Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png") as image:
        return np.asarray(image.convert("RGB"))
