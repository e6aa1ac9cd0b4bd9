import copy
import math

import pytest
import torch
from torch import Tensor

from model.training import losses
from model.training.generator_losses import Judges, Restoration
from model.training.state import TrainingState
from model.training.steps import (
    NonFiniteGradientError,
    Setup,
    content_step,
    discriminator_step,
    generator_step,
    joint_step,
    training_step,
)

PER_EPOCH = 2


@pytest.fixture
def set_up(state, make_config):
    """The steps' setup; changes to ``train`` as arguments."""

    def set_up(of: TrainingState = state, **changes) -> Setup:
        return Setup(make_config(**changes).train, PER_EPOCH, of.generator)

    return set_up


def parameters(network: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def unchanged(network: torch.nn.Module, before: list[Tensor]) -> bool:
    return all(map(torch.equal, network.parameters(), before))


def test_content_step_moves_g_alone(state, batch, set_up):
    g, d = parameters(state.generator), parameters(state.discriminator)
    report = content_step(state, [batch], set_up())
    assert set(report) == {"content", "detail", "grad_norm_g"}
    assert not unchanged(state.generator, g)
    assert unchanged(state.discriminator, d)


def test_content_steps_lower_the_loss(state, batch, set_up):
    for group in state.optimizer_g.param_groups:
        group["lr"] = 1e-3
    reports = [content_step(state, [batch], set_up()) for _ in range(8)]
    assert reports[0]["content"].item() == pytest.approx(
        losses.content_loss(batch.low, batch.high).item(), rel=1e-4
    )  # G begins as identity
    assert reports[-1]["content"] < 0.97 * reports[0]["content"]


def test_warm_up_leaves_g_as_it_is(state, batch, set_up):
    g, ema, d = (parameters(net) for net in (state.generator, state.ema, state.discriminator))
    for state.step in (4, 5):
        report = training_step(state, [batch], set_up())
        assert report.losses == {}
    assert state.step == 6
    assert unchanged(state.generator, g)
    assert unchanged(state.ema, ema)
    assert not unchanged(state.discriminator, d)
    assert all(parameter.grad is None for parameter in state.generator.parameters())
    # the first of the next stage moves it
    training_step(state, [batch], set_up())
    assert not unchanged(state.generator, g)
    assert not unchanged(state.ema, ema)


def test_joint_step_moves_both(state, batch, set_up):
    g, d = parameters(state.generator), parameters(state.discriminator)
    report = joint_step(state, [batch], set_up(), train_g=True)
    assert {"content", "adversarial", "feature_matching", "d", "d_real", "d_fake"} <= set(report)
    assert all(value.isfinite() for value in report.values())
    assert not unchanged(state.generator, g)
    assert not unchanged(state.discriminator, d)


def test_generator_step_leaves_d_as_it_is(state, batch, set_up):
    d = parameters(state.discriminator)
    generator_step(state, [batch], set_up())
    assert unchanged(state.discriminator, d)
    assert all(parameter.grad is None for parameter in state.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in state.discriminator.parameters())


def sgd(network: torch.nn.Module) -> torch.optim.SGD:
    """With which a step is the gradient."""
    return torch.optim.SGD(network.parameters(), lr=1.0)


def test_features_that_do_not_count_are_not_computed(state, batch, set_up, monkeypatch):
    judged = []
    features = state.discriminator.features

    def noting(x):
        judged.append(x)
        return features(x)

    monkeypatch.setattr(state.discriminator, "features", noting)
    report = generator_step(state, [batch], set_up(losses={"feature_matching": 0}))
    assert "feature_matching" not in report
    assert len(judged) == 1  # the restored faces


def test_generator_step_descends_the_weighted_losses(state, batch, set_up):
    weights = {"content": 0.7, "detail": 0.5, "adversarial": 0.3, "feature_matching": 2.0}
    state.optimizer_g = sgd(state.generator)
    before = copy.deepcopy(state.generator)
    setup = set_up(augment_d=False, losses=weights, clip_grad_norm=1e9)
    report = generator_step(state, [batch], setup)

    restored = before(batch.low)
    fake, real = (state.discriminator.features(x) for x in (restored, batch.high))
    content = losses.content_loss(restored, batch.high)
    detail = losses.detail_loss(restored, batch.high)
    adversarial = losses.generator_loss(state.discriminator.score(fake))
    matching = losses.feature_matching_loss(fake, real)
    loss = 0.7 * content + 0.5 * detail + 0.3 * adversarial + 2.0 * matching
    expected = torch.autograd.grad(loss, list(before.parameters()))
    for old, gradient, new in zip(
        before.parameters(), expected, state.generator.parameters(), strict=True
    ):
        torch.testing.assert_close(old - gradient, new, rtol=1e-4, atol=1e-6)
    assert report["adversarial"].item() == pytest.approx(adversarial.item(), rel=1e-5)
    assert report["feature_matching"].item() == pytest.approx(matching.item(), rel=1e-5)


@pytest.mark.parametrize("step", [4, 5])
def test_discriminator_step_descends_its_loss_and_now_and_then_r1(state, batch, set_up, step):
    state.optimizer_d = sgd(state.discriminator)
    state.step = step
    before = copy.deepcopy(state.discriminator)
    setup = set_up(augment_d=False, gp_lambda=3.0, gp_interval=4, clip_grad_norm=1e9)
    report = discriminator_step(state, [batch], setup, Restoration(batch.low, batch.high, Judges()))

    real = batch.high.clone().requires_grad_()
    real_logits, fake_logits = before(real), before(batch.low)
    loss = losses.discriminator_loss(real_logits, fake_logits)
    if step % 4 == 0:
        loss = loss + 3.0 / 2 * 4 * losses.gradient_penalty(real_logits, real)
    expected = torch.autograd.grad(loss, list(before.parameters()))
    for old, gradient, new in zip(
        before.parameters(), expected, state.discriminator.parameters(), strict=True
    ):
        torch.testing.assert_close(old - gradient, new, rtol=1e-3, atol=1e-5)
    assert ("gradient_penalty" in report) == (step == 4)
    assert report["d_real"].item() == pytest.approx(real_logits.mean().item(), rel=1e-4)
    assert report["d_fake"].item() == pytest.approx(fake_logits.mean().item(), rel=1e-4)
    assert report["d_real_sign"].item() == pytest.approx(real_logits.sign().mean().item())


def test_no_penalty_when_it_is_off(state, batch, set_up):
    setup = set_up(use_gradient_penalty=False)
    assert "gradient_penalty" not in discriminator_step(state, [batch], setup)


def test_gradients_are_clipped(state, batch, set_up):
    state.optimizer_g = sgd(state.generator)
    before = parameters(state.generator)
    report = content_step(state, [batch], set_up(clip_grad_norm=0.01))
    moved = [new - old for new, old in zip(state.generator.parameters(), before, strict=True)]
    assert report["grad_norm_g"] > 0.02  # what it was
    assert torch.cat([move.flatten() for move in moved]).norm().item() == pytest.approx(
        0.01, rel=0.01
    )


@pytest.mark.parametrize("step", [0, 6])
def test_equal_micro_batches_make_the_step_of_one(state, batch, set_up, step):
    """Twice the same: the mean of the gradients is the gradient, and the reports' mean the report.

    Step 6 is joint, with a path length, and one graph of G for either network's update.
    """
    twin = copy.deepcopy(state)
    state.step = twin.step = step
    changes = {"path_length": {"weight": 2, "interval": 2}}
    once = training_step(state, [batch], set_up(**changes))
    twice = training_step(twin, [batch, batch], set_up(of=twin, **changes))
    assert once.numbers() == pytest.approx(twice.numbers(), rel=1e-5)
    assert (once.path_length is None) == (step == 0)
    assert state.path_length == pytest.approx(twin.path_length)
    for network in ("generator", "discriminator", "ema"):
        for a, b in zip(*(getattr(s, network).parameters() for s in (state, twin)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_learning_rates_and_average_follow_the_schedule(state, batch, set_up):
    before = parameters(state.ema)
    report = training_step(state, [batch], set_up(ema_half_life=20))
    assert report.lr_g == state.optimizer_g.param_groups[0]["lr"] == pytest.approx(1e-3)
    assert report.lr_d == state.optimizer_d.param_groups[0]["lr"]
    assert state.step == 1
    decay = 0.5 ** (3 / min(20, 0.05 * 3))
    for old, new, average in zip(
        before, state.generator.parameters(), state.ema.parameters(), strict=True
    ):
        torch.testing.assert_close(average, decay * old + (1 - decay) * new)


@pytest.mark.parametrize("step", [0, 6])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision(batch, make_config, precision, step):
    """Weights stay in float32, and the losses are about the same."""
    reports = []
    for each in ("fp32", precision):
        config = make_config(precision=each)
        state = TrainingState.fresh(config)
        state.step = step
        setup = Setup(config.train, PER_EPOCH, state.generator)
        reports.append(training_step(state, [batch], setup).numbers())
        assert {parameter.dtype for parameter in state.generator.parameters()} == {torch.float32}
    exact, rounded = reports
    assert exact["content"] != rounded["content"]
    assert rounded == pytest.approx(exact, rel=0.1, abs=0.1)


@pytest.mark.parametrize(("step", "network"), [(0, "generator"), (6, "discriminator")])
def test_a_gradient_that_is_not_finite(state, batch, set_up, step, network):
    state.step = step
    poisoned = getattr(state, network)
    with torch.no_grad():
        next(poisoned.parameters()).view(-1)[0] = float("nan")
    before = parameters(poisoned)[1:]
    with pytest.raises(NonFiniteGradientError, match=type(poisoned).__name__) as raised:
        training_step(state, [batch], set_up())
    assert next(iter(dict(poisoned.named_parameters()))) in str(raised.value)
    assert state.step == step
    assert all(map(torch.equal, parameters(poisoned)[1:], before))


def test_float16_leaves_out_a_step_that_overflows_until_nothing_helps(batch, make_config):
    config = make_config(precision="fp16")
    state = TrainingState.fresh(config)
    setup = Setup(config.train, PER_EPOCH, state.generator)
    with torch.no_grad():
        next(state.generator.parameters()).view(-1)[0] = float("inf")
    before = parameters(state.generator)[1:]
    state.scaler_g.scale(torch.ones(1))  # makes the scale
    state.scaler_g.update(new_scale=2.0)
    report = training_step(state, [batch], setup)
    assert not math.isfinite(report.grad_norm_g or 0)
    assert state.scaler_g.get_scale() == 1
    assert all(map(torch.equal, parameters(state.generator)[1:], before))
    with pytest.raises(NonFiniteGradientError):
        training_step(state, [batch], setup)
