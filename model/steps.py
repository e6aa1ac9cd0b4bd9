"""One step of training: an update of G, of D, or of both.

A step's batch comes as the micro-batches of one process.  Each adds its share to the gradient; when
that is complete, it is averaged over the processes, clipped, and descended.  So many small
micro-batches equal few large ones, up to D's minibatch standard deviation: its group is one
micro-batch, wherever that is worked on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from model.config import TrainConfig
from model.loading import Batch
from model.objectives import (
    Setup,
    Values,
    autocast,
    discriminator_loss,
    follow_path_length,
    generator_loss,
    path_length_loss,
    restoration_loss,
)
from model.records import StepReport
from model.schedule import Stage, learning_rates, stage_at
from model.state import TrainingState


class NonFiniteGradientError(RuntimeError):
    """A gradient is infinite or not a number.  The network it belongs to was not updated."""


def training_step(state: TrainingState, batches: Sequence[Batch], setup: Setup) -> StepReport:
    """One step of whatever stage ``state.step`` is in; G's moving average follows.

    Raises NonFiniteGradientError; ``state.step`` is then the step that failed.
    """
    config = setup.config
    stage = stage_at(state.step // setup.per_epoch, config)
    lr_g, lr_d = learning_rates(state.step, setup.per_epoch, config)
    state.optimizer_g.param_groups[0]["lr"] = lr_g
    state.optimizer_d.param_groups[0]["lr"] = lr_d
    if stage is Stage.CONTENT:
        values = content_step(state, batches, setup)
    else:
        values = joint_step(state, batches, setup, train_g=stage is Stage.JOINT)
    state.step += 1
    if stage is not Stage.WARMUP:  # in which G stands still
        state.update_ema(_ema_decay(state.step, config))
    numbers = torch.stack(list(values.values())).tolist()  # all of them at once from the device
    # with float16, a norm is infinite now and then, and the update was skipped
    finite = {name: x for name, x in zip(values, numbers, strict=True) if math.isfinite(x)}
    return StepReport(lr_g=lr_g, lr_d=lr_d, **finite)


def content_step(state: TrainingState, batches: Sequence[Batch], setup: Setup) -> Values:
    """One step of G on content losses alone."""
    state.optimizer_g.zero_grad(set_to_none=True)
    shares = []
    for batch in batches:
        loss, values = restoration_loss(_restore(batch, setup), batch.high, setup)
        _backward(loss, state.scaler_g, batches)
        shares.append(_detached(values))
    norm = _descend(state.generator, state.optimizer_g, state.scaler_g, setup)
    return _mean(shares) | {"grad_norm_g": norm}


def joint_step(
    state: TrainingState, batches: Sequence[Batch], setup: Setup, *, train_g: bool
) -> Values:
    """One step of D and, outside of warm-up, one of G against the D that comes out of it."""
    # of a single micro-batch, G's graph serves both; of several, it would have to be kept for each
    once = _restore(batches[0], setup) if train_g and len(batches) == 1 else None
    values = discriminator_step(state, batches, setup, once)
    if train_g:
        values |= generator_step(state, batches, setup, once)
    return values


def discriminator_step(
    state: TrainingState, batches: Sequence[Batch], setup: Setup, restored: Tensor | None = None
) -> Values:
    """One step of D; ``restored`` is G's output for the only micro-batch, if already there."""
    state.optimizer_d.zero_grad(set_to_none=True)
    shares = []
    for batch in batches:
        with torch.no_grad():
            fake = _restore(batch, setup) if restored is None else restored.detach()
        loss, values = discriminator_loss(state, fake, batch, setup)
        _backward(loss, state.scaler_d, batches)
        shares.append(_detached(values))
    norm = _descend(state.discriminator, state.optimizer_d, state.scaler_d, setup)
    return _mean(shares) | {"grad_norm_d": norm}


def generator_step(
    state: TrainingState, batches: Sequence[Batch], setup: Setup, restored: Tensor | None = None
) -> Values:
    """One step of G; ``restored`` is its output for the only micro-batch, graph attached."""
    regularisation = setup.config.path_length
    regularised = regularisation.weight > 0 and state.step % regularisation.interval == 0
    state.optimizer_g.zero_grad(set_to_none=True)
    state.discriminator.requires_grad_(False)  # the gradient passes through; D needs none itself
    shares = []
    for batch in batches:
        fake = _restore(batch, setup) if restored is None else restored
        loss, values = generator_loss(state, fake, batch, setup)
        _backward(loss, state.scaler_g, batches)
        if regularised:
            loss, lengths = path_length_loss(state, batch, setup)
            _backward(loss, state.scaler_g, batches)
            values |= lengths
        shares.append(_detached(values))
    state.discriminator.requires_grad_(True)
    norm = _descend(state.generator, state.optimizer_g, state.scaler_g, setup)
    report = _mean(shares) | {"grad_norm_g": norm}
    if regularised:
        follow_path_length(state, report["path_length"], setup)
    return report


def _restore(batch: Batch, setup: Setup) -> Tensor:
    with autocast(batch.low, setup.config):
        restored = setup.generate(batch.low)
    return restored.float()


def _backward(loss: Tensor, scaler: GradScaler, batches: Sequence[Batch]) -> None:
    """Add a micro-batch's share to the gradient of the step."""
    scaler.scale(loss / len(batches)).backward()  # type: ignore[no-untyped-call]


def _descend(network: nn.Module, optimizer: Optimizer, scaler: GradScaler, setup: Setup) -> Tensor:
    """Update a network; returns the norm of its gradient before clipping.

    In float16, a gradient that overflows halves the loss scale, and the update is left out; only
    when there is nothing left to halve it is an error.
    """
    setup.team.average_gradients(network)
    scaler.unscale_(optimizer)
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    norm = nn.utils.get_total_norm(gradients.values())
    if math.isfinite(norm.item()):
        max_norm = setup.config.clip_grad_norm
        nn.utils.clip_grads_with_norm_(network.parameters(), max_norm, norm)
    elif not (scaler.is_enabled() and scaler.get_scale() > 1):
        bad = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
        raise NonFiniteGradientError(
            f"the gradient of the {type(network).__name__} is {norm.item()}, "
            f"in {len(bad)} of {len(gradients)} tensors, such as {bad[0]}"
        )
    scaler.step(optimizer)
    scaler.update()
    return norm


def _detached(values: Values) -> Values:
    return {name: value.detach() for name, value in values.items()}


def _mean(shares: Sequence[Values]) -> Values:
    """Means over micro-batches."""
    return {name: torch.stack([values[name] for values in shares]).mean() for name in shares[0]}


def _ema_decay(step: int, config: TrainConfig) -> float:
    """Weight of the average so far; the half-life grows with the images seen (StyleGAN2-ADA)."""
    half_life = min(config.ema_half_life, 0.05 * step * config.batch_size)
    return float(0.5 ** (config.batch_size / half_life))
