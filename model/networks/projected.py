"""A discriminator on frozen ImageNet features.

Sauer, Chitta, Müller, Geiger: "Projected GANs Converge Faster", NeurIPS 2021.  A StyleGAN2
discriminator learns faces from scratch; heads on frozen ImageNet features need fewer steps and
fewer pictures.  Another head sees the pixels and judges the finest texture (a PatchGAN; Isola et
al., CVPR 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

STRIDES = (4, 8, 16, 32)
"""The strides of the feature maps that have a head, in pixels."""
_FEATURE_CHANNELS = (24, 40, 112, 320)  # EfficientNet-lite0's at these strides
_CHANNELS = 64


class Logits(NamedTuple):
    """Logits of the heads, positive for real: each (N, 1, r, r), where r depends on the head."""

    features: list[Tensor]
    """One map per stride in ``STRIDES``."""
    pixels: Tensor


class ProjectedDiscriminator(nn.Module):
    """Heads on frozen features and on pixels, without the feature network.

    Called with the features at ``STRIDES`` and the pictures (N, 3, R, R) in [-1, 1], R at least 64.
    """

    def __init__(self, channels: Sequence[int] = _FEATURE_CHANNELS) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_feature_head(c) for c in channels)
        self.pixels = _pixel_head()

    def forward(self, features: Sequence[Tensor], pictures: Tensor) -> Logits:
        logits = [head(x) for head, x in zip(self.heads, features, strict=True)]
        return Logits(logits, self.pixels(pictures))


def _feature_head(channels: int) -> nn.Sequential:
    """(N, channels, r, r) -> (N, 1, r/2, r/2)."""
    return nn.Sequential(
        _conv(channels, _CHANNELS, 1),
        *(_conv(_CHANNELS, _CHANNELS, 4, stride=2), nn.LeakyReLU(0.2, inplace=True)),
        *(_conv(_CHANNELS, _CHANNELS, 3), nn.LeakyReLU(0.2, inplace=True)),
        _conv(_CHANNELS, 1, 3),
    )


def _pixel_head() -> nn.Sequential:
    """(N, 3, R, R) -> (N, 1, R/8, R/8), with a receptive field of 38 x 38 pixels."""
    return nn.Sequential(
        *(_conv(3, 32, 4, stride=2), nn.LeakyReLU(0.2, inplace=True)),
        *(_conv(32, _CHANNELS, 4, stride=2), nn.LeakyReLU(0.2, inplace=True)),
        *(_conv(_CHANNELS, _CHANNELS, 4, stride=2), nn.LeakyReLU(0.2, inplace=True)),
        _conv(_CHANNELS, 1, 3),
    )


def _conv(channels_in: int, channels_out: int, kernel_size: int, stride: int = 1) -> nn.Module:
    """A convolution with spectral norm (Miyato et al., ICLR 2018), which replaces R1."""
    padding = (kernel_size - 1) // 2
    convolution: nn.Module = spectral_norm(
        nn.Conv2d(channels_in, channels_out, kernel_size, stride, padding)
    )
    return convolution
