import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from model.networks import Discriminator
from model.training import losses


def test_content_loss_is_l1():
    torch.manual_seed(0)
    a, b = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(losses.content_loss(a, b), (a - b).abs().mean())


def test_content_and_detail_are_zero_for_the_target():
    x = torch.rand(2, 3, 16, 16)
    assert losses.content_loss(x, x).item() == 0
    assert losses.detail_loss(x, x).item() == 0


def test_detail_ignores_smooth_differences():
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    ramp = (0.03 * x + 0.02 * y + 0.1).expand(1, 3, 16, 16)
    assert losses.detail_loss(ramp, torch.zeros_like(ramp)).item() == pytest.approx(0, abs=1e-6)


def test_detail_weighs_laplacians_at_two_scales():
    torch.manual_seed(0)
    a, b = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]).expand(3, 1, 3, 3) / 4
    expected = torch.zeros(())
    for scale in (1, 2):
        laplacians = [F.conv2d(F.avg_pool2d(x, scale), kernel, groups=3) for x in (a, b)]
        expected = expected + (laplacians[0] - laplacians[1]).abs().mean()
    torch.testing.assert_close(losses.detail_loss(a, b), expected)


def test_adversarial_losses():
    logits = torch.tensor([[-3.0], [0.5], [2.0]])
    g = sum(math.log1p(math.exp(-value)) for value in (-3, 0.5, 2)) / 3
    assert losses.generator_loss(logits).item() == pytest.approx(g, rel=1e-5)
    d = g + sum(math.log1p(math.exp(value)) for value in (-3, 0.5, 2)) / 3
    assert losses.discriminator_loss(logits, logits).item() == pytest.approx(d, rel=1e-5)


def test_discriminator_loss_at_chance_and_when_right():
    undecided = torch.zeros(4, 1)
    assert losses.discriminator_loss(undecided, undecided).item() == pytest.approx(2 * math.log(2))
    right = losses.discriminator_loss(torch.full((4, 1), 9.0), torch.full((4, 1), -9.0))
    assert right.item() < 1e-3


def test_hinge_losses_over_heads_of_any_shape():
    real = [torch.tensor([0.5, 2.0]), torch.full((1, 1, 2, 2), 1.0)]
    fake = [torch.tensor([-0.5, -3.0]), torch.full((1, 1, 2, 2), 1.0)]
    # first head: (0.5 + 0) / 2 for real, (0.5 + 0) / 2 for fake; second: 0 for real, 2 for fake
    assert losses.hinge_discriminator_loss(real, fake).item() == pytest.approx((0.5 + 2) / 2)
    assert losses.hinge_generator_loss(fake).item() == pytest.approx((1.75 - 1) / 2)
    undecided = [torch.zeros(3)]
    assert losses.hinge_discriminator_loss(undecided, undecided).item() == 2


def test_gradient_penalty_of_a_linear_discriminator():
    """Its slope is its weight, so R1 is the weight's squared norm, whatever the picture."""
    torch.manual_seed(0)
    linear = nn.Linear(3 * 8 * 8, 1)
    x = torch.randn(5, 3, 8, 8, requires_grad=True)
    penalty = losses.gradient_penalty(linear(x.flatten(1)), x)
    assert penalty.item() == pytest.approx(linear.weight.square().sum().item(), rel=1e-5)


def test_gradient_penalty_against_finite_differences():
    torch.manual_seed(0)
    discriminator = Discriminator(8, narrow=1 / 128).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    penalty = losses.gradient_penalty(discriminator(x), x)

    step, expected = 1e-6, 0.0
    with torch.no_grad():
        for i in range(x.numel()):
            change = torch.zeros(x.numel(), dtype=torch.float64)
            change[i] = step
            above = discriminator(x + change.view_as(x)).sum()
            below = discriminator(x - change.view_as(x)).sum()
            expected += ((above - below) / (2 * step)).item() ** 2 / len(x)
    assert penalty.item() == pytest.approx(expected, rel=1e-5)


def test_gradient_penalty_trains_the_discriminator():
    torch.manual_seed(0)
    discriminator = Discriminator(16, narrow=1 / 64)
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    first = next(discriminator.parameters())
    (gradient,) = torch.autograd.grad(losses.gradient_penalty(discriminator(x), x), first)
    assert gradient.abs().sum() > 0


def test_feature_matching_is_the_mean_over_layers():
    restored = [torch.full((2, 4, 8, 8), 1.0), torch.full((2, 8, 4, 4), 3.0)]
    target = [torch.zeros(2, 4, 8, 8), torch.ones(2, 8, 4, 4)]
    assert losses.feature_matching_loss(restored, target).item() == pytest.approx((1 + 2) / 2)
    with pytest.raises(ValueError, match="shorter"):
        losses.feature_matching_loss(restored, target[:1])


def test_feature_matching_moves_the_restored_picture_only():
    restored, target = torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
    pictures = (restored.requires_grad_(), target.requires_grad_())
    loss = losses.feature_matching_loss([restored], [target])
    to_restored, to_target = torch.autograd.grad(loss, pictures, allow_unused=True)
    assert to_restored.abs().sum() > 0
    assert to_target is None


def test_path_lengths_of_a_linear_map():
    """For G(w) = A w, the gradient of <G(w), y> is A^T y, whatever w."""
    torch.manual_seed(0)
    matrix = torch.randn(3 * 8 * 8, 16)
    style = torch.randn(4, 16, requires_grad=True)
    noise = torch.randn(4, 3, 8, 8)
    lengths = losses.path_lengths((style @ matrix.T).view(4, 3, 8, 8), style, noise)
    expected = (noise.flatten(1) @ matrix).norm(dim=1) / 8
    torch.testing.assert_close(lengths, expected)
