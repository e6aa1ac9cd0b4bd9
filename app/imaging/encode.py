""":class:`Photo` with new pixels -> bytes."""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import TooLarge
from app.imaging import iptc
from app.imaging.deep_png import chunk, deep_png, with_chunks
from app.imaging.gain_map import with_gain_map
from app.imaging.photo import FileFormat, Levels, Photo, eight_bits, is_deep
from app.imaging.xmp import MARK, with_directory
from app.options import OutputFormat

log = logging.getLogger(__name__)

EncodedFormat = Literal["jpeg", "png", "webp", "avif"]
_KEPT: dict[FileFormat, EncodedFormat] = {
    "jpeg": "jpeg",
    "png": "png",
    "webp": "webp",
    "avif": "avif",
}
_LONGEST_SIDE: dict[EncodedFormat, int] = {"jpeg": 65_500, "webp": 16_383, "avif": 65_535}  # pixels
_JPEG_SEGMENT = 65_533  # bytes of EXIF at most
_JPEG_XMP = 65_504  # and of XMP
_WHITE = 255
_FAST_PNG = 3  # zlib level: a third of the time of the default 6 for some per cent more bytes
_AVIF_SPEED = 8  # of 10; a third of the time of the default 6 for some per cent more bytes
_INCH = 0.0254  # metres


@dataclass(frozen=True)
class EncodedPicture:
    data: bytes
    media_type: str


def output_format(photo: Photo, wanted: OutputFormat) -> EncodedFormat:
    """``same`` keeps JPEG, PNG, WebP and AVIF; others become PNG."""
    if wanted != "same":
        return wanted
    return _KEPT.get(photo.file_format, "png")


def check_encodable(file_format: EncodedFormat, width: int, height: int) -> None:
    """Raises TooLarge when the format has no room for a picture of this size."""
    longest = _LONGEST_SIDE.get(file_format)
    if longest is not None and max(width, height) > longest:
        raise TooLarge(
            f"The result would have {width}x{height} pixels; {file_format} holds {longest} a side."
        )


def encode(
    photo: Photo,
    wanted: OutputFormat,
    quality: int,
    *,
    strip_metadata: bool,
    mark: bool = False,
) -> EncodedPicture:
    """Encode a photo, with its colour profile, and its metadata unless told otherwise.

    PNG keeps 16 bits a channel, and JPEG a gain map; alpha is kept where the format has it, and
    flattened on white for JPEG; WebP is lossless where it was.  With ``mark``, its XMP says that a
    face was restored, also where metadata is stripped.
    """
    file_format = output_format(photo, wanted)
    if strip_metadata:
        photo = replace(photo, exif=b"", xmp=b"", marked_xmp=MARK, iptc=b"")
    if mark:
        photo = replace(photo, xmp=photo.marked_xmp)
    if file_format == "png":
        data = _png(photo)
    elif file_format == "jpeg":
        data = _jpeg_with_gain_map(photo, quality, strip_metadata=strip_metadata, mark=mark)
    elif file_format == "avif":
        data = _avif(photo, quality)
    else:
        data = _webp(photo, wanted, quality)
    return EncodedPicture(data, f"image/{file_format}")


def _jpeg_with_gain_map(photo: Photo, quality: int, *, strip_metadata: bool, mark: bool) -> bytes:
    """With the photo's gain map if it has one, and XMP that is short enough."""
    alone = MARK if mark else b""
    if (gain_map := photo.gain_map) is not None:
        if not strip_metadata:
            xmp = gain_map.marked_xmp if mark else gain_map.xmp
        else:
            xmp = with_directory(alone, len(gain_map.jpeg)) if gain_map.in_xmp else alone
        if len(xmp) <= _JPEG_XMP:
            return with_gain_map(_jpeg(replace(photo, xmp=xmp), quality), gain_map)
        log.info("gain map dropped: JPEG has no room for XMP of %d bytes", len(xmp))
    if len(photo.xmp) > _JPEG_XMP:
        log.info("XMP of %d bytes dropped: JPEG has no room for it", len(photo.xmp))
        photo = replace(photo, xmp=alone)
    return _jpeg(photo, quality)


