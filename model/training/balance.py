"""Weights of losses by the size of their gradients.

The value of a loss does not say how hard it pulls: at equal weights, the gradient of a hinge loss
on logits is thousands of times that of L1.  What counts is the gradient at the restored picture,
where all losses meet.  With ``losses.balance``, a weight says how large the gradient of its term is
relative to that of L1 (``content``).

The gradients are compared at every step.  A running mean would save a backward pass per term, but
it lags: the gradient of a discriminator that has just begun to learn grows tenfold within twenty
steps, and pulls the generator away before the mean has followed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.amp import GradScaler

from model.training.generator_losses import LossConfig, Terms

_REFERENCE = "content"


def term_gradients(terms: Terms, restored: Tensor, scaler: GradScaler) -> Terms:
    """The gradient of each term at ``restored``, times the scale of ``scaler``; graphs are kept."""
    return {
        name: torch.autograd.grad(scaler.scale(term), restored, retain_graph=True)[0]
        for name, term in terms.items()
    }


def balanced_weights(config: LossConfig, norms: Mapping[str, float]) -> dict[str, float]:
    """Factors that give the terms' gradients, of these L2 norms, the configured proportions.

    They are scaled so that these proportions add up to 1 times the gradient of L1 alone: learning
    rates and gradient clipping then mean what they mean without balancing.  A scale that all norms
    share has no effect.
    """
    shares = {name: config.weight(name) for name in norms}
    size = norms[_REFERENCE] / sum(shares.values())
    return {name: share * size / max(norms[name], 1e-12) for name, share in shares.items()}
