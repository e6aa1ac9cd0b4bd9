import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from model.checkpoints.table import BUNDLED_DIR, DETECTOR_MOBILENET
from model.evaluation.landmarks import face_found, find_landmarks, landmark_error
from model.networks.retinaface import load_detector

CROP = np.s_[14:226, 121:333]
"""Of the astronaut's picture: her face in the middle."""


@pytest.fixture(scope="module")
def detector() -> nn.Module:
    return load_detector(BUNDLED_DIR / DETECTOR_MOBILENET.file_name)


@pytest.fixture(scope="module")
def face(astronaut) -> NDArray[np.uint8]:
    """(256, 256, 3), an eye 50 pixels from the other."""
    return resize(astronaut[CROP], 256)


def resize(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    method = cv2.INTER_AREA if size < len(picture) else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (size, size), interpolation=method), np.uint8)


def pasted(face: NDArray[np.uint8], size: int, x: int, y: int) -> NDArray[np.uint8]:
    """The face made smaller, on grey."""
    canvas = np.full_like(face, 128)
    canvas[y : y + size, x : x + size] = resize(face, size)
    return canvas


def to_tensor(*pictures: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1


def test_landmarks_are_where_they_are_in_the_picture(detector, face):
    (found,) = find_landmarks(detector, to_tensor(face))
    assert found.shape == (5, 2)
    in_photo = np.array([(206, 107), (247, 109), (228, 133), (207, 146), (244, 147)])  # by eye
    np.testing.assert_allclose(found, (in_photo - (121, 14)) * 256 / 212, atol=9)


def test_they_follow_the_face(detector, face):
    """Half as large, it is found in other octaves."""
    whole, half = find_landmarks(detector, to_tensor(face, pasted(face, 128, 70, 64)))
    np.testing.assert_allclose(half, whole / 2 + (70, 64), atol=3)


def test_the_error_is_in_distances_of_the_eyes(detector, face):
    shifted = np.roll(face, 10, axis=1)
    same, moved = landmark_error(detector, to_tensor(face, shifted), to_tensor(face, face))
    eyes = np.linalg.norm(np.diff(find_landmarks(detector, to_tensor(face))[0, :2], axis=0))
    assert same == 0
    assert moved.item() == pytest.approx(10 / eyes, rel=0.2)


def test_what_blur_hides_is_further_off(detector, face):
    mild, strong = (np.asarray(cv2.GaussianBlur(face, (0, 0), s), np.uint8) for s in (1, 8))
    errors = landmark_error(detector, to_tensor(mild, strong), to_tensor(face, face))
    assert 0 < errors[0] < 0.05
    assert errors[0] < errors[1] < 0.5


def test_no_face_counts_as_the_worst(detector, face):
    none, small = np.full_like(face, 128), pasted(face, 72, 92, 92)
    restored, target = to_tensor(none, face, face, none), to_tensor(face, small, none, none)
    errors = landmark_error(detector, restored, target).tolist()
    assert errors[:2] == [1, 1]
    assert np.isnan(errors[2:]).all()


def test_whether_a_face_is_found(detector, face):
    aside = pasted(face, 120, 4, 4)
    pictures = to_tensor(face, np.full_like(face, 128), aside, pasted(face, 120, 68, 68))
    assert face_found(detector, pictures).tolist() == [1, 0, 0, 1]


def test_the_face_in_the_middle_counts(detector, face):
    alone = pasted(face, 120, 68, 68)
    beside = pasted(face, 120, 68, 68)
    beside[4:64, 190:250] = resize(face, 60)
    errors = landmark_error(detector, to_tensor(beside), to_tensor(alone))
    assert errors.item() < 0.05
