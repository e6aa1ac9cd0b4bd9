import dataclasses

import pytest
import torch

from model import diffaugment
from model.objectives import (
    Setup,
    follow_path_length,
    generator_loss,
    path_length_loss,
    restoration_loss,
)
from model.steps import joint_step


@pytest.fixture
def setup(state, make_config) -> Setup:
    config = make_config(path_length={"weight": 2.0, "interval": 4})
    return Setup(config.train, 2, state.generator)


def test_d_sees_both_halves_varied_alike(state, batch, setup, monkeypatch):
    seen = []

    def apply(x, by):
        seen.append(by)
        return x

    monkeypatch.setattr(diffaugment, "apply", apply)
    joint_step(state, [batch], setup, train_g=True)
    assert [by is seen[0] for by in seen] == [True, True, False, False]
    assert seen[2] is seen[3]


def test_draws_depend_on_step_and_part_alone(state, batch, setup):
    def loss(step: int, part: int) -> float:
        torch.rand(1)  # what else is drawn does not matter
        state.step = step
        moved = dataclasses.replace(batch, part=part)
        return generator_loss(state, batch.low, moved, setup)[0].item()

    assert loss(3, 1) == loss(3, 1)
    assert len({loss(3, 0), loss(3, 1), loss(4, 0)}) == 3


def test_perceptual_terms_are_added_with_their_weights(state, batch, make_config):
    weights = {"lpips": 0.5, "lpips_weights": "f", "identity": 2, "identity_weights": "f"}
    plain = Setup(make_config().train, 2, state.generator)
    weighted = dataclasses.replace(
        plain,
        config=make_config(losses=weights).train,
        distances={
            "lpips": lambda a, b: (a - b).square().mean(dim=(1, 2, 3)),
            "identity": lambda a, b: torch.arange(len(a)) + 0.0,
        },
    )
    base, _ = restoration_loss(batch.low, batch.high, plain)
    loss, values = restoration_loss(batch.low, batch.high, weighted)
    assert values["lpips"].item() == pytest.approx((batch.low - batch.high).square().mean().item())
    assert values["identity"] == 1
    torch.testing.assert_close(loss, base + 0.5 * values["lpips"] + 2 * values["identity"])


def test_path_length_loss_against_the_definition(state, batch, setup):
    """The gradient of <restored, noise> by each sample's style, found by moving the style."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in state.generator.parameters():  # as identity it has no path to speak of
            parameter.add_(0.1 * torch.randn_like(parameter))
    state.path_length = 0.7
    loss, values = path_length_loss(state, batch, setup)
    length = values["path_length"].item()
    assert length > 0.01
    mapping = state.generator.get_parameter("generator.style.8.weight")
    (gradient,) = torch.autograd.grad(loss, mapping)
    assert gradient.abs().sum() > 0

    follow_path_length(state, values["path_length"], setup)
    assert state.path_length == pytest.approx(0.7 + 0.01 * (length - 0.7))
    # lengths of all samples lie about their mean, so that the loss is at least its distance
    assert loss.item() >= 2.0 * 4 * (length - state.path_length) ** 2 * 0.999
    handles = state.generator.get_submodule("generator.style")._forward_hooks
    assert not handles
