"""Whether a restoration shows the same person, as dlib's face recognition sees it.

dlib's network describes a face by 128 numbers.  Two pictures are taken for the same person where
their descriptors are less than 0.6 apart (King, "High Quality Face Recognition with Deep Metric
Learning", 2017).  Pairs of 111 faces that nothing was trained on, nearly all of them different
people, are 0.84 apart in the median; 0.9 % are less than 0.6 apart.

Network and landmark predictor come in the packages of the extra ``[evaluate]``.
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
"""Descriptors that are less far apart are those of the same person."""

# In GPEN's crop of 512 px, as medians over the same 111 faces: the box that dlib's detector finds,
# and the points that its predictor puts there: the outer and the inner corner of the eye at the
# picture's right, then of the one at its left, and below the nose.
_BOX = (134, 164, 392, 422)
_POINTS = np.array([(332.0, 248.0), (288.0, 250.0), (178.0, 250.0), (222.0, 250.0), (256.0, 332.0)])
_CHIP_SIZE = 150  # pixels, as dlib's network takes them
_EYES = float(np.linalg.norm(_POINTS[:2].mean(0) - _POINTS[2:4].mean(0)))  # how far apart
_FARTHEST = 0.3
"""How far predicted points may lie from these in the mean, in distances of the eyes.

Heads that are turned away reach 0.25; the points of a profile, at 0.4, lie in the background.
"""

_Pixels = NDArray[np.uint8]


class FaceRecognition:
    """Compares aligned faces, cropped by the template ``gpen``, on the CPU.

    The chip that dlib's network looks at is cut by landmarks of the original, out of both pictures,
    so that only their pixels differ.
    """

    def __init__(self, dlib: ModuleType, models: Path) -> None:
        self._dlib = dlib
        self._predict = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        self._network = dlib.face_recognition_model_v1(
            str(models / "dlib_face_recognition_resnet_model_v1.dat")
        )
        # each original is compared with its degraded and its restored picture, and twice with each
        self._describe = lru_cache(maxsize=64)(self._describe_anew)

    def distance(self, restored: Tensor, target: Tensor) -> Tensor:
        """How far apart the descriptors are: both (N, 3, R, R) in [-1, 1] -> (N,), 0 to 2."""
        pairs = zip(_pixels(restored), _pixels(target), strict=True)
        return torch.tensor([self._distance(*pair) for pair in pairs], dtype=torch.float64)

    def same_person(self, restored: Tensor, target: Tensor) -> Tensor:
        """1 where both show the same person, else 0; otherwise as ``distance``."""
        return (self.distance(restored, target) < SAME_PERSON).double()

    def _distance(self, restored: _Pixels, target: _Pixels) -> float:
        landmarks = self._landmarks(target)
        a, b = (
            self._describe(self._dlib.get_face_chip(picture, landmarks).tobytes())
            for picture in (restored, target)
        )
        return float(np.linalg.norm(a - b))

    def _landmarks(self, picture: _Pixels) -> object:
        """Five points by dlib's predictor; the usual ones where those cannot be a face's."""
        scale = picture.shape[0] / TEMPLATE_SIZE
        box = self._dlib.rectangle(*(round(edge * scale) for edge in _BOX))
        predicted = self._predict(picture, box)
        points = np.array([(point.x, point.y) for point in predicted.parts()]) / scale
        if np.linalg.norm(points - _POINTS, axis=1).mean() <= _FARTHEST * _EYES:
            return predicted
        usual = [self._dlib.point(*map(round, point)) for point in _POINTS * scale]
        return self._dlib.full_object_detection(box, self._dlib.points(usual))

    def _describe_anew(self, chip: bytes) -> NDArray[np.float64]:
        pixels = np.frombuffer(chip, np.uint8).reshape(_CHIP_SIZE, _CHIP_SIZE, 3)
        return np.array(self._network.compute_face_descriptor(pixels))


def load_recognition() -> dict[str, Distance]:
    """``dlib_distance`` and ``same_person``; none where the packages are not installed."""
    models = find_spec("face_recognition_models")  # not imported: it would import pkg_resources
    if models is None or models.origin is None or find_spec("dlib") is None:
        return {}
    import dlib  # noqa: PLC0415  (not everybody has it)

    recognition = FaceRecognition(dlib, Path(models.origin).parent / "models")
    return {"dlib_distance": recognition.distance, "same_person": recognition.same_person}


def _pixels(pictures: Tensor) -> list[_Pixels]:
    """(N, 3, R, R) in [-1, 1] -> N times (R, R, 3), each contiguous, as dlib needs it."""
    return list(to_levels(pictures).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy())
