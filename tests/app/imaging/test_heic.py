"""HEIC as telephones and cameras write it; what lies is in tests/hostile."""

from __future__ import annotations

from importlib.util import find_spec
from io import BytesIO
from typing import Any

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from app.errors import BrokenPicture, ServiceError, TooLarge, UnsupportedPicture
from app.imaging import heic
from app.imaging.cicp import profile_of
from app.imaging.decode import decode, measure
from app.imaging.encode import encode as encode_photo
from app.imaging.photo import Photo
from app.imaging.xmp import MARK, cleaned
from tests.decoders import decoders
from tests.heif_files import (
    AS_IS,
    EXACT,
    Item,
    Property,
    Reference,
    aux,
    clap,
    coded,
    encode,
    exif_item,
    gridded,
    heif,
    imir,
    irot,
    nclx,
    profile,
    tiled,
    xmp_item,
)
from tests.hostile.heic import seeds
from tests.kinds_of_photos import P3
from tests.profiles import P3_PRIMARIES, SRGB_PRIMARIES

LIMIT = 1_000_000
TO_FIRST = [Reference(b"auxl", 2, [1])]


def noisy(height: int = 64, width: int = 128, channels: int = 3) -> NDArray[np.uint8]:
    """Smooth, but no two corners of it are alike."""
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (4, 6, channels), dtype=np.uint8)
    layers = [
        Image.fromarray(small[..., i]).resize((width, height), Image.Resampling.BICUBIC)
        for i in range(channels)
    ]
    return np.dstack([np.asarray(layer) for layer in layers])


def read(*items: Item, references: list[Reference] | None = None) -> Photo:
    return decode(heif(items, references or []), LIMIT)


def exact(levels: NDArray[Any], *further: Property) -> Item:
    return coded(encode(levels, **EXACT), AS_IS, *further)


def test_pixels_are_what_was_stored() -> None:
    levels = noisy()
    photo = read(exact(levels))
    assert (photo.file_format, photo.grey, photo.alpha) == ("heic", False, None)
    assert np.array_equal(photo.pixels, levels)
    assert photo.icc_profile is None


def test_grey_stays_grey() -> None:
    levels = noisy(channels=1)[..., 0]
    photo = read(coded(encode(levels, quality=-1)))
    assert photo.grey
    assert np.array_equal(photo.pixels, np.repeat(levels[..., None], 3, axis=2))


@pytest.mark.parametrize(("quarters", "mirror"), [(q, m) for q in range(4) for m in (None, 0, 1)])
def test_it_is_turned_and_mirrored_as_the_file_says(quarters: int, mirror: int | None) -> None:
    """In the order of the properties; EXIF would turn it a second time."""
    levels = noisy()
    turns = [irot(quarters), *([] if mirror is None else [imir(mirror)])]
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "A camera", 6
    items = [exact(levels, *turns), exif_item(exif.tobytes().removeprefix(b"Exif\0\0"))]
    photo = read(*items, references=[Reference(b"cdsc", 2, [1])])
    expected = np.rot90(levels, quarters)
    expected = {None: expected, 0: np.flipud(expected), 1: np.fliplr(expected)}[mirror]
    assert np.array_equal(photo.pixels, expected)
    kept = Image.Exif()
    kept.load(photo.exif)
    assert dict(kept) == {0x010F: "A camera"}
    # libheif itself, of the file as it is
    whole = pillow_heif.open_heif(heif(items))
    assert np.array_equal(np.array(whole), expected)


def test_a_grid_is_put_together_and_cut_to_its_size() -> None:
    levels = noisy(150, 200)
    items, tiles = gridded(levels, 64, irot(1), AS_IS, **EXACT)
    photo = read(*items, references=[tiles])
    assert np.array_equal(photo.pixels, np.rot90(levels))


def test_a_clean_aperture_is_cut_out() -> None:
    levels = noisy()
    # 101 of 128 columns and 32 of 64 rows, whose middle is half a pixel and 3 off
    photo = read(exact(levels, clap(101, 1, 32, 1, 1, 2, -3, 1)))
    assert np.array_equal(photo.pixels, levels[13:45, 14:115])


