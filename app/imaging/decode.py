"""Bytes -> :class:`Photo`.  Limits are checked on the header, before any pixel is decoded."""

from __future__ import annotations

import codecs
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from io import BytesIO

import cv2
import numpy as np
from PIL import (  # noqa: F401  (each plug-in registers its format)
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from app.cores import core_count
from app.errors import BrokenPicture, ServiceError, TooLarge, UnsupportedPicture
from app.imaging.colour import colours_of, to_srgb
from app.imaging.deep import Deep, has_deep_colours, read_deep
from app.imaging.directories import is_cielab, is_tiff
from app.imaging.formats import LABELS, Format, format_of
from app.imaging.gain_map import read_gain_map
from app.imaging.heic import OpenHeic
from app.imaging.metadata import read_metadata, reduce_to_orientation
from app.imaging.photo import Levels, Map, Photo
from app.imaging.precautions import MOST_PROFILE, is_lossless_webp
from app.imaging.xmp import marked, with_directory

log = logging.getLogger(__name__)

_ENCODINGS = ("ascii", "latin-1", "utf-8", "utf-16", "utf-16-be", "utf-16-le")
_AVIF_THREADS = 4  # at most: each takes address space
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
    for encoding in _ENCODINGS:
        codecs.lookup(encoding)
    AvifImagePlugin.DEFAULT_MAX_THREADS = min(_AVIF_THREADS, core_count())
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
    if not data:
        raise BrokenPicture("The file is empty.")
    file_format = format_of(data)
    if file_format is None:
        raise UnsupportedPicture(f"The file is not a {LABELS} picture.")
    with _translated(max_pixels):
        if file_format.pillow is None:
            heic = OpenHeic(data)
            _check_size(heic.width, heic.height, max_pixels)
            yield OpenPicture(heic.width, heic.height, lambda: _completed(heic.read()))
            return
        slim = file_format.prepare(data)
        with _open(slim, file_format.pillow) as image:
            _check_size(image.width, image.height, max_pixels)
            read = partial(_read, image, slim, file_format, data)
            yield OpenPicture(image.width, image.height, lambda: _completed(read()))


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


def _open(data: bytes, plugin: str) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=[plugin])
    except UnidentifiedImageError as error:
        if is_tiff(data) and is_cielab(data):
            raise UnsupportedPicture("Pictures in these CIELAB colours are not read.") from error
        raise


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise BrokenPicture("The picture has no pixels.")
    if width * height > max_pixels:
        raise TooLarge(
            f"The picture has {width}x{height} pixels; the limit with these options is {max_pixels}"
        )


def _read(image: Image.Image, data: bytes, read_as: Format, original: bytes) -> Photo:
    """``data`` is what the picture was opened from, and ``original`` the file."""
    file_format = read_as.name
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
    gain_map = None
    if file_format == "jpeg" and image.mode not in _NOT_SCREENS:
        pixels_stored = image.width * image.height
        gain_map = read_gain_map(original, pixels_stored, _UPRIGHT.get(metadata.orientation))
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
        gain_map=gain_map,
    )


def _completed(photo: Photo) -> Photo:
    """With all that comes of parsing its parts, which is done here because it is safe here.

    Its profile is used once, and its XMP gets the mark.
    """
    marked_xmp, gain_map = marked(photo.xmp), photo.gain_map
    if gain_map is not None:
        gain_map = replace(gain_map, xmp=photo.xmp, marked_xmp=marked_xmp)
        if gain_map.in_xmp:
            length = len(gain_map.jpeg)
            gain_map = replace(
                gain_map,
                xmp=with_directory(photo.xmp, length),
                marked_xmp=with_directory(marked_xmp, length),
            )
    return replace(
        photo,
        shows_as_srgb=colours_of(photo).transforms is None,
        marked_xmp=marked_xmp,
        gain_map=gain_map,
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
