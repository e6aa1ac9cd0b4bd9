"""How a generator starts when there are no weights to start from."""

from __future__ import annotations

import math

import torch

from model.networks import FullGenerator
from model.networks.generator import ToRGB
from model.networks.layers import EqualConv2d, FeatureInjection


@torch.no_grad()
def start_as_identity(generator: FullGenerator) -> None:
    """Change a fresh generator so that it returns its input, and learns the difference from there.

    The first encoder layer carries +RGB and -RGB in six channels through the last injection, whose
    to-RGB layer subtracts one from the other; every other to-RGB weight is zero.  Two biased leaky
    ReLUs (gain sqrt 2, slope 0.2) lie between: x > 0 gives 2x - (-0.08x) = 2.08x, and so does
    x < 0.  Injection weights start at 1 (at the published 0, encoder features are hidden at first).
    Needs at least six channels at full resolution; raises ValueError otherwise.
    """
    first = next(m for m in generator.ecd0.modules() if isinstance(m, EqualConv2d))
    channels = first.weight.shape[0]
    if channels < 6:
        raise ValueError(f"six channels are needed at full resolution, this has {channels}")
    for module in generator.modules():
        if isinstance(module, FeatureInjection):
            module.weight.fill_(1)
    to_rgbs = [module for module in generator.modules() if isinstance(module, ToRGB)]
    for to_rgb in to_rgbs:
        to_rgb.conv.weight.zero_()
    first.weight[:6] = torch.cat([torch.eye(3), -torch.eye(3)])[:, :, None, None] / first.scale

    last = to_rgbs[-1].conv
    last.modulation.weight.zero_()  # style 1 whatever the latent
    gain = math.sqrt(2) ** 2 * (1 + 0.2**2)
    for rgb in range(3):
        last.weight[0, rgb, channels + rgb] = 1 / (gain * last.scale)
        last.weight[0, rgb, channels + 3 + rgb] = -1 / (gain * last.scale)
