""":class:`Photo` with new pixels -> bytes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
from PIL import Image

from app.errors import TooLarge
from app.options import OutputFormat
from app.photo import FileFormat, Photo

log = logging.getLogger(__name__)

EncodedFormat = Literal["jpeg", "png", "webp"]
_KEPT: dict[FileFormat, EncodedFormat] = {"jpeg": "jpeg", "png": "png", "webp": "webp"}
_LONGEST_SIDE: dict[EncodedFormat, int] = {"jpeg": 65_500, "webp": 16_383}  # pixels
_JPEG_SEGMENT = 65_533  # bytes of EXIF at most
_WHITE = 255
_FAST_PNG = 3  # zlib level: a third of the time of the default 6 for some per cent more bytes


@dataclass(frozen=True)
class EncodedPicture:
    data: bytes
    media_type: str


def output_format(photo: Photo, wanted: OutputFormat) -> EncodedFormat:
    """``same`` keeps JPEG, PNG and WebP; BMP and TIFF become PNG."""
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
    photo: Photo, wanted: OutputFormat, quality: int, *, strip_metadata: bool
) -> EncodedPicture:
    """Encode a photo, with its colour profile, and its EXIF unless told otherwise.

    Alpha is kept where the format has it, and flattened on white for JPEG.
    """
    file_format = output_format(photo, wanted)
    image = _to_image(photo, flatten=file_format == "jpeg")
    options: dict[str, Any] = {"icc_profile": photo.icc_profile}
    if photo.exif and not strip_metadata:
        if file_format == "jpeg" and len(photo.exif) > _JPEG_SEGMENT:
            log.info("EXIF of %d bytes dropped: JPEG has no room for it", len(photo.exif))
        else:
            options["exif"] = photo.exif
    if file_format == "jpeg":
        options |= {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
    elif file_format == "webp":
        options |= {"quality": quality, "method": 2}
    else:
        options |= {"compress_level": _FAST_PNG}
    buffer = BytesIO()
    image.save(buffer, format=file_format.upper(), **options)
    return EncodedPicture(buffer.getvalue(), f"image/{file_format}")


def _to_image(photo: Photo, *, flatten: bool) -> Image.Image:
    pixels, alpha = photo.pixels, photo.alpha
    if alpha is not None and flatten:
        cover = alpha[..., None].astype(np.float32) / 255
        pixels = np.rint(_WHITE + cover * (pixels.astype(np.float32) - _WHITE)).astype(np.uint8)
        alpha = None
    image = Image.fromarray(pixels)
    if photo.grey:
        image = image.convert("L")
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    return image