@pytest.mark.parametrize("turn", [None, irot(3)])
def test_alpha_is_kept_and_turned_alike(turn: Property | None) -> None:
    levels, alpha = noisy(), noisy(channels=1)[..., 0]
    turns = [turn] if turn else []
    cover = coded(encode(alpha, quality=-1), aux(), *turns)
    photo = read(exact(levels, *turns), cover, references=TO_FIRST)
    assert photo.alpha is not None
    assert np.array_equal(photo.alpha, np.rot90(alpha, 3) if turn else alpha)
    assert np.array_equal(photo.pixels, np.rot90(levels, 3) if turn else levels)


def test_an_alpha_may_be_a_grid_as_well() -> None:
    levels = noisy(100, 120, channels=4)
    photo = decode(tiled(levels, 64, [], AS_IS, **EXACT), LIMIT)
    assert photo.alpha is not None
    assert np.array_equal(photo.alpha, levels[..., 3])
    assert np.array_equal(photo.pixels, levels[..., :3])


def test_other_auxiliary_pictures_are_no_alpha() -> None:
    gain = coded(encode(noisy(channels=1)[..., 0]), aux(b"urn:com:apple:photo:2020:aux:hdrgainmap"))
    assert read(exact(noisy()), gain, references=TO_FIRST).alpha is None


def test_ten_bits_become_sixteen_of_the_whole_range() -> None:
    ramp = np.arange(64 * 128, dtype=np.uint32).reshape(64, 128) % 1024
    levels = np.dstack([ramp, ramp[:, ::-1], 1023 - ramp]).astype(np.uint16)
    photo = read(exact(levels << 6))
    assert photo.pixels.dtype == np.uint16
    assert np.array_equal(photo.pixels, np.rint(levels * (65_535 / 1023)).astype(np.uint16))
    picture = encode_photo(photo, "same", 90, strip_metadata=False)
    assert picture.media_type == "image/png"
    assert np.array_equal(decode(picture.data, LIMIT).pixels, photo.pixels)


def test_metadata_of_the_primary_is_kept_and_that_of_others_is_not() -> None:
    other = coded(encode(noisy()))
    of_another = MARK.replace(b'about=""', b'about="another"')
    items = [exact(noisy()), xmp_item(of_another), xmp_item(MARK), other]
    links = [Reference(b"cdsc", 2, [4]), Reference(b"cdsc", 3, [4, 1])]
    assert read(*items, references=links).xmp == cleaned(MARK, turned=False)


def test_a_profile_is_kept_and_goes_before_code_points() -> None:
    assert read(exact(noisy(), profile(P3))).icc_profile == P3


def test_colours_told_at_the_tiles_alone_are_the_grids() -> None:
    items, tiles = gridded(noisy(), 64, **EXACT)
    items = [
        items[0],
        *(one._replace(properties=(*one.properties, AS_IS, profile(P3))) for one in items[1:]),
    ]
    photo = read(*items, references=[tiles])
    assert photo.icc_profile == P3
    assert np.array_equal(photo.pixels, noisy())


def test_code_points_of_other_colours_become_a_profile() -> None:
    photo = read(coded(encode(noisy()), nclx(12, 13, 6)))
    assert photo.icc_profile is not None
    read_back = ImageCms.ImageCmsProfile(BytesIO(photo.icc_profile))
    for at, name in enumerate(("red", "green", "blue")):
        told = getattr(read_back.profile, f"{name}_colorant")[0]
        assert np.allclose(told, P3_PRIMARIES[:, at], atol=2e-3)


def test_a_profile_of_code_points_means_what_they_say() -> None:
    """BT.709's red, green and blue, with a plain gamma of 2.2."""
    made = profile_of(1, 4)
    assert made is not None
    read_back = ImageCms.ImageCmsProfile(BytesIO(made))
    assert read_back.profile.red_colorant is not None
    assert np.allclose(read_back.profile.red_colorant[0], SRGB_PRIMARIES[:, 0], atol=2e-3)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    levels = np.arange(256, dtype=np.uint8)
    ramp = Image.fromarray(np.repeat(levels[None, :, None], 3, axis=2))
    shown = ImageCms.profileToProfile(ramp, read_back, srgb)
    assert shown is not None
    light = (levels / 255) ** 2.2
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(np.asarray(shown)[0] - 255 * expected[:, None]).max() <= 1.5


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (1, 1), (2, 2), (6, 6)])
def test_code_points_like_those_of_srgb_need_no_profile(primaries: int, transfer: int) -> None:
    photo = read(coded(encode(noisy()), nclx(primaries, transfer, 6)))
    assert photo.icc_profile is None


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_high_dynamic_range_is_read_in_its_own_colours(transfer: int) -> None:
    photo = read(coded(encode(noisy()), nclx(9, transfer, 9)))
    assert photo.icc_profile is not None
    colours = ImageCms.ImageCmsProfile(BytesIO(photo.icc_profile)).profile.red_primary
    assert colours is not None
    assert colours[1][:2] == pytest.approx((0.708, 0.292), abs=0.05)  # BT.2020, under D50


