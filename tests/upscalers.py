"""Small networks with seeded weights, in the layout of the published upscalers."""

import numpy as np
import skimage
import torch
from torch import Tensor

from model import torchvision_compat  # noqa: F401  (before basicsr)

from basicsr.archs.rrdbnet_arch import RRDBNet  # isort: skip


def seeded_rrdbnet(
    scale: int, *, num_feat: int = 8, num_block: int = 2, num_grow_ch: int = 4, seed: int = 0
) -> RRDBNet:
    """With a trunk that matters and looks far, and pictures for results: from 0 to 1, and grey in
    the mean."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = RRDBNet(
            3, 3, scale=scale, num_feat=num_feat, num_block=num_block, num_grow_ch=num_grow_ch
        )
    network.eval().requires_grad_(False)
    for name, value in network.body.named_parameters():
        value.mul_(8 if name.endswith("weight") else 1)
    photo = np.ascontiguousarray(skimage.data.astronaut()[64:128, 192:256])
    picture = network(torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255)
    last = network.conv_last
    spread = 0.2 / picture.std((0, 2, 3))
    last.weight.mul_(spread.view(3, 1, 1, 1))
    last.bias.copy_((last.bias - picture.mean((0, 2, 3))) * spread + 0.5)
    return network


def state_of(network: RRDBNet) -> dict[str, Tensor]:
    state: dict[str, Tensor] = network.state_dict()
    return state
