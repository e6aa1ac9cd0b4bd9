"""A table: what kind of picture comes in, and that nothing of it is lost on the way through."""

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
import pytest
import skimage
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image

from app.iptc import jpeg_segment, to_text
from app.load import Loaded
from app.options import EnhanceOptions
from app.pipeline import Enhanced, FoundFaces, find, finish
from app.restore import restore_all
from app.settings import Settings
from tests.hostile.png import MAGIC, chunk, header
from tests.profiles import P3_PRIMARIES, grey_profile, press_profile, rgb_profile

Levels = NDArray[Any]

P3, GREY, PRESS = rgb_profile(P3_PRIMARIES), grey_profile(), press_profile()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6">caption</d></x:xmpmeta>'
UPRIGHT_XMP = XMP.replace(b'"6"', b'"1"')
IPTC = b"\x1c\x02\x78\x00\x07caption"
DPI = (300.0, 200.0)  # of the stored picture, which lies on its side
ALL = frozenset({"icc", "exif", "xmp", "iptc", "dpi"})
_LOSSY = 4.0  # mean levels, after another compression


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
    ]


def mode_and_levels(data: bytes) -> tuple[str, Levels]:
    """Of a result, by OpenCV where it is deep: Pillow would not tell."""
    with Image.open(BytesIO(data)) as image:
        if data.startswith(MAGIC) and data[24] == 16:
            mode = {0: "L", 4: "LA", 2: "RGB", 6: "RGBA"}[data[25]]
            read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            assert read is not None
            channels = {"L": [0], "LA": [0, 3], "RGB": [2, 1, 0], "RGBA": [2, 1, 0, 3]}[mode]
            return f"{mode};16", read.reshape(*read.shape[:2], -1)[..., channels]
        levels = np.asarray(image)
        return image.mode, levels.reshape(*levels.shape[:2], -1)


def untouched(found: FoundFaces, height: int, width: int) -> NDArray[np.bool_]:
    """Pixels outside of the squares that were cut out."""
    squares = np.zeros((height, width), np.uint8)
    for face in found.aligned:
        side = face.crop.shape[0] - 0.5
        corners = np.array([[[-0.5, -0.5], [side, -0.5], [side, side], [-0.5, side]]])
        there = cv2.transform(corners, cv2.invertAffineTransform(face.matrix))
        cv2.fillConvexPoly(squares, there[0].round().astype(np.int32), 1)
    return np.asarray(cv2.dilate(squares, np.ones((3, 3), np.uint8)) == 0)


def enhanced(data: bytes, loaded: Loaded, **options: Any) -> tuple[FoundFaces, Enhanced]:
    wanted = EnhanceOptions(**options)
    found = find(data, wanted, Settings().limits, loaded.detector, loaded.restorer)
    return found, finish(found, restore_all(loaded.restorer, found.crops, 4), wanted)


@pytest.mark.parametrize("name", kinds())
def test_nothing_of_the_photo_is_lost(name: str, loaded: Loaded) -> None:
    kind = kinds()[name]
    found, result = enhanced(kind.data, loaded)
    data = result.picture.data
    mode, levels = mode_and_levels(data)
    height, width = kind.upright.shape[:2]
    outside = untouched(found, height, width)
    colours = slice(0, -1) if mode.startswith(("LA", "RGBA")) else slice(None)
    unit = 257 if mode.endswith(";16") else 1
    assert levels.shape == kind.upright.shape
    difference = np.abs(levels.astype(int) - kind.upright)[..., colours] / unit
    inside = ~outside
    shift = levels[inside].mean(0)[colours] - kind.upright[inside].mean(0)[colours]
    with Image.open(BytesIO(data)) as image:
        told = image.getexif()
        dpi = image.info.get("dpi", (0, 0))
        records = image.info.get("photoshop", {}).get(0x0404)
        if records is None and "Raw profile type iptc" in image.info:
            records = bytes.fromhex("".join(image.info["Raw profile type iptc"].split()[2:]))[12:]
            records = records[: len(IPTC)]
        kept = {
            "format": image.format == kind.file_format,
            "size": image.size == (width, height),
            "mode and depth": mode == kind.mode,
            "orientation": told.get(ExifTags.Base.Orientation, 1) == 1,
            "exif": told.get(ExifTags.Base.Make) == "A camera",
            "icc": image.info.get("icc_profile") == kind.icc,
            "xmp": image.info.get("xmp") == UPRIGHT_XMP,
            "iptc": records == IPTC,
            # the picture was turned, and its pixels with it
            "dpi": tuple(round(value) for value in dpi) == (200, 300),
        }
    for part in ALL - kind.kept:
        del kept[part]
    most = difference[outside].max() if kind.lossless else difference[outside].mean()
    kept |= {
        "pixels outside": bool(most <= (0 if kind.lossless else _LOSSY)),
        "alpha": bool(
            (levels[..., colours.stop or 99 :] == kind.upright[..., colours.stop or 99 :]).all()
        ),
        "a restored face": bool(found.aligned) and bool(difference[inside].max() > 3),
        "its colour": bool(np.abs(shift).max() / unit <= kind.colour),
    }
    assert [part for part, is_kept in kept.items() if not is_kept] == []


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "png, 16 bits, RGB", "tiff"])
def test_stripped_metadata_is_gone_and_colours_are_not(name: str, loaded: Loaded) -> None:
    kind = kinds()[name]
    _, result = enhanced(kind.data, loaded, strip_metadata=True)
    data = result.picture.data
    assert not any(private in data for private in (b"A camera", b"caption", b"tiff:", b"iptc"))
    with Image.open(BytesIO(data)) as image:
        assert image.info["icc_profile"] == P3
        assert not {"exif", "xmp", "photoshop"} & image.info.keys()
        assert image.size == (256, 288)


