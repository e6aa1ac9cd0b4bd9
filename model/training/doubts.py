"""What can be run and yet is likely to be regretted."""

from __future__ import annotations

from model.training.config import TrainConfig
from model.training.schedule import Plan

_LONG_WARMUP = 20_000
"""Steps.  Even a discriminator from scratch tells restored faces from real ones long before."""


def doubts(config: TrainConfig, plan: Plan, micro_batch: int) -> list[str]:
    """A sentence for each thing in a configuration that rarely turns out well."""
    initial = config.initial
    untaught = initial.g is None and plan.content == 0
    found = []
    if untaught and plan.warmup:
        found.append(
            "the warm-up will train D against a G that has learnt nothing: set "
            "train.content.steps (content.lr of 1e-3 to 2e-3 suits it), or train.initial.g"
        )
    elif untaught:
        found.append("G begins from scratch against D: set train.content.steps, or train.initial.g")
    if initial.d is None and not untaught and plan.warmup == 0:
        found.append(
            "a G that has learnt meets a D that has not: set train.warmup_steps, or train.initial.d"
        )
    if plan.warmup > _LONG_WARMUP:
        found.append(
            f"D will learn alone for {plan.warmup} steps, while G stands still: a few thousand are "
            "enough (train.warmup_steps)"
        )
    elif plan.warmup > plan.joint:
        found.append(
            f"D will learn alone for {plan.warmup} steps, longer than G learns with it "
            f"({plan.joint} steps): lower train.warmup_steps"
        )
    if micro_batch == 1:
        found.append("micro-batches of one picture: D's minibatch standard deviation sees nothing")
    return found
