"""Layers of the GPEN networks, as in StyleGAN2 (Karras et al., CVPR 2020).

Shapes: N batch, C channels, R resolution (height = width).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)

_LEAKY_SLOPE = 0.2
_LEAKY_GAIN = math.sqrt(2.0)  # keeps the variance of a unit normal through the activation
_EPS = 1e-8


def channels_at(resolution: int, channel_multiplier: int, narrow: float) -> int:
    """Number of feature channels C(r) at a resolution (a power of two, 4 to 2048)."""
    if resolution <= 32:
        return int(512 * narrow)
    return int(16384 // resolution * channel_multiplier * narrow)


def check_size(size: int) -> None:
    """Raise ValueError unless there are networks of this size."""
    if size not in SIZES:
        raise ValueError(f"size must be a power of two from 8 to 2048, not {size}")


def biased_leaky_relu(x: Tensor, bias: Tensor) -> Tensor:
    """sqrt(2) * leaky_relu(x + bias, 0.2); bias per channel, x (N, C) or (N, C, R, R)."""
    bias = bias.to(x.dtype).view(1, -1, *(1,) * (x.ndim - 2))
    return F.leaky_relu(x + bias, _LEAKY_SLOPE) * _LEAKY_GAIN


class BiasedLeakyReLU(nn.Module):
    """:func:`biased_leaky_relu` with a learned bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return biased_leaky_relu(x, self.bias)


class EqualConv2d(nn.Module):
    """Convolution whose weight is N(0, 1) at rest and scaled by 1/sqrt(fan in) when used."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel_size: int, stride: int, padding: int
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, kernel_size, kernel_size))
        self.scale = 1 / math.sqrt(channels_in * kernel_size**2)
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, stride=self.stride, padding=self.padding)


class EqualLinear(nn.Module):
    """Linear layer with an equalized learning rate (times ``lr_mul``), optionally activated."""

    def __init__(
        self,
        features_in: int,
        features_out: int,
        *,
        bias_init: float = 0.0,
        lr_mul: float = 1.0,
        activate: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features_out, features_in) / lr_mul)
        self.bias = nn.Parameter(torch.full((features_out,), bias_init))
        self.scale = lr_mul / math.sqrt(features_in)
        self.lr_mul = lr_mul
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight * self.scale, self.bias * self.lr_mul
        if self.activate:
            return biased_leaky_relu(F.linear(x, weight), bias)
        return F.linear(x, weight, bias)


class PixelNorm(nn.Module):
    """Scales each row of (N, C) to unit root mean square."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + _EPS)


def fir_kernel(gain: float = 1.0) -> Tensor:
    """The 4x4 low-pass filter [1, 3, 3, 1] x [1, 3, 3, 1], summing to ``gain``."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) * (gain / 64)


class Fir(nn.Module):
    """Low-pass filter, one channel at a time.  (N, C, R, R) -> (N, C, R', R'), R' = R + 2p - 3.

    The filter is symmetric, so correlation and convolution agree.
    """

    kernel: Tensor

    def __init__(self, padding: int, gain: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("kernel", fir_kernel(gain))
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        return F.conv2d(x, kernel, padding=self.padding, groups=channels)


class FirUpsample(nn.Module):
    """Twice the resolution: insert zeros, then low-pass.  (N, C, R, R) -> (N, C, 2R, 2R)."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", fir_kernel(gain=4.0))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, 1, 4, 4)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=channels)


class ModulatedConv2d(nn.Module):
    """Convolution whose input channels are scaled by a style (StyleGAN2, section 2.2).

    Called with x (N, C_in, R, R) and style (N, style_dim); returns (N, C_out, R, R), or 2R when
    upsampling.  The published form builds one weight per sample and runs a grouped convolution.
    Scaling the activations before and after one shared convolution is the same function, and lets
    a batch share it.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel_size: int,
        style_dim: int,
        *,
        demodulate: bool = True,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            torch.randn(1, channels_out, channels_in, kernel_size, kernel_size)
        )
        self.modulation = EqualLinear(style_dim, channels_in, bias_init=1.0)
        self.scale = 1 / math.sqrt(channels_in * kernel_size**2)
        self.padding = kernel_size // 2
        self.demodulate = demodulate
        self.blur = Fir(padding=1, gain=4.0) if upsample else None

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        weight = self.weight[0] * self.scale  # (C_out, C_in, k, k)
        s = self.modulation(style)  # (N, C_in)
        x = x * s[:, :, None, None].to(x.dtype)
        if self.blur is None:
            x = F.conv2d(x, weight, padding=self.padding)  # (N, C_out, R, R)
        else:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # (N, C_out, 2R+1, 2R+1)
            x = self.blur(x)  # (N, C_out, 2R, 2R)
        if self.demodulate:
            energy = weight.square().sum(dim=(2, 3))  # (C_out, C_in)
            norm = torch.rsqrt(F.linear(s.square(), energy) + _EPS)  # (N, C_out)
            x = x * norm[:, :, None, None].to(x.dtype)
        return x


class FeatureInjection(nn.Module):
    """Where StyleGAN2 adds noise, GPEN concatenates an encoder feature.  C -> 2C channels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, feature: Tensor) -> Tensor:
        return torch.cat([x, self.weight.to(x.dtype) * feature], dim=1)


def conv_block(
    channels_in: int,
    channels_out: int,
    kernel_size: int,
    *,
    downsample: bool = False,
    activate: bool = True,
) -> nn.Sequential:
    """[low-pass] -> convolution -> [biased leaky ReLU]; halves the resolution on request."""
    layers: list[nn.Module] = []
    if downsample:
        layers += [
            Fir(padding=(kernel_size + 1) // 2),
            EqualConv2d(channels_in, channels_out, kernel_size, stride=2, padding=0),
        ]
    else:
        padding = kernel_size // 2
        layers += [EqualConv2d(channels_in, channels_out, kernel_size, stride=1, padding=padding)]
    if activate:
        layers += [BiasedLeakyReLU(channels_out)]
    return nn.Sequential(*layers)
