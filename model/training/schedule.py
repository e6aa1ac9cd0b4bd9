"""The stage that an epoch belongs to, and the learning rates of a step."""

from __future__ import annotations

import math
from enum import StrEnum

from model.training.config import TrainConfig

_RAMP_STEPS = 50  # AdamW's first steps are large whatever the gradient


class Stage(StrEnum):
    """What is trained, in this order."""

    CONTENT = "content"
    """Only G learns, without a discriminator."""
    WARMUP = "warmup"
    """Only D learns; G is fixed."""
    JOINT = "joint"


def total_steps(per_epoch: int, config: TrainConfig) -> int:
    """Of all stages."""
    return round((config.content.epochs + config.num_epochs) * per_epoch)


def stage_at(step: int, per_epoch: int, config: TrainConfig) -> Stage:
    """The stage of a step (from 0)."""
    content = round(config.content.epochs * per_epoch)
    if step < content:
        return Stage.CONTENT
    if step < content + round(config.warmup_epochs * per_epoch):
        return Stage.WARMUP
    return Stage.JOINT


def cosine(step: int, steps: int, start: float, end: float) -> float:
    """From ``start`` at step 0 to ``end`` at the last of ``steps`` (Loshchilov and Hutter, 2017).

    Before and after, the rate stays what it is there.
    """
    progress = min(max(step / max(1, steps - 1), 0.0), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def learning_rates(step: int, per_epoch: int, config: TrainConfig) -> tuple[float, float]:
    """Learning rates of G and D at a step (from 0).

    G: one cosine over the content stage, and one over the joint epochs; the first that there is
    begins with a linear ramp.  D: one over all epochs after the content stage.  The last step of
    each is at its floor.
    """
    content = round(config.content.epochs * per_epoch)
    warmup = round(config.warmup_epochs * per_epoch)
    after, remaining = step - content, total_steps(per_epoch, config) - content
    lr_d = cosine(after, remaining, config.lr_d, config.eta_min_d)
    if step < content:
        lr_g = cosine(step, content, config.content.lr, config.content.lr_min)
        lr_g *= _ramp(step, content)
    else:
        joint = remaining - warmup
        lr_g = cosine(after - warmup, joint, config.lr_g, config.lr_min)
        if not content:
            lr_g *= _ramp(after - warmup, joint)
    return lr_g, lr_d


def _ramp(step: int, steps: int) -> float:
    """A factor that rises to 1 over the first steps, a tenth of all at most."""
    return min(1.0, max(0, step + 1) / max(1, min(_RAMP_STEPS, steps // 10)))
