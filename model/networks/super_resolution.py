"""RRDBNet, the network of ESRGAN, Real-ESRGAN and RealESRNet: loading and running it.

Wang et al., *ESRGAN*, ECCVW 2018; *Real-ESRGAN*, ICCVW 2021.  The network is basicsr's.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.state_dicts import WeightsError, read_tensors

if TYPE_CHECKING:
    from basicsr.archs.rrdbnet_arch import RRDBNet

Margins = tuple[int, int, int, int]
"""Pixels above, below, left and right of the part that is enlarged."""

_INNER = 4  # the network always enlarges by 4; one for 2 first folds 2x2 pixels into channels
_FOLDS = {3: 1, 12: 2}  # channels of the first convolution -> side of the folded blocks, in pixels
_CONTEXT = 2  # features around a feature that the last four convolutions see
_ROWS = 64  # rows of features that are enlarged at a time, since the result is 16 times as large


class SuperResolution(nn.Module):
    """An RRDBNet whose trunk, nine tenths of the work, may be computed in another precision.

    The rest stays in float32, because it carries the picture, to which the trunk adds detail.
    Measured with RealESRGAN_x4plus: bfloat16 takes 0.6 of the time on a processor with instructions
    for it, and its pictures have a PSNR of 60 dB against those of float32.
    """

    def __init__(self, network: RRDBNet, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = network
        self.network.body.to(dtype)
        self.dtype = dtype
        self.scale = int(network.scale)
        self.fold = _INNER // self.scale
        """Side of a feature in pixels.  Sides of pictures must be multiples of it."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, x: Tensor, margins: Margins = (0, 0, 0, 0)) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] -> (N, 3, scale * h, scale * w), about in [0, 1].

        h and w are H and W without the margins, which give context but are not enlarged.  H, W and
        the margins must be multiples of ``fold``.
        """
        features = self._features(x)
        height, width = features.shape[2:]
        top, bottom, left, right = (margin // self.fold for margin in margins)
        x0, x1 = max(0, left - _CONTEXT), min(width, width - right + _CONTEXT)
        parts = []
        for start in range(top, height - bottom, _ROWS):
            end = min(start + _ROWS, height - bottom)
            y0, y1 = max(0, start - _CONTEXT), min(height, end + _CONTEXT)
            part = self._picture(features[:, :, y0:y1, x0:x1])
            parts.append(
                part[
                    :,
                    :,
                    _INNER * (start - y0) : _INNER * (end - y0),
                    _INNER * (left - x0) : _INNER * (width - right - x0),
                ]
            )
        return torch.cat(parts, dim=2)

    def _features(self, x: Tensor) -> Tensor:
        network = self.network
        features = network.conv_first(F.pixel_unshuffle(x, self.fold))
        detail = network.body(features.to(self.dtype)).to(features.dtype)
        detailed: Tensor = features + network.conv_body(detail)
        return detailed

    def _picture(self, features: Tensor) -> Tensor:
        network = self.network
        for convolution in (network.conv_up1, network.conv_up2):
            features = network.lrelu(convolution(F.interpolate(features, scale_factor=2.0)))
        picture: Tensor = network.conv_last(network.lrelu(network.conv_hr(features)))
        return picture


def load_super_resolution(path: Path, dtype: torch.dtype = torch.float32) -> SuperResolution:
    """Load a network onto the CPU, in evaluation mode and without gradients.

    The file holds a plain state dict, or one under ``params_ema`` or ``params``, as published.  The
    scale and the numbers of channels and blocks are deduced from it.  Raises WeightsError.
    """
    # imported here because it takes a second or two, which most users need not wait
    from model import torchvision_compat  # noqa: F401, PLC0415  (before basicsr)

    from basicsr.archs.rrdbnet_arch import RRDBNet  # noqa: PLC0415  # isort: skip

    state = read_tensors(path)
    try:
        network = RRDBNet(3, 3, **_architecture(state))
        network.load_state_dict({key: value.float() for key, value in state.items()})
    except (KeyError, ValueError, RuntimeError) as error:
        reason = textwrap.shorten(str(error), 300)
        raise WeightsError(f"{path} does not hold an RRDBNet: {reason}") from error
    network.to(memory_format=torch.channels_last)  # measured on a CPU: a sixth less time
    return SuperResolution(network, dtype).eval().requires_grad_(False)


def _architecture(state: Mapping[str, Tensor]) -> dict[str, int]:
    """RRDBNet's arguments, deduced from its state dict.  Raises KeyError or ValueError."""
    num_feat, channels = state["conv_first.weight"].shape[:2]
    if channels not in _FOLDS:
        raise ValueError(f"its first convolution has {channels} channels, not 3 or 12")
    blocks = {match[1] for key in state if (match := re.match(r"body\.(\d+)\.", key))}
    return {
        "scale": _INNER // _FOLDS[channels],
        "num_feat": num_feat,
        "num_block": len(blocks),
        "num_grow_ch": state["body.0.rdb1.conv1.weight"].shape[0],
    }
