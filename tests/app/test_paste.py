"""Pasting: nothing outside the masks, no seams inside."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.align import AlignedFace, align, similarity
from app.paste import paste, replace_whole
from model.templates import landmark_template

TEMPLATE = landmark_template("gpen", 256)


def landmarks_at(x: float, y: float, scale: float, angle: float = 0.0) -> NDArray[np.float64]:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    centred = TEMPLATE - 127.5
    landmarks: NDArray[np.float64] = centred @ np.array([[c, s], [-s, c]]) + np.array([x, y])
    return landmarks


def flat_face(landmarks: NDArray[np.float64], level: int) -> AlignedFace:
    crop = np.full((256, 256, 3), level, np.uint8)
    return AlignedFace(crop, similarity(landmarks, TEMPLATE))


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_no_face_no_change() -> None:
    photo = noise(50, 60)
    result = paste(photo, [])
    np.testing.assert_array_equal(result, photo)
    assert result is not photo


def test_strength_zero_no_change() -> None:
    photo = noise(300, 300)
    np.testing.assert_array_equal(
        paste(photo, [flat_face(landmarks_at(150, 150, 0.5), 0)], strength=0), photo
    )


def test_strength_is_a_blend() -> None:
    photo = np.full((300, 300, 3), 100, np.uint8)
    face = flat_face(landmarks_at(150, 150, 0.5), 200)
    centres = [int(paste(photo, [face], strength=s)[150, 150, 0]) for s in (0, 0.25, 0.5, 1)]
    assert centres == [100, 125, 150, 200]


@pytest.mark.parametrize("angle", [0, 0.5, 2.4])
@pytest.mark.parametrize("scale", [0.1, 0.5, 2.0])
def test_only_the_face_s_own_square_changes(angle: float, scale: float) -> None:
    photo = noise(700, 800)
    face = flat_face(landmarks_at(420, 330, scale, angle), 90)
    changed = (paste(photo, [face]) != photo).any(axis=2)
    corners = cv2.transform(
        np.array([[[-0.5, -0.5], [255.5, -0.5], [255.5, 255.5], [-0.5, 255.5]]]),
        cv2.invertAffineTransform(face.matrix),
    )
    square = np.zeros((700, 800), np.uint8)
    cv2.fillConvexPoly(square, corners[0].round().astype(np.int32), 1)
    near = cv2.dilate(square, np.ones((3, 3), np.uint8))
    assert changed.any()
    assert not changed[near == 0].any()


def test_the_mask_fades_out_gently() -> None:
    """On a flat photo no step along the border is larger than the feather allows."""
    photo = np.full((600, 600, 3), 100, np.uint8)
    result = paste(photo, [flat_face(landmarks_at(300, 300, 1.5), 140)]).astype(int)
    steps = (
        np.abs(np.diff(result[..., 0], axis=0)).max(),
        np.abs(np.diff(result[..., 0], axis=1)).max(),
    )
    assert result[300, 300, 0] == 140
    assert max(steps) <= 2


def test_an_unrestored_crop_goes_back_where_it_came_from() -> None:
    x, y = np.meshgrid(np.arange(800), np.arange(600))
    photo = np.stack([x * 0.3, y * 0.4, 127 + 60 * np.sin((x + y) / 50)], axis=2).astype(np.uint8)
    for scale in (0.3, 1.0, 1.9):
        face = align(photo, landmarks_at(400, 300, scale, 0.3), TEMPLATE, 256)
        difference = np.abs(paste(photo, [face]).astype(int) - photo)
        assert difference.max() <= 3, scale
        assert difference.mean() < 0.5


def test_faces_over_the_border_and_beyond() -> None:
    photo = noise(200, 200)
    for x, y in [(0, 0), (199, 100), (-60, 100), (100, 260), (-900, -900)]:
        result = paste(photo, [flat_face(landmarks_at(x, y, 0.6), 50)])
        assert result.shape == photo.shape
    assert (result == photo).all()  # the last one lies wholly outside


def test_overlapping_faces_share_without_a_seam_and_in_any_order() -> None:
    photo = np.full((400, 600, 3), 100, np.uint8)
    faces = [
        flat_face(landmarks_at(250, 200, 0.8), 120),
        flat_face(landmarks_at(350, 200, 0.8), 180),
    ]
    result = paste(photo, faces)
    np.testing.assert_array_equal(result, paste(photo, faces[::-1]))
    row = result[200, :, 0].astype(int)
    assert row[230] <= 123
    assert row[370] >= 177
    assert (np.diff(row[250:350]) >= 0).all()
    assert np.abs(np.diff(row)).max() <= 6


@pytest.mark.parametrize("scale", [2, 4])
def test_pasting_into_an_enlarged_photo(scale: int) -> None:
    """A crop lands where it lies in the enlarged photo, to a fraction of a pixel."""
    x, y = np.meshgrid(np.arange(200), np.arange(150))
    photo = np.stack([x, y, x], axis=2).astype(np.uint8)
    size = (200 * scale, 150 * scale)
    large = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    face = align(photo, landmarks_at(100, 75, 0.3), TEMPLATE, 256)
    difference = np.abs(paste(large, [face], scale=scale).astype(int) - large)
    assert difference.max() <= 2


@pytest.mark.parametrize("side", [100, 256, 1024])
def test_an_aligned_picture_is_replaced_to_its_very_border(side: int) -> None:
    result = replace_whole(
        np.zeros((side, side, 3), np.uint8), np.full((256, 256, 3), 200, np.uint8)
    )
    assert result.shape == (side, side, 3)
    assert (result == 200).all()


def test_rounding_not_truncation() -> None:
    photo, crop = (np.full((256, 256, 3), level, np.uint8) for level in (100, 101))
    assert (replace_whole(photo, crop, strength=0.6) == 101).all()
    assert (replace_whole(photo, crop, strength=0.4) == 100).all()
    face = flat_face(landmarks_at(128, 128, 1), 101)
    assert paste(photo, [face], strength=0.6)[128, 128, 0] == 101
    assert paste(photo, [face], strength=0.4)[128, 128, 0] == 100


def test_a_deep_photo_is_blended_at_full_precision() -> None:
    """Half of a step of one eighth bit level is there, and outside of the mask is what was."""
    photo = np.random.default_rng(0).integers(0, 65_536, (700, 800, 3), dtype=np.uint16)
    photo[100:600, 100:700] = 30_000
    face = flat_face(landmarks_at(400, 350, 1.0, 0.4), 0)
    crop = np.full((256, 256, 3), 30_257, np.uint16)
    result = paste(photo, [AlignedFace(crop, face.matrix)], strength=0.5)
    assert result.dtype == np.uint16
    assert result[350, 400, 0] == 30_128  # to even
    assert len(np.unique(result[100:600, 100:700])) > 60  # of a soft border
    corners = cv2.transform(
        np.array([[[-0.5, -0.5], [255.5, -0.5], [255.5, 255.5], [-0.5, 255.5]]]),
        cv2.invertAffineTransform(face.matrix),
    )
    square = np.zeros((700, 800), np.uint8)
    cv2.fillConvexPoly(square, corners[0].round().astype(np.int32), 1)
    outside = cv2.dilate(square, np.ones((3, 3), np.uint8)) == 0
    np.testing.assert_array_equal(result[outside], photo[outside])
    whole = replace_whole(crop, crop + np.uint16(1000), strength=0.25)
    assert (whole == 30_507).all()


def test_noise_where_the_mask_is_nothing_stays_to_the_bit() -> None:
    """Within a face's square, too, there are pixels that it does not cover."""
    photo = np.random.default_rng(0).integers(0, 65_536, (300, 300, 3), dtype=np.uint16)
    face = flat_face(landmarks_at(150, 150, 0.5), 0)
    crop = np.full((256, 256, 3), 9, np.uint16)
    result = paste(photo, [AlignedFace(crop, face.matrix)])
    corner = np.s_[87:91, 87:91]  # the square starts at 86
    np.testing.assert_array_equal(result[corner], photo[corner])
    assert (result[140:160, 140:160] == 9).all()


def test_pasting_is_ten_times_faster_than_the_published_helper() -> None:
    """In one run; work on each face's region instead of the whole photo makes the difference."""
    from tests.benchmarks.paste import measure

    assert measure(count=4, runs=2).ratio >= 10
