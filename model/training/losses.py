"""The formulas of the losses.  Pictures are (N, 3, R, R) in [-1, 1].

Which of them G minimises, and with what weight, is in ``model.training.generator_losses``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def content_loss(restored: Tensor, target: Tensor) -> Tensor:
    """L1."""
    return F.l1_loss(restored, target)


def detail_loss(restored: Tensor, target: Tensor) -> Tensor:
    """L1 on Laplacians at two scales, which weighs edges and texture."""
    difference = restored - target  # the Laplacian is linear
    half = F.avg_pool2d(difference, 2)
    return _laplacian(difference).abs().mean() + _laplacian(half).abs().mean()


def _laplacian(x: Tensor) -> Tensor:
    centre = x[..., 1:-1, 1:-1]
    cross = x[..., :-2, 1:-1] + x[..., 2:, 1:-1] + x[..., 1:-1, :-2] + x[..., 1:-1, 2:]
    return centre - cross / 4


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss (Goodfellow et al., 2014)."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss; 2 ln 2 = 1.386 at chance."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def hinge_generator_loss(fake_logits: Sequence[Tensor]) -> Tensor:
    """The mean over heads of the negated logits: as low as D can be made to take fakes for real."""
    return -torch.stack([logits.float().mean() for logits in fake_logits]).mean()


def hinge_discriminator_loss(
    real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]
) -> Tensor:
    """Hinge loss (Lim and Ye, 2017), the mean over heads; 2 at chance, 0 when D is always right."""
    terms = [
        F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()
        for real, fake in zip(real_logits, fake_logits, strict=True)
    ]
    return torch.stack(terms).mean()


def gradient_penalty(real_logits: Tensor, real: Tensor) -> Tensor:
    """R1: the mean over the batch of the squared norm of dD/d(real) (Mescheder et al., 2018)."""
    (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def feature_matching_loss(restored: list[Tensor], target: list[Tensor]) -> Tensor:
    """L1 between the discriminator's features of both pictures (GPEN, section 3.3).

    They may be of lower precision; sums are not.  Dividing a sum, and casting the difference, spare
    ``F.l1_loss`` of both passes over features that are as large as pictures get.
    """
    terms = []
    for a, b in zip(restored, target, strict=True):
        difference = a - b.detach()
        wide = difference.to(torch.promote_types(difference.dtype, torch.float32))
        terms.append(wide.abs().sum() / wide.numel())
    return torch.stack(terms).mean()


def path_lengths(restored: Tensor, style: Tensor, noise: Tensor) -> Tensor:
    """How far a small step of each style moves its picture: (N,), differentiable.

    Path-length regularisation (StyleGAN2, Karras et al., CVPR 2020, section 3.2) holds
    ||J^T y|| steady, J being d(restored)/d(style) and y a random picture.  ``style`` (N, C) is what
    ``restored`` was made with; ``noise`` is a unit normal of the shape of ``restored``.  All layers
    share one style here, so that the gradient is the sum of theirs, where StyleGAN2 takes the mean;
    the target is a running mean, and follows.
    """
    pixels = restored.shape[2] * restored.shape[3]
    projection = (restored * noise).sum() / math.sqrt(pixels)
    (gradient,) = torch.autograd.grad(projection, style, create_graph=True)
    # where a style changes nothing, as at the start, the root would have no derivative
    return (gradient.square().sum(dim=1) + 1e-8).sqrt()
