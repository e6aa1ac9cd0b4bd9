"""What a file says about its photo beside the pixels: EXIF, XMP, IPTC, dots an inch.

Whatever is broken here costs itself, never the photo.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from io import BytesIO
from math import isfinite

from PIL import ExifTags, Image, TiffImagePlugin

from app.imaging import iptc
from app.imaging.directories import is_modest
from app.imaging.xmp import cleaned

log = logging.getLogger(__name__)

ORIENTATION = ExifTags.Base.Orientation
_IFDS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_OF_THE_PHOTO = {  # of a TIFF's tags, most of which say how its pixels are stored
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
}
_SUBJECT_AREA = 37_396  # has no name in Pillow
_OF_THE_FILE = {  # what goes stale; sub-directories are copied by themselves
    ORIENTATION,
    ExifTags.Base.ImageWidth,
    ExifTags.Base.ImageLength,
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
    ExifTags.Base.ExifInteroperabilityOffset,
    _SUBJECT_AREA,
    ExifTags.Base.SubjectLocation,
    ExifTags.Base.BitsPerSample,
    ExifTags.Base.SamplesPerPixel,
    ExifTags.Base.Compression,
    ExifTags.Base.PhotometricInterpretation,
    ExifTags.Base.PlanarConfiguration,
    ExifTags.Base.RowsPerStrip,
    ExifTags.Base.YCbCrSubSampling,
    ExifTags.Base.CompressedBitsPerPixel,
    ExifTags.Base.SubIFDs,
    ExifTags.Base.JpegIFOffset,
    ExifTags.Base.JpegIFByteCount,
    ExifTags.Base.XMLPacket,  # and other metadata within EXIF
    ExifTags.Base.ImageResources,
    ExifTags.Base.IPTCNAA,
    ExifTags.Base.InterColorProfile,
    ExifTags.Base.StripOffsets,
    ExifTags.Base.StripByteCounts,
    ExifTags.Base.TileOffsets,
    ExifTags.Base.TileByteCounts,
    *(int(ifd) for ifd in _IFDS),
}
_CENTRED = 1  # samples of colour that are shared by several pixels, as encoders have them
_SIDEWAYS = range(5, 9)  # orientations that swap width and height
_MOST_DPI = 65_535  # a JPEG has two bytes for it
_IPTC_TAG = 33_723  # of a TIFF
_PNG_IPTC = "Raw profile type iptc"


@dataclass(frozen=True)
class Metadata:
    """As :class:`app.imaging.photo.Photo` holds it: the orientation is taken out."""

    orientation: int
    """1 to 8; 1 is upright."""
    exif: bytes
    xmp: bytes
    iptc: bytes
    dpi: tuple[float, float] | None


def read_metadata(image: Image.Image) -> Metadata:
    """Of an open picture; of a TIFF before its pixels are loaded, of others after.

    A TIFF forgets its directories when it is loaded; a PNG's EXIF may come after its pixels.
    """
    of_a_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
    exif = _tiff_exif(image) if isinstance(image, TiffImagePlugin.TiffImageFile) else _exif(image)
    orientation = _orientation(image, exif)
    dpi = _dpi(image)
    return Metadata(
        orientation,
        exif=_kept(exif, of_a_tiff=of_a_tiff),
        xmp=_xmp(image, turned=orientation != 1),
        iptc=_iptc(image),
        dpi=dpi[::-1] if dpi is not None and orientation in _SIDEWAYS else dpi,
    )


def reduce_to_orientation(image: TiffImagePlugin.TiffImageFile) -> None:
    """Loading a TIFF, Pillow reads all its EXIF and XMP, and any fault there costs the photo."""
    exif = Image.Exif()
    orientation = image.tag_v2.get(ORIENTATION)
    if orientation is not None and orientation in range(2, 9):
        exif[ORIENTATION] = int(orientation)
    image.info["exif"] = exif.tobytes()
    image.info.pop("xmp", None)


def _exif(image: Image.Image) -> Image.Exif:
    """EXIF, and an orientation that only XMP tells."""
    try:
        if not is_modest(image.info.get("exif", b"")):
            log.info("EXIF out of all proportion dropped")
            return Image.Exif()
        return image.getexif()
    except Exception as error:  # noqa: BLE001  (Pillow's readers raise nearly anything)
        log.info("unreadable EXIF: %s: %s", type(error).__name__, error)
        return Image.Exif()


def _tiff_exif(image: TiffImagePlugin.TiffImageFile) -> Image.Exif:
    """From the file, for the picture would forget its directories when it is loaded."""
    exif = Image.Exif()
    try:
        data = image.fp.getvalue() if isinstance(image.fp, BytesIO) else b""
        if is_modest(data):
            exif.bigtiff = data[2] == 43
            exif.endian = "<" if image.tag_v2.prefix == b"II" else ">"
            exif.load_from_fp(BytesIO(data), image.tag_v2.offset)
        return exif
    except Exception as error:  # noqa: BLE001  (likewise)
        log.info("unreadable EXIF: %s: %s", type(error).__name__, error)
        return Image.Exif()


def _orientation(image: Image.Image, exif: Image.Exif) -> int:
    """The one that Pillow turns a TIFF by is its own directory's."""
    try:
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            value = image.tag_v2.get(ORIENTATION)
        else:
            value = exif.get(ORIENTATION)
        return int(value) if value is not None and value in range(1, 9) else 1
    except Exception as error:  # noqa: BLE001  (likewise)
        log.info("unreadable orientation: %s: %s", type(error).__name__, error)
        return 1


