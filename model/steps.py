"""One step of training: forward passes, losses, and an update of G, of D, or of both."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from model import diffaugment, losses
from model.config import TrainConfig
from model.schedule import Stage, learning_rates, stage_at
from model.state import TrainingState

Generate = Callable[[Tensor], Tensor]
"""The generator, compiled or not."""

Report = dict[str, float]
"""What a step has to say of itself: losses, logits, norms, learning rates."""


class NonFiniteGradientError(RuntimeError):
    """A gradient is infinite or not a number.  The network it belongs to was not updated."""


@dataclass(frozen=True)
class Batch:
    """Training pairs: both halves (N, 3, R, R) in [-1, 1]."""

    low: Tensor
    high: Tensor


def training_step(
    state: TrainingState, generate: Generate, batch: Batch, per_epoch: int, config: TrainConfig
) -> Report:
    """One step of whatever stage ``state.step`` is in; G's moving average follows.

    Raises NonFiniteGradientError; ``state.step`` is then the step that failed.
    """
    stage = stage_at(state.step // per_epoch, config)
    lr_g, lr_d = learning_rates(state.step, per_epoch, config)
    state.optimizer_g.param_groups[0]["lr"] = lr_g
    state.optimizer_d.param_groups[0]["lr"] = lr_d
    if stage is Stage.CONTENT:
        report = content_step(state, generate, batch, config)
    else:
        report = joint_step(state, generate, batch, config, train_g=stage is Stage.JOINT)
    state.step += 1
    if stage is not Stage.WARMUP:  # in which G stands still
        state.update_ema(_ema_decay(state.step, config))
    return report | {"lr_g": lr_g, "lr_d": lr_d}


def content_step(
    state: TrainingState, generate: Generate, batch: Batch, config: TrainConfig
) -> Report:
    """One step of G on content losses alone."""
    with _autocast(batch.low, config):
        restored = generate(batch.low)
    loss = losses.content_loss(restored.float(), batch.high, detail=config.losses.detail)
    norm = _descend(state.optimizer_g, state.generator, loss, config.clip_grad_norm)
    return {"content": loss.item(), "grad_norm_g": norm}


def joint_step(
    state: TrainingState, generate: Generate, batch: Batch, config: TrainConfig, *, train_g: bool
) -> Report:
    """One step of D and, outside of warm-up, one of G on the same restored pictures."""
    with _autocast(batch.low, config), torch.set_grad_enabled(train_g):
        restored = generate(batch.low).float()
    report = discriminator_step(state, restored.detach(), batch.high, config)
    if train_g:
        report |= generator_step(state, restored, batch.high, config)
    return report


def discriminator_step(
    state: TrainingState, restored: Tensor, target: Tensor, config: TrainConfig
) -> Report:
    """One step of D; every ``gp_interval`` steps with R1, in float32, times its interval.

    ``d_real_sign`` is the mean sign of D's logits for real pictures: 1 when D knows them by heart
    (r_t of StyleGAN2-ADA, Karras et al., NeurIPS 2020).
    """
    variation = _draw(restored, config)
    fake, real = _vary(restored, variation), _vary(target, variation)
    with _autocast(fake, config):
        fake_logits = state.discriminator(fake).float()
        real_logits = state.discriminator(real).float()
    loss = losses.discriminator_loss(real_logits, fake_logits)
    report = {
        "d": loss.item(),
        "d_real": real_logits.mean().item(),
        "d_fake": fake_logits.mean().item(),
        "d_real_sign": real_logits.sign().mean().item(),
    }
    if config.use_gradient_penalty and state.step % config.gp_interval == 0:
        real = real.detach().requires_grad_(True)
        penalty = losses.gradient_penalty(state.discriminator(real), real)
        loss = loss + config.r1_weight / 2 * config.gp_interval * penalty
        report["gradient_penalty"] = penalty.item()
    norm = _descend(state.optimizer_d, state.discriminator, loss, config.clip_grad_norm)
    return report | {"grad_norm_d": norm}


def generator_step(
    state: TrainingState, restored: Tensor, target: Tensor, config: TrainConfig
) -> Report:
    """One step of G: content, adversarial and feature matching losses (GPEN, section 3.3).

    ``restored`` is G's output, still attached to its graph.
    """
    weights, discriminator = config.losses, state.discriminator
    # G's gradient passes through D, which needs none of its own
    discriminator.requires_grad_(False)
    variation = _draw(restored, config)
    with _autocast(restored, config):
        fake_features = discriminator.features(_vary(restored, variation))
        fake_logits = discriminator.score(fake_features)
        with torch.no_grad():
            real_features = discriminator.features(_vary(target, variation))
    content = losses.content_loss(restored, target, detail=weights.detail)
    adversarial = losses.generator_loss(fake_logits.float())
    matching = losses.feature_matching_loss(
        [feature.float() for feature in fake_features],
        [feature.float() for feature in real_features],
    )
    loss = (
        weights.content * content
        + weights.adversarial * adversarial
        + weights.feature_matching * matching
    )
    norm = _descend(state.optimizer_g, state.generator, loss, config.clip_grad_norm)
    discriminator.requires_grad_(True)
    return {
        "content": content.item(),
        "adversarial": adversarial.item(),
        "feature_matching": matching.item(),
        "grad_norm_g": norm,
    }


def _descend(optimizer: Optimizer, network: nn.Module, loss: Tensor, max_norm: float) -> float:
    """Update a network; returns the norm of its gradient before clipping."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(network.parameters(), max_norm).item()
    if not math.isfinite(norm):
        raise NonFiniteGradientError(f"the gradient of the {type(network).__name__} is {norm}")
    optimizer.step()
    return norm


def _ema_decay(step: int, config: TrainConfig) -> float:
    """Weight of the average so far; the half-life grows with the images seen (StyleGAN2-ADA)."""
    half_life = min(config.ema_half_life, 0.05 * step * config.batch_size)
    return float(0.5 ** (config.batch_size / half_life))


def _autocast(x: Tensor, config: TrainConfig) -> torch.autocast:
    return torch.autocast(x.device.type, torch.bfloat16, enabled=config.precision == "bf16")


def _draw(x: Tensor, config: TrainConfig) -> diffaugment.Variation | None:
    return diffaugment.draw(len(x), x.device) if config.augment_d else None


def _vary(x: Tensor, variation: diffaugment.Variation | None) -> Tensor:
    return x if variation is None else diffaugment.apply(x, variation)
