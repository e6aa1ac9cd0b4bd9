"""Every kind of picture, and every kind of thing that is none."""

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image

from app.errors import BrokenPicture, TooLarge, UnsupportedPicture
from app.imaging.decode import decode
from app.imaging.formats import FORMATS
from app.imaging.photo import Photo, eight_bits
from app.imaging.xmp import MARK, cleaned
from tests.hostile.made import picture, srgb
from tests.pictures import png_of

LIMIT = 40_000_000


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def gradient(width: int = 24, height: int = 16) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_very_pixels(file_format: str) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    photo = decode(encoded(gradient(), file_format, **options), LIMIT)
    assert photo.file_format == file_format.lower()
    np.testing.assert_array_equal(photo.pixels, np.asarray(gradient()))
    assert photo.alpha is None
    assert not photo.grey


def test_jpeg() -> None:
    photo = decode(encoded(gradient(), "JPEG", quality=95), LIMIT)
    assert photo.file_format == "jpeg"
    assert np.abs(photo.pixels.astype(int) - np.asarray(gradient())).mean() < 4


def test_of_an_mpo_the_first_picture_is_read_as_jpeg() -> None:
    second = Image.new("RGB", (24, 16))
    data = encoded(gradient(), "MPO", save_all=True, append_images=[second])
    photo = decode(data, LIMIT)
    assert photo.file_format == "jpeg"
    assert photo.pixels.mean() > 50


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_of_many_frames_the_first(file_format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode(data, LIMIT).pixels[0, 0], [255, 0, 0])


def test_grey_stays_grey() -> None:
    photo = decode(encoded(gradient().convert("L"), "PNG"), LIMIT)
    assert photo.grey
    assert photo.pixels.shape == (16, 24, 3)
    assert (photo.pixels[..., 0] == photo.pixels[..., 1]).all()


def test_bilevel() -> None:
    photo = decode(encoded(gradient().convert("1"), "PNG"), LIMIT)
    assert photo.grey
    assert set(np.unique(photo.pixels)) == {0, 255}


def test_sixteen_bits_are_kept() -> None:
    levels = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    photo = decode(encoded(Image.fromarray(levels), "PNG"), LIMIT)
    assert photo.grey
    np.testing.assert_array_equal(photo.pixels[..., 0], levels)
    np.testing.assert_array_equal(eight_bits(photo.pixels)[..., 0].ravel(), np.arange(256))


def test_palette() -> None:
    image = gradient().quantize(200)
    photo = decode(encoded(image, "PNG"), LIMIT)
    np.testing.assert_array_equal(photo.pixels, np.asarray(image.convert("RGB")))
    assert photo.alpha is None


def test_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    photo = decode(encoded(image, "PNG", transparency=1), LIMIT)
    assert photo.alpha is not None
    assert (photo.alpha == 0).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_kept_bit_for_bit(mode: str) -> None:
    image = gradient().convert(mode)
    alpha = np.arange(24 * 16).reshape(16, 24).astype(np.uint8)
    image.putalpha(Image.fromarray(alpha))
    photo = decode(encoded(image, "PNG"), LIMIT)
    np.testing.assert_array_equal(photo.alpha, alpha)
    assert photo.grey == (mode == "LA")


def test_cmyk() -> None:
    photo = decode(encoded(gradient().convert("CMYK"), "JPEG", quality=95), LIMIT)
    assert photo.pixels.shape == (16, 24, 3)
    assert photo.icc_profile is None
    assert np.abs(photo.pixels.astype(int) - np.asarray(gradient())).mean() < 6


