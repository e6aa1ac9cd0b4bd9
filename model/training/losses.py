"""Formulas of the losses.  Pictures are (N, 3, R, R) in [-1, 1].

``model.training.generator_losses`` says which of them G minimises, and with which weights.
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
    """Hinge loss of G (Lim and Ye, 2017): the mean over heads of the negated logits."""
    return -torch.stack([logits.float().mean() for logits in fake_logits]).mean()


def hinge_discriminator_loss(
    real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]
) -> Tensor:
    """Hinge loss of D, the mean over heads; 2 at chance, 0 if D is always right by a margin."""
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

    Features may be in lower precision; sums are in float32.  Only the difference is cast, and its
    sum is divided: ``F.l1_loss`` would make two more passes over very large tensors.
    """
    terms = []
    for a, b in zip(restored, target, strict=True):
        difference = a - b.detach()
        wide = difference.to(torch.promote_types(difference.dtype, torch.float32))
        terms.append(wide.abs().sum() / wide.numel())
    return torch.stack(terms).mean()


def path_lengths(restored: Tensor, style: Tensor, noise: Tensor) -> Tensor:
    """How much a small change of each style changes its picture: (N,), differentiable.

    Path-length regularisation (StyleGAN2, Karras et al., CVPR 2020, section 3.2) keeps ||J^T y||
    steady, where J is d(restored)/d(style) and y a random picture.  ``style`` (N, C) is the style
    that ``restored`` was computed with; ``noise`` is unit normal, in the shape of ``restored``.
    Here all layers share one style, so the gradient is the sum over the layers, while StyleGAN2
    takes the mean; the target is a running mean of the same quantity, so only the scale differs.
    """
    pixels = restored.shape[2] * restored.shape[3]
    projection = (restored * noise).sum() / math.sqrt(pixels)
    (gradient,) = torch.autograd.grad(projection, style, create_graph=True)
    # a root has no derivative at 0, which occurs at the start, when styles have no effect
    return (gradient.square().sum(dim=1) + 1e-8).sqrt()
