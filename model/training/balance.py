"""Weights of losses by the size of their gradients.

A loss's number says nothing of how hard it pulls: at equal weights, the gradient of a hinge loss
on logits is thousands of times that of L1.  What pulls is the gradient at the restored picture,
where all losses meet.  With ``losses.balance``, a weight says how large that of its term is,
relative to L1's (``content``).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from model.training.generator_losses import LossConfig, Terms

INTERVAL = 10
"""In steps: measuring costs a backward pass per term, down to the picture."""
_SMOOTHING = 0.7
"""Of the running mean, a measurement: it follows within some 30 steps.  The gradient of a
discriminator that has just begun to learn grows tenfold in twenty; a mean that lags behind lets it
pull as much harder than configured."""
_REFERENCE = "content"


def gradient_norms(terms: Terms, restored: Tensor) -> dict[str, Tensor]:
    """L2 norm of each term's gradient at ``restored``, whose graph is kept."""
    norms = {}
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(term, restored, retain_graph=True)
        norms[name] = gradient.float().norm()
    return norms


def is_due(step: int, terms: Terms, running: dict[str, float]) -> bool:
    """Whether to measure: every ``INTERVAL`` steps, and when a term is new."""
    return step % INTERVAL == 0 or not terms.keys() <= running.keys()


def follow(running: dict[str, float], measured: dict[str, float]) -> dict[str, float]:
    """Running means with one more measurement of each term; a new term begins with its first."""
    moved = {
        name: _SMOOTHING * running.get(name, norm) + (1 - _SMOOTHING) * norm
        for name, norm in measured.items()
    }
    return running | moved


def balanced_weights(
    config: LossConfig, terms: Iterable[str], running: dict[str, float]
) -> dict[str, float]:
    """Factors such that gradients at the output have the configured proportions.

    They are scaled so that those proportions add up to 1 times the gradient of L1 alone: learning
    rates and gradient clipping then mean what they mean without balancing.
    """
    shares = {name: config.weight(name) for name in terms}
    size = running[_REFERENCE] / sum(shares.values())
    return {name: share * size / max(running[name], 1e-12) for name, share in shares.items()}
