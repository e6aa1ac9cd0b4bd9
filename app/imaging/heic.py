"""HEIC, as telephones write it, by libheif: where the extra is installed."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import BrokenPicture, UnsupportedPicture
from app.imaging.cicp import profile_of
from app.imaging.metadata import read_metadata
from app.imaging.photo import Photo
from app.imaging.precautions import MOST_PROFILE

log = logging.getLogger(__name__)

_DEEPEST = 65_535
_ROWS = 128  # at a time


class OpenHeic:
    """A HEIC file of which the tables are read, and no pixels."""

    def __init__(self, data: bytes) -> None:
        """Raises UnsupportedPicture where the extra is not installed, and what libheif raises."""
        if find_spec("pi_heif") is None:
            raise UnsupportedPicture(
                "HEIC is read where its extra is installed: pip install 'gpen-portrait[heic]'"
            )
        import pi_heif  # noqa: PLC0415  (an extra)

        # what is not asked for is not parsed
        options = pi_heif.options
        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
        self._file = pi_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=False)
        self.width, self.height = (int(side) for side in self._file.size)
        """In pixels, turned and cut as the file says."""

    def read(self) -> Photo:
        """Decode the primary picture and its alpha.  Raises BrokenPicture, and what libheif raises.

        10 and 12 bits a channel become 16.  It is turned as the file says, and not by EXIF as well
        (ISO/IEC 23008-12, annex A.2).
        """
        info = self._file.info
        levels = np.array(self._file)  # a copy: the memory is libheif's
        if levels.shape[:2] != (self.height, self.width):
            raise BrokenPicture("The picture's sizes contradict each other.")
        levels = levels.reshape(self.height, self.width, -1)
        if (bits := info["bit_depth"]) > 8:
            _stretch(levels, bits)
        grey = "chroma" not in info  # libheif gives colours to grey with alpha
        colours = levels[..., :3] if levels.shape[2] >= 3 else np.repeat(levels[..., :1], 3, axis=2)
        alpha = levels[..., -1].copy() if self._file.has_alpha else None
        if alpha is not None and self._file.premultiplied_alpha:
            colours = _unmultiplied(colours, alpha)
        metadata = read_metadata(_with_info({"exif": info["exif"] or b"", "xmp": info.get("xmp")}))
        return Photo(
            np.ascontiguousarray(colours),
            alpha,
            grey,
            file_format="heic",
            exif=metadata.exif,
            icc_profile=_profile(info, grey=grey),
            xmp=metadata.xmp,
        )


def _stretch(levels: NDArray[np.uint16], bits: int) -> None:
    """Levels in the upper bits, as libheif's binding has them, over the whole range, in place."""
    table = np.rint(np.arange(1 << bits) * (_DEEPEST / ((1 << bits) - 1))).astype(np.uint16)
    for at in range(0, len(levels), _ROWS):
        levels[at : at + _ROWS] = table[levels[at : at + _ROWS] >> (16 - bits)]


def _unmultiplied(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Colours as they were before they were multiplied by their alpha."""
    peak = np.iinfo(colours.dtype).max
    result = np.empty_like(colours)
    for at in range(0, len(colours), _ROWS):
        cover = np.maximum(alpha[at : at + _ROWS, :, None], 1).astype(np.float32)
        result[at : at + _ROWS] = np.minimum(
            np.rint(colours[at : at + _ROWS] * (peak / cover)), peak
        )
    return result


def _profile(info: dict[str, Any], *, grey: bool) -> bytes | None:
    """The file's own, or one made of its code points."""
    profile = info.get("icc_profile")
    if profile and len(profile) <= MOST_PROFILE:
        return bytes(profile)
    if profile:
        log.info("colour profile of %d bytes dropped", len(profile))
    points = info.get("nclx_profile")
    if grey or points is None:
        return None
    return profile_of(points["color_primaries"], points["transfer_characteristics"])


def _with_info(info: dict[str, Any]) -> Image.Image:
    """What Pillow's readers of metadata want: a picture that tells this."""
    image = Image.new("L", (1, 1))
    image.info.update(info)
    return image
