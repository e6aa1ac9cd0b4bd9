"""Landmarks: turned faces are sound, profiles and muddles are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from torch import nn

from app.faces.detect import detect
from app.faces.landmarks import flaw, turn_of
from model.checkpoints.templates import TEMPLATE_NAMES, landmark_template

# right, down and towards the viewer; in distances of the mouth from the eyes
HEAD = np.array([[-0.48, 0, 0], [0.48, 0, 0], [0, 0.55, 0.38], [-0.37, 1, 0.08], [0.37, 1, 0.08]])


def turned(yaw: float = 0, pitch: float = 0, roll: float = 0) -> NDArray[np.float64]:
    """Landmarks of a head turned by so many degrees, in pixels of some picture."""
    a, b, c = np.radians([yaw, pitch, roll])
    about_down = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_right = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    in_picture = np.array([[np.cos(c), -np.sin(c)], [np.sin(c), np.cos(c)]])
    seen = (HEAD @ about_down.T @ about_right.T)[:, :2] @ in_picture.T
    pixels: NDArray[np.float64] = 60 * seen + np.array([900, 400])
    return pixels


@pytest.mark.parametrize("name", TEMPLATE_NAMES)
def test_the_templates_are_sound(name: str) -> None:
    assert flaw(landmark_template(name, 512)) is None


@pytest.mark.parametrize("roll", [0, 30, 90, 180, 250])
@pytest.mark.parametrize(
    ("yaw", "pitch"), [(0, 0), (30, 0), (-30, 0), (45, 10), (-50, 0), (0, 30), (0, -30), (20, -20)]
)
def test_a_turned_face_is_sound(yaw: float, pitch: float, roll: float) -> None:
    assert flaw(turned(yaw, pitch, roll)) is None


@pytest.mark.parametrize("roll", [0, 120])
@pytest.mark.parametrize("yaw", [70, -70, 80, -80])
def test_a_profile(yaw: float, roll: float) -> None:
    assert flaw(turned(yaw, 0, roll)) == "profile"


def test_a_profile_in_which_the_far_eye_is_behind_the_near_one() -> None:
    assert flaw(turned(95)) in ("landmarks", "profile")


@pytest.mark.parametrize(
    "order",
    [
        (1, 0, 2, 4, 3),  # a mirror image of what was asked for
        (1, 0, 2, 3, 4),
        (0, 1, 2, 4, 3),
        (2, 1, 0, 3, 4),
        (0, 2, 1, 3, 4),
        (0, 1, 3, 2, 4),
        (0, 1, 4, 3, 2),
    ],
)
@pytest.mark.parametrize("roll", [0, 100])
def test_features_in_another_order(order: tuple[int, ...], roll: float) -> None:
    assert flaw(turned(roll=roll)[list(order)]) == "landmarks"


@pytest.mark.parametrize(
    ("roll", "turn"),
    [(0, 0), (44, 0), (-44, 0), (46, 90), (90, 90), (134, 90), (180, 180), (-90, 270), (270, 270)],
)
def test_how_a_face_lies(roll: float, turn: int) -> None:
    assert turn_of(turned(roll=roll)) == turn


def test_collapsed_landmarks() -> None:
    assert flaw(np.full((5, 2), 3.0)) == "landmarks"
    eyes_on_mouth = turned()
    eyes_on_mouth[3:] = eyes_on_mouth[:2]
    assert flaw(eyes_on_mouth) == "landmarks"
    mouth_in_a_point = turned()
    mouth_in_a_point[3:] = mouth_in_a_point[3:].mean(0)
    assert flaw(mouth_in_a_point) == "landmarks"


def test_a_man_behind_a_camera_is_seen_from_the_side(detector: nn.Module) -> None:
    photo = np.repeat(data.camera()[..., None], 3, axis=2)
    ((face,),) = detect(detector, [photo], threshold=0.9, min_face=24)
    assert flaw(face.landmarks) == "profile"


def test_faces_that_the_detector_does_not_understand(
    detector: nn.Module, astronaut: NDArray[np.uint8]
) -> None:
    """It finds some faces that are upside down, with all their features in the middle."""
    upright, quarter, half = (
        detect(detector, [np.rot90(astronaut, k)], threshold=0.9, min_face=24)[0] for k in (0, 1, 2)
    )
    assert [flaw(face.landmarks) for face in upright + quarter] == [None, None]
    assert all(flaw(face.landmarks) for face in half)


@pytest.mark.shared
def test_no_portrait_is_refused(detector: nn.Module, shared) -> None:
    portraits = sorted(shared("faces").glob("*/*.jpg"))[::13]
    conference = shared("photos/Solvay_conference_1927.png")
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in [*portraits, conference]]
    found = detect(detector, pictures, threshold=0.9, min_face=24)
    faces = [face for several in found for face in several]
    assert len(faces) >= len(portraits) + 29
    assert [flaw(face.landmarks) for face in faces] == [None] * len(faces)
