"""Pasting: nothing outside the masks, no seams inside."""

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.deadline import Deadline
from app.errors import DeadlineExceeded
from app.faces.align import AlignedFace, Matrix, align, rescaled, similarity, warp
from app.faces.mask import SIDE, FloatMap, oval, parsed
from app.faces.paste import paste, replace_whole
from app.imaging.photo import Levels
from model.checkpoints.templates import landmark_template
from tests.parsers import BACKGROUND, SKIN, person

TEMPLATE = landmark_template("gpen", 256)


def landmarks_at(x: float, y: float, scale: float, angle: float = 0.0) -> NDArray[np.float64]:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    centred = TEMPLATE - 127.5
    landmarks: NDArray[np.float64] = centred @ np.array([[c, s], [-s, c]]) + np.array([x, y])
    return landmarks


def pasted(
    photo: Levels,
    *faces: tuple[NDArray[np.float64], int],
    strength: float = 1.0,
    masks: list[FloatMap] | None = None,
) -> Levels:
    """With the faces at these landmarks restored to one flat level each."""
    aligned = [align(photo, landmarks, TEMPLATE, 256) for landmarks, _ in faces]
    crops = [
        np.full_like(face.crop, level) for face, (_, level) in zip(aligned, faces, strict=True)
    ]
    return paste(photo, aligned, crops, TEMPLATE, strength=strength, masks=masks)


def put_back(photo: Levels, *faces: AlignedFace, scale: int = 1) -> Levels:
    return paste(photo, faces, [face.crop for face in faces], TEMPLATE, scale=scale)


def outside(photo: Levels, matrix: Matrix) -> NDArray[np.bool_]:
    """Pixels outside of the square that was cut out."""
    corners = np.array([[[-0.5, -0.5], [255.5, -0.5], [255.5, 255.5], [-0.5, 255.5]]])
    there = cv2.transform(corners, cv2.invertAffineTransform(matrix))
    square = np.zeros(photo.shape[:2], np.uint8)
    cv2.fillConvexPoly(square, there[0].round().astype(np.int32), 1)
    return np.asarray(cv2.dilate(square, np.ones((3, 3), np.uint8)) == 0)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_no_face_no_change() -> None:
    photo = noise(50, 60)
    result = put_back(photo)
    np.testing.assert_array_equal(result, photo)
    assert result is not photo


@pytest.mark.parametrize("scale", [0.1, 0.5, 3.0])
def test_strength_zero_no_change(scale: float) -> None:
    photo = noise(300, 300)
    np.testing.assert_array_equal(
        pasted(photo, (landmarks_at(150, 150, scale), 0), strength=0), photo
    )


def test_strength_is_a_blend() -> None:
    photo = np.full((300, 300, 3), 100, np.uint8)
    face = landmarks_at(150, 150, 0.5), 200
    centres = [int(pasted(photo, face, strength=s)[150, 150, 0]) for s in (0, 0.25, 0.5, 1)]
    assert centres == [100, 125, 150, 200]


@pytest.mark.parametrize("angle", [0, 0.5, 2.4])
@pytest.mark.parametrize("scale", [0.1, 0.5, 2.0])
def test_only_the_face_s_own_square_changes(angle: float, scale: float) -> None:
    photo = noise(700, 800)
    landmarks = landmarks_at(420, 330, scale, angle)
    changed = (pasted(photo, (landmarks, 90)) != photo).any(axis=2)
    assert changed.any()
    assert not changed[outside(photo, similarity(landmarks, TEMPLATE))].any()


def test_the_mask_fades_out_gently() -> None:
    """On a flat photo no step along the border is larger than the feather allows."""
    photo = np.full((600, 600, 3), 100, np.uint8)
    result = pasted(photo, (landmarks_at(300, 300, 1.5), 140)).astype(int)
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
        difference = np.abs(put_back(photo, face).astype(int) - photo)
        assert difference.max() <= 3, scale
        assert difference.mean() < 0.5


def test_faces_over_the_border_and_beyond() -> None:
    photo = noise(200, 200)
    for x, y in [(0, 0), (199, 100), (-60, 100), (100, 260), (-900, -900)]:
        result = pasted(photo, (landmarks_at(x, y, 0.6), 50))
        assert result.shape == photo.shape
    assert (result == photo).all()  # the last one lies wholly outside


