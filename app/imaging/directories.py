"""How much a TIFF directory asks its reader to do, seen without doing it.  EXIF is one, too.

Pillow makes an object of every number of a tag: some megabytes of fractions take it seconds and
hundreds of megabytes.  No camera writes that many.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from app.errors import BrokenPicture, TooLarge

_BIG = 43  # BigTIFF: offsets of eight bytes
_BYTES_OF_A_KIND = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
    16: 8, 17: 8, 18: 8,
}  # fmt: skip
_NUMBER = {
    1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
_CLASSIC = {b"II*\0", b"MM\0*"}
_LAST_CLASSIC = 13  # kind of number
_OPAQUE = {1, 2, 7}  # read as one string, whatever its length
_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_PHOTOMETRIC, _CIELAB = 262, {8, 9, 10}  # CIE, ICC's and ITU's
_PIECES = {273, 279, 324, 325}  # offsets and byte counts of strips and tiles
_SUB_DIRECTORIES = {34665, 34853, 40965}  # EXIF, GPS, interoperability

MOST_ENTRIES = 4096
MOST_NUMBERS = 2**15
MOST_PIECES = 2**16
ROOMY_TILE = 2048**2  # pixels: tiles may reach beyond a small picture, within reason


class _Entry(NamedTuple):
    tag: int
    kind: int
    length: int
    """How many of its kind it holds."""
    value: bytes
    """Itself if it is short enough, or its offset."""


class Block:
    """A TIFF structure, read as Pillow reads it: the byte order by two letters, no more."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = ">" if data[:2] == b"MM" else "<"
        self.big = data[2:3] == bytes([_BIG])

    @property
    def first(self) -> int:
        return self._number("Q", 8) if self.big else self._number("L", 4)

    def count(self, offset: int) -> int:
        """Of the entries that the directory at ``offset`` claims to have."""
        return self._number("Q" if self.big else "H", offset)

    def entries(self, offset: int) -> Iterator[_Entry]:
        """Of the directory at ``offset``, up to where the data ends; one more than the most."""
        layout = struct.Struct(self.order + ("HHQ8s" if self.big else "HHL4s"))
        count = self.count(offset)
        start = offset + (8 if self.big else 2)
        for i in range(min(count, MOST_ENTRIES + 1)):
            at = start + i * layout.size
            if at + layout.size > len(self.data):
                return
            entry = _Entry(*layout.unpack_from(self.data, at))
            # what cannot be there is skipped by Pillow, and costs nothing
            if entry.length * _BYTES_OF_A_KIND.get(entry.kind, 2**64) <= len(self.data):
                yield entry

    def number(self, entry: _Entry) -> int:
        """The value of an entry that holds one whole number; 0 for any other."""
        form = _NUMBER.get(entry.kind)
        if form is None or entry.length != 1 or _BYTES_OF_A_KIND[entry.kind] > len(entry.value):
            return 0
        (value,) = struct.unpack_from(self.order + form, entry.value)
        return int(value)

    def _number(self, form: str, offset: int) -> int:
        try:
            (value,) = struct.unpack_from(self.order + form, self.data, offset)
        except (struct.error, OverflowError):
            return 0
        return int(value)


def is_modest(exif: bytes) -> bool:
    """Whether EXIF, in all the directories that are read, holds no more than a camera writes.

    A TIFF file will do as well: where its pixels lie does not count.
    """
    for _ in range(2):  # as many as Pillow takes away
        exif = exif.removeprefix(b"Exif\0\0")
    block = Block(exif)
    waiting, seen = [block.first], set[int]()
    while waiting:
        offset = waiting.pop()
        if offset in seen:  # round and round
            return False
        entries = list(block.entries(offset))
        counted = [entry for entry in entries if seen or entry.tag not in _PIECES]
        if len(entries) > MOST_ENTRIES or _numbers(counted) > MOST_NUMBERS:
            return False
        seen.add(offset)
        further = [block.number(entry) for entry in entries if entry.tag in _SUB_DIRECTORIES]
        waiting += [offset for offset in further if offset]
        if len(seen) + len(waiting) > len(_SUB_DIRECTORIES) + 1:
            return False
    return True


def check_first(tiff: bytes) -> None:
    """Raises where the directory of a TIFF's first picture is out of all proportion to it."""
    block = Block(tiff)
    entries = list(block.entries(block.first))
    pieces = max((entry.length for entry in entries if entry.tag in _PIECES), default=0)
    rest = _numbers(entry for entry in entries if entry.tag not in _PIECES)
    if len(entries) > MOST_ENTRIES or pieces > MOST_PIECES or rest > MOST_NUMBERS:
        raise BrokenPicture("The picture's directory is too long to be true.")
    sizes = {entry.tag: block.number(entry) for entry in reversed(entries)}  # the first counts
    tile = sizes.get(_TILE_WIDTH, 0) * sizes.get(_TILE_HEIGHT, 0)
    if tile > max(ROOMY_TILE, sizes.get(_WIDTH, 0) * sizes.get(_HEIGHT, 0)):
        raise TooLarge("The picture's tiles are far larger than the picture.")


def is_tiff(data: bytes) -> bool:
    return data[:2] in (b"II", b"MM")


def is_cielab(tiff: bytes) -> bool:
    """Whether the first picture's colours are CIE L*a*b*, of which Pillow reads few kinds."""
    block = Block(tiff)
    entries = block.entries(block.first)
    return any(e.tag == _PHOTOMETRIC and block.number(e) in _CIELAB for e in entries)


def is_unambiguous(tiff: bytes, shape: tuple[int, ...]) -> bool:
    """Whether any reader takes a TIFF's first picture for one of this shape, upright or not.

    Readers differ about headers that are half BigTIFF, about tags that occur twice, and about
    numbers of kinds that only some know: one would check a small picture, another decode a large
    one.
    """
    if tiff[:4] not in _CLASSIC:
        return False
    block = Block(tiff)
    entries = list(block.entries(block.first))
    sizes = [block.number(entry) for entry in entries if entry.tag in (_WIDTH, _HEIGHT)]
    return (
        block.count(block.first) == len(entries) == len({entry.tag for entry in entries})
        and all(entry.kind <= _LAST_CLASSIC for entry in entries)
        and sorted(sizes) == sorted(shape)
    )


def _numbers(entries: Iterator[_Entry] | list[_Entry]) -> int:
    return sum(entry.length for entry in entries if entry.kind not in _OPAQUE)
