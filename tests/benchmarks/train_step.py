"""``python -m tests.benchmarks.train_step``: a step of training, against the published networks.

Both take the steps of ``model.steps`` from the same weights on the same pictures, by turns in one
run.  The published networks are those of rosinality/stylegan2-pytorch, which yangxy/GPEN builds on,
as they compute on a processor: a weight per sample, the batch as groups of one convolution,
``upfirdn2d`` in native PyTorch, bias and activation one after the other, in float32.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import Config
from model.loading import Batch
from model.networks.discriminator import ResidualBlock
from model.networks.fir import Fir, FirUpsample
from model.networks.generator import StyledConv, ToRGB
from model.networks.layers import (
    Bias,
    ConvBlock,
    EqualConv2d,
    EqualLinear,
    ModulatedConv2d,
    ModulatedPointwise,
)
from model.objectives import Setup
from model.state import TrainingState
from model.steps import joint_step

Precision = Literal["fp32", "bf16"]

SIZE, BATCH_SIZE = 256, 4
NETWORK = {"channel_multiplier": 1, "narrow": 0.5}  # GPEN-BFR-256
TOLERANCE = 1e-4  # relative


def upfirdn2d(x: Tensor, kernel: Tensor, up: int, pad: tuple[int, int]) -> Tensor:
    """``upfirdn2d_native`` without downsampling: insert zeros, pad, filter."""
    n, channels, height, width = x.shape
    x = x.reshape(n * channels, height, 1, width, 1, 1)
    x = F.pad(x, (0, 0, 0, up - 1, 0, 0, 0, up - 1))
    x = x.view(n * channels, height * up, width * up, 1)
    x = F.pad(x, (0, 0, *pad, *pad)).permute(0, 3, 1, 2)
    x = F.conv2d(x, torch.flip(kernel, (0, 1))[None, None])
    return x.view(n, channels, *x.shape[-2:])


def fused_leaky_relu(x: Tensor, bias: Tensor) -> Tensor:
    """Fused on CUDA only."""
    return F.leaky_relu(x + bias.view(1, -1, *(1,) * (x.ndim - 2)), 0.2) * 2**0.5


def fir(self: Fir, x: Tensor) -> Tensor:
    return upfirdn2d(x, self.kernel, 1, (self.padding, self.padding))


def fir_upsample(self: FirUpsample, x: Tensor) -> Tensor:
    return upfirdn2d(x, self.kernel, 2, (2, 1))


def equal_linear(self: EqualLinear, x: Tensor) -> Tensor:
    x, bias = F.linear(x, self.weight * self.scale), self.bias * self.lr_mul
    return fused_leaky_relu(x, bias) if self.activate else x + bias


def conv_block(self: ConvBlock, x: Tensor) -> Tensor:
    """``ConvLayer``; the filter computes every pixel, and the convolution has the stride."""
    x = x.contiguous()  # channels before rows and columns
    stride = 1
    for layer in self:
        if isinstance(layer, Fir):
            stride = 2
            x = layer(x)
        elif isinstance(layer, EqualConv2d):
            x = F.conv2d(x, layer.weight * layer.scale, stride=stride, padding=layer.padding)
        elif isinstance(layer, Bias):
            x = fused_leaky_relu(x, layer.bias)
    return x


def residual_block(self: ResidualBlock, x: Tensor) -> Tensor:
    y: Tensor = (self.conv2(self.conv1(x)) + self.skip(x)) / 2**0.5
    return y


def modulated_conv(
    layer: ModulatedConv2d | ModulatedPointwise, x: Tensor, style: Tensor, *, demodulate: bool
) -> Tensor:
    """``ModulatedConv2d``."""
    n, channels_in, height, width = x.shape
    channels_out, taps = layer.weight.shape[1], layer.weight.shape[-1]
    s = layer.modulation(style).view(n, 1, channels_in, 1, 1)
    weight = layer.scale * layer.weight * s  # (N, C_out, C_in, k, k)
    if demodulate:
        weight = weight * torch.rsqrt(weight.pow(2).sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, n * channels_in, height, width)
    if isinstance(layer, ModulatedConv2d) and layer.blur is not None:
        weight = weight.transpose(1, 2).reshape(n * channels_in, channels_out, taps, taps)
        x = F.conv_transpose2d(x, weight, stride=2, groups=n)
        x = x.view(n, channels_out, *x.shape[-2:])
        return layer.blur.forward(x)
    weight = weight.view(n * channels_out, channels_in, taps, taps)
    x = F.conv2d(x, weight, padding=taps // 2, groups=n)
    return x.view(n, channels_out, height, width)


def styled_conv(self: StyledConv, x: Tensor, style: Tensor, feature: Tensor) -> Tensor:
    x = modulated_conv(self.conv, x, style, demodulate=True)
    x = torch.cat([x, self.noise.weight * feature], dim=1)
    return fused_leaky_relu(x, self.activate.bias)


def to_rgb(self: ToRGB, x: Tensor, style: Tensor, skip: Tensor | None = None) -> Tensor:
    rgb = modulated_conv(self.conv, x, style, demodulate=False) + self.bias
    return rgb if skip is None or self.upsample is None else rgb + self.upsample(skip)


PUBLISHED: dict[type[nn.Module], Callable[..., Tensor]] = {
    Fir: fir,
    FirUpsample: fir_upsample,
    EqualLinear: equal_linear,
    ConvBlock: conv_block,
    ResidualBlock: residual_block,
    StyledConv: styled_conv,
    ToRGB: to_rgb,
}


def publish(network: nn.Module) -> None:
    """Have a network compute as the published one does."""
    for module in network.modules():
        if type(module) in PUBLISHED:
            module.forward = MethodType(PUBLISHED[type(module)], module)


@dataclass
class Contestant:
    """A training run to take steps of."""

    state: TrainingState
    setup: Setup

    @classmethod
    def fresh(cls, precision: Precision) -> Contestant:
        train = {"num_epochs": 1, "batch_size": BATCH_SIZE, "img_size": SIZE}
        config = Config.model_validate(
            {"train": train | {"precision": precision}, "network": NETWORK}
        )
        state = TrainingState.fresh(config)
        shake(state.generator)
        shake(state.discriminator)
        return cls(state, Setup(config.train, 1, state.generator))

    def step(self, batch: Batch, *, r1: bool) -> dict[str, Tensor]:
        """A joint step from where the last one arrived."""
        self.state.step = 0 if r1 else 1
        return joint_step(self.state, [batch], self.setup, train_g=True)

    def time(self, batch: Batch, *, r1: bool) -> float:
        start = time.perf_counter()
        self.step(batch, r1=r1)
        return time.perf_counter() - start


@torch.no_grad()
def shake(network: nn.Module) -> None:
    """Move weights from where they start, which is too simple: G returns its input."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