def test_premultiplied_colours_are_divided_by_their_alpha() -> None:
    levels = noisy()
    alpha = np.full((64, 128), 128, np.uint8)
    items = [
        exact(np.rint(levels * (128 / 255)).astype(np.uint8)),
        coded(encode(alpha, quality=-1), aux()),
    ]
    photo = read(*items, references=[*TO_FIRST, Reference(b"prem", 1, [2])])
    assert photo.alpha is not None
    assert np.array_equal(photo.alpha, alpha)
    assert np.abs(photo.pixels.astype(int) - levels).max() <= 1


def test_what_another_writer_makes_is_read_as_another_reader_reads_it() -> None:
    """libheif's own files: odd sizes, whose cut it writes in ways of its own, and alpha."""
    for mode, size in (("RGB", (99, 77)), ("RGBA", (130, 64)), ("L", (64, 65)), ("LA", (90, 70))):
        channels = len(Image.new(mode, (1, 1)).getbands())
        levels = noisy(size[1], size[0], channels)
        buffer = BytesIO()
        image = Image.fromarray(levels[..., 0] if channels == 1 else levels)
        pillow_heif.from_pillow(image).save(buffer, quality=80)
        photo = decode(buffer.getvalue(), LIMIT)
        assert (photo.width, photo.height) == size
        seen = np.array(pillow_heif.open_heif(buffer.getvalue())).reshape(size[1], size[0], -1)
        colours = 3 if mode != "L" else 1
        assert np.array_equal(photo.pixels[..., :colours], seen[..., :colours])
        assert (photo.alpha is not None) == mode.endswith("A")
        if photo.alpha is not None:
            assert np.array_equal(photo.alpha, seen[..., -1])


def test_it_is_refused_by_its_size_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(_: object) -> None:
        raise AssertionError("it is decoded")

    monkeypatch.setattr(heic.OpenHeic, "read", decoded)
    file = heif([exact(noisy())])
    assert measure(file, 128 * 64) == 128 * 64
    for step in (measure, decode):
        with pytest.raises(TooLarge):
            step(file, 128 * 64 - 1)


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        heic,
        "find_spec",
        lambda name: None if name == "pi_heif" else find_spec(name),
    )
    for step in (measure, decode):
        with pytest.raises(UnsupportedPicture, match=r"pip install 'gpen-portrait\[heic\]'"):
            step(heif([exact(noisy())]), LIMIT)


@pytest.mark.parametrize("name", seeds())
def test_what_is_cut_off_is_refused(name: str) -> None:
    file = seeds()[name]
    tables = file.index(b"mdat") + 4
    for end in [*range(24, tables, 7), tables + 5]:
        with pytest.raises(BrokenPicture):
            decoders.decode(file[:end], LIMIT)


@pytest.mark.parametrize("name", seeds())
def test_any_byte_of_the_tables_may_be_wrong(name: str) -> None:
    """It is refused, or some other picture of a size that was told before."""
    file = seeds()[name]
    tables = file.index(b"mdat") + 4
    refused = 0
    for at in range(8, tables, 5):
        for value in (0, file[at] ^ 1, 255):
            spoilt = file[:at] + bytes([value]) + file[at + 1 :]
            try:
                pixels = decoders.measure(spoilt, LIMIT)
                photo = decoders.decode(spoilt, LIMIT)
            except ServiceError:
                refused += 1
                continue
            assert photo.width * photo.height == pixels <= LIMIT
    assert refused > tables // 10
