"""What of a HEIC file is decoded: the primary picture, its alpha, and what is told of them.

Thumbnails, further pictures, depth and gain maps are never looked at.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from app.errors import BrokenPicture, ServiceError, TooLarge, UnsupportedPicture
from app.imaging.heic.boxes import BROKEN, CONTRADICTORY, INCOMPLETE, Reader
from app.imaging.heic.container import Container, Property, read_container
from app.imaging.heic.hevc import Stream, read_stream, slices
from app.imaging.precautions import MOST_PROFILE, MOST_TEXT

log = logging.getLogger(__name__)

ROOMY_TILES = 2048**2
"""Pixels: tiles may reach beyond a small picture, within reason."""
MOST_TILES = 900
"""libheif reads a thousand items."""
MOST_EXIF = 2**20  # bytes
_ALPHA = (
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
    b"urn:mpeg:hevc:2015:auxid:1",
)
_XMP = b"application/rdf+xml"
_TURNS = {b"irot": 1, b"imir": 1, b"clap": 32}  # and bytes of their payloads
_KNOWN = {*_TURNS, b"hvcC", b"ispe", b"colr", b"pixi", b"pasp", b"auxC"}
_SIZES = "The picture's sizes contradict each other."
_OTHER_CODECS = {b"av01": "AVIF", b"jpeg": "JPEG", b"vvc1": "VVC", b"avc1": "AVC"}


@dataclass(frozen=True)
class Coded:
    """A picture as it is decoded: one stream, or a grid of tiles that are alike."""

    width: int
    """In pixels, before it is turned or cut; likewise the height."""
    height: int
    columns: int
    rows: int
    stream: Stream
    tiles: tuple[tuple[bytes, ...], ...]
    """The slices of each, row by row."""


Turn = tuple[bytes, bytes]
"""A transformation: its kind (irot, imir, clap), and the property's payload."""


@dataclass(frozen=True)
class Still:
    """A photo of which every size is checked, and nothing is decoded."""

    picture: Coded
    alpha: Coded | None
    turns: tuple[Turn, ...]
    """In order."""
    width: int
    """In pixels, of the result; likewise the height."""
    height: int
    nclx: bytes
    """The code points of the colours (7 bytes, ISO/IEC 23091-2), or empty."""
    icc_profile: bytes | None
    exif: bytes
    xmp: bytes


def find_still(data: bytes) -> Still:
    """Raises BrokenPicture, UnsupportedPicture, or TooLarge."""
    container = read_container(data)
    primary = container.primary
    picture = _coded(container, primary)
    properties = _properties(container, primary)
    turns = _turns(properties)
    width, height = _turned_size(turns, picture.width, picture.height)
    _check_tiles(picture, width * height)
    alpha = _alpha(container, picture, turns)
    if alpha is not None:
        _check_tiles(alpha, width * height)
        if container.targets(b"prem", primary):
            raise UnsupportedPicture("HEIC of premultiplied alpha is not read.")
    for tile in container.targets(b"dimg", primary)[:1]:  # some tell of colours there alone
        properties += _properties(container, tile)
    nclx, icc_profile = _colours(properties)
    exif = _told(container, primary, b"Exif", MOST_EXIF)
    return Still(
        picture,
        alpha,
        turns=turns,
        width=width,
        height=height,
        nclx=nclx,
        icc_profile=icc_profile,
        exif=exif[4 + int.from_bytes(exif[:4], "big") :],
        xmp=_told(container, primary, _XMP, MOST_TEXT),
    )


def _turned_size(turns: tuple[Turn, ...], width: int, height: int) -> tuple[int, int]:
    for kind, payload in turns:
        if kind == b"clap":
            _, _, width, height = clean_aperture(payload, width, height)
        elif kind == b"irot" and payload[0] & 1:
            width, height = height, width
    return width, height


def _check_tiles(coded: Coded, pixels: int) -> None:
    """Raises TooLarge where decoding would take far more than the picture has."""
    if coded.stream.width * coded.stream.height * len(coded.tiles) > max(ROOMY_TILES, 2 * pixels):
        raise TooLarge("The picture's tiles are far larger than the picture.")


