"""Gain maps: the small picture behind a JPEG that says how much brighter an HDR screen shows it.

Phones write them as Ultra HDR: the photo's XMP lists the pictures of the file (``Container``), a
multi-picture index (MPF, CIPA DC-007) says where they begin, and the gain map says what its levels
mean, in XMP (``hdrgm``) or as ISO 21496-1 has it.  The map has no resolution of its own, so it fits
an enlarged photo, too.  It is read where photos are decoded, and encoded anew, so that nothing of
the file comes through but its levels, its profile, and what its levels mean.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from io import BytesIO

from PIL import Image

from app.imaging.directories import Block
from app.imaging.photo import GainMap
from app.imaging.precautions import (
    ALONE,
    MOST_PARTS,
    MOST_PROFILE,
    SOS,
    next_marker,
    segment_length,
    slim_jpeg,
)
from app.imaging.xmp import gain_map_properties

log = logging.getLogger(__name__)

_APP0, _APP1, _APP2 = 0xE0, 0xE1, 0xE2
_INDEX = b"MPF\0"
_ISO = b"urn:iso:std:iso:ts:21496:-1\0"
_ISO_OF_THE_PHOTO = _ISO + bytes(4)  # the versions that a reader needs
_MOST_ISO = 1024  # bytes of a map's; three channels take 150
_ENTRIES = 0xB002  # tag of the index
_ENTRY = struct.Struct("LLLHH")  # attributes, size, offset, two dependent pictures
_MOST_PICTURES = 8
_PRIMARY = 0x030000  # attribute of the photo
_QUALITY = 95


def read_gain_map(
    jpeg: bytes, max_pixels: int, transpose: Image.Transpose | None
) -> GainMap | None:
    """The gain map behind a JPEG, transposed like the photo; None if it has none that is sound.

    It may have ``max_pixels``.  Raises MemoryError.
    """
    try:
        for picture in _further_pictures(jpeg):
            if (gain_map := _decoded(picture, max_pixels, transpose)) is not None:
                return gain_map
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  (it costs itself, never the photo)
        log.info("unreadable gain map dropped: %s: %s", type(error).__name__, error)
    return None


def with_gain_map(photo: bytes, gain_map: GainMap) -> bytes:
    """A JPEG followed by a gain map, with the index of both."""
    segments = _segment(_ISO_OF_THE_PHOTO) if gain_map.iso else b""
    at = _after_exif(photo)
    index = at + len(segments) + 4 + len(_INDEX)  # what the index counts from
    size = len(photo) + len(segments) + len(_segment(_index(0, 0, 0)))
    segments += _segment(_index(size, len(gain_map.jpeg), size - index))
    return photo[:at] + segments + photo[at:] + gain_map.jpeg


def _decoded(picture: bytes, max_pixels: int, transpose: Image.Transpose | None) -> GainMap | None:
    """None if the picture is no gain map.  Raises nearly anything where it is broken."""
    iso = next((payload for _, payload in _app2(picture) if payload.startswith(_ISO)), b"")
    with Image.open(BytesIO(slim_jpeg(picture)), formats=["JPEG"]) as image:
        properties = gain_map_properties(image.info.get("xmp", b""))
        if not properties and not 0 < len(iso) <= _MOST_ISO:
            return None
        if image.mode not in ("L", "RGB") or image.width * image.height > max_pixels:
            raise ValueError(f"{image.mode}, {image.width}x{image.height}")
        profile = image.info.get("icc_profile") or b""
        upright = image if transpose is None else image.transpose(transpose)
        buffer = BytesIO()
        upright.save(
            buffer,
            "JPEG",
            quality=_QUALITY,
            subsampling=0,
            exif=b"",
            xmp=properties,
            icc_profile=profile if len(profile) <= MOST_PROFILE else None,
            extra=_segment(iso) if 0 < len(iso) <= _MOST_ISO else b"",
        )
    return GainMap(buffer.getvalue(), in_xmp=bool(properties), iso=bool(iso))


def _further_pictures(jpeg: bytes) -> Iterator[bytes]:
    """All but the first that the multi-picture index lists, where they are JPEGs."""
    for start, payload in _app2(jpeg):
        if not payload.startswith(_INDEX):
            continue
        index = payload[len(_INDEX) :]
        block = Block(index)
        entry = next((e for e in block.entries(block.first) if e.tag == _ENTRIES), None)
        if entry is None:
            return
        (at,) = struct.unpack_from(block.order + "L", entry.value)
        layout = struct.Struct(block.order + _ENTRY.format)
        count = min(entry.length // layout.size, _MOST_PICTURES)
        for number in range(1, count):
            _, size, offset, *_ = layout.unpack_from(index, at + number * layout.size)
            first = start + len(_INDEX) + offset
            if jpeg[first : first + 3] == b"\xff\xd8\xff":
                yield jpeg[first : first + size]
        return


def _app2(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """Where the payloads of the APP2 segments before the pixels begin, and the payloads."""
    at = 2
    for _ in range(MOST_PARTS):
        marker, start = next_marker(jpeg, at)
        if marker == SOS:
            return
        at = start
        if marker not in ALONE:
            at += segment_length(jpeg, start)
            if marker == _APP2:
                yield start + 2, jpeg[start + 2 : at]


def _after_exif(jpeg: bytes) -> int:
    """Where segments go that follow JFIF, EXIF and XMP, in a JPEG of our own."""
    at = 2
    while jpeg[at + 1] in (_APP0, _APP1):
        at += 2 + segment_length(jpeg, at + 2)
    return at


def _index(photo_size: int, map_size: int, map_offset: int) -> bytes:
    """Of two pictures; the offset counts from the index' own byte order on."""
    entries = struct.pack("<LLLHH", _PRIMARY, photo_size, 0, 0, 0)
    entries += struct.pack("<LLLHH", 0, map_size, map_offset, 0, 0)
    directory = struct.pack(
        "<2sHLH HHL4s HHLL HHLL L",
        *(b"II", 42, 8, 3),
        *(0xB000, 7, 4, b"0100"),
        *(0xB001, 4, 1, 2),
        *(_ENTRIES, 7, len(entries), 50),
        0,
    )
    return _INDEX + directory + entries


def _segment(payload: bytes) -> bytes:
    return b"\xff\xe2" + struct.pack(">H", 2 + len(payload)) + payload
