"""Pictures for inspection: rows of faces before and after restoration."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.levels import to_levels

Levels = NDArray[np.uint8]
"""(H, W, 3) RGB."""


def make_grid(*columns: Tensor) -> Levels:
    """Columns (N, 3, R, R) in [-1, 1] -> a picture (N * R, columns * R, 3) with a row per face."""
    rows = np.concatenate([to_levels(column).cpu().byte().numpy() for column in columns], axis=3)
    grid: Levels = np.concatenate(rows.transpose(0, 2, 3, 1))
    return grid


def save_picture(path: Path, picture: Levels) -> None:
    """Write a picture in the format of the path's suffix.  Raises OSError."""
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} cannot be written")
