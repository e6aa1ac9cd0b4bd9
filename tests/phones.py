"""Photos as phones write them, after the specifications: Ultra HDR, motion photos, depth maps."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

ISO = b"urn:iso:std:iso:ts:21496:-1\0"
ISO_OF_A_MAP = ISO + bytes(range(62))  # one channel: versions, flags, and eleven fractions
VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(3000)

_HDRGM = "http://ns.adobe.com/hdr-gain-map/1.0/"
_CONTAINER = "http://ns.google.com/photos/1.0/container/"


def packet(description: str) -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about=""{description}</rdf:RDF></x:xmpmeta>'
    ).encode()


def hdrgm(kind: str) -> bytes:
    """The XMP of a gain map: of one channel, or of three, which are lists."""
    rest = ' hdrgm:HDRCapacityMin="0" hdrgm:HDRCapacityMax="2.3" hdrgm:BaseRenditionIsHDR="False"'
    start = f' xmlns:hdrgm="{_HDRGM}" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="3"'
    start += ' hdrgm:Version="1.0"' + rest
    if kind == "L":
        return packet(f'{start} hdrgm:GainMapMin="-0.5" hdrgm:GainMapMax="2.3" hdrgm:Gamma="1"/>')
    most = "".join(f"<rdf:li>{number}</rdf:li>" for number in (2.1, 2.2, 2.3))
    return packet(
        f"{start}><hdrgm:GainMapMax><rdf:Seq>{most}</rdf:Seq></hdrgm:GainMapMax></rdf:Description>"
    )


def directory(*items: tuple[str, str, int], more: str = "") -> bytes:
    """The XMP of the photo; the items are semantics, kinds of file, and lengths."""
    listed = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="{semantic}" '
        f'Item:Mime="{mime}" Item:Length="{length}"/></rdf:li>'
        for semantic, mime, length in (("Primary", "image/jpeg", 0), *items)
    )
    return packet(
        f' xmlns:Container="{_CONTAINER}" xmlns:Item="{_CONTAINER}item/" xmlns:hdrgm="{_HDRGM}"'
        ' xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"'
        ' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Make="A phone"'
        f"{more}><Container:Directory><rdf:Seq>{listed}</rdf:Seq></Container:Directory>"
        "</rdf:Description>"
    )


def jpeg(levels: NDArray[np.uint8], xmp: bytes = b"", extra: bytes = b"", turn: int = 1) -> bytes:
    buffer = BytesIO()
    exif = Image.Exif()
    if turn != 1:
        exif[ExifTags.Base.Orientation] = turn
    image = Image.fromarray(levels)
    image.save(buffer, "JPEG", quality=95, subsampling=0, xmp=xmp, extra=extra, exif=exif)
    return buffer.getvalue()


def segment(payload: bytes) -> bytes:
    return b"\xff\xe2" + struct.pack(">H", 2 + len(payload)) + payload


def with_index(photo: bytes, *further: bytes, order: str = "<") -> bytes:
    """JPEGs one after the other, the first with a multi-picture index after its JFIF segment."""
    count = 1 + len(further)
    length = 4 + 4 + 8 + 2 + 3 * 12 + 4 + 16 * count
    sizes = [len(photo) + length, *map(len, further)]
    base = 20 + 8  # of offsets: after JFIF, marker, length and name
    listed = struct.pack(f"{order}LLLHH", 0x030000, sizes[0], 0, 0, 0)
    for number in range(1, count):
        offset = sum(sizes[:number]) - base
        listed += struct.pack(f"{order}LLLHH", 0, sizes[number], offset, 0, 0)
    index = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}LH", 8, 3)
    index += struct.pack(f"{order}HHL4s", 0xB000, 7, 4, b"0100")
    index += struct.pack(f"{order}HHLL", 0xB001, 4, 1, count)
    index += struct.pack(f"{order}HHLLL", 0xB002, 7, len(listed), 50, 0)
    placed = segment(b"MPF\0" + index + listed)
    assert len(placed) == length
    return photo[:20] + placed + photo[20:] + b"".join(further)


def ultra_hdr(
    levels: NDArray[np.uint8],
    gains: NDArray[np.uint8],
    *,
    turn: int = 1,
    order: str = "<",
    iso: bool = False,
    xmp: bool = True,
    video: bytes = b"",
) -> bytes:
    """A photo (H, W, 3) with a gain map (H', W') or (H', W', 3)."""
    properties = hdrgm("L" if gains.ndim == 2 else "RGB") if xmp else b""
    gain_map = jpeg(gains, properties, segment(ISO_OF_A_MAP) if iso else b"")
    items = [("GainMap", "image/jpeg", len(gain_map))]
    more = ' hdrgm:Version="1.0"' if xmp else ""
    if video:
        items.append(("MotionPhoto", "video/mp4", len(video)))
        more += ' GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"'
    extra = segment(ISO + bytes(4)) if iso else b""
    photo = jpeg(levels, directory(*items, more=more) if xmp else b"", extra, turn)
    return with_index(photo, gain_map, order=order) + video


def motion_photo(levels: NDArray[np.uint8]) -> bytes:
    items = ("MotionPhoto", "video/mp4", len(VIDEO))
    more = ' GCamera:MotionPhoto="1" GCamera:MicroVideo="1" GCamera:MicroVideoOffset="3024"'
    return jpeg(levels, directory(items, more=more)) + VIDEO


def depth_photo(levels: NDArray[np.uint8]) -> bytes:
    """Of the old kind, whose map is in the extended XMP of the photo."""
    note = "0123456789ABCDEF0123456789ABCDEF"
    xmp = packet(
        ' xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/" GDepth:Format="RangeInverse"'
        ' GDepth:Near="0.4" GDepth:Far="7" GDepth:Mime="image/png"'
        ' xmlns:GImage="http://ns.google.com/photos/1.0/image/" GImage:Mime="image/jpeg"'
        ' xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
        f' tiff:Make="A phone" xmpNote:HasExtendedXMP="{note}"/>'
    )
    data = packet(' xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/" GDepth:Data="iVBO"/>')
    extended = b"http://ns.adobe.com/xmp/extension/\0" + note.encode()
    extended += struct.pack(">LL", len(data), 0) + data
    extra = b"\xff\xe1" + struct.pack(">H", 2 + len(extended)) + extended
    return jpeg(levels, xmp, extra)
