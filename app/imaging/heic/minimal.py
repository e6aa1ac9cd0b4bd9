"""A HEIF file that holds one picture and nothing else: all that the decoder gets to see.

Whatever a decoder would do beyond the picture (read metadata for each of a thousand images, follow
references in circles) it cannot do with this file, and its sizes are those that were checked.
"""

from __future__ import annotations

import struct

from app.imaging.heic.hevc import property_of
from app.imaging.heic.still import Coded

_FIRST = 1  # the picture itself; a grid's tiles come after it
_UNSPECIFIED = b"\0\2"


def minimal_file(coded: Coded, nclx: bytes) -> bytes:
    """Of the picture as it is coded, neither turned nor cut; ``nclx`` may be empty."""
    stream = coded.stream
    contents = [b"".join(len(unit).to_bytes(4, "big") + unit for unit in t) for t in coded.tiles]
    properties = [
        _box(b"hvcC", property_of(stream)),
        _full(b"ispe", struct.pack(">II", stream.width, stream.height)),
        _full(b"ispe", struct.pack(">II", coded.width, coded.height)),
    ]
    if nclx:
        # the curve does not matter here, and libheif refuses those that it does not know
        properties.append(_box(b"colr", b"nclx" + nclx[:2] + _UNSPECIFIED + nclx[4:]))
    colours = [4] if nclx else []
    kinds, owned = [b"hvc1"] * len(contents), [[0x81, 2, *colours] for _ in contents]
    links = b""
    if len(contents) > 1 or (coded.width, coded.height) != (stream.width, stream.height):
        tiles = struct.pack(f">{len(contents)}H", *range(_FIRST + 1, _FIRST + 1 + len(contents)))
        links = _full(b"iref", _box(b"dimg", struct.pack(">HH", _FIRST, len(contents)) + tiles))
        grid = struct.pack(">BBBBII", 0, 1, coded.rows - 1, coded.columns - 1, *_size(coded))
        kinds, contents, owned = [b"grid", *kinds], [grid, *contents], [[3, *colours], *owned]
    head = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    start = len(head) + len(_meta(kinds, contents, owned, properties, links, 0)) + 8
    meta = _meta(kinds, contents, owned, properties, links, start)
    return b"".join([head, meta, _box(b"mdat", b"".join(contents))])


def _size(coded: Coded) -> tuple[int, int]:
    return coded.width, coded.height


def _meta(
    kinds: list[bytes],
    contents: list[bytes],
    owned: list[list[int]],
    properties: list[bytes],
    links: bytes,
    start: int,
) -> bytes:
    """Items are numbered from 1; the contents lie one after the other from ``start`` on."""
    count = len(kinds)
    items, places, associations = [], [], []
    for number, (kind, content, own) in enumerate(zip(kinds, contents, owned, strict=True), 1):
        hidden = bytes([number != _FIRST])  # but for the first, they are no pictures of their own
        entry = b"\2\0\0" + hidden + struct.pack(">HH", number, 0) + kind + b"\0"
        items.append(_box(b"infe", entry))
        places.append(struct.pack(">HHHII", number, 0, 1, start, len(content)))
        associations.append(struct.pack(">HB", number, len(own)) + bytes(own))
        start += len(content)
    parts = [
        _full(b"hdlr", bytes(4) + b"pict" + bytes(13)),
        _full(b"pitm", struct.pack(">H", 1)),
        _full(b"iinf", struct.pack(">H", count) + b"".join(items)),
        _full(b"iloc", struct.pack(">HH", 0x4400, count) + b"".join(places)),
        _box(
            b"iprp",
            _box(b"ipco", b"".join(properties))
            + _full(b"ipma", struct.pack(">I", count) + b"".join(associations)),
        ),
        links,
    ]
    return _full(b"meta", b"".join(parts))


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", 8 + len(payload)) + kind + payload


def _full(kind: bytes, payload: bytes) -> bytes:
    """Of version 0, without flags."""
    return _box(kind, bytes(4) + payload)
