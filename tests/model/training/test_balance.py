import pytest
import torch
from torch.amp import GradScaler

from model.training import losses
from model.training.balance import balanced_weights, term_gradients
from model.training.generator_losses import LossConfig
from model.training.steps import Setup, content_step


def test_gradients_are_those_at_the_picture():
    picture = torch.ones(2, 3, 4, 4, requires_grad=True)
    terms = {"content": (2 * picture).sum(), "detail": picture.square().mean()}
    gradients = term_gradients(terms, picture, GradScaler(enabled=False))
    assert torch.equal(gradients["content"], torch.full_like(picture, 2))
    assert torch.allclose(gradients["detail"], torch.full_like(picture, 2 / 96))
    assert picture.grad is None


def test_weights_hold_the_proportions_and_the_size_of_l1():
    config = LossConfig(content=1, detail=3, adversarial=6)
    norms = {"content": 0.5, "detail": 20.0, "adversarial": 1000.0}
    weights = balanced_weights(config, norms)
    pulls = {name: weights[name] * norm for name, norm in norms.items()}
    assert pulls["detail"] == pytest.approx(3 * pulls["content"])
    assert pulls["adversarial"] == pytest.approx(6 * pulls["content"])
    assert sum(pulls.values()) == pytest.approx(0.5)


def test_a_loss_scale_changes_no_weight():
    config = LossConfig(content=1, detail=3)
    scaled = {"content": 0.5 * 65536, "detail": 20.0 * 65536}
    assert balanced_weights(config, scaled) == pytest.approx(
        balanced_weights(config, {"content": 0.5, "detail": 20.0})
    )


def test_a_balanced_step_pulls_as_configured(state, batch, make_config):
    """The update is that of plain losses with the balanced weights."""
    config = make_config(losses={"balance": True, "detail": 4.0}, clip_grad_norm=1e9).train
    picture = batch.low.clone().requires_grad_()  # G begins as identity
    terms = {
        "content": losses.content_loss(picture, batch.high),
        "detail": losses.detail_loss(picture, batch.high),
    }
    gradients = term_gradients(terms, picture, GradScaler(enabled=False))
    norms = {name: gradient.norm().item() for name, gradient in gradients.items()}
    weights = balanced_weights(config.losses, norms)
    values = content_step(state, [batch], Setup(config, 2, state.generator))
    reported = {name: values[f"weight_{name}"].item() for name in weights}
    assert reported == pytest.approx(weights, rel=0.02)

    balanced = [p.grad.clone() for p in state.generator.parameters() if p.grad is not None]
    plain = make_config(losses=reported | {"adversarial": 0}, clip_grad_norm=1e9).train
    state.generator.load_state_dict(state.ema.state_dict())  # as before the step
    content_step(state, [batch], Setup(plain, 2, state.generator))
    for parameter, before in zip(
        (p for p in state.generator.parameters() if p.grad is not None), balanced, strict=True
    ):
        assert torch.allclose(parameter.grad, before, rtol=1e-3, atol=1e-6)
