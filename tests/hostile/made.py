"""What the makers of hostile files share."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms

READ = frozenset({200})
BROKEN = frozenset({422})
TOO_LARGE = frozenset({413})
FOREIGN = frozenset({415})
READ_OR_BROKEN = READ | BROKEN
"""A decoder may be lenient here or not."""


@dataclass(frozen=True)
class HostileFile:
    name: str
    data: bytes
    statuses: frozenset[int]
    """Of the answer; more than one where it is the decoder's to say."""
    content_type: str | None = None
    """What the client claims that it is, if that is part of the trick."""


def picture(mode: str = "RGB", width: int = 24, height: int = 20) -> Image.Image:
    """A smooth picture of any mode."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))
    if mode == "P":
        return image.quantize(64)
    if mode == "I;16":
        return Image.fromarray((x * 257).astype(np.uint16))
    if mode in {"F", "I"}:
        return image.convert("L").convert(mode)
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, image.tobytes())
    if mode == "PA":
        return image.quantize(64).convert("PA")
    return image.convert(mode)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def srgb() -> bytes:
    """A colour profile; those that are made carry the time of day."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]


def noise(length: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(length)


def zeros_packed(length: int) -> bytes:
    """zlib data that inflates a thousandfold, made without holding what it inflates to."""
    packer = zlib.compressobj(9)
    block = bytes(2**20)
    parts = [packer.compress(block) for _ in range(length // len(block))]
    return b"".join([*parts, packer.compress(bytes(length % len(block))), packer.flush()])


def u16(value: int, order: str = ">") -> bytes:
    return struct.pack(f"{order}H", value)


def u32(value: int, order: str = ">") -> bytes:
    return struct.pack(f"{order}I", value)


Entry = tuple[int, int, int, int | bytes]
"""Tag, kind, count, and the value (its bytes, or an offset)."""


def directory(
    entries: list[Entry],
    behind: bytes = b"",
    *,
    order: str = "<",
    further: int = 0,
) -> bytes:
    """A TIFF structure (EXIF is one) of one directory.

    ``behind`` lies after it, from :func:`behind_directory` on; ``further`` is where the next is.
    """
    head = (b"II*\0" if order == "<" else b"MM\0*") + u32(8, order)
    rows = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (value if isinstance(value, bytes) else u32(value, order))
        for tag, kind, count, value in entries
    )
    return head + u16(len(entries), order) + rows + u32(further, order) + behind


def behind_directory(entries: int) -> int:
    return 8 + 2 + 12 * entries + 4
