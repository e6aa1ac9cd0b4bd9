"""A picture's bytes, before Pillow sees them: without what it need not read, and not too intricate.

Whatever is read costs time and memory, most of all in loops of Python over chunks that a hostile
file holds by the million, or that inflate a thousandfold.  What matters of a file are its pixels,
metadata and colour profile; comments, thumbnails and further pictures are left out unread.
"""

from __future__ import annotations

import logging
import re
import struct
import zlib

from app.errors import BrokenPicture, TooLarge
from app.imaging.directories import check_first, is_modest

log = logging.getLogger(__name__)

MOST_PROFILE = 2**20
"""Bytes of a colour profile; PNGs with larger ones are refused by Pillow, and others."""
MOST_TEXT = 2**18
"""Bytes of a text that holds EXIF or XMP."""
MOST_PARTS = 65_536
"""Chunks of a PNG, segments of a JPEG."""
MOST_SCANS = 100
"""Of a JPEG; each is as much work as the whole picture.  libtiff has the same limit."""
MOST_TABLES = 2**20
"""Bytes of a JPEG's tables and headers."""
MOST_RUN_LENGTH_PIXELS = 2**21
"""Of a BMP whose run lengths Pillow decodes in Python."""
_FRAME_HEADER = 16  # bytes, of a frame of a WebP


# --- JPEG

_NOT_FILL = re.compile(rb"[^\xff]")
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
ALONE = {0x00, 0x01, *range(0xD0, 0xDA)}  # markers without a segment; stray ones are skipped
SOS, _EOI, _COMMENT = 0xDA, 0xD9, 0xFE
_APP0, _APP1, _APP2, _APP13, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF
_BEFORE_PROFILE = 14  # bytes of a segment: its name, which piece it is, and of how many
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def slim_jpeg(data: bytes) -> bytes:
    """Without comments, and without application segments that nobody asks for.

    One of them says where the further pictures of an MPO are: without it, it is a plain JPEG.
    """
    kept: list[bytes] = []
    exif: list[bytes] = []
    tables, profile, captions, at = 0, 0, 0, 2
    for _ in range(MOST_PARTS):
        marker, start = next_marker(data, at)
        if marker in ALONE:
            at = start
            continue
        if marker == SOS:
            _check_scans(data, start - 2)
            break
        at = start + segment_length(data, start)
        payload = data[start + 2 : at]
        segment = b"\xff" + data[start - 1 : at]
        if marker == _APP1 and payload.startswith(b"Exif\0\0"):
            exif.append(segment)
        elif marker == _APP2 and payload.startswith(b"ICC_PROFILE\0"):
            profile += len(payload)
            if profile <= MOST_PROFILE + 255 * _BEFORE_PROFILE and len(payload) > _BEFORE_PROFILE:
                kept.append(segment)  # one piece too few, and Pillow drops all
        elif marker == _APP13 and payload.startswith(b"Photoshop 3.0\0"):  # IPTC is in there
            captions += len(payload)
            if captions <= MOST_TEXT:
                kept.append(segment)
        elif _matters(marker, payload):
            tables += len(segment)
            kept.append(segment)
        if tables > MOST_TABLES:
            raise BrokenPicture("The picture's header is too long to be true.")
    else:
        raise BrokenPicture("The picture's header is too long to be true.")
    if not is_modest(b"".join(segment[10:] for segment in exif)):
        log.info("EXIF out of all proportion dropped")
        exif = []
    return b"".join([data[:2], *exif, *kept, b"\xff", data[start - 1 :]])


def _matters(marker: int, payload: bytes) -> bool:
    if marker == _APP1:
        return payload.startswith(_XMP) and len(payload) <= MOST_TEXT  # may say what is up
    if marker in (_APP0, _APP14):
        return payload.startswith((b"JFIF", b"Adobe"))  # which colours these are
    return not _APP0 <= marker <= _APP15 and marker != _COMMENT


def next_marker(data: bytes, at: int) -> tuple[int, int]:
    """The next marker's second byte, and where its segment starts."""
    first = data.find(b"\xff", at)
    found = _NOT_FILL.search(data, first) if first >= 0 else None
    if found is None:
        raise BrokenPicture("The picture is broken or cut off.")
    return data[found.start()], found.end()


def segment_length(data: bytes, start: int) -> int:
    length = int.from_bytes(data[start : start + 2], "big")
    if length < 2 or start + length > len(data):
        raise BrokenPicture("The picture is broken or cut off.")
    return length


