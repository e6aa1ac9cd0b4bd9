"""The plan of a run: the length of each stage, and the learning rates of each step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
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


@dataclass(frozen=True)
class Plan:
    """The number of steps of each stage, in the order of the stages."""

    content: int
    warmup: int
    joint: int

    @classmethod
    def of(cls, config: TrainConfig, per_epoch: int) -> Plan:
        """The configured plan for data with ``per_epoch`` steps an epoch.

        Raises ValueError if the warm-up is longer than the total that it is part of.
        """
        content, warmup, total = (
            length.in_steps(per_epoch, config.batch_size)
            for length in (config.content.length, config.warmup, config.length)
        )
        if warmup > total:
            raise ValueError(
                f"the warm-up of {warmup} steps is longer than all {total} steps after the content "
                f"stage, at {per_epoch} steps an epoch: set train.warmup_steps or train.num_steps"
            )
        return cls(content, warmup, total - warmup)

    @property
    def total(self) -> int:
        return self.content + self.warmup + self.joint

    def stages(self) -> dict[Stage, int]:
        """Steps of each stage that exists."""
        steps = dict(zip(Stage, (self.content, self.warmup, self.joint), strict=True))
        return {stage: count for stage, count in steps.items() if count}

    def stage_at(self, step: int) -> Stage:
        """The stage of a step (from 0)."""
        if step < self.content:
            return Stage.CONTENT
        return Stage.WARMUP if step < self.content + self.warmup else Stage.JOINT

    def left(self, step: int) -> dict[Stage, int]:
        """Remaining steps of each stage after ``step`` steps; finished stages are left out."""
        end, left = 0, {}
        for stage, count in self.stages().items():
            end += count
            if end > step:
                left[stage] = min(count, end - step)
        return left


def describe(
    plan: Plan, per_epoch: int, batch_size: int, seconds: Mapping[Stage, float], step: int = 0
) -> str:
    """The plan as a table: each stage in steps, epochs, images and time.

    ``seconds`` is the time of one step of each stage that is not finished after ``step`` steps.
    """
    lines = [f"an epoch has {per_epoch} steps of {batch_size} images; the plan:"]
    whole = timedelta()
    for stage, steps in plan.stages().items():
        line = f"  {stage:8} {_amount(steps, per_epoch, batch_size)}"
        if stage in seconds:
            takes = timedelta(seconds=round(seconds[stage] * plan.left(step)[stage]))
            line += f", about {takes} at {seconds[stage]:.3g} s a step"
            whole += takes
        else:
            line += ", done"
        lines.append(line)
    lines.append(f"  {'total':8} {_amount(plan.total, per_epoch, batch_size)}, about {whole}")
    if step:
        lines[-1] += f" for the {plan.total - step} steps that are left"
    return "\n".join(lines)


def _amount(steps: int, per_epoch: int, batch_size: int) -> str:
    return f"{steps:>8} steps = {steps / per_epoch:>6.1f} epochs = {steps * batch_size:>9} images"


def cosine(step: int, steps: int, start: float, end: float) -> float:
    """A rate that falls from ``start`` at step 0 to ``end`` at the last of ``steps``.

    It is constant before and after (Loshchilov and Hutter, 2017).
    """
    progress = min(max(step / max(1, steps - 1), 0.0), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def learning_rates(step: int, plan: Plan, config: TrainConfig) -> tuple[float, float]:
    """Learning rates of G and D at a step (from 0).

    G has one cosine over the content stage and one over the joint stage; the first of these that
    exists begins with a linear ramp.  D has one cosine over everything after the content stage.
    The last step of each cosine has the lowest rate.
    """
    after = step - plan.content
    lr_d = cosine(after, plan.warmup + plan.joint, config.lr_d, config.eta_min_d)
    if step < plan.content:
        lr_g = cosine(step, plan.content, config.content.lr, config.content.lr_min)
        lr_g *= _ramp(step, plan.content)
    else:
        lr_g = cosine(after - plan.warmup, plan.joint, config.lr_g, config.lr_min)
        if not plan.content:
            lr_g *= _ramp(after - plan.warmup, plan.joint)
    return lr_g, lr_d


def _ramp(step: int, steps: int) -> float:
    """A factor that rises to 1 over the first 50 steps, or the first tenth if that is less."""
    return min(1.0, max(0, step + 1) / max(1, min(_RAMP_STEPS, steps // 10)))
