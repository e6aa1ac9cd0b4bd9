"""What the networks are trained on.  Pictures are (N, 3, R, R) in [-1, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def content_loss(restored: Tensor, target: Tensor, *, detail: float) -> Tensor:
    """L1, plus ``detail`` times L1 on Laplacians at two scales, which weighs edges and texture."""
    loss = F.l1_loss(restored, target)
    if detail:
        difference = restored - target  # the Laplacian is linear
        half = F.avg_pool2d(difference, 2)
        loss = loss + detail * (_laplacian(difference).abs().mean() + _laplacian(half).abs().mean())
    return loss


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
