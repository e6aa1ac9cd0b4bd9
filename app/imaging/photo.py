"""A decoded photo: pixels, and what must come back with them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from app.imaging.xmp import MARK

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB, 0 to 255.  What the networks see is sRGB."""

Levels = NDArray[Any]
"""(H, W, 3) RGB in a photo's own colour space and depth: uint8, or uint16 of the whole range."""

Map = NDArray[Any]
"""(H, W), of the same depths."""

DEPTHS = MappingProxyType({np.dtype(np.uint8): cv2.CV_8U, np.dtype(np.uint16): cv2.CV_16U})
"""By OpenCV's names."""

FileFormat = Literal["jpeg", "png", "webp", "avif", "gif", "bmp", "tiff", "heic"]


@dataclass(frozen=True)
class GainMap:
    """A picture behind a JPEG that says how an HDR screen shows it.

    :mod:`app.imaging.gain_map` reads and writes it.
    """

    jpeg: bytes
    """Upright, as the photo is, with what its levels mean."""
    in_xmp: bool
    """Whether it says that in XMP (``hdrgm``), so that the photo's XMP has to tell of the map."""
    iso: bool
    """Whether it says it as ISO 21496-1 has it."""
    xmp: bytes = b""
    """The photo's XMP with a directory of both pictures if the map asks for it; may be empty."""
    marked_xmp: bytes = b""
    """Likewise the marked one."""


@dataclass(frozen=True)
class Photo:
    pixels: Levels
    """Upright: the EXIF orientation is applied."""
    alpha: Map | None
    """As deep as the pixels, or None for an opaque photo."""
    grey: bool
    """The three channels are the same."""
    file_format: FileFormat
    exif: bytes
    """Without the orientation; empty if there was none, or it could not be read."""
    icc_profile: bytes | None
    """Of the pixels' colour space; None for sRGB, or what is taken for it."""
    shows_as_srgb: bool = False
    """Whether it was found that the profile changes nothing, or is of no use."""
    xmp: bytes = b""
    """Cleaned by :mod:`app.imaging.xmp`; empty if there was none, or it could not be read."""
    marked_xmp: bytes = MARK
    """The same, saying that a face was restored.  Never empty."""
    iptc: bytes = b""
    """The records (IIM) alone."""
    dpi: tuple[float, float] | None = None
    """Pixels an inch, across and down."""
    lossless: bool = False
    """Of a format that may be either, WebP."""
    gain_map: GainMap | None = None

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


def is_deep(levels: Levels) -> bool:
    """Whether these are 16 bits a channel."""
    return bool(levels.dtype == np.uint16)


def eight_bits(levels: Levels) -> NDArray[np.uint8]:
    """Of any shape, rounded to 0 to 255; itself where it is so already."""
    if not is_deep(levels):
        return np.asarray(levels, dtype=np.uint8)
    # OpenCV wants three dimensions at most, and makes one of a single channel
    scaled = cv2.convertScaleAbs(levels, alpha=1 / 257)
    return np.asarray(scaled, dtype=np.uint8).reshape(levels.shape)


def is_black_and_white(pixels: Levels) -> bool:
    """Whether its three channels are one: a photo need not be grey to have no colours."""
    red, green, blue = cv2.split(pixels)
    return bool(np.array_equal(red, green) and np.array_equal(green, blue))
