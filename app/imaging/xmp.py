"""XMP packets: without what is not true of the answer, and with the mark of a restored face.

The answer is one upright picture of its own size.  The packets of phones also describe a gain map,
a video or a depth map behind the picture.  The answer has none of them, except that a JPEG may keep
its gain map, of which a directory of its own is written.  Expat reads a packet event by event, and
what is kept is written under the names that it had.  A document type is refused, and with it all
entities.
"""

from __future__ import annotations

import html
import logging
from collections.abc import Callable
from xml.parsers.expat import ExpatError, ParserCreate

log = logging.getLogger(__name__)

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""What the mark says, in IPTC's terms: a part of the picture was made by a trained network."""
CREATOR_TOOL = "GPEN Portrait"

_MOST_BYTES = 2**18
_DEEPEST = 64  # elements within each other; real packets have ten

_DC = "http://purl.org/dc/elements/1.1/"
_DCTERMS = "http://purl.org/dc/terms/"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_CONTAINER = "http://ns.google.com/photos/1.0/container/"
_GCAMERA = "http://ns.google.com/photos/1.0/camera/"
_HDRGM = "http://ns.adobe.com/hdr-gain-map/1.0/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_NOTE = "http://ns.adobe.com/xmp/note/"
_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_XML = "http://www.w3.org/XML/1998/namespace"
_X = "adobe:ns:meta/"
_XMP = "http://ns.adobe.com/xap/1.0/"

_WHITE_SPACE = str.maketrans({"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"})

Name = tuple[str, str]
"""Namespace, empty for none, and local name."""

_OF_FURTHER_PARTS = (  # namespaces that begin so describe gain maps, depth maps, sounds and videos
    "http://ns.adobe.com/hdr-gain-map/",
    "http://ns.apple.com/",
    "http://ns.google.com/photos/1.0/audio/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/focus/",
    "http://ns.google.com/photos/1.0/image/",
    "http://ns.google.com/photos/dd/",
    "http://ns.oplus.com/photos/",
    "http://ns.xiaomi.com/photos/",
)
_CREATOR: Name = (_XMP, "CreatorTool")
_OF_A_VIDEO = ("MotionPhoto", "MicroVideo")  # how GCamera's properties begin
_OF_THE_FILE: frozenset[Name] = frozenset(
    {
        *((_TIFF, name) for name in ("ImageWidth", "ImageLength", "Orientation", "NativeDigest")),
        *((_TIFF, name) for name in ("BitsPerSample", "SamplesPerPixel", "PlanarConfiguration")),
        *((_TIFF, name) for name in ("Compression", "PhotometricInterpretation")),
        *((_TIFF, name) for name in ("YCbCrSubSampling", "YCbCrPositioning")),
        *((_EXIF, name) for name in ("PixelXDimension", "PixelYDimension", "NativeDigest")),
        *((_EXIF, name) for name in ("ComponentsConfiguration", "CompressedBitsPerPixel")),
        *((_EXIF, name) for name in ("SubjectArea", "SubjectLocation")),  # in pixels
        (_DC, "format"),
        (_DCTERMS, "provenance"),  # where in the file its C2PA manifest was
        (_NOTE, "HasExtendedXMP"),
        (_PHOTOSHOP, "ColorMode"),
        (_PHOTOSHOP, "ICCProfile"),  # a name; the profile has its own
        (_XMP, "Thumbnails"),
    }
)
_OF_THE_TURNED_PIXELS = (  # namespaces of regions and panoramas, measured before turning
    "http://www.metadataworkinggroup.com/schemas/regions/",
    "http://ns.microsoft.com/photo/1.2/",
    "http://ns.google.com/photos/1.0/panorama/",
)

_DESCRIPTION = (
    f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="{{about}}" xmlns:Iptc4xmpExt="{_IPTC}"'
    f' xmlns:xmp="{_XMP}" Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"{{tool}}/>'
)
_TOOL = f' xmp:CreatorTool="{CREATOR_TOOL}"'
_DIRECTORY = (  # of a photo and its gain map, as Ultra HDR has it
    f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="{{about}}" xmlns:hdrgm="{_HDRGM}"'
    f' xmlns:Container="{_CONTAINER}" xmlns:Item="{_CONTAINER}item/" hdrgm:Version="1.0">'
    "<Container:Directory><rdf:Seq>"
    '<rdf:li rdf:parseType="Resource">'
    '<Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li>'
    '<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap"'
    ' Item:Mime="image/jpeg" Item:Length="{length}"/></rdf:li>'
    "</rdf:Seq></Container:Directory></rdf:Description>"
)


def _packet(description: str) -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        f'<x:xmpmeta xmlns:x="{_X}"><rdf:RDF xmlns:rdf="{_RDF}">{description}'
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


MARK = _packet(_DESCRIPTION.format(about="", tool=_TOOL))
"""A packet that holds the mark alone."""


def cleaned(packet: bytes, *, turned: bool) -> bytes:
    """A packet without properties that are not true of a single upright picture.

    ``turned`` says whether the pixels were turned or mirrored.  Returns nothing for what is no XMP,
    and for more than 256 kB.
    """
    namespaces = _OF_FURTHER_PARTS + (_OF_THE_TURNED_PIXELS if turned else ())

    def is_untrue(name: Name) -> bool:
        namespace, local = name
        return (
            namespace.startswith(namespaces)
            or name in _OF_THE_FILE
            or (namespace == _GCAMERA and local.startswith(_OF_A_VIDEO))
            or (turned and name == (_IPTC, "ImageRegion"))
        )

    packet = packet.strip(b"\0\t\n\r ")
    return _rewritten(packet, _Writer(is_untrue)) if len(packet) <= _MOST_BYTES else b""


