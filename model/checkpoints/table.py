"""The weights that this project knows: their names, licences and sources.

``model.checkpoints.lookup`` finds them, ``model.checkpoints.download`` downloads them.

A SHA-256 is stated if several independent sources have recorded the same one.  For the academic
weights none is known for certain: a download is compared with the SHA-256 that ModelScope lists,
and a file from elsewhere cannot be distinguished from a forged one of the same architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.networks import Architecture
from model.state_dicts import WeightsError

BUNDLED_DIR = Path(__file__).resolve().parents[2] / "weights"
"""The folder of the weights that come with the project."""

MODELSCOPE_OWNERS = ("iic", "damo")
"""Owner of GPEN's repositories on ModelScope, and its former name, which old caches still have."""

OFFICIAL_LICENCE = (
    "academic, non-commercial use (GPEN's README until 2026; no licence file replaced it)"
)
_REAL_ESRGAN_LICENCE = "BSD 3-clause (Real-ESRGAN's repository)"
_PSFR_GAN_LICENCE = (
    "CC BY-NC-SA 4.0, non-commercial (PSFR-GAN's, where it is from; facexlib names none for it)"
)


class CheckpointError(WeightsError):
    """Weights that cannot be found, downloaded or trusted; the message says why, in one line."""


@dataclass(frozen=True)
class ModelScopeFile:
    """A file of a repository on ModelScope."""

    repository: str
    """Its name, without the owner."""
    path: str

    @property
    def repository_id(self) -> str:
        return f"{MODELSCOPE_OWNERS[0]}/{self.repository}"


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A weights file of any network."""

    name: str
    file_name: str
    """Its name in WEIGHTS_DIR, which is the name that it was published under."""
    licence: str
    commercial: bool
    """Whether the licence allows commercial use."""
    modelscope: ModelScopeFile | None = None
    url: str | None = None
    """Where it is published, if not on ModelScope.  Requires ``sha256``."""
    sha256: str | None = None
    """Of the published file, in hexadecimal; None if unknown."""
    bundled: bool = False
    """Whether it comes with the project, in BUNDLED_DIR."""

    @property
    def local_names(self) -> tuple[str, ...]:
        """Paths below WEIGHTS_DIR, the preferred one first.

        A copy of the ModelScope repository is accepted too, in a folder with its name, with or
        without its owner, because its file names (``pytorch_model.pt``) are not specific.
        """
        if self.modelscope is None:
            return (self.file_name,)
        inside = f"{self.modelscope.repository}/{self.modelscope.path}"
        return (self.file_name, inside, *(f"{owner}/{inside}" for owner in MODELSCOPE_OWNERS))


@dataclass(frozen=True, kw_only=True)
class Checkpoint(WeightsFile):
    """The weights of a generator."""

    architecture: Architecture
    template: str
    """Name of the alignment template (``model.checkpoints.templates``) that it was trained with."""


@dataclass(frozen=True, kw_only=True)
class UpscalerFile(WeightsFile):
    """The weights of an RRDBNet, which enlarges the picture around the faces."""

    scale: int


_PORTRAIT = "cv_gpen_image-portrait-enhancement"
_HIRES = "cv_gpen_image-portrait-enhancement-hires"

STARTER_256 = Checkpoint(
    name="gpen-starter-256",
    file_name="gpen-starter-256.safetensors",
    licence="CC BY 4.0",
    commercial=True,
    bundled=True,
    architecture=Architecture(256, channel_multiplier=1, narrow=0.25),
    template="gpen",
)
BFR_256 = Checkpoint(
    name="gpen-bfr-256",
    file_name="GPEN-BFR-256.pth",
    licence=OFFICIAL_LICENCE,
    commercial=False,
    architecture=Architecture(256, channel_multiplier=1, narrow=0.5),
    template="gpen",
)
BFR_512 = Checkpoint(
    name="gpen-bfr-512",
    file_name="GPEN-BFR-512.pth",
    licence=OFFICIAL_LICENCE,
    commercial=False,
    modelscope=ModelScopeFile(_PORTRAIT, "pytorch_model.pt"),
    architecture=Architecture(512, channel_multiplier=2, narrow=1),
    template="gpen",
)
BFR_1024 = Checkpoint(
    name="gpen-bfr-1024",
    file_name="GPEN-BFR-1024.pth",
    licence=OFFICIAL_LICENCE,
    commercial=False,
    modelscope=ModelScopeFile(_HIRES, "pytorch_model.pt"),
    architecture=Architecture(1024, channel_multiplier=2, narrow=1),
    template="gpen",
)
BFR_2048 = Checkpoint(
    name="gpen-bfr-2048",
    file_name="GPEN-BFR-2048.pth",
    licence=OFFICIAL_LICENCE,
    commercial=False,
    modelscope=ModelScopeFile(_HIRES, "pytorch_model-2048.pt"),
    architecture=Architecture(2048, channel_multiplier=2, narrow=1),
    template="gpen",
)
CHECKPOINTS = (STARTER_256, BFR_256, BFR_512, BFR_1024, BFR_2048)

AUTO_ORDER = (BFR_512, BFR_256, STARTER_256)
"""MODEL=auto takes the first of these that is on this machine."""

DISCRIMINATOR_512 = WeightsFile(
    name="gpen-bfr-512-discriminator",
    file_name="GPEN-BFR-512-D.pth",
    licence=OFFICIAL_LICENCE,
    commercial=False,
    modelscope=ModelScopeFile(_PORTRAIT, "net_d.pt"),
)
DETECTOR_RESNET50 = WeightsFile(
    name="retinaface-resnet50",
    file_name="RetinaFace-R50.pth",
    licence=OFFICIAL_LICENCE,
    commercial=False,
    modelscope=ModelScopeFile(_PORTRAIT, "face_detection/RetinaFace-R50.pth"),
)
DETECTOR_MOBILENET = WeightsFile(
    name="retinaface-mobilenet0.25",
    file_name="retinaface-mobilenet0.25.safetensors",
    licence="MIT",
    commercial=True,
    bundled=True,
)
EQFACE_BACKBONE = WeightsFile(
    name="eqface-backbone",
    file_name="eqface_backbone.pth",
    licence=OFFICIAL_LICENCE,
    commercial=False,
    modelscope=ModelScopeFile(_PORTRAIT, "face_quality/eqface_backbone.pth"),
)
EQFACE_QUALITY = WeightsFile(
    name="eqface-quality",
    file_name="eqface_quality.pth",
    licence=OFFICIAL_LICENCE,
    commercial=False,
    modelscope=ModelScopeFile(_PORTRAIT, "face_quality/eqface_quality.pth"),
)
VGG16 = WeightsFile(
    name="vgg16-imagenet",
    file_name="vgg16-397923af.pth",
    licence="BSD 3-clause (torchvision's repository; trained on ImageNet)",
    commercial=True,
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
)
"""LPIPS compares its features."""
ARCFACE_IR_SE50 = WeightsFile(
    name="arcface-ir-se50",
    file_name="model_ir_se50.pth",
    licence=OFFICIAL_LICENCE,
    commercial=False,
    modelscope=ModelScopeFile(_PORTRAIT, "arcface/model_ir_se50.pth"),
)
"""Its embeddings measure identity in training and evaluation."""
PARSENET_FACEXLIB = WeightsFile(
    name="parsenet-facexlib",
    file_name="parsing_parsenet.pth",
    licence=_PSFR_GAN_LICENCE,
    commercial=False,
    sha256="3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2",
)
PARSENET_GPEN = WeightsFile(
    name="parsenet-gpen",
    file_name="ParseNet-latest.pth",
    licence=OFFICIAL_LICENCE,
    commercial=False,
)
PARSERS = (PARSENET_FACEXLIB, PARSENET_GPEN)
"""The preferred one first."""

REALESRNET_X2 = UpscalerFile(
    name="realesrnet-x2",
    file_name="realesrnet_x2.pth",
    licence=OFFICIAL_LICENCE,
    commercial=False,
    modelscope=ModelScopeFile(_PORTRAIT, "super_resolution/realesrnet_x2.pth"),
    scale=2,
)
REALESRGAN_X2PLUS = UpscalerFile(
    name="realesrgan-x2plus",
    file_name="RealESRGAN_x2plus.pth",
    licence=_REAL_ESRGAN_LICENCE,
    commercial=True,
    sha256="49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
    scale=2,
)
REALESRNET_X4PLUS = UpscalerFile(
    name="realesrnet-x4plus",
    file_name="RealESRNet_x4plus.pth",
    licence=_REAL_ESRGAN_LICENCE,
    commercial=True,
    scale=4,
)
REALESRGAN_X4PLUS = UpscalerFile(
    name="realesrgan-x4plus",
    file_name="RealESRGAN_x4plus.pth",
    licence=_REAL_ESRGAN_LICENCE,
    commercial=True,
    sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
    scale=4,
)
UPSCALERS = (REALESRNET_X2, REALESRGAN_X2PLUS, REALESRNET_X4PLUS, REALESRGAN_X4PLUS)
"""The preferred one of each scale first."""

WEIGHTS: tuple[WeightsFile, ...] = (
    *CHECKPOINTS,
    DISCRIMINATOR_512,
    DETECTOR_RESNET50,
    DETECTOR_MOBILENET,
    EQFACE_BACKBONE,
    EQFACE_QUALITY,
    VGG16,
    ARCFACE_IR_SE50,
    *PARSERS,
    *UPSCALERS,
)


def weights_named(name: str) -> WeightsFile:
    """Raises CheckpointError, listing the names there are."""
    for weights in WEIGHTS:
        if weights.name == name:
            return weights
    known = ", ".join(weights.name for weights in WEIGHTS)
    raise CheckpointError(f"there are no weights named {name!r}, only {known}")
