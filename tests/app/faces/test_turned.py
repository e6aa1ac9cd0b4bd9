"""Photos that lie on their side or their head are restored as they lie."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch import nn

from app.faces import turned
from app.faces.detect import Face, detect
from app.faces.pipeline import Enhanced
from app.faces.turned import LOOK_PIXELS, detect_turned, turned_face
from app.imaging.photo import Pixels
from app.serving.load import Loaded
from tests import phones
from tests.app.faces.enhancing import enhanced, in_png, mode_and_levels
from tests.kinds_of_photos import Levels


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pixels of every picture that is searched."""
    sizes: list[int] = []

    def counting(detector: nn.Module, images: tuple[Pixels, ...], **limits: Any) -> Any:
        sizes.extend(image.shape[0] * image.shape[1] for image in images)
        return detect(detector, images, **limits)

    monkeypatch.setattr(turned, "detect", counting)
    return sizes


def found_in(detector: nn.Module, image: Pixels) -> tuple[int, list[Face]]:
    return detect_turned(detector, image, threshold=0.9, min_face=24)


def restored(pixels: Levels, loaded: Loaded, **options: Any) -> tuple[Enhanced, Levels]:
    _, result = enhanced(in_png(pixels), loaded, **options)
    return result, mode_and_levels(result.picture.data)[1]


@pytest.mark.parametrize("scale", [1, 2])
def test_the_answer_is_that_of_the_upright_photo_turned(
    scale: int, astronaut: NDArray[np.uint8], loaded: Loaded
) -> None:
    """Also its alpha, of a photo that is not square."""
    alpha = np.linspace(0, 255, 512 * 400).reshape(512, 400, 1).astype(np.uint8)
    photo = np.dstack([astronaut[:, 60:460], alpha])
    upright, expected = restored(photo, loaded, upscale=scale)
    assert [report.restored for report in upright.reports] == [True]
    assert upright.reports[0].turn == 0
    for quarters, turn in ((1, 270), (2, 180), (3, 90)):
        result, levels = restored(np.rot90(photo, quarters), loaded, upscale=scale)
        np.testing.assert_array_equal(levels, np.rot90(expected, quarters))
        assert (result.width, result.height) == (levels.shape[1], levels.shape[0])
        (report,) = result.reports
        assert report.restored
        assert report.turn == turn
        as_upright = turned_face(report.face, -quarters, result.width, result.height)
        np.testing.assert_allclose(as_upright.box, upright.reports[0].face.box, atol=1e-3)
        np.testing.assert_allclose(
            as_upright.landmarks, upright.reports[0].face.landmarks, atol=1e-3
        )


def test_a_gain_map_lies_as_its_photo_does(astronaut: NDArray[np.uint8], loaded: Loaded) -> None:
    """The photo is turned to be restored, and back; its gain map is not."""
    gains = np.tile(np.arange(60, 188, dtype=np.uint8), (64, 1))
    file = phones.ultra_hdr(np.ascontiguousarray(np.rot90(astronaut)), gains)
    found, result = enhanced(file, loaded)
    assert found.quarters == 3
    assert result.reports[0].restored
    gain_map = result.picture.data[result.picture.data.rindex(b"\xff\xd8\xff") :]
    kept = np.asarray(Image.open(BytesIO(gain_map), formats=["JPEG"]))
    assert np.abs(kept.astype(int) - gains).max() <= 3


@pytest.mark.parametrize("quarters", [-3, -2, -1, 0, 1, 2, 3])
def test_a_turned_face_lies_over_the_same_pixels(quarters: int) -> None:
    picture = np.zeros((30, 50), np.uint8)
    picture[20, 7] = 1  # a landmark
    picture[5:10, 40:48] = 2
    face = Face(
        np.array([40, 5, 48, 10], np.float32), 1.0, np.array([[7, 20]] * 5, dtype=np.float32)
    )
    there = turned_face(face, quarters, 50, 30)
    seen = np.rot90(picture, quarters)
    x, y = there.landmarks[0].astype(int)
    assert seen[y, x] == 1
    x0, y0, x1, y1 = there.box.astype(int)
    assert (seen[y0:y1, x0:x1] == 2).all()
    assert (seen == 2).sum() == (y1 - y0) * (x1 - x0)


def test_a_photo_with_an_upright_face_is_searched_once(
    detector: nn.Module, astronaut: NDArray[np.uint8], looks: list[int]
) -> None:
    """Though another face in it lies on its side."""
    quarters, faces = found_in(detector, np.hstack([astronaut, np.rot90(astronaut)]))
    assert quarters == 0
    assert faces
    assert len(looks) == 1


def test_large_photos_are_reduced_before_they_are_turned(
    detector: nn.Module, astronaut: NDArray[np.uint8], looks: list[int]
) -> None:
    nobody = np.full((1500, 2000, 3), 90, np.uint8)
    assert found_in(detector, nobody) == (0, [])
    assert looks[0] == 3_000_000
    assert len(looks) == 4
    assert max(looks[1:]) < 1.01 * LOOK_PIXELS
    large = np.asarray(cv2.resize(astronaut, (1200, 1200)), np.uint8)
    quarters, faces = found_in(detector, np.rot90(large, 2))
    assert quarters == 2
    (expected,) = detect(detector, [large], threshold=0.9, min_face=24)
    assert [face.score for face in faces] == [face.score for face in expected]


def test_a_face_from_the_side_is_left_as_it_is_however_it_lies(loaded: Loaded) -> None:
    photo = np.repeat(data.camera()[..., None], 3, axis=2)
    for quarters, turn in ((0, 0), (1, 270), (2, 180), (3, 90)):
        lying = np.ascontiguousarray(np.rot90(photo, quarters))
        result, levels = restored(lying, loaded)
        np.testing.assert_array_equal(np.broadcast_to(levels, lying.shape), lying)
        assert [(report.reason, report.turn) for report in result.reports] == [("profile", turn)]


def test_tilted_faces_are_found(detector: nn.Module, astronaut: NDArray[np.uint8]) -> None:
    for angle in range(-160, 180, 40):
        place = cv2.getRotationMatrix2D((224, 115), angle, 1)
        place[:, 2] += (32, 141)
        tilted = np.asarray(cv2.warpAffine(astronaut, place, (512, 512)), np.uint8)
        quarters, faces = found_in(detector, tilted)
        assert len(faces) == 1, angle
        lying = turned_face(faces[0], -quarters, 512, 512)
        roll = np.degrees(np.arctan2(*np.diff(lying.landmarks[:2], axis=0)[0, ::-1]))
        assert abs((roll + angle + 180) % 360 - 180) < 12, angle


@pytest.mark.shared
@pytest.mark.long
def test_a_conference_and_twenty_portraits_at_four_turns(
    loaded: Loaded, shared: Callable[[str], Path]
) -> None:
    portraits = sorted(shared("faces_margin/candid").glob("*.jpg"))[::41]
    assert len(portraits) >= 20
    for path in (shared("photos/Solvay_conference_1927.png"), *portraits):
        photo = np.asarray(Image.open(path).convert("RGB"))
        upright, expected = restored(photo, loaded)
        for quarters, turn in ((1, 270), (2, 180), (3, 90)):
            result, levels = restored(np.rot90(photo, quarters), loaded)
            assert len(result.reports) == len(upright.reports), path.name
            assert {report.turn for report in result.reports} == {turn}, path.name
            change = np.rot90(levels, -quarters).astype(int) - expected
            assert np.abs(change).max() <= 2, path.name
