"""StyleGAN2's residual discriminator, with GPEN's names in the state dict.

Karras et al.: "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, section 4.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.networks.layers import ConvBlock, EqualLinear, channels_at, check_size

_EPS = 1e-8


class MinibatchStdDev(nn.Module):
    """Appends a channel with the mean standard deviation over the batch, which is one group."""

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        deviation = torch.sqrt(x.var(dim=0, unbiased=False) + _EPS).mean()
        return torch.cat([x, deviation.expand(n, 1, height, width)], dim=1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a 1x1 skip connection, which halve the resolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = ConvBlock(channels_in, channels_in, 3)
        gain = 1 / math.sqrt(2)  # keeps the variance of the sum
        self.conv2 = ConvBlock(channels_in, channels_out, 3, downsample=True, gain=gain)
        self.skip = ConvBlock(
            channels_in, channels_out, 1, downsample=True, activate=False, gain=gain
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x)) + self.skip(x)  # (N, C_out, R/2, R/2)
        return y


class Discriminator(nn.Module):
    """StyleGAN2's residual discriminator.  (N, 3, size, size) in [-1, 1] -> logits (N, 1).

    A picture's logit depends on the others in its batch (:class:`MinibatchStdDev`).  Raises
    ValueError unless ``size`` is a power of two from 8 to 2048.
    """

    def __init__(self, size: int, channel_multiplier: int = 2, narrow: float = 1.0) -> None:
        super().__init__()
        check_size(size)
        channels = channels_at(size, channel_multiplier, narrow)
        self.convs = nn.Sequential(ConvBlock(3, channels, 1))
        for log_resolution in range(int(math.log2(size)) - 1, 1, -1):
            above, channels = channels, channels_at(2**log_resolution, channel_multiplier, narrow)
            self.convs.append(ResidualBlock(above, channels))
        self.stddev = MinibatchStdDev()
        self.final_conv = ConvBlock(channels + 1, channels, 3)
        self.final_linear = nn.Sequential(
            EqualLinear(channels * 16, channels, activate=True), EqualLinear(channels, 1)
        )

    def features(self, x: Tensor) -> list[Tensor]:
        """The output of every block, from (N, C(size), size, size) down to (N, C(4), 4, 4)."""
        x = x.contiguous(memory_format=torch.channels_last)  # much faster on a CPU
        outputs = []
        for block in self.convs:
            x = block(x)
            outputs.append(x)
        return outputs

    def score(self, features: list[Tensor]) -> Tensor:
        """The logits (N, 1) for the output of :meth:`features`."""
        x = self.final_conv(self.stddev(features[-1]))  # (N, C(4), 4, 4)
        logits: Tensor = self.final_linear(x.flatten(1))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.features(x))
