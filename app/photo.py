"""A decoded photo: pixels, and what must come back with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB, 0 to 255."""

FileFormat = Literal["jpeg", "png", "webp", "bmp", "tiff"]


@dataclass(frozen=True)
class Photo:
    pixels: Pixels
    """Upright: the EXIF orientation is applied."""
    alpha: NDArray[np.uint8] | None
    """(H, W), or None for an opaque photo."""
    grey: bool
    file_format: FileFormat
    exif: bytes
    """Without the orientation; empty if there was none, or it could not be read."""
    icc_profile: bytes | None

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])
