"""GPEN's generator: an encoder and an embedded StyleGAN2 prior, as a U-shaped network.

Yang, Ren, Xie, Zhang: "GAN Prior Embedded Network for Blind Face Restoration in the Wild",
CVPR 2021, section 3.  Names in the state dict are those of the published checkpoints.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.networks.fir import FirUpsample
from model.networks.layers import (
    Bias,
    ConvBlock,
    EqualLinear,
    FeatureInjection,
    ModulatedConv2d,
    ModulatedPointwise,
    PixelNorm,
    channels_at,
    check_size,
)

STYLE_DIM = 512
MAPPING_LAYERS = 8
_MAPPING_LR_MUL = 0.01


class StyledConv(nn.Module):
    """A modulated convolution, concatenation of an encoder feature, and the activation.

    Called with x (N, C_in, R, R), style (N, style_dim) and feature (N, C_out, R', R'), where R' is
    R, or 2R when upsampling; returns (N, 2 * C_out, R', R').
    """

    def __init__(
        self, channels_in: int, channels_out: int, style_dim: int, *, upsample: bool = False
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(channels_in, channels_out, style_dim, upsample=upsample)
        self.noise = FeatureInjection()
        self.activate = Bias(2 * channels_out)

    def forward(self, x: Tensor, style: Tensor, feature: Tensor) -> Tensor:
        x, norm = self.conv.unnormalised(x, style)  # (N, C_out, R', R'), (N, C_out, 1, 1)
        y: Tensor = self.noise(x, norm, feature, self.activate.bias)  # (N, 2 C_out, R', R')
        return y


class ToRGB(nn.Module):
    """Features -> RGB, added to the upsampled RGB of the resolution below.

    Called with x (N, C_in, R, R), style (N, style_dim) and skip (N, 3, R/2, R/2); returns
    (N, 3, R, R).
    """

    def __init__(self, channels_in: int, style_dim: int, *, upsample: bool = True) -> None:
        super().__init__()
        self.upsample = FirUpsample() if upsample else None
        self.conv = ModulatedPointwise(channels_in, 3, style_dim)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, skip: Tensor | None = None) -> Tensor:
        rgb: Tensor = self.conv(x, style, self.bias)  # (N, 3, R, R)
        if skip is not None and self.upsample is not None:
            rgb = rgb + self.upsample(skip)
        return rgb


class ConstantInput(nn.Module):
    """The learned constant (1, C, 4, 4) that synthesis starts from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))

    def forward(self, batch: int) -> Tensor:
        x = self.input.expand(batch, -1, -1, -1)
        return x.contiguous(memory_format=torch.channels_last)


class Prior(nn.Module):
    """The embedded GAN prior: mapping network and synthesis network.

    Called with z (N, style_dim) and one encoder feature (N, C(r), r, r) per resolution r, from 4 up
    to ``size``; returns (N, 3, size, size).
    """

    def __init__(
        self, size: int, style_dim: int, n_mlp: int, channel_multiplier: int, narrow: float
    ) -> None:
        super().__init__()
        self.style = nn.Sequential(
            PixelNorm(),
            *(
                EqualLinear(style_dim, style_dim, lr_mul=_MAPPING_LR_MUL, activate=True)
                for _ in range(n_mlp)
            ),
        )
        channels = channels_at(4, channel_multiplier, narrow)
        self.input = ConstantInput(channels)
        self.conv1 = StyledConv(channels, channels, style_dim)
        self.to_rgb1 = ToRGB(2 * channels, style_dim, upsample=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for log_resolution in range(3, int(math.log2(size)) + 1):
            below, channels = channels, channels_at(2**log_resolution, channel_multiplier, narrow)
            self.convs.append(StyledConv(2 * below, channels, style_dim, upsample=True))
            self.convs.append(StyledConv(2 * channels, channels, style_dim))
            self.to_rgbs.append(ToRGB(2 * channels, style_dim))

    def forward(self, z: Tensor, features: list[Tensor]) -> Tensor:
        style = self.style(z)  # (N, style_dim), the w that every layer shares
        x = self.input(z.shape[0]).to(z.dtype)  # (N, C(4), 4, 4)
        x = self.conv1(x, style, features[0])  # (N, 2 C(4), 4, 4)
        rgb: Tensor = self.to_rgb1(x, style)  # (N, 3, 4, 4)
        for i, feature in enumerate(features[1:]):
            x = self.convs[2 * i](x, style, feature)  # (N, 2 C(r), r, r), r = 8 << i
            x = self.convs[2 * i + 1](x, style, feature)
            rgb = self.to_rgbs[i](x, style, rgb)  # (N, 3, r, r)
        return rgb


class FullGenerator(nn.Module):
    """GPEN's generator: an encoder whose features control the embedded prior.

    Called with (N, 3, size, size) RGB in [-1, 1]; returns the same shape, about [-1, 1], not
    clamped.  Raises ValueError unless ``size`` is a power of two from 8 to 2048.
    """

    def __init__(
        self,
        size: int,
        style_dim: int = STYLE_DIM,
        n_mlp: int = MAPPING_LAYERS,
        channel_multiplier: int = 2,
        narrow: float = 1.0,
    ) -> None:
        super().__init__()
        check_size(size)
        self.size = size
        self.depth = int(math.log2(size)) - 1  # number of resolutions, size down to 4
        channels = channels_at(size, channel_multiplier, narrow)
        self.ecd0 = nn.Sequential(ConvBlock(3, channels, 1))
        for i in range(1, self.depth):
            above, channels = channels, channels_at(size >> i, channel_multiplier, narrow)
            block = nn.Sequential(ConvBlock(above, channels, 3, downsample=True))
            self.add_module(f"ecd{i}", block)
        self.final_linear = nn.Sequential(EqualLinear(channels * 16, style_dim, activate=True))
        self.generator = Prior(size, style_dim, n_mlp, channel_multiplier, narrow)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)  # much faster on a CPU
        features = []
        for i in range(self.depth):
            x = self.get_submodule(f"ecd{i}")(x)  # (N, C(size >> i), size >> i, size >> i)
            features.append(x)
        z = self.final_linear(x.flatten(1))  # (N, style_dim)
        rgb: Tensor = self.generator(z, features[::-1])  # (N, 3, size, size)
        return rgb
