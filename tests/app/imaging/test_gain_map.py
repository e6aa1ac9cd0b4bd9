"""Photos of phones: a JPEG's gain map stays with it, and nothing untrue is said of the file."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from app.imaging.decode import decode
from app.imaging.encode import EncodedFormat, encode
from app.imaging.photo import Photo
from tests import phones
from tests.decoders import decoders

Levels = NDArray[np.uint8]

FORMATS: tuple[EncodedFormat, ...] = ("jpeg", "png", "webp", "avif")
HDRGM = "{http://ns.adobe.com/hdr-gain-map/1.0/}"
ITEM = "{http://ns.google.com/photos/1.0/container/item/}"
MARK = b"DigitalSourceType"
UNTRUE = (
    *(b"Container", b"hdrgm", b"hdr-gain-map", b"GCamera:", b"MotionPhoto", b"MicroVideo"),
    *(b"GDepth", b"GImage", b"HasExtendedXMP", b"MPF\0", phones.ISO, b"ftypmp42"),
)
PIXELS = 100_000


def smooth(*shape: int) -> Levels:
    """Levels that tell every corner from the others."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    plane = 40 + 150 * x / shape[1] + 50 * (y / shape[0]) ** 2
    planes = plane[..., None] * np.linspace(1, 0.7, shape[2]) if shape[2:] else plane
    return np.asarray(planes.round(), np.uint8)


PHOTO = smooth(96, 160, 3)
GAINS = {"L": smooth(24, 40), "RGB": smooth(24, 40, 3)}


def written(
    photo: Photo, wanted: EncodedFormat, *, strip: bool = False, mark: bool = True
) -> bytes:
    return encode(photo, wanted, 90, strip_metadata=strip, mark=mark).data


def two_pictures(jpeg: bytes) -> tuple[bytes, bytes]:
    """The photo and its gain map, by the multi-picture index; nothing else is in the file."""
    base = jpeg.index(b"MPF\0") + 4
    order = {b"II": "<", b"MM": ">"}[jpeg[base : base + 2]]
    assert struct.unpack_from(f"{order}H", jpeg, base + 8) == (3,)
    (count,) = struct.unpack_from(f"{order}L", jpeg, base + 30)
    (at,) = struct.unpack_from(f"{order}L", jpeg, base + 42)
    entries = list(struct.iter_unpack(f"{order}LLLHH", jpeg[base + at : base + at + 16 * count]))
    (photo_kind, photo_size, zero, *_), (map_kind, map_size, offset, *_) = entries
    assert (photo_kind, map_kind, zero) == (0x030000, 0, 0)
    assert photo_size == base + offset
    assert photo_size + map_size == len(jpeg)
    pictures = jpeg[:photo_size], jpeg[photo_size:]
    for picture in pictures:
        assert picture.startswith(b"\xff\xd8\xff")
        assert picture.endswith(b"\xff\xd9")
    return pictures


def xmp_of(picture: bytes) -> bytes:
    with Image.open(BytesIO(picture), formats=["JPEG"]) as image:
        return bytes(image.info.get("xmp", b""))


def assert_gain_map(jpeg: bytes, gains: Levels, *, xmp: bool = True, iso: bool = False) -> bytes:
    """An answer has these gains, and says so; returns the photo alone."""
    photo, gain_map = two_pictures(jpeg)
    with Image.open(BytesIO(gain_map), formats=["JPEG"]) as image:
        levels = np.asarray(image)
        assert "exif" not in image.info
    assert levels.shape == gains.shape
    assert np.abs(levels.astype(int) - gains).max() <= 3
    assert (phones.ISO in photo, phones.ISO_OF_A_MAP in gain_map) == (iso, iso)
    assert (b"hdrgm" in photo, b"hdrgm" in gain_map) == (xmp, xmp)
    if xmp:
        assert b"GainMapMax" in xmp_of(gain_map)
        assert b"Rating" not in xmp_of(gain_map)
        items = ElementTree.fromstring(xmp_of(photo)).iter(ITEM.replace("item/", "") + "Item")
        listed = [(item.get(f"{ITEM}Semantic"), item.get(f"{ITEM}Length")) for item in items]
        assert listed == [("Primary", None), ("GainMap", str(len(gain_map)))]
    return photo


