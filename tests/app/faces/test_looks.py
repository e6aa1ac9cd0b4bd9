"""No seams, no shift of colours, the right strength: restored photos as their owners see them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

from app.faces.pipeline import FoundFaces
from app.serving.load import Loaded
from tests.app.faces.enhancing import enhanced, in_png, mode_and_levels, untouched
from tests.kinds_of_photos import Levels

HEAD = (224, 115)
WALL = (190, 180, 170)


def head_mask() -> NDArray[np.float32]:
    """Of the astronaut's head in her picture, with a soft edge; 0 to 1."""
    head = np.zeros((512, 512), np.float32)
    cv2.ellipse(head, HEAD, (62, 84), 0, 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(head, (0, 0), 4), np.float32)


def before_a_wall(
    astronaut: NDArray[np.uint8], *heads: tuple[int, int, float, float], side: int = 512
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Heads, at x, y, of a size, turned by degrees, before a plain wall; and where the wall is."""
    photo = np.full((side, side, 3), WALL, np.float32)
    free = np.ones((side, side), bool)
    for x, y, size, angle in heads:
        place = np.asarray(cv2.getRotationMatrix2D(HEAD, angle, size), np.float64)
        place[:, 2] += np.array([x, y]) - HEAD
        head = cv2.warpAffine(head_mask(), place, (side, side), flags=cv2.INTER_AREA)
        seen = cv2.warpAffine(astronaut, place, (side, side), flags=cv2.INTER_AREA)
        photo = photo + head[..., None] * (seen - photo)
        free &= head == 0
    return np.rint(photo).astype(np.uint8), free


@pytest.mark.parametrize(
    "heads",
    {
        "alone": [(224, 115, 1.0, 0.0)],
        "turned": [(250, 250, 1.3, 35.0)],
        "on its side": [(250, 250, 1.3, 80.0)],
        "small": [(250, 250, 0.5, 10.0)],
        "over the border": [(40, 90, 1.2, 0.0), (470, 440, 1.2, -20.0)],
        "overlapping": [(180, 250, 1.1, 15.0), (320, 255, 1.1, -10.0)],
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
def test_no_edge_is_seen_on_a_flat_background(
    heads: tuple[str, list[tuple[int, int, float, float]]],
    grey: bool,
    astronaut: NDArray[np.uint8],
    loaded: Loaded,
) -> None:
    """Heads before a plain wall: along the masks' borders nothing steps by more than two levels."""
    photo, plain = before_a_wall(astronaut, *heads[1])
    if grey:
        photo = np.asarray(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))
    found, result = enhanced(in_png(photo), loaded)
    _, levels = mode_and_levels(result.picture.data)
    photo = photo.reshape(levels.shape)
    assert len(found.aligned) == len(heads[1])
    covered = plain & ~untouched(found, *plain.shape)
    assert covered.sum() > 1_000  # the squares reach well beyond the heads
    for axis in (0, 1):
        steps = np.abs(np.diff(levels.astype(int), axis=axis)).max(2)
        both = covered[1:] & covered[:-1] if axis == 0 else covered[:, 1:] & covered[:, :-1]
        assert steps[both].max() <= 2
    for face in found.reports:
        x0, y0, x1, y1 = face.face.box.astype(int)
        region = np.s_[y0:y1, x0:x1]
        shift = levels[region].mean((0, 1)) - photo[region].mean((0, 1))
        assert np.abs(shift).max() <= 2


def test_colours_are_matched_unless_it_is_not_wanted(
    astronaut: NDArray[np.uint8], loaded: Loaded
) -> None:
    """A face in light that the network does not know keeps it."""
    lit = np.clip(astronaut * np.array([1.0, 0.75, 0.5]), 0, 255).astype(np.uint8)
    shifts = {}
    for wanted in (True, False):
        found, result = enhanced(in_png(lit), loaded, match_colour=wanted)
        x0, y0, x1, y1 = found.reports[0].face.box.astype(int)
        _, levels = mode_and_levels(result.picture.data)
        shift = levels[y0:y1, x0:x1].mean((0, 1)) - lit[y0:y1, x0:x1].mean((0, 1))
        shifts[wanted] = np.abs(shift).max()
    assert shifts[True] <= 0.5
    assert shifts[False] > 2 * shifts[True]


def test_strength_is_even_to_the_eye(astronaut: NDArray[np.uint8], loaded: Loaded) -> None:
    """Every quarter of it changes the face by about as much (CIEDE2000)."""
    noisy = astronaut + np.random.default_rng(0).normal(0, 15, astronaut.shape)
    photo = np.clip(noisy, 0, 255).astype(np.uint8)
    pictures = [photo]
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        found, result = enhanced(in_png(photo), loaded, strength=strength)
        pictures.append(mode_and_levels(result.picture.data)[1])
    np.testing.assert_array_equal(pictures[1], photo)
    x0, y0, x1, y1 = found.reports[0].face.box.astype(int)
    seen = [rgb2lab(picture[y0:y1, x0:x1]) for picture in pictures[1:]]
    steps = np.array([deltaE_ciede2000(a, b).mean() for a, b in pairwise(seen)])
    so_far = np.array([deltaE_ciede2000(seen[0], later).mean() for later in seen[1:]])
    assert so_far[-1] > 2  # there is something to see
    np.testing.assert_allclose(so_far / so_far[-1], [0.25, 0.5, 0.75, 1], atol=0.06)
    np.testing.assert_allclose(steps / steps.mean(), 1, atol=0.15)


def fine_energy(levels: Levels, box: tuple[slice, slice], sigma: float) -> float:
    grey = cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), sigma)
    return float(fine[box].var())


