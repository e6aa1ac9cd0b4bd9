"""Path-length regularisation of G (StyleGAN2, Karras et al., CVPR 2020, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from model.training import losses
from model.training.config import PathLengthConfig

RATE = 0.01  # of the running mean, per regularised step (StyleGAN2's code)


def path_length_loss(
    generator: nn.Module,
    low: Tensor,
    rng: torch.Generator,
    running: float,
    config: PathLengthConfig,
) -> tuple[Tensor, Tensor]:
    """The squared distance of path lengths from their running mean, times weight and interval.

    It is computed in float32 (``losses.path_lengths``).  Returns the loss and the mean length of
    this micro-batch.
    """
    noise = torch.randn(low.shape, generator=rng).to(low.device)
    with _style_of(generator) as styles:
        restored = generator(low)
    lengths = losses.path_lengths(restored, styles[0], noise)
    target = running + RATE * (lengths.mean() - running)
    loss = config.weight * config.interval * (lengths - target).square().mean()
    return loss, lengths.mean()


@contextmanager
def _style_of(generator: nn.Module) -> Iterator[list[Tensor]]:
    """In this context, the list receives the style (N, 512) of every forward pass."""
    styles: list[Tensor] = []
    mapping = generator.get_submodule("generator.style")
    handle = mapping.register_forward_hook(lambda _module, _inputs, style: styles.append(style))
    try:
        yield styles
    finally:
        handle.remove()
