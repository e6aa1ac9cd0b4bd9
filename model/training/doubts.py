"""Warnings about configurations that are valid but rarely turn out well."""

from __future__ import annotations

from model.training.config import TrainConfig
from model.training.schedule import Plan

_LONG_WARMUP = 20_000
"""Steps.  Even a discriminator from scratch tells restored faces from real ones long before."""


def doubts(config: TrainConfig, plan: Plan, micro_batch: int) -> list[str]:
    """A warning for each doubtful part of a configuration."""
    initial = config.initial
    untrained = initial.g is None and plan.content == 0
    found = []
    if untrained and plan.warmup:
        found.append(
            "the warm-up will train D against a G that has learnt nothing: set "
            "train.content.steps (with train.content.lr from 1e-3 to 2e-3), or train.initial.g"
        )
    elif untrained:
        found.append("G starts from scratch against D: set train.content.steps, or train.initial.g")
    if initial.d is None and not untrained and plan.warmup == 0:
        found.append("G has been trained and D has not: set train.warmup_steps, or train.initial.d")
    if plan.warmup > _LONG_WARMUP:
        found.append(
            f"D will learn alone for {plan.warmup} steps, in which G is fixed: a few thousand are "
            "enough (train.warmup_steps)"
        )
    elif plan.warmup > plan.joint:
        found.append(
            f"D will learn alone for {plan.warmup} steps, longer than G learns with it "
            f"({plan.joint} steps): lower train.warmup_steps"
        )
    if micro_batch == 1:
        found.append("with one face in a micro-batch, D's minibatch standard deviation is always 0")
    return found
