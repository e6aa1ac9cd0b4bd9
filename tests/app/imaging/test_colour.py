"""The networks see sRGB; what comes back has the photo's own colours."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from app.imaging.colour import Colours, colours_of
from app.imaging.decode import decode
from app.imaging.photo import Photo
from tests.profiles import (
    ADOBE_PRIMARIES,
    GAMMA,
    P3_PRIMARIES,
    SRGB_PRIMARIES,
    grey_profile,
    press_profile,
    rgb_profile,
)

Pixels = NDArray[np.uint8]
SKIN = np.array([[[224, 172, 150], [120, 80, 60], [250, 220, 200]]], np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def photo_of(
    pixels: NDArray[np.unsignedinteger], profile: bytes | None, grey: bool = False
) -> Photo:
    return Photo(pixels, None, grey, "png", b"", profile)


def stored_in(srgb: Pixels, primaries: NDArray[np.float64]) -> Pixels:
    """The same colours by the definitions of the colour spaces, without a colour engine."""
    values = srgb / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    own = linear @ (np.linalg.inv(primaries) @ SRGB_PRIMARIES).T
    levels: Pixels = np.rint(255 * np.clip(own, 0, 1) ** (1 / GAMMA)).astype(np.uint8)
    return levels


@pytest.mark.parametrize("primaries", [P3_PRIMARIES, ADOBE_PRIMARIES], ids=["P3", "Adobe RGB"])
def test_the_network_sees_srgb(primaries: NDArray[np.float64]) -> None:
    stored = stored_in(SKIN, primaries)
    assert np.abs(stored.astype(int) - SKIN).max() > 5
    colours = colours_of(photo_of(stored, rgb_profile(primaries)))
    assert np.abs(colours.shown(stored).astype(int) - SKIN).max() <= 2
    deep = stored.astype(np.uint16) * 257
    np.testing.assert_array_equal(colours.shown(deep), colours.shown(stored))


@pytest.mark.parametrize("primaries", [P3_PRIMARIES, ADOBE_PRIMARIES], ids=["P3", "Adobe RGB"])
def test_what_is_restored_comes_back_in_the_photo_s_colours(
    primaries: NDArray[np.float64],
) -> None:
    original = stored_in(SKIN, primaries)
    colours = colours_of(photo_of(original, rgb_profile(primaries)))
    brighter = np.clip(SKIN.astype(int) + 4, 0, 255).astype(np.uint8)
    back = colours.brought_back(brighter, original)
    assert np.abs(back.astype(int) - stored_in(brighter, primaries)).max() <= 2


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("profile", "grey"),
    [
        (None, False),
        (None, True),
        (rgb_profile(ADOBE_PRIMARIES), False),
        (rgb_profile(P3_PRIMARIES), False),
        (grey_profile(), True),
    ],
    ids=["sRGB", "grey", "Adobe RGB", "P3", "profiled grey"],
)
def test_what_the_network_leaves_as_it_is_comes_back_to_the_bit(
    depth: type[np.unsignedinteger], profile: bytes | None, grey: bool
) -> None:
    """Colours that sRGB has not, too, and the lower byte."""
    rng = np.random.default_rng(0)
    original = rng.integers(0, np.iinfo(depth).max + 1, (32, 32, 3)).astype(depth)
    if grey:
        original = np.repeat(original[..., :1], 3, axis=2)
    colours = colours_of(photo_of(original, profile, grey))
    back = colours.brought_back(colours.shown(original), original)
    assert back.dtype == depth
    np.testing.assert_array_equal(back, original)


def test_grey_comes_back_grey() -> None:
    original = np.full((8, 8, 3), 100, np.uint8)
    restored = np.full((8, 8, 3), (130, 120, 110), np.uint8)
    for profile in (None, grey_profile()):
        back = colours_of(photo_of(original, profile, grey=True)).brought_back(restored, original)
        assert (back == back[..., :1]).all()
        assert back[0, 0, 0] > 100
    seen = colours_of(photo_of(original, grey_profile(), grey=True)).shown(original)
    assert (seen < 95).all()  # its gamma is 2.8


def test_profiles_of_srgb_and_broken_ones_change_nothing() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    damaged = bytearray(rgb_profile(P3_PRIMARIES))
    damaged[132:200] = bytes(68)
    for profile in (srgb, b"no profile", bytes(damaged), grey_profile(), press_profile()):
        assert colours_of(photo_of(NOISE, profile)) == Colours(grey=False, transforms=None)
    assert colours_of(photo_of(NOISE, srgb)).brought_back(NOISE, NOISE) is NOISE


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_inks_become_srgb_by_their_profile(file_format: str) -> None:
    image = Image.new("CMYK", (16, 16), (200, 0, 0, 0))
    seen = {}
    for name, profile in (("press", press_profile()), ("none", None), ("broken", b"no profile")):
        buffer = BytesIO()
        image.save(buffer, file_format, icc_profile=profile)
        photo = decode(buffer.getvalue(), 1000)
        assert photo.icc_profile is None
        seen[name] = photo.pixels[8, 8].astype(int)
    red, green, blue = seen["press"]
    assert green > red + 40
    assert green > blue + 40  # Lab (76, -47, 16) of its profile, not cyan
    assert np.abs(seen["none"] - [55, 255, 255]).max() < 4
    np.testing.assert_array_equal(seen["broken"], seen["none"])


def test_a_profile_whose_parts_may_be_repeated_is_not_read() -> None:
    """A hundred kilobytes of them took half a gigabyte."""
    profile = rgb_profile(P3_PRIMARIES)
    pixels = np.zeros((4, 4, 3), np.uint8)
    for extra, used in ((b"", True), (b"mpet", False)):
        photo = Photo(pixels, None, False, "png", b"", profile + extra)
        assert (colours_of(photo).transforms is not None) == used
