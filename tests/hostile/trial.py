"""What decoding and encoding promise for any bytes at all."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image

from app.errors import ServiceError, TooLarge
from app.imaging.decode import decode
from app.imaging.encode import check_encodable, encode, output_format
from app.imaging.photo import Photo
from app.options import OutputFormat
from tests.decoders import decoders

LIMIT = 40_000_000
FORMATS: tuple[OutputFormat, ...] = ("same", "png", "jpeg", "webp", "avif")
STATUSES = {413, 415, 422}


def status_of(data: bytes) -> tuple[int, Photo | None]:
    """Of an answer to this file: 200 and the photo, or the error's."""
    promised, pixels = _tried(decoders.measure, data)
    status, photo = _tried(decoders.decode, data)
    # the header alone may promise what the rest does not keep
    assert promised in (200, status), f"measured {promised}, decoded {status}"
    if photo is not None:
        assert photo.width * photo.height == pixels
    return status, photo


_Result = TypeVar("_Result")


def _tried(step: Callable[[bytes, int], _Result], data: bytes) -> tuple[int, _Result | None]:
    try:
        return 200, step(data, LIMIT)
    except ServiceError as error:
        return error.status, None


def assert_encodes(photo: Photo, wanted: OutputFormat, *, strip_metadata: bool) -> None:
    """The photo goes out as a picture that opens, of the same size and with its metadata.

    Unless the format has no room for it, which the pipeline asks before.
    """
    try:
        check_encodable(output_format(photo, wanted), photo.width, photo.height)
    except TooLarge:
        return
    picture = encode(photo, wanted, 90, strip_metadata=strip_metadata)
    with Image.open(BytesIO(picture.data)) as image:
        image.load()
        assert image.size == (photo.width, photo.height)
        assert Image.MIME[image.format or ""] == picture.media_type
        assert image.info.get("icc_profile") == photo.icc_profile
        told = {**image.getexif()}
        assert told.pop(ExifTags.Base.Orientation, 1) == 1  # which may be XMP's
        room = wanted != "jpeg" and not (wanted == "same" and photo.file_format == "jpeg")
        if strip_metadata or not photo.exif:
            assert not told
        elif room or len(photo.exif) < 65_000:
            kept = Image.Exif()
            kept.load(photo.exif)
            assert set(told) == set(kept)
    again = decode(picture.data, LIMIT)
    assert again.pixels.shape == photo.pixels.shape
    if picture.media_type == "image/png":  # to the bit
        assert np.array_equal(again.pixels, photo.pixels)
        assert (again.pixels.dtype, again.grey) == (photo.pixels.dtype, photo.grey)
