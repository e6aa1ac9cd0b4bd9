import pytest
import torch

from model.training import losses
from model.training.balance import INTERVAL, balanced_weights, follow, gradient_norms, is_due
from model.training.generator_losses import LossConfig
from model.training.steps import Setup, content_step


def test_gradient_norms_are_those_at_the_picture():
    picture = torch.ones(2, 3, 4, 4, requires_grad=True)
    terms = {"content": (2 * picture).sum(), "detail": picture.square().mean()}
    norms = gradient_norms(terms, picture)
    assert norms["content"].item() == pytest.approx(2 * (2 * 3 * 16) ** 0.5)
    assert norms["detail"].item() == pytest.approx(2 / 96 * 96**0.5)
    torch.autograd.backward(terms["content"] + terms["detail"])  # the graph is still there


def test_weights_hold_the_proportions_and_the_size_of_l1():
    config = LossConfig(content=1, detail=3, adversarial=6)
    running = {"content": 0.5, "detail": 20.0, "adversarial": 1000.0}
    weights = balanced_weights(config, running, running)
    pulls = {name: weights[name] * norm for name, norm in running.items()}
    assert pulls["detail"] == pytest.approx(3 * pulls["content"])
    assert pulls["adversarial"] == pytest.approx(6 * pulls["content"])
    assert sum(pulls.values()) == pytest.approx(0.5)


def test_running_means_begin_with_the_first_measurement():
    running = follow({}, {"content": 2.0})
    assert running == {"content": 2.0}
    running = follow(running, {"content": 4.0, "adversarial": 7.0})
    assert running == pytest.approx({"content": 2.6, "adversarial": 7.0})


def test_measuring_is_seldom_and_when_a_term_is_new():
    terms = {"content": torch.zeros(())}
    assert is_due(0, terms, {"content": 1.0})
    assert not is_due(INTERVAL - 1, terms, {"content": 1.0})
    assert is_due(INTERVAL - 1, terms, {})


def test_a_balanced_step_pulls_as_configured(state, batch, make_config):
    """The update is that of plain losses with the balanced weights."""
    config = make_config(losses={"balance": True, "detail": 4.0}, clip_grad_norm=1e9).train
    picture = batch.low.clone().requires_grad_()  # G begins as identity
    norms = {
        name: value.item()
        for name, value in gradient_norms(
            {
                "content": losses.content_loss(picture, batch.high),
                "detail": losses.detail_loss(picture, batch.high),
            },
            picture,
        ).items()
    }
    content_step(state, [batch], Setup(config, 2, state.generator))
    assert state.gradient_norms == pytest.approx(norms, rel=0.02)
