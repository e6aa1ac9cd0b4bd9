"""Growing a generator: the weights of one of half the size as a beginning.

C(r), the number of channels at a resolution, does not depend on the size.  The layers of a network
of R px are therefore those of one of 2R px below its topmost resolution: its prior has the same
names there, and its encoder's layer i is the other's layer i + 1.  Only its first encoder layer,
which takes RGB at R px, has no place in the larger one; that one's first two layers are set so that
together they do the same to the picture at half its size (Karras et al., "Progressive Growing of
GANs", ICLR 2018, fade layers in instead).
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
    """Whether a state dict is that of a whole generator of half this one's size."""
    depth = sum(key.startswith(_ENCODER) and key.endswith(".bias") for key in state)
    return depth > 0 and depth == generator.depth - 1


@torch.no_grad()
def grown(state: Mapping[str, Tensor], generator: FullGenerator) -> dict[str, Tensor]:
    """State dict for ``generator`` in which the weights of one of half its size go on.

    With it, the generator returns what the smaller one makes of the picture at half its size,
    enlarged: the topmost to-RGB layer begins at zero.  The first encoder layer carries +RGB and
    -RGB through six channels, whose difference after the activation is the picture again, times
    1.2 sqrt 2 (gain sqrt 2, slope 0.2); the second takes it from there.  Raises KeyError for
    another kind of state dict.
    """
    larger = {key: value.clone() for key, value in generator.state_dict().items()}
    own_first = "ecd0.0.0.weight"  # (C(2R), 3, 1, 1)
    first, second = larger[own_first], larger["ecd1.0.1.weight"]  # the latter (C(R), C(2R), 3, 3)
    scale = 1 / math.sqrt(_RGB)
    first[: 2 * _RGB] = torch.cat([torch.eye(_RGB), -torch.eye(_RGB)])[:, :, None, None] / scale
    larger["ecd0.0.1.bias"][: 2 * _RGB] = 0

    from_rgb = state["ecd0.0.0.weight"][:, :, 0, 0].float() * scale  # (C(R), 3), as it is applied
    second.zero_()
    centre = from_rgb * math.sqrt(second.shape[1] * 9) / (1.2 * math.sqrt(2))
    second[:, :_RGB, 1, 1] = centre
    second[:, _RGB : 2 * _RGB, 1, 1] = -centre
    larger["ecd1.0.2.bias"] = state["ecd0.0.1.bias"]

    topmost = f"generator.to_rgbs.{generator.depth - 2}"
    larger[f"{topmost}.conv.weight"].zero_()
    larger[f"{topmost}.bias"].zero_()
    kept = {key: value for key, value in state.items() if not key.startswith("ecd0.")}
    return larger | {_name_when_grown(key): value for key, value in kept.items()}


def _name_when_grown(key: str) -> str:
    """``ecd1.…`` -> ``ecd2.…``; other names stay."""
    if not key.startswith(_ENCODER):
        return key
    layer, rest = key.removeprefix(_ENCODER).split(".", 1)
    return f"{_ENCODER}{int(layer) + 1}.{rest}"
