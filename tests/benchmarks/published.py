"""The published formulation of a training step, as plain PyTorch computes it on a processor.

What yangxy/GPEN's ``train_simple.py`` does, which follows rosinality/stylegan2-pytorch:

- NCHW throughout, and float32; a modulated weight per sample, the batch as groups of one
  convolution; bias and activation one after the other, by autograd's own derivatives;
- ``upfirdn2d`` by its native form, which is what runs on a processor: it filters every pixel, and
  has channels last for padding and first again for filtering (``face_model/op/upfirdn2d.py``);
- G runs twice a step: without a graph for D's update, and anew for its own; D judges restored and
  real faces in calls of their own;
- R1 is a backward pass of its own through one more D(real), by ``autograd.grad`` with
  ``create_graph``; each network's gradients are off while the other one learns;
- the moving average follows in a loop over named parameters.

Where the published code is of another opinion, it takes ours, so that both compute the same: the
losses and their weights, one update of D for logistic loss and R1, AdamW, clipping.  Neither
augments what D sees.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.networks.discriminator import Discriminator, ResidualBlock
from model.networks.fir import Fir, FirUpsample
from model.networks.generator import ConstantInput, FullGenerator, StyledConv, ToRGB
from model.networks.layers import (
    Bias,
    ConvBlock,
    EqualConv2d,
    EqualLinear,
    ModulatedConv2d,
    ModulatedPointwise,
)
from model.training import losses
from model.training.config import TrainConfig
from model.training.loading import Batch
from model.training.state import TrainingState


def upfirdn2d(x: Tensor, kernel: Tensor, up: int, pad: tuple[int, int]) -> Tensor:
    """``upfirdn2d_native`` of GPEN, without downsampling: insert zeros, pad, filter.

    Channels go last for the first two, and back for the third, each time by a copy.
    """
    n, channels, height, width = x.shape
    x = x.permute(0, 2, 3, 1).view(n, height, 1, width, 1, channels)
    x = F.pad(x, (0, 0, 0, up - 1, 0, 0, 0, up - 1))
    x = x.view(n, height * up, width * up, channels)
    x = F.pad(x, (0, 0, *pad, *pad)).permute(0, 3, 1, 2)
    x = x.reshape(n * channels, 1, *x.shape[-2:])
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
    stride = 1
    for layer in self:
        if isinstance(layer, Fir):
            stride = 2
            x = fir(layer, x)
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
        return fir(layer.blur, x)
    weight = weight.view(n * channels_out, channels_in, taps, taps)
    x = F.conv2d(x, weight, padding=taps // 2, groups=n)
    return x.view(n, channels_out, height, width)


def constant_input(self: ConstantInput, batch: int) -> Tensor:
    return self.input.repeat(batch, 1, 1, 1)


def styled_conv(self: StyledConv, x: Tensor, style: Tensor, feature: Tensor) -> Tensor:
    x = modulated_conv(self.conv, x, style, demodulate=True)
    x = torch.cat([x, self.noise.weight * feature], dim=1)
    return fused_leaky_relu(x, self.activate.bias)


def to_rgb(self: ToRGB, x: Tensor, style: Tensor, skip: Tensor | None = None) -> Tensor:
    rgb = modulated_conv(self.conv, x, style, demodulate=False) + self.bias
    return rgb if skip is None or self.upsample is None else rgb + self.upsample(skip)


def generator(self: FullGenerator, x: Tensor) -> Tensor:
    features = []
    for i in range(self.depth):
        x = self.get_submodule(f"ecd{i}")(x)
        features.append(x)
    z = self.final_linear(x.view(x.shape[0], -1))
    y: Tensor = self.generator(z, features[::-1])
    return y


def discriminator_features(self: Discriminator, x: Tensor) -> list[Tensor]:
    outputs = []
    for block in self.convs:
        x = block(x)
        outputs.append(x)
    return outputs


PUBLISHED: dict[type[nn.Module], tuple[str, Callable[..., object]]] = {
    FirUpsample: ("forward", fir_upsample),
    EqualLinear: ("forward", equal_linear),
    ConvBlock: ("forward", conv_block),
    ResidualBlock: ("forward", residual_block),
    ConstantInput: ("forward", constant_input),
    StyledConv: ("forward", styled_conv),
    ToRGB: ("forward", to_rgb),
    FullGenerator: ("forward", generator),
    Discriminator: ("features", discriminator_features),
}


def publish(network: nn.Module) -> None:
    """Have a network compute as the published one does."""
    for module in network.modules():
        if type(module) in PUBLISHED:
            name, method = PUBLISHED[type(module)]
            setattr(module, name, MethodType(method, module))


def joint_step(
    state: TrainingState, batch: Batch, config: TrainConfig, *, r1: bool
) -> dict[str, Tensor]:
    """One update of D, one of G."""
    g, d = state.generator, state.discriminator
    assert isinstance(d, Discriminator)
    g.requires_grad_(False)
    d.requires_grad_(True)
    fake_logits = d(g(batch.low))
    loss_d = losses.discriminator_loss(d(batch.high), fake_logits)
    d.zero_grad()
    loss_d.backward()  # type: ignore[no-untyped-call]
    report = {"d": loss_d.detach()}
    if r1:
        real = batch.high.detach().requires_grad_(True)
        penalty = losses.gradient_penalty(d(real), real)
        (config.r1_weight / 2 * penalty * config.gp_interval).backward()  # type: ignore[no-untyped-call]
        report["gradient_penalty"] = penalty.detach()
    report["grad_norm_d"] = nn.utils.clip_grad_norm_(d.parameters(), config.clip_grad_norm)
    state.optimizer_d.step()

    g.requires_grad_(True)
    d.requires_grad_(False)
    restored = g(batch.low)
    features = d.features(restored)
    weights = config.losses
    loss_g = (
        weights.content * losses.content_loss(restored, batch.high)
        + weights.detail * losses.detail_loss(restored, batch.high)
        + weights.adversarial * losses.generator_loss(d.score(features))
        + weights.feature_matching * losses.feature_matching_loss(features, d.features(batch.high))
    )
    g.zero_grad()
    loss_g.backward()  # type: ignore[no-untyped-call]
    report["grad_norm_g"] = nn.utils.clip_grad_norm_(g.parameters(), config.clip_grad_norm)
    state.optimizer_g.step()
    return report


def accumulate(average: nn.Module, network: nn.Module, decay: float) -> None:
    """The moving average."""
    averages, values = dict(average.named_parameters()), dict(network.named_parameters())
    for name, parameter in averages.items():
        parameter.data.mul_(decay).add_(values[name].data, alpha=1 - decay)
