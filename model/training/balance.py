"""Weights of losses by the size of their gradients.

The value of a loss does not say how strong its gradient is: at equal weights, the gradient of a
hinge loss on logits is thousands of times that of L1.  What counts is the gradient at the restored
picture, which all losses share.  With ``losses.balance``, a weight says how large the gradient of
its term is relative to that of L1 (``content``).

The gradients are compared at every step.  A running mean would save a backward pass per term, but
it lags: the gradient of a discriminator that has just begun to learn grows tenfold within twenty
steps, and would dominate the others before the mean has adapted.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.amp import GradScaler

from model.training.generator_losses import LossConfig, Terms

_REFERENCE = "content"


def term_gradients(terms: Terms, restored: Tensor, scaler: GradScaler) -> Terms:
    """The gradient of each term at ``restored``, scaled by ``scaler``; the graphs are kept."""
    return {
        name: torch.autograd.grad(scaler.scale(term), restored, retain_graph=True)[0]
        for name, term in terms.items()
    }


def balanced_weights(config: LossConfig, norms: Mapping[str, float]) -> dict[str, float]:
    """Factors that give the terms' gradients the configured proportions.

    ``norms`` are the L2 norms of the gradients; a scale that they share has no effect.  The
    weighted norms add up to the norm of L1's gradient, so learning rates and gradient clipping keep
    the meaning that they have without balancing.
    """
    shares = {name: config.weight(name) for name in norms}
    size = norms[_REFERENCE] / sum(shares.values())
    return {name: share * size / max(norms[name], 1e-12) for name, share in shares.items()}
