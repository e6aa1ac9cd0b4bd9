"""The boxes of a file (ISO/IEC 14496-12), walked strictly and within bounds.

What is counted in a file is counted here before it is believed: a few bytes may claim four thousand
million items.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from app.errors import BrokenPicture

MOST_PARTS = 4096
"""Boxes side by side, items, properties; a phone's photo of 48 megapixels has some 300 items."""
BROKEN = "The picture is broken or cut off."
CONTRADICTORY = "The picture's parts contradict each other."
INCOMPLETE = "The picture lacks parts that it cannot be read without."
TOO_LONG = "The picture has too many parts to be true."


class Reader:
    """Takes whole numbers (big-endian) and bytes off the front; BrokenPicture at the end."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def take(self, length: int) -> memoryview:
        end = self._at + length
        if end > len(self._data):
            raise BrokenPicture(BROKEN)
        taken, self._at = self._data[self._at : end], end
        return taken

    def text(self) -> bytes:
        """Up to a zero byte, or the end."""
        rest = bytes(self._data[self._at : self._at + 256])
        found = rest.split(b"\0", 1)[0]
        self._at = min(self._at + len(found) + 1, len(self._data))
        return found

    def rest(self) -> memoryview:
        return self.take(len(self._data) - self._at)

    def full(self) -> tuple[int, int]:
        """Version and flags, with which some boxes begin."""
        return self.number(1), self.number(3)


class Box(NamedTuple):
    kind: bytes
    payload: memoryview


def brands(data: bytes) -> list[bytes]:
    """Of a file's first box, the main one first; none where it is not that of a HEIF file."""
    size = int.from_bytes(data[:4], "big")
    if data[4:8] != b"ftyp" or not 16 <= size <= min(len(data), 8 + 4 * MOST_PARTS):
        return []
    return [data[8:12], *(data[at : at + 4] for at in range(16, size, 4))]


def boxes(data: memoryview) -> Iterator[Box]:
    """Side by side, to the end of the data.  Raises BrokenPicture where sizes lie."""
    reader = Reader(data)
    left = len(data)
    for _ in range(MOST_PARTS):
        if not left:
            return
        size, kind, head = reader.number(4), bytes(reader.take(4)), 8
        if size == 1:
            size, head = reader.number(8), 16
        elif size == 0:
            size = left
        if not head <= size <= left:
            raise BrokenPicture(BROKEN)
        yield Box(kind, reader.take(size - head))
        left -= size
    raise BrokenPicture(TOO_LONG)


def first_of(found: Iterator[Box], kind: bytes) -> memoryview:
    """Before what comes after it is even looked at: a cut-off rest shows when it is needed."""
    for box in found:
        if box.kind == kind:
            return box.payload
    raise BrokenPicture(INCOMPLETE)


def checked(count: int, most: int) -> int:
    """A count that was read.  Raises BrokenPicture over ``most``."""
    if count > most:
        raise BrokenPicture(TOO_LONG)
    return count
