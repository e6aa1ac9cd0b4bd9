"""How faces are cut for EQFace, and what is made of its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from app.faces.eqface import MAX_DISTANCE, MIN_QUALITY, EqFace, load_eqface
from model.checkpoints.templates import landmark_template
from model.networks.eqface import FACE_SIZE
from model.state_dicts import WeightsError

TEMPLATE = landmark_template("gpen", 256)


class ByColour(nn.Module):
    """Stands for the network: the mean colour is the face's features, its blue the quality."""

    def __init__(self) -> None:
        super().__init__()
        self.anywhere = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(faces)
        colour = faces.mean((2, 3))
        return colour, colour[:, 2] / 255


def crop(*colour: int, size: int = 256) -> Any:
    return np.full((size, size, 3), colour, np.uint8)


def test_limits() -> None:
    network: Any = ByColour()
    angles = np.arccos(1 - np.array([0.5, 1.2]) * MAX_DISTANCE)
    turned = [
        crop(*np.rint(200 * np.array([np.cos(a), np.sin(a), 0.15])).astype(int)) for a in angles
    ]
    straight, poor = crop(200, 0, 30), crop(200, 0, int(255 * MIN_QUALITY) - 3)
    before = [straight, straight, straight, poor] * 10  # more than a batch
    after = [straight, *turned, straight] * 10
    verdicts = EqFace(network).judge(before, after, TEMPLATE)
    assert verdicts == [None, None, "identity", "quality"] * 10
    assert max(len(faces) for faces in network.seen) <= 16


@pytest.mark.parametrize("template", ["gpen", "ffhq"])
@pytest.mark.parametrize("size", [256, 512])
def test_faces_are_cut_as_arcface_wants_them(template: str, size: int) -> None:
    """Landmarks, drawn into the crop, arrive where its template of 112 pixels has them."""
    landmarks = landmark_template(template, size)
    drawn = np.zeros((size, size, 3), np.uint8)
    for x, y in landmarks:
        cv2.circle(drawn, (round(x), round(y)), size // 100, (255, 0, 0), -1)
    network: Any = ByColour()
    EqFace(network).judge([drawn], [drawn], landmarks)
    (faces,) = network.seen
    assert faces.shape == (2, 3, FACE_SIZE, FACE_SIZE)
    assert faces[:, 0].max() > 100  # RGB
    assert faces[:, 1:].max() == 0
    assert network.seen[0].dtype == torch.float32
    red = faces[0, 0].numpy()
    for x, y in [(38.3, 51.7), (73.5, 51.5), (56.0, 71.7), (41.5, 92.4), (70.7, 92.2)]:
        around = np.zeros_like(red)
        cv2.circle(around, (round(x), round(y)), 5, 1.0, -1)
        rows, columns = np.indices(red.shape)
        weight = red * around
        assert abs((columns * weight).sum() / weight.sum() - x) < 2.5
        assert abs((rows * weight).sum() / weight.sum() - y) < 2.5


def test_files_that_are_not_eqfaces(tmp_path: Path) -> None:
    paths = tmp_path / "backbone.pth", tmp_path / "quality.pth"
    for path in paths:
        torch.save({"module.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"backbone\.pth and .*quality\.pth do not hold EQFace"):
        load_eqface(*paths, torch.device("cpu"))
