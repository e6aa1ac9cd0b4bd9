"""What is no picture that is read, or two things at once."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from time import gmtime
from zipfile import ZipFile, ZipInfo

from tests.hostile.made import (
    BROKEN,
    FOREIGN,
    TOO_LARGE,
    encoded,
    noise,
    picture,
    u32,
)
from tests.hostile.made import HostileFile as File

_EPOCH = gmtime(0)


def files() -> Iterator[File]:
    yield File("empty", b"", BROKEN)
    yield File("one byte", b"\xff", FOREIGN)
    yield File("one zero", b"\0", FOREIGN)
    yield File("all zeros", bytes(10_000), FOREIGN)
    yield File("all ones", b"\xff" * 10_000, FOREIGN)
    yield File("random bytes", noise(10_000, seed=1), FOREIGN)
    yield File("newlines", b"\r\n" * 500, FOREIGN)
    yield from _pictures()
    yield from _documents()
    yield from _polyglots()


def _pictures() -> Iterator[File]:
    for file_format in (
        "ICO",
        "PPM",
        "TGA",
        "DIB",
        "JPEG2000",
        "PCX",
        "SGI",
        "ICNS",
    ):
        image = picture("RGB", 32, 32)
        yield File(f"foreign: {file_format}", encoded(image, file_format), FOREIGN)
    yield File("foreign: EPS", encoded(picture(), "EPS"), FOREIGN)
    yield File(
        "foreign: PDF", encoded(picture(), "PDF", creationDate=_EPOCH, modDate=_EPOCH), FOREIGN
    )
    yield File("foreign: PSD", b"8BPS\0\1" + bytes(6) + b"\0\3" + u32(20) * 2 + noise(99), FOREIGN)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield File("foreign: SVG", svg, FOREIGN, content_type="image/svg+xml")
    yield File("foreign: SVG said to be a png", svg, FOREIGN, content_type="image/png")
    for brand in (b"heic", b"mif1", b"avif", b"mp42", b"qt  "):
        box = u32(24) + b"ftyp" + brand + bytes(4) + b"mif1" + brand
        statuses = FOREIGN | BROKEN if brand in (b"heic", b"mif1", b"avif") else FOREIGN
        yield File(f"foreign: ftyp {brand.decode().strip()}", box + noise(500), statuses)


def _documents() -> Iterator[File]:
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n"
    yield File("foreign: PostScript", script, FOREIGN)
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        archive.writestr(ZipInfo("photo.jpg"), encoded(picture(), "JPEG"))
    yield File("foreign: ZIP with a photo", packed.getvalue(), FOREIGN)
    yield File("foreign: HTML", b"<!doctype html><img src=x onerror=alert(1)>", FOREIGN)
    yield File("foreign: XML of entities", b'<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>', FOREIGN)
    yield File("foreign: ELF", b"\x7fELF\2\1\1" + bytes(9) + noise(500), FOREIGN)
    yield File("foreign: EXE", b"MZ\x90\0" + noise(500), FOREIGN)
    yield File("foreign: gzip", b"\x1f\x8b\x08\0" + noise(500), FOREIGN)
    yield File("foreign: JSON", b'{"image": "iVBORw0KGgo="}', FOREIGN)
    yield File("foreign: data URL", b"data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==", FOREIGN)
    yield File("foreign: base64 of a jpeg", b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAg=", FOREIGN)
    yield File("foreign: MVG", b"push graphic-context\nimage over 0,0 0,0 'msl:x'\n", FOREIGN)
    yield File("foreign: text that starts with MM", b"MMORPG are games." * 9, FOREIGN)
    yield File("foreign: text that starts with BM", b"BMW is a maker of cars. " * 9, BROKEN)
    mark = b"\xef\xbb\xbf"
    yield File("foreign: a byte order mark and a jpeg", mark + encoded(picture(), "JPEG"), FOREIGN)


def _polyglots() -> Iterator[File]:
    jpeg, png = encoded(picture(), "JPEG"), encoded(picture(), "PNG")
    yield File("polyglot: GIF header and JPEG", b"GIF89a" + jpeg, BROKEN | TOO_LARGE)
    yield File(
        "polyglot: PDF that embeds a JPEG", b"%PDF-1.7\nstream\n" + jpeg + b"\nendstream", FOREIGN
    )
    yield File("polyglot: HTML and PNG", b"<!--" + png + b"-->", FOREIGN)
    yield File("polyglot: JPEG magic and PNG", b"\xff\xd8\xff" + png, BROKEN)
    yield File("polyglot: PNG magic and JPEG", png[:8] + jpeg, BROKEN)
    yield File("polyglot: BMP magic and JPEG", b"BM" + jpeg, BROKEN)
    yield File("polyglot: TIFF magic and PNG", b"II*\0" + png, BROKEN)
    yield File("polyglot: RIFF and JPEG", b"RIFF" + u32(len(jpeg), "<") + b"WEBP" + jpeg, FOREIGN)