@pytest.mark.parametrize("wanted", ["jpeg", "webp"])
def test_sixteen_bits_become_eight_where_the_format_has_no_more(
    wanted: str, loaded: Loaded
) -> None:
    kind = kinds()["png, 16 bits, RGB"]
    found, result = enhanced(kind.data, loaded, format=wanted)
    _, levels = mode_and_levels(result.picture.data)
    outside = untouched(found, *levels.shape[:2])
    assert np.abs(levels - kind.upright / 257)[outside].mean() <= _LOSSY


@pytest.mark.parametrize("scale", [2, 4])
def test_a_deep_photo_is_enlarged_in_its_depth(scale: int, loaded: Loaded) -> None:
    kind = kinds()["png, 16 bits, RGBA"]
    _, result = enhanced(kind.data, loaded, upscale=scale)
    mode, levels = mode_and_levels(result.picture.data)
    assert mode == "RGBA;16"
    assert levels.shape == (288 * scale, 256 * scale, 4)
    small = cv2.resize(levels, (256, 288), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - kind.upright)[..., :3].mean() / 257 < _LOSSY


def test_the_same_photo_in_another_colour_space_is_restored_alike(
    astronaut: NDArray[np.uint8], loaded: Loaded
) -> None:
    """One in sRGB and one converted to Display P3 look the same before; so they do after."""
    from PIL import ImageCms

    rgb = Image.fromarray(astronaut[:288, 96:352])
    srgb, wide = (
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        ImageCms.ImageCmsProfile(BytesIO(P3)),
    )
    converted = ImageCms.profileToProfile(rgb, srgb, wide)
    assert converted is not None
    results = []
    for image, icc in ((rgb, None), (converted, P3)):
        buffer = BytesIO()
        image.save(buffer, "PNG", icc_profile=icc)
        _, result = enhanced(buffer.getvalue(), loaded)
        results.append(Image.open(BytesIO(result.picture.data)))
    back = ImageCms.profileToProfile(results[1], wide, srgb)
    assert back is not None
    difference = np.abs(np.asarray(back).astype(int) - np.asarray(results[0]))
    assert difference.mean() < 1
    assert np.percentile(difference, 99) <= 4


def test_no_edge_is_seen_on_a_flat_background(astronaut: NDArray[np.uint8], loaded: Loaded) -> None:
    """A head before a plain wall: along the mask's border nothing steps by more than two levels."""
    wall = np.full_like(astronaut, (190, 180, 170))
    head = np.zeros(astronaut.shape[:2], np.float32)
    cv2.ellipse(head, (224, 115), (62, 84), 0, 0, 360, 1.0, -1)
    head = np.asarray(cv2.GaussianBlur(head, (0, 0), 4), np.float32)[..., None]
    photo = np.rint(wall + head * (astronaut.astype(np.float32) - wall)).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    found, result = enhanced(buffer.getvalue(), loaded)
    _, levels = mode_and_levels(result.picture.data)
    assert len(found.aligned) == 1
    plain = np.asarray(head[..., 0] == 0)
    covered = plain & ~untouched(found, *plain.shape)
    assert covered.sum() > 5_000  # the square reaches well beyond the head
    for axis in (0, 1):
        steps = np.abs(np.diff(levels.astype(int), axis=axis)).max(2)
        both = covered[1:] & covered[:-1] if axis == 0 else covered[:, 1:] & covered[:, :-1]
        assert steps[both].max() <= 2