def test_overlapping_faces_share_without_a_seam_and_in_any_order() -> None:
    photo = np.full((400, 600, 3), 100, np.uint8)
    faces = [
        (landmarks_at(250, 200, 0.8), 120),
        (landmarks_at(350, 200, 0.8), 180),
    ]
    result = pasted(photo, *faces)
    np.testing.assert_array_equal(result, pasted(photo, *faces[::-1]))
    row = result[200, :, 0].astype(int)
    assert row[230] <= 123
    assert row[370] >= 177
    assert (np.diff(row[250:350]) >= 0).all()
    assert np.abs(np.diff(row)).max() <= 6


@pytest.mark.parametrize("scale", [2, 4])
def test_pasting_into_an_enlarged_photo(scale: int) -> None:
    """A crop lands where it lies in the enlarged photo, to a fraction of a pixel."""
    x, y = np.meshgrid(np.arange(200), np.arange(150))
    photo = (np.stack([x, y, x], axis=2) * 300).astype(np.uint16)
    size = (200 * scale, 150 * scale)
    large = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint16)
    face = align(photo, landmarks_at(100, 75, 0.3), TEMPLATE, 256)
    difference = np.abs(put_back(large, face, scale=scale).astype(int) - large)
    assert difference.max() <= 40  # of the 300 levels between two pixels


@pytest.mark.parametrize("side", [100, 256, 1024])
def test_an_aligned_picture_is_replaced_to_its_very_border(side: int) -> None:
    photo = np.zeros((side, side, 3), np.uint8)
    face = align(photo, rescaled(TEMPLATE, side / 256), TEMPLATE, 256)
    result = replace_whole(photo, face, np.full_like(face.crop, 200), TEMPLATE)
    assert result.shape == (side, side, 3)
    assert (result == 200).all()


def test_rounding_not_truncation() -> None:
    photo, crop = (np.full((256, 256, 3), level, np.uint8) for level in (100, 101))
    face = align(photo, TEMPLATE, TEMPLATE, 256)
    for strength, level in ((0.6, 101), (0.4, 100)):
        assert (replace_whole(photo, face, crop, TEMPLATE, strength=strength) == level).all()
        result = paste(photo, [face], [crop], TEMPLATE, strength=strength)
        assert result[128, 128, 0] == level


def test_a_deep_photo_is_blended_at_full_precision() -> None:
    """Half of a step of one eighth bit level is there, and outside of the mask is what was."""
    photo = np.random.default_rng(0).integers(0, 65_536, (700, 800, 3), dtype=np.uint16)
    photo[100:600, 100:700] = 30_000
    landmarks = landmarks_at(400, 350, 1.0, 0.4)
    result = pasted(photo, (landmarks, 30_257), strength=0.5)
    assert result.dtype == np.uint16
    assert result[350, 400, 0] == 30_128  # to even
    assert len(np.unique(result[100:600, 100:700])) > 60  # of a soft border
    kept = outside(photo, similarity(landmarks, TEMPLATE))
    np.testing.assert_array_equal(result[kept], photo[kept])
    whole = np.full((256, 256, 3), 30_257, np.uint16)
    face = align(whole, TEMPLATE, TEMPLATE, 256)
    more = replace_whole(whole, face, whole + np.uint16(1000), TEMPLATE, strength=0.25)
    assert (more == 30_507).all()


def test_noise_where_the_mask_is_nothing_stays_to_the_bit() -> None:
    """Within a face's square, too, there are pixels that it does not cover."""
    photo = np.random.default_rng(0).integers(0, 65_536, (300, 300, 3), dtype=np.uint16)
    result = pasted(photo, (landmarks_at(150, 150, 0.5), 9))
    corner = np.s_[87:100, 87:100]  # the square starts at 86
    np.testing.assert_array_equal(result[corner], photo[corner])
    assert (result[140:160, 140:160] == 9).all()


def test_a_large_face_is_worked_on_in_parts_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = noise(600, 500)
    face = landmarks_at(250, 300, 1.7, 0.3), 80
    whole = pasted(photo, face)
    monkeypatch.setattr("app.faces.paste._BAND", 500 * 37)
    np.testing.assert_allclose(pasted(photo, face).astype(int), whole, atol=1)


def test_a_tiny_face_is_restored_with_care() -> None:
    photo = np.full((400, 400, 3), 100, np.uint8)
    amounts = [
        pasted(photo, (landmarks_at(200, 200, scale), 200))[190:210, 190:210].max() - 100.0
        for scale in (0.1, 0.2, 0.3, 0.5)
    ]
    assert amounts[0] == 50
    assert 50 < amounts[1] < 90
    assert amounts[2:] == [100, 100]


# --- under masks that were parsed

