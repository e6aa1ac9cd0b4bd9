"""NIQE, the quality of a picture without its original (Mittal, Soundararajan & Bovik, 2013).

How far statistics of small differences lie from those of sharp photographs: no face, and no
training on opinions.  Computed by basicsr, whose package carries the parameters.
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

_BLOCK = 96  # pixels: the parameters are those of blocks of this size


def niqe(pictures: Tensor) -> Tensor:
    """Less is better: (N, 3, R, R) in [-1, 1] -> (N,).

    Of as many whole blocks of 96 pixels as lie around the centre.  NaN where there is nothing to
    measure: in a flat picture, or a single block.  Raises ValueError where R is less than 96.

    On 56 held-out portraits, in the mean: 6.9; blurred (sigma 2) 11, with noise of 15 levels 11, as
    JPEG of quality 8 12, degraded by the gpen recipe 14.
    """
    if min(pictures.shape[-2:]) < _BLOCK:
        raise ValueError(f"NIQE needs pictures of {_BLOCK} pixels or more")
    levels = to_levels(pictures).byte().permute(0, 2, 3, 1).cpu().numpy()
    return torch.tensor([_niqe(picture[..., ::-1]) for picture in levels])


def _niqe(bgr: NDArray[np.uint8]) -> float:
    margin = bgr.shape[0] % _BLOCK // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # flat blocks: means of nothing
        try:
            return float(calculate_niqe(bgr, margin))
        except np.linalg.LinAlgError:
            return math.nan
