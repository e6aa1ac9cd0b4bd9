"""A discriminator on the features of a network that has seen the world.

Sauer, Chitta, Müller, Geiger: "Projected GANs Converge Faster", NeurIPS 2021.  A StyleGAN2
discriminator learns what a face is from nothing; heads on frozen ImageNet features need fewer steps
and fewer pictures for it.  One more head looks at the pixels, for the finest texture (a PatchGAN,
Isola et al., CVPR 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

STRIDES = (4, 8, 16, 32)
"""Of the feature maps that have a head, in pixels."""
_FEATURE_CHANNELS = (24, 40, 112, 320)  # EfficientNet-lite0's at these strides
_CHANNELS = 64


class Logits(NamedTuple):
    """What the heads say of N pictures: positive for real.  Each is (N, 1, r, r), r by the head."""

    features: list[Tensor]
    """One map per stride in ``STRIDES``."""
    pixels: Tensor


class ProjectedDiscriminator(nn.Module):
    """Heads on frozen features and on pixels.  The feature network is not a part of it.

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
    """(N, 3, R, R) -> (N, 1, R/8, R/8); a logit sees 38 by 38 pixels."""
    return nn.Sequential(
        *(_conv(3, 32, 4, stride=2), nn.LeakyReLU(0.2, inplace=True)),
        *(_conv(32, _CHANNELS, 4, stride=2), nn.LeakyReLU(0.2, inplace=True)),
        *(_conv(_CHANNELS, _CHANNELS, 4, stride=2), nn.LeakyReLU(0.2, inplace=True)),
        _conv(_CHANNELS, 1, 3),
    )


def _conv(channels_in: int, channels_out: int, kernel_size: int, stride: int = 1) -> nn.Module:
    """With spectral norm (Miyato et al., ICLR 2018), which takes the place of R1."""
    padding = (kernel_size - 1) // 2
    convolution: nn.Module = spectral_norm(
        nn.Conv2d(channels_in, channels_out, kernel_size, stride, padding)
    )
    return convolution