def close_up(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Enlarged to so many pixels a side."""
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def blurred(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), len(photo) / 60), np.uint8)


def fine_energies(
    photo: NDArray[np.uint8], loaded: Loaded
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Before and after, finer than some sigmas, from the photo's own detail to the network's.

    The sigmas are shares of the photo's side: 3 to 24 pixels of 3000.
    """
    found, result = enhanced(in_png(photo), loaded)
    assert len(found.aligned) == 1
    x0, y0, x1, y1 = found.reports[0].face.box.astype(int)
    box = (slice(y0, y1), slice(x0, x1))
    _, levels = mode_and_levels(result.picture.data)
    before, after = (
        np.array([fine_energy(picture, box, len(photo) / n) for n in (1000, 500, 250, 125)])
        for picture in (photo, levels)
    )
    return before, after


def test_a_sharp_close_up_stays_sharp_and_a_blurred_one_gains(
    astronaut: NDArray[np.uint8], loaded: Loaded
) -> None:
    photo = close_up(astronaut[30:210, 136:316], 1500)
    before, after = fine_energies(photo, loaded)
    assert (after >= 0.9 * before).all()
    before, after = fine_energies(blurred(photo), loaded)
    assert (after >= 1.2 * before).all()


@pytest.mark.shared
@pytest.mark.long
def test_a_portrait_of_3000_pixels_stays_sharp_or_gains(
    loaded: Loaded, shared: Callable[[str], Path]
) -> None:
    path = sorted(shared("faces/512").glob("*.jpg"))[60]
    photo = close_up(np.asarray(Image.open(path).convert("RGB")), 3000)
    before, after = fine_energies(photo, loaded)
    assert (after >= 0.9 * before).all()
    before, after = fine_energies(blurred(photo), loaded)
    assert (after >= 1.2 * before).all()


def test_an_old_photo_stays_black_and_white(astronaut: NDArray[np.uint8], loaded: Loaded) -> None:
    """Grey in three channels, with grain and scratches: nothing is coloured or blotched."""
    rng = np.random.default_rng(0)
    grey = cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY).astype(np.float32) * 0.8 + 20
    grain = cv2.GaussianBlur(rng.normal(0, 1, grey.shape), (0, 0), 0.8)
    old = grey + 10 * grain / grain.std()
    old[:, 215] = 230
    photo = np.repeat(np.clip(np.rint(old), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    found, result = enhanced(in_png(photo), loaded)
    _, levels = mode_and_levels(result.picture.data)
    same = np.broadcast_to(levels, photo.shape)
    assert np.ptp(same, axis=2).max() == 0
    assert_the_same_from_afar(photo, same, found)


@pytest.mark.parametrize("kind", ["grain", "heavy jpeg", "sepia"])
def test_damaged_photos_keep_their_colours(
    kind: str, astronaut: NDArray[np.uint8], loaded: Loaded
) -> None:
    if kind == "grain":
        grain = np.random.default_rng(0).normal(0, 18, astronaut.shape)
        photo = np.clip(astronaut + grain, 0, 255).astype(np.uint8)
    elif kind == "heavy jpeg":
        buffer = BytesIO()
        Image.fromarray(astronaut).save(buffer, "JPEG", quality=12)
        photo = np.asarray(Image.open(buffer))
    else:
        grey = cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY)[..., None]
        photo = np.clip(grey * np.array([1.0, 0.87, 0.68]), 0, 255).astype(np.uint8)
    found, result = enhanced(in_png(photo), loaded)
    _, levels = mode_and_levels(result.picture.data)
    assert_the_same_from_afar(photo, levels, found)


def assert_the_same_from_afar(photo: Levels, levels: Levels, found: FoundFaces) -> None:
    """The face was restored; outside all is as it was; no part of the face changed its colour."""
    outside = untouched(found, *levels.shape[:2])
    np.testing.assert_array_equal(levels[outside], photo[outside])
    x0, y0, x1, y1 = found.reports[0].face.box.astype(int)
    change = levels[y0:y1, x0:x1].astype(np.float32) - photo[y0:y1, x0:x1]
    assert np.abs(change).mean() > 1
    assert np.abs(change.mean((0, 1))).max() <= 2
    parts = cv2.resize(change, (3, 4), interpolation=cv2.INTER_AREA)
    assert np.abs(parts).max() <= 6


@pytest.mark.shared
@pytest.mark.parametrize("scale", [1, pytest.param(4, marks=pytest.mark.long)])
def test_everyone_at_the_solvay_conference_is_restored(
    scale: int, loaded: Loaded, shared: Callable[[str], Path]
) -> None:
    path = shared("photos/Solvay_conference_1927.png")
    photo = np.asarray(Image.open(path).convert("RGB"))
    size = (photo.shape[1] * scale, photo.shape[0] * scale)
    photo = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    found, result = enhanced(in_png(photo), loaded)
    _, levels = mode_and_levels(result.picture.data)
    levels = np.broadcast_to(levels, photo.shape)
    assert len(found.aligned) == 29
    outside = untouched(found, *photo.shape[:2])
    np.testing.assert_array_equal(levels[outside], photo[outside])
    for report in found.reports:
        x0, y0, x1, y1 = report.face.box.astype(int)
        face = np.s_[y0:y1, x0:x1]
        assert np.abs(levels[face].mean((0, 1)) - photo[face].mean((0, 1))).max() <= 2
        likeness = structural_similarity(levels[face][..., 0], photo[face][..., 0], win_size=7)
        assert likeness > 0.6  # these are the same people
