"""How good a restoration is: a value per picture, of (N, 3, R, R) in [-1, 1] compared in 8 bits."""

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
"""Of pictures, (N, 3, R, R) each in [-1, 1] -> (N,); NaN where there is none."""

Measure = Callable[[Tensor], Tensor]
"""Of pictures by themselves, (N, 3, R, R) in [-1, 1] -> (N,); NaN where there is none."""

_CHUNK_PIXELS = 2**20
"""How many pixels are scored at once, unless a single picture has more.

SSIM takes some 150 bytes for each value that it compares: of 64 faces of 512 px, 7 GB or more.
"""

_LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
_LUMA = torch.tensor([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class _Measured:
    def as_dict(self) -> dict[str, float]:
        """For JSON: what was measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Scores(_Measured):
    """Of a picture beside its target; or of many, their means, of sharpness the median."""

    psnr: float
    """In dB, over all channels; infinite for identical pictures."""
    ssim: float
    """Per channel, Gaussian window of 11 (Wang et al., 2004)."""
    sharpness: float
    """Variance of the luma's Laplacian, as a share of the target's: below 1 is blurred."""
    lpips: float | None = None
    """Less is better, as with the next four; None where it was not, or cannot be, measured."""
    perceptual: float | None = None
    """Distance of EfficientNet-lite1's features."""
    identity: float | None = None
    """1 - cosine of ArcFace embeddings."""
    landmarks: float | None = None
    """How far the five landmarks lie from the target's (``model.evaluation.landmarks``)."""
    dlib_distance: float | None = None
    """Of the descriptors of dlib's face recognition (``model.evaluation.recognition``)."""
    same_person: float | None = None
    """1 where dlib takes both for the same person, else 0; of many, the share."""


@dataclass(frozen=True)
class Appearance(_Measured):
    """Of a picture by itself; or of many, their means."""

    niqe: float | None = None
    """Less is better (``model.evaluation.niqe``); None where it was not, or cannot be, measured:
    flat pictures are left out of the mean."""
    found: float | None = None
    """1 where the detector finds the face, else 0; of many, the share."""


_M = TypeVar("_M", bound=_Measured)


def score_each(
    restored: Tensor, target: Tensor, distances: Mapping[str, Distance] | None = None
) -> list[Scores]:
    """Scores of every picture of ``restored``; both (N, 3, R, R) in [-1, 1], R at least 11.

    ``distances``: those of the optional scores that are to be measured.  Few pictures are compared
    at a time, so that memory does not grow with their number.
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
    always = zip(psnr.tolist(), _ssim(a, b).tolist(), sharpness.tolist(), strict=True)
    a, b = a / 127.5 - 1, b / 127.5 - 1
    others = {name: distance(a, b) for name, distance in distances.items()}
    return [
        Scores(db, similarity, variance, **other)
        for (db, similarity, variance), other in zip(always, _rows(others, len(a)), strict=True)
    ]


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    """Of levels, (N, C, R, R) -> (N,): the mean over channels, compared one at a time."""
    channels = []
    for x, y in zip(torch.split(a, 1, dim=1), torch.split(b, 1, dim=1), strict=True):
        ssim = structural_similarity_index_measure(x, y, data_range=255.0, reduction="none")
        assert isinstance(ssim, Tensor)
        channels.append(ssim.view(-1))
    return torch.stack(channels).mean(dim=0)


def look_at_each(pictures: Tensor, measures: Mapping[str, Measure]) -> list[Appearance]:
    """Of (N, 3, R, R) in [-1, 1]: what ``measures`` says of each, by the names of Appearance."""
    columns = {name: measure(pictures) for name, measure in measures.items()}
    return [Appearance(**row) for row in _rows(columns, len(pictures))]


def summarise(scores: Sequence[_M]) -> _M:
    """Of many pictures, at least one; each score over those that it could be measured of."""
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
    """(N, 3, R, R) -> (N,), on luma."""
    luma = (levels * _LUMA.to(levels.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    edges = F.conv2d(luma, _LAPLACIAN.to(levels.device)[None, None])
    return edges.var(dim=(1, 2, 3))
