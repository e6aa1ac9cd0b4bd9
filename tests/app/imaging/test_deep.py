"""16 bits a channel: read whole, upright, and only where two libraries agree; written by hand."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from app.errors import BrokenPicture, UnsupportedPicture
from app.imaging.decode import decode
from app.imaging.deep_png import deep_png
from app.imaging.directories import is_unambiguous
from tests.hostile import png
from tests.hostile.made import directory

LIMIT = 10**6
LEVELS = np.random.default_rng(0).integers(0, 65_536, (20, 24, 3), dtype=np.uint16)


def tiff(levels: NDArray[np.uint16], **options: Any) -> bytes:
    buffer = BytesIO()
    tifffile.imwrite(buffer, levels, photometric="rgb", **options)
    return buffer.getvalue()


def upright(stored: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """By what EXIF says of each: which corner the first row and column are at."""
    turned = stored.swapaxes(0, 1) if orientation >= 5 else stored
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return turned[:, ::-1] if orientation in (2, 3, 6, 7) else turned


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(orientation: int) -> None:
    exif = png.chunk(b"eXIf", directory([(0x0112, 3, 1, bytes([orientation, 0, 0, 0]))]))
    of_png = deep_png(LEVELS)
    tag = [(274, 3, 1, orientation, True)]
    for data in (
        of_png[:33] + exif + of_png[33:],
        tiff(LEVELS, extratags=tag),
        tiff(LEVELS, extratags=tag, compression="zlib"),
    ):
        pixels = decode(data, LIMIT).pixels
        assert pixels.dtype == np.uint16
        np.testing.assert_array_equal(pixels, upright(LEVELS, orientation))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_channels_that_lie_apart_are_refused(compression: str | None) -> None:
    """Both libraries would take them for something else."""
    planes = np.ascontiguousarray(LEVELS.transpose(2, 0, 1))
    with pytest.raises(UnsupportedPicture, match="apart"):
        decode(tiff(planes, planarconfig="separate", compression=compression), LIMIT)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_what_is_cut_off_is_broken(share: float) -> None:
    for data in (deep_png(LEVELS), tiff(LEVELS), tiff(LEVELS, compression="zlib")):
        with pytest.raises(BrokenPicture):
            decode(data[: int(len(data) * share)], LIMIT)


@pytest.mark.parametrize(
    "read", [None, LEVELS[..., :2], LEVELS[:10], LEVELS, LEVELS.astype(np.uint8)]
)
def test_what_pillow_does_not_confirm_does_not_go_out(
    read: NDArray[Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is a fault of OpenCV's: nothing, or the channels in the wrong order."""
    data = deep_png(LEVELS)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: read)
    pixels = decode(data, LIMIT).pixels
    np.testing.assert_array_equal(pixels, (LEVELS >> 8).astype(np.uint8))


@pytest.mark.parametrize("colours", [0, 2])
def test_a_transparent_colour_is_compared_with_all_its_bits(colours: int) -> None:
    channels = 3 if colours == 2 else 1
    levels = np.full((4, 6, channels), 300, np.uint16)
    levels[0, 0] = 301  # the upper byte is the same
    plain = deep_png(levels)
    key = png.chunk(b"tRNS", (300).to_bytes(2, "big") * channels)
    photo = decode(plain[:33] + key + plain[33:], LIMIT)
    assert photo.alpha is not None
    assert photo.alpha[0, 0] == 65_535
    assert (photo.alpha.ravel()[1:] == 0).all()
    np.testing.assert_array_equal(photo.pixels[..., :1], levels[..., :1])


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (128, 5), (300, 7)])
def test_a_png_of_ours_is_read_by_others(channels: int, size: tuple[int, int]) -> None:
    x, y = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    noise = np.random.default_rng(1).integers(0, 65_536, (*size, channels))
    smooth = np.stack([x * 90, y * 70, x + y, x * y][:channels], axis=2)
    for levels in (noise, smooth % 65_536, noise * 0 + 65_535):
        data = deep_png(levels.astype(np.uint16))
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        assert read is not None
        order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
        np.testing.assert_array_equal(read.reshape(*size, channels)[..., order], levels)


def test_a_png_of_ours_is_smaller_than_its_levels() -> None:
    """Rows are filtered: without it, the lower byte of a ramp is noise to zlib."""
    ramp = np.repeat(np.arange(0, 60_000, 117, dtype=np.uint16)[None], 200, axis=0)[..., None]
    assert len(deep_png(ramp)) < ramp.nbytes / 50


def with_entries(tiff_file: bytes, *entries: bytes) -> bytes:
    """A classic TIFF, little endian, whose directory has these before its own."""
    (start,) = struct.unpack_from("<L", tiff_file, 4)
    (count,) = struct.unpack_from("<H", tiff_file, start)
    own = tiff_file[start + 2 : start + 2 + 12 * count]
    made = struct.pack("<H", count + len(entries)) + b"".join(entries) + own + bytes(4)
    return tiff_file[:4] + struct.pack("<L", len(tiff_file)) + tiff_file[8:] + made


@pytest.mark.parametrize(
    "entries",
    [
        [struct.pack("<HHLL", 256, 17, 1, 6000)],  # of a kind that Pillow does not know
        [struct.pack("<HHLL", 257, 4, 1, 20)],  # a second one, of the same value
        [struct.pack("<HHLL", 40_000, 18, 1, 0)],
    ],
    ids=["another width", "twice", "kind"],
)
def test_opencv_is_not_given_what_readers_may_differ_about(
    entries: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would decode what it takes for the size, whatever was checked."""
    plain = tiff(LEVELS)
    assert decode(with_entries(plain), LIMIT).pixels.dtype == np.uint16

    def unwanted(*_: object) -> None:
        raise AssertionError("OpenCV was asked")

    monkeypatch.setattr(cv2, "imdecode", unwanted)
    photo = decode(with_entries(plain, *entries), LIMIT)
    assert photo.pixels.dtype == np.uint8
    np.testing.assert_array_equal(photo.pixels, LEVELS >> 8)


@pytest.mark.parametrize("head", [b"MM\0+", b"II\0*", b"MM*\0", b"II+\0"])
def test_headers_that_are_half_something_else_are_ambiguous(head: bytes) -> None:
    plain = tiff(LEVELS)
    assert is_unambiguous(plain, (20, 24))
    assert not is_unambiguous(plain, (20, 25))
    assert not is_unambiguous(head + plain[4:], (20, 24))
