"""IPTC records (IIM: captions, credits) in the wrappings that each format has for them."""

from __future__ import annotations

import struct

RESOURCE = 0x0404
"""Number of the records among Photoshop's resources."""
MOST = 65_000
"""Bytes that fit into a segment of a JPEG with their wrapping."""
_HEADER = struct.Struct(">4sHHI")
_LINE = 72  # digits; any would do


def resource(records: bytes) -> bytes:
    """As one of Photoshop's resources, of an empty name."""
    return _HEADER.pack(b"8BIM", RESOURCE, 0, len(records)) + records + bytes(len(records) % 2)


def jpeg_segment(records: bytes) -> bytes:
    """APP13, with its marker."""
    payload = b"Photoshop 3.0\0" + resource(records)
    return b"\xff\xed" + struct.pack(">H", 2 + len(payload)) + payload


def to_text(records: bytes) -> str:
    """As PNGs have it since ImageMagick: a name, a length, and hexadecimal digits."""
    wrapped = resource(records)
    digits = wrapped.hex()
    lines = [digits[at : at + _LINE] for at in range(0, len(digits), _LINE)]
    return "\n".join(["", "iptc", f"{len(wrapped):8d}", *lines, ""])


def from_text(text: str) -> bytes:
    """Raises ValueError where that is not what the text is."""
    data = bytes.fromhex("".join(text.split("\n")[3:]))
    if data[:1] == b"\x1c":  # without a wrapping
        return data
    if len(data) < _HEADER.size:
        raise ValueError("no resource of Photoshop's")
    kind, number, name, length = _HEADER.unpack_from(data)
    if (kind, number, name) != (b"8BIM", RESOURCE, 0):
        raise ValueError("no IPTC in a resource of Photoshop's")
    return data[_HEADER.size : _HEADER.size + length]
