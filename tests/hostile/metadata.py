"""EXIF and colour profiles that no camera wrote, in each format that carries them."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import Image

from tests.hostile import jpeg, png
from tests.hostile.made import (
    READ,
    Entry,
    behind_directory,
    directory,
    encoded,
    noise,
    picture,
    srgb,
    u16,
    u32,
)
from tests.hostile.made import HostileFile as File

_SHORT, _LONG, _RATIO = 3, 4, 5
_ORIENTATION, _EXIF, _GPS, _MAKE = 274, 34_665, 34_853, 271


def files() -> Iterator[File]:
    for name, block in _blocks():
        yield File(f"exif: {name}, jpeg", _in_jpeg(block), READ)
        yield File(f"exif: {name}, png", png.png(png.chunk(b"eXIf", block)), READ)
        yield File(f"exif: {name}, webp", encoded(picture(), "WEBP", exif=block), READ)
    yield from _odd_places()
    yield from _profiles()


def _in_jpeg(block: bytes) -> bytes:
    pieces = [block[i : i + 65_000] for i in range(0, len(block), 65_000)] or [b""]
    return jpeg.with_segments(
        encoded(picture(), "JPEG"),
        *(jpeg.segment(0xE1, b"Exif\0\0" + piece) for piece in pieces),
    )


def _blocks() -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    yield "garbage", noise(300)
    yield "only its byte order", b"II"
    yield "its name again and again", b"Exif\0\0" * 200_000
    yield "a bad offset", b"II*\0" + u32(2**31 + 5, "<") + bytes(20)
    yield "an offset into its header", b"II*\0" + u32(2, "<") + bytes(20)
    for orientation in (0, 9, 65_535):
        value = u16(orientation, "<") + bytes(2)
        yield f"orientation {orientation}", directory([(_ORIENTATION, _SHORT, 1, value)])
    yield "an orientation in words", directory([(_ORIENTATION, 2, 4, b"six\0")])
    yield (
        "eight orientations",
        directory([(_ORIENTATION, _SHORT, 8, behind_directory(1))], struct.pack("<8H", *range(8))),
    )
    yield (
        "a ratio by nothing",
        directory([(282, _RATIO, 1, behind_directory(1))], struct.pack("<II", 1, 0)),
    )
    yield "a text of another kind", directory([(_MAKE, _RATIO, 1, behind_directory(1))], bytes(8))
    yield "a signed orientation", directory([(_ORIENTATION, 9, 1, struct.pack("<i", -6))])
    yield "a circle", directory([(_EXIF, _LONG, 1, 8), (_GPS, _LONG, 1, 8)], further=8)
    yield "directories nowhere", directory([(_EXIF, _LONG, 1, 2**32 - 1), (_GPS, _LONG, 1, 2**31)])
    yield "a directory in words", directory([(_EXIF, 2, 4, b"abc\0"), (_GPS, 2, 4, b"abc\0")])
    yield "a huge count", directory([(_MAKE, 2, 2**32 - 1, 8), (282, _RATIO, 2**31, 8)])
    yield "unknown kinds", directory([(_MAKE, kind, 1, 8) for kind in (0, 14, 99, 65_535)])
    overlapping: list[Entry] = [(40_000 + i, 7, 50_000, 8) for i in range(4_000)]
    yield "tags that overlap", directory(overlapping, bytes(20_000))
    yield "65535 tags", directory([(i, _SHORT, 1, 8) for i in range(65_535)])
    yield "64 kB of a note", directory([(37_500, 7, 64_000, behind_directory(1))], noise(64_000))
    million = struct.pack("<II", 1, 3) * 1_000_000
    yield "a million ratios", directory([(_MAKE, _RATIO, 1_000_000, behind_directory(1))], million)
    inner = behind_directory(1)
    nested = u16(1, "<") + struct.pack("<HHII", 37_386, _RATIO, 1_000_000, inner + 18) + bytes(4)
    yield "a million ratios within", directory([(_EXIF, _LONG, 1, inner)], nested + million)


def _odd_places() -> Iterator[File]:
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    twice = [jpeg.segment(0xE1, exif.tobytes()) for _ in range(2)]
    yield File("exif twice", jpeg.with_segments(encoded(picture(), "JPEG"), *twice), READ)
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + b'<x tiff:Orientation="9"/>'
    nine = jpeg.with_segments(encoded(picture(), "JPEG"), jpeg.segment(0xE1, xmp))
    yield File("xmp of orientation 9", nine, READ)
    hexadecimal = png.chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 9\nnot hexadecimal\n")
    yield File("exif as a text that is none", png.png(hexadecimal), READ)
    crooked = png.chunk(b"eXIf", exif.tobytes()[6:])
    bad = crooked[:-4] + bytes(4)
    yield File("exif of a bad checksum", png.png(bad), READ)
    late = png.png()[:-12] + png.chunk(b"eXIf", noise(99)) + png.chunk(b"IEND", b"")
    yield File("exif garbage behind the pixels", late, READ)


def _profiles() -> Iterator[File]:
    sound = srgb()
    for name, profile in (
        ("garbage", noise(3_000)),
        ("one byte", b"x"),
        ("cut", sound[:100]),
        ("of a wrong length", u32(2**32 - 1) + sound[4:]),
        ("of 3 MB", sound + noise(3_000_000)),
        ("with tags out of it", sound[:132] + noise(200) + sound[332:]),
    ):
        for file_format in ("JPEG", "PNG", "WEBP", "TIFF"):
            data = encoded(picture(), file_format, icc_profile=profile)
            yield File(f"profile: {name}, {file_format.lower()}", data, READ)
    data = encoded(picture(), "JPEG")
    piece = b"ICC_PROFILE\0" + b"\1\xff" + sound
    yield File(
        "profile of which 254 pieces miss",
        jpeg.with_segments(data, jpeg.segment(0xE2, piece)),
        READ,
    )
    numbered = [
        jpeg.segment(0xE2, b"ICC_PROFILE\0" + bytes([0, 0]) + noise(60_000, i)) for i in range(80)
    ]
    yield File("profile of 80 pieces of number 0", jpeg.with_segments(data, *numbered), READ)
    yield File(
        "profile without numbers",
        jpeg.with_segments(data, jpeg.segment(0xE2, b"ICC_PROFILE\0")),
        READ,
    )
    unknown = png.chunk(b"iCCP", b"a\0\x07" + noise(99))
    yield File("profile packed in an unknown way", png.png(unknown), READ)
    yield File("profile without a name's end", png.png(png.chunk(b"iCCP", b"a" * 99)), READ)
    yield File("profile of zlib garbage", png.png(png.chunk(b"iCCP", b"a\0\0" + noise(99))), READ)
    cmyk = encoded(picture("CMYK"), "JPEG", icc_profile=sound)
    yield File("profile of another colour space", cmyk, READ)
