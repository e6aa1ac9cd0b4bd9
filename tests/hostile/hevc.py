"""HEIC whose streams are not the one picture that they should be."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from tests.heif_files import (
    Hevc,
    Item,
    Property,
    box,
    coded,
    encode,
    heif,
    hvcc,
    ispe,
)
from tests.hostile.made import BROKEN, READ, TOO_LARGE, noise, picture, u16, u32
from tests.hostile.made import HostileFile as File

_MANY = 100_000


def files() -> Iterator[File]:
    hevc = drawn()
    picture_of = hevc.data

    def lying(data: bytes) -> bytes:
        return heif([coded(Hevc(hevc.configuration, data, 64, 64))])

    yield File("heic: two pictures in one", lying(picture_of * 2), BROKEN)
    slice_at = unit_of(picture_of, range(16, 22))
    length, pixels = picture_of[slice_at : slice_at + 4], picture_of[slice_at + 4 :]
    further = length + pixels[:2] + bytes([pixels[2] & 127]) + pixels[3:]
    yield File("heic: too many slices", lying(picture_of + further * 16), BROKEN)
    yield File("heic: no first slice", lying(further), BROKEN)
    yield File("heic: a picture that needs another", lying(length + b"\2" + pixels[1:]), BROKEN)
    yield File("heic: no pixels at all", lying(u32(3) + b"\x4e\1\0"), BROKEN)
    yield File("heic: empty units", lying(bytes(4_000)), BROKEN)
    yield File(
        "heic: units without end",
        lying(u32(3) + b"\x4e\1\0" + (u32(3) + b"\x4e\1\0") * _MANY),
        BROKEN,
    )
    yield File("heic: a unit beyond the item", lying(b"\xff" * 4 + pixels), BROKEN)
    yield File(
        "heic: pixels are noise",
        lying(length + pixels[:12] + noise(len(pixels) - 12)),
        READ | BROKEN,
    )
    yield File(
        "heic: another header among the pixels", lying(unit(sps(9000, 9000)) + picture_of), BROKEN
    )
    for width, height, statuses in (
        (30_000, 30_000, TOO_LARGE),
        (2**31, 2, TOO_LARGE),
        (0, 64, BROKEN),
    ):
        headed = configured(hevc, sps(width, height))
        item = Item(b"hvc1", hevc.data, (hvcc(headed), ispe(width, height)))
        yield File(f"heic: {width}x{height}", heif([item]), statuses)
    headed = configured(hevc, sps(16_384, 16_384))
    yield File("heic: a stream larger than its box", heif([coded(headed)]), BROKEN)
    yield File(
        "heic: a box larger than its stream",
        heif([Item(b"hvc1", hevc.data, (hvcc(hevc), ispe(4096, 4096)))]),
        BROKEN,
    )
    cropped = configured(hevc, sps(16_384, 16_384, right=8_160, bottom=8_160))
    yield File("heic: a large picture shown as a small one", heif([coded(cropped)]), BROKEN)
    head = hevc.configuration[:22]
    for name, rest in {
        "none": b"\0",
        "of no length": b"\1\xa1\xff\xff",
        "by the thousand": b"\xff" + (b"\xa1" + u16(65_535) + b"\0\2\0\0" * 9_000),
        "of 60 kB": b"\1\xa1\0\1" + u16(60_000) + b"\x42\1" + bytes(60_000),
        "cut off": hevc.configuration[22:60],
    }.items():
        item = Item(b"hvc1", hevc.data, (Property(box(b"hvcC", head, rest)), ispe(64, 64)))
        yield File(f"heic: headers {name}", heif([item]), BROKEN)


def drawn(width: int = 64, height: int = 64, mode: str = "RGB") -> Hevc:
    return encode(np.asarray(picture(mode, width, height)))


def configured(hevc: Hevc, header: bytes) -> Hevc:
    """With this sequence parameter set, and such as fit it not at all."""
    width, height = hevc.width, hevc.height
    others = b"".join(
        bytes([0xA0 | kind]) + u16(1) + u16(9) + bytes([kind << 1, 1]) + b"\x80" * 7
        for kind in (32, 34)
    )
    own = b"\xa1" + u16(1) + u16(len(header)) + header
    return Hevc(hevc.configuration[:22] + b"\3" + others + own, hevc.data, width, height)


def sps(width: int, height: int, right: int = 0, bottom: int = 0) -> bytes:
    """A sequence parameter set of a picture of this size, of which so much is not shown."""
    bits = "0000" + "000" + "1" + "0" * 96 + _golomb(0) + _golomb(1)
    bits += _golomb(width) + _golomb(height)
    bits += "1" + _golomb(0) + _golomb(right) + _golomb(0) + _golomb(bottom)
    bits += _golomb(0) + _golomb(0) + _golomb(4) + "1"
    bits += "0" * (-len(bits) % 8)
    plain = int(bits, 2).to_bytes(len(bits) // 8, "big")
    escaped, zeros = bytearray(b"\x42\1"), 0
    for byte in plain:
        if zeros == 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(escaped)


def _golomb(value: int) -> str:
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def unit(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def unit_of(data: bytes, kinds: range) -> int:
    """Where the first NAL unit of such a kind begins, with its length."""
    at = 0
    while data[at + 4] >> 1 not in kinds:
        (length,) = struct.unpack_from(">I", data, at)
        at += 4 + length
    return at
