"""BMP: sizes of every sign, palettes, and run lengths that are decoded in Python."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.hostile.made import (
    BROKEN,
    FOREIGN,
    READ,
    READ_OR_BROKEN,
    TOO_LARGE,
    encoded,
    noise,
    picture,
    u32,
)
from tests.hostile.made import HostileFile as File

_RAW, _RLE8, _RLE4, _MASKS, _JPEG = 0, 1, 2, 3, 4


def bmp(
    width: int,
    height: int,
    body: bytes,
    *,
    bits: int = 24,
    packing: int = _RAW,
    palette: bytes = b"",
    colours: int | None = None,
) -> bytes:
    """``width`` and ``height`` may be what they like; ``colours`` what the palette claims."""
    start = 14 + 40 + len(palette)
    head = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
    size = struct.pack("<II", width % 2**32, height % 2**32)
    claimed = len(palette) // 4 if colours is None else colours
    info = struct.pack("<HHIIIIII", 1, bits, packing, len(body), 2_835, 2_835, claimed, 0)
    return head + u32(40, "<") + size + info + palette + body


def files() -> Iterator[File]:
    yield from _cut_off()
    yield from _sizes()
    yield from _palettes()
    yield from _run_lengths()


def _cut_off() -> Iterator[File]:
    data = encoded(picture(), "BMP")
    paletted = encoded(picture("P"), "BMP")
    yield File("bmp cut in its magic number", data[:1], FOREIGN)
    yield File("bmp cut after its magic number", data[:2], BROKEN)
    yield File("bmp cut in its file header", data[:9], BROKEN)
    yield File("bmp cut in its header", data[:30], BROKEN)
    yield File("bmp cut in its palette", paletted[:100], BROKEN)
    yield File("bmp cut in its pixels", data[: len(data) // 2], BROKEN)
    yield File("bmp without its last row", data[:-72], BROKEN)
    yield File("bmp of random bytes", b"BM" + noise(2_000), BROKEN)
    yield File("bmp of zeros", b"BM" + bytes(2_000), BROKEN)
    far = data[:10] + u32(2**32 - 1, "<") + data[14:]
    yield File("bmp of pixels out of the file", far, BROKEN)
    yield File("bmp of pixels in its header", data[:10] + u32(0, "<") + data[14:], READ_OR_BROKEN)
    yield File("bmp of an unknown header", data[:14] + u32(77, "<") + data[18:], BROKEN)
    yield File("bmp of a header of 4 GB", data[:14] + u32(2**32 - 1, "<") + data[18:], BROKEN)
    core = data[:14] + struct.pack("<IHHHH", 12, 24, 20, 1, 24) + data[54:]
    yield File("bmp of OS/2", core[:10] + u32(26, "<") + core[14:], READ)


def _sizes() -> Iterator[File]:
    pixels = noise(24 * 20 * 3)
    yield File("bmp upside down", bmp(24, -20, pixels), READ)
    yield File("bmp of a negative width", bmp(-24, 20, pixels), TOO_LARGE | BROKEN)
    yield File("bmp of 2^31 columns", bmp(2**31, 20, pixels), TOO_LARGE | BROKEN)
    yield File("bmp of 2^31-1 squared", bmp(2**31 - 1, 2**31 - 1, pixels), TOO_LARGE)
    yield File("bmp of -2^31 rows", bmp(24, -(2**31), pixels), TOO_LARGE | BROKEN)
    yield File("bmp of no pixels", bmp(0, 0, b""), BROKEN)
    yield File("bmp of no height", bmp(24, 0, pixels), BROKEN)
    yield File("bmp 1x900", bmp(1, 900, noise(4 * 900)), READ)
    yield File("bmp 900x1", bmp(900, 1, noise(3 * 900)), READ)
    for bits in (0, 2, 5, 16, 32, 64, 65_535):
        data = bmp(24, 20, noise(24 * 20 * 4), bits=bits)
        yield File(f"bmp of {bits} bits", data, READ if bits in (16, 32) else READ_OR_BROKEN)
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF) + noise(24 * 20 * 4)
    yield File("bmp of masks", bmp(24, 20, masks, bits=32, packing=_MASKS), READ_OR_BROKEN)
    odd = noise(12) + noise(24 * 20 * 4)
    yield File("bmp of random masks", bmp(24, 20, odd, bits=32, packing=_MASKS), BROKEN)
    inside = bmp(24, 20, encoded(picture(), "JPEG"), bits=0, packing=_JPEG)
    yield File("bmp that holds a jpeg", inside, BROKEN)


def _palettes() -> Iterator[File]:
    for bits in (1, 4, 8):
        palette = noise(4 * 2**bits)
        data = bmp(24, 20, noise(24 * 20), bits=bits, palette=palette)
        yield File(f"bmp of a palette of {bits} bits", data, READ)
    short = bmp(24, 20, noise(24 * 20), bits=8, palette=noise(12))
    yield File("bmp of indices out of its palette", short, READ_OR_BROKEN)
    many = bmp(24, 20, noise(24 * 20), bits=8, palette=noise(4 * 256), colours=2**32 - 1)
    yield File("bmp of 4294967295 colours", many, BROKEN)
    large = bmp(24, 20, noise(24 * 20), bits=8, palette=noise(4 * 60_000))
    yield File("bmp of 60000 colours", large, READ_OR_BROKEN)
    grey = b"".join(bytes([i, i, i, 0]) for i in range(256))
    yield File("bmp grey", bmp(24, 20, noise(24 * 20), bits=8, palette=grey), READ)


def _run_lengths() -> Iterator[File]:
    palette = noise(4 * 256)

    def packed(width: int, height: int, body: bytes, packing: int = _RLE8) -> bytes:
        bits = 8 if packing == _RLE8 else 4
        part = palette if bits == 8 else palette[:64]
        return bmp(width, height, body, bits=bits, packing=packing, palette=part)

    rows = b"\x18\x07\0\0" * 20 + b"\0\1"
    yield File("bmp of run lengths", packed(24, 20, rows), READ)
    yield File("bmp of short run lengths", packed(24, 20, rows, _RLE4), READ)
    yield File("bmp of run lengths, cut", packed(24, 20, rows[:30]), BROKEN)
    yield File("bmp of random run lengths", packed(24, 20, noise(500)), READ_OR_BROKEN)
    jump = packed(39_000_000, 1, b"\0\2\xff\xff" * 3)
    yield File("bmp of a leap by gigabytes", jump, TOO_LARGE)
    lines = packed(1, 1, bytes(5_000_000))
    yield File("bmp of millions of empty lines", lines, BROKEN)
    runs = packed(3_000, 3_000, b"\1\7" * 5_000_000)
    yield File("bmp of millions of runs", runs, TOO_LARGE)
    filled = packed(1_400, 1_400, b"\1\1\0\0")
    yield File("bmp of one long empty line", filled, BROKEN)