def _png(photo: Photo) -> bytes:
    chunks = []
    if photo.icc_profile is not None:
        chunks.append(chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc_profile)))
    if photo.dpi is not None:
        across, down = (round(dpi / _INCH) for dpi in photo.dpi)
        chunks.append(chunk(b"pHYs", across.to_bytes(4, "big") + down.to_bytes(4, "big") + b"\1"))
    if photo.exif:
        chunks.append(chunk(b"eXIf", photo.exif.removeprefix(b"Exif\0\0")))
    if photo.xmp:
        chunks.append(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + photo.xmp))
    if photo.iptc:
        text = zlib.compress(iptc.to_text(photo.iptc).encode())
        chunks.append(chunk(b"zTXt", b"Raw profile type iptc\0\0" + text))
    levels = _channels(photo)
    if is_deep(levels):
        return with_chunks(deep_png(levels.astype(np.uint16, copy=False)), chunks)
    return with_chunks(_saved(eight_bits(levels), "PNG", {"compress_level": _FAST_PNG}), chunks)


def _jpeg(photo: Photo, quality: int) -> bytes:
    options: dict[str, Any] = {
        "icc_profile": photo.icc_profile,
        "quality": quality,
        "subsampling": 0 if quality >= 90 else 2,
    }
    if photo.dpi is not None:
        options["dpi"] = photo.dpi
    if len(photo.exif) > _JPEG_SEGMENT:
        log.info("EXIF of %d bytes dropped: JPEG has no room for it", len(photo.exif))
    elif photo.exif:
        options["exif"] = photo.exif
    if photo.xmp:
        options["xmp"] = photo.xmp
    if photo.iptc:
        options["extra"] = iptc.jpeg_segment(photo.iptc)
    return _saved(_flattened(photo), "JPEG", options)


def _webp(photo: Photo, wanted: OutputFormat, quality: int) -> bytes:
    options: dict[str, Any] = {
        "icc_profile": photo.icc_profile,
        "exif": photo.exif,
        "xmp": photo.xmp,
        "method": 2,
        "quality": quality,
    }
    if photo.lossless and wanted == "same":  # quality is then how hard it tries
        options |= {"lossless": True, "exact": True, "quality": 50}
    return _saved(eight_bits(_channels(photo)), "WEBP", options)


def _avif(photo: Photo, quality: int) -> bytes:
    options: dict[str, Any] = {
        "icc_profile": photo.icc_profile,
        "exif": photo.exif,
        "xmp": photo.xmp,
        "quality": quality,
        "speed": _AVIF_SPEED,
        "subsampling": "4:4:4" if quality >= 90 else "4:2:0",
    }
    return _saved(eight_bits(_channels(photo)), "AVIF", options)


def _channels(photo: Photo) -> Levels:
    """(H, W, C): grey or RGB, with alpha if there is some."""
    colours = photo.pixels[..., :1] if photo.grey else photo.pixels
    if photo.alpha is None:
        return colours
    channels: Levels = np.concatenate([colours, photo.alpha[..., None]], axis=2)
    return channels


def _flattened(photo: Photo) -> NDArray[np.uint8]:
    """(H, W, 3), or (H, W, 1) of a grey photo, on white."""
    pixels = eight_bits(photo.pixels[..., :1] if photo.grey else photo.pixels)
    if photo.alpha is None:
        return pixels
    cover = eight_bits(photo.alpha)[..., None].astype(np.float32) / 255
    return np.rint(_WHITE + cover * (pixels.astype(np.float32) - _WHITE)).astype(np.uint8)


def _saved(pixels: NDArray[np.uint8], file_format: str, options: dict[str, Any]) -> bytes:
    """By Pillow: (H, W, C), C being 1 to 4."""
    buffer = BytesIO()
    channels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(channels)).save(buffer, file_format, **options)
    return buffer.getvalue()
