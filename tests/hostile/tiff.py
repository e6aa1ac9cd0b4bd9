"""TIFF: offsets that lead nowhere or in circles, counts beyond all measure, every kind of pixel."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.hostile.made import (
    BROKEN,
    FOREIGN,
    READ,
    READ_OR_BROKEN,
    TOO_LARGE,
    Entry,
    behind_directory,
    directory,
    encoded,
    noise,
    picture,
    u16,
    u32,
)
from tests.hostile.made import HostileFile as File

UNREAD = frozenset({200, 415, 422})
_WIDTH, _HEIGHT, _BITS, _PACKING, _COLOURS, _OFFSETS, _CHANNELS, _ROWS, _COUNTS = (
    256,
    257,
    258,
    259,
    262,
    273,
    277,
    278,
    279,
)  # fmt: skip
_BYTE, _TEXT, _SHORT, _LONG, _RATIO = 1, 2, 3, 4, 5
_DEFLATE = 8


def grey(
    width: int = 24,
    height: int = 20,
    *more: Entry,
    pixels: bytes | None = None,
    packing: int = 1,
    order: str = "<",
    without: tuple[int, ...] = (),
) -> bytes:
    """A grey TIFF of one strip, by hand; ``more`` replaces its tags or adds to them."""
    body = noise(24 * 20) if pixels is None else pixels
    tags: dict[int, Entry] = {
        _WIDTH: (_WIDTH, _LONG, 1, width),
        _HEIGHT: (_HEIGHT, _LONG, 1, height),
        _BITS: (_BITS, _SHORT, 1, u16(8, order) + bytes(2)),
        _PACKING: (_PACKING, _SHORT, 1, u16(packing, order) + bytes(2)),
        _COLOURS: (_COLOURS, _SHORT, 1, u16(1, order) + bytes(2)),
        _OFFSETS: (_OFFSETS, _LONG, 1, 0),
        _COUNTS: (_COUNTS, _LONG, 1, len(body)),
    }
    tags |= {entry[0]: entry for entry in more}
    entries = [tags[tag] for tag in sorted(tags) if tag not in without]
    start = behind_directory(len(entries))
    entries = [(*e[:3], start) if e == (_OFFSETS, _LONG, 1, 0) else e for e in entries]
    return directory(entries, body, order=order)


def files() -> Iterator[File]:
    yield from _structure()
    yield from _counts()
    yield from _sizes()
    yield from _kinds()
    yield from _compressions()
    yield from _tags()


def _structure() -> Iterator[File]:
    data = grey()
    yield File("tiff by hand", data, READ)
    yield File("tiff of big-endian numbers", grey(order=">"), READ)
    yield File("tiff cut in its magic number", data[:3], FOREIGN)
    yield File("tiff cut after its magic number", data[:4], BROKEN)
    yield File("tiff cut in its directory", data[:60], BROKEN)
    yield File("tiff cut in its pixels", data[:-100], BROKEN)
    yield File("tiff of a directory out of the file", data[:4] + u32(2**31, "<") + data[8:], BROKEN)
    yield File("tiff of a directory in its header", data[:4] + u32(0, "<") + data[8:], BROKEN)
    yield File("tiff of random bytes", b"II*\0" + noise(2_000), BROKEN)
    yield File("tiff of zeros", b"II*\0" + bytes(2_000), BROKEN)
    end = behind_directory(7) - 4
    yield File("tiff of a circle of directories", data[:end] + u32(8, "<") + data[end + 4 :], READ)
    yield File(
        "tiff of a next directory nowhere", data[:end] + u32(2**32 - 1, "<") + data[end + 4 :], READ
    )
    pages = [picture(), picture("L"), picture("RGB", 99, 3)]
    several = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    yield File("tiff of several pages", several, READ)
    yield File("tiff of several pages, cut", several[: len(several) - 200], READ_OR_BROKEN)
    yield File("tiff of BigTIFF", encoded(picture(), "TIFF", big_tiff=True), READ)
    big = b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + struct.pack("<Q", 2**60) + bytes(200)
    yield File("tiff of BigTIFF and 2^60 tags", big, BROKEN)
    far = b"II+\0" + struct.pack("<HHQ", 8, 0, 2**63) + bytes(200)
    yield File("tiff of BigTIFF and a directory nowhere", far, BROKEN)
    turned = b"MM\0+" + struct.pack(">HHQ", 8, 0, 16) + bytes(200)
    yield File("tiff of BigTIFF, big-endian", turned, BROKEN)


def _counts() -> Iterator[File]:
    nowhere: Entry = (_OFFSETS, _LONG, 1, 2**31 - 1)
    yield File("tiff of a strip out of the file", grey(24, 20, nowhere), BROKEN)
    claimed: Entry = (_OFFSETS, _LONG, 2**32 - 1, 8)
    yield File("tiff of 4294967295 strips", grey(24, 20, claimed), BROKEN)
    rows: Entry = (_ROWS, _LONG, 1, 1)
    many: Entry = (_OFFSETS, _BYTE, 8_000_000, 100)
    eight = grey(24, 20, many, rows, pixels=bytes(8_000_200))
    yield File("tiff of eight million strips", eight, BROKEN)
    longs: Entry = (_OFFSETS, _LONG, 2_000_000, 100)
    yield File(
        "tiff of two million strips", grey(24, 20, longs, rows, pixels=bytes(8_000_200)), BROKEN
    )
    ratios: Entry = (282, _RATIO, 1_000_000, 100)
    resolution = grey(24, 20, ratios, pixels=bytes(8_000_200))
    yield File("tiff of a million resolutions", resolution, BROKEN)
    make: Entry = (271, _RATIO, 1_000_000, 100)
    yield File(
        "tiff of a maker of a million ratios", grey(24, 20, make, pixels=bytes(8_000_200)), BROKEN
    )
    bits: Entry = (_BITS, _SHORT, 4_000_000, 100)
    yield File("tiff of four million depths", grey(24, 20, bits, pixels=bytes(8_000_200)), BROKEN)
    channels: Entry = (_CHANNELS, _LONG, 1, 2**31)
    yield File("tiff of 2^31 channels", grey(24, 20, channels), BROKEN)
    tags = directory([(60_000 + i % 5_000, _LONG, 1, i) for i in range(65_535)], bytes(100))
    yield File("tiff of 65535 tags", tags, BROKEN)
    same = [(40_000 + i, _BYTE, 60_000, 8) for i in range(4_000)]
    overlapping = directory([*same], bytes(100_000))
    yield File("tiff of tags that overlap", overlapping, BROKEN)


def _sizes() -> Iterator[File]:
    yield File("tiff of 2^31 squared", grey(2**31, 2**31), TOO_LARGE)
    yield File("tiff of 100000x100000", grey(100_000, 100_000), TOO_LARGE)
    yield File("tiff of no pixels", grey(0, 0), BROKEN)
    yield File("tiff of no width", grey(0, 20), BROKEN)
    yield File("tiff without a width", grey(without=(_WIDTH,)), BROKEN)
    text: Entry = (_WIDTH, _TEXT, 4, b"24\0\0")
    yield File("tiff of a width in words", grey(24, 20, text), BROKEN)
    negative: Entry = (_WIDTH, 9, 1, struct.pack("<i", -24))
    yield File("tiff of a negative width", grey(24, 20, negative), BROKEN)
    yield File("tiff 1x480", grey(1, 480), READ)
    yield File("tiff 480x1", grey(480, 1), READ)
    tile: tuple[Entry, ...] = (
        (322, _LONG, 1, 30_000),
        (323, _LONG, 1, 30_000),
        (324, _LONG, 1, behind_directory(9)),
        (325, _LONG, 1, 400),
    )
    packed = zlib.compress(bytes(400_000))
    huge = grey(24, 20, *tile, pixels=packed, packing=_DEFLATE, without=(_OFFSETS, _COUNTS))
    yield File("tiff of a tile of 30000x30000", huge, TOO_LARGE)
    bomb = grey(24, 20, pixels=zlib.compress(bytes(50_000_000), 9), packing=_DEFLATE)
    yield File("tiff whose strip inflates to 50 MB", bomb, READ_OR_BROKEN)


def _kinds() -> Iterator[File]:
    for mode in (
        "1",
        "L",
        "LA",
        "P",
        "RGB",
        "RGBA",
        "RGBX",
        "CMYK",
        "YCbCr",
        "LAB",
        "I;16",
        "I",
        "PA",
    ):
        yield File(f"tiff of {mode}", encoded(picture(mode), "TIFF"), READ)
    yield File("tiff of floats", encoded(picture("F"), "TIFF"), FOREIGN)
    endless = Image.fromarray(np.full((4, 4), np.nan, np.float32))
    yield File("tiff of no numbers", encoded(endless, "TIFF"), FOREIGN)
    for channels in (2, 5, 9):
        kinds: Entry = (_CHANNELS, _SHORT, 1, u16(channels, "<") + bytes(2))
        data = grey(24, 20, kinds, pixels=noise(24 * 20 * channels))
        yield File(f"tiff of {channels} channels", data, UNREAD)
    for photometric in (0, 2, 3, 4, 5, 6, 8, 32_803, 65_535):
        kind: Entry = (_COLOURS, _SHORT, 1, u16(photometric, "<") + bytes(2))
        data = grey(24, 20, kind, pixels=noise(24 * 20 * 4))
        yield File(f"tiff of photometric {photometric}", data, UNREAD)
    for depth in (2, 4, 7, 12, 16, 24, 32, 64):
        bits: Entry = (_BITS, _SHORT, 1, u16(depth, "<") + bytes(2))
        data = grey(24, 20, bits, pixels=noise(24 * 20 * 8))
        yield File(f"tiff of {depth} bits", data, UNREAD)


def _compressions() -> Iterator[File]:
    for name in ("packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "lzma", "zstd"):
        data = encoded(picture(), "TIFF", compression=name)
        yield File(f"tiff of {name}", data, READ)
        yield File(f"tiff of {name}, cut", data[: len(data) // 2], BROKEN)
    for name in ("group3", "group4", "tiff_ccitt"):
        data = encoded(picture("1"), "TIFF", compression=name)
        yield File(f"tiff of {name}", data, READ)
    for packing in (2, 5, 6, 7, 8, 99, 32_773, 34_712, 50_000, 65_000):
        random = grey(24, 20, pixels=noise(300), packing=packing)
        yield File(f"tiff of random bytes, compression {packing}", random, READ_OR_BROKEN)


def _tags() -> Iterator[File]:
    xmp: Entry = (700, _TEXT, 30, 8)
    yield File("tiff of XMP as text", grey(24, 20, xmp), READ)
    profile: Entry = (34_675, _LONG, 1, 7)
    yield File("tiff of a profile that is a number", grey(24, 20, profile), READ)
    for orientation in (0, 6, 9, 65_535):
        tag: Entry = (274, _SHORT, 1, u16(orientation, "<") + bytes(2))
        yield File(f"tiff of orientation {orientation}", grey(24, 20, tag), READ)
    words: Entry = (274, _TEXT, 4, b"six\0")
    yield File("tiff of an orientation in words", grey(24, 20, words), READ)
    ratio: Entry = (274, _RATIO, 1, behind_directory(8))
    sixth = grey(24, 20, ratio, pixels=struct.pack("<II", 6, 1) + noise(472))
    yield File("tiff of an orientation as a ratio", sixth, READ_OR_BROKEN)
    for name, target in (("nowhere", 2**31), ("itself", 8), ("its header", 0)):
        for sub in (34_665, 34_853, 330):
            pointer: Entry = (sub, _LONG, 1, target)
            yield File(f"tiff whose directory {sub} is {name}", grey(24, 20, pointer), READ)
    text: Entry = (34_665, _TEXT, 4, b"abc\0")
    yield File("tiff whose EXIF is text", grey(24, 20, text), READ)
