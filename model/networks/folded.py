"""The generator for inference: the same function, with constants folded and plain operators.

:class:`FullGenerator` is written for training: each forward pass scales weights, sums their
squares, and filters through an autograd function.  Here weights are scaled and squares summed once,
and only operators remain that graph compilers know and fuse.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.networks.fir import Fir
from model.networks.generator import FullGenerator, StyledConv, ToRGB
from model.networks.layers import LEAKY_GAIN, Bias, ConvBlock, EqualConv2d, EqualLinear

_EPS = 1e-8


def _leaky_relu(x: Tensor) -> Tensor:
    """The activation without StyleGAN2's gain, which is folded into the weights before it."""
    return F.leaky_relu(x, 0.2)


class _Constants(nn.Module):
    """A module whose weights are buffers: contiguous copies that do not share memory."""

    def hold(self, **tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().clone().contiguous())


class FoldedLinear(_Constants):
    """:class:`EqualLinear` times ``gain``: (N, F_in) -> (N, F_out)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: EqualLinear, gain: float = 1.0) -> None:
        super().__init__()
        self.activate = layer.activate
        gain *= LEAKY_GAIN if layer.activate else 1.0
        self.hold(
            weight=layer.weight * (layer.scale * gain), bias=layer.bias * (layer.lr_mul * gain)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(x, self.weight, self.bias)
        return _leaky_relu(x) if self.activate else x


class FoldedFir(_Constants):
    """:class:`Fir` for a known number of channels."""

    kernel: Tensor

    def __init__(self, fir: Fir, channels: int) -> None:
        super().__init__()
        self.padding, self.stride, self.channels = fir.padding, fir.stride, channels
        self.hold(kernel=fir.kernel.expand(channels, 1, -1, -1))

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype)
        return F.conv2d(x, kernel, None, self.stride, self.padding, groups=self.channels)


class FoldedConvBlock(_Constants):
    """The encoder's :class:`ConvBlock`: (N, C_in, R, R) -> (N, C_out, R, R), or R/2."""

    weight: Tensor
    bias: Tensor

    def __init__(self, block: ConvBlock) -> None:
        super().__init__()
        conv, bias = block[-2], block[-1]
        assert isinstance(conv, EqualConv2d)
        assert isinstance(bias, Bias)
        self.stride, self.padding = conv.stride, conv.padding
        channels_in = conv.weight.shape[1]
        filters = (FoldedFir(layer, channels_in) for layer in block if isinstance(layer, Fir))
        self.filter = nn.Sequential(*filters)
        self.hold(weight=conv.weight * (conv.scale * LEAKY_GAIN), bias=bias.bias * LEAKY_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return _leaky_relu(F.conv2d(self.filter(x), weight, bias, self.stride, self.padding))


class FoldedStyledConv(_Constants):
    """:class:`StyledConv`: x (N, C_in, R, R), w, feature (N, C, R', R') -> (N, 2C, R', R')."""

    weight: Tensor
    energy: Tensor
    bias: Tensor
    feature_bias: Tensor

    def __init__(self, layer: StyledConv) -> None:
        super().__init__()
        conv = layer.conv
        weight = conv.weight[0]  # (C, C_in, 3, 3)
        bias = (layer.activate.bias * LEAKY_GAIN).view(1, -1, 1, 1)
        channels = weight.shape[0]
        self.modulation = FoldedLinear(conv.modulation, gain=conv.scale)
        self.blur = None if conv.blur is None else FoldedFir(conv.blur, channels)
        self.injection = layer.noise.weight.item() * LEAKY_GAIN
        self.hold(
            weight=weight if conv.blur is None else weight.transpose(0, 1),
            energy=weight.square().sum(dim=(2, 3)),
            bias=bias[:, :channels],
            feature_bias=bias[:, channels:],
        )

    def forward(self, x: Tensor, w: Tensor, feature: Tensor) -> Tensor:
        s = self.modulation(w)  # (N, C_in)
        norm = torch.rsqrt(F.linear(s * s, self.energy) + _EPS) * LEAKY_GAIN  # (N, C)
        weight = self.weight.to(x.dtype)
        x = x * s[:, :, None, None].to(x.dtype)
        if self.blur is None:
            x = F.conv2d(x, weight, padding=1)
        else:
            x = self.blur(F.conv_transpose2d(x, weight, stride=2))
        x = x * norm[:, :, None, None].to(x.dtype) + self.bias.to(x.dtype)
        feature = feature * self.injection + self.feature_bias.to(x.dtype)
        return torch.cat([_leaky_relu(x), _leaky_relu(feature)], dim=1)


class FoldedToRGB(_Constants):
    """:class:`ToRGB`: x (N, C, R, R), style w, RGB (N, 3, R/2, R/2) below -> (N, 3, R, R)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: ToRGB) -> None:
        super().__init__()
        conv = layer.conv
        self.modulation = FoldedLinear(conv.modulation, gain=conv.scale)
        self.hold(weight=conv.weight[0], bias=layer.bias.flatten())
        if layer.upsample is not None:
            self.hold(kernel=layer.upsample.kernel.expand(3, 1, -1, -1))

    def forward(self, x: Tensor, w: Tensor, below: Tensor | None) -> Tensor:
        s = self.modulation(w)  # (N, C)
        x = x * s[:, :, None, None].to(x.dtype)
        rgb = F.conv2d(x, self.weight.to(x.dtype), self.bias.to(x.dtype)).float()
        if below is not None:  # a sum over all resolutions, which needs float32
            kernel = self.get_buffer("kernel").float()
            rgb = rgb + F.conv_transpose2d(below, kernel, stride=2, padding=1, groups=3)
        return rgb


class FoldedGenerator(_Constants):
    """The function of a :class:`FullGenerator`, equal to 1e-5 of its range.

    Called with (N, 3, size, size) RGB in [-1, 1]; returns the same shape in float32.  Features are
    computed in ``precision``.  Styles and their norms, which overflow in float16, and the sum of
    the RGB outputs are always float32.
    """

    constant: Tensor

    def __init__(self, generator: FullGenerator, precision: torch.dtype = torch.float32) -> None:
        super().__init__()
        prior = generator.generator
        self.size = generator.size
        self.precision = precision
        self.encoder = nn.ModuleList(
            FoldedConvBlock(cast(ConvBlock, generator.get_submodule(f"ecd{i}.0")))
            for i in range(generator.depth)
        )
        self.to_z = FoldedLinear(cast(EqualLinear, generator.final_linear[0]))
        self.mapping = nn.Sequential(
            *(FoldedLinear(layer) for layer in prior.style if isinstance(layer, EqualLinear))
        )
        self.convs = nn.ModuleList(map(FoldedStyledConv, (prior.conv1, *prior.convs)))
        self.to_rgbs = nn.ModuleList(map(FoldedToRGB, (prior.to_rgb1, *prior.to_rgbs)))
        self.hold(constant=prior.input.input)
        for module in (*self.encoder, *self.convs, *self.to_rgbs):
            module.weight = module.weight.to(precision, memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.precision, memory_format=torch.channels_last)
        features = []
        for block in self.encoder:
            x = block(x)  # (N, C(r), r, r), r = size, size / 2, ... 4
            features.append(x)
        z = self.to_z(x.float().flatten(1))
        w = self.mapping(z * torch.rsqrt((z * z).mean(dim=1, keepdim=True) + _EPS))
        x = self.constant.to(x.dtype)
        rgb: Tensor | None = None
        for i, to_rgb in enumerate(self.to_rgbs):
            feature = features.pop()  # (N, C(r), r, r), r = 4 << i
            for conv in self.convs[max(0, 2 * i - 1) : 2 * i + 1]:
                x = conv(x, w, feature)  # (N, 2 C(r), r, r)
            rgb = to_rgb(x, w, rgb)  # (N, 3, r, r)
        assert rgb is not None
        return rgb
