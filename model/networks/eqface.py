"""EQFace (Liu and Tan, CVPR Workshops 2021): the features of a face, and their quality.

The layers and their names are those of deepcam-cn/FaceQuality, models/model_resnet.py (MIT).
ModelScope's portrait enhancement model includes its checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

FACE_SIZE = 112
"""Width and height of the input, in pixels."""
_FEATURES = 512
_CHANNELS = (64, 64, 128, 256, 512)
_BLOCKS = (3, 13, 30, 3)
_FLAT = _CHANNELS[-1] * (FACE_SIZE // 2 ** len(_BLOCKS)) ** 2


class Block(nn.Module):
    """A residual block, which halves width and height if ``stride`` is 2."""

    def __init__(self, below: int, channels: int, stride: int) -> None:
        super().__init__()
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(below),
            nn.Conv2d(below, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut_layer: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(below, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.shortcut_layer(x) + self.res_layer(x)
        return total


class Backbone(nn.Module):
    """(N, 3, 112, 112) RGB, about [-1, 1] -> features (N, 512), and the flat maps before them."""

    def __init__(self) -> None:
        super().__init__()
        first = _CHANNELS[0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first)
        )
        for i, blocks in enumerate(_BLOCKS):
            below, channels = _CHANNELS[i], _CHANNELS[i + 1]
            layer = [Block(below, channels, 2)]
            layer += [Block(channels, channels, 1) for _ in range(1, blocks)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*layer))
        # Dropout does nothing in evaluation mode, but it keeps the layers' numbers
        self.output_layer = nn.Sequential(nn.BatchNorm2d(_CHANNELS[-1]), nn.Dropout(), nn.Flatten())
        self.feature_layer = nn.Sequential(nn.Linear(_FLAT, _FEATURES), nn.BatchNorm1d(_FEATURES))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.input_layer(x)
        for i in range(len(_BLOCKS)):
            x = self.get_submodule(f"layer{i + 1}")(x)
        x = self.output_layer(x)
        return self.feature_layer(x), x


class Quality(nn.Module):
    """The backbone's second output -> quality, (N,) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.qualtiy = nn.Sequential(  # as the checkpoint spells it
            nn.Linear(_FLAT, 512, bias=False),
            nn.BatchNorm1d(512),
            nn.ReLU(),
            nn.Linear(512, 2, bias=False),
            nn.Softmax(dim=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.qualtiy(x)
        return scores[:, 0]


class FaceQuality(nn.Module):
    """(N, 3, 112, 112) RGB in [0, 255] -> features (N, 512) and quality (N,) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.quality = Quality()

    def load(self, backbone: Mapping[str, Tensor], quality: Mapping[str, Tensor]) -> None:
        """Load the published state dicts, whose keys may start with ``module.``.

        Unknown keys are ignored, as in the published code.  Raises RuntimeError if a key is
        missing.
        """
        for network, state in ((self.backbone, backbone), (self.quality, quality)):
            weights = {key.removeprefix("module."): value for key, value in state.items()}
            missing = network.load_state_dict(weights, strict=False).missing_keys
            if missing:
                raise RuntimeError(f"{missing[0]} and {len(missing) - 1} more are missing")

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        features, flat = self.backbone((faces - 127.5) / 128)
        return features.float(), self.quality(flat).float()
