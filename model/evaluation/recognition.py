"""Whether a restoration shows the same person, according to dlib's face recognition.

dlib's network describes a face by 128 numbers.  Two pictures count as the same person if their
descriptors are less than 0.6 apart (King, "High Quality Face Recognition with Deep Metric
Learning", 2017).  Among pairs of 111 held-out faces, nearly all of different people, the median
distance is 0.84, and 0.9 % are less than 0.6 apart.

The network and the landmark predictor come with the packages of the extra ``[evaluate]``.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.checkpoints.templates import TEMPLATE_SIZE
from model.evaluation.metrics import Distance
from model.levels import to_levels

SAME_PERSON = 0.6
"""Distance of descriptors below which they are taken for the same person."""

# Medians over the same 111 faces in GPEN's crop of 512 px: the box of dlib's detector, and the
# points of its predictor.  The points are the outer and the inner corner of the eye at the
# picture's right, those of the eye at its left, and the base of the nose.
_BOX = (134, 164, 392, 422)
_POINTS = np.array([(332.0, 248.0), (288.0, 250.0), (178.0, 250.0), (222.0, 250.0), (256.0, 332.0)])
_CHIP_SIZE = 150  # side in pixels of the input of dlib's network
_EYE_DISTANCE = float(np.linalg.norm(_POINTS[:2].mean(0) - _POINTS[2:4].mean(0)))
_MAX_DISTANCE = 0.3
"""Maximum mean distance of predicted points from _POINTS, relative to the distance of the eyes.

Turned heads reach 0.25; the points of a profile, at 0.4, lie in the background.
"""

_Pixels = NDArray[np.uint8]


class FaceRecognition:
    """Compares aligned faces, cropped with the template ``gpen``, on the CPU.

    The input of dlib's network is cropped from both pictures by the landmarks of the original, so
    that only the pixels differ.
    """

    def __init__(self, dlib: ModuleType, models: Path) -> None:
        self._dlib = dlib
        self._predict = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        self._network = dlib.face_recognition_model_v1(
            str(models / "dlib_face_recognition_resnet_model_v1.dat")
        )
        # each original is compared with its degraded and its restored picture, twice with each
        self._describe = lru_cache(maxsize=64)(self._compute_descriptor)

    def distance(self, restored: Tensor, target: Tensor) -> Tensor:
        """The distance of the descriptors: two (N, 3, R, R) in [-1, 1] -> (N,), 0 to 2."""
        pairs = zip(_pixels(restored), _pixels(target), strict=True)
        return torch.tensor([self._distance(*pair) for pair in pairs], dtype=torch.float64)

    def same_person(self, restored: Tensor, target: Tensor) -> Tensor:
        """1 if both show the same person, else 0: two (N, 3, R, R) in [-1, 1] -> (N,)."""
        return (self.distance(restored, target) < SAME_PERSON).double()

    def _distance(self, restored: _Pixels, target: _Pixels) -> float:
        landmarks = self._landmarks(target)
        a, b = (
            self._describe(self._dlib.get_face_chip(picture, landmarks).tobytes())
            for picture in (restored, target)
        )
        return float(np.linalg.norm(a - b))

    def _landmarks(self, picture: _Pixels) -> object:
        """Five points of dlib's predictor, or _POINTS if those cannot be a face."""
        scale = picture.shape[0] / TEMPLATE_SIZE
        box = self._dlib.rectangle(*(round(edge * scale) for edge in _BOX))
        predicted = self._predict(picture, box)
        points = np.array([(point.x, point.y) for point in predicted.parts()]) / scale
        if np.linalg.norm(points - _POINTS, axis=1).mean() <= _MAX_DISTANCE * _EYE_DISTANCE:
            return predicted
        typical = [self._dlib.point(*map(round, point)) for point in _POINTS * scale]
        return self._dlib.full_object_detection(box, self._dlib.points(typical))

    def _compute_descriptor(self, chip: bytes) -> NDArray[np.float64]:
        pixels = np.frombuffer(chip, np.uint8).reshape(_CHIP_SIZE, _CHIP_SIZE, 3)
        return np.array(self._network.compute_face_descriptor(pixels))


def load_recognition() -> dict[str, Distance]:
    """``dlib_distance`` and ``same_person``, or nothing if the packages are not installed."""
    models = find_spec("face_recognition_models")  # not imported, because it imports pkg_resources
    if models is None or models.origin is None or find_spec("dlib") is None:
        return {}
    import dlib  # noqa: PLC0415  (optional)

    recognition = FaceRecognition(dlib, Path(models.origin).parent / "models")
    return {"dlib_distance": recognition.distance, "same_person": recognition.same_person}


def _pixels(pictures: Tensor) -> list[_Pixels]:
    """(N, 3, R, R) in [-1, 1] -> N pictures (R, R, 3), contiguous as dlib needs them."""
    return list(to_levels(pictures).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy())
