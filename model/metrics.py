"""How good a restoration is: a value per picture, of (N, 3, R, R) in [-1, 1] compared in 8 bits."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

_LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
_LUMA = torch.tensor([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Scores:
    """Means of PSNR and SSIM over the pictures, median of sharpness."""

    psnr: float
    """In dB, over all channels; infinite for identical pictures."""
    ssim: float
    """Per channel, Gaussian window of 11 (Wang et al., 2004)."""
    sharpness: float
    """Variance of the luma's Laplacian, as a share of the target's: below 1 is blurred."""

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def to_levels(x: Tensor) -> Tensor:
    """[-1, 1] -> 8-bit levels, 0 to 255, as float; rounded."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255)


def score(restored: Tensor, target: Tensor) -> Scores:
    """Scores of ``restored`` against ``target``, each (N, 3, R, R) in [-1, 1], R at least 11."""
    a, b = to_levels(restored), to_levels(target)
    psnr = peak_signal_noise_ratio(a, b, data_range=255.0, reduction="none", dim=(1, 2, 3))
    ssim = structural_similarity_index_measure(a, b, data_range=255.0, reduction="none")
    assert isinstance(ssim, Tensor)
    sharpness = _laplacian_variance(a) / _laplacian_variance(b).clamp(min=1e-6)
    return Scores(
        psnr=psnr.mean().item(), ssim=ssim.mean().item(), sharpness=sharpness.median().item()
    )


def _laplacian_variance(levels: Tensor) -> Tensor:
    """(N, 3, R, R) -> (N,), on luma."""
    luma = (levels * _LUMA.to(levels.device).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    edges = F.conv2d(luma, _LAPLACIAN.to(levels.device)[None, None])
    return edges.var(dim=(1, 2, 3))
