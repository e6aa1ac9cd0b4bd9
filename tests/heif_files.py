"""HEIF files put together by hand around HEVC that x265 has made: sound ones, and such as lie."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

Pieces = list[tuple[int, int]]
"""Offset and length of each."""

XMP_TYPE = b"application/rdf+xml"
ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"


EXACT: dict[str, Any] = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}
"""Lossless, of red, green and blue as they are."""


class Property(NamedTuple):
    box: bytes
    essential: bool = True


class Item(NamedTuple):
    kind: bytes
    content: bytes
    properties: tuple[Property, ...] = ()
    content_type: bytes = b""


class Reference(NamedTuple):
    kind: bytes
    source: int
    targets: Sequence[int]


class Hevc(NamedTuple):
    configuration: bytes
    """The payload of ``hvcC``."""
    data: bytes
    width: int
    height: int


def box(kind: bytes, *payloads: bytes) -> bytes:
    payload = b"".join(payloads)
    return struct.pack(">I", 8 + len(payload)) + kind + payload


def full(kind: bytes, *payloads: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *payloads)


def ispe(width: int, height: int) -> Property:
    return Property(full(b"ispe", struct.pack(">II", width, height)), essential=False)


def irot(quarters: int) -> Property:
    """Anticlockwise."""
    return Property(box(b"irot", bytes([quarters])))


def imir(axis: int) -> Property:
    """0: upside down; 1: left for right."""
    return Property(box(b"imir", bytes([axis])))


def clap(*numbers: int) -> Property:
    """Width, height, and how far the middle is off, each as numerator and denominator."""
    return Property(box(b"clap", struct.pack(">8i", *numbers)))


def nclx(primaries: int, transfer: int, matrix: int, *, full_range: bool = True) -> Property:
    points = struct.pack(">HHHB", primaries, transfer, matrix, full_range << 7)
    return Property(box(b"colr", b"nclx", points), essential=False)


AS_IS = nclx(1, 13, 0)
"""What goes with :data:`EXACT`."""


def profile(icc: bytes) -> Property:
    return Property(box(b"colr", b"prof", icc), essential=False)


def hvcc(hevc: Hevc) -> Property:
    return Property(box(b"hvcC", hevc.configuration))


def aux(kind: bytes = ALPHA) -> Property:
    return Property(full(b"auxC", kind, b"\0"))


def coded(hevc: Hevc, *further: Property) -> Item:
    return Item(b"hvc1", hevc.data, (hvcc(hevc), ispe(hevc.width, hevc.height), *further))


def grid(columns: int, rows: int, width: int, height: int, *further: Property) -> Item:
    content = struct.pack(">BBBBII", 0, 1, rows - 1, columns - 1, width, height)
    return Item(b"grid", content, (ispe(width, height), *further))


def exif_item(block: bytes) -> Item:
    return Item(b"Exif", b"\0\0\0\6Exif\0\0" + block)


def xmp_item(xmp: bytes) -> Item:
    return Item(b"mime", xmp, content_type=XMP_TYPE)


def encode(levels: NDArray[Any], **options: Any) -> Hevc:
    """(H, W) or (H, W, 3), uint8, or uint16 of which 10 bits are kept; sides divide by 64."""
    return _encode(levels.tobytes(), levels.shape, levels.dtype.str, tuple(options.items()))


@lru_cache(maxsize=256)
def _encode(
    data: bytes, shape: tuple[int, ...], kind: str, options: tuple[tuple[str, Any], ...]
) -> Hevc:
    height, width = shape[:2]
    if kind == "|u1":
        image = pillow_heif.from_pillow(Image.fromarray(np.frombuffer(data, kind).reshape(shape)))
    else:
        mode = "RGB;16" if len(shape) == 3 else "L;16"
        image = pillow_heif.from_bytes(mode, (width, height), data)
    buffer = BytesIO()
    image.save(buffer, **{"quality": 90, **dict(options)})
    file = buffer.getvalue()
    at = file.index(b"hvcC")
    (size,) = struct.unpack_from(">I", file, at - 4)
    return Hevc(file[at + 4 : at - 4 + size], file[file.index(b"mdat") + 4 :], width, height)


def heif(
    items: Sequence[Item],
    references: Sequence[Reference] = (),
    *,
    primary: int = 1,
    brands: Sequence[bytes] = (b"heic", b"mif1", b"heic"),
    idat: bytes = b"",
    method: int = 0,
    elsewhere: int = 0,
    pieces: Callable[[int, int, int], Pieces] = lambda number, at, length: [(at, length)],
    behind: bytes = b"",
) -> bytes:
    """Items are numbered from 1.

    ``method`` and ``elsewhere`` are those of the first item; ``pieces`` may put items elsewhere: of
    the number, where the item is, and its length.
    """
    head = box(b"ftyp", brands[0], bytes(4), *brands[1:])
    start = 0
    for _ in range(2):  # for its length first
        meta = _meta(items, references, primary, idat, method, elsewhere, pieces, start, behind)
        start = len(head) + len(meta) + 8
    return head + meta + box(b"mdat", *(item.content for item in items))


def _meta(
    items: Sequence[Item],
    references: Sequence[Reference],
    primary: int,
    idat: bytes,
    method: int,
    elsewhere: int,
    pieces: Callable[[int, int, int], Pieces],
    start: int,
    behind: bytes,
) -> bytes:
    entries, places, associations = [], [], []
    properties: dict[bytes, int] = {}
    for number, item in enumerate(items, 1):
        name = b"\0" + (item.content_type + b"\0" if item.content_type else b"")
        entry = struct.pack(">HH", number, 0) + item.kind + name
        entries.append(full(b"infe", entry, version=2))
        where = pieces(number, start, len(item.content))
        places.append(struct.pack(">H", number))
        places.append(
            struct.pack(">HHH", *((method, elsewhere) if number == 1 else (0, 0)), len(where))
        )
        places += [struct.pack(">II", *piece) for piece in where]
        start += len(item.content)
        own = [
            properties.setdefault(one.box, len(properties) + 1) | one.essential << 15
            for one in item.properties
        ]
        associations.append(struct.pack(f">HB{len(own)}H", number, len(own), *own))
    count = struct.pack(">H", len(items))
    links = [
        box(
            one.kind,
            struct.pack(f">HH{len(one.targets)}H", one.source, len(one.targets), *one.targets),
        )
        for one in references
    ]
    return full(
        b"meta",
        full(b"hdlr", bytes(4), b"pict", bytes(13)),
        full(b"pitm", struct.pack(">H", primary)),
        full(b"iinf", count, *entries),
        full(b"iref", *links),
        box(
            b"iprp",
            box(b"ipco", *properties),
            full(b"ipma", struct.pack(">I", len(items)), *associations, flags=1),
        ),
        box(b"idat", idat),
        full(b"iloc", b"\x44\0", count, *places, version=1),
        behind,
    )


def gridded(
    levels: NDArray[Any], tile: int, *further: Property, **options: Any
) -> tuple[list[Item], Reference]:
    """As a grid, item 1, of square tiles, which are as large as they must be."""
    height, width = levels.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    room = ((0, rows * tile - height), (0, columns * tile - width), (0, 0))[: levels.ndim]
    padded = np.pad(levels, room, mode="edge")
    tiles = [
        coded(encode(np.ascontiguousarray(padded[y : y + tile, x : x + tile]), **options))
        for y in range(0, rows * tile, tile)
        for x in range(0, columns * tile, tile)
    ]
    whole = grid(columns, rows, width, height, *further)
    return [whole, *tiles], Reference(b"dimg", 1, range(2, 2 + len(tiles)))


def tiled(
    stored: NDArray[Any], tile: int, told: Sequence[Item], *further: Property, **options: Any
) -> bytes:
    """As telephones write it: a grid, perhaps another for its alpha, and what is told of both.

    ``stored`` has 1, 3 or 4 channels; ``further`` properties of turning go for the alpha, too.
    """
    picture = stored[..., 0] if stored.shape[2] == 1 else stored[..., :3]
    items, tiles = gridded(picture, tile, *further, **options)
    references = [tiles]
    if stored.shape[2] == 4:
        turns = [one for one in further if one.box[4:8] in (b"irot", b"imir", b"clap")]
        cover, of_cover = gridded(stored[..., 3], tile, aux(), *turns, quality=-1)
        first = len(items) + 1
        targets = [first - 1 + one for one in of_cover.targets]
        references += [Reference(b"dimg", first, targets), Reference(b"auxl", first, [1])]
        items += cover
    for item in told:
        items.append(item)
        references.append(Reference(b"cdsc", len(items), [1]))
    return heif(items, references)
