"""What is left out of a file unread, and that what matters is not."""

from __future__ import annotations

import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image, TiffImagePlugin

from app.errors import BrokenPicture
from app.imaging import precautions
from app.imaging.decode import decode, quieten_readers
from app.imaging.formats import format_of
from tests.hostile import jpeg, png
from tests.hostile.jpeg import of_many_scans
from tests.hostile.made import directory, encoded, noise, picture

LIMIT = 40_000_000
SIX = directory([(0x0112, 3, 1, b"\6\0\0\0")])
XMP = b'<x tiff:Orientation="6"/>'
WIDE = png.png(width=24, height=20)


def prepared(data: bytes) -> bytes:
    found = format_of(data)
    assert found is not None
    return found.prepare(data)


def with_chunk(kind: bytes, data: bytes) -> bytes:
    return png.png(png.chunk(kind, data), width=24, height=20)


@pytest.mark.parametrize(
    "data",
    [
        with_chunk(b"eXIf", SIX),
        with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
        with_chunk(
            b"zTXt",
            b"Raw profile type exif\0\0"
            + zlib.compress(b"\nexif\n%d\n%s\n" % (len(SIX), SIX.hex().encode())),
        ),
        WIDE[:-12] + png.chunk(b"eXIf", SIX) + WIDE[-12:],
        jpeg.with_segments(encoded(picture(), "JPEG"), jpeg.segment(0xE1, b"Exif\0\0" + SIX)),
        jpeg.with_segments(
            encoded(picture(), "JPEG"),
            jpeg.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        ),
    ],
    ids=["png", "png xmp", "png packed xmp", "png text", "png late", "jpeg", "jpeg xmp"],
)
def test_an_orientation_is_found_wherever_it_is_told(data: bytes) -> None:
    photo = decode(data, LIMIT)
    assert (photo.width, photo.height) == (20, 24)


def test_texts_are_not_read_and_cost_nothing() -> None:
    chunk = png.chunk(b"zTXt", b"a\0\0" + zlib.compress(noise(3_000_000)))
    data = png.png(chunk)
    assert len(precautions.slim_png(data)) == len(png.png())
    assert decode(data, LIMIT).width == 24


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_colour_profile_is_kept_up_to_a_megabyte(file_format: str) -> None:
    for length, kept in ((precautions.MOST_PROFILE, True), (precautions.MOST_PROFILE + 1, False)):
        profile = noise(length)
        photo = decode(encoded(picture(), file_format, icc_profile=profile), LIMIT)
        assert photo.icc_profile == (profile if kept else None)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_exif_of_a_tiff_is_kept_in_either_order(order: str, big: bool) -> None:
    if big and order == ">":
        pytest.skip("Pillow reads no such files")
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II" if order == "<" else b"MM")
    tags[ExifTags.Base.Make] = "A camera"
    mode = "RGB" if order == "<" else "I;16B"
    image = picture() if order == "<" else Image.frombytes(mode, (24, 20), noise(960))
    data = encoded(image, "TIFF", tiffinfo=tags, big_tiff=big)
    assert data[:2] == (b"II" if order == "<" else b"MM")
    kept = Image.Exif()
    kept.load(decode(data, LIMIT).exif)
    assert kept[ExifTags.Base.Make] == "A camera"


def test_a_jpeg_may_have_as_many_scans_as_any_camera_writes() -> None:
    ten = encoded(picture(), "JPEG", progressive=True).count(b"\xff\xda")
    assert decode(of_many_scans(24, 20, precautions.MOST_SCANS - ten), LIMIT).width == 24
    with pytest.raises(BrokenPicture, match="scans"):
        decode(of_many_scans(24, 20, precautions.MOST_SCANS), LIMIT)


def test_what_looks_like_scans_behind_the_picture_is_none() -> None:
    """Phones append films, in which any bytes occur."""
    data = encoded(picture(), "JPEG") + b"\xff\xda" * 1_000
    assert decode(data, LIMIT).width == 24


def test_the_pixels_are_those_of_the_whole_file() -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    for data in (
        encoded(picture(), "JPEG", exif=exif, comment=b"hello", icc_profile=noise(200_000)),
        encoded(picture("CMYK"), "JPEG"),
        encoded(picture("P"), "PNG", transparency=3, exif=exif),
    ):
        with (
            Image.open(BytesIO(data)) as whole,
            Image.open(BytesIO(prepared(data))) as slim,
        ):
            np.testing.assert_array_equal(np.asarray(slim.convert("RGBA")), whole.convert("RGBA"))
            assert slim.info.get("icc_profile") == whole.info.get("icc_profile")
            assert slim.getexif() == whole.getexif()


def test_warnings_about_broken_files_are_not_kept_for_ever() -> None:
    quieten_readers()
    for number in range(5):
        name = b"%d\0\0\0" % number
        decode(encoded(picture(), "WEBP", exif=directory([(0x0112, 3, 90 + number, name)])), LIMIT)
    registry = getattr(TiffImagePlugin, "__warningregistry__", {})
    assert [key for key in registry if isinstance(key, tuple)] == []


@pytest.mark.parametrize("sound", [True, False])
def test_only_the_first_text_of_a_name_is_looked_at(
    sound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking may mean to inflate a megabyte, and a chunk of it takes a thousand bytes."""
    looked: list[bytes] = []

    def inflates_to(packed: bytes, _: int) -> bool:
        looked.append(packed)
        return sound

    monkeypatch.setattr(precautions, "_inflates_to", inflates_to)
    packed = zlib.compress(b"<x/>")
    texts = [b"XML:com.adobe.xmp\0\1\0" + bytes([i]) + b"\0\0" + packed for i in range(1, 200)]
    chunks = b"".join(
        [
            *(png.chunk(b"iTXt", text) for text in texts),
            *[png.chunk(b"iCCP", b"x\0\0" + packed)] * 9,
        ]
    )
    data = png.png()
    prepared = precautions.slim_png(data[:33] + chunks + data[33:])
    assert len(looked) == 2
    assert prepared.count(b"iTXt") == prepared.count(b"iCCP") == sound
