import pytest
import torch

from model.training.config import PathLengthConfig
from model.training.draws import Purpose, generator_for
from model.training.path_length import path_length_loss
from model.training.steps import Setup, generator_step


def test_path_length_loss_against_the_definition(state, batch):
    """Lengths lie about their mean, so that the loss is at least that mean's own distance."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in state.generator.parameters():  # as identity it has no path to speak of
            parameter.add_(0.1 * torch.randn_like(parameter))
    config = PathLengthConfig(weight=2.0, interval=4)
    rng = generator_for(0, 0, 0, Purpose.PATH_LENGTH)
    loss, length = path_length_loss(state.generator, batch.low, rng, 0.7, config)
    assert length.item() > 0.01
    mapping = state.generator.get_parameter("generator.style.8.weight")
    (gradient,) = torch.autograd.grad(loss, mapping)
    assert gradient.abs().sum() > 0
    target = 0.7 + 0.01 * (length.item() - 0.7)
    assert loss.item() >= 2.0 * 4 * (length.item() - target) ** 2 * 0.999
    assert not state.generator.get_submodule("generator.style")._forward_hooks


def test_a_step_moves_the_running_mean(state, batch, make_config):
    state.path_length = 0.7
    config = make_config(path_length={"weight": 2.0, "interval": 4}).train
    report = generator_step(state, [batch], Setup(config, 2, state.generator))
    length = report["path_length"].item()
    assert state.path_length == pytest.approx(0.7 + 0.01 * (length - 0.7))
