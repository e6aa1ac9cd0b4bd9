"""The tables of a HEIF file (ISO/IEC 23008-12): items, where they lie, what they are told to be.

Nothing here decodes pixels, nor believes a number that it has not checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.errors import BrokenPicture, UnsupportedPicture
from app.imaging.heic.boxes import (
    BROKEN,
    CONTRADICTORY,
    INCOMPLETE,
    MOST_PARTS,
    Box,
    Reader,
    boxes,
    checked,
    first_of,
)

MOST_PIECES = 256
"""Of one item; cameras write one."""
MOST_LINKS = 2**15
"""Pieces of items, references between them, and properties that they have, in all."""


class Item(NamedTuple):
    kind: bytes
    content_type: bytes
    """Of a ``mime`` item; empty if it is packed."""


class Property(NamedTuple):
    kind: bytes
    payload: memoryview
    essential: bool


class Reference(NamedTuple):
    kind: bytes
    source: int
    targets: Sequence[int]


class _Place(NamedTuple):
    """Where an item's bytes lie: pieces of the file (0), or of the ``idat`` box (1)."""

    method: int
    elsewhere: bool
    pieces: Sequence[tuple[int, int]]
    """Offset and length of each."""


@dataclass(frozen=True)
class Container:
    """The ``meta`` box of a file, as tables."""

    primary: int
    items: Mapping[int, Item]
    references: Sequence[Reference]
    _file: memoryview
    _idat: memoryview
    _places: Mapping[int, _Place]
    _properties: Sequence[Box]
    _associations: Mapping[int, Sequence[tuple[int, bool]]]

    def properties(self, item: int) -> list[Property]:
        """In their order, which is that of transformations.  Raises BrokenPicture."""
        found = []
        for index, essential in self._associations.get(item, ()):
            if index > len(self._properties):
                raise BrokenPicture("The picture refers to properties that it does not have.")
            if index:  # none, by the standard
                kind, payload = self._properties[index - 1]
                found.append(Property(kind, payload, essential))
        return found

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return len(self._file)

    def content(self, item: int, most: int | None = None) -> bytes:
        """The item's bytes, no more than ``most`` and than the file has.

        Raises BrokenPicture, UnsupportedPicture.
        """
        if item not in self._places:
            raise BrokenPicture("The picture refers to parts that it does not have.")
        place = self._places[item]
        if place.method > 1 or place.elsewhere:
            raise UnsupportedPicture("Pictures that lie in other items or files are not read.")
        source = self._idat if place.method else self._file
        if any(not length or at + length > len(source) for at, length in place.pieces):
            raise BrokenPicture(BROKEN)
        size = sum(length for _, length in place.pieces)
        if size > (len(source) if most is None else min(most, len(source))):
            raise BrokenPicture("The picture's parts overlap, or are too long to be true.")
        return b"".join(source[at : at + length] for at, length in place.pieces)

    def targets(self, kind: bytes, source: int) -> list[int]:
        """What the item refers to, in order.  Raises BrokenPicture where that is told twice."""
        found = [ref.targets for ref in self.references if (ref.kind, ref.source) == (kind, source)]
        if len(found) > 1:
            raise BrokenPicture("The picture's references contradict each other.")
        return list(found[0]) if found else []

    def sources(self, kind: bytes, target: int) -> list[int]:
        """Which items refer to this one, in order."""
        return [ref.source for ref in self.references if ref.kind == kind and target in ref.targets]


def read_container(data: bytes) -> Container:
    """Raises BrokenPicture, UnsupportedPicture."""
    file = memoryview(data)
    meta = first_of(boxes(file), b"meta")
    reader = Reader(meta)
    reader.full()
    parts: dict[bytes, memoryview] = {}
    for kind, payload in boxes(reader.rest()):
        if kind in _WANTED and parts.setdefault(kind, payload) is not payload:
            raise BrokenPicture(CONTRADICTORY)
    if not {b"pitm", b"iinf", b"iloc", b"iprp"} <= parts.keys():
        raise BrokenPicture(INCOMPLETE)
    properties, associations = _properties(parts[b"iprp"])
    return Container(
        _primary(parts[b"pitm"]),
        _items(parts[b"iinf"]),
        _references(parts.get(b"iref")),
        file,
        parts.get(b"idat", memoryview(b"")),
        _places(parts[b"iloc"]),
        properties,
        associations,
    )


