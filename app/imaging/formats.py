"""The formats of pictures, in one table: a new one is a row here, and a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.imaging.precautions import check_bmp, check_tiff, slim_jpeg, slim_png

if TYPE_CHECKING:
    from app.imaging.photo import FileFormat  # which loads OpenCV

_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
_AVIF = {b"avif", b"avis"}
_OF_ANY_CODEC = {b"mif1", b"msf1"}
_MOST_BRANDS = 64


def _starts_with(*prefixes: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(prefixes)


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:15] == b"WEBPVP8"


def _brands(data: bytes) -> list[bytes]:
    """Of a file of boxes, the main one first; none for another file."""
    size = int.from_bytes(data[:4], "big")
    if data[4:8] != b"ftyp" or not 16 <= size <= min(len(data), 16 + 4 * _MOST_BRANDS):
        return []
    return [data[at : at + 4] for at in (8, *range(16, size, 4))]


def _is_avif(data: bytes) -> bool:
    return not _AVIF.isdisjoint(_brands(data))


def _is_heic(data: bytes) -> bool:
    """Whether the file says so; what it holds then is another question."""
    brands = _brands(data)
    return not _is_avif(data) and (
        not _HEIC.isdisjoint(brands) or (bool(brands) and brands[0] in _OF_ANY_CODEC)
    )


@dataclass(frozen=True)
class Format:
    name: FileFormat
    label: str
    """As people call it."""
    suffixes: tuple[str, ...]
    accepts: Callable[[bytes], bool]
    """Whether a file claims to be one, by how it begins."""
    pillow: str | None
    """Name of Pillow's plug-in; None for what :mod:`app.imaging.heic` reads."""
    prepare: Callable[[bytes], bytes] = bytes
    """The bytes to read instead.  Raises BrokenPicture, TooLarge, UnsupportedPicture."""


FORMATS = (
    Format("jpeg", "JPEG", (".jpg", ".jpeg"), _starts_with(b"\xff\xd8\xff"), "JPEG", slim_jpeg),
    Format("png", "PNG", (".png",), _starts_with(b"\x89PNG\r\n\x1a\n"), "PNG", slim_png),
    Format("webp", "WebP", (".webp",), _is_webp, "WEBP"),
    Format("avif", "AVIF", (".avif",), _is_avif, "AVIF"),
    Format("gif", "GIF", (".gif",), _starts_with(b"GIF87a", b"GIF89a"), "GIF"),
    Format("bmp", "BMP", (".bmp",), _starts_with(b"BM"), "BMP", check_bmp),
    Format(
        "tiff",
        "TIFF",
        (".tif", ".tiff"),
        _starts_with(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"II\0*", b"MM*\0"),
        "TIFF",
        check_tiff,
    ),
    Format("heic", "HEIC", (".heic", ".heif", ".hif"), _is_heic, None),
)

SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)
"""Of files that are read."""
LABELS = ", ".join(each.label for each in FORMATS[:-1]) + f" or {FORMATS[-1].label}"
"""Of all of them, for a sentence."""


def format_of(data: bytes) -> Format | None:
    """What a file claims to be."""
    return next((each for each in FORMATS if each.accepts(data)), None)