def assert_same(ours: Contestant, published: Contestant, batch: Batch) -> None:
    """Both compute the same: pictures, logits, and losses and gradients of D with R1."""
    with torch.no_grad():
        restored = ours.state.generator(batch.low)
        assert_close(restored, published.state.generator(batch.low))
        logits = ours.state.discriminator(restored)
        assert_close(logits, published.state.discriminator(restored))
    one, other = (
        copy.deepcopy(contestant).step(batch, r1=True) for contestant in (ours, published)
    )
    for name in ("d", "gradient_penalty", "grad_norm_d"):
        assert_close(one[name], other[name])


def assert_close(ours: Tensor, published: Tensor) -> None:
    scale = published.square().mean().sqrt().item()
    torch.testing.assert_close(ours, published, rtol=TOLERANCE, atol=TOLERANCE * scale)


def measure(batch: Batch, runs: int) -> dict[tuple[str, bool], float]:
    """Median seconds of a step; keys: whose, and whether with R1."""
    published = Contestant.fresh("fp32")
    publish(published.state.generator)
    publish(published.state.discriminator)
    contestants = {"published": published, "fp32": Contestant.fresh("fp32")}
    assert_same(contestants["fp32"], published, batch)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        contestants["bf16"] = Contestant.fresh("bf16")
    times: dict[tuple[str, bool], list[float]] = {}
    for run in range(runs + 1):
        for r1 in (False, True):
            for name, contestant in contestants.items():
                seconds = contestant.time(batch, r1=r1)
                if run > 0:  # the first one warms up
                    times.setdefault((name, r1), []).append(seconds)
    return {key: statistics.median(values) for key, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    low, high = torch.rand(2, BATCH_SIZE, 3, SIZE, SIZE, generator=generator) * 2 - 1
    medians = measure(Batch(low, high), options.runs)
    interval = Config.model_validate({"train": {"num_epochs": 1}}).train.gp_interval
    plain, with_r1 = medians["published", False], medians["published", True]
    sys.stdout.write(f"published: step {plain:.2f} s, step with R1 {with_r1:.2f} s\n")
    for name in ("fp32", "bf16"):
        if (name, False) not in medians:
            continue
        ours, ours_r1 = medians[name, False], medians[name, True]
        mixed = ((interval - 1) * plain + with_r1) / ((interval - 1) * ours + ours_r1)
        sys.stdout.write(
            f"ours, {name}: step {ours:.2f} s, ratio {plain / ours:.1f}; "
            f"step with R1 {ours_r1:.2f} s, ratio {with_r1 / ours_r1:.1f}; "
            f"R1 in one of {interval}, ratio {mixed:.1f}\n"
        )


if __name__ == "__main__":
    main()
