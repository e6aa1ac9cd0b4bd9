"""Bytes -> :class:`Photo`.  Limits are checked on the header, before any pixel is decoded."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL import (  # noqa: F401  (each plug-in registers its format)
    BmpImagePlugin,
    ExifTags,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from app.errors import BrokenPicture, ServiceError, TooLarge, UnsupportedPicture
from app.photo import FileFormat, Photo, Pixels

log = logging.getLogger(__name__)

_FORMATS: dict[str, FileFormat] = {
    "JPEG": "jpeg",
    "PNG": "png",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tiff",
}
_MPO = "MPO"  # what phones write, and Pillow makes of a JPEG: with further pictures behind it
_ORIENTATION = ExifTags.Base.Orientation
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_OF_THE_PHOTO = {  # of a TIFF's tags, most of which say how its pixels are stored
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
}
_OF_THE_FILE = {  # sizes go stale, and sub-directories are copied by themselves
    _ORIENTATION,
    ExifTags.Base.ImageWidth,
    ExifTags.Base.ImageLength,
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
    ExifTags.Base.ExifInteroperabilityOffset,
    *(int(ifd) for ifd in _IFDS),
}
_DEEP_GREY = {"I;16", "I;16L", "I;16B", "I;16N", "I"}


def decode(data: bytes, max_pixels: int) -> Photo:
    """Decode the first frame of a picture.

    Raises UnsupportedPicture, BrokenPicture, or TooLarge (over ``max_pixels``).
    """
    with _translated(max_pixels), _open(data) as image:
        _check_size(image.width, image.height, max_pixels)
        return _read(image)


def measure(data: bytes, max_pixels: int) -> int:
    """Number of pixels, by the header alone.  Raises as :func:`decode` does."""
    with _translated(max_pixels), _open(data) as image:
        _check_size(image.width, image.height, max_pixels)
        return image.width * image.height


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


def _open(data: bytes) -> Image.Image:
    if not data:
        raise BrokenPicture("The file is empty.")
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


def _read(image: Image.Image) -> Photo:
    file_format = "jpeg" if image.format == _MPO else _FORMATS[image.format or ""]
    icc_profile = image.info.get("icc_profile")
    if image.mode == "F":
        raise UnsupportedPicture("Pictures of floating-point numbers are not read.")
    if image.mode == "CMYK":
        icc_profile = None  # it describes inks, and the output has none
    # a TIFF's directories are gone once it is loaded; a PNG's EXIF may come after its pixels
    exif = _kept_exif(image) if file_format == "tiff" else None
    image.load()
    return Photo(
        *_split(_upright(image)),
        file_format=file_format,
        exif=_kept_exif(image) if exif is None else exif,
        icc_profile=icc_profile or None,
    )


def _upright(image: Image.Image) -> Image.Image:
    """The picture as it is meant to be seen."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception as error:  # noqa: BLE001  (the same: a broken tag must not cost the photo)
        log.info("unreadable EXIF: %s: %s", type(error).__name__, error)
        return image
    if orientation not in _UPRIGHT:
        return image
    return image.transpose(_UPRIGHT[orientation])


def _kept_exif(image: Image.Image) -> bytes:
    """EXIF without the orientation, and without what describes the file instead of the photo."""
    try:
        read, kept = image.getexif(), Image.Exif()
        for tag, value in read.items():
            if tag in _OF_THE_PHOTO or (image.format != "TIFF" and tag not in _OF_THE_FILE):
                kept[tag] = value
        for ifd in _IFDS:
            values = {tag: v for tag, v in read.get_ifd(ifd).items() if tag not in _OF_THE_FILE}
            if values:
                kept.get_ifd(ifd).update(values)
        return kept.tobytes() if len(kept.tobytes()) > len(Image.Exif().tobytes()) else b""
    except Exception as error:  # noqa: BLE001  (likewise)
        log.info("unreadable EXIF dropped: %s: %s", type(error).__name__, error)
        return b""


def _split(image: Image.Image) -> tuple[Pixels, Pixels | None, bool]:
    """RGB (H, W, 3), alpha (H, W) or None, and whether the picture is grey."""
    if image.mode in _DEEP_GREY:
        return _deep_grey(image)
    grey = image.mode in {"1", "L", "LA", "La"}
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3]), grey
    return np.array(image.convert("RGB")), None, grey


def _deep_grey(image: Image.Image) -> tuple[Pixels, None, bool]:
    levels = np.asarray(image, dtype=np.float32) / 257  # 65535 -> 255
    grey = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), None, True
