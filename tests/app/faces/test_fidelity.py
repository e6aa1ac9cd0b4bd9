"""A table: what kind of picture comes in, and that nothing of it is lost on the way through."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from app.imaging.xmp import MARK, SOURCE_TYPE, marked
from app.serving.load import Loaded
from tests.app.faces.enhancing import enhanced, in_png, mode_and_levels, untouched
from tests.kinds_of_photos import ALL, IPTC, P3, UPRIGHT_XMP, kinds

_LOSSY = 4.0  # mean levels, after another compression


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
            "xmp": image.info.get("xmp") == marked(UPRIGHT_XMP),
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
    assert not any(private in data for private in (b"A camera", b"caption", b"tiff:", b"type iptc"))
    with Image.open(BytesIO(data)) as image:
        assert image.info["icc_profile"] == P3
        assert not {"exif", "photoshop"} & image.info.keys()
        assert image.info["xmp"] == MARK
        assert image.size == (256, 288)


@pytest.mark.parametrize(
    ("options", "is_marked"),
    [
        ({}, True),
        ({"strip_metadata": True}, True),
        ({"mark": False}, False),
        ({"strength": 0}, False),  # nothing was changed
        ({"aligned": True}, True),
    ],
)
def test_a_picture_with_a_restored_face_says_so(
    options: dict[str, Any], is_marked: bool, astronaut: NDArray[np.uint8], loaded: Loaded
) -> None:
    _, result = enhanced(in_png(astronaut[:256, 96:352]), loaded, **options)
    assert (SOURCE_TYPE.encode() in result.picture.data) == is_marked


def test_a_picture_without_a_restored_face_is_not_marked(loaded: Loaded) -> None:
    _, result = enhanced(in_png(np.full((64, 64, 3), 128, np.uint8)), loaded)
    assert b"DigitalSourceType" not in result.picture.data


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
