"""What goes out is what came in, in the format asked for."""

from dataclasses import replace
from io import BytesIO
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from app.errors import TooLarge
from app.imaging.encode import EncodedFormat, check_encodable, encode, output_format
from app.imaging.photo import Photo

EXIF = Image.Exif()
EXIF[0x010F] = "A camera"
RNG = np.random.default_rng(0)
PHOTO = Photo(
    pixels=RNG.integers(0, 256, (16, 24, 3), dtype=np.uint8),
    alpha=None,
    grey=False,
    file_format="png",
    exif=EXIF.tobytes(),
    icc_profile=b"a profile",
)


def decoded(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize(
    ("stored", "written"),
    [
        ("jpeg", "jpeg"),
        ("png", "png"),
        ("webp", "webp"),
        ("avif", "avif"),
        ("gif", "png"),
        ("bmp", "png"),
        ("tiff", "png"),
    ],
)
def test_same_keeps_the_formats_of_the_web(
    stored: Literal["jpeg", "png", "webp", "avif", "gif", "bmp", "tiff"], written: str
) -> None:
    photo = replace(PHOTO, file_format=stored)
    assert output_format(photo, "same") == written
    picture = encode(photo, "same", 90, strip_metadata=False)
    assert picture.media_type == f"image/{written}"
    assert decoded(picture.data).format == written.upper()


def test_png_is_lossless() -> None:
    image = decoded(encode(PHOTO, "png", 50, strip_metadata=False).data)
    np.testing.assert_array_equal(np.asarray(image), PHOTO.pixels)


@pytest.mark.parametrize("file_format", ["jpeg", "webp", "avif"])
def test_quality_decides_the_size(file_format: Literal["jpeg", "webp", "avif"]) -> None:
    sizes = [len(encode(PHOTO, file_format, q, strip_metadata=True).data) for q in (10, 60, 100)]
    assert sizes[0] < sizes[1] < sizes[2]


@pytest.mark.parametrize("file_format", ["jpeg", "png", "webp", "avif"])
def test_metadata(file_format: Literal["jpeg", "png", "webp", "avif"]) -> None:
    image = decoded(encode(PHOTO, file_format, 90, strip_metadata=False).data)
    assert image.getexif()[0x010F] == "A camera"
    assert image.info["icc_profile"] == b"a profile"
    stripped = decoded(encode(PHOTO, file_format, 90, strip_metadata=True).data)
    assert not stripped.getexif()
    assert stripped.info["icc_profile"] == b"a profile"


def test_alpha_is_kept_in_png_and_flattened_on_white_in_jpeg() -> None:
    alpha = np.zeros((16, 24), np.uint8)
    alpha[:, 12:] = 255
    photo = replace(PHOTO, alpha=alpha, pixels=np.zeros((16, 24, 3), np.uint8))
    png = decoded(encode(photo, "png", 95, strip_metadata=True).data)
    np.testing.assert_array_equal(np.asarray(png)[..., 3], alpha)
    jpeg = np.asarray(decoded(encode(photo, "jpeg", 95, strip_metadata=True).data))
    assert (jpeg[:, :8] > 250).all()
    assert (jpeg[:, 16:] < 5).all()


@pytest.mark.parametrize(("alpha", "mode"), [(None, "L"), (np.full((16, 24), 9, np.uint8), "LA")])
def test_grey_stays_grey(alpha: np.ndarray | None, mode: str) -> None:
    grey = np.repeat(PHOTO.pixels[..., :1], 3, axis=2)
    image = decoded(
        encode(
            replace(PHOTO, pixels=grey, grey=True, alpha=alpha), "png", 95, strip_metadata=True
        ).data
    )
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image.getchannel("L")), grey[..., 0])


@pytest.mark.parametrize(("file_format", "longest"), [("webp", 16_383), ("jpeg", 65_500)])
def test_formats_have_a_longest_side(file_format: EncodedFormat, longest: int) -> None:
    wide = replace(PHOTO, pixels=np.zeros((1, longest, 3), np.uint8))
    check_encodable(file_format, longest, 1)
    encode(wide, file_format, 90, strip_metadata=True)
    check_encodable("png", longest + 1, 1)
    with pytest.raises(TooLarge, match=str(longest)):
        check_encodable(file_format, 1, longest + 1)


def test_exif_that_jpeg_has_no_room_for_is_dropped() -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    photo = replace(PHOTO, exif=exif.tobytes())
    jpeg = decoded(encode(photo, "jpeg", 90, strip_metadata=False).data)
    assert not jpeg.getexif()
    png = decoded(encode(photo, "png", 90, strip_metadata=False).data)
    assert len(png.getexif()[0x010E]) == 70_000


def test_a_lossless_webp_stays_one_unless_webp_is_asked_for() -> None:
    alpha = RNG.integers(0, 2, (16, 24), dtype=np.uint8) * 255  # colours below nothing count, too
    photo = replace(PHOTO, file_format="webp", lossless=True, alpha=alpha)
    kept = np.asarray(decoded(encode(photo, "same", 50, strip_metadata=True).data))
    np.testing.assert_array_equal(kept, np.dstack([PHOTO.pixels, alpha]))
    asked = np.asarray(decoded(encode(photo, "webp", 50, strip_metadata=True).data))
    assert (asked[..., :3] != PHOTO.pixels).any()


@pytest.mark.parametrize("file_format", ["jpeg", "png"])
def test_dots_an_inch_are_no_private_matter(file_format: Literal["jpeg", "png"]) -> None:
    photo = replace(PHOTO, dpi=(300.0, 150.0))
    image = decoded(encode(photo, file_format, 90, strip_metadata=True).data)
    assert [round(value) for value in image.info["dpi"]] == [300, 150]


def test_xmp_that_jpeg_has_no_room_for_is_dropped() -> None:
    photo = replace(PHOTO, xmp=b"x" * 65_505)
    assert "xmp" not in decoded(encode(photo, "jpeg", 90, strip_metadata=False).data).info
    fits = replace(PHOTO, xmp=b"x" * 65_504)
    assert decoded(encode(fits, "jpeg", 90, strip_metadata=False).data).info["xmp"] == fits.xmp