_WANTED = {b"pitm", b"iinf", b"iloc", b"iprp", b"iref", b"idat"}


def _primary(payload: memoryview) -> int:
    reader = Reader(payload)
    version, _ = reader.full()
    return reader.number(4 if version else 2)


def _items(payload: memoryview) -> dict[int, Item]:
    reader = Reader(payload)
    version, _ = reader.full()
    checked(reader.number(4 if version else 2), MOST_PARTS)
    items: dict[int, Item] = {}
    for kind, entry in boxes(reader.rest()):
        if kind != b"infe":
            continue
        one = Reader(entry)
        version, _ = one.full()
        if version not in (2, 3):
            continue  # those of other standards
        item = one.number(4 if version == 3 else 2)
        one.number(2)  # protection; what is protected does not decode
        coded_as = bytes(one.take(4))
        one.text()
        content_type = one.text() if coded_as == b"mime" else b""
        if item in items:
            raise BrokenPicture(CONTRADICTORY)
        items[item] = Item(coded_as, b"" if one.text() else content_type)
    return items


def _places(payload: memoryview) -> dict[int, _Place]:
    reader = Reader(payload)
    version, _ = reader.full()
    sizes = reader.number(2)
    of_offset, of_length, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    of_index = of_index if version in (1, 2) else 0
    if version > 2 or not {of_offset, of_length, of_base, of_index} <= {0, 4, 8}:
        raise BrokenPicture(BROKEN)
    wide = 4 if version == 2 else 2
    places: dict[int, _Place] = {}
    links = 0
    for _ in range(checked(reader.number(wide), MOST_PARTS)):
        item = reader.number(wide)
        method = reader.number(2) & 15 if version else 0
        elsewhere = reader.number(2) != 0
        base = reader.number(of_base)
        links = checked(links + (count := checked(reader.number(2), MOST_PIECES)), MOST_LINKS)
        pieces = []
        for _ in range(count):
            reader.number(of_index)
            pieces.append((base + reader.number(of_offset), reader.number(of_length)))
        if item in places:
            raise BrokenPicture(CONTRADICTORY)
        places[item] = _Place(method, elsewhere, pieces)
    return places


def _properties(
    payload: memoryview,
) -> tuple[list[Box], dict[int, list[tuple[int, bool]]]]:
    found = list(boxes(payload))
    properties = list(boxes(first_of(iter(found), b"ipco")))
    associations: dict[int, list[tuple[int, bool]]] = {}
    links = 0
    for kind, table in found:
        if kind != b"ipma":
            continue
        reader = Reader(table)
        version, flags = reader.full()
        wide = 2 if flags & 1 else 1
        for _ in range(checked(reader.number(4), MOST_PARTS)):
            item = reader.number(4 if version else 2)
            links = checked(links + (count := reader.number(1)), MOST_LINKS)
            numbers = [reader.number(wide) for _ in range(count)]
            top = 1 << (8 * wide - 1)
            if item in associations:
                raise BrokenPicture(CONTRADICTORY)
            associations[item] = [(number & (top - 1), number >= top) for number in numbers]
    return properties, associations


def _references(payload: memoryview | None) -> list[Reference]:
    if payload is None:
        return []
    reader = Reader(payload)
    version, _ = reader.full()
    wide = 4 if version else 2
    references = []
    links = 0
    for kind, table in boxes(reader.rest()):
        one = Reader(table)
        source = one.number(wide)
        links = checked(links + (count := one.number(2)), MOST_LINKS)
        references.append(Reference(kind, source, [one.number(wide) for _ in range(count)]))
    return references
