"""NIQE, the quality of a picture without a reference (Mittal, Soundararajan & Bovik, 2013).

NIQE is the distance between a picture's local statistics and those of sharp photographs.  It knows
nothing about faces and was not trained on opinions.  basicsr computes it and includes the
parameters.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import torchvision_compat  # noqa: F401  (before basicsr)
from model.levels import to_levels

from basicsr.metrics.niqe import calculate_niqe  # isort: skip

_BLOCK = 96  # side in pixels of the blocks that the parameters were fitted on


def niqe(pictures: Tensor) -> Tensor:
    """NIQE of (N, 3, R, R) pictures in [-1, 1] -> (N,); lower is better.

    Uses the whole blocks of 96 pixels around the centre.  NaN for flat pictures and single blocks.
    Raises ValueError if R is less than 96.

    The mean over 56 held-out portraits is 6.9.  It is 11 after a blur of sigma 2 or noise of 15
    levels, 12 after JPEG of quality 8, and 14 after the gpen recipe.
    """
    if min(pictures.shape[-2:]) < _BLOCK:
        raise ValueError(f"NIQE needs pictures of {_BLOCK} pixels or more")
    levels = to_levels(pictures).byte().permute(0, 2, 3, 1).cpu().numpy()
    return torch.tensor([_niqe(picture[..., ::-1]) for picture in levels])


def _niqe(bgr: NDArray[np.uint8]) -> float:
    margin = bgr.shape[0] % _BLOCK // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # flat blocks have empty means
        try:
            return float(calculate_niqe(bgr, margin))
        except np.linalg.LinAlgError:
            return math.nan