HEAD = parsed(person(), TEMPLATE, SIDE)
EVERYWHERE = parsed(np.full((512, 512), SKIN, np.uint8), TEMPLATE, SIDE)


def test_without_masks_all_are_ovals() -> None:
    photo = noise(500, 600)
    faces = [(landmarks_at(250, 250, 0.8, 0.2), 120), (landmarks_at(350, 240, 0.7), 180)]
    ovals = [oval(TEMPLATE, 256)] * 2
    np.testing.assert_array_equal(pasted(photo, *faces), pasted(photo, *faces, masks=ovals))


@pytest.mark.parametrize("mask", [HEAD, EVERYWHERE], ids=["a head", "everywhere"])
def test_what_was_parsed_fades_out_gently_too(mask: FloatMap) -> None:
    photo = np.full((600, 600, 3), 100, np.uint8)
    for angle in (0, 0.6):
        face = landmarks_at(300, 300, 1.5, angle), 140
        result = pasted(photo, face, masks=[mask]).astype(int)
        assert result[300, 300, 0] == 140
        assert max(np.abs(np.diff(result[..., 0], axis=axis)).max() for axis in (0, 1)) <= 2


def test_a_hand_before_the_face_stays_as_it_was_photographed() -> None:
    """To the bit, in its middle; above and below there is the face."""
    classes = person()
    classes[260:350] = BACKGROUND
    photo = np.random.default_rng(0).integers(0, 65_536, (400, 400, 3), dtype=np.uint16)
    mask = parsed(classes, TEMPLATE, SIDE)
    result = pasted(photo, (landmarks_at(200, 200, 1.0), 9), masks=[mask])
    rows = 72 + np.arange(260, 350) // 2
    hand = np.s_[rows[42] : rows[48], 72:328]
    np.testing.assert_array_equal(result[hand], photo[hand])
    for row in (72 + 100, 72 + 205):
        assert (result[row, 190:210] == 9).all()


@pytest.mark.parametrize("level", [200, 51_400])
def test_far_from_the_middle_nothing_is_lost_to_rounding(level: int) -> None:
    """A mask may reach the crop's corners, where its claim is small."""
    kind = np.uint8 if level < 256 else np.uint16
    photo = np.full((500, 500, 3), level, kind)
    result = pasted(photo, (landmarks_at(250, 250, 1.3, 0.3), level), masks=[EVERYWHERE])
    assert np.abs(result.astype(int) - level).max() <= level // 5000


def test_a_parsed_face_and_an_oval_share_without_a_seam() -> None:
    photo = np.full((400, 600, 3), 100, np.uint8)
    faces = [(landmarks_at(250, 200, 0.8), 120), (landmarks_at(350, 200, 0.8), 180)]
    masks = [HEAD, oval(TEMPLATE, 256)]
    result = pasted(photo, *faces, masks=masks)
    np.testing.assert_array_equal(result, pasted(photo, *faces[::-1], masks=masks[::-1]))
    row = result[200, :, 0].astype(int)
    assert row[230] <= 123
    assert row[370] >= 177
    assert np.abs(np.diff(row)).max() <= 6


def test_a_face_larger_than_its_crop_is_pasted_under_what_was_parsed() -> None:
    """The photo's own detail, measured inside of the mask, is kept there."""
    photo = noise(900, 900)
    face = align(photo, landmarks_at(450, 450, 3.0), TEMPLATE, 256)
    result = paste(photo, [face], [face.crop], TEMPLATE, masks=[HEAD])
    assert not (result == photo).all()
    beyond = np.s_[66:110, 66:110]
    np.testing.assert_array_equal(result[beyond], photo[beyond])


def test_nobody_waits_for_the_faces_that_are_left_when_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deadline = Deadline(60)
    seen: list[Levels] = []

    def warping(image: Levels, *args: Any, **options: Any) -> Levels:
        seen.append(image)
        deadline.end()
        return warp(image, *args, **options)

    photo = noise(400, 400)
    faces = [align(photo, TEMPLATE + shift, TEMPLATE, 256) for shift in (0, 60, 120)]
    monkeypatch.setattr("app.faces.paste.warp", warping)
    with pytest.raises(DeadlineExceeded):
        paste(photo, faces, [face.crop for face in faces], TEMPLATE, deadline=deadline)
    assert len(seen) == 1


def test_pasting_is_ten_times_faster_than_the_published_helper() -> None:
    """In one run; work on each face's region instead of the whole photo makes the difference."""
    from tests.benchmarks.paste import measure

    assert measure(count=4, runs=2).ratio >= 10
