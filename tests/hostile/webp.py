"""WebP: cut off at each chunk, canvases out of all proportion, animations."""

from __future__ import annotations

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

_ANIMATED = 0x02


def chunk(kind: bytes, data: bytes) -> bytes:
    return kind + u32(len(data), "<") + data + bytes(len(data) % 2)


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + u32(len(body), "<") + body


def extended(width: int, height: int, flags: int) -> bytes:
    return chunk(b"VP8X", bytes([flags, 0, 0, 0]) + _u24(width - 1) + _u24(height - 1))


def frame(bitstream: bytes, width: int, height: int) -> bytes:
    return chunk(
        b"ANMF", bytes(6) + _u24(width - 1) + _u24(height - 1) + _u24(40) + b"\0" + bitstream
    )


def animation(width: int, height: int, *frames: bytes) -> bytes:
    return riff(extended(width, height, _ANIMATED), chunk(b"ANIM", bytes(6)), *frames)


def _u24(value: int) -> bytes:
    return u32(value, "<")[:3]


def files() -> Iterator[File]:
    lossy = encoded(picture(), "WEBP")
    lossless = encoded(picture("RGBA"), "WEBP", lossless=True)
    exif = b"Exif\0\0II*\0" + u32(8, "<") + bytes(6)
    rich = encoded(picture("RGBA"), "WEBP", exif=exif, icc_profile=noise(200))
    yield File("webp lossy", lossy, READ)
    yield File("webp lossless with alpha", lossless, READ)
    yield File("webp extended", rich, READ)
    yield File("webp cut in RIFF", lossy[:7], FOREIGN)
    yield File("webp cut after RIFF", lossy[:12], FOREIGN)
    for name, data in (("VP8", lossy), ("VP8L", lossless), ("VP8X", rich)):
        yield File(f"webp cut after {name}", data[:16], BROKEN)
        yield File(f"webp cut in the size of {name}", data[:25], BROKEN)
        yield File(f"webp of half of {name}", data[: len(data) // 2], BROKEN)
        yield File(f"webp of {name} without its end", data[:-9], READ_OR_BROKEN)
        yield File(f"webp of {name}, followed by text", data + b"text" * 99, READ_OR_BROKEN)
        random = data[:30] + noise(len(data) - 30)
        yield File(f"webp of random bytes in {name}", random, READ_OR_BROKEN)
    yield File(
        "webp of random bytes", b"RIFF" + u32(2_000, "<") + b"WEBPVP8 " + noise(2_000), BROKEN
    )
    yield File("webp that is a wave", b"RIFF" + u32(2_000, "<") + b"WAVE" + noise(2_000), FOREIGN)
    yield File("webp longer than its file", lossy[:4] + u32(2**31, "<") + lossy[8:], READ_OR_BROKEN)
    yield File("webp shorter than its file", lossy[:4] + u32(20, "<") + lossy[8:], BROKEN)
    yield from _sizes(lossy, lossless)
    yield from _animations(lossless)


def _sizes(lossy: bytes, lossless: bytes) -> Iterator[File]:
    huge = lossy[:26] + b"\xff\x3f\xff\x3f" + lossy[30:]
    yield File("webp of 16383x16383", huge, TOO_LARGE)
    none = lossy[:26] + bytes(4) + lossy[30:]
    yield File("webp of no pixels", none, BROKEN)
    full = lossless[:21] + b"\xff\xff\xff\x1f" + lossless[25:]
    yield File("webp lossless of 16384x16384", full, TOO_LARGE)
    bitstream = lossless[12:]
    for side in (2**24, 16_384, 13_000, 7_000):
        canvas = animation(side, side, frame(bitstream, 24, 20))
        yield File(f"webp of a canvas of {side}x{side}", canvas, TOO_LARGE | BROKEN)
    mismatched = riff(extended(24, 20, 0), encoded(picture("RGB", 100, 100), "WEBP")[12:])
    yield File("webp larger than its canvas", mismatched, BROKEN)
    yield File("webp 1x900", encoded(picture("RGB", 1, 900), "WEBP"), READ)
    yield File("webp 900x1", encoded(picture("RGB", 900, 1), "WEBP"), READ)
    yield File("webp said to be a gif", lossy, READ, content_type="image/gif")


def _animations(lossless: bytes) -> Iterator[File]:
    bitstream = lossless[12:]
    one = frame(bitstream, 24, 20)
    yield File("webp animated", animation(24, 20, one, one), READ)
    yield File("webp of 20000 frames", animation(24, 20, *[one] * 20_000), READ)
    whole = animation(24, 20, one, one)
    at = whole.rindex(b"ANMF")
    yield File("webp cut in its second frame", whole[: at + 30], READ_OR_BROKEN)
    yield File("webp cut in its first frame", whole[: whole.index(b"ANMF") + 40], BROKEN)
    yield File("webp of no frames", animation(24, 20), BROKEN)
    outside = animation(10, 10, one)
    yield File("webp of a frame larger than its canvas", outside, BROKEN)
    garbage = animation(24, 20, frame(noise(200), 24, 20))
    yield File("webp of a frame of random bytes", garbage, BROKEN)
    second = animation(24, 20, one, frame(bitstream[:40] + noise(len(bitstream) - 40), 24, 20))
    yield File("webp of a broken second frame", second, READ_OR_BROKEN)
