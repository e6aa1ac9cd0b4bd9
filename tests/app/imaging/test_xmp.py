"""What the answer's XMP says is true of the answer, and a restored face is told."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import ExifTags, Image

from app.imaging.decode import decode
from app.imaging.encode import EncodedFormat, encode
from app.imaging.photo import Photo
from app.imaging.xmp import CREATOR_TOOL, MARK, SOURCE_TYPE, cleaned, marked

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TIFF = "http://ns.adobe.com/tiff/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
XMP = "http://ns.adobe.com/xap/1.0/"
DC = "http://purl.org/dc/elements/1.1/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
GCAMERA = "http://ns.google.com/photos/1.0/camera/"
GPANO = "http://ns.google.com/photos/1.0/panorama/"
REGIONS = "http://www.metadataworkinggroup.com/schemas/regions/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
CONTAINER = "http://ns.google.com/photos/1.0/container/"

Names = set[tuple[str, str]]

UNTRUE: Names = {  # a property of each kind
    ("http://ns.adobe.com/hdr-gain-map/1.0/", "Version"),
    ("http://ns.adobe.com/hdr-gain-map/1.0/", "GainMapMax"),
    (CONTAINER, "Directory"),
    (CONTAINER + "item/", "Length"),
    (GCAMERA, "MotionPhoto"),
    (GCAMERA, "MotionPhotoPresentationTimestampUs"),
    (GCAMERA, "MicroVideo"),
    (GCAMERA, "MicroVideoOffset"),
    ("http://ns.google.com/photos/1.0/depthmap/", "Data"),
    ("http://ns.google.com/photos/1.0/image/", "Data"),
    ("http://ns.google.com/photos/1.0/audio/", "Data"),
    ("http://ns.google.com/photos/dd/1.0/device/", "Profiles"),
    ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP"),
    ("http://ns.apple.com/HDRGainMap/1.0/", "HDRGainMapVersion"),
    ("http://ns.apple.com/pixeldatainfo/1.0/", "AuxiliaryImageType"),
    ("http://ns.apple.com/depthData/1.0/", "Accuracy"),
    ("http://ns.apple.com/portraitEffectsMatte/1.0/", "Version"),
    ("http://ns.xiaomi.com/photos/1.0/camera/", "XMPMeta"),
    (TIFF, "ImageWidth"),
    (TIFF, "ImageLength"),
    (TIFF, "Orientation"),
    (EXIF, "PixelXDimension"),
    (EXIF, "PixelYDimension"),
    (EXIF, "SubjectArea"),
    (DC, "format"),
    (XMP, "Thumbnails"),
    (PHOTOSHOP, "ColorMode"),
    ("http://purl.org/dc/terms/", "provenance"),
}
UNTRUE_IF_TURNED: Names = {
    (REGIONS, "Regions"),
    (GPANO, "CroppedAreaImageWidthPixels"),
    (IPTC, "ImageRegion"),
}
TRUE: Names = {
    (TIFF, "Make"),
    (EXIF, "DateTimeOriginal"),
    (XMP, "Rating"),
    (GCAMERA, "BurstID"),
    (PHOTOSHOP, "Instructions"),
    ("http://example.org/of somebody's own/", "Property"),
}


def packet(description: str, about: str = "") -> bytes:
    """A packet as cameras write it: with a wrapper, and room to grow."""
    text = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">'
        f'<rdf:Description rdf:about="{about}"{description}</rdf:RDF></x:xmpmeta>\n'
        f'{" " * 2048}<?xpacket end="w"?>\n\0'
    )
    return text.encode()


def as_attributes(names: Names) -> bytes:
    written = [
        f' xmlns:n{i}="{uri}" n{i}:{name}="7"' for i, (uri, name) in enumerate(sorted(names))
    ]
    return packet("".join(written) + "/>")


def as_elements(names: Names) -> bytes:
    written = [
        f'<n:{name} xmlns:n="{uri}"><rdf:Seq><rdf:li rdf:parseType="Resource"><n:a>7</n:a>'
        f"</rdf:li></rdf:Seq></n:{name}>"
        for uri, name in sorted(names)
    ]
    return packet(f">{''.join(written)}</rdf:Description>")


def as_default_namespaces(names: Names) -> bytes:
    written = [f'<{name} xmlns="{uri}">7</{name}>' for uri, name in sorted(names)]
    return packet(f">{''.join(written)}</rdf:Description>")


def properties(xmp: bytes) -> dict[tuple[str, str], str]:
    """Of the top-level descriptions, with their texts."""
    found: dict[str, str] = {}
    for description in ElementTree.fromstring(xmp).iterfind(f"{{{RDF}}}RDF/{{{RDF}}}Description"):
        found |= description.attrib
        found |= {child.tag: child.text or "" for child in description}
    names = {tuple(name[1:].split("}")): text for name, text in found.items()}
    return {(uri, name): text for (uri, name), text in names.items() if uri != RDF}


@pytest.mark.parametrize("written", [as_attributes, as_elements, as_default_namespaces])
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_not_true_of_the_answer_is_left_out(written: Any, *, turned: bool) -> None:
    xmp = cleaned(written(UNTRUE | UNTRUE_IF_TURNED | TRUE), turned=turned)
    assert properties(xmp).keys() == (TRUE if turned else TRUE | UNTRUE_IF_TURNED)
    for uri in {uri for uri, _ in UNTRUE} - {uri for uri, _ in TRUE | UNTRUE_IF_TURNED}:
        if uri not in (DC, "http://purl.org/dc/terms/", "http://ns.adobe.com/xmp/note/"):
            assert uri.encode() not in xmp  # not even declared


def test_untrue_parts_of_what_is_kept_are_left_out_too() -> None:
    xmp = cleaned(
        packet(
            f' xmlns:a="http://example.org/a/" xmlns:b="{CONTAINER}"><a:Kept rdf:parseType='
            '"Resource"><b:Directory>of pictures</b:Directory><a:Part>kept</a:Part></a:Kept>'
            "</rdf:Description>"
        ),
        turned=False,
    )
    assert b"<a:Kept" in xmp
    assert b">kept<" in xmp
    assert b"Directory" not in xmp
    assert b"of pictures" not in xmp


def test_what_is_kept_stays_as_it_was() -> None:
    text = "R&amp;D &lt;a&gt;, &#34;b&#34;&#10;next&#9;line é"
    xmp = cleaned(
        packet(
            f' xmlns:ps="{PHOTOSHOP}" xmlns:dc="{DC}" ps:Instructions="{text}"><dc:rights>'
            f'<rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:rights>'
            "<dc:source><![CDATA[<a> & b]]></dc:source></rdf:Description>"
        ),
        turned=True,
    )
    there = properties(xmp)
    meant = 'R&D <a>, "b"\nnext\tline é'
    assert there[PHOTOSHOP, "Instructions"] == meant
    assert there[DC, "source"] == "<a> & b"
    (item,) = ElementTree.fromstring(xmp).iter(f"{{{RDF}}}li")
    assert item.text == meant
    assert item.attrib == {"{http://www.w3.org/XML/1998/namespace}lang": "x-default"}
    assert b"ps:Instructions=" in xmp  # under the prefix that it had
    assert xmp.startswith(b"<?xpacket begin=")
    assert xmp.endswith(b'<?xpacket end="w"?>')
    assert cleaned(xmp, turned=True) == xmp


ENTITY = '<!DOCTYPE x [<!ENTITY a "{}">]>'


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\0\0",
        b"no XML",
        b"<x/>",
        packet("/>")[:-2200],
        packet(' n:a="7"/>'),
        packet("><n:a/></rdf:Description>"),
        packet("/>").decode().encode("utf-16"),
        packet("/>").replace(b'about=""', b'about="\xff"'),
        ENTITY.format("b" * 99).encode() + packet(">&a;</rdf:Description>").strip(b"\0\n"),
        ENTITY.format("&#38;a;").encode() + packet("/>"),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + packet("/>"),
        packet(">" + "<rdf:li>" * 9000 + "</rdf:li>" * 9000 + "</rdf:Description>"),
        packet(">" + "b" * 2**18 + "</rdf:Description>"),
    ],
)
def test_what_cannot_be_read_is_dropped(hostile: bytes) -> None:
    assert cleaned(hostile, turned=False) == b""
    assert marked(cleaned(hostile, turned=False)) == MARK


def test_the_mark_joins_what_is_there() -> None:
    xmp = marked(cleaned(as_attributes(TRUE), turned=False))
    assert properties(xmp) == dict.fromkeys(TRUE, "7") | {
        (IPTC, "DigitalSourceType"): SOURCE_TYPE,
        (XMP, "CreatorTool"): CREATOR_TOOL,
    }
    assert properties(MARK).keys() == {(IPTC, "DigitalSourceType"), (XMP, "CreatorTool")}
    assert properties(marked(xmp)) == properties(xmp)


@pytest.mark.parametrize("written", [as_attributes, as_elements])
def test_the_mark_replaces_another_source_and_leaves_the_tool(written: Any) -> None:
    names = {(IPTC, "DigitalSourceType"), (XMP, "CreatorTool")}
    xmp = marked(cleaned(written(names), turned=False))
    assert xmp.count(b"DigitalSourceType=") == 1
    assert properties(xmp)[IPTC, "DigitalSourceType"] == SOURCE_TYPE
    assert properties(xmp)[XMP, "CreatorTool"] != CREATOR_TOOL
    assert CREATOR_TOOL.encode() not in xmp


def test_all_descriptions_are_of_the_same_resource() -> None:
    xmp = marked(cleaned(packet("/>", about="uuid:a&amp;b"), turned=False))
    resources = [
        description.get(f"{{{RDF}}}about")
        for description in ElementTree.fromstring(xmp).iter(f"{{{RDF}}}Description")
    ]
    assert resources == ["uuid:a&b", "uuid:a&b"]


# --- In files


def photographed(xmp: bytes, **exif: int) -> Photo:
    """Through the decoder, from a JPEG on its side."""
    stored = Image.Exif()
    stored[ExifTags.Base.Orientation] = 6
    stored[ExifTags.Base.Make] = "A camera"
    stored.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base[name]: value for name, value in exif.items()}
    )
    levels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", exif=stored, xmp=xmp)
    return decode(buffer.getvalue(), 10_000)


def written_xmp(data: bytes) -> bytes:
    with Image.open(BytesIO(data)) as image:
        image.load()
        return bytes(image.info.get("xmp", b""))


FORMATS: tuple[EncodedFormat, ...] = ("jpeg", "png", "webp", "avif")


@pytest.mark.parametrize("wanted", FORMATS)
def test_pictures_are_marked_in_every_format(wanted: EncodedFormat) -> None:
    photo = photographed(as_attributes(UNTRUE | UNTRUE_IF_TURNED | TRUE))

    def told(photo: Photo, *, strip: bool, mark: bool) -> Names:
        xmp = written_xmp(encode(photo, wanted, 90, strip_metadata=strip, mark=mark).data)
        return set(properties(xmp)) if xmp else set()

    mark: Names = {(IPTC, "DigitalSourceType"), (XMP, "CreatorTool")}
    assert told(photo, strip=False, mark=True) == TRUE | mark
    assert told(photo, strip=False, mark=False) == TRUE
    assert told(photo, strip=True, mark=True) == mark
    assert told(photo, strip=True, mark=False) == set()
    without = replace(photo, xmp=b"", marked_xmp=MARK)
    assert told(without, strip=False, mark=True) == mark
    assert told(without, strip=False, mark=False) == set()


def test_a_packet_too_long_for_jpeg_makes_room_for_the_mark() -> None:
    photo = photographed(b"")
    long = cleaned(packet(f' xmlns:dc="{DC}" dc:source="{"b" * 65_000}"/>'), turned=False)
    photo = replace(photo, xmp=long, marked_xmp=marked(long))
    assert written_xmp(encode(photo, "jpeg", 90, strip_metadata=False, mark=True).data) == MARK
    png = written_xmp(encode(photo, "png", 90, strip_metadata=False, mark=True).data)
    assert (DC, "source") in properties(png)


def test_exif_says_nothing_of_the_file_that_it_came_from() -> None:
    photo = photographed(b"", ExifImageWidth=48, ExifImageHeight=32, SubjectLocation=7)
    kept = Image.Exif()
    kept.load(photo.exif)
    assert dict(kept) == {ExifTags.Base.Make: "A camera"}
    assert not kept.get_ifd(ExifTags.IFD.Exif)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="without exiftool")
@pytest.mark.parametrize("wanted", FORMATS)
def test_exiftool_reads_the_mark(wanted: EncodedFormat, tmp_path: Path) -> None:
    names = {(TIFF, "Make"), (XMP, "Rating"), *UNTRUE}
    picture = encode(
        photographed(as_attributes(names)), wanted, 90, strip_metadata=False, mark=True
    )
    file = tmp_path / f"marked.{wanted}"
    file.write_bytes(picture.data)
    command = ["exiftool", "-json", "-G1", "-n", "-xmp:all", str(file)]
    printed = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    (tags,) = json.loads(printed)
    assert {name: value for name, value in tags.items() if name.startswith("XMP-")} == {
        "XMP-iptcExt:DigitalSourceType": SOURCE_TYPE,
        "XMP-xmp:CreatorTool": CREATOR_TOOL,
        "XMP-xmp:Rating": 7,
        "XMP-tiff:Make": 7,
    }
