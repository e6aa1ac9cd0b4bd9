"""Quality and identity of faces, judged by EQFace as in ModelScope's portrait enhancement.

The limits are those of ModelScope's pipeline.  It crops the restored face wider than the original
and passes the network BGR, both of which increase the distance; here both crops are alike, in RGB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from app.faces.align import similarity, warp
from app.imaging.photo import Pixels
from model.networks.eqface import FACE_SIZE, FaceQuality
from model.state_dicts import WeightsError, read_tensors

MIN_QUALITY = 0.1
MAX_DISTANCE = 0.15
_BATCH = 16
_LANDMARKS = np.array(  # ArcFace's template for a face of 112 pixels
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)


@dataclass(frozen=True, eq=False)
class EqFace:
    """Runs on the network's device; keeps no state, so threads may share it."""

    network: FaceQuality
    bfloat16: bool = False
    """Whether convolutions are computed in bfloat16."""

    def judge(
        self, before: Sequence[Pixels], after: Sequence[Pixels], template: NDArray[np.float64]
    ) -> list[Literal["identity", "quality"] | None]:
        """Why each of N restored faces is refused, or None.

        ``quality``: the original is too poor to be recognised.  ``identity``: the cosine distance
        of the restored face from the original is too large.  ``before``, ``after``: N crops each,
        (S, S, 3) sRGB; ``template``: (5, 2), where their landmarks lie.
        """
        features, quality = self._measure([_face(crop, template) for crop in (*before, *after)])
        count = len(before)
        distances = 1 - F.cosine_similarity(features[:count], features[count:])
        return [
            _verdict(q, distance)
            for q, distance in zip(quality[:count].tolist(), distances.tolist(), strict=True)
        ]

    @torch.inference_mode()
    def _measure(self, faces: list[Pixels]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (N, 512) and quality (N,) of faces (112, 112, 3), on the CPU."""
        device = next(self.network.parameters()).device
        parts = []
        for start in range(0, len(faces), _BATCH):
            batch = torch.from_numpy(np.stack(faces[start : start + _BATCH])).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16):
                parts.append(self.network(batch.permute(0, 3, 1, 2).float()))
        features, quality = zip(*parts, strict=True)
        return torch.cat(features).cpu(), torch.cat(quality).cpu()


def _verdict(quality: float, distance: float) -> Literal["identity", "quality"] | None:
    """NaN counts as too poor, or too far."""
    if not quality >= MIN_QUALITY:
        return "quality"
    return None if distance <= MAX_DISTANCE else "identity"


def load_eqface(backbone: Path, quality: Path, device: torch.device) -> FaceQuality:
    """Load ``eqface_backbone.pth`` and ``eqface_quality.pth``.  Raises WeightsError."""
    network = FaceQuality()
    try:
        network.load(read_tensors(backbone), read_tensors(quality))
    except RuntimeError as error:
        raise WeightsError(f"{backbone} and {quality} do not hold EQFace: {error}") from error
    return network.eval().requires_grad_(False).to(device)


def _face(crop: Pixels, template: NDArray[np.float64]) -> Pixels:
    size = (FACE_SIZE, FACE_SIZE)
    matrix = similarity(template, _LANDMARKS)
    return np.asarray(warp(crop, matrix, size, border=cv2.BORDER_REFLECT_101), np.uint8)
