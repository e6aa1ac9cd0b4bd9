"""How good a restoration is: a value per picture, of (N, 3, R, R) in [-1, 1] compared in 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from statistics import fmean, median_low

import torch
from torch import Tensor
from torch.nn import functional as F

from model import torchvision_compat  # noqa: F401  (before torchmetrics, which imports torchvision)

from torchmetrics.functional.image import (  # isort: skip
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

Distance = Callable[[Tensor, Tensor], Tensor]
"""Of pictures, (N, 3, R, R) each in [-1, 1] -> (N,)."""

_LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
_LUMA = torch.tensor([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Scores:
    """Of a picture; or of many, their means, of sharpness the median."""

    psnr: float
    """In dB, over all channels; infinite for identical pictures."""
    ssim: float
    """Per channel, Gaussian window of 11 (Wang et al., 2004)."""
    sharpness: float
    """Variance of the luma's Laplacian, as a share of the target's: below 1 is blurred."""
    lpips: float | None = None
    """Less is better; None without its weights, as the next."""
    identity: float | None = None
    """1 - cosine of ArcFace embeddings."""

    def as_dict(self) -> dict[str, float]:
        """For JSON: what was measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def to_levels(x: Tensor) -> Tensor:
    """[-1, 1] -> 8-bit levels, 0 to 255, as float; rounded."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255)


def score_each(
    restored: Tensor, target: Tensor, distances: Mapping[str, Distance] | None = None
) -> list[Scores]:
    """Scores of every picture of ``restored``; both (N, 3, R, R) in [-1, 1], R at least 11.

    ``distances`` are those of ``model.perceptual`` whose weights are there.
    """
    a, b = to_levels(restored), to_levels(target)
    psnr = peak_signal_noise_ratio(a, b, data_range=255.0, reduction="none", dim=(1, 2, 3))
    ssim = structural_similarity_index_measure(a, b, data_range=255.0, reduction="none")
    assert isinstance(ssim, Tensor)
    sharpness = _laplacian_variance(a) / _laplacian_variance(b).clamp(min=1e-6)
    columns = {"psnr": psnr, "ssim": ssim.view(-1), "sharpness": sharpness}
    for name, distance in (distances or {}).items():
        columns[name] = distance(a / 127.5 - 1, b / 127.5 - 1)
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [Scores(**dict(zip(columns, row, strict=True))) for row in rows]


def summarise(scores: Sequence[Scores]) -> Scores:
    """Scores of many pictures, each measured alike."""
    summary = {}
    for field in fields(Scores):
        values = [getattr(score, field.name) for score in scores]
        if None not in values:
            average = median_low if field.name == "sharpness" else fmean
            summary[field.name] = average(values)
    return Scores(**summary)


def score(restored: Tensor, target: Tensor) -> Scores:
    """Scores of ``restored`` against ``target``, each (N, 3, R, R) in [-1, 1], R at least 11."""
    return summarise(score_each(restored, target))


def _laplacian_variance(levels: Tensor) -> Tensor:
    """(N, 3, R, R) -> (N,), on luma."""
    luma = (levels * _LUMA.to(levels.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    edges = F.conv2d(luma, _LAPLACIAN.to(levels.device)[None, None])
    return edges.var(dim=(1, 2, 3))
