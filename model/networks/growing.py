"""Growing a generator: initialising it from one of half its size.

C(r), the number of channels at a resolution, does not depend on a generator's size.  A generator of
2R px therefore contains all layers of one of R px, except for the encoder's first: the prior's
layers have the same names, and encoder layer i becomes layer i + 1.  The small encoder's first
layer, which takes RGB at R px, is replaced by the first two layers of the large one, set so that
together they apply it to the picture at half its size.  (Karras et al., "Progressive Growing of
GANs", ICLR 2018, fade layers in instead.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from model.networks.generator import FullGenerator

_RGB = 3
_ENCODER = "ecd"


def is_half_as_large(state: Mapping[str, Tensor], generator: FullGenerator) -> bool:
    """Whether a state dict is that of a generator of half this one's size."""
    depth = sum(key.startswith(_ENCODER) and key.endswith(".bias") for key in state)
    return depth > 0 and depth == generator.depth - 1


@torch.no_grad()
def grown(state: Mapping[str, Tensor], generator: FullGenerator) -> dict[str, Tensor]:
    """A state dict for ``generator``, initialised from that of a generator of half its size.

    With it, the generator returns the smaller one's result for the picture at half its size,
    enlarged, because the topmost to-RGB layer is zero.  The first encoder layer carries +RGB and
    -RGB in six channels.  After the activation, their difference is the picture times 1.2 sqrt 2
    (gain sqrt 2, slope 0.2), to which the second layer applies the smaller encoder's first layer.
    Raises KeyError for another kind of state dict.
    """
    larger = {key: value.clone() for key, value in generator.state_dict().items()}
    first, second = larger["ecd0.0.0.weight"], larger["ecd1.0.1.weight"]
    # (C(2R), 3, 1, 1) and (C(R), C(2R), 3, 3)
    scale = 1 / math.sqrt(_RGB)
    first[: 2 * _RGB] = torch.cat([torch.eye(_RGB), -torch.eye(_RGB)])[:, :, None, None] / scale
    larger["ecd0.0.1.bias"][: 2 * _RGB] = 0

    from_rgb = state["ecd0.0.0.weight"][:, :, 0, 0].float() * scale  # (C(R), 3), the scaled weight
    second.zero_()
    centre = from_rgb * math.sqrt(second.shape[1] * 9) / (1.2 * math.sqrt(2))
    second[:, :_RGB, 1, 1] = centre
    second[:, _RGB : 2 * _RGB, 1, 1] = -centre
    larger["ecd1.0.2.bias"] = state["ecd0.0.1.bias"]

    topmost = f"generator.to_rgbs.{generator.depth - 2}"
    larger[f"{topmost}.conv.weight"].zero_()
    larger[f"{topmost}.bias"].zero_()
    return larger | {
        _name_when_grown(key): value for key, value in state.items() if not key.startswith("ecd0.")
    }


def _name_when_grown(key: str) -> str:
    """``ecd1.…`` -> ``ecd2.…``; other names do not change."""
    if not key.startswith(_ENCODER):
        return key
    layer, rest = key.removeprefix(_ENCODER).split(".", 1)
    return f"{_ENCODER}{int(layer) + 1}.{rest}"
