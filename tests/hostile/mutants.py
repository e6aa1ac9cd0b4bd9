"""Valid pictures with something wrong about them, by the thousand.

``mutant(n)`` is the same every time: a test that fails says which ``n`` it was.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image

from tests.hostile import heic, png
from tests.hostile.made import encoded, picture, srgb, u32

SEED = 20_260_101
_Change = Callable[[bytearray, np.random.Generator], bytearray]


@lru_cache(maxsize=1)
def seeds() -> dict[str, bytes]:
    """Small valid pictures of each format and kind, with EXIF, profile and alpha where they fit."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x011A] = "A camera", 6, 72.0
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8825)[0x0001] = "N"
    stored = Image.Exif()
    stored.load(exif.tobytes())
    rich = {"exif": stored, "icc_profile": srgb()}
    frames = {"save_all": True, "append_images": [picture("RGB").rotate(90), picture("RGB")]}
    made: dict[str, bytes] = {
        "jpeg": encoded(picture(), "JPEG"),
        "jpeg rich": encoded(picture(), "JPEG", comment=b"hello", **rich),
        "jpeg progressive": encoded(picture(), "JPEG", progressive=True),
        "jpeg grey": encoded(picture("L"), "JPEG"),
        "jpeg CMYK": encoded(picture("CMYK"), "JPEG", exif=stored),
        "jpeg restarts": encoded(picture(), "JPEG", restart_marker_blocks=1),
        "mpo": encoded(picture(), "MPO", save_all=True, append_images=[picture()]),
        "png rich": encoded(picture("RGBA"), "PNG", **rich),
        "png palette": encoded(picture("P"), "PNG", transparency=3, exif=stored),
        "png grey": encoded(picture("LA"), "PNG"),
        "png 16 bits": encoded(picture("I;16"), "PNG"),
        "png bilevel": encoded(picture("1"), "PNG"),
        "png colour key": encoded(picture(), "PNG", transparency=(1, 2, 3)),
        "png texts": png.png(png.chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b" * 99))),
        "png animated": encoded(picture(), "PNG", **frames),
        "webp rich": encoded(picture("RGBA"), "WEBP", **rich),
        "webp lossy": encoded(picture(), "WEBP"),
        "webp lossless": encoded(picture(), "WEBP", lossless=True),
        "webp animated": encoded(picture(), "WEBP", **frames),
        "avif rich": encoded(picture("RGBA"), "AVIF", **rich),
        "gif": encoded(picture("P"), "GIF", transparency=3),
        "gif animated": encoded(picture(), "GIF", **frames),
        "tiff rich": encoded(picture(), "TIFF", **rich),
        "tiff pages": encoded(picture(), "TIFF", **frames),
        "tiff big": encoded(picture(), "TIFF", big_tiff=True),
        "tiff fax": encoded(picture("1"), "TIFF", compression="group4"),
    }
    made |= heic.seeds()
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I"):
        made[f"tiff {mode}"] = encoded(picture(mode), "TIFF")
    for packing in ("packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "lzma", "zstd"):
        made[f"tiff {packing}"] = encoded(picture(), "TIFF", compression=packing)
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        made[f"bmp {mode}"] = encoded(picture(mode), "BMP")
    return made


def mutant(number: int) -> tuple[str, bytes]:
    """Which picture it was, and what has become of it."""
    rng = np.random.default_rng([SEED, number])
    names = list(seeds())
    name = names[number % len(names)]
    data = bytearray(seeds()[name])
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 8]))):
        if data:
            change = _CHANGES[int(rng.integers(len(_CHANGES)))]
            data = change(data, rng)
    if data.startswith(png.MAGIC) and rng.random() < 0.7:  # else it is but a wrong checksum
        data = _with_right_checksums(data)
    return name, bytes(data)


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """Anywhere, most often among the headers."""
    most = len(data) if rng.random() < 0.4 else min(len(data), 200)
    return int(rng.integers(most))


def _flip_bits(data: bytearray, rng: np.random.Generator) -> bytearray:
    for _ in range(int(rng.integers(1, 9))):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return data


def _overwrite(data: bytearray, rng: np.random.Generator) -> bytearray:
    at = _place(data, rng)
    data[at : at + 1] = rng.choice([b"\0", b"\1", b"\x7f", b"\x80", b"\xff"])
    return data


def _overwrite_number(data: bytearray, rng: np.random.Generator) -> bytearray:
    """As a length or an offset may be: at the limits of its type, in either order."""
    at, length = _place(data, rng), int(rng.choice([2, 4, 8]))
    most = 1 << (8 * length)
    far = int(rng.choice([0, 1, 2, 3, 4, 5, 6]))
    value = [0, 1, most - 1, most // 2, most // 2 - 1, len(data) % most, int(rng.integers(999))][
        far
    ]
    data[at : at + length] = value.to_bytes(length, "big" if rng.random() < 0.5 else "little")
    return data


def _nudge_number(data: bytearray, rng: np.random.Generator) -> bytearray:
    at = _place(data, rng)
    data[at] = (data[at] + int(rng.integers(-4, 5))) % 256
    return data


def _delete(data: bytearray, rng: np.random.Generator) -> bytearray:
    at = _place(data, rng)
    del data[at : at + int(rng.integers(1, 40))]
    return data


def _insert(data: bytearray, rng: np.random.Generator) -> bytearray:
    at = _place(data, rng)
    data[at:at] = rng.bytes(int(rng.integers(1, 40)))
    return data


def _repeat(data: bytearray, rng: np.random.Generator) -> bytearray:
    at = _place(data, rng)
    block = data[at : at + int(rng.integers(1, 120))]
    data[at:at] = block * int(rng.integers(1, 5))
    return data


def _swap(data: bytearray, rng: np.random.Generator) -> bytearray:
    first, second = sorted((_place(data, rng), _place(data, rng)))
    length = min(int(rng.integers(1, 60)), second - first)
    a, b = data[first : first + length], data[second : second + length]
    data[first : first + length], data[second : second + len(b)] = (
        b.ljust(length, b"\0"),
        a[: len(b)],
    )
    return data


def _truncate(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(len(data) + 1))]


def _splice(data: bytearray, rng: np.random.Generator) -> bytearray:
    """The head of one file and the tail of another."""
    other = list(seeds().values())[int(rng.integers(len(seeds())))]
    return data[: _place(data, rng)] + bytearray(other[int(rng.integers(len(other))) :])


_CHANGES: list[_Change] = [
    _flip_bits,
    _overwrite,
    _overwrite_number,
    _overwrite_number,
    _nudge_number,
    _delete,
    _insert,
    _repeat,
    _swap,
    _truncate,
    _splice,
]


def _with_right_checksums(data: bytearray) -> bytearray:
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = u32(zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return data