def test_floating_point_is_refused() -> None:
    image = Image.fromarray(np.zeros((4, 4), np.float32))
    with pytest.raises(UnsupportedPicture):
        decode(encoded(image, "TIFF"), LIMIT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_the_tag_dropped(orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = gradient()
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "A camera"
    photo = decode(encoded(stored, "PNG", exif=exif), LIMIT)
    np.testing.assert_array_equal(photo.pixels, np.asarray(upright))
    kept = Image.Exif()
    kept.load(photo.exif)
    assert kept.get(0x010F) == "A camera"
    assert 0x0112 not in kept


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")  # Pillow's; a log line for a server
def test_broken_exif_does_not_cost_the_photo() -> None:
    data = encoded(gradient(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert decode(data, LIMIT).pixels.shape == (16, 24, 3)


def test_colour_profile_is_kept() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert decode(encoded(gradient(), "PNG", icc_profile=profile), LIMIT).icc_profile == profile


def test_one_pixel() -> None:
    assert decode(encoded(gradient(1, 1), "PNG"), LIMIT).pixels.shape == (1, 1, 3)


@pytest.mark.parametrize(
    "data",
    [b"hello, this is text", b"%PDF-1.7\n", b"\0" * 100, b"<svg></svg>"],
    ids=["text", "pdf", "zeros", "svg"],
)
def test_what_is_no_picture_is_unsupported_and_all_that_are_read_are_named(data: bytes) -> None:
    with pytest.raises(UnsupportedPicture) as refused:
        decode(data, LIMIT)
    for each in FORMATS:
        assert each.label in str(refused.value)


def test_colours_that_are_not_read_are_told_as_such() -> None:
    eight_bits_each = struct.pack("<3H", 8, 8, 8)
    lab = encoded(picture("LAB"), "TIFF").replace(eight_bits_each, struct.pack("<3H", 16, 16, 16))
    with pytest.raises(UnsupportedPicture, match="CIELAB"):
        decode(lab, LIMIT)


def test_of_a_gif_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    photo = decode(data, LIMIT)
    assert photo.file_format == "gif"
    assert photo.alpha is None
    np.testing.assert_array_equal(photo.pixels, np.asarray(frames[0]))


def test_a_transparent_gif() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    photo = decode(encoded(image, "GIF", transparency=1), LIMIT)
    assert photo.alpha is not None
    assert (photo.alpha == 0).all()


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_avif_is_read_with_all_that_it_has(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera", orientation
    image = gradient(48, 32).convert("RGBA")
    image.putalpha(100)
    options = {"quality": 100, "subsampling": "4:4:4", "exif": exif, "xmp": MARK}
    photo = decode(encoded(image, "AVIF", icc_profile=srgb(), **options), LIMIT)
    assert (photo.file_format, photo.icc_profile, photo.xmp) == (
        "avif",
        srgb(),
        cleaned(MARK, turned=False),
    )
    turned = np.asarray(gradient(48, 32)).astype(int)
    turned = {1: turned, 3: turned[::-1, ::-1], 6: np.rot90(turned, -1)}[orientation]
    assert np.abs(photo.pixels - turned).mean() < 3
    assert photo.alpha is not None
    assert abs(int(photo.alpha[0, 0]) - 100) <= 1
    kept = Image.Exif()
    kept.load(photo.exif)
    assert dict(kept) == {0x010F: "A camera"}


def test_an_empty_file_is_broken() -> None:
    with pytest.raises(BrokenPicture):
        decode(b"", LIMIT)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_truncated_pictures_are_broken(file_format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), file_format)
    with pytest.raises(BrokenPicture):
        decode(data[: max(8, int(len(data) * share))], LIMIT)


@pytest.mark.parametrize("size", [(30_000, 30_000), (7_000, 6_000), (12_000, 10_000)])
def test_bombs_are_refused_by_their_header(size: tuple[int, int]) -> None:
    data = png_of(*size)
    assert len(data) < 4_000
    with pytest.raises(TooLarge):
        decode(data, LIMIT)


@pytest.mark.parametrize("size", [(0, 0), (0, 10), (10, 0)])
def test_no_pixels(size: tuple[int, int]) -> None:
    with pytest.raises(BrokenPicture):
        decode(png_of(*size), LIMIT)


def test_a_picture_at_the_limit_is_read() -> None:
    photo: Photo = decode(encoded(gradient(20, 10), "PNG"), max_pixels=200)
    assert (photo.width, photo.height) == (20, 10)
    with pytest.raises(TooLarge, match="20x10"):
        decode(encoded(gradient(20, 10), "PNG"), max_pixels=199)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_is_kept_from_every_format(file_format: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "A camera"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:01:02 03:04:05"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] = 24
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    stored = Image.Exif()
    stored.load(exif.tobytes())  # only so does Pillow write sub-directories to TIFF
    photo = decode(encoded(gradient(), file_format, exif=stored), LIMIT)
    assert (photo.width, photo.height) == (16, 24)
    kept = Image.Exif()
    kept.load(photo.exif)
    details = kept.get_ifd(ExifTags.IFD.Exif)
    assert kept[ExifTags.Base.Make] == "A camera"
    assert details[ExifTags.Base.DateTimeOriginal] == "2020:01:02 03:04:05"
    assert ExifTags.Base.ExifImageWidth not in details
    assert kept.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert not {*kept} & {ExifTags.Base.Orientation, ExifTags.Base.ImageWidth, 273}


def test_a_tag_of_the_wrong_type_does_not_cost_the_orientation() -> None:
    """ImageWidth as text, which Pillow cannot write back."""
    entries = [(0x0100, 2, 4, b"abc\0"), (0x0112, 3, 1, struct.pack("<HH", 6, 0))]
    ifd = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        ifd += struct.pack("<HHI", tag, kind, count) + value
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + ifd + bytes(4)
    assert decode(encoded(gradient(), "JPEG", exif=exif), LIMIT).pixels.shape == (24, 16, 3)


def test_no_exif_stays_none() -> None:
    assert decode(encoded(gradient(), "TIFF"), LIMIT).exif == b""
