"""Scores of a generator on the held-out faces of a run, a few faces at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.checkpoints.named import optional_file
from model.checkpoints.table import ARCFACE_IR_SE50, VGG16
from model.data.dataset import to_halves
from model.evaluation.grid import Levels, make_grid
from model.evaluation.metrics import Distance, Measure, look_at_each, score_each, summarise
from model.evaluation.niqe import niqe
from model.evaluation.perceptual import load_distances
from model.networks.efficientnet import FeatureDistance, load_features
from model.training.config import Config, Metric

_PIXELS = 2**20
"""Pixels of the faces that are restored and scored at a time, which bounds the memory."""
_SAMPLES = 8
_LESS_IS_BETTER = ("perceptual", "lpips", "niqe")


class Validation(NamedTuple):
    """The results of a generator."""

    scores: dict[str, float]
    """Means over the faces (of sharpness the median), by the names of ValidationRecord."""
    samples: Levels
    """LQ | restored | HQ of a few faces, a row each."""

    def merit(self, metric: Metric) -> float:
        """The metric, negated where less is better."""
        return -self.scores[metric] if metric in _LESS_IS_BETTER else self.scores[metric]


class Validator:
    """The held-out faces, and the networks that judge their restorations.

    ``pairs`` (N, 2, R, R, 3) are LQ and HQ in 8 bits.  LPIPS and identity are measured if their
    weights are configured or on this machine; EfficientNet's distance and NIQE are measured if
    ``validation.metric`` names them.  Raises WeightsError, or ModuleNotFoundError that says what to
    install.
    """

    def __init__(self, pairs: NDArray[np.uint8], config: Config, device: torch.device) -> None:
        self.pairs = pairs
        self._device = device
        self._chunk = max(1, _PIXELS // pairs.shape[2] ** 2)
        losses = config.train.losses
        self._distances: dict[str, Distance] = load_distances(
            losses.lpips_weights or optional_file(VGG16),
            losses.identity_weights or optional_file(ARCFACE_IR_SE50),
            device,
        )
        self._measures: dict[str, Measure] = {}
        if config.validation.metric == "perceptual":
            self._distances["perceptual"] = FeatureDistance(load_features("lite1")).to(device)
        if config.validation.metric == "niqe":
            self._measures["niqe"] = niqe

    def __len__(self) -> int:
        return len(self.pairs)

    def degraded(self) -> dict[str, float]:
        """Scores of the degraded faces themselves."""
        return self.judge(nn.Identity()).scores

    @torch.inference_mode()
    def judge(self, generator: nn.Module) -> Validation:
        """Scores of a generator."""
        scores, appearances, rows = [], [], []
        every = max(1, len(self.pairs) // _SAMPLES)
        for start, low, high in self._chunks():
            restored = generator(low).clamp(-1, 1)
            scores += score_each(restored, high, self._distances)
            appearances += look_at_each(restored, self._measures)
            shown = [i for i in range(len(low)) if (start + i) % every == 0]
            if shown:
                rows.append(make_grid(low[shown], restored[shown], high[shown]))
        measured = summarise(scores).as_dict() | summarise(appearances).as_dict()
        return Validation(measured, np.concatenate(rows))

    def _chunks(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Index of the first face, LQ and HQ, each (n, 3, R, R) in [-1, 1]."""
        for start in range(0, len(self.pairs), self._chunk):
            levels = torch.from_numpy(self.pairs[start : start + self._chunk])
            yield start, *to_halves(levels.to(self._device))