def _kept(read: Image.Exif, *, of_a_tiff: bool) -> bytes:
    """EXIF without the orientation, and without what describes the file instead of the photo."""
    try:
        kept = Image.Exif()
        for tag in read:  # a tag that is not kept is not read, either: it may be long
            if tag in _OF_THE_PHOTO or (not of_a_tiff and tag not in _OF_THE_FILE):
                kept[tag] = read[tag]
        if ExifTags.Base.YCbCrPositioning in kept:  # which EXIF asks for in JPEGs
            kept[ExifTags.Base.YCbCrPositioning] = _CENTRED
        for ifd in _IFDS:
            values = {tag: v for tag, v in read.get_ifd(ifd).items() if tag not in _OF_THE_FILE}
            if values:
                kept.get_ifd(ifd).update(values)
        written = kept.tobytes()
        return written if len(written) > len(Image.Exif().tobytes()) else b""
    except Exception as error:  # noqa: BLE001  (likewise)
        log.info("unreadable EXIF dropped: %s: %s", type(error).__name__, error)
        return b""


def _xmp(image: Image.Image, *, turned: bool) -> bytes:
    xmp = image.info.get("xmp")
    return cleaned(xmp, turned=turned) if isinstance(xmp, bytes) else b""


def _iptc(image: Image.Image) -> bytes:
    """From where each format has it: Photoshop's segment, a tag, a text in hexadecimal."""
    try:
        records: object = b""
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            records = image.tag_v2.get(_IPTC_TAG)
        elif "photoshop" in image.info:
            records = image.info["photoshop"].get(iptc.RESOURCE)
        elif _PNG_IPTC in image.info:
            records = iptc.from_text(image.info[_PNG_IPTC])
    except Exception as error:  # noqa: BLE001  (likewise)
        log.info("unreadable IPTC: %s: %s", type(error).__name__, error)
        return b""
    kept = isinstance(records, bytes) and len(records) <= iptc.MOST
    return records if kept and isinstance(records, bytes) else b""


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """What the file itself says; what EXIF says stays there."""
    info = image.info
    if image.format == "JPEG" and info.get("jfif_unit") not in (1, 2):
        return None
    try:
        across, down = (float(value) for value in info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    sound = all(isfinite(value) and 1 <= value <= _MOST_DPI for value in (across, down))
    return (across, down) if sound else None
