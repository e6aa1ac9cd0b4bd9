"""16 bits a channel, of which Pillow reads the upper eight: read by OpenCV, checked by Pillow."""

from __future__ import annotations

import logging
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, TiffImagePlugin

from app.errors import UnsupportedPicture
from app.imaging.directories import is_tiff, is_unambiguous

log = logging.getLogger(__name__)

Deep = NDArray[np.uint16]

_BITS, _PLANES = 258, 284  # tags of a TIFF: of each channel; whether they lie apart
_APART = 2
_ROWS = 256  # compared at a time
_UPRIGHT: dict[int, Callable[[Deep], Deep]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}


def has_deep_colours(image: Image.Image) -> bool:
    """Whether an open, unread picture has more than Pillow will read, by its header.

    Raises UnsupportedPicture for what neither library reads.
    """
    if image.mode not in {"RGB", "RGBA", "LA"}:
        return False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        deep = max(image.tag_v2.get(_BITS, (1,))) == 16
        if deep and image.tag_v2.get(_PLANES) == _APART:
            raise UnsupportedPicture("16-bit TIFFs whose channels lie apart are not read.")
        return bool(deep)
    return isinstance(image, PngImagePlugin.PngImageFile) and ";16" in str(image.tile[0].args)


def read_deep(data: bytes, orientation: int, seen: NDArray[np.uint8]) -> Deep | None:
    """RGB (H, W, 3) or RGBA (H, W, 4), upright; None where they are not what Pillow has seen.

    ``seen`` is Pillow's reading, RGB or RGBA, upright.  OpenCV leaves memory as it was where it
    does not know a layout: nothing that Pillow does not confirm may go out.
    """
    if is_tiff(data) and not is_unambiguous(data, seen.shape[:2]):
        log.info("16 bits not read: readers may differ about this directory")
        return None
    try:
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        log.info("16 bits not read: %s", error)
        return None
    if read is None or read.dtype != np.uint16 or read.ndim != 3 or read.shape[2] not in (3, 4):
        return None
    if sorted(read.shape[:2]) != sorted(seen.shape[:2]):
        return None
    turn = _UPRIGHT.get(orientation)
    deep: Deep = read.astype(np.uint16, copy=False)
    upright = deep if turn is None else turn(deep)
    order = cv2.COLOR_BGR2RGB if upright.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    pixels: Deep = np.asarray(cv2.cvtColor(upright, order), dtype=np.uint16)
    if not _agree(pixels, seen):
        log.info("16 bits not kept: two readings differ")
        return None
    return pixels


def _agree(pixels: Deep, seen: NDArray[np.uint8]) -> bool:
    """Whether the upper bytes of all channels that Pillow has seen are the same."""
    channels = seen.shape[2]
    if pixels.shape[:2] != seen.shape[:2] or pixels.shape[2] < channels:
        return False
    return all(
        np.array_equal(pixels[at : at + _ROWS, :, :channels] >> 8, seen[at : at + _ROWS])
        for at in range(0, len(pixels), _ROWS)
    )
