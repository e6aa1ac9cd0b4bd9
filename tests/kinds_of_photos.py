"""Photos of every kind that is read, on their side, with all that their format has room for."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image

from app.imaging.iptc import jpeg_segment, to_text
from tests.heif_files import AS_IS, EXACT, Property, exif_item, irot, profile, tiled, xmp_item
from tests.hostile.png import MAGIC, chunk, header
from tests.profiles import P3_PRIMARIES, grey_profile, rgb_profile

Levels = NDArray[Any]

P3, GREY = rgb_profile(P3_PRIMARIES), grey_profile()
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6">'
    b"<tiff:Artist>caption</tiff:Artist></rdf:Description></rdf:RDF></x:xmpmeta>"
)
UPRIGHT_XMP = XMP.replace(b' tiff:Orientation="6"', b"")
IPTC = b"\x1c\x02\x78\x00\x07caption"
DPI = (300.0, 200.0)  # of the stored picture, which lies on its side
ALL = frozenset({"icc", "exif", "xmp", "iptc", "dpi"})


@dataclass(frozen=True)
class Kind:
    """A picture on its side, with all that its format has room for."""

    name: str
    data: bytes
    upright: Levels
    """(H, W, C): what was there, and should be."""
    mode: str
    """Of the result, as Pillow would name it; with ";16" if it is deep."""
    file_format: str = "PNG"
    icc: bytes = P3
    kept: frozenset[str] = ALL
    lossless: bool = True
    colour: float = 2.0
    """Levels by which the mean of a face may differ."""


def exif() -> Image.Exif:
    made = Image.Exif()
    made[ExifTags.Base.Make] = "A camera"
    made[ExifTags.Base.Orientation] = 6
    made.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2020:01:02 03:04:05"
    stored = Image.Exif()
    stored.load(made.tobytes())
    return stored


def on_its_side(upright: Levels) -> Levels:
    return np.ascontiguousarray(np.rot90(upright))


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, exif=exif(), **{"dpi": DPI, **options})
    return buffer.getvalue()


def image_of(upright: Levels) -> Image.Image:
    stored = on_its_side(upright)
    return Image.fromarray(stored[..., 0] if stored.shape[2] == 1 else stored)


def in_png(data: bytes) -> bytes:
    """With the texts that Pillow does not write."""
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    text = b"Raw profile type iptc\0\0" + zlib.compress(to_text(IPTC).encode())
    return data[:33] + xmp + chunk(b"zTXt", text) + data[33:]


def deep_png(upright: Levels, icc: bytes) -> bytes:
    """By hand, and unfiltered: a reader of ours and a writer of ours could share a mistake."""
    stored = on_its_side(upright)
    height, width, channels = stored.shape
    colours = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in stored)
    physical = struct.pack(">IIB", *(round(dpi / 0.0254) for dpi in DPI), 1)
    return in_png(
        MAGIC
        + header(width, height, 16, colours)
        + chunk(b"iCCP", b"a\0\0" + zlib.compress(icc))
        + chunk(b"pHYs", physical)
        + chunk(b"eXIf", exif().tobytes().removeprefix(b"Exif\0\0"))
        + chunk(b"IDAT", zlib.compress(rows, 1))
        + chunk(b"IEND", b"")
    )


def tiff(upright: Levels, photometric: str, icc: bytes, **options: Any) -> bytes:
    """By a library that the service does not use."""
    stored = on_its_side(upright)
    buffer = BytesIO()
    tifffile.imwrite(
        buffer,
        stored[..., 0] if stored.shape[2] == 1 else stored,
        photometric=photometric,
        iccprofile=icc,
        resolution=DPI,
        resolutionunit=2,
        metadata=None,
        extratags=[
            (271, 2, 0, "A camera", True),
            (274, 3, 1, 6, True),
            (700, 1, len(XMP), XMP, True),
            (33723, 7, len(IPTC), IPTC, True),
        ],
        **options,
    )
    return buffer.getvalue()


def heic(upright: Levels, tile: int, icc: bytes, *further: Property, **options: Any) -> bytes:
    """Turned by the container; EXIF and XMP say so, too, and must not turn it again."""
    told = [exif_item(exif().tobytes().removeprefix(b"Exif\0\0")), xmp_item(XMP)]
    stored = on_its_side(upright)
    return tiled(stored, tile, told, profile(icc), irot(3), *further, **options)


@cache
def kinds() -> dict[str, Kind]:
    """By name."""
    return {kind.name: kind for kind in _kinds()}


def _kinds() -> list[Kind]:
    astronaut = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png")
    rgb = np.asarray(astronaut.convert("RGB"))[:288, 96:352]
    rng = np.random.default_rng(0)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None]
    alpha = rng.integers(0, 256, grey.shape, dtype=np.uint8)
    rgba, grey_alpha = np.dstack([rgb, alpha]), np.dstack([grey, alpha])
    deep = {
        levels.shape[2]: (levels.astype(np.uint16) << 8)
        | rng.integers(0, 256, levels.shape, dtype=np.uint16)
        for levels in (grey, grey_alpha, rgb, rgba)
    }
    palette = image_of(rgb).quantize(200)
    of_palette = np.rot90(np.asarray(palette.convert("RGB")), -1)
    key = int(np.asarray(palette)[0, 0])
    keyed = np.dstack([of_palette, 255 * (np.rot90(np.asarray(palette), -1) != key)])
    bilevel = image_of(grey).convert("1")
    of_bilevel = np.rot90(np.asarray(bilevel.convert("L")), -1)[..., None]
    jpeg: dict[str, Any] = {"quality": 95, "extra": jpeg_segment(IPTC), "xmp": XMP}
    webp: dict[str, Any] = {"icc_profile": P3, "xmp": XMP}
    without_dpi = ALL - {"dpi", "iptc"}  # WebP has no place for them
    layouts: dict[str, dict[str, Any]] = {
        "big-endian": {"byteorder": ">"},
        "tiles": {"tile": (64, 64)},
        "deflate": {"compression": "zlib", "predictor": True},
    }
    bmp = BytesIO()
    image_of(rgb).transpose(Image.Transpose.ROTATE_270).save(bmp, "BMP", dpi=DPI[::-1])
    return [
        Kind(
            "jpeg",
            saved(image_of(rgb), "JPEG", icc_profile=P3, **jpeg),
            rgb,
            "RGB",
            "JPEG",
            lossless=False,
        ),
        Kind(
            "jpeg, grey",
            saved(image_of(grey), "JPEG", icc_profile=GREY, **jpeg),
            grey,
            "L",
            "JPEG",
            GREY,
            lossless=False,
        ),
        Kind(
            "jpeg, CMYK",  # comes back as RGB
            saved(image_of(rgb).convert("CMYK"), "JPEG", **jpeg),
            rgb,
            "RGB",
            "JPEG",
            kept=ALL - {"icc"},
            lossless=False,
        ),
        Kind("png", in_png(saved(image_of(rgb), "PNG", icc_profile=P3)), rgb, "RGB"),
        Kind("png, alpha", in_png(saved(image_of(rgba), "PNG", icc_profile=P3)), rgba, "RGBA"),
        Kind(
            "png, grey", in_png(saved(image_of(grey), "PNG", icc_profile=GREY)), grey, "L", icc=GREY
        ),
        Kind(
            "png, grey with alpha",
            in_png(saved(image_of(grey_alpha), "PNG", icc_profile=GREY)),
            grey_alpha,
            "LA",
            icc=GREY,
        ),
        Kind(
            "png, palette",  # comes back as RGB
            in_png(saved(palette, "PNG", icc_profile=P3)),
            of_palette,
            "RGB",
        ),
        Kind(
            "png, palette with a transparent colour",
            in_png(saved(palette, "PNG", icc_profile=P3, transparency=key)),
            keyed,
            "RGBA",
        ),
        Kind(
            "png, bilevel",
            in_png(saved(bilevel, "PNG", icc_profile=GREY)),
            of_bilevel,
            "L",
            icc=GREY,
            colour=8.0,
        ),
        *(
            Kind(f"png, 16 bits, {mode}", deep_png(deep[n], icc), deep[n], f"{mode};16", icc=icc)
            for n, mode, icc in ((1, "L", GREY), (2, "LA", GREY), (3, "RGB", P3), (4, "RGBA", P3))
        ),
        Kind(
            "webp",
            saved(image_of(rgb), "WEBP", quality=95, **webp),
            rgb,
            "RGB",
            "WEBP",
            kept=without_dpi,
            lossless=False,
        ),
        Kind(
            "webp, lossless",
            saved(image_of(rgba), "WEBP", lossless=True, exact=True, **webp),
            rgba,
            "RGBA",
            "WEBP",
            kept=without_dpi,
        ),
        Kind("bmp", bmp.getvalue(), rgb, "RGB", kept=frozenset({"dpi"})),
        Kind("tiff", tiff(rgb, "rgb", P3), rgb, "RGB"),
        Kind("tiff, alpha", tiff(rgba, "rgb", P3, extrasamples=["unassalpha"]), rgba, "RGBA"),
        Kind("tiff, grey", tiff(grey, "minisblack", GREY), grey, "L", icc=GREY),
        Kind("tiff, 16 bits, L", tiff(deep[1], "minisblack", GREY), deep[1], "L;16", icc=GREY),
        *(
            Kind(f"tiff, 16 bits, RGB, {name}", tiff(deep[3], "rgb", P3, **how), deep[3], "RGB;16")
            for name, how in layouts.items()
        ),
        Kind(
            "tiff, 16 bits, RGBA",
            tiff(deep[4], "rgb", P3, extrasamples=["unassalpha"]),
            deep[4],
            "RGBA;16",
        ),
        Kind(
            "heic, a telephone's",
            heic(rgb, 512, P3, quality=95),
            rgb,
            "RGB",
            kept=without_dpi,
            lossless=False,
        ),
        Kind("heic", heic(rgb, 64, P3, AS_IS, **EXACT), rgb, "RGB", kept=without_dpi),
        Kind("heic, alpha", heic(rgba, 128, P3, AS_IS, **EXACT), rgba, "RGBA", kept=without_dpi),
        Kind(
            "heic, grey",
            heic(grey, 64, GREY, quality=-1),
            grey,
            "L",
            icc=GREY,
            kept=without_dpi,
        ),
        Kind(
            "heic, 10 bits",  # comes back with 16
            heic(deep[3], 64, P3, AS_IS, **EXACT),
            np.rint((deep[3] >> 6) * (65_535 / 1023)).astype(np.uint16),
            "RGB;16",
            kept=without_dpi,
        ),
    ]