def _check_scans(data: bytes, at: int) -> None:
    """Raises where more scans than MOST_SCANS follow."""
    if data.count(b"\xff\xda", at) <= MOST_SCANS:  # nearly always, and a hundred times faster
        return
    scans = 0
    for _ in range(MOST_PARTS):
        found = _AFTER_SCAN.search(data, at)
        if found is None or data[found.end() - 1] == _EOI:
            return
        at = found.end()
        scans += data[at - 1] == SOS
        if scans > MOST_SCANS:
            break
        if data[at - 1] not in ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
    raise BrokenPicture("The picture has too many scans to be true.")


# --- PNG

_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_TEXT_NAME = 21  # bytes that tell the wanted ones apart
_RAW_PROFILES = (b"Raw profile type exif\0", b"Raw profile type iptc\0")


def slim_png(data: bytes) -> bytes:
    """Without unknown chunks, idle texts, and the frames of an animation but the first."""
    kept, seen, at = [data[:8]], set[bytes](), 8
    for _ in range(MOST_PARTS):
        if at + 8 > len(data):
            return b"".join(kept)  # cut off; whether that matters shows when the pixels are read
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if kind in _PIXELS:
            kept.append(data[at:end])
        elif end <= len(data):
            name = kind + data[at + 8 : at + 8 + _TEXT_NAME].split(b"\0")[0]
            name = name if kind in _TEXTS else kind
            if name not in seen:
                seen.add(name)  # also if it is refused: looking may mean to inflate it
                if _is_wanted(kind, data[at + 4 : end]):
                    kept.append(data[at:end])
        at = end
        if kind == b"IEND":
            return b"".join(kept)
    raise BrokenPicture("The picture has too many chunks to be true.")


def _is_wanted(kind: bytes, chunk: bytes) -> bool:
    """Whether a chunk beside the pixels, from its kind to its checksum, is sound and of use."""
    payload, checksum = chunk[4:-4], chunk[-4:]
    if kind == b"eXIf":
        wanted = is_modest(payload)
    elif kind == b"iCCP":
        wanted = _inflates_to(_after_names(payload, 1)[1:], MOST_PROFILE)
    elif kind == b"pHYs":
        wanted = len(payload) == 9
    elif kind in _TEXTS and payload.startswith(_RAW_PROFILES):
        # two digits for a byte, and a tenth of a byte for a number: modest by its length
        rest = _after_names(payload, 1)
        wanted = len(rest) <= MOST_TEXT and (kind != b"zTXt" or _inflates_to(rest[1:], MOST_TEXT))
    elif kind == b"iTXt" and payload.startswith(b"XML:com.adobe.xmp\0"):
        rest = _after_names(payload, 1)
        packed, text = rest[:1] != b"\0", _after_names(rest[2:], 2)
        wanted = len(text) <= MOST_TEXT and (not packed or _inflates_to(text, MOST_TEXT))
    else:
        return False
    return wanted and zlib.crc32(chunk[:-4]).to_bytes(4, "big") == checksum


def _after_names(payload: bytes, count: int) -> bytes:
    """What follows ``count`` strings that end in a zero byte."""
    parts = payload.split(b"\0", count)
    return parts[count] if len(parts) > count else b""


def _inflates_to(packed: bytes, most: int) -> bool:
    """Whether this is zlib data of at most so many bytes."""
    inflater = zlib.decompressobj()
    try:
        return len(inflater.decompress(packed, most + 1)) <= most and inflater.eof
    except zlib.error:
        return False


# --- WebP


def is_lossless_webp(data: bytes) -> bool:
    """Whether the first frame is: by the first chunk of pixels, after those that tell of it."""
    at = 12
    for _ in range(MOST_PARTS):
        kind = data[at : at + 4]
        if kind in (b"VP8L", b"VP8 ") or len(kind) < 4:
            return kind == b"VP8L"
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + (_FRAME_HEADER if kind == b"ANMF" else length + length % 2)
    return False


# --- BMP


def check_bmp(data: bytes) -> bytes:
    """Itself.  Raises TooLarge, BrokenPicture for run lengths by the million."""
    if len(data) < 34 or int.from_bytes(data[14:18], "little") < 40:
        return data
    width, height, _, _, packing = struct.unpack_from("<iiHHI", data, 18)
    if packing not in (1, 2):
        return data
    pixels = abs(width) * abs(height)
    if pixels > MOST_RUN_LENGTH_PIXELS:
        raise TooLarge(
            f"The picture has {abs(width)}x{abs(height)} pixels; a BMP of run lengths may have "
            f"{MOST_RUN_LENGTH_PIXELS}."
        )
    if len(data) > MOST_TABLES + 4 * pixels:
        raise BrokenPicture("The picture is too long to be true.")
    return data


# --- TIFF


def check_tiff(data: bytes) -> bytes:
    """Itself.  Raises where the first picture's directory asks too much of a reader."""
    check_first(data)
    return data
