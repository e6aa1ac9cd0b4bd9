"""Layers of the GPEN networks, as in StyleGAN2 (Karras et al., CVPR 2020).

Shapes: N batch, C channels, R resolution (height = width).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.networks.fir import Fir

SIZES = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)

_LEAKY_SLOPE = 0.2
LEAKY_GAIN = math.sqrt(2.0)  # keeps the variance of a unit normal through the activation
_EPS = 1e-8


def channels_at(resolution: int, channel_multiplier: int, narrow: float) -> int:
    """The number of feature channels C(r) at a resolution, a power of two from 4 to 2048."""
    if resolution <= 32:
        return int(512 * narrow)
    return int(16384 // resolution * channel_multiplier * narrow)


def check_size(size: int) -> None:
    """Raise ValueError unless ``size`` is in SIZES."""
    if size not in SIZES:
        raise ValueError(f"size must be a power of two from 8 to 2048, not {size}")


def leaky_relu_(x: Tensor) -> Tensor:
    """leaky_relu(x, 0.2), in place.

    StyleGAN2's activation is sqrt(2) * leaky_relu(x + bias, 0.2).  Since leaky_relu(g * x) is
    g * leaky_relu(x) for g > 0, the gain is applied to weights and biases, which are smaller.
    """
    return F.leaky_relu(x, _LEAKY_SLOPE, inplace=True)


class Bias(nn.Module):
    """Holds a bias per channel, which the layer before it adds."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))


class EqualConv2d(nn.Module):
    """A convolution whose weights are stored as N(0, 1) and scaled by 1/sqrt(fan in) when used."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel_size: int, stride: int, padding: int
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, kernel_size, kernel_size))
        self.scale = 1 / math.sqrt(channels_in * kernel_size**2)
        self.stride = stride
        self.padding = padding

    def forward(self, x: Tensor, bias: Tensor | None = None, gain: float = 1.0) -> Tensor:
        """(N, C_in, R, R) -> ``gain`` times the convolution, plus ``bias`` (C_out)."""
        weight = self.weight * (self.scale * gain)
        return F.conv2d(x, weight, bias, self.stride, self.padding)


class EqualLinear(nn.Module):
    """A linear layer with equalized learning rate (times ``lr_mul``) and optional activation."""

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
        gain = LEAKY_GAIN if self.activate else 1.0
        x = F.linear(x, self.weight * (self.scale * gain), self.bias * (self.lr_mul * gain))
        return leaky_relu_(x) if self.activate else x


class PixelNorm(nn.Module):
    """Scales each row of (N, C) to a root mean square of 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + _EPS)


class ModulatedConv2d(nn.Module):
    """A 3x3 convolution whose input channels are scaled by a style (StyleGAN2, section 2.2).

    Called with x (N, C_in, R, R) and style (N, style_dim); returns (N, C_out, R, R), or 2R when
    upsampling.  The published form builds one weight per sample and runs a grouped convolution.
    Scaling the activations before and after one shared convolution is the same function, and lets
    a batch share it.
    """

    def __init__(
        self, channels_in: int, channels_out: int, style_dim: int, *, upsample: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, channels_out, channels_in, 3, 3))
        self.modulation = EqualLinear(style_dim, channels_in, bias_init=1.0)
        self.scale = 1 / math.sqrt(channels_in * 9)
        self.blur = Fir(padding=1, gain=4.0) if upsample else None

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x, norm = self.unnormalised(x, style)
        return x * norm.to(x.dtype)

    def unnormalised(self, x: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """The unnormalised convolution, and its normalising factor (N, C_out, 1, 1)."""
        weight = self.weight[0]  # (C_out, C_in, 3, 3)
        s = self.modulation(style) * self.scale  # (N, C_in)
        x = x * s[:, :, None, None].to(x.dtype)
        if self.blur is None:
            x = F.conv2d(x, weight, padding=1)  # (N, C_out, R, R)
        else:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # (N, C_out, 2R+1, 2R+1)
            x = self.blur(x)  # (N, C_out, 2R, 2R)
        energy = weight.square().sum(dim=(2, 3))  # (C_out, C_in)
        norm = torch.rsqrt(F.linear(s.square(), energy) + _EPS)  # (N, C_out)
        return x, norm[:, :, None, None]


class ModulatedPointwise(nn.Module):
    """A 1x1 convolution whose input channels are scaled by a style, without normalisation.

    Called with x (N, C_in, R, R), style (N, style_dim) and bias (1, C_out, 1, 1); returns
    (N, C_out, R, R).  For few output channels: building a small weight per sample avoids a scaled
    copy of the activations.
    """

    def __init__(self, channels_in: int, channels_out: int, style_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, channels_out, channels_in, 1, 1))
        self.modulation = EqualLinear(style_dim, channels_in, bias_init=1.0)
        self.scale = 1 / math.sqrt(channels_in)

    def forward(self, x: Tensor, style: Tensor, bias: Tensor) -> Tensor:
        n, _, height, width = x.shape
        s = self.modulation(style) * self.scale  # (N, C_in)
        weight = s[:, :, None] * self.weight[0, :, :, 0, 0].T  # (N, C_in, C_out)
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # (N, R * R, C_in)
        y: Tensor = _Mix.apply(pixels, weight.to(x.dtype))  # type: ignore[no-untyped-call]
        y = y + bias.view(1, 1, -1).to(y.dtype)  # (N, R * R, C_out)
        return y.view(n, height, width, -1).permute(0, 3, 1, 2)


