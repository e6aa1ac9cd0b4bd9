"""PNG: cut off, of every depth, and chunks that inflate to what no memory holds."""

from __future__ import annotations

import zlib
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
    u16,
    u32,
    zeros_packed,
)
from tests.hostile.made import HostileFile as File

MAGIC = b"\x89PNG\r\n\x1a\n"
BOMB = 300_000_000  # bytes
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGBA: 4}


def chunk(kind: bytes, data: bytes) -> bytes:
    return u32(len(data)) + kind + data + u32(zlib.crc32(kind + data))


def header(
    width: int, height: int, bits: int = 8, colours: int = _RGB, interlace: int = 0
) -> bytes:
    return chunk(b"IHDR", u32(width) + u32(height) + bytes([bits, colours, 0, 0, interlace]))


def png(
    *chunks: bytes, width: int = 24, height: int = 20, bits: int = 8, colours: int = _RGB
) -> bytes:
    """A picture of random pixels, with chunks before them."""
    row = (width * _CHANNELS[colours] * bits + 7) // 8
    pixels = noise(row * height)
    rows = b"".join(b"\0" + pixels[i * row : (i + 1) * row] for i in range(height))
    return b"".join(
        [
            MAGIC,
            header(width, height, bits, colours),
            *chunks,
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        ]
    )


def files() -> Iterator[File]:
    yield from _cut_off()
    yield from _broken()
    yield from _depths()
    yield from _transparency()
    yield from _bombs()
    yield from _animations()


def _cut_off() -> Iterator[File]:
    data = png()
    pixels = data.index(b"IDAT")
    yield File("png cut in its signature", data[:5], FOREIGN)
    yield File("png cut after its signature", data[:8], BROKEN)
    yield File("png cut in IHDR", data[:20], BROKEN)
    yield File("png cut after IHDR", data[:33], BROKEN)
    yield File("png cut in IDAT", data[: pixels + 200], BROKEN)
    yield File("png cut in a chunk's length", data[: pixels - 2], BROKEN)
    yield File("png without IEND", data[:-12], READ_OR_BROKEN)
    yield File("png without the last checksum", data[:-4], READ_OR_BROKEN)
    yield File("png followed by html", data + b"<html><script>1</script></html>", READ)
    yield File("png said to be a jpeg", data, READ, content_type="image/jpeg")


def _broken() -> Iterator[File]:
    data = png()
    yield File("png of a bad checksum in IHDR", data[:29] + bytes(4) + data[33:], BROKEN)
    end = data.index(b"IEND") - 8
    bad = data[:end] + bytes(4) + data[end + 4 :]
    yield File("png of a bad checksum in IDAT", bad, READ_OR_BROKEN)
    garbage = MAGIC + header(24, 20) + chunk(b"IDAT", noise(800)) + chunk(b"IEND", b"")
    yield File("png of zlib garbage", garbage, BROKEN)
    few = zlib.compress(bytes(100))
    short = MAGIC + header(24, 20) + chunk(b"IDAT", few) + chunk(b"IEND", b"")
    yield File("png of too few pixels", short, BROKEN)
    yield File("png of random bytes", MAGIC + noise(3_000), BROKEN)
    yield File("png of zeros", MAGIC + bytes(3_000), BROKEN)
    yield File("png without IDAT", MAGIC + header(24, 20) + chunk(b"IEND", b""), BROKEN)
    yield File("png without IHDR", MAGIC + data[33:], BROKEN)
    for width, height in ((0, 0), (0, 9), (9, 0)):
        pixels = chunk(b"IDAT", zlib.compress(bytes(99)))
        empty = MAGIC + header(width, height) + pixels + chunk(b"IEND", b"")
        yield File(f"png of {width}x{height}", empty, BROKEN)
    yield File("png of depth 3", data[:24] + b"\3" + data[25:], BROKEN)
    odd = MAGIC + header(24, 20, 3, _RGB) + data[33:]
    yield File("png of depth 3, with its checksum", odd, BROKEN)
    unknown = MAGIC + header(24, 20, 8, 5) + data[33:]
    yield File("png of colour type 5", unknown, BROKEN)
    negative = MAGIC + u32(2**32 - 1) + b"IHDR" + data[16:]
    yield File("png of a chunk of 4 GB", negative, BROKEN)


def _depths() -> Iterator[File]:
    depths = {_GREY: (1, 2, 4, 8, 16), _RGB: (8, 16), _GREY_ALPHA: (8, 16), _RGBA: (8, 16)}
    for colours, all_bits in depths.items():
        for bits in all_bits:
            data = png(bits=bits, colours=colours)
            yield File(f"png of {bits} bits, colour type {colours}", data, READ)
    for bits in (1, 2, 4, 8):
        palette = chunk(b"PLTE", noise(3 * 2**bits))
        data = png(palette, bits=bits, colours=_PALETTE)
        yield File(f"png of a palette of {bits} bits", data, READ)
    short = chunk(b"PLTE", noise(9))
    outside = png(short, bits=8, colours=_PALETTE)
    yield File("png of indices out of its palette", outside, READ_OR_BROKEN)
    without = png(bits=8, colours=_PALETTE)
    yield File("png without its palette", without, READ_OR_BROKEN)
    crooked = png(chunk(b"PLTE", noise(10)), bits=8, colours=_PALETTE)
    yield File("png of a palette of a third of a colour", crooked, READ_OR_BROKEN)
    long = png(chunk(b"PLTE", noise(3 * 400)), bits=8, colours=_PALETTE)
    yield File("png of a palette of 400 colours", long, READ_OR_BROKEN)
    yield File("png interlaced", encoded(picture(), "PNG")[:28] + b"\1", BROKEN)
    yield File("png 1x900", png(width=1, height=900), READ)
    yield File("png 900x1", png(width=900, height=1), READ)


