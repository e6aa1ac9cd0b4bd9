"""Bytes -> :class:`Photo`.  Limits are checked on the header, before any pixel is decoded."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from io import BytesIO

import cv2
import numpy as np
from PIL import (  # noqa: F401  (each plug-in registers its format)
    BmpImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from app.errors import BrokenPicture, ServiceError, TooLarge, UnsupportedPicture
from app.imaging.colour import to_srgb
from app.imaging.deep import Deep, has_deep_colours, read_deep
from app.imaging.heic import Still, check_installed, find_still, is_heic, read_still
from app.imaging.metadata import read_metadata, reduce_to_orientation
from app.imaging.photo import FileFormat, Levels, Map, Photo
from app.imaging.precautions import MOST_PROFILE, is_lossless_webp, prepared

log = logging.getLogger(__name__)

_FORMATS: dict[str, FileFormat] = {
    "JPEG": "jpeg",
    "PNG": "png",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tiff",
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DEEP_GREY = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_DEEPEST = 65_535
_NOT_SCREENS = {"CMYK", "LAB"}  # whose profiles describe nothing that the output has
_PNG_COLOURS, _PNG_GREY_ALPHA = 25, 4  # where a PNG tells its kind of colours


def quieten_readers() -> None:
    """Keep the libraries from telling of every broken file by themselves.

    Pillow tells of broken tags by warnings, and their texts hold numbers of the file.  Python keeps
    every text that it has shown: a server's memory would grow by each.  OpenCV writes lines to the
    standard error.
    """
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    for kind in (UserWarning, RuntimeWarning):
        warnings.filterwarnings("ignore", category=kind, module=r"PIL\.")


def load_readers() -> None:
    """Load what is loaded at its first use: a process that may open no file could not do it."""
    Image.preinit()
    if find_spec("pi_heif") is not None:
        importlib.import_module("pi_heif")


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode the first frame of a picture.

    Raises UnsupportedPicture, BrokenPicture, or TooLarge (over ``max_pixels``).
    """
    with opened(data, max_pixels) as picture:
        return picture.read()


def measure(data: bytes, max_pixels: int) -> int:
    """Number of pixels, by the header alone.  Raises as :func:`decode` does."""
    with opened(data, max_pixels) as picture:
        return picture.width * picture.height


@dataclass(frozen=True)
class OpenPicture:
    """A picture of which the header is read."""

    width: int
    """In pixels, as stored: the photo may come out turned.  Likewise the height."""
    height: int
    read: Callable[[], Photo]
    """Decodes it.  Within :func:`opened`, which translates what it raises."""


@contextmanager
def opened(data: bytes, max_pixels: int) -> Iterator[OpenPicture]:
    """Read the header of a picture, which can be decoded within.  Raises as :func:`decode` does."""
    with _translated(max_pixels):
        if is_heic(data):
            still = _checked_still(data, max_pixels)
            yield OpenPicture(still.width, still.height, partial(read_still, still))
            return
        slim = _prepared(data)
        with _open(slim) as image:
            _check_size(image.width, image.height, max_pixels)
            yield OpenPicture(image.width, image.height, partial(_read, image, slim))


@contextmanager
def _translated(max_pixels: int) -> Iterator[None]:
    """Pillow's errors as ours."""
    try:
        yield
    except (ServiceError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(f"The picture has more than {max_pixels} pixels.") from error
    except Exception as error:  # Pillow's readers raise nearly anything on a broken file
        log.info("broken picture: %s: %s", type(error).__name__, error)
        raise BrokenPicture("The picture is broken or cut off.") from error


def _checked_still(data: bytes, max_pixels: int) -> Still:
    """Of a HEIC file, which Pillow never sees."""
    check_installed()
    still = find_still(data)
    _check_size(still.width, still.height, max_pixels)
    return still


def _prepared(data: bytes) -> bytes:
    if not data:
        raise BrokenPicture("The file is empty.")
    return prepared(data)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=tuple(_FORMATS))
    except UnidentifiedImageError as error:
        if _claims_a_format(data[:16]):
            raise BrokenPicture("The picture is broken or cut off.") from error
        raise UnsupportedPicture(
            "The file is not a JPEG, PNG, WebP, BMP or TIFF picture."
        ) from error


def _claims_a_format(prefix: bytes) -> bool:
    accepts = (Image.OPEN[name][1] for name in _FORMATS)
    return any(accept is not None and accept(prefix) is True for accept in accepts)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise BrokenPicture("The picture has no pixels.")
    if width * height > max_pixels:
        raise TooLarge(
            f"The picture has {width}x{height} pixels; the limit with these options is {max_pixels}"
        )


def _read(image: Image.Image, data: bytes) -> Photo:
    file_format = _FORMATS[image.format or ""]
    if image.mode == "F":
        raise UnsupportedPicture("Pictures of floating-point numbers are not read.")
    deep, profile = has_deep_colours(image), _profile(image)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        metadata = read_metadata(image)
        reduce_to_orientation(image)
        image.load()  # this turns it upright, too
    else:
        image.load()
        metadata = read_metadata(image)
        if metadata.orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[metadata.orientation])
    if image.mode in _NOT_SCREENS:
        image, profile = to_srgb(image, profile), None
    turn = 1 if file_format == "tiff" else metadata.orientation  # OpenCV turns TIFFs itself, too
    levels = read_deep(data, turn, np.asarray(image)) if deep else None
    if levels is not None and image.has_transparency_data and levels.shape[2] == 3:
        levels = None  # of two readings the one that shows through
    pixels, alpha, grey = _split(image) if levels is None else _split_deep(levels, image)
    # Pillow has grey with alpha as colours where it is deep
    grey = grey or (deep and file_format == "png" and data[_PNG_COLOURS] == _PNG_GREY_ALPHA)
    return Photo(
        pixels,
        alpha,
        grey,
        file_format=file_format,
        exif=metadata.exif,
        icc_profile=profile,
        xmp=metadata.xmp,
        iptc=metadata.iptc,
        dpi=metadata.dpi,
        lossless=file_format == "webp" and is_lossless_webp(data),
    )


def _profile(image: Image.Image) -> bytes | None:
    """The colour profile as it stands, unless it is none, or monstrous."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not profile:  # a TIFF's may be a number
        return None
    if len(profile) > MOST_PROFILE:
        log.info("colour profile of %d bytes dropped", len(profile))
        return None
    return profile


def _split(image: Image.Image) -> tuple[Levels, Map | None, bool]:
    """RGB (H, W, 3), alpha (H, W) or None, and whether the picture is grey."""
    if image.mode in _DEEP_GREY:
        return _deep_grey(image)
    grey = image.mode in {"1", "L", "LA", "La"}
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3]), grey
    return np.array(image.convert("RGB")), None, grey


def _deep_grey(image: Image.Image) -> tuple[Levels, Map | None, bool]:
    levels = np.clip(np.asarray(image), 0, _DEEPEST).astype(np.uint16)
    key = image.info.get("transparency")
    alpha = np.where(levels == key, 0, _DEEPEST).astype(np.uint16) if isinstance(key, int) else None
    return np.repeat(levels[..., None], 3, axis=2), alpha, True


def _split_deep(levels: Deep, image: Image.Image) -> tuple[Levels, Map | None, bool]:
    """Likewise of RGB or RGBA levels; the fourth channel may mean nothing, too."""
    transparent = image.has_transparency_data and levels.shape[2] == 4
    alpha = levels[..., 3].copy() if transparent else None
    return np.ascontiguousarray(levels[..., :3]), alpha, False
