import pytest
import torch

from model.networks import FullGenerator
from model.networks.initialisation import start_as_identity


@pytest.mark.parametrize(("size", "narrow"), [(64, 1 / 16), (256, 0.25)])
@torch.no_grad()
def test_a_fresh_generator_returns_its_input(size, narrow):
    torch.manual_seed(0)
    generator = FullGenerator(size, channel_multiplier=1, narrow=narrow)
    start_as_identity(generator)
    x = torch.rand(2, 3, size, size) * 2 - 1
    torch.testing.assert_close(generator(x), x, rtol=0, atol=1e-5)


def test_it_learns_from_there():
    torch.manual_seed(0)
    generator = FullGenerator(64, channel_multiplier=1, narrow=1 / 16)
    start_as_identity(generator)
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    (generator(x) - x.roll(1, dims=0)).abs().mean().backward()
    for name, parameter in generator.named_parameters():
        if name.startswith("generator.to_rgb") and name.endswith("conv.weight"):
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0, name


def test_encoder_features_are_not_hidden():
    generator = FullGenerator(64, channel_multiplier=1, narrow=1 / 16)
    start_as_identity(generator)
    injections = [v for k, v in generator.named_parameters() if k.endswith("noise.weight")]
    assert len(injections) == 9  # conv1, then two per resolution from 8 to 64
    assert all(weight.item() == 1 for weight in injections)


def test_six_channels_are_needed():
    generator = FullGenerator(64, channel_multiplier=1, narrow=5 / 256)
    with pytest.raises(ValueError, match="six channels"):
        start_as_identity(generator)
