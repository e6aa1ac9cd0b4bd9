"""Landmark error: how far a restoration's eyes, nose and mouth are from the original's.

The bundled detector finds the landmarks.  They describe the geometry of a face but do not identify
a person, because alignment removes most differences.  On 56 held-out portraits, in units of the
distance between the eyes: the detector's noise is 0.02 (measured on mirrored pictures), the average
face is 0.05 from each face, and another person's face 0.07.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.boxes import Floats
from model.levels import to_levels
from model.networks import retinaface
from model.networks.retinaface import Candidates

_THRESHOLD = 0.9
_REDUCTIONS = (1, 2, 4)  # as in app/faces/detect.py: noise hides faces at full size


def landmark_error(detector: nn.Module, restored: Tensor, target: Tensor) -> Tensor:
    """Mean distance of the five landmarks, (N,), relative to the distance of the target's eyes.

    Both pictures are aligned faces, (N, 3, R, R) in [-1, 1].  Errors are at most 1, which is also
    the error if no face is found in ``restored``, so that a face beyond recognition is never
    better.  NaN if no face is found in ``target``.
    """
    found, expected = find_landmarks(detector, restored), find_landmarks(detector, target)
    eyes = np.linalg.norm(expected[:, 1] - expected[:, 0], axis=-1)
    error = np.linalg.norm(found - expected, axis=-1).mean(-1) / eyes
    error = np.where(np.isnan(error), 1, np.minimum(error, 1))
    return torch.from_numpy(np.where(np.isnan(eyes), np.nan, error))


def face_found(detector: nn.Module, pictures: Tensor) -> Tensor:
    """1 if the detector finds the aligned face, else 0: (N, 3, R, R) in [-1, 1] -> (N,)."""
    return torch.from_numpy(~np.isnan(find_landmarks(detector, pictures)).any((1, 2))).double()


def find_landmarks(detector: nn.Module, pictures: Tensor) -> Floats:
    """Landmarks of the face with the best score over each picture's centre; NaN if there is none.

    (N, 3, R, R) in [-1, 1] -> (N, 5, 2), x and y in pixels.
    """
    levels = to_levels(pictures)
    found: list[list[Candidates]] = [[] for _ in pictures]
    for reduction in _REDUCTIONS:
        reduced = F.avg_pool2d(levels, reduction).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        runs = retinaface.run(detector, list(reduced), _THRESHOLD)
        for parts, (boxes, scores, landmarks) in zip(found, runs, strict=True):
            parts.append(Candidates(boxes * reduction, scores, landmarks * reduction))
    joined = [Candidates(*map(np.concatenate, zip(*parts, strict=True))) for parts in found]
    return np.stack([_central(candidates, levels.shape[-1] / 2) for candidates in joined])


def _central(candidates: Candidates, centre: float) -> Floats:
    low, high = candidates.boxes[:, :2], candidates.boxes[:, 2:]
    over = ((low < centre) & (centre < high)).all(1)
    if not over.any():
        return np.full((5, 2), np.nan, np.float32)
    central = Candidates(*(column[over] for column in candidates))
    return central.voted(int(central.scores.argmax()))[1]
