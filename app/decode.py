"""Bytes -> :class:`Photo`.  Limits are checked on the header, before any pixel is decoded."""

from __future__ import annotations

import logging
import warnings
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

from app.directories import is_modest
from app.errors import BrokenPicture, ServiceError, TooLarge, UnsupportedPicture
from app.photo import FileFormat, Photo, Pixels
from app.precautions import MOST_PROFILE, prepared

log = logging.getLogger(__name__)

_FORMATS: dict[str, FileFormat] = {
    "JPEG": "jpeg",
    "PNG": "png",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tiff",
}
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
    ExifTags.Base.StripOffsets,
    ExifTags.Base.StripByteCounts,
    ExifTags.Base.TileOffsets,
    ExifTags.Base.TileByteCounts,
    *(int(ifd) for ifd in _IFDS),
}
_DEEP_GREY = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_NOT_SCREENS = {"CMYK", "LAB"}  # whose profiles describe nothing that the output has


def ignore_pillows_warnings() -> None:
    """Pillow tells of broken tags by warnings, and their texts hold numbers of the file.

    Python keeps every text that it has shown: a server's memory would grow by each.
    """
    for kind in (UserWarning, RuntimeWarning):
        warnings.filterwarnings("ignore", category=kind, module=r"PIL\.")


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
        return Image.open(BytesIO(prepared(data)), formats=tuple(_FORMATS))
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
    file_format = _FORMATS[image.format or ""]
    if image.mode == "F":
        raise UnsupportedPicture("Pictures of floating-point numbers are not read.")
    icc_profile = None if image.mode in _NOT_SCREENS else _profile(image)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        exif = _tiff_exif(image)
        _reduce_exif_to_orientation(image)
        image.load()  # this turns it upright, too
    else:
        image.load()  # a PNG's EXIF may come after its pixels
        exif = _exif(image)
        image = _upright(image, exif)
    return Photo(
        *_split(image),
        file_format=file_format,
        exif=_kept(exif, of_a_tiff=file_format == "tiff"),
        icc_profile=icc_profile,
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


def _exif(image: Image.Image) -> Image.Exif:
    """EXIF, and an orientation that only XMP tells."""
    try:
        if not is_modest(image.info.get("exif", b"")):
            log.info("EXIF out of all proportion dropped")
            return Image.Exif()
        return image.getexif()
    except Exception as error:  # noqa: BLE001  (the same: a broken tag must not cost the photo)
        log.info("unreadable EXIF: %s: %s", type(error).__name__, error)
        return Image.Exif()


def _tiff_exif(image: TiffImagePlugin.TiffImageFile) -> Image.Exif:
    """From the file, for the picture would forget its directories when it is loaded."""
    exif = Image.Exif()
    try:
        data = image.fp.getvalue() if isinstance(image.fp, BytesIO) else b""
        if is_modest(data):
            exif.bigtiff = data[2] == 43
            exif.endian = "<" if image.tag_v2.prefix == b"II" else ">"
            exif.load_from_fp(BytesIO(data), image.tag_v2.offset)
        return exif
    except Exception as error:  # noqa: BLE001  (likewise)
        log.info("unreadable EXIF: %s: %s", type(error).__name__, error)
        return Image.Exif()


def _reduce_exif_to_orientation(image: TiffImagePlugin.TiffImageFile) -> None:
    """Loading a TIFF, Pillow reads all its EXIF and XMP, and any fault there costs the photo."""
    exif = Image.Exif()
    orientation = image.tag_v2.get(_ORIENTATION)
    if orientation in _UPRIGHT:
        exif[_ORIENTATION] = int(orientation)
    image.info["exif"] = exif.tobytes()
    image.info.pop("xmp", None)


def _upright(image: Image.Image, exif: Image.Exif) -> Image.Image:
    """The picture as it is meant to be seen."""
    try:
        orientation = exif.get(_ORIENTATION)
        return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
    except Exception as error:  # noqa: BLE001  (likewise)
        log.info("unreadable orientation: %s: %s", type(error).__name__, error)
        return image


def _kept(read: Image.Exif, *, of_a_tiff: bool) -> bytes:
    """EXIF without the orientation, and without what describes the file instead of the photo."""
    try:
        kept = Image.Exif()
        for tag in read:  # a tag that is not kept is not read, either: it may be long
            if tag in _OF_THE_PHOTO or (not of_a_tiff and tag not in _OF_THE_FILE):
                kept[tag] = read[tag]
        for ifd in _IFDS:
            values = {tag: v for tag, v in read.get_ifd(ifd).items() if tag not in _OF_THE_FILE}
            if values:
                kept.get_ifd(ifd).update(values)
        written = kept.tobytes()
        return written if len(written) > len(Image.Exif().tobytes()) else b""
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
