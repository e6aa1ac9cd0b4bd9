"""EQFace against ModelScope's own networks, with seeded weights."""

import pytest
import torch
from modelscope.models.cv.image_portrait_enhancement.eqface import model_resnet
from torch import Tensor, nn

from model.networks.eqface import FACE_SIZE, FaceQuality

Published = tuple[nn.Module, nn.Module]


@pytest.fixture(scope="module")
def published() -> Published:
    """Backbone and quality network, with norms that do something, and keep values in bounds."""
    torch.manual_seed(0)
    networks = model_resnet.ResNet(100, 512), model_resnet.FaceQuality(512 * 7 * 7)
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.4, 0.8)
                for name, low, high in (("running_mean", -0.1, 0.1), ("running_var", 0.5, 1.5)):
                    nn.init.uniform_(module.get_buffer(name), low, high)
        network.eval().requires_grad_(False)
    return networks


def prefixed(network: nn.Module) -> dict[str, Tensor]:
    """As saved by training on several GPUs."""
    return {f"module.{key}": value for key, value in network.state_dict().items()}


def test_features_and_quality_are_those_of_the_published_networks(published: Published) -> None:
    backbone, quality = published
    ours = FaceQuality().eval()
    ours.load(prefixed(backbone), {**prefixed(quality), "module.head.weight": torch.zeros(3)})
    faces = 255 * torch.rand(2, 3, FACE_SIZE, FACE_SIZE, generator=torch.manual_seed(1))
    faces[1] *= torch.linspace(0, 1, FACE_SIZE)
    with torch.inference_mode():
        features, flat = backbone((faces - 127.5) / 128, True)
        expected = quality(flat)[:, 0]
        got = ours(faces)
    torch.testing.assert_close(got[0], features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got[1], expected, rtol=1e-4, atol=1e-5)
    assert features.std() > 0.01  # not the same for all
    assert expected.std() > 1e-3


@pytest.mark.parametrize("spoil", ["missing", "of another shape"])
def test_what_is_not_whole_is_refused(published: Published, spoil: str) -> None:
    backbone, quality = (network.state_dict() for network in published)
    if spoil == "missing":
        del quality["qualtiy.3.weight"]
    else:
        backbone["layer1.0.res_layer.1.weight"] = torch.zeros(64, 64, 1, 1)
    with pytest.raises(RuntimeError, match=r"qualtiy\.3\.weight|layer1\.0"):
        FaceQuality().load(backbone, quality)
