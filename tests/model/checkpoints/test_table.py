import json
from pathlib import Path

import pytest
import torch
from torch import nn

from model.checkpoints.table import (
    ARCFACE_IR_SE50,
    AUTO_ORDER,
    BFR_256,
    BFR_512,
    BFR_1024,
    BFR_2048,
    BUNDLED_DIR,
    CHECKPOINTS,
    DETECTOR_MOBILENET,
    DETECTOR_RESNET50,
    DISCRIMINATOR_512,
    REALESRNET_X2,
    STARTER_256,
    UPSCALERS,
    VGG16,
    WEIGHTS,
    CheckpointError,
    weights_named,
)
from model.checkpoints.templates import landmark_template

GOLDEN = Path(__file__).parents[2] / "golden"


def shapes(network: nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("checkpoint", "variant"), [(BFR_256, "256_cm1_n0.5"), (BFR_512, "512_cm2_n1")]
)
@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_architecture_has_the_keys_of_the_published_network(checkpoint, variant, network):
    published = json.loads((GOLDEN / f"keys_{network}_{variant}.json").read_text())
    with torch.device("meta"):
        ours = getattr(checkpoint.architecture, network)()
    assert shapes(ours) == published


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda checkpoint: checkpoint.name)
def test_architecture_is_deduced_from_its_own_weights(checkpoint):
    with torch.device("meta"):
        state = checkpoint.architecture.generator().state_dict()
    assert type(checkpoint.architecture).from_state_dict(state) == checkpoint.architecture


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda checkpoint: checkpoint.name)
def test_name_says_the_size_and_the_template_exists(checkpoint):
    size = checkpoint.architecture.size
    assert checkpoint.name.endswith(f"-{size}")
    assert landmark_template(checkpoint.template, size).max() < size


def test_names_and_files_are_unique():
    assert len({weights.name for weights in WEIGHTS}) == len(WEIGHTS)
    assert len({weights.file_name for weights in WEIGHTS}) == len(WEIGHTS)


def test_licences_say_whether_they_allow_commercial_use():
    """The bundled weights' do, and those of Real-ESRGAN."""
    for weights in WEIGHTS:
        assert weights.commercial == (weights.bundled or "BSD" in weights.licence)
        assert ("non-commercial" in weights.licence) == (not weights.commercial)


def test_upscalers_say_their_scale():
    for weights in UPSCALERS:
        assert f"-x{weights.scale}" in weights.name


def test_auto_prefers_the_official_weights():
    assert AUTO_ORDER == (BFR_512, BFR_256, STARTER_256)


@pytest.mark.parametrize(
    ("weights", "repository", "path"),
    [
        (BFR_512, "iic/cv_gpen_image-portrait-enhancement", "pytorch_model.pt"),
        (BFR_1024, "iic/cv_gpen_image-portrait-enhancement-hires", "pytorch_model.pt"),
        (BFR_2048, "iic/cv_gpen_image-portrait-enhancement-hires", "pytorch_model-2048.pt"),
        (DISCRIMINATOR_512, "iic/cv_gpen_image-portrait-enhancement", "net_d.pt"),
        (
            DETECTOR_RESNET50,
            "iic/cv_gpen_image-portrait-enhancement",
            "face_detection/RetinaFace-R50.pth",
        ),
        (
            ARCFACE_IR_SE50,
            "iic/cv_gpen_image-portrait-enhancement",
            "arcface/model_ir_se50.pth",
        ),
        (
            REALESRNET_X2,
            "iic/cv_gpen_image-portrait-enhancement",
            "super_resolution/realesrnet_x2.pth",
        ),
    ],
)
def test_where_on_modelscope(weights, repository, path):
    assert (weights.modelscope.repository_id, weights.modelscope.path) == (repository, path)


def test_what_has_an_address_has_a_checksum():
    """PyTorch names its files by the first eight digits."""
    assert [weights for weights in WEIGHTS if weights.url] == [VGG16]
    assert VGG16.sha256 is not None
    assert VGG16.url is not None
    assert VGG16.url.endswith(f"/{VGG16.file_name}")
    assert VGG16.file_name == f"vgg16-{VGG16.sha256[:8]}.pth"


@pytest.mark.parametrize("weights", [BFR_256, STARTER_256, DETECTOR_MOBILENET])
def test_not_on_modelscope(weights):
    assert weights.modelscope is None
    assert weights.local_names == (weights.file_name,)


def test_local_names_start_with_the_published_one_and_tell_the_two_repositories_apart():
    assert BFR_512.local_names[0] == "GPEN-BFR-512.pth"
    assert "pytorch_model.pt" not in BFR_512.local_names
    assert not set(BFR_512.local_names) & set(BFR_1024.local_names)


def test_by_name():
    assert weights_named("gpen-bfr-1024") is BFR_1024
    with pytest.raises(CheckpointError, match=r"'gpen-512', only gpen-starter-256, "):
        weights_named("gpen-512")


def test_bundled_folder_holds_what_the_table_says():
    bundled = {weights.file_name for weights in WEIGHTS if weights.bundled}
    assert {path.name for path in BUNDLED_DIR.glob("*.safetensors")} == bundled
    assert sum((BUNDLED_DIR / name).stat().st_size for name in bundled) < 45e6
