"""One step of training: an update of G, of D, or of both.

A step's batch consists of micro-batches, of which each process has some.  Each micro-batch adds its
share to the gradient.  The complete gradient is averaged over the processes and clipped before the
optimizer uses it.  So the division into micro-batches makes no difference, except for D's minibatch
standard deviation, whose group is one micro-batch.

The loss of G is differentiated in two parts: first down to the restored picture, where the
gradients of its terms can be compared, and from there through G.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer

from model.training.adversaries import Adversary, adversary_of
from model.training.balance import balanced_weights, term_gradients
from model.training.config import TrainConfig
from model.training.draws import Purpose, generator_for
from model.training.generator_losses import Judges, Restoration, Terms, restoration_terms
from model.training.loading import Batch
from model.training.path_length import RATE, path_length_loss
from model.training.precision import autocast
from model.training.records import WEIGHT_PREFIX, StepReport
from model.training.schedule import Plan, Stage, learning_rates
from model.training.state import TrainingState
from model.training.stopwatch import Stopwatch

Generate = Callable[[Tensor], Tensor]
"""The generator, compiled or not."""

Values = dict[str, Tensor]
"""The values that a step reports, by name; scalars on the device."""


class NonFiniteGradientError(RuntimeError):
    """A gradient is infinite or not a number.  Its network was not updated."""


class Team(Protocol):
    """The processes that share a step; ``model.training.processes.Processes`` is one."""

    def average_gradients(self, network: nn.Module) -> None: ...
    def average(self, values: list[float]) -> list[float]: ...


class Alone:
    """A team of one."""

    def average_gradients(self, network: nn.Module) -> None: ...

    def average(self, values: list[float]) -> list[float]:
        return values


@dataclass(frozen=True)
class Setup:
    """What all steps of a run need."""

    config: TrainConfig
    per_epoch: int
    """Steps an epoch."""
    generate: Generate
    judges: Judges = field(default_factory=Judges)
    team: Team = field(default_factory=Alone)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    @cached_property
    def plan(self) -> Plan:
        return Plan.of(self.config, self.per_epoch)

    @cached_property
    def adversary(self) -> Adversary:
        """How the discriminator learns, and the losses that it gives to G."""
        return adversary_of(self.config)


def training_step(state: TrainingState, batches: Sequence[Batch], setup: Setup) -> StepReport:
    """One step of the stage that ``state.step`` is in; also updates G's moving average.

    Raises NonFiniteGradientError, with ``state.step`` unchanged.
    """
    config = setup.config
    stage = setup.plan.stage_at(state.step)
    lr_g, lr_d = learning_rates(state.step, setup.plan, config)
    state.optimizer_g.param_groups[0]["lr"] = lr_g
    state.optimizer_d.param_groups[0]["lr"] = lr_d
    if stage is Stage.CONTENT:
        values = content_step(state, batches, setup)
    else:
        values = joint_step(state, batches, setup, train_g=stage is Stage.JOINT)
    state.step += 1
    if stage is not Stage.WARMUP:  # in which G is fixed
        with setup.stopwatch.part("update"):
            state.update_ema(_ema_decay(state.step, config))
    numbers = torch.stack(list(values.values())).tolist()  # one transfer from the device
    return StepReport.of(dict(zip(values, numbers, strict=True)) | {"lr_g": lr_g, "lr_d": lr_d})


def content_step(state: TrainingState, batches: Sequence[Batch], setup: Setup) -> Values:
    """One step of G without a discriminator."""
    return _train_generator(state, batches, setup, against=None)


def joint_step(
    state: TrainingState, batches: Sequence[Batch], setup: Setup, *, train_g: bool
) -> Values:
    """One step of D and, except in the warm-up, one of G against the updated D."""
    # one graph of G serves both steps, but graphs of several micro-batches would take much memory
    once = _restore(batches[0], setup) if train_g and len(batches) == 1 else None
    values = discriminator_step(state, batches, setup, once)
    if train_g:
        values |= generator_step(state, batches, setup, once)
    return values


def discriminator_step(
    state: TrainingState, batches: Sequence[Batch], setup: Setup, once: Restoration | None = None
) -> Values:
    """One step of D; ``once`` is the only micro-batch, if it has been restored already."""
    state.optimizer_d.zero_grad(set_to_none=True)
    shares = []
    for batch in batches:
        if once is None:
            with torch.no_grad():
                restoration = _restore(batch, setup)
        else:
            restoration = once
        with setup.stopwatch.part("discriminator"):
            loss, values = setup.adversary.discriminator_loss(
                state.discriminator, restoration, state.step
            )
            _backward(loss, state.scaler_d, batches)
        shares.append(_detached(values))
    norm = _descend(state.discriminator, state.optimizer_d, state.scaler_d, setup)
    return _mean(shares) | {"grad_norm_d": norm}


def generator_step(
    state: TrainingState, batches: Sequence[Batch], setup: Setup, once: Restoration | None = None
) -> Values:
    """One step of G against D; ``once`` is the only micro-batch, if it is restored already."""
    state.discriminator.requires_grad_(False)  # gradients pass through D, but its weights need none
    try:
        return _train_generator(state, batches, setup, against=state.discriminator, once=once)
    finally:
        state.discriminator.requires_grad_(True)


def _train_generator(
    state: TrainingState,
    batches: Sequence[Batch],
    setup: Setup,
    *,
    against: nn.Module | None,
    once: Restoration | None = None,
) -> Values:
    regularisation = setup.config.path_length
    regularised = (
        against is not None
        and regularisation.weight > 0
        and state.step % regularisation.interval == 0
    )
    state.optimizer_g.zero_grad(set_to_none=True)
    shares = []
    for batch in batches:
        restoration = _restore(batch, setup) if once is None else once
        with setup.stopwatch.part("losses"):
            terms = restoration_terms(restoration, setup.config.losses)
            if against is not None:
                terms |= setup.adversary.generator_terms(against, restoration, state.step)
            weights = _differentiate(terms, restoration, state.scaler_g, setup, len(batches))
        with setup.stopwatch.part("generator"):
            restoration.backward()
        values = _detached(terms) | weights
        if regularised:
            rng = generator_for(setup.config.seed, state.step, batch.part, Purpose.PATH_LENGTH)
            loss, length = path_length_loss(
                state.generator, batch.low, rng, state.path_length, regularisation
            )
            _backward(loss, state.scaler_g, batches)
            values["path_length"] = length.detach()
        shares.append(values)
    norm = _descend(state.generator, state.optimizer_g, state.scaler_g, setup)
    report = _mean(shares) | {"grad_norm_g": norm}
    if regularised:
        (mean,) = setup.team.average([report["path_length"].item()])
        state.path_length += RATE * (mean - state.path_length)
    return report


def _differentiate(
    terms: Terms, restoration: Restoration, scaler: GradScaler, setup: Setup, micro_batches: int
) -> Values:
    """Add the gradient of the weighted terms to ``restoration.restored.grad``.

    Returns the weights of balanced terms, for reporting; they are the same in all processes, which
    average the norms that the weights are computed from.
    """
    config = setup.config.losses
    if not config.balance:
        loss = torch.stack([config.weight(name) * term for name, term in terms.items()]).sum()
        scaler.scale(loss / micro_batches).backward()  # type: ignore[no-untyped-call]
        return {}
    gradients = term_gradients(terms, restoration.restored, scaler)
    norms = torch.stack([gradient.float().norm() for gradient in gradients.values()])
    means = setup.team.average(norms.tolist())
    weights = balanced_weights(config, dict(zip(gradients, means, strict=True)))
    restoration.restored.grad = sum(
        (weights[name] / micro_batches * gradient for name, gradient in gradients.items()),
        start=torch.zeros_like(restoration.restored),
    )
    return {f"{WEIGHT_PREFIX}{name}": norms.new_tensor(w) for name, w in weights.items()}


def _restore(batch: Batch, setup: Setup) -> Restoration:
    """Restore a micro-batch, and compute the features that its losses need."""
    config = setup.config
    with setup.stopwatch.part("generator"), autocast(batch.low, config.precision):
        restored = setup.generate(batch.low)
    restoration = Restoration(
        restored.float(), batch.high, setup.judges, config.precision, batch.part
    )
    if setup.judges.perceptual is not None:
        with setup.stopwatch.part("features"):
            restoration.look()
    return restoration


def _backward(loss: Tensor, scaler: GradScaler, batches: Sequence[Batch]) -> None:
    """Add the share of a micro-batch to the gradient of the step."""
    scaler.scale(loss / len(batches)).backward()  # type: ignore[no-untyped-call]


def _descend(network: nn.Module, optimizer: Optimizer, scaler: GradScaler, setup: Setup) -> Tensor:
    """Update a network; returns the norm of its gradient before clipping.

    In float16, a gradient that overflows halves the loss scale, and the update is skipped.  If the
    scale cannot be halved any more, NonFiniteGradientError is raised, as in other precisions.
    """
    with setup.stopwatch.part("averaging"):
        setup.team.average_gradients(network)
    with setup.stopwatch.part("update"):
        scaler.unscale_(optimizer)
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        norm = nn.utils.get_total_norm(gradients.values())
        if math.isfinite(norm.item()):
            max_norm = setup.config.clip_grad_norm
            nn.utils.clip_grads_with_norm_(network.parameters(), max_norm, norm)
        elif not (scaler.is_enabled() and scaler.get_scale() > 1):
            scaler.update()  # must follow unscale_ before the next step
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
    """Weight of the previous average; the half-life grows with the images seen (StyleGAN2-ADA)."""
    half_life = min(config.ema_half_life, 0.05 * step * config.batch_size)
    return float(0.5 ** (config.batch_size / half_life))
