"""Distances between the features of pretrained networks: LPIPS, identity, and FID.

Their weights do not come with the project; each distance is measured if its file is given.
Pictures are (N, 3, R, R) RGB in [-1, 1]; LPIPS and identity are (N,).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model import torchvision_compat  # noqa: F401  (before facexlib and torchmetrics)
from model.checkpoints.named import weights_file
from model.evaluation.metrics import Distance
from model.state_dicts import WeightsError, read_tensors

import torchmetrics.functional.image  # isort: skip
from facexlib.recognition.arcface_arch import Backbone  # isort: skip
from torchmetrics.image.fid import FrechetInceptionDistance  # isort: skip

Fid = FrechetInceptionDistance

_EPS = 1e-8
_VGG_CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def load_distances(
    lpips_weights: Path | None, identity_weights: Path | None, device: torch.device
) -> dict[str, Distance]:
    """``lpips`` and ``identity``, if files, or names of them, are given.  Raises WeightsError."""
    distances: dict[str, Distance] = {}
    if lpips_weights is not None:
        distances["lpips"] = Lpips.load(weights_file(lpips_weights)).to(device)
    if identity_weights is not None:
        distances["identity"] = Identity.load(weights_file(identity_weights)).to(device)
    return distances


def load_fid(weights: Path | None, device: torch.device) -> dict[str, Fid]:
    """FID (Heusel et al., NeurIPS 2017) for degraded and restored faces, if the file is given.

    It needs torch-fidelity and the weights of its Inception network.  It also needs thousands of
    faces; with a few dozen it is mostly noise.  Raises WeightsError.
    """
    if weights is None:
        return {}
    if not weights.is_file():
        raise WeightsError(f"{weights} does not exist")
    try:
        return {
            name: Fid(feature_extractor_weights_path=str(weights)).to(device)
            for name in ("degraded", "restored")
        }
    except ModuleNotFoundError as error:
        raise WeightsError("FID needs the package torch-fidelity") from error


class Lpips(nn.Module):
    """LPIPS 0.1 on VGG16 (Zhang et al., CVPR 2018): two (N, 3, R, R) -> (N,), R at least 16.

    The weights of its five linear layers come with torchmetrics.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        # ImageNet's mean and standard deviation, for pictures in [-1, 1]
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        layers: list[nn.Module] = []
        below = 3
        for block in _VGG_CHANNELS:
            for channels in block:
                layers += [nn.Conv2d(below, channels, 3, padding=1), nn.ReLU()]
                below = channels
            layers += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers[:-1])
        self.linear = nn.ParameterList(
            [nn.Parameter(torch.zeros(1, block[-1], 1, 1)) for block in _VGG_CHANNELS]
        )

    @classmethod
    def load(cls, path: Path) -> Lpips:
        """Load torchvision's ``vgg16-397923af.pth``.  Raises WeightsError."""
        lpips = cls()
        state = read_tensors(path)
        weights = {key: value for key, value in state.items() if key.startswith("features.")}
        linear = Path(torchmetrics.functional.image.__file__).parent / "lpips_models" / "vgg.pth"
        for name, value in torch.load(linear, map_location="cpu", weights_only=True).items():
            weights[f"linear.{name[3]}"] = value  # lin0.model.1.weight ... lin4.model.1.weight
        weights |= {"shift": lpips.shift, "scale": lpips.scale}
        _load_strictly(lpips, weights, path, "VGG16")
        return lpips

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        total = torch.zeros(len(a), device=a.device)
        for x, y, weight in zip(self._unit(a), self._unit(b), self.linear, strict=True):
            total = total + F.conv2d((x - y).square(), weight).mean(dim=(1, 2, 3))
        return total

    def _unit(self, x: Tensor) -> list[Tensor]:
        """The features of each block, normalised to unit length at every position."""
        x = (x - self.shift) / self.scale
        outputs = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                outputs.append(x)
            x = layer(x)
        outputs.append(x)
        return [x / torch.sqrt(x.square().sum(dim=1, keepdim=True) + _EPS) for x in outputs]


class Identity(nn.Module):
    """1 - cosine of ArcFace embeddings (IR-SE50) of aligned faces: two (N, 3, R, R) -> (N,).

    Faces are cropped as in GPEN's training/loss/id_loss.py, which is written for 256 px.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = Backbone(num_layers=50, drop_ratio=0.6, mode="ir_se")

    @classmethod
    def load(cls, path: Path) -> Identity:
        """Load ``model_ir_se50.pth``.  Raises WeightsError."""
        identity = cls()
        _load_strictly(identity.network, read_tensors(path), path, "IR-SE50")
        return identity

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return 1 - (self._embed(a) * self._embed(b)).sum(dim=1)

    def _embed(self, x: Tensor) -> Tensor:
        size = x.shape[-1]
        top, bottom, left, right = (size * edge // 256 for edge in (35, 223, 32, 220))
        x = F.adaptive_avg_pool2d(x[:, :, top:bottom, left:right], 112)
        # facexlib's flattening takes no channels-last memory, which is how pictures come
        embedding: Tensor = self.network(x.contiguous())  # (N, 512), of unit length
        return embedding


def _load_strictly(network: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not hold the weights of {name}") from error
    network.eval().requires_grad_(False)
