import copy
import math

import pytest
import torch
from torch import Tensor

from model import diffaugment, losses
from model.dataset import evaluation_pairs
from model.state import TrainingState
from model.steps import (
    Batch,
    NonFiniteGradientError,
    content_step,
    discriminator_step,
    generator_step,
    joint_step,
    training_step,
)

PER_EPOCH = 2


@pytest.fixture
def batch(faces) -> Batch:
    return Batch(*evaluation_pairs(faces[:3]))


@pytest.fixture
def state(make_config) -> TrainingState:
    return TrainingState.fresh(make_config())


def parameters(network: torch.nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def unchanged(network: torch.nn.Module, before: list[Tensor]) -> bool:
    return all(map(torch.equal, network.parameters(), before))


def test_content_step_moves_g_alone(state, batch, make_config):
    g, d = parameters(state.generator), parameters(state.discriminator)
    report = content_step(state, state.generator, batch, make_config().train)
    assert set(report) == {"content", "grad_norm_g"}
    assert not unchanged(state.generator, g)
    assert unchanged(state.discriminator, d)


def test_content_steps_lower_the_loss(state, batch, make_config):
    config = make_config(lr_g=1e-3).train
    for group in state.optimizer_g.param_groups:
        group["lr"] = 1e-3
    reports = [content_step(state, state.generator, batch, config) for _ in range(8)]
    assert reports[0]["content"] == pytest.approx(
        losses.content_loss(batch.low, batch.high, detail=1).item(), rel=1e-4
    )  # G begins as identity
    assert reports[-1]["content"] < 0.97 * reports[0]["content"]


def test_warm_up_leaves_g_as_it_is(state, batch, make_config):
    config = make_config().train
    g, ema, d = (parameters(net) for net in (state.generator, state.ema, state.discriminator))
    for state.step in (4, 5):
        report = training_step(state, state.generator, batch, PER_EPOCH, config)
        assert "content" not in report
    assert state.step == 6
    assert unchanged(state.generator, g)
    assert unchanged(state.ema, ema)
    assert not unchanged(state.discriminator, d)
    assert all(parameter.grad is None for parameter in state.generator.parameters())
    # the first of the next stage moves it
    training_step(state, state.generator, batch, PER_EPOCH, config)
    assert not unchanged(state.generator, g)
    assert not unchanged(state.ema, ema)


def test_joint_step_moves_both(state, batch, make_config):
    g, d = parameters(state.generator), parameters(state.discriminator)
    report = joint_step(state, state.generator, batch, make_config().train, train_g=True)
    assert {"content", "adversarial", "feature_matching", "d", "d_real", "d_fake"} <= set(report)
    assert all(math.isfinite(value) for value in report.values())
    assert not unchanged(state.generator, g)
    assert not unchanged(state.discriminator, d)


def test_generator_step_leaves_d_as_it_is(state, batch, make_config):
    d = parameters(state.discriminator)
    generator_step(state, state.generator(batch.low), batch.high, make_config().train)
    assert unchanged(state.discriminator, d)
    assert all(parameter.grad is None for parameter in state.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in state.discriminator.parameters())


def sgd(network: torch.nn.Module) -> torch.optim.SGD:
    """With which a step is the gradient."""
    return torch.optim.SGD(network.parameters(), lr=1.0)


def test_generator_step_descends_the_weighted_losses(state, batch, make_config):
    weights = {"content": 0.7, "detail": 0.5, "adversarial": 0.3, "feature_matching": 2.0}
    config = make_config(augment_d=False, losses=weights, clip_grad_norm=1e9).train
    state.optimizer_g = sgd(state.generator)
    before = copy.deepcopy(state.generator)
    report = generator_step(state, state.generator(batch.low), batch.high, config)

    restored = before(batch.low)
    fake, real = (state.discriminator.features(x) for x in (restored, batch.high))
    content = losses.content_loss(restored, batch.high, detail=0.5)
    adversarial = losses.generator_loss(state.discriminator.score(fake))
    matching = losses.feature_matching_loss(fake, real)
    loss = 0.7 * content + 0.3 * adversarial + 2.0 * matching
    expected = torch.autograd.grad(loss, list(before.parameters()))
    for old, gradient, new in zip(
        before.parameters(), expected, state.generator.parameters(), strict=True
    ):
        torch.testing.assert_close(old - gradient, new, rtol=1e-4, atol=1e-6)
    assert report["adversarial"] == pytest.approx(adversarial.item(), rel=1e-5)
    assert report["feature_matching"] == pytest.approx(matching.item(), rel=1e-5)


@pytest.mark.parametrize("step", [4, 5])
def test_discriminator_step_descends_its_loss_and_now_and_then_r1(state, batch, make_config, step):
    config = make_config(augment_d=False, gp_lambda=3.0, gp_interval=4, clip_grad_norm=1e9).train
    state.optimizer_d = sgd(state.discriminator)
    state.step = step
    before = copy.deepcopy(state.discriminator)
    report = discriminator_step(state, batch.low, batch.high, config)

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
    assert report["d_real"] == pytest.approx(real_logits.mean().item(), rel=1e-4)
    assert report["d_fake"] == pytest.approx(fake_logits.mean().item(), rel=1e-4)
    assert report["d_real_sign"] == pytest.approx(real_logits.sign().mean().item())


def test_no_penalty_when_it_is_off(state, batch, make_config):
    config = make_config(use_gradient_penalty=False).train
    assert "gradient_penalty" not in discriminator_step(state, batch.low, batch.high, config)


def test_d_sees_both_halves_varied_alike(state, batch, make_config, monkeypatch):
    seen = []

    def apply(x, by):
        seen.append(by)
        return x

    monkeypatch.setattr(diffaugment, "apply", apply)
    joint_step(state, state.generator, batch, make_config().train, train_g=True)
    assert [by is seen[0] for by in seen] == [True, True, False, False]
    assert seen[2] is seen[3]


def test_gradients_are_clipped(state, batch, make_config):
    state.optimizer_g = sgd(state.generator)
    before = parameters(state.generator)
    config = make_config(clip_grad_norm=0.01).train
    report = content_step(state, state.generator, batch, config)
    moved = [new - old for new, old in zip(state.generator.parameters(), before, strict=True)]
    assert report["grad_norm_g"] > 0.02  # what it was
    assert torch.cat([move.flatten() for move in moved]).norm().item() == pytest.approx(
        0.01, rel=0.01
    )


def test_learning_rates_and_average_follow_the_schedule(state, batch, make_config):
    config = make_config(ema_half_life=20).train
    before = parameters(state.ema)
    report = training_step(state, state.generator, batch, PER_EPOCH, config)
    assert report["lr_g"] == state.optimizer_g.param_groups[0]["lr"] == pytest.approx(1e-3 / 50)
    assert report["lr_d"] == state.optimizer_d.param_groups[0]["lr"]
    assert state.step == 1
    decay = 0.5 ** (3 / min(20, 0.05 * 3))
    for old, new, average in zip(
        before, state.generator.parameters(), state.ema.parameters(), strict=True
    ):
        torch.testing.assert_close(average, decay * old + (1 - decay) * new)


@pytest.mark.parametrize("step", [0, 6])
def test_bfloat16(state, batch, make_config, step):
    """Weights stay in float32, and the losses are about the same."""
    reports = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(1)
        twin = copy.deepcopy(state)
        twin.step = step
        config = make_config(precision=precision).train
        reports.append(training_step(twin, twin.generator, batch, PER_EPOCH, config))
        assert {parameter.dtype for parameter in twin.generator.parameters()} == {torch.float32}
    assert reports[0]["content"] != reports[1]["content"]
    assert reports[0] == pytest.approx(reports[1], rel=0.1, abs=0.1)


@pytest.mark.parametrize(("step", "network"), [(0, "generator"), (6, "discriminator")])
def test_a_gradient_that_is_not_finite(state, batch, make_config, step, network):
    state.step = step
    poisoned = getattr(state, network)
    with torch.no_grad():
        next(poisoned.parameters()).view(-1)[0] = float("nan")
    before = parameters(poisoned)[1:]
    with pytest.raises(NonFiniteGradientError, match=type(poisoned).__name__):
        training_step(state, state.generator, batch, PER_EPOCH, make_config().train)
    assert state.step == step
    assert all(map(torch.equal, parameters(poisoned)[1:], before))