@pytest.mark.parametrize("kind", ["L", "RGB"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_gain_map_is_turned_as_its_photo_is(kind: str, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn

    def upright(levels: Levels) -> Levels:
        image = Image.fromarray(levels)
        image.getexif()[0x0112] = turn
        return np.asarray(ImageOps.exif_transpose(image))

    photo = decode(phones.ultra_hdr(PHOTO, GAINS[kind], turn=turn), PIXELS)
    assert np.abs(photo.pixels.astype(int) - upright(PHOTO)).max() <= 6
    assert_gain_map(written(photo, "jpeg"), upright(GAINS[kind]))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("xmp", "iso"), [(True, False), (True, True), (False, True)])
@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("mark", [False, True])
def test_either_standard_says_what_the_gains_mean(
    order: str, xmp: bool, iso: bool, strip: bool, mark: bool
) -> None:
    photo = decode(phones.ultra_hdr(PHOTO, GAINS["L"], order=order, xmp=xmp, iso=iso), PIXELS)
    jpeg = written(photo, "jpeg", strip=strip, mark=mark)
    alone = assert_gain_map(jpeg, GAINS["L"], xmp=xmp, iso=iso)
    assert (MARK in alone) == mark
    assert (b"A phone" in alone) == (xmp and not strip)


@pytest.mark.parametrize("wanted", FORMATS)
@pytest.mark.parametrize("turn", [1, 6])
def test_nothing_untrue_is_said_in_any_format(wanted: EncodedFormat, turn: int) -> None:
    files = {
        "ultra HDR": phones.ultra_hdr(PHOTO, GAINS["L"], turn=turn, iso=True),
        "with a video": phones.ultra_hdr(PHOTO, GAINS["L"], turn=turn, video=phones.VIDEO),
        "motion": phones.motion_photo(PHOTO),
        "depth": phones.depth_photo(PHOTO),
    }
    for name, file in files.items():
        answer = written(decode(file, PIXELS), wanted)
        if wanted == "jpeg" and name in ("ultra HDR", "with a video"):
            gains = np.rot90(GAINS["L"], -1) if turn == 6 else GAINS["L"]
            alone = assert_gain_map(answer, gains, iso=name == "ultra HDR")
            assert not any(word in answer for word in (b"GCamera:", b"MotionPhoto", b"ftypmp42"))
            assert MARK in alone
        else:
            assert [word for word in UNTRUE if word in answer] == [], name
            assert MARK in answer


def test_a_gain_map_comes_out_of_a_decoding_process() -> None:
    file = phones.ultra_hdr(PHOTO, GAINS["RGB"], turn=8, iso=True)
    decoders.start()
    photo = decoders.decode(file, PIXELS)
    assert written(photo, "jpeg") == written(decode(file, PIXELS), "jpeg")


def test_an_answer_can_be_restored_again() -> None:
    once = written(decode(phones.ultra_hdr(PHOTO, GAINS["L"], iso=True), PIXELS), "jpeg")
    assert_gain_map(written(decode(once, PIXELS), "jpeg"), GAINS["L"], iso=True)


def broken_files() -> dict[str, bytes]:
    good = phones.ultra_hdr(PHOTO, GAINS["L"])
    gain_map = good[good.rindex(b"\xff\xd8\xff") :]
    photo = phones.jpeg(PHOTO, phones.directory(("GainMap", "image/jpeg", 99)))
    index = good.index(b"MPF\0") + 4
    whole = phones.jpeg(smooth(100, 161), phones.hdrgm("L"))
    scans = gain_map[:-2] + b"\xff\xda\0\x02" * 200 + b"\xff\xd9"
    return {
        "cut off": good[: -len(gain_map) // 2],
        "gone": good[: -len(gain_map)],
        "no index": photo + gain_map,
        "an index of nothing": good[:index] + good[index:].replace(b"II*\0\x08", b"II*\0\xff", 1),
        "an index without end": good[: index + 50] + b"\xff" * 32 + good[index + 82 :],
        "no gain map": phones.with_index(photo, phones.jpeg(GAINS["L"])),
        "a map of more pixels than the photo": phones.with_index(photo, whole),
        "a map of too many scans": phones.with_index(photo, scans),
        "not XMP": phones.with_index(photo, phones.jpeg(GAINS["L"], b"<hdrgm:GainMapMax>")),
        "endless ISO": phones.with_index(
            photo, phones.jpeg(GAINS["L"], extra=phones.segment(phones.ISO + bytes(9000)))
        ),
        "four colours": phones.with_index(photo, cmyk(phones.hdrgm("L"))),
    }


def cmyk(xmp: bytes) -> bytes:
    buffer = BytesIO()
    Image.new("CMYK", (40, 24)).save(buffer, "JPEG", xmp=xmp)
    return buffer.getvalue()


@pytest.mark.parametrize("name", broken_files())
def test_a_broken_gain_map_costs_itself_alone(name: str) -> None:
    photo = decode(broken_files()[name], PIXELS)
    assert np.abs(photo.pixels.astype(int) - PHOTO).max() <= 6
    answer = written(photo, "jpeg")
    assert [word for word in UNTRUE if word in answer] == []


def test_a_gain_map_needs_room_for_what_xmp_says_of_it() -> None:
    file = phones.ultra_hdr(PHOTO, GAINS["L"])
    long = f' xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="{"b" * 64_500}"'
    xmp = phones.directory(("GainMap", "image/jpeg", 99), more=long)
    gain_map = file[file.rindex(b"\xff\xd8\xff") :]
    photo = decode(phones.with_index(phones.jpeg(PHOTO, xmp), gain_map), PIXELS)
    assert photo.gain_map is not None
    assert [word for word in UNTRUE if word in written(photo, "jpeg")] == []
    assert_gain_map(written(photo, "jpeg", strip=True), GAINS["L"])


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="without exiftool")
def test_exiftool_reads_both_pictures(tmp_path: Path) -> None:
    file = tmp_path / "answer.jpg"
    file.write_bytes(written(decode(phones.ultra_hdr(PHOTO, GAINS["L"]), PIXELS), "jpeg"))

    def printed(*options: str) -> bytes:
        command = ["exiftool", *options, str(file)]
        return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout

    (tags,) = json.loads(printed("-json", "-a", "-warning", "-MPF:all", "-XMP:all"))
    assert tags["NumberOfImages"] == 2
    assert tags["DirectoryItemLength"] == tags["MPImageLength"]
    assert "Warning" not in tags
    gain_map = printed("-b", "-MPImage2")
    assert gain_map == two_pictures(file.read_bytes())[1]
    assert tags["DirectoryItemLength"] == len(gain_map)
