"""docs/training.md says which settings act in which stage: so they do, and the others do not."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from model.networks.efficientnet import FeatureDistance, load_features
from model.training.config import Config
from model.training.config_file import flatten, override_config
from model.training.generator_losses import Judges
from model.training.loading import Batch
from model.training.schedule import Stage
from model.training.state import TrainingState
from model.training.steps import Setup, training_step
from tests.documents.markdown import rows
from tests.documents.pages import read
from tests.model.training_runs import equal

HEADER = ("setting", "content", "warm-up", "joint")

STEPS = {Stage.CONTENT: 16, Stage.WARMUP: 48, Stage.JOINT: 96}
"""A step in the middle of each stage, with R1 and path lengths."""

BASE: dict[str, Any] = {
    "train": {
        **{"img_size": 64, "batch_size": 2, "ema_half_life": 10_000},
        **{"content": {"steps": 40}, "warmup_steps": 40, "num_steps": 80},
        "path_length": {"weight": 2},
        "losses": {"lpips_weights": "a file", "identity_weights": "a file"},
    },
    "network": {"channel_multiplier": 1, "narrow": 1 / 16},
}

CHANGES = {
    "train.content.lr": "2e-3",
    "train.content.lr_min": "2e-4",
    "train.lr_g": "4e-4",
    "train.lr_min": "1e-5",
    "train.lr_d": "4e-4",
    "train.eta_min_d": "1e-5",
    "train.losses.content": "2",
    "train.losses.detail": "2",
    "train.losses.perceptual": "1",
    "train.losses.lpips": "1",
    "train.losses.identity": "1",
    "train.losses.balance": "true",
    "train.losses.adversarial": "0.5",
    "train.losses.adversarial_pixels": "1",
    "train.losses.feature_matching": "1",
    "train.use_gradient_penalty": "false",
    "train.gp_lambda": "10",
    "train.gp_interval": "7",
    "train.augment_d": "false",
    "train.path_length.weight": "0",
    "train.path_length.interval": "5",
    "train.ema_half_life": "1",
}
"""Another value of each setting that the page has in its table."""

OF_THE_WHOLE_RUN = {
    *("initial.g", "initial.d", "seed", "discriminator", "img_size"),
    *("batch_size", "accumulation", "precision", "compile", "threads"),
    *("beta1", "beta2", "weight_decay", "clip_grad_norm", "max_skipped", "lr_policy"),
    *("validate_every", "early_stopping.patience", "early_stopping.delta"),
    *("log_every", "save_every", "keep_last", "wandb_project"),
    *("losses.lpips_weights", "losses.identity_weights"),
    *(f"content.{unit}" for unit in ("epochs", "steps", "images")),
    *(f"{stage}_{unit}" for stage in ("num", "warmup") for unit in ("epochs", "steps", "images")),
}

TABLE = {
    key.strip(" `"): {stage for stage, cell in zip(Stage, row[1:], strict=True) if cell}
    for header, row in rows(read("docs/training.md"))
    if tuple(header) == HEADER
    for key in row[0].split(",")
}


@cache
def judges() -> Judges:
    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).square().mean(dim=(1, 2, 3))

    return Judges(FeatureDistance(load_features("lite0")), distance, distance)


@cache
def after(stage: Stage, changes: tuple[str, ...]) -> dict[str, Any]:
    """What a step of the stage changes: networks, moments of optimizers, means."""
    config = override_config(Config.model_validate(BASE), changes)
    state = TrainingState.fresh(config)
    state.step = STEPS[stage]
    rng = torch.Generator().manual_seed(0)
    low, high = (torch.rand(2, 3, 64, 64, generator=rng) * 2 - 1 for _ in range(2))
    setup = Setup(config.train, per_epoch=40, generate=state.generator, judges=judges())
    assert setup.plan.stage_at(state.step) is stage
    training_step(state, [Batch(low, high)], setup)
    written = state.checkpoint(config, 40, [])
    moments = [optimizer["state"] for optimizer in (written.g_optim, written.d_optim)]
    return {
        "networks": [written.g, written.d, written.g_ema],
        "moments": moments,
        "path_length": written.path_length,
    }


def test_every_setting_is_in_the_table_or_of_the_whole_run():
    assert TABLE.keys() == CHANGES.keys()
    settings = {key for key in flatten(Config.model_validate(BASE)) if key.startswith("train.")}
    assert settings == CHANGES.keys() | {f"train.{key}" for key in OF_THE_WHOLE_RUN}


@pytest.mark.parametrize("setting", CHANGES)
def test_a_setting_acts_in_its_stages_alone(setting):
    base = ("train.discriminator=projected",) if setting.endswith("_pixels") else ()
    changed = (*base, f"{setting}={CHANGES[setting]}")
    acts = {stage for stage in Stage if not equal(after(stage, base), after(stage, changed))}
    assert acts == TABLE[setting]
