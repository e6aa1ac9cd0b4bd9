"""Initialising a generator that is trained from scratch."""

from __future__ import annotations

import math

import torch

from model.networks import FullGenerator
from model.networks.generator import ToRGB
from model.networks.layers import EqualConv2d, FeatureInjection


@torch.no_grad()
def start_as_identity(generator: FullGenerator) -> None:
    """Make a freshly constructed generator return its input, so that it learns only the difference.

    The first encoder layer carries +RGB and -RGB in six channels, which the last injection passes
    on.  The last to-RGB layer subtracts one from the other; all other to-RGB weights are zero.  In
    between are two leaky ReLUs (gain sqrt 2, slope 0.2), so that x becomes 2x - (-0.08x) = 2.08x
    for x > 0, and the same for x < 0.  Injection weights start at 1; with the published 0, the
    encoder's features have no effect at first.  Raises ValueError with fewer than six channels at
    full resolution.
    """
    first = next(m for m in generator.ecd0.modules() if isinstance(m, EqualConv2d))
    channels = first.weight.shape[0]
    if channels < 6:
        raise ValueError(f"six channels are needed at full resolution, but there are {channels}")
    for module in generator.modules():
        if isinstance(module, FeatureInjection):
            module.weight.fill_(1)
    to_rgbs = [module for module in generator.modules() if isinstance(module, ToRGB)]
    for to_rgb in to_rgbs:
        to_rgb.conv.weight.zero_()
    first.weight[:6] = torch.cat([torch.eye(3), -torch.eye(3)])[:, :, None, None] / first.scale

    last = to_rgbs[-1].conv
    last.modulation.weight.zero_()  # the style is 1 for every latent
    gain = math.sqrt(2) ** 2 * (1 + 0.2**2)
    for rgb in range(3):
        last.weight[0, rgb, channels + rgb] = 1 / (gain * last.scale)
        last.weight[0, rgb, channels + 3 + rgb] = -1 / (gain * last.scale)
