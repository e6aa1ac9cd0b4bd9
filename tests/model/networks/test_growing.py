import pytest
import torch

from model.networks import Architecture, FullGenerator
from model.networks.fir import Fir, FirUpsample
from model.networks.growing import grown, is_half_as_large
from model.networks.initialisation import start_as_identity
from model.training.pretrained import load_initial_generator


def network(size: int) -> FullGenerator:
    torch.manual_seed(size)
    generator = FullGenerator(size, channel_multiplier=1, narrow=1 / 8)
    start_as_identity(generator)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return generator


@pytest.mark.parametrize("size", [64, 128])
def test_a_grown_network_does_at_half_the_size_what_the_smaller_did(size):
    small, large = network(size // 2), network(size)
    large.load_state_dict(grown(small.state_dict(), large))
    picture = torch.randn(2, 3, size, size).clamp(-1, 1)
    with torch.no_grad():
        expected = FirUpsample()(small(Fir(1, stride=2)(picture)))
        torch.testing.assert_close(large(picture), expected, rtol=1e-4, atol=1e-5)
        assert expected.std() > 0.05


def test_all_of_a_grown_network_learns():
    large = network(64)
    large.load_state_dict(grown(network(32).state_dict(), large))
    optimizer = torch.optim.SGD(large.parameters(), 1e-2)
    for _ in range(2):  # behind what begins at zero, a gradient comes with the second step
        optimizer.zero_grad()
        torch.autograd.backward((large(torch.randn(2, 3, 64, 64)) - 1).abs().mean())
        optimizer.step()
    gradients = {name: p.grad for name, p in large.named_parameters()}
    assert [name for name, g in gradients.items() if g is None or not g.abs().sum() > 0] == []


def test_only_half_the_size_grows():
    large = network(128)
    assert is_half_as_large(network(64).state_dict(), large)
    assert not is_half_as_large(network(32).state_dict(), large)
    assert not is_half_as_large(large.state_dict(), large)
    assert not is_half_as_large(large.generator.state_dict(), large)


def test_initial_weights_of_half_the_size_are_grown(tmp_path, caplog):
    small, large = network(64), Architecture(128, 1, 1 / 8).generator()
    torch.save({"g_ema": small.state_dict()}, tmp_path / "small.pt")
    with caplog.at_level("INFO"):
        load_initial_generator(large, tmp_path / "small.pt")
    assert "growing to 128 px" in caplog.text
    torch.testing.assert_close(
        large.state_dict()["ecd2.0.1.weight"], small.state_dict()["ecd1.0.1.weight"]
    )
