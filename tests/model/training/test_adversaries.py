import dataclasses
from functools import partial

import pytest
import torch

from model.networks import Discriminator
from model.networks.efficientnet import FeatureDistance, load_features
from model.networks.projected import ProjectedDiscriminator
from model.training import diffaugment, losses
from model.training.adversaries import adversary_of
from model.training.draws import Purpose, generator_for, variation
from model.training.generator_losses import Judges, Restoration
from model.training.steps import Setup, joint_step


@pytest.fixture(scope="module")
def judges() -> Judges:
    return Judges(FeatureDistance(load_features("lite0")))


def test_each_kind_builds_its_network(make_config):
    config = make_config()
    plain = adversary_of(config.train).build(config.architecture)
    assert isinstance(plain, Discriminator)
    config = make_config(discriminator="projected")
    projected = adversary_of(config.train).build(config.architecture)
    assert isinstance(projected, ProjectedDiscriminator)


def test_stylegan2_sees_both_halves_varied_alike(state, batch, make_config, monkeypatch):
    seen = []

    def apply(x, by):
        seen.append(by)
        return x

    monkeypatch.setattr(diffaugment, "apply", apply)
    joint_step(state, [batch], Setup(make_config().train, 2, state.generator), train_g=True)
    assert [by is seen[0] for by in seen] == [True, True, False, False]
    assert seen[2] is seen[3]


def test_draws_depend_on_step_and_part_alone(state, batch, make_config):
    adversary = adversary_of(make_config().train)

    def loss(step: int, part: int) -> float:
        torch.rand(1)  # what else is drawn does not matter
        restoration = Restoration(batch.low, batch.high, Judges(), part=part)
        return adversary.generator_terms(state.discriminator, restoration, step)[
            "adversarial"
        ].item()

    assert loss(3, 1) == loss(3, 1)
    assert len({loss(3, 0), loss(3, 1), loss(4, 0)}) == 3


def test_r1_is_that_of_the_raw_picture(state, batch, make_config):
    """Contrast, for one, is part of what the gradient goes through (StyleGAN2-ADA)."""
    config = make_config(gp_interval=2).train
    restoration = Restoration(batch.low, batch.high, Judges())
    _, values = adversary_of(config).discriminator_loss(state.discriminator, restoration, 4)
    real = batch.high.clone().requires_grad_()
    vary = variation(real, generator_for(config.seed, 4, 0, Purpose.DISCRIMINATOR))
    expected = losses.gradient_penalty(state.discriminator(vary(real)), real)
    assert values["gradient_penalty"].item() == pytest.approx(expected.item(), rel=1e-4)
    seen = vary(batch.high).requires_grad_()
    of_what_is_seen = losses.gradient_penalty(state.discriminator(seen), seen)
    assert values["gradient_penalty"].item() != pytest.approx(of_what_is_seen.item(), rel=0.01)


@pytest.mark.filterwarnings("ignore")  # of PyTorch's compiler, about PyTorch
@pytest.mark.parametrize("step", [4, 5])  # with R1, which is not compiled, and without
def test_compiled_the_discriminator_has_the_same_losses(
    state, batch, make_config, monkeypatch, step
):
    """In one graph, without breaks; gradients of D and of the restored picture, too."""

    def losses_and_gradients(*, compiled: bool) -> list[torch.Tensor]:
        adversary = adversary_of(make_config(compile=compiled, gp_interval=2).train)
        restoration = Restoration(batch.low.clone().requires_grad_(), batch.high, Judges())
        state.optimizer_d.zero_grad()
        loss, values = adversary.discriminator_loss(state.discriminator, restoration, step)
        torch.autograd.backward(loss)
        weight = state.discriminator.final_conv[0].weight.grad
        terms = adversary.generator_terms(state.discriminator, restoration, step)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        assert restoration.restored.grad is not None
        return [loss, *values.values(), weight, *terms.values(), restoration.restored.grad]

    plain = losses_and_gradients(compiled=False)
    whole = partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", whole)
    for ours, theirs in zip(losses_and_gradients(compiled=True), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_projected_tells_restored_from_real_and_g_what_to_change(batch, make_config, judges):
    config = make_config(discriminator="projected", losses={"adversarial_pixels": 1})
    torch.manual_seed(0)
    adversary = adversary_of(config.train)
    network = adversary.build(config.architecture)
    restoration = Restoration(batch.low.clone().requires_grad_(), batch.high, judges)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    history = []
    for step in range(30):
        loss, values = adversary.discriminator_loss(network, restoration, step)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        history.append(values)
    assert history[0]["d"].item() == pytest.approx(2, abs=0.3)  # at chance
    assert history[-1]["d"].item() < 0.7 * history[0]["d"].item()
    assert history[-1]["d_real"] > history[-1]["d_fake"]
    assert restoration.restored.grad is None  # D's step leaves G's output alone

    terms = adversary.generator_terms(network, restoration, 0)
    assert set(terms) == {"adversarial", "adversarial_pixels"}
    for term in terms.values():
        (gradient,) = torch.autograd.grad(term, restoration.restored, retain_graph=True)
        assert gradient.abs().sum() > 0


def test_features_are_computed_once_a_step(state, batch, make_config, judges, monkeypatch):
    """Of restored and real faces, for perceptual loss and D alike."""
    config = make_config(discriminator="projected", losses={"perceptual": 1})
    looks = []
    assert judges.perceptual is not None
    features = judges.perceptual.features
    forward = features.forward

    def noting(x, *arguments):
        looks.append(x)
        return forward(x, *arguments)

    monkeypatch.setattr(features, "forward", noting)
    state.discriminator = adversary_of(config.train).build(config.architecture)
    state.optimizer_d = torch.optim.AdamW(state.discriminator.parameters())
    setup = Setup(config.train, 2, state.generator, judges)
    report = joint_step(state, [batch], setup, train_g=True)
    assert len(looks) == 2
    assert {"perceptual", "adversarial", "d", "d_pixels"} <= set(report)
    twice = [batch, dataclasses.replace(batch, part=1)]
    looks.clear()
    joint_step(state, twice, setup, train_g=True)
    assert len(looks) == 8  # of several micro-batches no graph is kept
