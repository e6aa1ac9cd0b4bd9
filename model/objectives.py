"""What D and G minimise on a micro-batch: the terms of ``model.losses``, weighted as configured.

Every function returns a loss to call ``backward`` on, and what there is to report.  Random draws
are a function of seed, step, micro-batch and purpose alone: they do not depend on what was drawn
before, nor on how many processes share a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from model import diffaugment, losses
from model.config import TrainConfig
from model.loading import Batch
from model.metrics import Distance
from model.state import TrainingState

Generate = Callable[[Tensor], Tensor]
"""The generator, compiled or not."""

Values = dict[str, Tensor]
"""Fields of a StepReport, as long as they are on the device."""

_PATH_LENGTH_RATE = 0.01  # of the running mean, a regularised step (StyleGAN2's code)
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Team(Protocol):
    """The processes that share a step; ``model.processes.Processes`` is one."""

    def average_gradients(self, network: nn.Module) -> None: ...
    def average(self, values: list[float]) -> list[float]: ...


class Alone:
    """A team of one."""

    def average_gradients(self, network: nn.Module) -> None: ...

    def average(self, values: list[float]) -> list[float]:
        return values


@dataclass(frozen=True)
class Setup:
    """What the steps of a run are made with."""

    config: TrainConfig
    per_epoch: int
    """Steps."""
    generate: Generate
    distances: Mapping[str, Distance] = field(default_factory=dict)
    """Perceptual terms of G's loss that have a weight, by its name."""
    team: Team = field(default_factory=Alone)


class _Purpose(IntEnum):
    DISCRIMINATOR = 0
    GENERATOR = 1
    PATH_LENGTH = 2


def restoration_loss(restored: Tensor, target: Tensor, setup: Setup) -> tuple[Tensor, Values]:
    """How far restored pictures are from their targets, in pixels and to other networks' eyes."""
    weights = setup.config.losses
    content = losses.content_loss(restored, target, detail=weights.detail)
    loss, values = weights.content * content, {"content": content}
    for name, distance in setup.distances.items():
        values[name] = distance(restored, target).mean()
        loss = loss + float(getattr(weights, name)) * values[name]
    return loss, values


def discriminator_loss(
    state: TrainingState, restored: Tensor, batch: Batch, setup: Setup
) -> tuple[Tensor, Values]:
    """Logistic loss of D; every ``gp_interval`` steps with R1, times its interval.

    With R1, D judges real faces in float32, and its loss on them shares that graph: one forward and
    one backward pass less.

    The interval keeps R1's mean weight (lazy regularisation, StyleGAN2, appendix B).  As it is part
    of the same update, Adam's settings need no correction, as they do where it is an update of its
    own.
    """
    config = setup.config
    vary = _variation(batch, state.step, _Purpose.DISCRIMINATOR, config)
    fake, real = vary(restored), vary(batch.high)
    penalised = config.use_gradient_penalty and state.step % config.gp_interval == 0
    with autocast(fake, config):
        fake_logits = state.discriminator(fake).float()
        if not penalised:
            real_logits = state.discriminator(real).float()
    if penalised:
        real = real.detach().float().requires_grad_(True)
        real_logits = state.discriminator(real)
    loss = losses.discriminator_loss(real_logits, fake_logits)
    values = {
        "d": loss,
        "d_real": real_logits.mean(),
        "d_fake": fake_logits.mean(),
        "d_real_sign": real_logits.sign().mean(),
    }
    if penalised:
        penalty = losses.gradient_penalty(real_logits, real)
        loss = loss + config.r1_weight / 2 * config.gp_interval * penalty
        values["gradient_penalty"] = penalty
    return loss, values


def generator_loss(
    state: TrainingState, restored: Tensor, batch: Batch, setup: Setup
) -> tuple[Tensor, Values]:
    """Restoration, adversarial and feature matching losses (GPEN, section 3.3).

    ``restored`` is G's output, still attached to its graph.
    """
    config, discriminator = setup.config, state.discriminator
    vary = _variation(batch, state.step, _Purpose.GENERATOR, config)
    weights = config.losses
    loss, values = restoration_loss(restored, batch.high, setup)
    with autocast(restored, config):
        fake_features = discriminator.features(vary(restored))
        fake_logits = discriminator.score(fake_features)
    values["adversarial"] = losses.generator_loss(fake_logits.float())
    loss = loss + weights.adversarial * values["adversarial"]
    if weights.feature_matching > 0:  # or D need not look at the real faces once more
        with autocast(restored, config), torch.no_grad():
            real_features = discriminator.features(vary(batch.high))
        values["feature_matching"] = losses.feature_matching_loss(fake_features, real_features)
        loss = loss + weights.feature_matching * values["feature_matching"]
    return loss, values


def path_length_loss(state: TrainingState, batch: Batch, setup: Setup) -> tuple[Tensor, Values]:
    """Squared distance of path lengths from their running mean, in float32, times the interval.

    See ``losses.path_lengths``; the running mean is ``state.path_length``, which
    :func:`follow_path_length` moves.
    """
    config = setup.config.path_length
    rng = _draws(batch, state.step, _Purpose.PATH_LENGTH, setup.config)
    noise = torch.randn(batch.low.shape, generator=rng).to(batch.low.device)
    with _style_of(state.generator) as styles:
        restored = state.generator(batch.low)
    lengths = losses.path_lengths(restored, styles[0], noise)
    target = state.path_length + _PATH_LENGTH_RATE * (lengths.mean() - state.path_length)
    loss = config.weight * config.interval * (lengths - target).square().mean()
    return loss, {"path_length": lengths.mean()}


def follow_path_length(state: TrainingState, length: Tensor, setup: Setup) -> None:
    """Move the running mean towards this step's, over all processes."""
    (mean,) = setup.team.average([length.item()])
    state.path_length += _PATH_LENGTH_RATE * (mean - state.path_length)


def autocast(x: Tensor, config: TrainConfig) -> torch.autocast:
    """Within, networks compute in the configured precision."""
    dtype = _DTYPES[config.precision]
    return torch.autocast(x.device.type, dtype, enabled=dtype is not torch.float32)


@contextmanager
def _style_of(generator: nn.Module) -> Iterator[list[Tensor]]:
    """Within, the list receives the style (N, 512) of every forward pass."""
    styles: list[Tensor] = []
    mapping = generator.get_submodule("generator.style")
    handle = mapping.register_forward_hook(lambda _module, _inputs, style: styles.append(style))
    try:
        yield styles
    finally:
        handle.remove()


def _draws(batch: Batch, step: int, purpose: _Purpose, config: TrainConfig) -> torch.Generator:
    key = np.random.SeedSequence([config.seed, step, batch.part, purpose])
    return torch.Generator().manual_seed(int(key.generate_state(1, np.uint64)[0]))


def _variation(
    batch: Batch, step: int, purpose: _Purpose, config: TrainConfig
) -> Callable[[Tensor], Tensor]:
    """What D's view of a micro-batch is varied by, the same for both halves of its pairs."""
    if not config.augment_d:
        return lambda x: x
    variation = diffaugment.draw(
        len(batch.high), batch.high.device, _draws(batch, step, purpose, config)
    )
    return lambda x: diffaugment.apply(x, variation)