def marked(packet: bytes) -> bytes:
    """A cleaned packet that says that a part of the picture was made by a trained network.

    Nothing becomes :data:`MARK`.
    """
    writer = _Writer(lambda name: name == (_IPTC, "DigitalSourceType"), added=_DESCRIPTION)
    return _rewritten(packet, writer) or MARK


def with_directory(packet: bytes, length: int) -> bytes:
    """A cleaned packet that also says that a gain map of so many bytes follows the photo.

    Nothing becomes a packet that says this alone.
    """
    directory = _DIRECTORY.replace("{length}", str(length))
    writer = _Writer(lambda _: False, added=directory)
    return _rewritten(packet, writer) or _packet(directory.format(about=""))


def gain_map_properties(packet: bytes) -> bytes:
    """What the packet of a gain map says of its levels, alone; nothing if it is no gain map."""
    known = {"", _X, _XML, _RDF, _HDRGM}
    writer = _Writer(lambda name: name[0] not in known)
    packet = packet.strip(b"\0\t\n\r ")
    kept = _rewritten(packet, writer) if len(packet) <= _MOST_BYTES else b""
    return kept if (_HDRGM, "GainMapMax") in writer.seen else b""


def _rewritten(packet: bytes, writer: _Writer) -> bytes:
    if not packet:
        return b""
    parser = ParserCreate("utf-8")  # the only encoding of XMP in these formats
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = writer.doctype
    parser.ProcessingInstructionHandler = writer.instruction
    parser.StartElementHandler = writer.start
    parser.EndElementHandler = writer.end
    parser.CharacterDataHandler = writer.text
    try:
        parser.Parse(packet, True)
    except (ExpatError, NotXmpError) as error:
        log.info("unreadable XMP dropped: %s", error)
        return b""
    return writer.packet()


class NotXmpError(Exception):
    pass


class _Writer:
    """Writes the elements that a parser reads, but for some of them."""

    def __init__(self, is_dropped: Callable[[Name], bool], *, added: str = "") -> None:
        """``added``: a description for the end, in which {about} and {tool} are filled in."""
        self.seen: set[Name] = set()
        """Elements and attributes that are written."""
        self._is_dropped = is_dropped
        self._added = added
        self._about = ""
        self._written: list[str] = []
        self._open: list[Name] = []
        self._scopes: list[dict[str, str]] = [{"": "", "xml": _XML}]
        self._dropped_depth = 0  # of open elements that are left out

    def packet(self) -> bytes:
        """All of it; nothing if there was no RDF."""
        return "".join(self._written).encode() if (_RDF, "RDF") in self.seen else b""

    def doctype(self, *_: object) -> None:
        raise NotXmpError("it has a document type")

    def instruction(self, target: str, data: str) -> None:
        if not self._dropped_depth:
            self._written.append(f"<?{target} {data}?>")

    def text(self, text: str) -> None:
        if not self._dropped_depth:
            self._written.append(html.escape(text, quote=False).replace("\r", "&#13;"))

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._dropped_depth:
            self._dropped_depth += 1
            return
        if len(self._open) == _DEEPEST:
            raise NotXmpError("its elements are nested too deeply")
        declared = {_declared(key): uri for key, uri in attributes.items()}
        self._scopes.append({prefix: uri for prefix, uri in declared.items() if prefix is not None})
        name = self._element(tag)
        if self._is_dropped(name):
            self._scopes.pop()
            self._dropped_depth = 1
            return
        names = {key: self._attribute(key, value) for key, value in attributes.items()}
        kept = [key for key in attributes if not self._is_dropped(names[key])]
        written = "".join(f' {key}="{_quoted(attributes[key])}"' for key in kept)
        self._written.append(f"<{tag}{written}>")
        self._note(name, {names[key]: attributes[key] for key in kept})
        self._open.append(name)

    def end(self, tag: str) -> None:
        if self._dropped_depth:
            self._dropped_depth -= 1
            return
        if self._open.pop() == (_RDF, "RDF"):
            tool = "" if _CREATOR in self.seen else _TOOL
            self._written.append(self._added.format(about=_quoted(self._about), tool=tool))
            self._added = ""
        self._written.append(f"</{tag}>")
        self._scopes.pop()

    def _note(self, name: Name, attributes: dict[Name, str]) -> None:
        """Note what an added description must fit to: all in a packet are of one resource."""
        self.seen |= {name, *attributes}
        if name == (_RDF, "Description") and self._open[-1:] == [(_RDF, "RDF")]:
            about = attributes.get((_RDF, "about"), attributes.get(("", "about"), ""))
            self._about = self._about or about

    def _element(self, tag: str) -> Name:
        """Raises NotXmpError for a prefix that is not declared."""
        prefix, _, local = tag.rpartition(":")
        for scope in reversed(self._scopes):
            if prefix in scope:
                return scope[prefix], local
        raise NotXmpError("it has a prefix that is not declared")

    def _attribute(self, key: str, value: str) -> Name:
        """A declaration goes by the namespace that it declares."""
        if _declared(key) is not None:
            return value, ""
        return self._element(key) if ":" in key else ("", key)


def _declared(key: str) -> str | None:
    """The prefix that an attribute declares, empty for the default namespace."""
    if key == "xmlns":
        return ""
    return key.removeprefix("xmlns:") if key.startswith("xmlns:") else None


def _quoted(value: str) -> str:
    """For an attribute, where unescaped white space would become spaces."""
    return html.escape(value).translate(_WHITE_SPACE)