def clean_aperture(payload: bytes, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of what a ``clap`` leaves (14496-12, 12.1.4), in whole pixels.

    Raises BrokenPicture where that is nothing, or reaches beyond the picture.
    """
    numbers = [int.from_bytes(payload[at : at + 4], "big", signed=True) for at in range(0, 32, 4)]
    left, across = _span(numbers[0:2], numbers[4:6], width)
    top, down = _span(numbers[2:4], numbers[6:8], height)
    return left, top, across, down


def _span(length: list[int], offset: list[int], whole: int) -> tuple[int, int]:
    """Start and length: the middle is ``offset`` away from that of the ``whole``."""
    if length[1] < 1 or offset[1] < 1:
        raise BrokenPicture(BROKEN)
    kept = length[0] // length[1]
    start = ((whole - kept) * offset[1] + 2 * offset[0]) // (2 * offset[1])
    if kept < 1 or start < 0 or start + kept > whole:
        raise BrokenPicture(_SIZES)
    return start, kept


def _coded(container: Container, item: int) -> Coded:
    if _kind(container, item) == b"grid":
        return _grid(container, item)
    return _tiled(container, [item], (1, 1), None)


def _grid(container: Container, item: int) -> Coded:
    """Of tiles that are HEVC themselves: a grid of grids is refused, and with it a cycle."""
    reader = Reader(memoryview(container.content(item)))
    reader.take(1)
    wide = 4 if reader.number(1) & 1 else 2
    rows, columns = reader.number(1) + 1, reader.number(1) + 1
    size = reader.number(wide), reader.number(wide)
    if _size(_properties(container, item)) != size:
        raise BrokenPicture(_SIZES)
    return _tiled(container, container.targets(b"dimg", item), (columns, rows), size)


def _tiled(
    container: Container, items: list[int], shape: tuple[int, int], size: tuple[int, int] | None
) -> Coded:
    """Tiles as one picture; its size is that of the one tile, unless it is told."""
    columns, rows = shape
    if len(items) != columns * rows:
        raise BrokenPicture(_SIZES)
    if len(items) > MOST_TILES:
        raise UnsupportedPicture("The picture has more tiles than are read.")
    stream, tiles, room = None, [], container.size
    for item in items:
        if _kind(container, item) != b"hvc1":
            raise UnsupportedPicture("Only grids of HEVC pictures are read, not grids of grids.")
        properties = _properties(container, item)
        if size is not None and _turns(properties):
            raise UnsupportedPicture("Grids whose tiles are turned or cut are not read.")
        own = read_stream(_one(properties, b"hvcC"))
        if _size(properties) != (own.width, own.height) or own != (stream or own):
            raise BrokenPicture(_SIZES)
        content = container.content(item)
        room -= len(content)
        if room < 0:
            raise BrokenPicture("The picture's parts overlap.")
        stream = own
        tiles.append(tuple(slices(content, stream)))
    assert stream is not None  # a grid has one tile at least
    width, height = size or (stream.width, stream.height)
    if not (
        0 <= columns * stream.width - width < stream.width
        and 0 <= rows * stream.height - height < stream.height
    ):
        raise BrokenPicture(_SIZES)
    return Coded(width, height, columns, rows, stream, tuple(tiles))


def _alpha(container: Container, picture: Coded, turns: tuple[Turn, ...]) -> Coded | None:
    """The primary picture's, if it has one.  It is turned as that is."""
    for item in dict.fromkeys(container.sources(b"auxl", container.primary)):
        properties = container.properties(item)
        kinds = [one.payload for one in properties if one.kind == b"auxC"]
        if not any(Reader(payload[4:]).text() in _ALPHA for payload in kinds):
            continue
        alpha = _coded(container, item)
        size = (alpha.width, alpha.height, alpha.stream.bits)
        if size != (picture.width, picture.height, picture.stream.bits):
            raise UnsupportedPicture("Pictures whose alpha is of another size are not read.")
        if _turns(properties) not in (turns, ()):
            raise BrokenPicture(CONTRADICTORY)
        return alpha
    return None


def _kind(container: Container, item: int) -> bytes:
    if item not in container.items:
        raise BrokenPicture("The picture refers to parts that it does not have.")
    kind = container.items[item].kind
    if kind in _OTHER_CODECS:
        raise UnsupportedPicture(
            f"Of HEIF files those of HEVC are read, not {_OTHER_CODECS[kind]}."
        )
    if kind not in (b"hvc1", b"grid"):
        raise UnsupportedPicture("Of HEIF files those of HEVC, and grids of it, are read.")
    return kind


def _properties(container: Container, item: int) -> list[Property]:
    properties = container.properties(item)
    if unknown := [one.kind for one in properties if one.essential and one.kind not in _KNOWN]:
        log.info("essential properties that are not known: %s", unknown[:3])
        raise UnsupportedPicture("The picture is changed in a way that is not known here.")
    return properties


def _one(properties: list[Property], kind: bytes) -> memoryview:
    found = [one.payload for one in properties if one.kind == kind]
    if len(found) != 1:
        raise BrokenPicture(INCOMPLETE)
    return found[0]


def _size(properties: list[Property]) -> tuple[int, int]:
    reader = Reader(_one(properties, b"ispe"))
    reader.full()
    return reader.number(4), reader.number(4)


def _turns(properties: list[Property]) -> tuple[Turn, ...]:
    """Raises BrokenPicture for more than one of a kind, or none that could be."""
    found = [(one.kind, bytes(one.payload[:33])) for one in properties if one.kind in _TURNS]
    if len({kind for kind, _ in found}) < len(found):
        raise BrokenPicture(CONTRADICTORY)
    if any(len(payload) != _TURNS[kind] for kind, payload in found):
        raise BrokenPicture(BROKEN)
    return tuple(found)


def _colours(properties: list[Property]) -> tuple[bytes, bytes | None]:
    """Code points, and a profile, each as far as it is told once and soundly."""
    told: dict[bytes, bytes] = {}
    for one in properties:
        kind = bytes(one.payload[:4])
        if one.kind != b"colr" or kind not in (b"nclx", b"prof", b"rICC"):
            continue
        if len(one.payload) > 4 + MOST_PROFILE:
            log.info("colour profile of %d bytes dropped", len(one.payload))
            continue
        told.setdefault(b"nclx" if kind == b"nclx" else b"prof", bytes(one.payload[4:]))
    nclx = told.get(b"nclx", b"")
    return nclx if len(nclx) == 7 else b"", told.get(b"prof") or None


def _told(container: Container, primary: int, kind: bytes, most: int) -> bytes:
    """The metadata of this kind that describes the picture; broken, it costs itself alone."""
    for item in container.sources(b"cdsc", primary):
        one = container.items.get(item)
        if one is None or (one.content_type or one.kind) != kind:
            continue
        try:
            content = container.content(item, most)
        except ServiceError as error:
            log.info("%s dropped: %s", kind.decode("ascii", "replace"), error)
            return b""
        return content
    return b""