def _transparency() -> Iterator[File]:
    palette = chunk(b"PLTE", noise(3 * 256))
    for length in (0, 1, 100, 256, 400):
        data = png(palette, chunk(b"tRNS", noise(length)), colours=_PALETTE)
        yield File(f"png of a palette and {length} bytes of tRNS", data, READ_OR_BROKEN)
    one = png(palette, chunk(b"tRNS", b"\xff\xff\0\xff"), colours=_PALETTE)
    yield File("png of one transparent colour of a palette", one, READ)
    for bits, colours, values in (
        (1, _GREY, 1),
        (8, _GREY, 1),
        (16, _GREY, 1),
        (8, _RGB, 3),
        (16, _RGB, 3),
    ):
        name = f"{bits} bits, colour type {colours}"
        data = png(chunk(b"tRNS", u16(7) * values), bits=bits, colours=colours)
        yield File(f"png of tRNS, {name}", data, READ)
        far = png(chunk(b"tRNS", u16(65_535) * values), bits=bits, colours=colours)
        yield File(f"png of tRNS out of range, {name}", far, READ_OR_BROKEN)
        cut = png(chunk(b"tRNS", b"\0"), bits=bits, colours=colours)
        yield File(f"png of tRNS cut off, {name}", cut, READ_OR_BROKEN)
    twice = png(chunk(b"tRNS", noise(6)), colours=_RGBA)
    yield File("png of alpha and tRNS", twice, READ_OR_BROKEN)


def _bombs() -> Iterator[File]:
    bomb = zeros_packed(BOMB)
    yield File("png whose zTXt inflates to 300 MB", png(chunk(b"zTXt", b"a\0\0" + bomb)), READ)
    international = chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)
    yield File("png whose iTXt inflates to 300 MB", png(international), READ)
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)
    yield File("png whose XMP inflates to 300 MB", png(xmp), READ)
    profile = chunk(b"iCCP", b"a\0\0" + bomb)
    yield File("png whose iCCP inflates to 300 MB", png(profile), READ)
    exif = chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb)
    yield File("png whose EXIF inflates to 300 MB", png(exif), READ)
    small = zeros_packed(1_000_000)
    texts = [chunk(b"zTXt", b"k%d\0\0" % i + small) for i in range(400)]
    yield File("png of 400 texts of 1 MB", png(*texts), READ)
    late = png()[:-12] + chunk(b"zTXt", b"a\0\0" + bomb) + chunk(b"IEND", b"")
    yield File("png whose text behind the pixels inflates", late, READ)
    tiny = chunk(b"IDAT", bomb) + chunk(b"IEND", b"")
    yield File("png whose pixels inflate to 300 MB", MAGIC + header(24, 20) + tiny, READ_OR_BROKEN)
    for width, height in ((30_000, 30_000), (2**31 - 1, 1), (1, 2**31 - 1), (2**32 - 1, 2**32 - 1)):
        data = MAGIC + header(width, height) + chunk(b"IDAT", zlib.compress(bytes(3_000)))
        name = f"png of {width}x{height}"
        yield File(name, data + chunk(b"IEND", b""), TOO_LARGE)
    yield File("png of a million chunks", png(chunk(b"teSt", b"") * 1_000_000), BROKEN)
    yield File("png of a million empty IDAT", png(chunk(b"IDAT", b"") * 1_000_000), BROKEN)
    text = chunk(b"tEXt", b"Comment\0" + bytes(range(32)) + b"\x1b[2J\r\nX-Evil: 1\x80\xff")
    yield File("png of control characters in a text", png(text), READ)


def _animations() -> Iterator[File]:
    frames = [picture("RGB", 24, 20).rotate(90 * i) for i in range(3)]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield File("png animated", data, READ)
    second = data.index(b"fdAT")
    yield File("png animated, cut in its second frame", data[: second + 9], READ_OR_BROKEN)
    outside = data.index(b"fcTL") + 4 + 12
    crooked = data[:outside] + u32(5_000) + data[outside + 4 :]
    yield File("png animated, a frame out of the picture", crooked, READ_OR_BROKEN)
    control = data.index(b"acTL") + 4
    many = data[:control] + u32(2**32 - 1) + data[control + 4 :]
    yield File("png of 4294967295 frames", many, READ_OR_BROKEN)
    none = data[:control] + u32(0) + data[control + 4 :]
    yield File("png of no frames", none, READ_OR_BROKEN)
