"""Colours, detail and noise of what is pasted."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.faces.align import align, rescaled
from app.faces.blend import close_up, colours_matched, confidence, original_weight, uncoloured
from app.faces.mask import oval
from app.faces.paste import paste
from app.imaging.photo import Levels
from model.checkpoints.templates import landmark_template

SIZE = 256
TEMPLATE = landmark_template("gpen", SIZE)
COVER = oval(TEMPLATE, SIZE)[..., 0]
FACE = cv2.resize(COVER, (SIZE, SIZE)) > 0.5


def portrait(astronaut: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The astronaut's face, about where the template wants it."""
    crop = astronaut[16:240, 114:338]
    resized = cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(resized, np.uint8)


def levels(values: NDArray[np.floating], depth: type = np.uint8) -> Levels:
    peak = np.iinfo(depth).max
    result: Levels = np.clip(np.rint(values), 0, peak).astype(depth)
    return result


def blurred(image: Levels, sigma: float) -> Levels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma))


def energy(image: Levels, sigma: float) -> float:
    """Of what is finer than a Gaussian, in the middle of the picture, where the face is."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), sigma)
    side = image.shape[0]
    return float(fine[side // 4 : -side // 4, side // 4 : -side // 4].var())


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_colour_cast_is_taken_back(astronaut: NDArray[np.uint8], depth: type) -> None:
    unit = np.iinfo(depth).max // 255
    original = levels(portrait(astronaut, SIZE).astype(float) * unit, depth)
    cast = levels(original * np.array([0.9, 1.0, 1.05]) + np.array([12, -6, 3]) * unit, depth)
    (matched,) = colours_matched([cast], [original], TEMPLATE)
    assert matched.dtype == depth
    shift = (matched.astype(float) - original)[FACE].mean(0) / unit
    assert np.abs(shift).max() < 1
    assert np.abs((cast.astype(float) - original)[FACE].mean(0)).max() / unit > 3
    # nor is it there in any large part of the face
    parts = cv2.resize(matched.astype(np.float32) - original, (4, 4), interpolation=cv2.INTER_AREA)
    assert np.abs(parts[1:3, 1:3]).max() / unit < 4


def test_what_is_right_already_stays(astronaut: NDArray[np.uint8]) -> None:
    original = portrait(astronaut, SIZE)
    np.testing.assert_array_equal(colours_matched([original], [original], TEMPLATE)[0], original)
    assert colours_matched([], [], TEMPLATE) == []


def test_detail_noise_and_blocks_are_no_colours(astronaut: NDArray[np.uint8]) -> None:
    """What restoring takes away does not come back with the colours."""
    clean = portrait(astronaut, SIZE)
    rng = np.random.default_rng(0)
    noisy = levels(clean + rng.normal(0, 20, clean.shape))
    blocks = np.kron(rng.normal(0, 8, (16, 16, 3)), np.ones((16, 16, 1)))
    for original, most in ((noisy, 1.5), (levels(clean + blocks), 2.0)):
        (matched,) = colours_matched([clean], [original], TEMPLATE)
        assert (matched.astype(float) - clean)[FACE].std() < most


def test_what_lies_about_a_face_does_not_colour_it(astronaut: NDArray[np.uint8]) -> None:
    original = portrait(astronaut, SIZE)
    restored = original.copy()
    restored[cv2.resize(COVER, (SIZE, SIZE)) == 0] = 255
    (matched,) = colours_matched([restored], [original], TEMPLATE)
    assert np.abs(matched.astype(int) - original)[100:200, 80:176].max() <= 2


def test_a_grey_face_is_not_coloured(astronaut: NDArray[np.uint8]) -> None:
    coloured = portrait(astronaut, SIZE)
    grey = np.repeat(cv2.cvtColor(coloured, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    np.testing.assert_array_equal(uncoloured(coloured, grey), grey)
    tinted = grey.copy()
    tinted[0, 0, 0] ^= 1
    np.testing.assert_array_equal(uncoloured(coloured, tinted), coloured)


def test_matching_keeps_grey_grey(astronaut: NDArray[np.uint8]) -> None:
    grey = np.repeat(cv2.cvtColor(portrait(astronaut, SIZE), cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    (matched,) = colours_matched([blurred(grey // 2, 3)], [grey], TEMPLATE)
    assert np.ptp(matched, axis=2).max() == 0


def test_the_photo_s_original_weight_where_the_crop_lacks_it() -> None:
    photo = np.zeros((600, 600, 3), np.uint8)
    faces = [align(photo, rescaled(TEMPLATE, scale), TEMPLATE, SIZE) for scale in (0.5, 1, 1.5, 4)]
    assert [round(original_weight(face), 6) for face in faces] == [0, 0, 0.5, 1]


def test_the_smaller_a_face_the_less_is_believed() -> None:
    photo = np.zeros((600, 600, 3), np.uint8)
    trust = [
        confidence(align(photo, rescaled(TEMPLATE, scale), TEMPLATE, SIZE), TEMPLATE)
        for scale in (0.05, 0.15, 0.2, 0.25, 0.3, 1, 2)
    ]
    assert trust[:2] == [0.5, pytest.approx(0.5, abs=0.06)]
    assert trust == sorted(trust)
    assert trust[-3:] == [1, 1, 1]


def shown(photo: Levels, restored: Levels) -> Levels:
    face = align(photo, rescaled(TEMPLATE, photo.shape[0] / SIZE), TEMPLATE, SIZE)
    return paste(photo, [face], [restored], TEMPLATE)


@pytest.mark.parametrize("times", [3, 6])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_sharp_close_up_is_not_softened(
    astronaut: NDArray[np.uint8], times: int, depth: type
) -> None:
    """Not even where the network blurs what it sees."""
    side = times * SIZE
    unit = np.iinfo(depth).max // 255
    photo = levels(portrait(astronaut, side).astype(float) * unit, depth)
    restored = blurred(np.asarray(cv2.resize(photo, (SIZE, SIZE), interpolation=cv2.INTER_AREA)), 2)
    for sigma in (0.4 * times, times, 2 * times):
        assert energy(shown(photo, restored), sigma) >= 0.9 * energy(photo, sigma)
        enlarged = np.asarray(cv2.resize(restored, (side, side), interpolation=cv2.INTER_CUBIC))
        assert energy(enlarged, sigma) < 0.6 * energy(photo, sigma)


@pytest.mark.parametrize("times", [3, 6])
def test_a_blurred_close_up_is_sharpened(astronaut: NDArray[np.uint8], times: int) -> None:
    sharp = portrait(astronaut, times * SIZE)
    photo = blurred(sharp, 4 * times)
    restored = np.asarray(cv2.resize(sharp, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
    for sigma in (0.5 * times, times, 2 * times):
        assert energy(shown(photo, restored), sigma) > 1.5 * energy(photo, sigma)


@pytest.mark.parametrize("times", [2, 5])
def test_noise_is_no_detail(astronaut: NDArray[np.uint8], times: int) -> None:
    clean = portrait(astronaut, times * SIZE)
    photo = levels(clean + np.random.default_rng(0).normal(0, 15, clean.shape))
    restored = np.asarray(cv2.resize(clean, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
    cheek = np.s_[150 * times : 165 * times, 95 * times : 110 * times]
    noise = (photo.astype(float) - clean)[cheek].std()
    left = (shown(photo, restored).astype(float) - clean)[cheek].std()
    assert left < 0.5 * noise


def test_fine_texture_is_no_noise(astronaut: NDArray[np.uint8]) -> None:
    side = 4 * SIZE
    smooth = portrait(astronaut, side)
    photo = levels(smooth + np.random.default_rng(0).normal(0, 2, (side, side, 1)))
    face = align(photo, rescaled(TEMPLATE, 4), TEMPLATE, SIZE)
    _, kept = close_up(face.crop, face, photo, face.matrix, COVER)
    assert kept[FACE].mean() > 0.9