class _Mix(torch.autograd.Function):
    """Batched product of pixels (N, P, C_in) and weights (N, C_in, C_out).

    PyTorch computes the weights' gradient as the transposed pixels times the output's gradient.
    The rows of the transposed pixels are not contiguous; computing the transpose of the gradient
    instead is three times as fast.
    """

    @staticmethod
    def forward(pixels: Tensor, weight: Tensor) -> Tensor:
        return torch.bmm(pixels, weight)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ANN401
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        pixels, weight = ctx.saved_tensors
        of_weight = torch.bmm(gradient.transpose(1, 2), pixels).transpose(1, 2)
        return torch.bmm(gradient, weight.transpose(1, 2)), of_weight


class FeatureInjection(nn.Module):
    """Concatenates an encoder feature, where StyleGAN2 adds noise, and applies the activation.

    Called with x (N, C, R, R), the factor (N, C, 1, 1) that normalises it, a feature of x's shape,
    and the bias (2C); returns (N, 2C, R, R).
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, factor: Tensor, feature: Tensor, bias: Tensor) -> Tensor:
        x = torch.cat([x, feature], dim=1)
        factors = torch.cat([factor, self.weight.expand_as(factor)], dim=1) * LEAKY_GAIN
        bias = bias.view(1, -1, 1, 1) * LEAKY_GAIN
        return leaky_relu_(torch.addcmul(bias.to(x.dtype), x, factors.to(x.dtype)))


class ConvBlock(nn.Sequential):
    """[low-pass] -> convolution -> [bias and leaky ReLU], times ``gain``.

    (N, C_in, R, R) -> (N, C_out, R, R), or (N, C_out, R/2, R/2) with ``downsample``.  It is a
    sequence because the published state dicts number its layers.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel_size: int,
        *,
        downsample: bool = False,
        activate: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        stride, padding = 1, kernel_size // 2
        if downsample:
            # a 1x1 convolution needs only every other filtered pixel, so the filter has the stride
            fir_stride, stride, padding = (2, 1, 0) if kernel_size == 1 else (1, 2, 0)
            self.append(Fir((kernel_size + 1) // 2, stride=fir_stride))
        self.append(EqualConv2d(channels_in, channels_out, kernel_size, stride, padding))
        if activate:
            self.append(Bias(channels_out))
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        bias: Tensor | None = None
        gain = self.gain
        if isinstance(self[-1], Bias):
            gain *= LEAKY_GAIN
            bias = self[-1].bias * gain
        for layer in self:
            if isinstance(layer, Fir):
                x = layer(x)
            elif isinstance(layer, EqualConv2d):
                x = layer(x, bias, gain)
        return x if bias is None else leaky_relu_(x)
