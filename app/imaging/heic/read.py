"""The pixels of a checked HEIC photo, by libheif, where the extra is installed."""

from __future__ import annotations

from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import BrokenPicture, UnsupportedPicture
from app.imaging.heic.boxes import brands
from app.imaging.heic.minimal import minimal_file
from app.imaging.heic.profile import profile_of
from app.imaging.heic.still import Coded, Still, Turn, clean_aperture
from app.imaging.metadata import read_metadata
from app.imaging.photo import Photo

_BRANDS = {b"heic", b"heix", b"heim", b"heis"}
_GENERAL = {b"mif1", b"msf1"}  # of any codec
_OTHERS = {b"avif", b"avis"}
_DEEPEST = 65_535
_ROWS = 128  # at a time


def is_heic(data: bytes) -> bool:
    """Whether the file says so; what it holds then is another question."""
    told = brands(data)
    return bool(
        told
        and not _OTHERS.intersection(told)
        and (_BRANDS.intersection(told) or told[0] in _GENERAL)
    )


def check_installed() -> None:
    """Raises UnsupportedPicture where the extra is not."""
    if find_spec("pi_heif") is None:
        raise UnsupportedPicture(
            "HEIC is read where its extra is installed: pip install 'gpen-portrait[heic]'"
        )


def read_still(still: Still) -> Photo:
    """Decode a photo that was checked.  Raises BrokenPicture, UnsupportedPicture.

    10 and 12 bits a channel become 16.  It is turned as the file says, and not by EXIF as well
    (ISO/IEC 23008-12, annex A.2).
    """
    grey = still.picture.stream.chroma == 0
    profile = still.icc_profile if grey else still.icc_profile or profile_of(still.nclx)
    levels = _turned(_levels(still.picture, still.nclx), still.turns)
    alpha = None
    if still.alpha is not None:
        alpha = np.ascontiguousarray(_turned(_levels(still.alpha, b""), still.turns)[..., 0])
    pixels = np.repeat(levels, 3, axis=2) if grey else np.ascontiguousarray(levels)
    told = Image.new("L", (1, 1))
    told.info |= {"exif": still.exif, "xmp": still.xmp}
    metadata = read_metadata(told)
    return Photo(
        pixels,
        alpha,
        grey,
        file_format="heic",
        exif=metadata.exif,
        icc_profile=profile,
        xmp=metadata.xmp,
    )


def _levels(coded: Coded, nclx: bytes) -> NDArray[Any]:
    """(H, W, 3), or (H, W, 1) of a grey picture: 8 bits, or 16 of the whole range."""
    from pi_heif import open_heif  # noqa: PLC0415  (an extra)

    opened = open_heif(BytesIO(minimal_file(coded, nclx)), convert_hdr_to_8bit=False)
    if opened.size != (coded.width, coded.height):
        raise BrokenPicture("The picture's sizes contradict each other.")
    read = np.array(opened)  # a copy: the memory is libheif's
    levels = read.reshape(*read.shape[:2], -1)
    if levels.shape != (coded.height, coded.width, 3 if coded.stream.chroma else 1):
        raise BrokenPicture("The picture's sizes contradict each other.")
    if coded.stream.bits > 8:
        _stretch(levels, coded.stream.bits)
    return levels


def _stretch(levels: NDArray[np.uint16], bits: int) -> None:
    """Levels in the upper bits, as libheif's binding has them, over the whole range, in place."""
    table = np.rint(np.arange(1 << bits) * (_DEEPEST / ((1 << bits) - 1))).astype(np.uint16)
    for at in range(0, len(levels), _ROWS):
        levels[at : at + _ROWS] = table[levels[at : at + _ROWS] >> (16 - bits)]


def _turned(levels: NDArray[Any], turns: tuple[Turn, ...]) -> NDArray[Any]:
    for kind, payload in turns:
        if kind == b"irot":
            levels = np.rot90(levels, payload[0] & 3)  # anticlockwise, both
        elif kind == b"imir":
            levels = levels[:, ::-1] if payload[0] & 1 else levels[::-1]
        else:
            height, width = levels.shape[:2]
            left, top, across, down = clean_aperture(payload, width, height)
            levels = levels[top : top + down, left : left + across]
    return levels
