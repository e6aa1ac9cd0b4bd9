"""Scores of restorations, one value per picture, for (N, 3, R, R) in [-1, 1] rounded to 8 bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean, median_low
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from model import torchvision_compat  # noqa: F401  (before torchmetrics, which imports torchvision)
from model.levels import to_levels

from torchmetrics.functional.image import (  # isort: skip
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

Distance = Callable[[Tensor, Tensor], Tensor]
"""Compares two batches (N, 3, R, R) in [-1, 1] -> (N,), NaN where it is undefined."""

Measure = Callable[[Tensor], Tensor]
"""Measures single pictures, (N, 3, R, R) in [-1, 1] -> (N,), NaN where it is undefined."""

_CHUNK_PIXELS = 2**20
"""Maximum number of pixels that are scored at a time, unless a single picture has more.

SSIM needs about 150 bytes per value: 7 GB or more for 64 faces of 512 px.
"""

_LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
_LUMA = torch.tensor([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class _Measured:
    def as_dict(self) -> dict[str, float]:
        """The values that were measured, for JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Scores(_Measured):
    """Scores of a picture against its target, or means over many (the median of sharpness)."""

    psnr: float
    """In dB, over all channels; infinite for identical pictures."""
    ssim: float
    """Mean over channels, with a Gaussian window of 11 pixels (Wang et al., 2004)."""
    sharpness: float
    """Variance of the luma's Laplacian relative to the target's; below 1 is blurred."""
    lpips: float | None = None
    """Lower is better, as for the next four; None if it was not or cannot be measured."""
    perceptual: float | None = None
    """Distance between features of EfficientNet-lite1 (``model.networks.efficientnet``)."""
    identity: float | None = None
    """1 - cosine of ArcFace embeddings."""
    landmarks: float | None = None
    """Distance of the five landmarks from the target's (``model.evaluation.landmarks``)."""
    dlib_distance: float | None = None
    """Distance of dlib's face descriptors (``model.evaluation.recognition``)."""
    same_person: float | None = None
    """1 if dlib sees the same person in both, else 0; over many, the share."""


@dataclass(frozen=True)
class Appearance(_Measured):
    """Scores of a single picture, or their means over many."""

    niqe: float | None = None
    """Lower is better (``model.evaluation.niqe``); None if it was not or cannot be measured, as for
    flat pictures, which are left out of the mean."""
    found: float | None = None
    """1 if the detector finds the face, else 0; over many, the share."""


_M = TypeVar("_M", bound=_Measured)


def score_each(
    restored: Tensor, target: Tensor, distances: Mapping[str, Distance] | None = None
) -> list[Scores]:
    """The scores of each restored picture; both batches are (N, 3, R, R) in [-1, 1], R at least 11.

    ``distances``: the optional scores to measure, by their names in Scores.  Few pictures are
    compared at a time, so that the memory does not grow with N.
    """
    count = max(1, _CHUNK_PIXELS // (restored.shape[-2] * restored.shape[-1]))
    return [
        scores
        for chunk in zip(torch.split(restored, count), torch.split(target, count), strict=True)
        for scores in _score_chunk(*chunk, distances or {})
    ]


def _score_chunk(
    restored: Tensor, target: Tensor, distances: Mapping[str, Distance]
) -> list[Scores]:
    a, b = to_levels(restored), to_levels(target)
    psnr = peak_signal_noise_ratio(a, b, data_range=255.0, reduction="none", dim=(1, 2, 3))
    sharpness = _laplacian_variance(a) / _laplacian_variance(b).clamp(min=1e-6)
    required = zip(psnr.tolist(), _ssim(a, b).tolist(), sharpness.tolist(), strict=True)
    a, b = a / 127.5 - 1, b / 127.5 - 1
    columns = {name: distance(a, b) for name, distance in distances.items()}
    return [
        Scores(psnr, ssim, sharpness, **optional)
        for (psnr, ssim, sharpness), optional in zip(required, _rows(columns, len(a)), strict=True)
    ]


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    """Levels (N, C, R, R) -> SSIM (N,), the mean over channels, compared one at a time."""
    channels = []
    for x, y in zip(torch.split(a, 1, dim=1), torch.split(b, 1, dim=1), strict=True):
        ssim = structural_similarity_index_measure(x, y, data_range=255.0, reduction="none")
        assert isinstance(ssim, Tensor)
        channels.append(ssim.view(-1))
    return torch.stack(channels).mean(dim=0)


def look_at_each(pictures: Tensor, measures: Mapping[str, Measure]) -> list[Appearance]:
    """Measure (N, 3, R, R) pictures in [-1, 1]; ``measures`` has the names of Appearance."""
    columns = {name: measure(pictures) for name, measure in measures.items()}
    return [Appearance(**row) for row in _rows(columns, len(pictures))]


def summarise(scores: Sequence[_M]) -> _M:
    """Summarise at least one picture; each score is over the pictures that have it."""
    summary = {}
    for field in fields(scores[0]):
        values = [getattr(score, field.name) for score in scores]
        measured = [value for value in values if value is not None]
        if measured:
            average = median_low if field.name == "sharpness" else fmean
            summary[field.name] = average(measured)
    return type(scores[0])(**summary)


def score(restored: Tensor, target: Tensor) -> Scores:
    """Scores of ``restored`` against ``target``, each (N, 3, R, R) in [-1, 1], R at least 11."""
    return summarise(score_each(restored, target))


def _rows(columns: Mapping[str, Tensor], count: int) -> list[dict[str, float | None]]:
    """Columns (N,) -> N rows, None for NaN."""
    values = {name: column.tolist() for name, column in columns.items()}
    return [
        {name: None if math.isnan(column[i]) else column[i] for name, column in values.items()}
        for i in range(count)
    ]


def _laplacian_variance(levels: Tensor) -> Tensor:
    """Variance of the luma's Laplacian, (N, 3, R, R) levels -> (N,)."""
    luma = (levels * _LUMA.to(levels.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    edges = F.conv2d(luma, _LAPLACIAN.to(levels.device)[None, None])
    return edges.var(dim=(1, 2, 3))
