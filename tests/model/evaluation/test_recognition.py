import importlib.util

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.checkpoints.templates import landmark_template
from model.data.dataset import to_tensors
from model.evaluation.recognition import load_recognition

# the astronaut's eyes, nose and corners of the mouth, in pixels
_LANDMARKS = np.array([(206, 111), (245, 110), (227, 134), (210, 152), (243, 152)], np.float32)


@pytest.fixture(scope="module")
def face(astronaut: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Aligned, (256, 256, 3)."""
    target = landmark_template("gpen", 256).astype(np.float32)
    matrix, _ = cv2.estimateAffinePartial2D(_LANDMARKS, target)
    return np.asarray(cv2.warpAffine(astronaut, matrix, (256, 256)), np.uint8)


def pictures(*faces: NDArray[np.uint8]) -> Tensor:
    return to_tensors(np.stack(faces))


def test_the_same_picture_is_the_same_person(face):
    measures = load_recognition()
    same = pictures(face)
    assert measures["dlib_distance"](same, same).tolist() == [0]
    assert measures["same_person"](same, same).tolist() == [1]


def test_distance_grows_with_what_hides_the_face(face):
    blurred = [np.asarray(cv2.GaussianBlur(face, (0, 0), sigma), np.uint8) for sigma in (1, 4, 10)]
    distance = load_recognition()["dlib_distance"](pictures(*blurred), pictures(face, face, face))
    assert distance.shape == (3,)
    assert 0 < distance[0] < distance[1] < distance[2]
    assert distance[0] < 0.3


def test_what_is_no_face_is_nobody(face):
    noise = np.random.default_rng(0).integers(0, 255, face.shape, dtype=np.uint8)
    same = load_recognition()["same_person"](pictures(noise, face), pictures(face, face))
    assert same.tolist() == [0, 1]


def test_pictures_of_other_sizes_are_compared_alike(face):
    half = np.asarray(cv2.resize(face, (128, 128), interpolation=cv2.INTER_AREA), np.uint8)
    soft = np.asarray(cv2.GaussianBlur(face, (0, 0), 4), np.uint8)
    soft_half = np.asarray(cv2.GaussianBlur(half, (0, 0), 2), np.uint8)
    distance = load_recognition()["dlib_distance"]
    torch.testing.assert_close(
        distance(pictures(soft), pictures(face)),
        distance(pictures(soft_half), pictures(half)),
        atol=0.15,
        rtol=0,
    )


def test_without_dlib_nothing_is_measured(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "model.evaluation.recognition.find_spec",
        lambda name: None if name == "dlib" else find(name),
    )
    assert load_recognition() == {}
