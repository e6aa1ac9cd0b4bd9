"""How large the pictures of an HEVC stream (ITU-T H.265) are, and that there is only one of them.

A container's sizes are only claims; a decoder allocates and works by what the stream itself says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.errors import BrokenPicture, UnsupportedPicture
from app.imaging.heic.boxes import BROKEN, TOO_LONG, Reader, checked

MOST_UNITS = 256
"""NAL units of one picture, and of its parameter sets."""
MOST_SLICES = 16
"""Of one picture; each may be as much work as the whole of it."""
_MOST_SET = 4096  # bytes of a parameter set
_MOST_SETS = 16  # of each kind
_VPS, _SPS, _PPS = 32, 33, 34
_SETS = (_VPS, _SPS, _PPS)
_STILL = range(16, 22)  # slices of pictures that need no other
_SLICES = range(32)
_PADDING = 64  # pixels at most by which a stream's picture exceeds what is shown of it
_DEPTHS = (8, 10, 12)


@dataclass(frozen=True)
class Stream:
    """What an ``hvcC`` property says: parameter sets, and what follows from them."""

    head: bytes
    """Of the property: profile, tier and level."""
    sets: tuple[bytes, ...]
    """VPS, then the one SPS, then PPS."""
    width: int
    """Of what is shown, in pixels; likewise the height."""
    height: int
    chroma: int
    """0: grey; 1: 4:2:0; 2: 4:2:2; 3: 4:4:4."""
    bits: int
    prefix: int
    """Bytes before each NAL unit that hold its length."""


def read_stream(payload: memoryview) -> Stream:
    """Of an ``hvcC`` property.  Raises BrokenPicture, UnsupportedPicture."""
    if len(payload) > _MOST_SET * _MOST_SETS:
        raise BrokenPicture("The picture's header is too long to be true.")
    reader = Reader(payload)
    head = bytes(reader.take(13))
    reader.take(8)
    prefix = (reader.number(1) & 3) + 1
    found: dict[bytes, None] = {}  # in order, each but once
    units = 0
    for _ in range(reader.number(1)):
        reader.take(1)
        units = checked(units + (count := reader.number(2)), MOST_UNITS)
        for _ in range(count):
            unit = bytes(reader.take(reader.number(2)))
            if _is_base(unit) and _kind(unit) in _SETS:
                found[unit] = None
                if len(unit) > _MOST_SET or len(found) > _MOST_SETS:
                    raise BrokenPicture("The picture's header is too long to be true.")
    by_kind = {kind: [unit for unit in found if _kind(unit) == kind] for kind in _SETS}
    if head[0] != 1 or prefix == 3 or not all(by_kind.values()) or len(by_kind[_SPS]) > 1:
        raise BrokenPicture(BROKEN)
    width, height, chroma, bits = _read_sps(by_kind[_SPS][0])
    sets = tuple(unit for kind in _SETS for unit in by_kind[kind])
    return Stream(head, sets, width, height, chroma, bits, prefix)


def slices(data: bytes, stream: Stream) -> list[bytes]:
    """The NAL units of an item's picture that hold pixels.

    Raises BrokenPicture where there are several pictures, or such as need others, or further
    parameter sets: the decoder would follow those instead.
    """
    found: list[bytes] = []
    for unit in _units(data, stream.prefix):
        if not _is_base(unit):
            continue  # of another layer
        kind = _kind(unit)
        if kind in _SETS and unit not in stream.sets:
            raise BrokenPicture("The picture's headers contradict each other.")
        if kind not in _SLICES:
            continue
        # the first bit says whether a picture begins
        if kind not in _STILL or (unit[2] >= 128) == bool(found):
            raise BrokenPicture("The picture is not one, or needs another.")
        found.append(unit)
        if len(found) > MOST_SLICES:
            raise BrokenPicture("The picture has too many slices to be true.")
    if not found:
        raise BrokenPicture("The picture has no pixels.")
    return found


def property_of(stream: Stream) -> bytes:
    """An ``hvcC`` property that says the same, for units behind lengths of four bytes."""
    depth = stream.bits - 8
    arrays = b""
    for kind in _SETS:
        units = [unit for unit in stream.sets if _kind(unit) == kind]
        arrays += bytes([0x80 | kind]) + len(units).to_bytes(2, "big")
        arrays += b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)
    formats = bytes([0xFC | stream.chroma, 0xF8 | depth, 0xF8 | depth])
    return stream.head + b"\xf0\0\xfc" + formats + b"\0\0\x0f" + bytes([len(_SETS)]) + arrays


def _units(data: bytes, prefix: int) -> Iterator[bytes]:
    reader = Reader(memoryview(data))
    left = len(data)
    for _ in range(MOST_UNITS):
        if not left:
            return
        unit = bytes(reader.take(reader.number(prefix)))
        left -= prefix + len(unit)
        if len(unit) < 3:
            raise BrokenPicture(BROKEN)
        yield unit
    raise BrokenPicture(TOO_LONG)


def _kind(unit: bytes) -> int:
    return unit[0] >> 1 & 63


def _is_base(unit: bytes) -> bool:
    """Whether it is of the base layer; others have further views, or depth."""
    return len(unit) > 2 and not unit[0] & 1 and not unit[1] >> 3


class _Bits:
    """Of a parameter set, without the bytes that keep it from looking like a start code."""

    def __init__(self, unit: bytes) -> None:
        plain = unit[2:].replace(b"\0\0\3", b"\0\0")
        self._bits = int.from_bytes(plain, "big")
        self._left = 8 * len(plain)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise BrokenPicture(BROKEN)
        return self._bits >> self._left & ((1 << count) - 1)

    def golomb(self) -> int:
        """ue(v): as many zeros as bits follow the next one."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 31:
                raise BrokenPicture(BROKEN)
        return (1 << zeros) - 1 + self.take(zeros)


def _read_sps(unit: bytes) -> tuple[int, int, int, int]:
    """Width and height as shown, kind of chroma, bits (H.265, 7.3.2.2)."""
    bits = _Bits(unit)
    bits.take(4)
    layers = bits.take(3)
    bits.take(1)
    bits.take(88 + 8)  # profile, tier and level
    told = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for profile, level in told:
        bits.take(88 * profile + 8 * level)
    bits.golomb()
    chroma = bits.golomb()
    if chroma > 3 or (chroma == 3 and bits.take(1)):
        raise UnsupportedPicture("Pictures whose colours are coded apart are not read.")
    coded = bits.golomb(), bits.golomb()
    left, right, top, bottom = (bits.golomb() for _ in range(4)) if bits.take(1) else (0, 0, 0, 0)
    across, down = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1)
    width = coded[0] - across * (left + right)
    height = coded[1] - down * (top + bottom)
    luma, colour = bits.golomb() + 8, bits.golomb() + 8
    if luma not in _DEPTHS or (chroma and colour != luma):
        raise UnsupportedPicture("Pictures of 8, 10 and 12 bits a channel are read, no others.")
    if not (
        0 < width <= coded[0] < width + _PADDING and 0 < height <= coded[1] < height + _PADDING
    ):
        raise BrokenPicture("The picture's sizes contradict each other.")
    return width, height, chroma, luma
